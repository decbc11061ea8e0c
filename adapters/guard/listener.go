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
	// maxConnections is enough for twenty busy bots: Telegram opens 100 connections for each. A connection
	// takes some 20 KiB, twice that with TLS.
	maxConnections = 2048
	// maxPerAddress is enough for ten browsers behind one address.
	maxPerAddress = 64
)

// Listener returns a listener that closes rejected connections as soon as they are accepted, and counts the
// others.
//
// Connections from Telegram's ranges, allowed sources, proxies, private networks and known sources are never
// closed by a ban and count only against the limit of all connections, because many clients may share such an
// address. Failing clients behind it get 429 for each request.
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
			c.peer = normalize(tcp.AddrPort().Addr())
		}
		c.source = sourceOf(c.peer)
		if reason := l.guard.enter(c); reason != "" {
			l.guard.note(reason, c.source)
			if tcp, ok := accepted.(interface{ SetLinger(seconds int) error }); ok {
				tcp.SetLinger(0) // send a reset, so that the kernel keeps no state
			}
			accepted.Close()
			continue
		}
		return c, nil
	}
}

// enter counts a connection. If the guard rejects it, enter returns the reason instead.
func (g *Guard) enter(c *conn) Reason {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	rules := g.rules.Load()
	c.untrusted = !rules.shared(c.peer) && !g.knows(c.source, now)
	switch {
	case c.untrusted && g.banned(c.source, now):
		return Banned
	case c.untrusted && g.open[c.source] >= rules.PerAddress:
		return SourceLimit
	case g.total >= rules.Connections, c.untrusted && g.untrusted >= rules.Connections/2:
		return ConnectionLimit
	}
	if g.total++; c.untrusted {
		g.open[c.source]++
		g.untrusted++
	}
	return ""
}

// leave removes a connection from the counts.
func (g *Guard) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total--; !c.untrusted {
		return
	}
	g.untrusted--
	if g.open[c.source]--; g.open[c.source] == 0 {
		delete(g.open, c.source)
	}
}

// shared reports whether many clients may share an address, or whether it is an allowed source.
func (r *Rules) shared(peer netip.Addr) bool {
	return isPrivate(peer) || contains(r.Proxies, peer) || contains(r.Allowed, peer) || contains(Telegram, peer)
}

// knows reports whether a source is known: it has recently sent a valid secret. The caller holds g.mu.
func (g *Guard) knows(source netip.Addr, now time.Time) bool {
	last, ok := g.known.Peek(source)
	return ok && now.Sub(last) < knownFor
}

// Connections returns the number of open connections.
func (g *Guard) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// conn is an accepted connection.
type conn struct {
	net.Conn
	guard         *Guard
	peer          netip.Addr
	source        netip.Addr
	untrusted     bool
	authenticated atomic.Int64 // time of the last request with a valid secret, in Unix seconds
	left          sync.Once
}

func (c *conn) Close() error {
	c.left.Do(func() { c.guard.leave(c) })
	return c.Conn.Close()
}

type connKey struct{}

// Context is a ConnContext for an http.Server. It stores the connection in the context of its requests.
func Context(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection of a request; nil if it was not accepted by the guard's listener.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
