//go:build unix

package postgres_test

import (
	"fmt"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Each way of appending lays its rows out by itself: alone, plain together, and careful.
func TestTrace_Event_Stored(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	traced := func(n int) []commands.NewEvent {
		events := said(n)
		events[n-1].Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		return events
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: traced(2)})
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 2, Events: said(1)})
	alone := commands.Append{
		Stream: "chat-demo:1", Expected: 3, Events: traced(1), Updates: []commands.ConsumedUpdate{
			{Bot: "demo", ID: 1, Version: 4},
		},
	}
	must(t, s, alone)
	// The conflict of one sends the others the careful way.
	errs, err := s.Append(t.Context(), []commands.Append{alone,
		{Stream: "chat-demo:2", Events: traced(3)}, {Stream: "chat-demo:3", Events: said(2)}})
	if err != nil || errs[0] == nil || errs[1] != nil || errs[2] != nil {
		t.Fatal(errs, err)
	}
	for id, want := range map[domain.StreamID]string{
		"chat-demo:1": "[false true false true]", "chat-demo:2": "[false false true]", "chat-demo:3": "[false false]",
	} {
		var got []bool
		for _, r := range stream(t, s, id) {
			got = append(got, r.Trace != "")
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: events with a trace are %v, want %s", id, got, want)
		}
	}
}
