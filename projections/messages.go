package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Messages is readmodel.messages: every message in both directions, and for received messages the
// author of the answer.
type Messages struct{}

var messages = newTable[Message]("messages")

// Name implements Projection.
func (Messages) Name() string { return "messages" }

// Version implements Projection.
func (Messages) Version() int { return 1 }

// Concerned implements Projection.
func (Messages) Concerned() []domain.Event { return codec.Folded("messages") }

// Apply implements Projection: one statement reads the messages of earlier pages that the page's
// events change, and one writes.
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
	// Rows are written in the order of the feed, so that rows of the same time are stored together.
	slices.SortFunc(changed, func(a, b *Message) int {
		return cmp.Or(cmp.Compare(a.Position.Transaction, b.Position.Transaction),
			cmp.Compare(a.Position.Number, b.Position.Number), cmp.Compare(a.Number, b.Number))
	})
	// The upsert leaves out a row that the table has in the same or a later version.
	written, err := messages.write(ctx, tx, changed)
	if old := int64(len(changed)) - written; err == nil && old > 0 {
		const repeated = "messages: the table already has %d rows of this page: " +
			"the feed repeated an event; run `chatledger rebuild messages`"
		err = fmt.Errorf(repeated, old)
	}
	return err
}

// read returns the stored messages that the events of a page name, and the last messages of chats with
// an event about those. It does not look for messages that the page itself adds.
func (Messages) read(ctx context.Context, tx pgx.Tx, page []domain.Recorded) (map[domain.StreamID]*messageLog, error) {
	logs := map[domain.StreamID]*messageLog{}
	names, chats := []string{}, []string{} // not nil: `<> all(null)` is never true
	added, seen := map[string]bool{}, map[string]bool{}
	for _, r := range page {
		switch r.Event.(type) {
		case chat.MessageReceived, chat.MessageEdited, chat.ButtonPressed:
			added[receivedID(r.Stream, r.Version)] = true
		case chat.ReplyQueued:
			added[r.ID.String()] = true
		}
		if id := about(r); id != "" && !added[id] && !seen[id] {
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
	list, err := messages.query(ctx, tx, `
		select `+messages.names+` from messages where message_id = any($1)
		union all
		select last.* from unnest($2::text[]) as chat, lateral (
			select `+messages.names+` from messages
			where stream_id = chat and message_id <> all($1)
			order by number desc limit $3) last
		order by stream_id, number`, names, chats, lastMessages)
	for _, m := range list {
		stream := domain.StreamID(m.Stream)
		if logs[stream] == nil {
			logs[stream] = newMessageLog(stream)
		}
		logs[stream].keep(m)
	}
	return logs, err
}

// Start implements Projection.
func (Messages) Start() Folding { return &messageFolding{} }

// messageFolding makes a log of the stream of its first event.
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
			rows[m.ID] = messages.row(m)
		}
	}
	return rows
}

// Rows implements Projection.
func (Messages) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	list, err := messages.query(ctx, tx, `select `+messages.names+` from messages where stream_id = any($1)`, streams)
	rows := make(map[string]Row, len(list))
	for _, m := range list {
		rows[m.ID] = messages.row(m)
	}
	return rows, err
}
