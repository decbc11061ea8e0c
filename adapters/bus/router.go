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

// drainTimeout is how long a stopping router waits for its handlers: a page takes tens of milliseconds, an
// attempt at a delivery up to its own timeout.
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

// recovered converts a panic to an error. Watermill's own middleware would log the panic value.
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

// quieter maps log levels: Watermill logs every subscription at level info, which is debug here.
var quieter = map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}

// Follow passes the pages of a log to a handler. The group's name identifies its checkpoint: under another
// name the handler gets all events again.
func (r *Router) Follow(l *Log, handle func(context.Context, pgx.Tx, []domain.Recorded) error) {
	r.router.AddConsumerHandler(l.group, "events", l, func(msg *message.Message) error {
		page := msg.Context().Value(pageKey{}).(*pageInTx)
		if page.err = handlePage(msg.Context(), page, handle); page.err != nil {
			msg.Nack() // the Log handles page.err
		}
		return nil
	})
}

// handlePage calls handle and converts a panic to an error.
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

// Deliver passes the deliveries to a destination to a handler. After Run was called, it takes effect with Start.
// stop ends the claiming, and returns when the attempts in progress have ended; it may be called while the
// router is running. Then Deliver may be called for the destination again.
func (r *Router) Deliver(
	l *Leases, destination string, handle func(context.Context, commands.Claimed) error,
) (stop func()) {
	h := r.router.AddConsumerHandler("deliver to "+destination, destination, l, func(msg *message.Message) error {
		return handle(msg.Context(), Claimed(msg))
	})
	return func() {
		h.Stop()
		<-h.Stopped()
	}
}

// Start starts the handlers that were added after Run was called. They run until ctx ends, which must be when
// Run's context ends: the router stops only when no handler runs any more.
func (r *Router) Start(ctx context.Context) error {
	<-r.router.Running()
	return r.router.RunHandlers(ctx)
}

// Run passes messages to the handlers until ctx ends, and then waits for the handlers.
func (r *Router) Run(ctx context.Context) error { return r.router.Run(ctx) }

// Running is closed when every handler has subscribed.
func (r *Router) Running() <-chan struct{} { return r.router.Running() }
