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

// anybody asks for an order that all may see.
var anybody = Asker{User: 77, Chat: 77}

const token = "s3cret-token"

// world is a CRM and its client on a network in memory. Time in it is synctest's:
// it passes only while everybody waits.
type world struct {
	*Client
	crm *crmsim.Server
}

// inWorld runs a story against the fake CRM.
func inWorld(t *testing.T, story func(t *testing.T, w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		crm := crmsim.New(crmsim.Options{Token: token})
		story(t, world{serve(t, crm), crm})
	})
}

// serve returns a client of a CRM that this handler is.
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

// dial makes the client's connections reach n.
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

// order looks an order up that must be there.
func (w world) order(t *testing.T, number string) {
	t.Helper()
	if o, found, err := w.Order(t.Context(), number, anybody); err != nil || !found || o.Number != number {
		t.Errorf("order %s: %+v, %v, %v", number, o, found, err)
	}
}

// requests is how many calls the CRM has got.
func (w world) requests() int { return len(w.crm.Requests()) }

// failure is what an error says to its caller; the zero Error when there is none.
func failure(t *testing.T, err error) Error {
	t.Helper()
	if err == nil {
		return Error{}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	return *e
}
