package operators

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/chatledger/chatledger/commands"
)

// Accounts knows who may use the API.
type Accounts interface {
	// OperatorOf is who has the token with this hash; false when nobody has.
	OperatorOf(ctx context.Context, token [32]byte) (commands.Operator, bool, error)
	// SawOperator notes that an operator was here.
	SawOperator(ctx context.Context, name string) error
}

// seenEvery is how exact it is kept when an operator was last here: not a write for
// every request.
const seenEvery = time.Minute

// NewToken makes a token, and the hash by which it is known. The token has 256 random
// bits, so a hash without salt tells nobody anything.
func NewToken() (token string, hash [32]byte) {
	secret := make([]byte, 32)
	rand.Read(secret) // it never fails
	token = "clop_" + base64.RawURLEncoding.EncodeToString(secret)
	return token, sha256.Sum256([]byte(token))
}

// operator is who asks. Tokens are looked up by their hash: how long that takes says
// nothing of any token.
func (a *API) operator(r *http.Request) (commands.Operator, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return commands.Operator{}, a.deny(r, "no token")
	}
	operator, known, err := a.Accounts.OperatorOf(r.Context(), sha256.Sum256([]byte(token)))
	if err != nil {
		return operator, err
	}
	if !known {
		return operator, a.deny(r, "a wrong token, or one of somebody disabled")
	}
	if a.Now().Sub(operator.LastSeen) >= seenEvery {
		if err := a.Accounts.SawOperator(r.Context(), operator.Name); err != nil {
			a.Log.Warn("when an operator was here is not kept", "error", err)
		}
	}
	return operator, nil
}

// deny refuses who is not known. A source that keeps on trying hears that it should stop,
// and is not logged any more; who has a token is served wherever they come from.
func (a *API) deny(r *http.Request, why string) error {
	source := sourceOf(r)
	n, wait := a.failures.count(source, a.Now())
	if n <= maxFailures {
		a.Log.Warn("access to the operators' API was denied", "source", source, "reason", why, "path", r.URL.Path)
		return problem{Status: http.StatusUnauthorized, Detail: "send Authorization: Bearer and a token; `chatledger operator add` makes one"}
	}
	return problem{Status: http.StatusTooManyRequests, Detail: "too many requests without a right token", after: wait}
}

// sourceOf is where a request comes from: an address, or the network that one subscriber
// of IPv6 has.
func sourceOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return address.String()
	}
	network, err := address.Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

const (
	// maxFailures is how often a source may fail within failureWindow: a person who
	// mistypes does not, a program that guesses does.
	maxFailures   = 20
	failureWindow = time.Minute
	// maxSources bounds the memory of them. When more come within a window, all are
	// forgotten: each then has its failures again, which gives nobody a chance.
	maxSources = 10_000
)

// failures counts, by source, within a window.
type failures struct {
	mu      sync.Mutex
	begun   time.Time
	counted map[string]int
}

// count counts one more, and tells how many there are and when they are forgotten.
func (f *failures) count(source string, now time.Time) (n int, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counted == nil || now.Sub(f.begun) >= failureWindow || len(f.counted) >= maxSources {
		f.begun, f.counted = now, map[string]int{}
	}
	f.counted[source]++
	return f.counted[source], max(f.begun.Add(failureWindow).Sub(now), time.Second)
}
