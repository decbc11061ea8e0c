package projections

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// ChatDays is readmodel.chat_days: what happened in each chat on each day. A row must belong to one
// stream, so that it can be folded and verified alone; the view readmodel.daily adds up the chats of
// a bot.
type ChatDays struct{}

// ChatDay is a row; nil stands for null. The next day of the chat starts with the state in its last row.
type ChatDay struct {
	Key             string           `column:"chat_day,key"`
	Stream          string           `column:"stream_id,fixed"`
	Bot             string           `column:"bot,fixed"`
	ChatID          int64            `column:"chat_id,fixed"`
	Day             time.Time        `column:"day,date"` // midnight, UTC
	Began           bool             `column:"began"`
	WithOperator    bool             `column:"with_person"`
	MessagesIn      int64            `column:"messages_in"`
	RepliesRule     int64            `column:"replies_rule"`
	RepliesModel    int64            `column:"replies_model"`
	RepliesOperator int64            `column:"replies_person"`
	HandOvers       map[string]int64 `column:"hand_overs"` // by reason
	Reopened        int64            `column:"reopened"`
	Resolved        int64            `column:"resolved"`
	LateResponses   int64            `column:"late_responses"`
	LateResolutions int64            `column:"late_resolutions"`
	OptOuts         int64            `column:"opt_outs"`
	Returns         int64            `column:"returns"`
	ModelAnswers    int64            `column:"model_answers"`
	ModelTokens     int64            `column:"model_tokens"`
	ModelCostMicros int64            `column:"model_cost_micros"`
	FirstResponses  []float64        `column:"first_responses"` // seconds
	Resolutions     []float64        `column:"resolutions"`     // seconds
	Known           bool             `column:"known"`
	Blocked         bool             `column:"blocked"`
	TicketSince     *time.Time       `column:"ticket_since"`
	AwaitedSince    *time.Time       `column:"awaited_since"`
	place
}

var chatDays = newTable[ChatDay]("chat_days")

// Name implements Projection.
func (ChatDays) Name() string { return "chat_days" }

// Version implements Projection.
func (ChatDays) Version() int { return 1 }

// Concerned implements Projection.
func (ChatDays) Concerned() []domain.Event { return codec.Folded("chat_days") }

// counts reports whether an event changes a row. A failed delivery does only if it shows that the
// customer has blocked the bot.
func counts(event domain.Event) bool {
	if failed, ok := event.(chat.DeliveryFailed); ok {
		return failed.Blocked
	}
	return chatDayEvents[reflect.TypeOf(event)]
}

var chatDayEvents = typesOf(ChatDays{}.Concerned())

// calendar has the days of one chat, oldest first: all days, or the last stored one and those after it.
type calendar struct{ days []*ChatDay }

// Take implements Folding.
func (c *calendar) Take(r domain.Recorded) error {
	if !counts(r.Event) {
		return nil
	}
	var last *ChatDay
	if n := len(c.days); n > 0 {
		last = c.days[n-1]
		if int64(r.Version) <= last.Version {
			return GapError{"chat_days", r.Stream, last.Version, r.Version}
		}
	}
	day := r.OccurredAt.UTC().Truncate(24 * time.Hour)
	if last == nil || last.Day.Before(day) {
		last = following(r.Stream, day, last)
		c.days = append(c.days, last)
	}
	last.take(r)
	last.place = placeOf(r)
	return nil
}

// following returns the row of a chat's next day.
func following(stream domain.StreamID, day time.Time, last *ChatDay) *ChatDay {
	id, _ := stream.Chat()
	d := &ChatDay{Key: string(stream) + "/" + day.Format(time.DateOnly), Stream: string(stream), Bot: stream.Bot(),
		ChatID: id, Day: day,
		HandOvers: map[string]int64{}, FirstResponses: []float64{}, Resolutions: []float64{}}
	if last != nil {
		d.Known, d.Blocked, d.TicketSince, d.AwaitedSince = last.Known, last.Blocked, last.TicketSince, last.AwaitedSince
	}
	return d
}

func (d *ChatDay) take(r domain.Recorded) {
	d.WithOperator = d.WithOperator || d.TicketSince != nil
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		if e.From.Bot {
			break
		}
		d.MessagesIn++
		d.Began = d.Began || !d.Known
		d.Known = true
		d.blocks(d.Blocked && e.Late) // a new message shows that the customer has unblocked the bot
	case chat.ButtonPressed:
		d.MessagesIn++
	case chat.MembershipChanged:
		d.blocks(e.Blocked)
	case chat.DeliveryFailed:
		d.blocks(true)
	case chat.ModelAnswered:
		d.ModelAnswers++
		d.ModelTokens += int64(e.TokensIn + e.TokensOut)
		d.ModelCostMicros += e.Cost
	case chat.ReplyQueued:
		d.replied(authorOf(e), r.OccurredAt)
	case chat.TicketOpened:
		d.HandOvers[clean(e.Reason)]++
		d.opened(e.At)
	case chat.TicketReopened:
		d.Reopened++
		d.opened(e.At)
	case chat.TicketResolved:
		d.Resolved++
		if d.TicketSince != nil {
			d.Resolutions = append(d.Resolutions, seconds(*d.TicketSince, e.At))
		}
		d.TicketSince, d.AwaitedSince = nil, nil
	case chat.HandedBack:
		d.TicketSince, d.AwaitedSince = nil, nil
	case chat.DueBreached:
		if e.What == chat.DueResponse {
			d.LateResponses++
		} else {
			d.LateResolutions++
		}
	}
}

func (d *ChatDay) blocks(blocked bool) {
	switch {
	case blocked && !d.Blocked:
		d.OptOuts++
	case d.Blocked && !blocked:
		d.Returns++
	}
	d.Blocked = blocked
}

func (d *ChatDay) replied(by string, at time.Time) {
	switch by {
	case byRule:
		d.RepliesRule++
	case byOperator:
		d.RepliesOperator++
		d.WithOperator = true
		if d.AwaitedSince != nil {
			d.FirstResponses = append(d.FirstResponses, seconds(*d.AwaitedSince, at))
			d.AwaitedSince = nil
		}
	default:
		d.RepliesModel++
	}
}

func (d *ChatDay) opened(at time.Time) {
	at = at.UTC().Truncate(time.Microsecond) // the precision of a timestamptz column
	d.TicketSince, d.AwaitedSince, d.WithOperator = &at, &at, true
}

// seconds returns the time between two events. It is 0 if their clocks disagree and to is before from.
func seconds(from, to time.Time) float64 {
	return max(0, to.Truncate(time.Microsecond).Sub(from).Seconds())
}

// Apply implements Projection: one statement reads the last day of each of the page's chats, and one
// writes the days that changed.
func (p ChatDays) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	concerned := make([]domain.Recorded, 0, len(page))
	for _, r := range page {
		if counts(r.Event) {
			concerned = append(concerned, r)
		}
	}
	if len(concerned) == 0 {
		return nil
	}
	calendars := map[string]*calendar{}
	err := p.read(ctx, tx, calendars, `
		select last.* from unnest($1::text[]) as chat, lateral (
			select `+chatDays.names+` from chat_days where stream_id = chat order by day desc limit 1) last`,
		streamsOf(concerned))
	if err != nil {
		return err
	}
	for _, r := range concerned {
		if calendars[string(r.Stream)] == nil {
			calendars[string(r.Stream)] = &calendar{}
		}
		if err := calendars[string(r.Stream)].Take(r); err != nil {
			return err
		}
	}
	var days []*ChatDay
	for _, stream := range slices.Sorted(maps.Keys(calendars)) {
		days = append(days, calendars[stream].days...)
	}
	_, err = chatDays.write(ctx, tx, days)
	return err
}

// Start implements Projection.
func (ChatDays) Start() Folding { return &calendar{} }

// Rows implements Folding.
func (c *calendar) Rows() map[string]Row {
	rows := make(map[string]Row, len(c.days))
	for _, d := range c.days {
		rows[d.Key] = chatDays.row(d)
	}
	return rows
}

// Rows implements Projection.
func (p ChatDays) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	calendars := map[string]*calendar{}
	if err := p.read(ctx, tx, calendars, `select `+chatDays.names+` from chat_days where stream_id = any($1)`,
		streams); err != nil {
		return nil, err
	}
	rows := map[string]Row{}
	for _, c := range calendars {
		maps.Copy(rows, c.Rows())
	}
	return rows, nil
}

func (ChatDays) read(ctx context.Context, tx pgx.Tx, into map[string]*calendar, query string, streams []string) error {
	days, err := chatDays.query(ctx, tx, query, streams)
	for _, d := range days {
		if into[d.Stream] == nil {
			into[d.Stream] = &calendar{}
		}
		into[d.Stream].days = append(into[d.Stream].days, d)
	}
	return err
}
