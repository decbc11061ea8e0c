package bus

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscriptions are those of one subscriber, which end with it.
type subscriptions struct {
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

func newSubscriptions() *subscriptions {
	s := &subscriptions{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// begin has f write to a channel until ctx ends, or the subscriber is closed.
func (s *subscriptions) begin(
	ctx context.Context, f func(context.Context, chan<- *message.Message),
) <-chan *message.Message {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(s.ctx, cancel)
	out := make(chan *message.Message)
	s.running.Go(func() {
		defer cancel()
		defer close(out)
		f(ctx, out)
	})
	return out
}

// Close ends the subscriptions, and waits for what is in hand.
func (s *subscriptions) Close() error {
	s.stop()
	s.running.Wait()
	return nil
}
