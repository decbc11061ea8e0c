//go:build unix

package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// failing is a projection that cannot apply one event.
type failing struct {
	projections.Projection
	stream  domain.StreamID
	version domain.Version
}

func (f failing) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	for _, r := range page {
		if r.Stream == f.stream && r.Version == f.version {
			return errors.New("poison")
		}
	}
	return f.Projection.Apply(ctx, tx, page)
}

// others are a table's rows but for those of one stream.
func (l *ledger) others(t *testing.T, p projections.Projection, stream domain.StreamID) string {
	t.Helper()
	return projectionstest.Rows(t, l.Conn, fmt.Sprintf(
		`select * from readmodel.%s where stream_id <> '%s' order by 1`, p.Name(), stream))
}

// longest is the history with the most events.
func longest(histories []projectionstest.History) (long projectionstest.History) {
	for _, h := range histories {
		if len(h.Events) > len(long.Events) {
			long = h
		}
	}
	return long
}

// A rebuild leaves out a stream from the event on that it cannot decode or apply, and parks it for the
// new table.
func TestRebuild_FailingEvent_OnlyItsStreamParked(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 21, 20)
	h := longest(histories)
	decodable := func(p projections.Projection) projections.Projection { return p }
	for _, c := range []struct { // in this order: the damage of the second one stays
		name   string
		damage string
		with   func(projections.Projection) projections.Projection
		reason string
	}{
		{
			"applied", `select $1::text`,
			func(p projections.Projection) projections.Projection { return failing{p, h.Stream, 3} }, "poison",
		},
		{
			"decoded", `update eventstore.events set name = 'from_tomorrow' where stream_id = $1 and version = 3`, decodable,
			"unknown event from_tomorrow@",
		},
	} {
		name := c.name
		if name == "decoded" {
			pgtest.Exec(t, l.Conn, `alter table eventstore.events disable trigger user`)
			pgtest.Exec(t, l.Conn, c.damage, string(h.Stream))
		}
		for _, p := range projections.All() {
			before := l.others(t, p, h.Stream)
			done, err := rebuild.Table(t.Context(), l.Conn, l, c.with(p), rebuild.Options{})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, p.Name(), err)
			}
			if len(done.Parked) != 1 || done.Parked[0].Version != 3 || done.Parked[0].Stream != h.Stream ||
				!strings.Contains(done.Parked[0].Reason, c.reason) {
				t.Errorf("%s, %s: parked %+v", name, p.Name(), done.Parked)
			}
			if diff := cmp.Diff(before, l.others(t, p, h.Stream)); diff != "" {
				t.Errorf("%s, %s (-live +rebuilt):\n%s", name, p.Name(), diff)
			}
			parked, err := l.Parked(t.Context(), p.Name())
			if err != nil || len(parked) != 1 || parked[0].Version != 3 {
				t.Errorf("%s, %s: parked %+v, error %v", name, p.Name(), parked, err)
			}
			// The rows are what the events before it lead to; the stream is named.
			v, err := rebuild.Verify(t.Context(), l.Conn, l, p)
			if err != nil || v.First != nil || v.StoppedStreams != 1 || v.Stopped[0].Version != 3 || !v.Stopped[0].Parked {
				t.Errorf("%s, %s: verified %+v, error %v", name, p.Name(), v, err)
			}
		}
	}
}

// Verify names a stream whose event it cannot decode, and compares the others.
func TestVerify_UnknownEvent_OthersCompared(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 22, 20, projections.Conversations{})
	p, h := projections.Conversations{}, longest(histories)
	pgtest.Exec(t, l.Conn, `alter table eventstore.events disable trigger user`)
	pgtest.Exec(t, l.Conn, `update eventstore.events set name = 'from_tomorrow' where stream_id = $1 and version = 2`,
		string(h.Stream))
	v, err := rebuild.Verify(t.Context(), l.Conn, l, p)
	if err != nil || v.First != nil || v.Streams != int64(len(histories)) || v.StoppedStreams != 1 ||
		v.Stopped[0].Event != "from_tomorrow" || v.Stopped[0].Parked {
		t.Fatalf("%+v, error %v", v, err)
	}
	// A row that differs is found beside it, also behind it.
	pgtest.Exec(t, l.Conn, `
		update readmodel.conversations set last_reply = 'what nobody said'
		where stream_id = (select max(stream_id) from readmodel.conversations where stream_id <> $1)`, string(h.Stream))
	if v, err = rebuild.Verify(t.Context(), l.Conn, l, p); err != nil || v.First == nil {
		t.Errorf("%+v, error %v", v, err)
	}
}

// weighed notes how many bytes of text a page of the feed holds at most.
type weighed struct {
	*ledger
	most int
}

func (w *weighed) Feed(
	ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event,
) ([]domain.Recorded, bool, error) {
	page, more, err := w.ledger.Feed(ctx, tx, after, limit, only...)
	size := 0
	for _, r := range page {
		if m, ok := r.Event.(chat.MessageReceived); ok {
			size += len(m.Text)
		}
	}
	w.most = max(w.most, size)
	return page, more, err
}

// A page of a rebuild ends by its bytes, too, and the rebuild still folds everything.
func TestRebuild_LargeEvents_PagesEndByBytes(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	const messages, long = 30, 900_000
	h := projectionstest.History{Stream: "chat-demo:1"}
	g := projectionstest.Generator{History: &h, Rand: rand.New(rand.NewPCG(1, 6)), Now: time.Now()}
	for n := range int64(messages) {
		g.Ask("customer", chat.Receive{At: g.Now, Event: chat.MessageReceived{
			Update: chat.Update{ID: n + 1, Key: uint64(n + 1)}, MessageID: n + 1, Date: g.Now, Text: strings.Repeat("x", long),
		}})
	}
	l.AppendAll(t, []projectionstest.History{h}, func(int) int { return 5 })
	l.Settle(t)
	w := &weighed{ledger: l}
	done, err := rebuild.Table(t.Context(), l.Conn, w, projections.Messages{}, rebuild.Options{})
	if err != nil || done.Events != int64(len(h.Events)) || done.Rows < messages {
		t.Errorf("%+v, error %v", done, err)
	}
	if w.most > 12<<20 {
		t.Errorf("a page has texts of %d bytes", w.most)
	}
}
