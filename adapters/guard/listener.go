package guard

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections is what Telegram opens for twenty busy bots, 100 each; a connection
	// takes some 20 KiB, twice that with TLS.
	maxConnections = 2048
	// maxPerAddress is ten browsers behind one address.
	maxPerAddress = 64
)

// Listener closes connections that a guard turns away before they cost anything. The
// rest it counts.
//
// Telegram's ranges, the ones that are allowed, proxies, private networks and whoever
// named a right secret lately are never cut and have only the limit on all connections:
// behind each of them stand many. Strangers from there are limited request by request.
func (g *Guard) Listener(l net.Listener) net.Listener { return &listener{l, g} }

type listener struct {
	net.Listener
	guard *Guard
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: accepted, guard: l.guard}
		if tcp, ok := accepted.RemoteAddr().(*net.TCPAddr); ok {
			c.peer = plain(tcp.AddrPort().Addr())
		}
		c.source = sourceOf(c.peer)
		if what := l.guard.enter(c); what != "" {
			l.guard.note(what, c.source)
			if tcp, ok := accepted.(interface{ SetLinger(seconds int) error }); ok {
				tcp.SetLinger(0) // a reset, so that the kernel forgets it, too
			}
			accepted.Close()
			continue
		}
		return c, nil
	}
}

// enter counts a connection, or says why it may not come in.
func (g *Guard) enter(c *conn) What {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	rules := g.rules.Load()
	c.stranger = !rules.vouchFor(c.peer) && !g.knows(c.source, now)
	switch {
	case c.stranger && g.cutOff(c.source, now):
		return Cut
	case c.stranger && g.open[c.source] >= rules.PerAddress:
		return Crowded
	case g.total >= rules.Connections, c.stranger && g.strange >= rules.Connections/2:
		return Full
	}
	if g.total++; c.stranger {
		g.open[c.source]++
		g.strange++
	}
	return ""
}

// leave is the end of a connection that entered.
func (g *Guard) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total--; !c.stranger {
		return
	}
	g.strange--
	if g.open[c.source]--; g.open[c.source] == 0 {
		delete(g.open, c.source)
	}
}

// vouchFor tells whether behind an address stand many, or the operator's own.
func (r *Rules) vouchFor(peer netip.Addr) bool {
	return inside(peer) || contains(r.Proxies, peer) || contains(r.Allowed, peer) || contains(Telegram, peer)
}

// knows tells whether a source named a right secret lately.
func (g *Guard) knows(source netip.Addr, now time.Time) bool {
	last, ok := g.known.Peek(source)
	return ok && now.Sub(last) < knownFor
}

// Connections is how many are open.
func (g *Guard) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// conn is a connection that entered.
type conn struct {
	net.Conn
	guard    *Guard
	peer     netip.Addr
	source   netip.Addr
	stranger bool
	admitted atomic.Int64 // when a request last named a right secret, in Unix seconds
	left     sync.Once
}

func (c *conn) Close() error {
	c.left.Do(func() { c.guard.leave(c) })
	return c.Conn.Close()
}

type connKey struct{}

// Context is an http.Server's ConnContext: it lets requests know their connection.
func Context(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection of a request, or nil when it came past the guard's listener.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
