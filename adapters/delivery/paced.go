package delivery

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// RateLimiter holds the rate limits of all processes, and the chats and bots whose calls are
// suspended.
type RateLimiter interface {
	// Acquire takes a permit for a call, or returns how long to wait for one.
	Acquire(context.Context, commands.PermitRequest) (commands.Permit, error)
	// RetryAfter records that Telegram limits a chat, or its bot, and returns how long the chat must
	// wait. A wait of 0 means that Telegram gave no time.
	RetryAfter(ctx context.Context, bot, chat domain.StreamID, wait time.Duration, reason string) (time.Duration, error)
	// Suspend rejects the calls of a chat or a bot for a while. Resume ends it.
	Suspend(ctx context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, reason string) error
	Resume(ctx context.Context, name domain.StreamID, cause commands.Cause) error
	// MoveOrderingKey gives the unsent deliveries of one chat the ordering key of another.
	MoveOrderingKey(ctx context.Context, from, to domain.StreamID) error
}

// Limits are the rate limits of a bot's calls. 0 means no limit.
type Limits struct {
	Bot   float64 // calls a second
	Chat  float64 // calls a second to one private chat
	Group float64 // calls a minute to one group
}

const (
	// Telegram counts the calls of any second or minute. Of its limit, burstOfLimit may be used at
	// once and rateOfLimit evenly. The rest is a reserve for calls that arrive late and so close to
	// the calls behind them: 150 ms late at 30 calls a second.
	burstOfLimit = 1. / 6
	rateOfLimit  = 3. / 4
	// chatBurst is the number of calls to a private chat that may be made at once. Telegram allows
	// short bursts there; an answer is often two or three messages.
	chatBurst = 3
	// hold is how long a worker keeps a delivery while it waits for the bot's rate limit. After that
	// the delivery is postponed. With this wait and the call's timeout an attempt still ends before
	// its lease. It also means that a bot that may not call claims few deliveries.
	hold = time.Second
	// limiterBackoff is the backoff when the rate limits cannot be read, and the least one after a
	// 429 without a retry_after.
	limiterBackoff = time.Second
	// recordTimeout bounds the time for recording a rate limit.
	recordTimeout = 2 * time.Second
)

// Paced is a Sender that obeys Telegram's rate limits. A delivery without a permit is postponed without
// a call. After a 429 no process calls the chat, or the bot, until its retry_after has passed. While the
// Bot API does not answer, no call is made either (see breaker).
//
// Priorities share a bot's limit: operators' messages and answers to buttons may use all of its burst,
// the bot's own messages half of it, and typing none. A chat waits only for its own limit and its bot's.
type Paced struct {
	Sender Sender
	Limits RateLimiter
	Chats  Chats
	Log    *slog.Logger
	bots   map[string]*pace
}

// Chats reads the state of chats from their events: commands.Handler.
type Chats interface {
	// Blocked reports whether the customer of a chat has blocked the bot.
	Blocked(context.Context, domain.StreamID) (bool, error)
}

// ShowTyping shows in a chat that the bot is writing, if the limits permit the call.
func (p *Paced) ShowTyping(ctx context.Context, stream domain.StreamID) {
	p.Send(ctx, commands.Typing(stream))
}

// pace holds the limits of one bot. Of the bot's own messages, only the one that holds turn asks for a
// permit; the others wait for turn, which costs no query.
type pace struct {
	bot, chat, group limit
	turn             chan struct{}
	breaker          breaker
}

// limit allows burst calls at once, and then one call per every.
type limit struct {
	every time.Duration
	burst int
}

// Add sets the limits of a bot.
func (p *Paced) Add(bot string, l Limits) {
	if p.bots == nil {
		p.bots = map[string]*pace{}
	}
	p.bots[bot] = &pace{bot: within(time.Second, l.Bot), chat: average(time.Second, l.Chat),
		group: within(time.Minute, l.Group), turn: make(chan struct{}, 1)}
}

// within returns a limit that never allows more than n calls in any period of this length.
func within(span time.Duration, n float64) limit {
	if n <= 0 {
		return limit{}
	}
	return limit{every: time.Duration(float64(span) / n / rateOfLimit), burst: max(1, int(n*burstOfLimit))}
}

// average returns a limit of n calls per period on average, with bursts of chatBurst.
func average(span time.Duration, n float64) limit {
	if n <= 0 {
		return limit{}
	}
	return limit{every: time.Duration(float64(span) / n), burst: chatBurst}
}

// share returns the share of a limit that a call takes, if it may use a part of the burst.
func (l limit) share(name domain.StreamID, part float64) commands.Share {
	return commands.Share{Name: name, Every: l.every,
		Slack: time.Duration(part * float64(l.every) * float64(max(l.burst-1, 0)))}
}

// messages returns the number of messages that a call sends: for an album, the number of its media.
func messages(c commands.Claimed) int {
	var album struct {
		Media []struct{} `json:"media"`
	}
	if c.Kind != domain.KindSendMessage || json.Unmarshal(c.Body, &album) != nil {
		return 1
	}
	return max(1, len(album.Media))
}

// Send makes the call if the limits allow it, and records a rate limit in the answer.
func (p *Paced) Send(ctx context.Context, c commands.Claimed) commands.Outcome {
	pace := p.bots[c.Stream.Bot()]
	if pace == nil {
		return p.Sender.Send(ctx, c)
	}
	wait, trial := pace.breaker.admit(ctx, p.Sender, c)
	if wait > 0 {
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: wait, Reason: pace.breaker.says()}
	}
	o := p.send(ctx, pace, c)
	pace.breaker.done(o, trial)
	// A wrong token or a rate limit is no failure of this delivery.
	o.Untried = o.Untried || o.Cause == commands.CauseToken || o.Cause == commands.CauseFlood
	return o
}

// Breaker returns the state of a bot's circuit breaker: closed, open or half-open.
func (p *Paced) Breaker(bot string) string {
	if pace := p.bots[bot]; pace != nil {
		return pace.breaker.state()
	}
	return "closed"
}

// send makes the call as soon as the limits allow it.
func (p *Paced) send(ctx context.Context, pace *pace, c commands.Claimed) commands.Outcome {
	permit, err := p.acquire(ctx, pace, c)
	if err == nil && permit.Cause == commands.CauseBlocked {
		var blocked bool
		if blocked, err = p.stillBlocked(ctx, c.CallsTo()); blocked {
			return commands.Outcome{State: domain.DeliveryRefused, Reason: "suppressed: the customer has blocked the bot"}
		} else if err == nil {
			permit, err = p.acquire(ctx, pace, c)
		}
	}
	if err != nil {
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: limiterBackoff, Reason: err.Error()}
	}
	if permit.Wait > 0 {
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: permit.Wait, Reason: postponed(permit)}
	}
	o := p.Sender.Send(ctx, c)
	o.After = p.record(ctx, c, o, permit)
	return o
}

// acquire asks for a permit until there is one, for as long as a worker may hold the delivery. It waits
// only for the bot's limit: a worker that waited for a chat would delay other chats.
func (p *Paced) acquire(ctx context.Context, pace *pace, c commands.Claimed) (commands.Permit, error) {
	request := pace.request(c)
	if request.Bot.Every == 0 && request.Chat.Every == 0 && !c.Closed {
		return commands.Permit{}, nil // no limit, and the calls are not suspended
	}
	held := time.NewTimer(hold)
	defer held.Stop()
	expired := c.Priority == commands.PriorityTyping // typing is dropped instead of waiting
	if pace.bot.every > 0 && c.Priority == commands.PriorityBot {
		select {
		case pace.turn <- struct{}{}:
			defer func() { <-pace.turn }()
		case <-held.C:
			expired = true
		}
	}
	for {
		permit, err := p.Limits.Acquire(ctx, request)
		if err != nil || permit.Wait == 0 || permit.Chat || expired {
			return permit, err
		}
		select {
		case <-time.After(permit.Wait):
		case <-held.C:
			expired = true // ask once more: there may be a permit now
		}
	}
}

// request returns the permit that a delivery needs. The answer to a button does not count against a
// chat's limit: it must be sent soon, even if the chat must wait.
func (p *pace) request(c commands.Claimed) commands.PermitRequest {
	inBot, inChat := 1., 1.
	switch c.Priority {
	case commands.PriorityTyping:
		inBot, inChat = 0, 0
	case commands.PriorityBot:
		inBot = .5
	}
	a := commands.PermitRequest{Bot: p.bot.share(domain.BotStream(c.Stream.Bot()), inBot)}
	if c.Kind == domain.KindAnswerButton {
		return a
	}
	limit := p.chat
	if id, _ := c.CallsTo().Chat(); id < 0 {
		limit = p.group
	}
	a.Chat = limit.share(c.CallsTo(), inChat)
	n := time.Duration(messages(c)) // may exceed the burst: then the next calls wait longer
	a.Bot.Every, a.Chat.Every = n*a.Bot.Every, n*a.Chat.Every
	return a
}

// stillBlocked reports whether the customer still blocks the bot, according to the chat's events. If not,
// it ends the suspension of the chat.
func (p *Paced) stillBlocked(ctx context.Context, stream domain.StreamID) (bool, error) {
	blocked, err := p.Chats.Blocked(ctx, stream)
	if err != nil || blocked {
		return blocked, err
	}
	return false, p.Limits.Resume(ctx, stream, commands.CauseBlocked)
}

// record stores for all processes what an answer means for further calls, and returns when the
// delivery may be attempted again (see commands.Outcome). If that fails, each process gets the same
// answer by a call of its own.
func (p *Paced) record(
	ctx context.Context, c commands.Claimed, o commands.Outcome, permit commands.Permit,
) time.Duration {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer done()
	bot, chat, after := domain.BotStream(c.Stream.Bot()), c.CallsTo(), o.After
	if o.Cause == commands.CauseFlood && after == 0 {
		after = limiterBackoff // RetryAfter may return a longer one; the worker's backoff does not grow here
	}
	var err error
	switch {
	case o.MovedTo != 0:
		err = p.Limits.MoveOrderingKey(ctx, chat, domain.ChatStream(c.Stream.Bot(), o.MovedTo))
	case o.Cause == commands.CauseToken:
		err = p.Limits.Suspend(ctx, bot, commands.CauseToken, o.After, o.Reason)
	case o.Cause == commands.CauseFlood && c.Kind == domain.KindAnswerButton:
		err = p.Limits.Suspend(ctx, bot, commands.CauseFlood, after, o.Reason)
	case o.Cause == commands.CauseFlood:
		var wait time.Duration
		if wait, err = p.Limits.RetryAfter(ctx, bot, chat, o.After, o.Reason); err == nil {
			after = wait
		}
	case o.Blocked && c.Kind != domain.KindAnswerButton:
		err = p.Limits.Suspend(ctx, chat, commands.CauseBlocked, 0, o.Reason)
	case permit.Probe && (o.State == domain.DeliveryDone || o.State == domain.DeliveryRefused):
		err = p.Limits.Resume(ctx, bot, permit.Cause)
	}
	if err != nil {
		p.Log.ErrorContext(ctx, "Telegram's rate limit not recorded", "bot", c.Stream.Bot(), "stream", c.Stream,
			"correlation", c.Correlation, "cause", o.Cause, "error", err)
	}
	return after
}

// postponed returns the reason why a delivery is postponed without a call.
func postponed(p commands.Permit) string {
	whose := "the bot"
	if p.Chat {
		whose = "the chat"
	}
	if p.Cause == "" {
		return whose + " has reached its rate limit"
	}
	return "no call was made, for " + whose + ": " + p.Reason
}
