package guard

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxGuesses is the number of wrong secrets for one bot within guessWindow, from all sources
	// together, that is reported as an attack: the attacker knows the bot's webhook address.
	maxGuesses  = 50
	guessWindow = 10 * time.Minute
)

// pattern counts the wrong secrets sent for one bot. It is replaced after guessWindow
// without one.
type pattern struct {
	bucket   *rate.Limiter
	last     time.Time
	reported bool
}

// suspect counts a wrong secret. It returns true once for each series of maxGuesses. bot is a configured bot,
// which bounds the number of patterns.
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
