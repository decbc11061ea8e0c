package guard

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// Some senders authenticate a request by a signature of its body, so it can be checked only after the body has
// been read. Until then, the body is unverified. The guard bounds the bytes of all unverified bodies together,
// for any number of connections. Known sources may use all of this memory, new ones only a part, so that new
// sources cannot displace known ones.
const (
	// maxUnverified bounds the bytes of all unverified bodies. It is a small part of the memory that the
	// shipped systemd unit allows the process.
	maxUnverified = 32 << 20
	// maxUnverifiedNew bounds the bytes of all new sources, which have not sent a valid signature within
	// knownFor.
	maxUnverifiedNew = maxUnverified / 2
	// maxUnverifiedEndpoint bounds the bytes of new sources at one endpoint.
	maxUnverifiedEndpoint = maxUnverified / 4
	// maxUnverifiedSource bounds the bytes of one source: four of the longest bodies.
	maxUnverifiedSource = maxUnverified / 8
	// firstPart is the size of the first buffer for a body, in bytes. It is enough for most bodies.
	firstPart = 4 << 10
	// busyFor is the Retry-After of a request beyond these limits. Zendesk retries only if it is shorter
	// than a minute.
	busyFor = 5 * time.Second
)

// ErrBusy is returned by Read if too many unverified bodies are being read.
var ErrBusy = errors.New("too many unverified bodies are being read")

// unverified counts the bytes of unverified bodies. Guard.mu protects it.
type unverified struct {
	all, ofNew int
	endpoints  map[string]int     // bytes of new sources
	sources    map[netip.Addr]int // bytes of all sources
}

// Body is an unverified body of a request, until it is verified or released. All methods of a nil *Body work,
// without limits.
type Body struct {
	guard    *Guard
	endpoint string
	source   netip.Addr
	known    bool
	reserved int
}

// Admit returns the body of a request to an endpoint whose requests are authenticated by a signature of the body.
// If the source has failed too often, Admit returns how long it must wait instead, and the body must not be read.
// Known sources are always admitted. The endpoint is a configured name, which bounds the number of endpoints. The
// caller must call Verified or Release.
func (g *Guard) Admit(r *http.Request, endpoint string) (body *Body, wait time.Duration) {
	if wait := g.Limited(r); wait > 0 {
		return nil, wait
	}
	source := sourceOf(g.rules.Load().address(r))
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Body{guard: g, endpoint: endpoint, source: source, known: g.knows(source, time.Now())}, 0
}

// Read reads a body of at most most bytes. It reads nothing if a body of the announced length would exceed the
// limits. The error is ErrBusy, an *http.MaxBytesError, or that of the connection.
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

// fits reports whether n bytes could be reserved.
func (b *Body) fits(n int) bool {
	b.guard.mu.Lock()
	defer b.guard.mu.Unlock()
	return b.guard.unverified.fit(b, n)
}

// reserve counts n more bytes of the body. It returns false, without counting them, if they exceed a limit.
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

// add adds n bytes of a body to the counts; n may be negative.
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

// Verified reports that the body has a valid signature. Its bytes are no longer counted, and its source becomes
// known, also behind a proxy.
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
