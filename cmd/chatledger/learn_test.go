package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

func TestKnowledge_FolderChanges_Reloaded(t *testing.T) {
	t.Parallel()
	dir := knowledgeWith(t, map[string]string{
		"bot.yaml":                  "languages: [en]\n",
		"intents/all.yaml":          "opening_hours: {answer: We open at nine.}\n",
		"intents/opening_hours.txt": "when are you open\nopening hours\nwhen do you open\nhow late are you open\n",
		"intents/unknown.txt":       "what is the weather\nmy name is Tom\nhow is it going\n",
	})
	save := func(answer string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "intents/all.yaml"), []byte(answer), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log waittest.Log
	w := newTown(t, pgtest.Database(t), func(b *config.Bot) { b.Knowledge = dir })
	w.running = w.start(w.dsn, func(c *server.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	w.register()
	chat := int64(0)
	asks := func() string { // in a chat of its own, where nothing was repeated
		t.Helper()
		chat++
		w.Say(chat, "when are you open")
		messages, err := w.Await(t.Context(), chat, 1)
		if err != nil {
			t.Fatal(err)
		}
		return messages[len(messages)-1].Text
	}
	if said := asks(); said != "We open at nine." {
		t.Fatalf("said %q", said)
	}

	save("opening_hours: {answer: We open at ten.}\n")
	w.eventually("the new answer is given", func() string {
		said := asks()
		return unless(said == "We open at ten.", "said %q", said)
	})

	save("opening_hours:\n  answer: We open at {hour}.\n")
	w.eventually("the folder with a mistake is seen", func() string {
		return unless(strings.Contains(log.String(), "intents/all.yaml:2"), "nothing of it in the log")
	})
	if said := asks(); said != "We open at ten." {
		t.Errorf("with a mistake in its folder the bot says %q", said)
	}
	w.settle()
	w.wantRows("2", `select count(distinct payload->>'knowledge') from eventstore.events where payload ? 'knowledge'`)
}
