package crm

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
)

// anybody is an asker for orders that every customer may see.
var anybody = Asker{User: 77, Chat: 77}

const token = "s3cret-token"

// world is a CRM and its client on a network in memory, in a synctest bubble: time passes only while
// all goroutines wait.
type world struct {
	*Client
	crm *crmsim.Server
}

// inWorld runs a test with the simulated CRM.
func inWorld(t *testing.T, story func(t *testing.T, w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		crm := crmsim.New(crmsim.Options{Token: token})
		story(t, world{serve(t, crm), crm})
	})
}

// serve starts a CRM with this handler and returns a client for it.
func serve(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	n := network{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(n) }()
	c, err := NewClient("http://crm.test", token)
	if err != nil {
		t.Fatal(err)
	}
	c.dial(n)
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

// dial connects the client through n.
func (c *Client) dial(n network) {
	c.Through(func(rt http.RoundTripper) http.RoundTripper {
		rt.(*http.Transport).DialContext = n.dial
		return rt
	})
}

// network is a listener whose connections are pipes.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (n network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case n.conns <- theirs:
		return ours, nil
	case <-n.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n network) Close() error   { close(n.closed); return nil }
func (n network) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// order looks up an order that must exist.
func (w world) order(t *testing.T, number string) {
	t.Helper()
	if o, found, err := w.Order(t.Context(), number, anybody); err != nil || !found || o.Number != number {
		t.Errorf("order %s: %+v, %v, %v", number, o, found, err)
	}
}

// requests returns the number of calls that the CRM has received.
func (w world) requests() int { return len(w.crm.Requests()) }

// failure returns err as an Error; the zero Error if it is nil.
func failure(t *testing.T, err error) Error {
	t.Helper()
	if err == nil {
		return Error{}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T is not an *Error: %v", err, err)
	}
	return *e
}
