package main

import (
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// A process that leads the responder without having a bot in its bots file does not answer for the bot:
// the bot's chats are held and named, and a process that has the bot takes the group over and answers.
func TestHeld_BotNotInLeadersFile_AnsweredByAnother(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	without := w.start(w.dsn, func(c *server.Config) {
		c.Bots = map[string]config.Bot{}
		c.Only = server.Work
	})
	w.running = w.start(w.dsn, func(c *server.Config) { c.Only = server.Receive })
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.Say(43, "I want to talk to a person")
	w.eventually("the bot's chats are held", func() string {
		_, stdout, _ := w.cli("parked")
		return unless(strings.HasPrefix(stdout, "responder  chat-demo:*  ") &&
			strings.Contains(stdout, "not in the bots file"), "%s", stdout)
	})
	w.wantRows("", `select stream_id from eventstore.events where name = 'reply_queued'`)
	w.eventually("/workz says so", func() string {
		status, body, err := get(without.url + "/workz")
		return unless(err == nil && status == 200 && strings.Contains(body, `"parked_streams":1`),
			"%d %s %v", status, body, err)
	})

	with := w.start(w.dsn, func(c *server.Config) { c.Only = server.Work })
	if _, err := w.Await(t.Context(), 42, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Await(t.Context(), 43, 1); err != nil {
		t.Fatal(err)
	}
	if texts := w.texts(42, "bot"); len(texts) != 1 || !strings.Contains(texts[0], "1001") {
		t.Errorf("answered with %q", texts)
	}
	w.wantRows("demo:43", `select replace(stream_id, 'chat-', '') from readmodel.tickets`)
	w.eventually("nothing is held", func() string { return w.rows(`select stream_id from eventstore.parked`) })
	with.stop()
	w.Say(42, "Where is my order 1002?")
	w.eventually("it is held again", func() string {
		return unless(w.rows(`select stream_id from eventstore.parked`) == "chat-demo:*", "it is not")
	})
}

// A timer of a bot that is not in the bots file waits for a process that has the bot.
func TestHeld_TimerOfBotNotInFile_Waits(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	w.exec(`insert into eventstore.timers (stream_id, due_at) values ('chat-stray:1', now() - interval '1 hour')`)
	w.running = w.start(w.dsn)
	w.register()
	w.exec(`insert into eventstore.timers (stream_id, due_at) values ('chat-demo:7', now() - interval '1 minute')`)
	w.eventually("the other bot's timer has gone off", func() string {
		return unless(w.rows(`select stream_id from eventstore.timers`) == "chat-stray:1", "it has not")
	})
	w.wantRows("true", `select taken_until is null from eventstore.timers`)
}
