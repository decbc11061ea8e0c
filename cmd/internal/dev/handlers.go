package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/domain"
)

// handlers reads from the read model who has a chat, for the chat page.
type handlers struct {
	pool    *pgxpool.Pool
	desk    string // base address of the simulated Zendesk
	dsnFile string // how a shell gets the database's address
}

// Handler implements telegramsim.Handlers. The simulator's one bot is the demo's.
func (h handlers) Handler(
	ctx context.Context, _ string, chat int64, since time.Time,
) (shown telegramsim.Handler, err error) {
	// by key; the latest ticket of one chat is found by the index on its stream
	const query = `
		select c.handler, t.opened_at, coalesce(t.assignee, t.claimed_by, ''), coalesce(t.external_id, '')
		from readmodel.conversations c
		left join lateral (
			select * from readmodel.tickets t where t.stream_id = c.stream_id order by t.opened_at desc limit 1
		) t on true
		where c.stream_id = $1`
	stream := domain.ChatStream(BotName, chat)
	var opened *time.Time
	var ticket string
	err = h.pool.QueryRow(ctx, query, stream).Scan(&shown.Name, &opened, &shown.Assignee, &ticket)
	if errors.Is(err, pgx.ErrNoRows) {
		return telegramsim.Handler{}, nil
	}
	if err != nil {
		return shown, fmt.Errorf("read who has chat %s: %w", stream, err)
	}
	if opened != nil {
		shown.Since = *opened
	}
	shown.Events = fmt.Sprintf("bin/chatledger events --database-url %s --stream %s:%d", h.dsnFile, BotName, chat)
	if ticket != "" {
		shown.Comment = fmt.Sprintf(
			`curl -X POST %s/fake/tickets/%s/comments -d '{"agent": "Maria", "body": "Hi, this is Maria."}'`,
			h.desk, ticket)
	}
	shown.Authors, err = h.authors(ctx, stream, since)
	return shown, err
}

// authors are the people who wrote messages of a chat since a time. The simulator numbers
// messages anew at each start, so earlier ones would be taken for others.
func (h handlers) authors(ctx context.Context, stream domain.StreamID, since time.Time) (map[int64]string, error) {
	const query = `
		select telegram_id, coalesce(author, '') from readmodel.messages
		where stream_id = $1 and at >= $2 and direction = 'out' and written_by = 'person' and telegram_id is not null`
	rows, err := h.pool.Query(ctx, query, stream, since)
	if err != nil {
		return nil, fmt.Errorf("read who wrote in chat %s: %w", stream, err)
	}
	authors, id, name := map[int64]string{}, int64(0), ""
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		if name == "" {
			name = "a person of the team"
		}
		authors[id] = name
		return nil
	})
	return authors, err
}

// poolCloser adapts the pool's Close.
type poolCloser struct{ *pgxpool.Pool }

func (p poolCloser) Close() error {
	p.Pool.Close()
	return nil
}
