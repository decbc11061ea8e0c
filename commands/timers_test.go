package commands_test

import (
	"testing"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// wakes are the times that appends set, counted from start; "-" leaves it, "never" ends it.
func (m *memory) wakes() (list []string) {
	for _, batch := range m.batches {
		for _, a := range batch {
			switch {
			case a.Wake == nil:
				list = append(list, "-")
			case a.Wake.IsZero():
				list = append(list, "never")
			default:
				list = append(list, a.Wake.Sub(start).String())
			}
		}
	}
	return list
}

func TestTimer_EventsChangeIt_Updated(t *testing.T) {
	t.Parallel()
	store := newMemory()
	config := one
	config.Settings = commands.SettingsFunc(func(string) chat.Settings {
		return chat.Settings{
			Knowledge: &dialog.Knowledge{
				Targets: map[dialog.Priority]dialog.Target{
					dialog.Low: {FirstResponse: time.Hour, Resolution: 2 * time.Hour},
				},
			},
		}
	})
	h := handler(t, store, config)
	want := []string{}
	for _, c := range []struct {
		request commands.Request
		wake    string
	}{
		{update(anna, 1), "-"},
		{ask(anna, chat.OpenTicket{Reason: "seen", Priority: dialog.Low, At: start}), "1h0m0s"},
		{ask(anna, chat.AssignTicket{Assignee: "maria"}), "-"},
		{update(anna, 2), "-"},
		{ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hello"}), "2h0m0s"},
		{ask(anna, chat.Elapse{At: start.Add(3 * time.Hour)}), "never"},
		{ask(anna, chat.ResolveTicket{At: start}), "-"},
	} {
		if _, err := h.Handle(t.Context(), c.request); err != nil {
			t.Fatal(err)
		}
		if want = append(want, c.wake); len(store.wakes()) != len(want) || store.wakes()[len(want)-1] != c.wake {
			t.Fatalf("%T: the times are %v, want %v", c.request.Command, store.wakes(), want)
		}
	}
}

// The timekeeper takes the next time from the store: another process may have appended
// events that this one has not seen.
func TestTimer_Early_SetsNextTime(t *testing.T) {
	t.Parallel()
	store := newMemory()
	h := handler(t, store, one)
	if _, err := h.Handle(t.Context(),
		ask(anna, chat.OpenTicket{Reason: "seen", Priority: dialog.Urgent, At: start})); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		elsewhere func()
		want      time.Time
	}{
		{func() {}, start.Add(15 * time.Minute)},
		{
			func() {
				store.elsewhere(anna, chat.ReplyQueued{Author: chat.Author{Kind: chat.Person, Name: "bo"}})
			}, start.Add(4 * time.Hour),
		},
		{func() { store.elsewhere(anna, chat.TicketResolved{Ticket: "#1", At: start}) }, time.Time{}},
	} {
		step.elsewhere()
		result, err := h.Handle(t.Context(), ask(anna, chat.Elapse{At: start.Add(time.Minute)}))
		if err != nil || len(result.Events) > 0 || result.First == 0 || !result.Wake.Equal(step.want) {
			t.Errorf("%+v (%v), want nothing until %s", result, err, step.want)
		}
	}
}
