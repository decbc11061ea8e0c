// Package load makes load for measurements and tests: updates, senders that post them, and
// stores with a long history.
package load

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Fill stores the events of a support bot: a message, its intent, the answer and its delivery,
// interleaved with those of the chats that write at the same moment; then the next chats,
// until it starts again with the first. One chat in fifty has a ticket.
func Fill(ctx context.Context, dsn string, events, chats int) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const chunk = 200_000 // rows a transaction, so that the feed has many
	src := &history{
		codec: chat.NewCodec(), chats: chats, versions: make([]int64, chats), at: time.Unix(1767225600, 0).UTC(),
	}
	for done := 0; done < events; done += chunk {
		src.left = min(chunk, events-done)
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"eventstore", "events"}, []string{
				"stream_id", "version", "event_id", "name", "event_version",
				"payload", "raw", "causation_id", "correlation_id", "actor", "occurred_at",
			}, src)
			return err
		})
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	_, err = conn.Exec(ctx, `
		insert into eventstore.streams (stream_id)
		select distinct stream_id from eventstore.events on conflict do nothing`)
	if err == nil {
		_, err = conn.Exec(ctx, `vacuum analyze eventstore.events`)
	}
	return err
}

// history is a pgx.CopyFromSource of events.
type history struct {
	codec    *domain.Codec
	chats, n int
	left     int
	versions []int64
	at       time.Time
	err      error
}

func (h *history) Next() bool { h.left--; return h.left >= 0 && h.err == nil }
func (h *history) Err() error { return h.err }

// chatsAtOnce is how many chats write at the same moment.
const chatsAtOnce = 16

// Values is the next event.
func (h *history) Values() ([]any, error) {
	const turn = 4 * chatsAtOnce
	chatNo := (h.n/turn*chatsAtOnce + h.n%chatsAtOnce) % h.chats
	h.n++
	h.versions[chatNo]++
	version := h.versions[chatNo]
	h.at = h.at.Add(time.Millisecond)
	var event domain.Event
	var raw any
	to := chat.Answer{To: domain.Version((version-1)/4*4 + 1)}
	switch version % 4 {
	case 1:
		update := Update(int64(h.n), int64(chatNo+1))
		request, err := Translate(update, h.at)
		if err != nil {
			return nil, err
		}
		event, raw = request.Command.(chat.Receive).Event, update
	case 2:
		event = chat.Understood{Answer: to, Intent: dialog.OrderStatus, Confidence: 0.75}
	case 3:
		event = chat.ReplyQueued{
			Answer: to, Author: chat.Author{Kind: chat.Bot},
			Text: "Which order do you mean? Please send me its number; it is in the confirmation e-mail.",
		}
		if version == 3 && chatNo%50 == 0 {
			event = chat.TicketOpened{
				Ticket: "#1", Reason: "asked", Subject: "I want to talk to a person", Priority: dialog.High,
				At: h.at, Due: h.at.Add(time.Hour),
			}
		}
	case 0:
		event = chat.DeliverySucceeded{Delivery: uuid.New(), Kind: domain.KindSendMessage, MessageID: int64(h.n)}
	}
	name, eventVersion, payload, err := h.codec.Encode(event)
	if err != nil {
		return nil, err
	}
	id := [16]byte(uuid.Must(uuid.NewV7()))
	return []any{
		string(domain.ChatStream("demo", int64(chatNo+1))), version, id, name, int16(eventVersion), payload,
		raw, nil, id, "bench", h.at,
	}, nil
}

// Update returns an update of some 350 bytes, the size of a customer's message in a private
// chat. Its sender is another bot, so that ours does not answer. (The space before true keeps
// pgbench from reading it as one of its variables.)
func Update(id, chat int64) []byte {
	return fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%d,`+
		`"from":{"id":%d,"is_bot": true,"first_name":"Ada","username":"ada_l","language_code":"en"},`+
		`"chat":{"id":%d,"first_name":"Ada","username":"ada_l","type":"private"},"date":1767225600,`+
		`"text":"Hello, I would like to know where my parcel is, it should have been here yesterday already"}}`,
		id, id, chat, chat)
}

// Translate translates an update as the receiver of the bot demo does.
func Translate(update []byte, at time.Time) (commands.Request, error) {
	return telegram.Translate(telegram.Bot{Name: "demo"}, update, at)
}
