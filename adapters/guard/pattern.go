package guard

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxGuesses is how many bad secrets for one bot in guessWindow are a pattern,
	// wherever they come from: whoever sends them knows its address.
	maxGuesses  = 50
	guessWindow = 10 * time.Minute
)

// pattern is the bad secrets that were named for one bot. It lasts until none came for
// guessWindow.
type pattern struct {
	bucket   *rate.Limiter
	last     time.Time
	reported bool
}

// suspect counts a bad secret, and tells whether it makes a pattern that was not told
// of. Bots are the configured ones: their number is bounded.
func (g *Guard) suspect(bot string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.patterns[bot]
	if p == nil || now.Sub(p.last) > guessWindow {
		p = &pattern{bucket: rate.NewLimiter(rate.Every(guessWindow/maxGuesses), maxGuesses-1)}
		g.patterns[bot] = p
	}
	p.last = now
	if p.reported || p.bucket.AllowN(now, 1) {
		return false
	}
	p.reported = true
	return true
}
