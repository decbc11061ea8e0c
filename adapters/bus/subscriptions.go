package bus

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// subscriptions are the subscriptions of one subscriber. Close ends them.
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

// begin runs f, which writes messages to the returned channel, until ctx ends or the subscriber is closed.
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

// Close ends the subscriptions, and waits for the messages in progress.
func (s *subscriptions) Close() error {
	s.stop()
	s.running.Wait()
	return nil
}
