package zendesk_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/guard/guardtest"
)

// 900 sources send 1 MiB each without a valid signature. The server holds at most 32 MiB of these bodies in
// memory, and still serves Zendesk, which has sent a valid signature before.
func TestWebhook_UnsignedFlood_Bounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(secret)
		rc.Guard = guard.New(guard.Config{Log: slog.New(slog.DiscardHandler)})
		if got := rc.post(solved, nil); got.Code != http.StatusOK {
			t.Fatalf("before the flood: a signed event answered %d, want 200", got.Code)
		}
		const bodies, size = 900, 1 << 20
		unsigned := func(i int, body io.Reader) *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/zendesk/demo", body)
			r.RemoteAddr = guardtest.Address(i)
			r.Header.Set(timestamp, noon.Format(time.RFC3339))
			return r
		}
		read, answers := guardtest.Flood(t, rc, bodies, size, unsigned, func() {
			if got := rc.post(comment, nil); got.Code != http.StatusOK {
				t.Errorf("during the flood: a signed event answered %d, want 200", got.Code)
			}
		})
		if read > 32<<20 {
			t.Errorf("%d MiB of unverified bodies in memory, want at most 32", read>>20)
		}
		if answers[http.StatusServiceUnavailable] < bodies-2*32 {
			t.Errorf("answers by status: %v", answers)
		}
	})
}

// A source that keeps sending wrong signatures is rejected before its bodies are read.
func TestWebhook_FailingSource_BodyUnread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(secret)
		rc.Guard = guard.New(guard.Config{Log: slog.New(slog.DiscardHandler)})
		for range 25 {
			rc.post(solved, func(r *http.Request) { *r = *signed(solved, "guess", noon) })
		}
		wrong := func(_ int, body io.Reader) *http.Request {
			r := signed(solved, "guess", noon)
			r.Body = io.NopCloser(body)
			return r
		}
		read, answers := guardtest.Flood(t, rc, 10, 1<<20, wrong, nil)
		if read > 0 || answers[http.StatusTooManyRequests] != 10 {
			t.Errorf("%d bytes read, answered %v", read, answers)
		}
	})
}
