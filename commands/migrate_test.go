package commands_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestMigrate_AnyReport_GroupThenSupergroup(t *testing.T) {
	const group, supergroup = domain.StreamID("chat-demo:-5"), domain.StreamID("chat-demo:-1005")
	left := chat.Unfinished{Assignee: "maria"}
	for name, c := range map[string]struct {
		on      domain.StreamID
		event   domain.Event
		to      domain.StreamID
		command chat.Command
	}{
		"the group says so": {
			group, chat.UpdateKept{MigratedTo: -1005}, group, chat.Migrate{To: -1005, At: start},
		},
		"the supergroup says so": {
			supergroup, chat.UpdateKept{MigratedFrom: -5}, group, chat.Migrate{To: -1005, At: start},
		},
		"what the group left": {
			group, chat.ChatMigrated{To: -1005, Unfinished: left}, supergroup, chat.Continue{
				From: -5, Version: 7, Unfinished: left, At: start,
			},
		},
		"any other kept update":      {group, chat.UpdateKept{Kind: "message"}, "", nil},
		"what a customer wrote":      {group, chat.MessageReceived{}, "", nil},
		"that the supergroup has it": {supergroup, chat.ChatContinued{From: -5}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := recorded(c.on, c.event)
			got, ok := commands.Migrate(r, start)
			if !ok {
				got = commands.Request{}
			}
			var want commands.Request
			if c.command != nil {
				want = commands.Request{
					Stream: c.to, Command: c.command, Actor: "bot", Causation: r.ID, Correlation: r.Correlation,
					At: start,
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMigrate_Reply_UsesSupergroupsKey(t *testing.T) {
	d, ok := commands.Enqueue(recorded("chat-demo:-5", chat.ReplyQueued{Text: "hi", Chat: -1005}))
	if want := (commands.SendMessage{ChatID: -1005, Text: "hi"}); !ok || d.Stream != "chat-demo:-5" ||
		d.OrderingKey != "chat-demo:-1005" || cmp.Diff(want, d.Payload) != "" {
		t.Errorf("enqueued %+v", d)
	}
}
