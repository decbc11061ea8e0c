package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// errContent is the error for which OfContent returns true.
var errContent = errors.New("the value cannot be stored")

func (r *fakeReader) OfContent(err error) bool { return errors.Is(err, errContent) }

func (r *fakeReader) LeftOut(e domain.Recorded) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, parked := r.parked[e.Stream]
	return parked && e.Version >= p.Version
}

func (r *fakeReader) Park(_ context.Context, _ pgx.Tx, e domain.Recorded, cause error, tries int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parked[e.Stream] = commands.Parked{Stream: e.Stream, Version: e.Version, Reason: cause.Error(), Tries: tries}
	return nil
}

func (r *fakeReader) Requested() []commands.Parked { return nil }

func (r *fakeReader) Hold(context.Context, pgx.Tx, string, error) error { return nil }

func (r *fakeReader) LeftOutEvents(context.Context, commands.Parked, int) (commands.LeftOut, error) {
	return commands.LeftOut{}, nil
}

func (r *fakeReader) Release(context.Context, pgx.Tx, commands.Parked, commands.LeftOut) error {
	return nil
}

func (r *fakeReader) EventName(domain.Recorded) string { return "said" }

// of returns n events of each of a number of streams, in turn.
func of(streams, n int) (events []domain.Recorded) {
	for v := range n {
		for s := range streams {
			events = append(events, domain.Recorded{
				Stream:   domain.ChatStream("demo", int64(s)),
				Version:  domain.Version(v + 1),
				Position: domain.Position{Transaction: 7, Number: int64(len(events) + 1)},
			})
		}
	}
	return events
}

// One event of a page cannot be handled. Its stream is parked from there on, all other events are handled once,
// and the checkpoint moves to the end of the page.
func TestLog_OneEventFails_OnlyItsStreamParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(0)
		f.events = of(7, 5)
		bad := f.events[2*7+3] // version 3 of stream 3
		handled := map[pgx.Tx][]domain.Recorded{}
		var kept []domain.Recorded
		r := newRouter(t)
		r.Follow(NewLog("readers", f.lead, quiet, func(string, []domain.Recorded, time.Duration) {}),
			func(_ context.Context, tx pgx.Tx, page []domain.Recorded) error {
				for _, e := range page {
					if e.Stream == bad.Stream && e.Version == bad.Version {
						return fmt.Errorf("write: %w", errContent)
					}
				}
				handled[tx] = append(handled[tx], page...)
				return nil
			})
		stop := runRouter(t, r)
		begun := time.Now()
		for f.at() < 35 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the other streams waited for %s, want at most 1 s", took)
		}
		stop()
		for tx, events := range handled {
			if tx.(*fakeTx).state == "committed" {
				kept = append(kept, events...)
			}
		}
		parked := func(e domain.Recorded) bool { return e.Stream == bad.Stream && e.Version >= bad.Version }
		if len(kept) != 35-3 || slices.ContainsFunc(kept, parked) {
			t.Errorf("%d events were handled, want all 35 but 3", len(kept))
		}
		p := f.parked[bad.Stream]
		if len(f.parked) != 1 || p.Version != bad.Version || p.Tries != pageTries ||
			p.Reason != "write: "+errContent.Error() {
			t.Errorf("parked %+v", f.parked)
		}
	})
}

// An event of an unknown type is not passed to the handler; its stream is parked after one attempt.
func TestLog_UnreadableEvent_StreamParkedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(0)
		f.events = of(3, 3)
		f.events[3+1].Unreadable = &domain.UnreadableError{Name: "later", Err: errors.New("unknown event later@1")}
		var handled int
		r := newRouter(t)
		r.Follow(NewLog("readers", f.lead, quiet, func(string, []domain.Recorded, time.Duration) {}),
			func(_ context.Context, _ pgx.Tx, page []domain.Recorded) error {
				handled += len(page)
				return nil
			})
		stop := runRouter(t, r)
		for f.at() < 9 {
			time.Sleep(time.Millisecond)
		}
		stop()
		if p := f.parked["chat-demo:1"]; handled != 7 || len(f.parked) != 1 || p.Version != 2 {
			t.Errorf("%d events handled, parked %+v", handled, f.parked)
		}
	})
}
