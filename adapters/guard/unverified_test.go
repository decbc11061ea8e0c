package guard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/chatledger/chatledger/adapters/guard/guardtest"
)

// The unverified bytes of a source behind a trusted proxy, those of new sources at one endpoint, and those of all
// new sources are bounded. Only known sources can use the other half of the memory.
func TestUnverified_Flood_EachShareBounded(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for _, c := range []struct {
		name              string
		sources, endpoint int // numbers of sources and endpoints
		known             bool
		want              int64
	}{
		{"one source behind a proxy", 1, 900, false, maxUnverifiedSource},
		{"many sources, one endpoint", 900, 1, false, maxUnverifiedEndpoint},
		{"many sources, many endpoints", 900, 900, false, maxUnverifiedNew},
		{"many known sources", 900, 1, true, maxUnverified},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := quiet(Config{Rules: Rules{Proxies: ranges(t, "10.0.0.1")}})
				endpoints := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := g.Admit(r, r.URL.Path)
					defer body.Release()
					if _, err := body.Read(w, r, size); err != nil {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
				})
				request := func(i int, body io.Reader) *http.Request {
					r := from("10.0.0.1", guardtest.Address(i%c.sources))
					r.URL.Path = guardtest.Address(i % c.endpoint)
					r.Body = io.NopCloser(body)
					return r
				}
				for i := range c.sources {
					if c.known {
						body, _ := g.Admit(request(i, nil), "")
						body.Verified()
					}
				}
				read, answers := guardtest.Flood(t, endpoints, 900, size, request, nil)
				if read > c.want || read == 0 || answers[http.StatusServiceUnavailable] < 800 {
					t.Errorf("%d bytes were read, want at most %d; answers by status: %v", read, c.want, answers)
				}
				if u := g.unverified; u.all+u.ofNew+len(u.sources)+len(u.endpoints) > 0 {
					t.Errorf("bytes are still counted after the flood: %+v", u)
				}
			})
		})
	}
}

// A body that is announced as longer than the limits allow is not read.
func TestUnverified_AnnouncedLength_NothingRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := quiet(Config{})
		first, _ := g.Admit(from("203.0.113.7"), "zendesk:demo")
		defer first.Release()
		if !first.reserve(maxUnverifiedSource - 10) {
			t.Fatal("a new source cannot reserve maxUnverifiedSource bytes")
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := g.Admit(r, "zendesk:demo")
			defer body.Release()
			if _, err := body.Read(w, r, 1<<20); err != ErrBusy {
				t.Errorf("a body of %d bytes: %v", r.ContentLength, err)
			}
		})
		read := 0
		for _, length := range []int64{11, 1 << 20, -1} {
			r := from("203.0.113.7")
			r.Body, r.ContentLength = io.NopCloser(counter{&read}), length
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
				t.Errorf("a body of %d bytes is answered with %v", length, w.Header())
			}
		}
		if read > 0 {
			t.Errorf("%d bytes were read", read)
		}
	})
}

type counter struct{ read *int }

func (c counter) Read(p []byte) (int, error) {
	*c.read += len(p)
	return len(p), nil
}

// A source that has failed too often must wait, unless it is known.
func TestAdmit_FailingSource_WaitsUnlessKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := quiet(Config{Rules: Rules{Proxies: ranges(t, "10.0.0.1")}})
		bad, good := from("10.0.0.1", "203.0.113.7"), from("10.0.0.1", "203.0.113.8")
		body, wait := g.Admit(good, "zendesk:demo")
		if wait != 0 {
			t.Fatalf("a new source must wait %v", wait)
		}
		body.Verified()
		for range maxFailures {
			g.Failed(bad, "")
			g.Failed(good, "")
		}
		if _, wait := g.Admit(bad, "zendesk:demo"); wait != banFor {
			t.Errorf("a failing source must wait %v, want banFor", wait)
		}
		if _, wait := g.Admit(good, "zendesk:demo"); wait != 0 {
			t.Errorf("a known source must wait %v, want 0", wait)
		}
	})
}
