package outbound

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// server is a transport that answers in memory, for synctest.
type server func(*http.Request) (*http.Response, error)

func (s server) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

func answers(status int, body string) server {
	return func(r *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(r.Context()).WroteHeaders()
		return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://elsewhere.test"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func newClient(transport http.RoundTripper) *Client {
	return New(Config{Timeout: 5 * time.Second, MaxBody: 10, BreakAfter: 3, BreakFor: time.Minute, Transport: transport})
}

var get = Request{Method: http.MethodGet, URL: "http://system.test/"}

func readAll(r Response) error { _, err := r.ReadAll(); return err }

func TestClient_BodyBeyondLimit_Unreadable(t *testing.T) {
	t.Parallel()
	for body, tooLong := range map[string]bool{"": false, "0123456789": false, "0123456789a": true} {
		err := newClient(answers(200, body)).Do(t.Context(), get, readAll)
		if _, ok := errors.AsType[*TooLongError](errorOf(err)); ok != tooLong || ok && (!err.Unreadable() || !err.Sent) {
			t.Errorf("%d bytes: %v", len(body), err)
		}
	}
}

func errorOf(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

func TestClient_Redirect_IsNotFollowed(t *testing.T) {
	t.Parallel()
	if err := newClient(answers(307, "")).Do(t.Context(), get, readAll); err == nil || err.Status != 307 {
		t.Errorf("%v", err)
	}
}

func TestClient_NoAnswer_SentIfWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := server(func(r *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).WroteHeaders()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begun := time.Now()
		err := newClient(silent).Do(t.Context(), get, readAll)
		if err == nil || !err.Sent || !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		refusing := server(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		if err := newClient(refusing).Do(t.Context(), get, readAll); err == nil || err.Sent ||
			err.Error() != "connection refused" {
			t.Errorf("%v", err)
		}
	})
}

func TestClient_Breaker_CountsOnlyFailures(t *testing.T) {
	t.Parallel()
	unreadable := func(Response) error { return errors.New("nonsense") }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		status  int
		read    func(Response) error
		request Request
		opens   bool
	}{
		"success":         {t.Context(), 200, readAll, get, false},
		"redirect":        {t.Context(), 302, readAll, get, false},
		"rate limit":      {t.Context(), 429, readAll, get, false},
		"refusal":         {t.Context(), 422, readAll, get, false},
		"context ended":   {ended, 500, readAll, get, false},
		"invalid request": {t.Context(), 500, readAll, Request{Method: "GET", URL: "http://\x00"}, false},
		"server error":    {t.Context(), 500, readAll, get, true},
		"unreadable":      {t.Context(), 200, unreadable, get, true},
	} {
		client := newClient(answers(c.status, ""))
		for range 3 {
			_ = client.Do(c.ctx, c.request, c.read)
		}
		if opened := client.Breaker() == "open"; opened != c.opens {
			t.Errorf("%s: breaker %s", name, client.Breaker())
		}
		if err := client.Do(t.Context(), get, readAll); c.opens && (err == nil || !err.Open || client.OpenFor() <= 0) {
			t.Errorf("%s: %v, open for %s", name, err, client.OpenFor())
		}
	}
}

func TestClient_Request_IsSentAsGiven(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	front := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- strings.Join([]string{r.Method, r.Header.Get("X-Key"), r.Header.Get("Content-Type"), string(body)}, " ")
	}))
	defer front.Close()
	client := New(Config{Timeout: 5 * time.Second, MaxBody: 10, Connections: 1, BreakAfter: 1})
	defer client.Close()
	r := Request{
		Method: http.MethodPut,
		URL:    front.URL,
		Header: http.Header{"X-Key": {"k"}},
		Body:   map[string]int{"n": 1},
	}
	if err := client.Do(t.Context(), r, readAll); err != nil {
		t.Fatal(err)
	}
	if sent := <-got; sent != `PUT k application/json {"n":1}` {
		t.Error(sent)
	}
}

func TestRetryAfter_SecondsOrDate_AreRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = time.Hour
		for value, want := range map[string]time.Duration{
			"": -1, "0": 0, "7": 7 * time.Second, "-7": -1, "soon": -1, "86400": most, "99999999999999999999": -1,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			got, ok := RetryAfter(http.Header{"Retry-After": {value}}, most)
			if !ok {
				got = -1
			}
			if got != want {
				t.Errorf("%q: %s, want %s", value, got, want)
			}
		}
	})
}

func TestCheckBaseURL_Invalid_ErrorWithoutURL(t *testing.T) {
	t.Parallel()
	if err := CheckBaseURL("https://example.com/v1"); err != nil {
		t.Error(err)
	}
	for _, base := range []string{"", "s3cret.example.com", "ftp://s3cret.example.com", "https://",
		"https://example.com?x=s3cret", "https://example.com#s3cret", "http://\x00s3cret"} {
		if err := CheckBaseURL(base); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", base, err)
		}
	}
}
