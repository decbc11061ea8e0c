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
	// Postpone returns a claimed delivery to the outbox.
	Postpone(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error)
	// Ready returns a channel that is closed when a destination may have deliveries to claim.
	Ready(destination string) <-chan struct{}
}

const (
	// atOnce is the number of deliveries to one destination that are sent at the same time: enough to
	// hide a slow answer, but not so many that they overload the other system.
	atOnce = 10
	// lease is how long a worker has for one attempt, including the call's timeout of 10 s. If a worker
	// is killed, its chat waits this long.
	lease = 15 * time.Second
	// outboxTimeout bounds the time for claiming and releasing deliveries, which take milliseconds. Both
	// are completed when the program stops: a delivery whose claim was not read would wait for the end of
	// its lease and then count as one that may have been sent.
	outboxTimeout = 5 * time.Second
	// claimAgain is the pause after a failed claim, for example when the database is not available.
	claimAgain = time.Second
	// claimApart is the least time between two claims if the first found fewer deliveries than it could
	// take. Each claim reads the first delivery of every ordering key, so under load one claim replaces
	// several. After a pause, a new delivery is still claimed at once.
	claimApart = time.Millisecond
	// claimEvery is the time between claims without a wake-up, for postponed deliveries that become due.
	claimEvery = 250 * time.Millisecond
)

// Leases is a Watermill subscriber to deliveries: the topic is a destination, and a message is a delivery
// that this process has leased until it is acked. A nack has the effect of an ack: the handler stores the
// outcome in the outbox.
type Leases struct {
	outbox Outbox
	owner  string
	log    *slog.Logger
	lease  time.Duration
	*subscriptions
}

// NewLeases returns a subscriber. owner is the name of this process in the leases.
func NewLeases(outbox Outbox, owner string, log *slog.Logger) *Leases {
	return &Leases{outbox: outbox, owner: owner, log: log, lease: lease, subscriptions: newSubscriptions()}
}

// For sets another length of the lease, for deliveries that take longer. Call it before Subscribe.
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
	var inProgress sync.WaitGroup
	defer inProgress.Wait()
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
				inProgress.Go(func() {
					defer func() { <-slots }()
					select {
					case out <- msg:
					case <-ctx.Done():
						l.release(ctx, c)
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

// release releases a delivery that this process will not attempt, so that another process can claim it at
// once.
func (l *Leases) release(ctx context.Context, c commands.Claimed) {
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

// Claimed returns the delivery of a message of Leases.
func Claimed(msg *message.Message) commands.Claimed {
	return msg.Context().Value(claimedKey{}).(commands.Claimed)
}

var _ message.Subscriber = (*Leases)(nil)
