package bus

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// drainTimeout is how long a stopping router waits for what is in hand: a page
// takes tens of milliseconds, an attempt at a delivery up to its own timeout.
const drainTimeout = 8 * time.Second

// Router is a Watermill router with handlers for pages and deliveries.
type Router struct {
	router *message.Router
}

// NewRouter returns an empty router.
func NewRouter(log *slog.Logger) (*Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: drainTimeout},
		watermill.NewSlogLoggerWithLevelMapping(log, quieter))
	if err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	router.AddMiddleware(recovered)
	return &Router{router: router}, nil
}

// recovered makes an error of a panic. Watermill's own middleware would log what was thrown.
func recovered(handle message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (out []*message.Message, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = commands.Panicked(r, debug.Stack())
			}
		}()
		return handle(msg)
	}
}

// Watermill tells of every subscription at level info; to us that is detail.
var quieter = map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}

// Follow gives the pages of a log to a handler. The group's name is data: under
// another name all history comes again.
func (r *Router) Follow(l *Log, handle func(context.Context, pgx.Tx, []domain.Recorded) error) {
	r.router.AddConsumerHandler(l.group, "events", l, func(msg *message.Message) error {
		page := msg.Context().Value(pageKey{}).(*pageInTx)
		if page.err = handlePage(msg.Context(), page, handle); page.err != nil {
			msg.Nack() // the log decides what follows, and says what failed
		}
		return nil
	})
}

// handlePage calls handle and makes an error of a panic.
func handlePage(
	ctx context.Context, page *pageInTx, handle func(context.Context, pgx.Tx, []domain.Recorded) error,
) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = commands.Panicked(r, debug.Stack())
		}
	}()
	return handle(ctx, page.tx, page.events)
}

// Deliver gives the deliveries to one destination to a handler. Behind Run, Start begins
// it. stop claims no more, and returns when those under way have come to an end; it may
// be called once the router is running, and then the destination may be given again.
func (r *Router) Deliver(l *Leases, destination string,
	handle func(context.Context, commands.Claimed) error) (stop func()) {
	h := r.router.AddConsumerHandler("deliver to "+destination, destination, l, func(msg *message.Message) error {
		return handle(msg.Context(), Claimed(msg))
	})
	return func() {
		h.Stop()
		<-h.Stopped()
	}
}

// Start begins what was added since Run, until ctx ends, which it must when Run's does:
// the router stops when nothing of it runs any more.
func (r *Router) Start(ctx context.Context) error {
	<-r.router.Running()
	return r.router.RunHandlers(ctx)
}

// Run hands messages out until ctx ends, then lets the handlers finish.
func (r *Router) Run(ctx context.Context) error { return r.router.Run(ctx) }

// Running is closed when every handler has subscribed.
func (r *Router) Running() <-chan struct{} { return r.router.Running() }
