package commands_test

import (
	"testing"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestObserver_EveryBatch_Told(t *testing.T) {
	store := newMemory()
	var commits observed // one handler, one batch at a time
	h := handler(t, store, commands.Config{Committers: 1, Observer: &commits})
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ask := func(r commands.Request) {
		t.Helper()
		if _, err := h.Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	ask(update(anna, 5))
	traced := update(anna, 6)
	traced.Trace = trace
	ask(traced)
	store.elsewhere(anna, chat.MessageReceived{Text: "sent elsewhere"})
	ask(update(anna, 8))
	h.Close()

	want := []struct{ remembered, conflicts, traced int }{{0, 0, 0}, {1, 0, 1}, {1, 1, 0}, {0, 0, 0}}
	if len(commits) != len(want) {
		t.Fatalf("told of %d commits, want %d: %+v", len(commits), len(want), commits)
	}
	for i, r := range commits {
		if r.Streams != 1 || r.Events != 1 || r.AppendTime <= 0 || r.Appending.Before(r.Begun) ||
			r.Begun.Before(begun) ||
			r.Cached != want[i].remembered || r.Conflicts != want[i].conflicts || len(r.Traced) != want[i].traced {
			t.Errorf("round %d is %+v, want %+v", i, r, want[i])
		}
	}
	if one := commits[1].Traced[0]; one.Trace != trace || one.Since.After(commits[1].Begun) {
		t.Errorf("the traced request is %+v", one)
	}
	for i, e := range store.events(anna) {
		if (e.Trace == trace) != (i == 1) {
			t.Errorf("event %d is stored with trace %q", i, e.Trace)
		}
	}
}

// observed collects what an observer is told.
type observed []commands.Commit

func (o *observed) Committed(c commands.Commit) { *o = append(*o, c) }
