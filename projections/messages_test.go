//go:build unix

package projections_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
)

// noon is the time of the first event of the histories below; each next event is a minute later.
var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// happened returns a chat's history. The bot caused the events, except those of byBo.
func happened(events ...domain.Event) []domain.Recorded {
	var history []domain.Recorded
	for i, e := range events {
		r := domain.Recorded{Position: domain.Position{Transaction: 9, Number: int64(i + 1)}, Stream: "chat-demo:1",
			Version: domain.Version(i + 1),
			ID:      delivery(i + 1), Event: e, Actor: "bot", OccurredAt: noon.Add(time.Duration(i) * time.Minute)}
		if by, ok := e.(byBo); ok {
			r.Event, r.Actor = by.Event, "operator:bo"
		}
		history = append(history, r)
	}
	return history
}

// byBo is an event that the operator bo caused.
type byBo struct{ domain.Event }

// delivery is the id of the event at a version, and of the delivery that the event enqueues.
func delivery(version int) uuid.UUID { return uuid.UUID{15: byte(version)} }

// columns folds a history and returns the named columns of the rows with these keys.
func columns(
	t *testing.T, p projections.Projection, history []domain.Recorded, keys []string, names ...string,
) string {
	t.Helper()
	rows, err := projections.Fold(p, history)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, key := range keys {
		var line []string
		for _, name := range names {
			for _, c := range rows[key] {
				if c.Name == name {
					line = append(line, strings.TrimPrefix(fmt.Sprint(c.Value), "2026-05-01T"))
				}
			}
		}
		lines = append(lines, strings.Join(line, " "))
	}
	return strings.Join(lines, "; ")
}

func TestMessages_Replies_FirstOneAnswers(t *testing.T) {
	t.Parallel()
	wrote := chat.MessageReceived{Text: "hello"}
	understood := func(to domain.Version) chat.Understood {
		return chat.Understood{Answer: chat.Answer{To: to}, Intent: "greeting"}
	}
	waits := func(to domain.Version) chat.Understood {
		return chat.Understood{Answer: chat.Answer{To: to}, Intent: dialog.Waited, Waits: &chat.Waiting{}}
	}
	said := func(to domain.Version, by chat.AuthorKind) chat.ReplyQueued {
		return chat.ReplyQueued{Answer: chat.Answer{To: to}, Author: chat.Author{Kind: by}}
	}
	opened := chat.TicketOpened{Ticket: "#1", Reason: "asked"}
	for name, c := range map[string]struct {
		messages []int // their versions
		history  []domain.Event
		want     string
	}{
		"by a rule": {
			[]int{1}, []domain.Event{wrote, understood(1), said(1, chat.Bot), said(1, "model")},
			"rule 12:02:00Z <nil>",
		},
		"by a model": {
			[]int{1}, []domain.Event{wrote, understood(1), said(1, "model")}, "model 12:02:00Z <nil>",
		},
		"by a button's toast": {
			[]int{1},
			[]domain.Event{
				chat.ButtonPressed{}, understood(1),
				chat.ButtonAnswered{Answer: chat.Answer{To: 1}, Text: "Saved"},
			},
			"rule 12:02:00Z <nil>",
		},
		"not by a button answered without text": {
			[]int{1},
			[]domain.Event{
				chat.ButtonPressed{}, understood(1),
				chat.ButtonAnswered{Answer: chat.Answer{To: 1}},
			},
			"nobody <nil> <nil>",
		},
		"not by the bot that hands over": {
			[]int{1},
			[]domain.Event{wrote, understood(1), said(1, chat.Bot), opened},
			"nobody <nil> asked",
		},
		"by an operator after a hand-over": {
			[]int{1, 5},
			[]domain.Event{
				wrote, understood(1), said(1, chat.Bot), opened, wrote, said(1, chat.Bot),
				byBo{said(0, chat.Person)}, byBo{said(0, chat.Person)},
			},
			"person 12:06:00Z asked; person 12:06:00Z <nil>",
		},
		"by an operator who opened the ticket": {
			[]int{1, 2, 5},
			[]domain.Event{
				chat.MessageReceived{OverLimit: true}, wrote, said(2, chat.Bot), byBo{opened}, wrote,
				byBo{said(0, chat.Person)},
			},
			"nobody <nil> <nil>; rule 12:02:00Z <nil>; person 12:05:00Z <nil>",
		},
		"by a model that was busy": {
			[]int{1, 2},
			[]domain.Event{
				wrote, wrote, chat.ModelAsked{Answer: chat.Answer{To: 1}},
				chat.ExchangeJoined{Answer: chat.Answer{To: 2}}, said(2, "model"),
			},
			"model 12:04:00Z <nil>; model 12:04:00Z <nil>",
		},
		"with the backlog": {
			[]int{1, 2, 5},
			[]domain.Event{
				wrote, wrote, waits(1), waits(2), wrote,
				chat.BacklogTaken{Answer: chat.Answer{To: 2}, Intent: "greeting"}, said(2, chat.Bot),
			},
			"rule 12:05:00Z <nil>; rule 12:05:00Z <nil>; nobody <nil> <nil>",
		},
		"not with a backlog that an operator has": {
			[]int{1},
			[]domain.Event{
				wrote, waits(1), byBo{opened},
				chat.BacklogTaken{Answer: chat.Answer{To: 1}, Intent: dialog.Waited},
			},
			"nobody <nil> <nil>",
		},
	} {
		var keys []string
		for _, version := range c.messages {
			keys = append(keys, fmt.Sprint("chat-demo:1/", version))
		}
		if got := columns(t, projections.Messages{}, happened(c.history...), keys, "answered_by", "answered_at",
			"handed_over"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// An outcome changes the message of its delivery, in whatever order outcomes arrive.
func TestMessages_Delivery_OutcomeShown(t *testing.T) {
	t.Parallel()
	queued := chat.ReplyQueued{Text: "hello", Author: chat.Author{Kind: chat.Bot}}
	keys := []string{delivery(1).String(), delivery(2).String()}
	history := []domain.Event{queued, queued}
	for _, step := range []struct {
		event domain.Event
		want  string
	}{
		{
			chat.DeliveryFailed{Delivery: delivery(2), Kind: domain.KindAnswerButton, Outcome: "dead"},
			"waiting <nil> <nil>; waiting <nil> <nil>",
		},
		{
			chat.DeliverySucceeded{Delivery: delivery(2), Kind: domain.KindSendMessage, MessageID: 8},
			"waiting <nil> <nil>; sent <nil> 8",
		},
		{
			chat.DeliveryFailed{
				Delivery: delivery(1), Kind: domain.KindSendMessage, Outcome: "unknown", Reason: "no answer",
			}, "unknown no answer <nil>; sent <nil> 8",
		},
		{
			chat.DeliveryRetried{Delivery: delivery(1), Kind: domain.KindSendMessage},
			"waiting no answer <nil>; sent <nil> 8",
		},
		{
			chat.DeliverySucceeded{Delivery: delivery(1), Kind: domain.KindSendMessage, MessageID: 9},
			"sent <nil> 9; sent <nil> 8",
		},
		{
			chat.DeliverySkipped{Delivery: delivery(1), Kind: domain.KindSendMessage, Reason: "enough"},
			"skipped enough 9; sent <nil> 8",
		},
	} {
		history = append(history, step.event)
		if got := columns(t, projections.Messages{}, happened(history...), keys, "delivery", "failure",
			"telegram_id"); got != step.want {
			t.Errorf("after %+v: %s, want %s", step.event, got, step.want)
		}
	}
}

// Each message shows the workflow's step before it and after it.
func TestMessages_Workflow_StepShown(t *testing.T) {
	t.Parallel()
	moved := func(to domain.Version, from, step dialog.Step) chat.WorkflowMoved {
		return chat.WorkflowMoved{Answer: chat.Answer{To: to}, Workflow: "address", From: from, Step: step}
	}
	history := happened(
		chat.MessageReceived{}, moved(1, "", dialog.Initial), moved(1, dialog.Initial, "collecting"),
		chat.MessageReceived{}, moved(4, "collecting", "checking"), moved(4, "checking", "confirming"),
		moved(0, "confirming", dialog.Expired))
	got := columns(t, projections.Messages{}, history, []string{"chat-demo:1/1", "chat-demo:1/4"}, "workflow",
		"from_step", "step")
	if want := "address <nil> collecting; address collecting confirming"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A page that is applied twice is an error, whether its events add rows or change them.
func TestProjection_PageTwice_Error(t *testing.T) {
	t.Parallel()
	adds := happened(chat.MessageReceived{Text: "hello"})
	changes := happened(chat.MessageReceived{}, chat.Understood{Answer: chat.Answer{To: 1}},
		chat.ReplyQueued{Answer: chat.Answer{To: 1}, Author: chat.Author{Kind: chat.Bot}})[1:]
	for _, p := range []projections.Projection{projections.Messages{}, projections.ChatDays{}} {
		l := projectionstest.New(t)
		for i, page := range [][]domain.Recorded{adds, adds, changes, changes} {
			err := pgx.BeginFunc(t.Context(), l.Conn, func(tx pgx.Tx) error {
				pgtest.Exec(t, tx, `set local search_path = readmodel`)
				return p.Apply(t.Context(), tx, page)
			})
			if repeated := i%2 == 1; repeated != (err != nil && strings.Contains(err.Error(), "rebuild "+p.Name())) {
				t.Errorf("%s, page %d: %v", p.Name(), i, err)
			}
		}
	}
}

// The view's figures of a day equal figures that were calculated by hand.
func TestDaily_Chats_Summed(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	var histories []projectionstest.History
	opened := func(reason string) chat.TicketOpened {
		return chat.TicketOpened{Ticket: "#1", Reason: reason, At: noon}
	}
	reply := chat.ReplyQueued{Author: chat.Author{Kind: chat.Person}} // an operator's
	for i, c := range []struct {
		hours  []int // after noon, of each event
		events []domain.Event
	}{
		{
			[]int{0, 0},
			[]domain.Event{chat.MessageReceived{}, chat.ModelAnswered{TokensIn: 90, TokensOut: 10, Cost: 2500}},
		},
		{[]int{0, 0, 1}, []domain.Event{chat.MessageReceived{}, opened("asked"), reply}},
		{
			[]int{0, 0, 3, 9},
			[]domain.Event{
				chat.MessageReceived{}, opened("asked"), reply,
				chat.TicketResolved{At: noon.Add(9 * time.Hour)},
			},
		},
		// After midnight the ticket is still open, and its first response counts for the second day.
		{
			[]int{0, 0, 4, 13, 14, 12},
			[]domain.Event{
				chat.MessageReceived{}, opened("angry"), chat.DueBreached{What: chat.DueResponse},
				chat.MessageReceived{}, reply, chat.MembershipChanged{Blocked: true},
			},
		},
	} {
		h := projectionstest.History{Stream: domain.ChatStream("demo", int64(i+1))}
		for n, e := range c.events {
			id := uuid.New()
			h.Events = append(h.Events,
				commands.NewEvent{
					ID: id, Event: e, Correlation: id, Actor: "bot",
					OccurredAt: noon.Add(time.Duration(c.hours[n]) * time.Hour),
				})
		}
		histories = append(histories, h)
	}
	l.AppendAll(t, histories, func(left int) int { return left })
	l.Follow(t, projections.ChatDays{}, func() int { return 4 })
	l.Verify(t, projections.ChatDays{})
	got := projectionstest.Rows(t, l.Conn,
		`select day, conversations, began, without_person, without_person_share, hand_overs, hand_over_reasons,
			first_response_p50, first_response_p90, resolution_p95, late_responses, opt_outs,
			model_answers, model_tokens, model_cost
		from readmodel.daily order by day`)
	want := `(2026-05-01,4,4,1,0.2500,3,"{""angry"": 1, ""asked"": 2}",02:00:00,02:48:00,09:00:00,1,0,1,100,0.0025)` +
		"\n" +
		`(2026-05-02,1,0,0,0.0000,0,{},14:00:00,14:00:00,,0,1,0,0,0.0000)`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
