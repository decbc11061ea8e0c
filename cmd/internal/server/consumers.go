package server

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
)

// Names of the consumer groups that are no projections; a projection's group has the name of
// its table. The names are stored with the checkpoints: under a new name, a group would handle
// all events again.
const (
	Responder = "responder"
	Outbox    = "outbox"
)

// ConsumerGroups returns the names of all consumer groups.
func ConsumerGroups() []string {
	groups := []string{Responder, Outbox}
	for _, p := range projections.All() {
		groups = append(groups, p.Name())
	}
	return groups
}

// subscribe adds the consumer groups to the router.
func (s *Server) subscribe() {
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return s.Store.Subscribe(ctx, group) }
	for _, p := range projections.All() {
		pause := ProjectEvery
		switch p.(type) {
		case projections.Messages, projections.ChatDays:
			pause = s.analysts
		}
		lead := func(ctx context.Context, table string) (bus.Reader, error) {
			return s.Store.SubscribeTable(ctx, table, p.Version(), s.log)
		}
		feed := bus.NewLog(p.Name(), lead, s.log, s.pageCommitted).Linger(pause)
		s.Router.Follow(feed, s.tracing.Page(p.Name(), p.Apply))
	}
	policies := responder{handler: s.requests, bots: &s.Bots, now: s.now}
	respond := func(ctx context.Context, group string) (bus.Reader, error) {
		return s.Store.SubscribeBots(ctx, group, s.Bots.serves)
	}
	s.Router.Follow(bus.NewLog(Responder, respond, s.log, s.pageCommitted).Hold(policies.Holds),
		s.tracing.Page(Responder, policies.Apply))
	enqueuer := outboxWriter{outbox: s.outbox}
	s.Router.Follow(bus.NewLog(Outbox, lead, s.log, func(group string, page []domain.Recorded, took time.Duration) {
		s.pageCommitted(group, page, took)
		enqueuer.Committed(page)
	}), s.tracing.Page(Outbox, enqueuer.Apply))
}

// pageCommitted observes a page that a consumer group has handled and committed.
func (s *Server) pageCommitted(group string, page []domain.Recorded, took time.Duration) {
	s.metrics.Page(group, len(page), took)
}

// responder is the consumer group of the policies: it turns events into commands.
type responder struct {
	handler commands.BatchHandler
	bots    *fleet
	now     func() time.Time
}

// Apply handles the commands that a page's events lead to.
func (p responder) Apply(ctx context.Context, _ pgx.Tx, page []domain.Recorded) error {
	var requests []commands.Request
	for _, r := range page {
		requests = append(requests, p.requests(r, p.bots.desk(r.Stream.Bot()))...)
	}
	_, err := p.handler.HandleAll(ctx, requests)
	return err
}

// requests returns the commands that an event leads to: the bot's next turn, the referral of a ticket
// to an external help desk, and the migration of a group to its new chat id.
func (p responder) requests(r domain.Recorded, desk string) (requests []commands.Request) {
	if request, ok := commands.Turn(r, p.now()); ok {
		requests = append(requests, request)
	}
	if request, ok := commands.Refer(r, desk, p.now()); ok {
		requests = append(requests, request)
	}
	if request, ok := commands.Migrate(r, p.now()); ok {
		requests = append(requests, request)
	}
	return requests
}

// Holds reports whether an event needs a bot that this process does not serve. Whether the bot has a
// help desk is not known here, so a ticket is held, too.
func (p responder) Holds(r domain.Recorded) bool {
	return !p.bots.serves(r.Stream.Bot()) && len(p.requests(r, "unknown")) > 0
}

// outboxWriter is the consumer group that enqueues deliveries.
type outboxWriter struct {
	outbox *outbox.Store
}

// Apply enqueues the deliveries that a page's events ask for, in the transaction that moves
// the checkpoint. Then it gives the pending deliveries of migrated groups their new ordering
// key, so that they precede what is enqueued for the new chat later.
func (w outboxWriter) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	if deliveries := deliveriesOf(page); len(deliveries) > 0 {
		if err := w.outbox.Enqueue(ctx, tx, deliveries); err != nil {
			return err
		}
	}
	for _, r := range page {
		if e, ok := r.Event.(chat.ChatMigrated); ok {
			to := domain.ChatStream(r.Stream.Bot(), e.To)
			if err := w.outbox.MoveOrderingKey(ctx, tx, r.Stream, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// Committed notifies the workers of the bots for which the page enqueued deliveries. Before
// the commit they would not see them.
func (w outboxWriter) Committed(page []domain.Recorded) {
	notified := map[string]bool{}
	for _, d := range deliveriesOf(page) {
		if bot := d.Stream.Bot(); !notified[bot] {
			notified[bot] = true
			w.outbox.Notify(bot)
		}
	}
}

func deliveriesOf(page []domain.Recorded) (deliveries []commands.Delivery) {
	for _, r := range page {
		if d, ok := commands.Enqueue(r); ok {
			deliveries = append(deliveries, d)
		}
	}
	return deliveries
}
