package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Messages is readmodel.messages: every message in both directions, with who answered it.
type Messages struct{}

// Name implements Projection.
func (Messages) Name() string { return "messages" }

// Version implements Projection.
func (Messages) Version() int { return 1 }

// Concerned implements Projection.
func (Messages) Concerned() []domain.Event {
	return []domain.Event{chat.MessageReceived{}, chat.MessageEdited{}, chat.ButtonPressed{}, chat.Understood{}, chat.BacklogTaken{}, chat.AlbumTaken{}, chat.WorkflowMoved{}, chat.ModelAsked{}, chat.ExchangeJoined{},
		chat.ReplyQueued{}, chat.ButtonAnswered{}, chat.TicketOpened{}, chat.DeliverySucceeded{}, chat.DeliveryFailed{}, chat.DeliveryRetried{}, chat.DeliverySkipped{}}
}

// messageColumns in the order of Message.fields.
const messageColumns = `message_id, stream_id, number, bot, chat_id, direction, kind, at, sent_at, telegram_id, written_by, author, text,
	language, intent, confidence, knowledge, workflow, from_step, step, answered_by, answered_at, handed_over, answers,
	backlog, model_asked, over_limit, late, album_part, delivery, delivered_at, failure, version, transaction_id, position`

func (m *Message) fields() []any {
	return []any{&m.ID, &m.Stream, &m.Number, &m.Bot, &m.ChatID, &m.Direction, &m.Kind, &m.At, &m.SentAt, &m.TelegramID, &m.WrittenBy, &m.Author, &m.Text,
		&m.Language, &m.Intent, &m.Confidence, &m.Knowledge, &m.Workflow, &m.FromStep, &m.Step, &m.AnsweredBy, &m.AnsweredAt, &m.HandedOver, &m.Answers,
		&m.Backlog, &m.ModelAsked, &m.OverLimit, &m.Late, &m.AlbumPart, &m.Delivery, &m.DeliveredAt, &m.Failure, &m.Version, &m.Position.Transaction, &m.Position.Number}
}

// Apply implements Projection: one statement reads what the page's events change of
// earlier pages' messages, and one writes.
func (p Messages) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	logs, err := p.read(ctx, tx, page)
	if err != nil {
		return err
	}
	for _, r := range page {
		log := logs[r.Stream]
		if log == nil {
			log = newMessageLog(r.Stream)
			logs[r.Stream] = log
		}
		if err := log.take(r); err != nil {
			return err
		}
	}
	var changed []*Message
	for _, log := range logs {
		for _, m := range log.list {
			if m.changed {
				changed = append(changed, m)
			}
		}
	}
	// In the order of the feed, so that rows of one time lie together.
	slices.SortFunc(changed, func(a, b *Message) int {
		return cmp.Or(cmp.Compare(a.Position.Transaction, b.Position.Transaction), cmp.Compare(a.Position.Number, b.Position.Number), cmp.Compare(a.Number, b.Number))
	})
	return p.write(ctx, tx, changed)
}

// read finds the messages that a page's events name, and the last ones of chats in which
// an event is about those. What the page itself brings is not in the table yet.
func (Messages) read(ctx context.Context, tx pgx.Tx, page []domain.Recorded) (map[domain.StreamID]*messageLog, error) {
	logs := map[domain.StreamID]*messageLog{}
	names, chats := []string{}, []string{} // not null, which nothing is unequal to
	brought, seen := map[string]bool{}, map[string]bool{}
	for _, r := range page {
		switch r.Event.(type) {
		case chat.MessageReceived, chat.MessageEdited, chat.ButtonPressed:
			brought[named(r.Stream, r.Version)] = true
		case chat.ReplyQueued:
			brought[r.ID.String()] = true
		}
		if id := about(r); id != "" && !brought[id] && !seen[id] {
			seen[id] = true
			names = append(names, id)
		}
		if stream := string(r.Stream); aboutTheLast(r) && !seen[stream] {
			seen[stream] = true
			chats = append(chats, stream)
		}
	}
	if len(names)+len(chats) == 0 {
		return logs, nil
	}
	rows, err := tx.Query(ctx, `
		select `+messageColumns+` from messages where message_id = any($1)
		union all
		select last.* from unnest($2::text[]) as chat, lateral (
			select `+messageColumns+` from messages where stream_id = chat and message_id <> all($1) order by number desc limit $3) last
		order by stream_id, number`, names, chats, lately)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	err = eachMessage(rows, func(m *Message) {
		stream := domain.StreamID(m.Stream)
		if logs[stream] == nil {
			logs[stream] = newMessageLog(stream)
		}
		logs[stream].keep(m)
	})
	return logs, err
}

func eachMessage(rows pgx.Rows, take func(*Message)) error {
	defer rows.Close()
	for rows.Next() {
		m := &Message{}
		if err := rows.Scan(m.fields()...); err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		take(m)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	return nil
}

// Start implements Projection.
func (Messages) Start() Folding { return &messageFolding{} }

// messageFolding is a log that knows its stream from the first event.
type messageFolding struct{ log *messageLog }

// Take implements Folding.
func (f *messageFolding) Take(r domain.Recorded) error {
	if f.log == nil {
		f.log = newMessageLog(r.Stream)
	}
	return f.log.take(r)
}

// Rows implements Folding.
func (f *messageFolding) Rows() map[string]Row {
	rows := map[string]Row{}
	if f.log != nil {
		for _, m := range f.log.list {
			rows[m.ID] = rowOf(messageColumns, m.fields())
		}
	}
	return rows
}

// Rows implements Projection.
func (Messages) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	found, err := tx.Query(ctx, `select `+messageColumns+` from messages where stream_id = any($1)`, streams)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	rows := map[string]Row{}
	err = eachMessage(found, func(m *Message) { rows[m.ID] = rowOf(messageColumns, m.fields()) })
	return rows, err
}

func (Messages) write(ctx context.Context, tx pgx.Tx, changed []*Message) error {
	n := len(changed)
	if n == 0 {
		return nil
	}
	var (
		ids, streams, bots, directions, kinds, writers           = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		numbers, chats, versions, positions                      = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		at                                                       = make([]time.Time, n)
		sentAt, answeredAt, deliveredAt                          = make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
		telegramIDs                                              = make([]*int64, n)
		authors, texts, languages, intents, hashes               = make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
		workflows, fromSteps, steps, answeredBy, handed, answers = make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
		confidences                                              = make([]*float64, n)
		backlogs, asked, over, late, parts                       = make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
		deliveries, failures                                     = make([]*string, n), make([]*string, n)
		transactions                                             = make([]uint64, n)
	)
	for i, m := range changed {
		ids[i], streams[i], bots[i], directions[i], kinds[i], writers[i] = m.ID, m.Stream, m.Bot, m.Direction, m.Kind, m.WrittenBy
		numbers[i], chats[i], versions[i], transactions[i], positions[i] = m.Number, m.ChatID, m.Version, m.Position.Transaction, m.Position.Number
		at[i], sentAt[i], answeredAt[i], deliveredAt[i], telegramIDs[i] = m.At, m.SentAt, m.AnsweredAt, m.DeliveredAt, m.TelegramID
		authors[i], texts[i], languages[i], intents[i], hashes[i], confidences[i] = m.Author, m.Text, m.Language, m.Intent, m.Knowledge, m.Confidence
		workflows[i], fromSteps[i], steps[i], answeredBy[i], handed[i], answers[i] = m.Workflow, m.FromStep, m.Step, m.AnsweredBy, m.HandedOver, m.Answers
		backlogs[i], asked[i], over[i], late[i], parts[i], deliveries[i], failures[i] = m.Backlog, m.ModelAsked, m.OverLimit, m.Late, m.AlbumPart, m.Delivery, m.Failure
	}
	// A row that is there already and is not of an earlier version was written before.
	written, err := tx.Exec(ctx, `
		insert into messages as m (`+messageColumns+`)
		select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[],
			$10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::double precision[], $17::text[], $18::text[], $19::text[],
			$20::text[], $21::text[], $22::timestamptz[], $23::text[], $24::text[], $25::boolean[], $26::boolean[], $27::boolean[], $28::boolean[], $29::boolean[],
			$30::text[], $31::timestamptz[], $32::text[], $33::bigint[], $34::xid8[], $35::bigint[])
		on conflict (message_id) do update set telegram_id = excluded.telegram_id, language = excluded.language, intent = excluded.intent,
			confidence = excluded.confidence, knowledge = excluded.knowledge, workflow = excluded.workflow, from_step = excluded.from_step,
			step = excluded.step, answered_by = excluded.answered_by, answered_at = excluded.answered_at, handed_over = excluded.handed_over,
			backlog = excluded.backlog, model_asked = excluded.model_asked, album_part = excluded.album_part, delivery = excluded.delivery, delivered_at = excluded.delivered_at, failure = excluded.failure,
			version = excluded.version, transaction_id = excluded.transaction_id, position = excluded.position
		where m.version < excluded.version`,
		ids, streams, numbers, bots, chats, directions, kinds, at, sentAt, telegramIDs, writers, authors, texts, languages, intents, confidences, hashes,
		workflows, fromSteps, steps, answeredBy, answeredAt, handed, answers, backlogs, asked, over, late, parts, deliveries, deliveredAt, failures,
		versions, transactions, positions)
	if err != nil {
		return fmt.Errorf("write %d messages: %w", n, err)
	}
	if old := int64(n) - written.RowsAffected(); old > 0 {
		return fmt.Errorf("messages: %d of a page were written already: the feed repeated an event; run `chatledger rebuild messages`", old)
	}
	return nil
}
