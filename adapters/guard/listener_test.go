package guard

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
)

// fakeAddrs is a listener for connections with chosen remote addresses.
type fakeAddrs struct {
	net.Listener
	mu   sync.Mutex
	from map[string]net.IP // by the real remote address
}

// dial opens a connection from an address.
func (s *fakeAddrs) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	s.mu.Lock() // until the address of the connection is stored
	defer s.mu.Unlock()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.from[c.LocalAddr().String()] = net.ParseIP(from)
	return c
}

func (s *fakeAddrs) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &fakeConn{c.(*net.TCPConn), &net.TCPAddr{IP: s.from[c.RemoteAddr().String()], Port: 4711}}, nil
}

type fakeConn struct {
	*net.TCPConn
	from net.Addr
}

func (g *fakeConn) RemoteAddr() net.Addr { return g.from }

// With an http.Server, connections of a source that keeps failing are closed before they are read, other sources
// are served, and closed connections no longer count.
func TestListener_FailingSource_OthersServed(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{PerAddress: 3}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeAddrs{Listener: l, from: map[string]net.IP{}}
	server := &http.Server{
		ConnContext: Context,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Secret") == "right":
				g.Authenticated(r)
			case g.Failed(r, "") > 0:
				w.WriteHeader(http.StatusTooManyRequests)
			default:
				w.WriteHeader(http.StatusUnauthorized)
			}
		}),
	}
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(g.Listener(s)) }()
	defer func() { server.Close(); <-ended }()
	ask := func(from, secret string) (status int) {
		dial := func(string, string) (net.Conn, error) { return s.dial(t, from), nil }
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Dial: dial}}
		r, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Secret", secret)
		answer, err := client.Do(r)
		if err == nil {
			status = answer.StatusCode
			answer.Body.Close()
		}
		for g.Connections() > 0 { // a connection counts until the server has closed it
			runtime.Gosched()
		}
		return status
	}
	const bad, shared = "203.0.113.7", "203.0.113.8"
	if got := ask(shared, "right"); got != http.StatusOK {
		t.Errorf("request with a valid secret answered %d", got)
	}
	for _, from := range []string{bad, shared} {
		var got [3]int // answers 401, 429, connection closed
		for range 3 * maxFailures {
			switch ask(from, "wrong") {
			case http.StatusUnauthorized:
				got[0]++
			case http.StatusTooManyRequests:
				got[1]++
			case 0:
				got[2]++
			}
		}
		want := [3]int{maxFailures, maxFailures - 1, maxFailures + 1}
		if from == shared { // it has sent a valid secret
			want = [3]int{maxFailures, 2 * maxFailures, 0}
		}
		if got != want {
			t.Errorf("%s: 401, 429 and closed connections %v times, want %v", from, got, want)
		}
	}
	if got := ask(shared, "right"); got != http.StatusOK {
		t.Errorf("request with a valid secret from an address with failures answered %d", got)
	}
	for range 3 {
		defer s.dial(t, "2001:db8::1").Close()
	}
	over := s.dial(t, "2001:db8::2")
	defer over.Close()
	if _, err := over.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("one connection too many of a network: %v, want a reset", err)
	}
}
