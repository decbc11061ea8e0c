package telegramsim

import (
	"sync"
	"time"
)

// Limits are the rate limits beyond which Telegram answers 429. Messages, edits, chat actions and answers
// to buttons count for the bot; all but answers to buttons also count for their chat. 0 means no limit.
type Limits struct {
	Bot   int // calls in any second
	Group int // calls to one group in any minute
	Chat  int // calls to one private chat in a second, on average: see burst
}

// TelegramLimits are the limits in the Bot API's FAQ.
var TelegramLimits = Limits{Bot: 30, Group: 20, Chat: 1}

const (
	// burst is the number of calls of one chat that are accepted at once. Telegram accepts
	// short bursts and does not document how short.
	burst = 5
	// floodBan is the wait after too many calls. A call during this time starts it again.
	floodBan = 3 * time.Second
)

// Floods counts the calls that were answered 429 because of Limits.
type Floods struct {
	Over   int64 `json:"over"`   // calls over a limit
	During int64 `json:"during"` // calls during a floodBan
}

// rates counts calls by the time of their arrival and applies the rate limits.
type rates struct {
	mu     sync.Mutex
	limits Limits
	floods Floods
	calls  map[limited]*calls
}

// limited is the key of a limit: a chat of a bot, or the bot if chat is 0.
type limited struct {
	bot  *bot
	chat int64
}

// calls is the state of one limit.
type calls struct {
	recent []time.Time // calls within the limit's period, oldest first
	level  float64     // level of a leaky bucket that leaks at the limit's rate
	last   time.Time
	banned time.Time // end of the floodBan
}

// Limit sets the rate limits. The zero Limits accept every call.
func (s *Server) Limit(l Limits) {
	s.rates.mu.Lock()
	defer s.rates.mu.Unlock()
	s.rates.limits, s.rates.calls = l, map[limited]*calls{}
}

// refuse counts a call, and returns the error if it exceeds a limit.
func (f *rates) refuse(b *bot, method string, chat int64, now time.Time) *apiError {
	switch method {
	case "answerCallbackQuery":
		chat = 0
	case "sendMessage", "sendPhoto", "sendDocument", "sendVoice", "sendMediaGroup", "editMessageText",
		"sendChatAction":
	default:
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tooMany := false
	if f.limits.Bot > 0 {
		fits := func(c *calls) bool { return c.within(now, f.limits.Bot, time.Second) }
		tooMany = f.count(limited{bot: b}, now, fits)
	}
	if chat < 0 && f.limits.Group > 0 {
		fits := func(c *calls) bool { return c.within(now, f.limits.Group, time.Minute) }
		tooMany = f.count(limited{b, chat}, now, fits) || tooMany
	}
	if chat > 0 && f.limits.Chat > 0 {
		fits := func(c *calls) bool { return c.leaks(now, float64(f.limits.Chat)) }
		tooMany = f.count(limited{b, chat}, now, fits) || tooMany
	}
	if !tooMany {
		return nil
	}
	return tooManyRequests(int64(floodBan.Seconds()))
}

// count counts a call against a limit, and reports whether the call exceeds it or is made during a floodBan.
func (f *rates) count(of limited, now time.Time, fits func(*calls) bool) bool {
	c := f.calls[of]
	if c == nil {
		c = &calls{}
		f.calls[of] = c
	}
	switch banned := now.Before(c.banned); {
	case banned:
		f.floods.During++
	case fits(c):
		return false
	default:
		f.floods.Over++
	}
	c.banned = now.Add(floodBan)
	return true
}

// within reports whether the calls in the last span do not exceed the limit.
func (c *calls) within(now time.Time, limit int, span time.Duration) bool {
	for len(c.recent) > 0 && now.Sub(c.recent[0]) >= span {
		c.recent = c.recent[1:]
	}
	c.recent = append(c.recent, now)
	return len(c.recent) <= limit
}

// leaks reports whether calls, except for a burst, do not exceed a rate.
func (c *calls) leaks(now time.Time, perSecond float64) bool {
	c.level = max(0, c.level-now.Sub(c.last).Seconds()*perSecond) + 1
	c.last = now
	return c.level <= burst
}
