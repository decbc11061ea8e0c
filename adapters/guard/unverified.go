package guard

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// Some senders sign the body, so that a request is only known to be theirs after its body has been
// read. Until then, its body counts as unverified. The guard bounds the bytes of all unverified
// bodies together, whatever the number of connections. Sources that recently sent a valid signature
// may use all of them, so that other sources cannot displace them.
const (
	// maxUnverified bounds the bytes of all unverified bodies: a fraction of what the shipped
	// unit allows the process.
	maxUnverified = 32 << 20
	// maxUnverifiedNew bounds those of all sources that have not sent a valid signature within
	// knownFor.
	maxUnverifiedNew = maxUnverified / 2
	// maxUnverifiedEndpoint bounds those of such sources at one endpoint.
	maxUnverifiedEndpoint = maxUnverified / 4
	// maxUnverifiedSource bounds those of any one source: four of the longest bodies.
	maxUnverifiedSource = maxUnverified / 8
	// firstPart is the buffer that a body is first read into, in bytes. Most bodies fit in.
	firstPart = 4 << 10
	// busyFor is the Retry-After of a request that found no room: shorter than the minute after
	// which Zendesk gives up.
	busyFor = 5 * time.Second
)

// ErrBusy is returned by ReadBody when too many unverified bodies are being read.
var ErrBusy = errors.New("too many unverified bodies are being read")

// unverified counts the bytes of unverified bodies. Guard.mu protects it.
type unverified struct {
	all, ofNew int
	endpoints  map[string]int     // of sources that are not known
	sources    map[netip.Addr]int // of all sources
}

// Body is the body of one request, from before it is read until it is verified or the request is
// answered. All methods of a nil *Body work, without limits.
type Body struct {
	guard    *Guard
	endpoint string
	source   netip.Addr
	known    bool
	reserved int
}

// Admit returns the body of a request to an endpoint where only the body is signed. If the source
// has failed too often, it returns how long the source should stay away instead, and the body must
// stay unread. Sources that recently sent a valid signature are always admitted. The endpoint is
// a configured name, which bounds the number of endpoints. The caller must call Verified or Release.
func (g *Guard) Admit(r *http.Request, endpoint string) (body *Body, wait time.Duration) {
	if wait := g.Limited(r); wait > 0 {
		return nil, wait
	}
	source := sourceOf(g.rules.Load().address(r))
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Body{guard: g, endpoint: endpoint, source: source, known: g.knows(source, time.Now())}, 0
}

// Read reads a body of at most most bytes. It reads nothing if there is no room for the announced
// length. The error is ErrBusy, an *http.MaxBytesError, or that of
// the connection.
func (b *Body) Read(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	from := http.MaxBytesReader(w, r.Body, most)
	if b == nil {
		return io.ReadAll(from)
	}
	busy := func() ([]byte, error) {
		w.Header().Set("Connection", "close") // the rest of the body stays unread
		w.Header().Set("Retry-After", Seconds(busyFor))
		b.guard.note(BodyLimit, b.source)
		return nil, ErrBusy
	}
	if !b.fits(int(min(max(r.ContentLength, 0), most))) {
		return busy()
	}
	var text []byte
	for {
		if len(text) == cap(text) {
			size := min(max(2*cap(text), firstPart), int(most)+1)
			if !b.reserve(size - cap(text)) {
				return busy()
			}
			text = append(make([]byte, 0, size), text...)
		}
		n, err := from.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// fits reports whether n bytes could be reserved now.
func (b *Body) fits(n int) bool {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	return b.guard.unverified.fit(b, n)
}

// reserve counts n more bytes of the body, unless a limit forbids it.
func (b *Body) reserve(n int) bool {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	if !b.guard.unverified.fit(b, n) {
		return false
	}
	b.guard.unverified.add(b, n)
	b.reserved += n
	return true
}

// fit reports whether the limits allow n more bytes of a body.
func (u *unverified) fit(b *Body, n int) bool {
	if u.all+n > maxUnverified || u.sources[b.source]+n > maxUnverifiedSource {
		return false
	}
	return b.known || u.ofNew+n <= maxUnverifiedNew && u.endpoints[b.endpoint]+n <= maxUnverifiedEndpoint
}

// add counts n bytes of a body; a negative n gives them back.
func (u *unverified) add(b *Body, n int) {
	u.all += n
	if u.sources[b.source] += n; u.sources[b.source] == 0 {
		delete(u.sources, b.source)
	}
	if b.known {
		return
	}
	u.ofNew += n
	if u.endpoints[b.endpoint] += n; u.endpoints[b.endpoint] == 0 {
		delete(u.endpoints, b.endpoint)
	}
}

// Verified reports that the body is signed correctly. Its bytes are no longer counted, and its
// source is known for a while, also behind a proxy.
func (b *Body) Verified() {
	if b == nil {
		return
	}
	b.Release()
	b.guard.learn(b.source, time.Now())
}

// Release ends the count of the body's bytes. A second call does nothing.
func (b *Body) Release() {
	if b == nil {
		return
	}
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	b.guard.unverified.add(b, -b.reserved)
	b.reserved = 0
}
