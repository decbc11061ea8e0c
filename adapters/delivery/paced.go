package delivery

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// RateLimiter keeps the rate limits of calls, and which chats and bots must not be called, for
// all processes.
type RateLimiter interface {
	// Acquire takes a call's share of the limits, or says how long to wait for it.
	Acquire(context.Context, commands.PermitRequest) (commands.Permit, error)
	// RetryAfter records that a chat, or the bot, is limited after a call to the chat, and
	// returns how long the chat must wait. A wait of 0 means that no time was given.
	RetryAfter(ctx context.Context, bot, chat domain.StreamID, wait time.Duration, reason string) (time.Duration, error)
	// Suspend rejects the calls of a chat or a bot for a while. Resume ends it.
	Suspend(ctx context.Context, name domain.StreamID, cause commands.Cause, wait time.Duration, reason string) error
	Resume(ctx context.Context, name domain.StreamID, cause commands.Cause) error
	// MoveOrderingKey gives the unsent deliveries of one chat the ordering key of another.
	MoveOrderingKey(ctx context.Context, from, to domain.StreamID) error
}

// Limits are how often one bot may call. 0 is no limit.
type Limits struct {
	Bot   float64 // calls a second
	Chat  float64 // calls a second to one private chat
	Group float64 // calls a minute to one group
}

const (
	// Of a limit that counts the calls of any second or minute, a sixth may come at
	// once and three quarters flow evenly. The rest is for calls that are longer on
	// their way than those behind them: 150 ms longer at 30 calls a second.
	atOnceOfLimit = 1. / 6
	flowOfLimit   = 3. / 4
	// chatBurst is how many calls of a private chat may come at once. Telegram allows
	// short bursts there; an answer and what follows from it are two or three messages.
	chatBurst = 3
	// hold is how long a delivery waits in hand for its bot's limit before it is put
	// off: with it and a call's own timeout an attempt still ends before its lease. A
	// bot that cannot call claims little that way, however much is due.
	hold = time.Second
	// flowless is the pause when the limits cannot be read, as while the database is away.
	flowless = time.Second
	// heedTimeout bounds the recording of what Telegram wants.
	heedTimeout = 2 * time.Second
)

// Paced is a Sender that keeps to Telegram's limits: what may not go now is put off
// without a call, and what Telegram wants not to be called, no process calls. While the Bot
// API does not answer, no call is made either (see breaker).
//
// A bot's limit has room for urgent calls: operators' messages and answers
// to buttons may use all of its burst, the bot's own messages half of it, and typing
// none. A chat waits only for itself and its bot.
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

// pace is one bot's. turn is held by the one of its deliveries, of those that are in no
// hurry, that asks for leave: the others need not ask meanwhile.
type pace struct {
	bot, chat, group limit
	turn             chan struct{}
	breaker          breaker
}

// limit lets burst calls through at once, and then one every so often.
type limit struct {
	every time.Duration
	burst int
}

// Add lets a bot's deliveries through within limits.
func (p *Paced) Add(bot string, l Limits) {
	if p.bots == nil {
		p.bots = map[string]*pace{}
	}
	p.bots[bot] = &pace{bot: within(time.Second, l.Bot), chat: one(time.Second, l.Chat), group: within(time.Minute, l.Group), turn: make(chan struct{}, 1)}
}

// within is a limit that never lets more than n calls through in any span of time.
func within(span time.Duration, n float64) limit {
	if n <= 0 {
		return limit{}
	}
	return limit{every: time.Duration(float64(span) / n / flowOfLimit), burst: max(1, int(n*atOnceOfLimit))}
}

// one is a limit of n calls in a span on the average.
func one(span time.Duration, n float64) limit {
	if n <= 0 {
		return limit{}
	}
	return limit{every: time.Duration(float64(span) / n), burst: chatBurst}
}

// share is what a call takes of a limit, when it may use a part of its burst.
func (l limit) share(name domain.StreamID, part float64) commands.Share {
	return commands.Share{Name: name, Every: l.every, Slack: time.Duration(part * float64(l.every) * float64(max(l.burst-1, 0)))}
}

// messages is how many of them a call sends: an album is as many as it has parts.
func messages(c commands.Claimed) int {
	var album struct {
		Media []struct{} `json:"media"`
	}
	if c.Kind != domain.KindSendMessage || json.Unmarshal(c.Body, &album) != nil {
		return 1
	}
	return max(1, len(album.Media))
}

// Send makes the call if it may be made, and heeds the answer.
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
	// A wrong token and a flood say nothing about this delivery.
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
	leave, err := p.leave(ctx, pace, c)
	if err == nil && leave.Cause == commands.CauseBlocked {
		var blocked bool
		if blocked, err = p.stillBlocked(ctx, c.CallsTo()); blocked {
			return commands.Outcome{State: domain.DeliveryRefused, Reason: "suppressed: the customer has blocked the bot"}
		} else if err == nil {
			leave, err = p.leave(ctx, pace, c)
		}
	}
	if err != nil {
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: flowless, Reason: err.Error()}
	}
	if leave.Wait > 0 {
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: leave.Wait, Reason: why(leave)}
	}
	o := p.Sender.Send(ctx, c)
	o.After = p.heed(ctx, c, o, leave)
	return o
}

// leave asks until the call may be made, for as long as it can be held in hand. Only
// a bot's limit is waited for in hand: waiting for a chat must not delay others.
func (p *Paced) leave(ctx context.Context, pace *pace, c commands.Claimed) (commands.Permit, error) {
	ask := pace.ask(c)
	if ask.Bot.Every == 0 && ask.Chat.Every == 0 && !c.Closed {
		return commands.Permit{}, nil // nothing to ask for, and nothing to fear
	}
	held := time.NewTimer(hold)
	defer held.Stop()
	expired := c.Priority == commands.PriorityTyping // which is not held, but shed
	if pace.bot.every > 0 && c.Priority == commands.PriorityBot {
		select {
		case pace.turn <- struct{}{}:
			defer func() { <-pace.turn }()
		case <-held.C:
			expired = true
		}
	}
	for {
		leave, err := p.Limits.Acquire(ctx, ask)
		if err != nil || leave.Wait == 0 || leave.Chat || expired {
			return leave, err
		}
		select {
		case <-time.After(leave.Wait):
		case <-held.C:
			expired = true // it asks once more: the bot may be free again meanwhile
		}
	}
}

// ask is what a delivery takes of the limits. The answer to a button concerns no chat:
// it must come soon, whatever Telegram wants of the chat.
func (p *pace) ask(c commands.Claimed) commands.PermitRequest {
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
	n := time.Duration(messages(c)) // more than there is at once, if need be: what follows waits for it
	a.Bot.Every, a.Chat.Every = n*a.Bot.Every, n*a.Chat.Every
	return a
}

// stillBlocked asks the chat's own events whether the customer has come back, and lets
// the chat through again when that is so.
func (p *Paced) stillBlocked(ctx context.Context, stream domain.StreamID) (bool, error) {
	blocked, err := p.Chats.Blocked(ctx, stream)
	if err != nil || blocked {
		return blocked, err
	}
	return false, p.Limits.Resume(ctx, stream, commands.CauseBlocked)
}

// heed records for all processes what an answer means for further calls, and returns when the
// delivery may be attempted again (see commands.Outcome). If that fails, each process learns it
// by a call of its own.
func (p *Paced) heed(
	ctx context.Context, c commands.Claimed, o commands.Outcome, permit commands.Permit,
) time.Duration {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), heedTimeout)
	defer done()
	bot, chat, after := domain.BotStream(c.Stream.Bot()), c.CallsTo(), o.After
	if o.Cause == commands.CauseFlood && after == 0 {
		after = flowless // unless RetryAfter knows better: no attempt counts, so that no pause would grow
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
		p.Log.ErrorContext(ctx, "cannot record Telegram's rate limit", "bot", c.Stream.Bot(), "stream", c.Stream, "correlation", c.Correlation, "cause", o.Cause, "error", err)
	}
	return after
}

// why is the reason for which a delivery is put off without a call.
func why(l commands.Permit) string {
	whose := "the bot"
	if l.Chat {
		whose = "the chat"
	}
	if l.Cause == "" {
		return whose + " has used up its flow limit"
	}
	return "no call was made, for " + whose + ": " + l.Reason
}
