package telegramsim

import (
	"sync"
	"time"
)

// Limits are how often a bot may call before Telegram answers 429. Messages, edits,
// chat actions and answers to buttons count for the bot, all but the last for their
// chat. 0 is no limit.
type Limits struct {
	Bot   int // calls in any second
	Group int // calls to one group in any minute
	Chat  int // calls to one private chat in a second, on the average: see burst
}

// TelegramLimits are those that the Bot API's FAQ names.
var TelegramLimits = Limits{Bot: 30, Group: 20, Chat: 1}

const (
	// burst is how many calls of one chat are tolerated at once. Telegram tolerates
	// short bursts and does not say how short.
	burst = 5
	// floodBan is how long a bot that calls too often is to wait. A call during a ban
	// begins it anew.
	floodBan = 3 * time.Second
)

// Floods counts the calls that were answered 429 because of Limits.
type Floods struct {
	Over   int64 `json:"over"`   // the limit was reached
	During int64 `json:"during"` // a ban had begun
}

// flow counts calls by when they arrived.
type flow struct {
	mu     sync.Mutex
	limits Limits
	floods Floods
	calls  map[limited]*calls
}

// limited is what a limit is about: a chat of a bot, or all of a bot's when it is 0.
type limited struct {
	bot  *bot
	chat int64
}

// calls are what is remembered for one limit.
type calls struct {
	recent []time.Time // within the limit's time, oldest first
	level  float64     // of a bucket that leaks at the limit's rate
	last   time.Time
	banned time.Time // until then
}

// Limit makes the simulator hold bots to limits from now on; the zero Limits let
// everything through.
func (s *Server) Limit(l Limits) {
	s.flow.mu.Lock()
	defer s.flow.mu.Unlock()
	s.flow.limits, s.flow.calls = l, map[limited]*calls{}
}

// refuse counts a call, and is what the call is answered when it comes too often.
func (f *flow) refuse(b *bot, method string, chat int64, now time.Time) *apiError {
	switch method {
	case "answerCallbackQuery":
		chat = 0
	case "sendMessage", "sendPhoto", "sendDocument", "sendVoice", "sendMediaGroup", "editMessageText", "sendChatAction":
	default:
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tooMany := false
	if f.limits.Bot > 0 {
		tooMany = f.count(limited{bot: b}, now, func(c *calls) bool { return c.within(now, f.limits.Bot, time.Second) })
	}
	if chat < 0 && f.limits.Group > 0 {
		tooMany = f.count(
			limited{b, chat},
			now,
			func(c *calls) bool { return c.within(now, f.limits.Group, time.Minute) },
		) ||
			tooMany
	}
	if chat > 0 && f.limits.Chat > 0 {
		tooMany = f.count(limited{b, chat}, now, func(c *calls) bool { return c.leaks(now, float64(f.limits.Chat)) }) ||
			tooMany
	}
	if !tooMany {
		return nil
	}
	return tooManyRequests(int64(floodBan.Seconds()))
}

// count takes a call into what is remembered for a limit, and tells whether it came
// too often, or during a ban.
func (f *flow) count(of limited, now time.Time, fits func(*calls) bool) bool {
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

// within tells whether there are no more calls than the limit in any span of time.
func (c *calls) within(now time.Time, limit int, span time.Duration) bool {
	for len(c.recent) > 0 && now.Sub(c.recent[0]) >= span {
		c.recent = c.recent[1:]
	}
	c.recent = append(c.recent, now)
	return len(c.recent) <= limit
}

// leaks tells whether calls come no faster than a rate, but for a burst.
func (c *calls) leaks(now time.Time, perSecond float64) bool {
	c.level = max(0, c.level-now.Sub(c.last).Seconds()*perSecond) + 1
	c.last = now
	return c.level <= burst
}
