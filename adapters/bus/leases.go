package bus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Outbox leases deliveries.
type Outbox interface {
	Claim(ctx context.Context, destination, owner string, limit int, lease time.Duration) ([]commands.Claimed, error)
	// Postpone gives a claimed delivery back.
	Postpone(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error)
	// Ready is closed when there may be something to claim for a destination.
	Ready(destination string) <-chan struct{}
}

const (
	// atOnce is how many deliveries to one destination are under way: enough to
	// hide a slow answer, few enough to be kind to the other side.
	atOnce = 10
	// lease is how long a worker has for one attempt, its timeout of 10 s included,
	// and so how long a chat waits when its worker is killed.
	lease = 15 * time.Second
	// outboxTimeout bounds a claim, and what gives one back: both take milliseconds, and
	// neither ends with the program. A delivery that was claimed without
	// our reading the answer would wait for its lease to expire, and then seem to have been sent.
	outboxTimeout = 5 * time.Second
	// claimAgain is the pause after a claim failed, as it does while the database is away.
	claimAgain = time.Second
	// claimApart is the least time between two claims of which the first found less than was
	// asked for. Under load it makes one claim of several, each of which looks at the
	// heads of all ordering keys; what comes after a pause is claimed at once.
	claimApart = time.Millisecond
	// claimEvery is how often the ledger is asked without having been woken, for
	// what was put off and has become due.
	claimEvery = 250 * time.Millisecond
)

// Leases is a Watermill subscriber to deliveries: the topic is a destination,
// and a message is a delivery leased to this process until it is acked. A nack is
// an ack: what becomes of an attempt is written in the ledger, not decided here.
type Leases struct {
	outbox Outbox
	owner  string
	log    *slog.Logger
	lease  time.Duration
	*subscriptions
}

// NewLeases returns a subscriber; owner names this process in the ledger.
func NewLeases(outbox Outbox, owner string, log *slog.Logger) *Leases {
	return &Leases{outbox: outbox, owner: owner, log: log, lease: lease, subscriptions: newSubscriptions()}
}

// For sets the lease of what takes longer than others, before anything is claimed.
func (l *Leases) For(lease time.Duration) *Leases {
	l.lease = lease
	return l
}

// Subscribe implements message.Subscriber.
func (l *Leases) Subscribe(ctx context.Context, destination string) (<-chan *message.Message, error) {
	return l.begin(ctx, func(ctx context.Context, out chan<- *message.Message) { l.claim(ctx, destination, out) }), nil
}

func (l *Leases) claim(ctx context.Context, destination string, out chan<- *message.Message) {
	slots := make(chan struct{}, atOnce)
	var underWay sync.WaitGroup
	defer underWay.Wait()
	for {
		waiting := l.outbox.Ready(destination)
		free := atOnce - len(slots)
		last := time.Now()
		if free > 0 {
			claimed, err := l.take(ctx, destination, free)
			if err != nil && ctx.Err() == nil {
				l.log.Error("cannot claim deliveries; retrying", "destination", destination, "error", err)
				_ = wait.For(ctx, claimAgain)
				continue
			}
			for _, c := range claimed {
				msg := message.NewMessage(c.ID.String(), c.Body)
				msg.SetContext(context.WithValue(context.WithoutCancel(ctx), claimedKey{}, c))
				slots <- struct{}{}
				underWay.Go(func() {
					defer func() { <-slots }()
					select {
					case out <- msg:
					case <-ctx.Done():
						l.giveBack(ctx, c)
						return
					}
					select {
					case <-msg.Acked():
					case <-msg.Nacked():
					}
				})
			}
			if err == nil && len(claimed) == free {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-waiting:
			_ = wait.For(ctx, claimApart-time.Since(last))
		case <-time.After(claimEvery):
		}
	}
}

func (l *Leases) take(ctx context.Context, destination string, n int) ([]commands.Claimed, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outboxTimeout)
	defer cancel()
	return l.outbox.Claim(ctx, destination, l.owner, n, l.lease)
}

// giveBack releases a delivery that this process will not attempt, so that another can claim it
// at once.
func (l *Leases) giveBack(ctx context.Context, c commands.Claimed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outboxTimeout)
	defer cancel()
	untried := commands.Outcome{
		State: domain.DeliveryRetry, Untried: true, Reason: "the process that had claimed it has stopped",
	}
	if _, err := l.outbox.Postpone(ctx, c.ID, c.Fence, untried); err != nil {
		l.log.Warn("cannot release the delivery; its lease will expire", "delivery", c.ID, "error", err)
	}
}

type claimedKey struct{}

// Claimed is the delivery that a message of Leases carries.
func Claimed(msg *message.Message) commands.Claimed {
	return msg.Context().Value(claimedKey{}).(commands.Claimed)
}

var _ message.Subscriber = (*Leases)(nil)
