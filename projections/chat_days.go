package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// ChatDays is readmodel.chat_days: what happened in each chat on each day. A bot's day is
// the sum of its chats', which the view readmodel.daily makes: a row of a table must be
// that of one stream, to be folded and verified by itself.
type ChatDays struct{}

// ChatDay is a row; nil stands for null. A chat's last row has what the next must know.
type ChatDay struct {
	Key             string
	Stream          string
	Bot             string
	ChatID          int64
	Day             time.Time // its beginning, UTC
	Began           bool
	WithPerson      bool
	MessagesIn      int64
	RepliesRule     int64
	RepliesModel    int64
	RepliesPerson   int64
	HandOvers       map[string]int64 // by reason
	Reopened        int64
	Resolved        int64
	LateResponses   int64
	LateResolutions int64
	OptOuts         int64
	Returns         int64
	ModelAnswers    int64
	ModelTokens     int64
	ModelCostMicros int64
	FirstResponses  []float64 // seconds
	Resolutions     []float64 // seconds
	Known           bool
	Blocked         bool
	TicketSince     *time.Time
	AwaitedSince    *time.Time
	place
}

// Name implements Projection.
func (ChatDays) Name() string { return "chat_days" }

// Version implements Projection.
func (ChatDays) Version() int { return 1 }

// Concerned implements Projection.
func (ChatDays) Concerned() []domain.Event {
	return []domain.Event{chat.MessageReceived{}, chat.ButtonPressed{}, chat.ReplyQueued{}, chat.TicketOpened{}, chat.TicketReopened{}, chat.TicketResolved{},
		chat.HandedBack{}, chat.DueBreached{}, chat.MembershipChanged{}, chat.DeliveryFailed{}, chat.ModelAnswered{}}
}

// counts tells whether an event changes a chat's day.
func counts(event domain.Event) bool {
	switch e := event.(type) {
	case chat.MessageReceived, chat.ButtonPressed, chat.ReplyQueued, chat.TicketOpened, chat.TicketReopened, chat.TicketResolved,
		chat.HandedBack, chat.DueBreached, chat.MembershipChanged, chat.ModelAnswered:
		return true
	case chat.DeliveryFailed:
		return e.Blocked
	}
	return false
}

// calendar is a chat's days, oldest first: all of them, or the last and those after it.
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

// following begins a chat's next day.
func following(stream domain.StreamID, day time.Time, last *ChatDay) *ChatDay {
	id, _ := stream.Chat()
	d := &ChatDay{Key: string(stream) + "/" + day.Format(time.DateOnly), Stream: string(stream), Bot: stream.Bot(), ChatID: id, Day: day,
		HandOvers: map[string]int64{}, FirstResponses: []float64{}, Resolutions: []float64{}}
	if last != nil {
		d.Known, d.Blocked, d.TicketSince, d.AwaitedSince = last.Known, last.Blocked, last.TicketSince, last.AwaitedSince
	}
	return d
}

func (d *ChatDay) take(r domain.Recorded) {
	d.WithPerson = d.WithPerson || d.TicketSince != nil
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		if e.From.Bot {
			break
		}
		d.MessagesIn++
		d.Began = d.Began || !d.Known
		d.Known = true
		d.blocks(d.Blocked && e.Late) // who writes has come back
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
	case byPerson:
		d.RepliesPerson++
		d.WithPerson = true
		if d.AwaitedSince != nil {
			d.FirstResponses = append(d.FirstResponses, seconds(*d.AwaitedSince, at))
			d.AwaitedSince = nil
		}
	default:
		d.RepliesModel++
	}
}

func (d *ChatDay) opened(at time.Time) {
	at = at.UTC().Truncate(time.Microsecond) // as a column keeps it
	d.TicketSince, d.AwaitedSince, d.WithPerson = &at, &at, true
}

// seconds between two times, by clocks that may disagree.
func seconds(from, to time.Time) float64 {
	return max(0, to.Truncate(time.Microsecond).Sub(from).Seconds())
}

// chatDayColumns in the order of ChatDay.fields.
const chatDayColumns = `chat_day, stream_id, bot, chat_id, day, began, with_person, messages_in, replies_rule, replies_model, replies_person,
	hand_overs, reopened, resolved, late_responses, late_resolutions, opt_outs, returns, model_answers, model_tokens, model_cost_micros, first_responses, resolutions,
	known, blocked, ticket_since, awaited_since, version, transaction_id, position`

func (d *ChatDay) fields() []any {
	return []any{&d.Key, &d.Stream, &d.Bot, &d.ChatID, &d.Day, &d.Began, &d.WithPerson, &d.MessagesIn, &d.RepliesRule, &d.RepliesModel, &d.RepliesPerson,
		&d.HandOvers, &d.Reopened, &d.Resolved, &d.LateResponses, &d.LateResolutions, &d.OptOuts, &d.Returns, &d.ModelAnswers, &d.ModelTokens, &d.ModelCostMicros, &d.FirstResponses, &d.Resolutions,
		&d.Known, &d.Blocked, &d.TicketSince, &d.AwaitedSince, &d.Version, &d.Position.Transaction, &d.Position.Number}
}

// Apply implements Projection: read the last day of the page's chats, fold, write back,
// each in one statement.
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
			select `+chatDayColumns+` from chat_days where stream_id = chat order by day desc limit 1) last`, streamsOf(concerned))
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
	return p.write(ctx, tx, calendars)
}

// Start implements Projection.
func (ChatDays) Start() Folding { return &calendar{} }

// Rows implements Folding.
func (c *calendar) Rows() map[string]Row {
	rows := make(map[string]Row, len(c.days))
	for _, d := range c.days {
		rows[d.Key] = rowOf(chatDayColumns, d.fields())
	}
	return rows
}

// Rows implements Projection.
func (p ChatDays) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	calendars := map[string]*calendar{}
	if err := p.read(ctx, tx, calendars, `select `+chatDayColumns+` from chat_days where stream_id = any($1)`, streams); err != nil {
		return nil, err
	}
	rows := map[string]Row{}
	for _, c := range calendars {
		maps.Copy(rows, c.Rows())
	}
	return rows, nil
}

func (ChatDays) read(ctx context.Context, tx pgx.Tx, into map[string]*calendar, query string, streams []string) error {
	found, err := tx.Query(ctx, query, streams)
	if err != nil {
		return fmt.Errorf("read days of chats: %w", err)
	}
	defer found.Close()
	for found.Next() {
		d := &ChatDay{}
		if err := found.Scan(d.fields()...); err != nil {
			return fmt.Errorf("read days of chats: %w", err)
		}
		if into[d.Stream] == nil {
			into[d.Stream] = &calendar{}
		}
		into[d.Stream].days = append(into[d.Stream].days, d)
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("read days of chats: %w", err)
	}
	return nil
}

func (ChatDays) write(ctx context.Context, tx pgx.Tx, calendars map[string]*calendar) error {
	var (
		keys, streams, bots, handOvers, responses, resolutions []string
		chats, in, rule, model, person, reopened, resolved     []int64
		lateResponses, lateResolutions, outs, returns          []int64
		answers, tokens, costs, versions, positions            []int64
		days                                                   []time.Time
		began, withPerson, known, blocked                      []bool
		ticket, awaited                                        []*time.Time
		transactions                                           []uint64
	)
	for _, stream := range slices.Sorted(maps.Keys(calendars)) {
		for _, d := range calendars[stream].days {
			reasons, err := json.Marshal(d.HandOvers)
			if err != nil {
				return fmt.Errorf("day %s: %w", d.Key, err)
			}
			keys, streams, bots, chats, days = append(keys, d.Key), append(streams, d.Stream), append(bots, d.Bot), append(chats, d.ChatID), append(days, d.Day)
			began, withPerson, known, blocked = append(began, d.Began), append(withPerson, d.WithPerson), append(known, d.Known), append(blocked, d.Blocked)
			in, rule, model, person = append(in, d.MessagesIn), append(rule, d.RepliesRule), append(model, d.RepliesModel), append(person, d.RepliesPerson)
			handOvers, reopened, resolved = append(handOvers, string(reasons)), append(reopened, d.Reopened), append(resolved, d.Resolved)
			lateResponses, lateResolutions = append(lateResponses, d.LateResponses), append(lateResolutions, d.LateResolutions)
			answers, tokens, costs = append(answers, d.ModelAnswers), append(tokens, d.ModelTokens), append(costs, d.ModelCostMicros)
			outs, returns = append(outs, d.OptOuts), append(returns, d.Returns)
			responses, resolutions = append(responses, array(d.FirstResponses)), append(resolutions, array(d.Resolutions))
			ticket, awaited = append(ticket, d.TicketSince), append(awaited, d.AwaitedSince)
			versions, transactions, positions = append(versions, d.Version), append(transactions, d.Position.Transaction), append(positions, d.Position.Number)
		}
	}
	_, err := tx.Exec(ctx, `
		insert into chat_days (`+chatDayColumns+`)
		select chat_day, stream_id, bot, chat_id, day, began, with_person, messages_in, replies_rule, replies_model, replies_person,
			hand_overs, reopened, resolved, late_responses, late_resolutions, opt_outs, returns, model_answers, model_tokens, model_cost_micros, first_responses::double precision[], resolutions::double precision[],
			known, blocked, ticket_since, awaited_since, version, transaction_id, position
		from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::date[], $6::boolean[], $7::boolean[], $8::bigint[], $9::bigint[], $10::bigint[],
			$11::bigint[], $12::jsonb[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::text[], $23::text[],
			$24::boolean[], $25::boolean[], $26::timestamptz[], $27::timestamptz[], $28::bigint[], $29::xid8[], $30::bigint[]) as t (`+chatDayColumns+`)
		on conflict (chat_day) do update set began = excluded.began, with_person = excluded.with_person, messages_in = excluded.messages_in,
			replies_rule = excluded.replies_rule, replies_model = excluded.replies_model, replies_person = excluded.replies_person,
			hand_overs = excluded.hand_overs, reopened = excluded.reopened, resolved = excluded.resolved, late_responses = excluded.late_responses,
			late_resolutions = excluded.late_resolutions, opt_outs = excluded.opt_outs, returns = excluded.returns,
			model_answers = excluded.model_answers, model_tokens = excluded.model_tokens, model_cost_micros = excluded.model_cost_micros,
			first_responses = excluded.first_responses, resolutions = excluded.resolutions, known = excluded.known, blocked = excluded.blocked,
			ticket_since = excluded.ticket_since, awaited_since = excluded.awaited_since,
			version = excluded.version, transaction_id = excluded.transaction_id, position = excluded.position`,
		keys, streams, bots, chats, days, began, withPerson, in, rule, model, person, handOvers, reopened, resolved, lateResponses, lateResolutions, outs, returns,
		answers, tokens, costs, responses, resolutions, known, blocked, ticket, awaited, versions, transactions, positions)
	if err != nil {
		return fmt.Errorf("write %d days of chats: %w", len(keys), err)
	}
	return nil
}

// array is a list of numbers as the database reads one: an array of lists of different
// lengths is nothing it knows.
func array(list []float64) string {
	text := []byte{'{'}
	for i, x := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, x, 'g', -1, 64)
	}
	return string(append(text, '}'))
}
