//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// clocked is a flow whose clock the test sets.
type clocked struct {
	*outbox.RateLimiter
	t   testing.TB
	now time.Time
}

func newFlow(t testing.TB, s *process) *clocked {
	f := &clocked{RateLimiter: outbox.NewRateLimiter(s.DB), t: t, now: at}
	f.Now = func() time.Time { return f.now }
	return f
}

// admit asks for a call that may be made at once for the first two times, and then
// once a second in its chat; its bot may call ten times a second.
func (f *clocked) admit(chat string) commands.Permit {
	f.t.Helper()
	permit, err := f.Acquire(f.t.Context(), asked(chat))
	if err != nil {
		f.t.Fatal(err)
	}
	return permit
}

func asked(chat string) commands.PermitRequest {
	a := commands.PermitRequest{Bot: commands.Share{Name: "bot-demo", Every: 100 * time.Millisecond,
		Slack: 900 * time.Millisecond}}
	if chat != "" {
		a.Chat = commands.Share{Name: domain.StreamID("chat-demo:" + chat), Every: time.Second, Slack: time.Second}
	}
	return a
}

// must insists that something was recorded.
func (f *clocked) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *clocked) mustWait(_ time.Duration, err error) {
	f.t.Helper()
	f.must(err)
}

// A chat has a burst and then a rate.
func TestRateLimit_Chat_BurstThenRate(t *testing.T) {
	t.Parallel()
	f := newFlow(t, newStore(t))
	for i, step := range []struct{ pass, wait time.Duration }{
		{0, 0}, {0, 0}, {0, time.Second}, {300 * time.Millisecond, 700 * time.Millisecond},
		{700 * time.Millisecond, 0}, {0, time.Second},
		{time.Hour, 0}, {0, 0}, {0, time.Second},
	} {
		f.now = f.now.Add(step.pass)
		if permit := f.admit("7"); permit.Wait != step.wait || permit.Chat != (step.wait > 0) || permit.Cause != "" {
			t.Errorf("step %d: %+v, want to wait %s", i, permit, step.wait)
		}
	}
}

func TestRateLimit_ChatRejects_BotNotCharged(t *testing.T) {
	t.Parallel()
	f := newFlow(t, newStore(t))
	f.admit("7")
	f.admit("7")
	for range 20 {
		f.admit("7") // in vain
	}
	for chat := range 8 {
		if permit := f.admit(fmt.Sprint(100 + chat)); permit.Wait > 0 {
			t.Errorf("chat %d: %+v, want a permit", chat, permit)
		}
	}
	permit := f.admit("200")
	if permit.Wait != 100*time.Millisecond || permit.Chat {
		t.Errorf("%+v, want to wait for the bot", permit)
	}
	if permit := f.admit("7"); permit.Wait != time.Second || !permit.Chat {
		t.Errorf("%+v, want to wait for the chat, which is longer", permit)
	}
	if permit := f.admit(""); permit.Wait != 100*time.Millisecond {
		t.Errorf("%+v, want to wait for the bot, whatever the chats do", permit)
	}
}

// The limiter in Go, one call after the other.
type flowModel struct {
	tat    map[domain.StreamID]time.Time
	closed map[domain.StreamID]time.Time
	cause  map[domain.StreamID]commands.Cause
	chat   domain.StreamID // last flooded
	when   time.Time
	until  time.Time                     // when its wait ends
	floods map[domain.StreamID]time.Time // of bots, whose ends are probed for
}

func (m *flowModel) admit(now time.Time, a commands.PermitRequest) (permit commands.Permit) {
	shares := []commands.Share{a.Bot}
	if a.Chat.Name != "" {
		shares = append(shares, a.Chat)
	}
	for i, s := range shares {
		wait := commands.Permit{Chat: i == 1}
		if m.closed[s.Name].After(now) {
			if wait.Cause, wait.Wait = m.cause[s.Name], m.closed[s.Name].Sub(now); wait.Cause == commands.CauseBlocked {
				wait.Wait = time.Second
			}
		} else if s.Every > 0 {
			wait.Wait = max(m.tat[s.Name].Add(-s.Slack).Sub(now), 0)
		}
		if wait.Wait > 0 {
			permit = wait
		}
	}
	if permit.Wait > 0 {
		return permit
	}
	for _, s := range shares {
		if m.tat[s.Name].Before(now) {
			m.tat[s.Name] = now
		}
		m.tat[s.Name] = m.tat[s.Name].Add(s.Every)
		if m.cause[s.Name] == commands.CauseToken || m.cause[s.Name] == commands.CauseFlood && m.floods[s.Name].After(now) {
			permit.Probe, permit.Cause, m.closed[s.Name] = true, m.cause[s.Name], now.Add(time.Minute)
		}
	}
	return permit
}

func (m *flowModel) close(now time.Time, name domain.StreamID, cause commands.Cause, wait time.Duration) {
	if m.cause[name] == commands.CauseBlocked {
		return
	}
	if cause == commands.CauseBlocked {
		wait = 1000 * time.Hour
	}
	if until := now.Add(wait); until.After(m.closed[name]) {
		m.closed[name] = until
	}
	m.cause[name] = cause
}

func (m *flowModel) flood(now time.Time, bot, chat domain.StreamID, wait time.Duration) {
	until := now.Add(wait)
	if m.chat != "" && m.chat != chat && now.Sub(m.when) < 10*time.Second && m.until.Sub(until).Abs() <= 10*time.Second {
		common := m.until
		if until.After(common) {
			common = until
		}
		if common.After(now) {
			m.close(now, bot, commands.CauseFlood, min(common.Sub(now), time.Minute))
			if common.After(m.floods[bot]) {
				m.floods[bot] = common
			}
		}
	}
	m.chat, m.when, m.until = chat, now, until
	m.close(now, chat, commands.CauseFlood, wait)
}

func (m *flowModel) open(name domain.StreamID, cause commands.Cause) {
	if m.cause[name] == cause {
		delete(m.cause, name)
		delete(m.closed, name)
		delete(m.floods, name)
	}
}

// Whatever is asked, told and swept away, the table answers as the model does.
func TestRateLimit_Table_EqualsModel(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	waits := []time.Duration{0, 100 * time.Millisecond, time.Second, 3 * time.Second}
	rapid.Check(t, func(rt *rapid.T) {
		pgtest.Exec(t, s.Pool(), `truncate eventstore.rate_limits`)
		f := newFlow(t, s)
		m := &flowModel{tat: map[domain.StreamID]time.Time{}, closed: map[domain.StreamID]time.Time{},
			cause:  map[domain.StreamID]commands.Cause{},
			floods: map[domain.StreamID]time.Time{}}
		chats := []domain.StreamID{"chat-demo:1", "chat-demo:2", "chat-demo:-3"}
		const bot = domain.StreamID("bot-demo")
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			ms := rapid.SampledFrom([]int{0, 0, 1, 90, 1000, 4000, 12_000, 61_000}).Draw(rt, "ms")
			f.now = f.now.Add(time.Duration(ms) * time.Millisecond)
			chat := rapid.SampledFrom(chats).Draw(rt, "chat")
			wait := time.Duration(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(100, 200)).Draw(rt, "seconds")) * time.Second
			switch rapid.SampledFrom([]string{"ask", "ask", "ask", "ask", "ask", "flood", "token", "blocked", "open",
				"sweep"}).Draw(rt, "what") {
			case "ask":
				a := commands.PermitRequest{Bot: commands.Share{Name: bot, Every: rapid.SampledFrom(waits).Draw(rt, "bot every"),
					Slack: rapid.SampledFrom(waits).Draw(rt, "bot slack")}}
				if rapid.IntRange(0, 4).Draw(rt, "button") > 0 {
					a.Chat = commands.Share{Name: chat, Every: rapid.SampledFrom(waits).Draw(rt, "every"),
						Slack: rapid.SampledFrom(waits).Draw(rt, "slack")}
				}
				got, err := f.Acquire(t.Context(), a)
				got.Reason = ""
				if want := m.admit(f.now, a); err != nil || got != want {
					rt.Fatalf("%+v\n got  %+v (%v)\n want %+v", a, got, err, want)
				}
			case "flood":
				f.mustWait(f.RetryAfter(t.Context(), bot, chat, wait, "too many"))
				m.flood(f.now, bot, chat, wait)
			case "token":
				f.must(f.Suspend(t.Context(), bot, commands.CauseToken, time.Minute, "unauthorized"))
				m.close(f.now, bot, commands.CauseToken, time.Minute)
			case "blocked":
				f.must(f.Suspend(t.Context(), chat, commands.CauseBlocked, 0, "forbidden"))
				m.close(f.now, chat, commands.CauseBlocked, 0)
			case "open":
				f.must(f.Resume(t.Context(), bot, commands.CauseToken))
				m.open(bot, commands.CauseToken)
				if rapid.Bool().Draw(rt, "flood is over") {
					f.must(f.Resume(t.Context(), bot, commands.CauseFlood))
					m.open(bot, commands.CauseFlood)
				}
				f.must(f.Resume(t.Context(), chat, commands.CauseBlocked))
				m.open(chat, commands.CauseBlocked)
			case "sweep":
				if _, err := f.DeleteExpired(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}

// However many ask at once, from however many processes, a limit lets through what it
// lets through: the first call of a chat, whose row does not exist yet, included.
func TestRateLimit_ManyProcesses_SameAsOne(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn), open(t, dsn)}
	var flows []*clocked
	for _, s := range stores {
		flows = append(flows, newFlow(t, s))
	}
	for round := range 20 {
		pgtest.Exec(t, stores[0].Pool(), `truncate eventstore.rate_limits`)
		known := round%2 == 0
		if known {
			pgtest.Exec(t, stores[0].Pool(), `insert into eventstore.rate_limits (name, tat) select 'bot-demo', $1::timestamptz
				union all select 'chat-demo:' || i, $1 from generate_series(0, 9) i`, at)
		}
		var mu sync.Mutex
		granted := map[string]int{}
		var all sync.WaitGroup
		for i := range 60 {
			chat := fmt.Sprint(i % 10)
			all.Go(func() {
				permit, err := flows[i%3].Acquire(t.Context(), asked(chat))
				if err != nil {
					t.Error(err)
				}
				if permit.Wait == 0 {
					mu.Lock()
					granted[chat]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		total := 0
		for chat, n := range granted {
			if total += n; n > 2 {
				t.Errorf("round %d: chat %s was called %d times at once", round, chat, n)
			}
		}
		// Rows that do not exist cannot be locked, so that some find out late and in vain.
		if total > 10 || total < 10 && known {
			t.Errorf("round %d: the bot called %d times at once, want 10", round, total)
		}
	}
}

// What Telegram asks for holds for every process, and for those that start later.
func TestRateLimit_RetryAfter_SharedAndDurable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	first := open(t, dsn)
	f := newFlow(t, first)
	f.mustWait(f.RetryAfter(t.Context(), "bot-demo", "chat-demo:7", 30*time.Second, "retry after 30\x00"))
	first.Close()

	for _, limits := range []string{"on", "off"} {
		f = newFlow(t, open(t, dsn))
		ask := func(chat string) commands.Permit {
			a := asked(chat)
			if limits == "off" {
				a.Bot.Every, a.Chat.Every = 0, 0
			}
			permit, err := f.Acquire(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			return permit
		}
		f.now = at.Add(10 * time.Second)
		if permit := ask("7"); permit != (commands.Permit{Wait: 20 * time.Second, Chat: true, Cause: commands.CauseFlood,
			Reason: "retry after 30␀"}) {
			t.Errorf("limits %s: %+v, want to wait the other 20 s", limits, permit)
		}
		for _, other := range []string{"8", ""} { // another chat, and a button of whichever
			if permit := ask(other); permit.Wait > 0 {
				t.Errorf("limits %s: chat %q has to wait: %+v", limits, other, permit)
			}
		}
		f.now = at.Add(30 * time.Second)
		if permit := ask("7"); permit.Wait > 0 {
			t.Errorf("limits %s: %+v after the ban", limits, permit)
		}
	}
}

func TestRateLimit_SecondChatLimited_BotClosed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chats string // one after the other
		apart time.Duration
		bot   bool
	}{
		"one chat, again and again": {"7 7 7", time.Second, false},
		"two chats at once":         {"7 8", time.Second, true},
		"two chats, long apart":     {"7 8", 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, newStore(t))
			for _, chat := range strings.Fields(c.chats) {
				f.now = f.now.Add(c.apart)
				f.mustWait(f.RetryAfter(t.Context(), "bot-demo", domain.StreamID("chat-demo:"+chat),
					20*time.Second, "retry after 20"))
			}
			permit := f.admit("9")
			if c.bot != (permit == commands.Permit{Wait: 20 * time.Second, Cause: commands.CauseFlood,
				Reason: "retry after 20"}) || !c.bot && permit.Wait > 0 {
				t.Errorf("%+v", permit)
			}
			stopped, err := f.Suspended(t.Context())
			if err != nil || len(stopped) > 0 != c.bot {
				t.Errorf("stopped are %+v (%v)", stopped, err)
			}
		})
	}
}

// A chat's own wait of hours does not stop the bot because another chat waits a moment.
func TestRetryAfter_WaitsDiffer_BotNotSuspended(t *testing.T) {
	t.Parallel()
	for _, waits := range [][]time.Duration{{time.Second, 42_055 * time.Second}, {42_055 * time.Second, time.Second}} {
		f := newFlow(t, newStore(t))
		for i, wait := range waits {
			f.mustWait(f.RetryAfter(t.Context(), "bot-demo", domain.StreamID(fmt.Sprintf("chat-demo:%d", i)), wait, "too many"))
		}
		if permit := f.admit("9"); permit.Wait > 0 {
			t.Errorf("%v: %+v", waits, permit)
		}
	}
}

// A long flood of the bot is probed once a minute, and ends with the first success.
func TestRetryAfter_BotsFlood_Probed(t *testing.T) {
	t.Parallel()
	f := newFlow(t, newStore(t))
	for _, chat := range []domain.StreamID{"chat-demo:7", "chat-demo:8"} {
		f.mustWait(f.RetryAfter(t.Context(), "bot-demo", chat, 42_055*time.Second, "retry after 42055"))
	}
	for range 2 {
		if permit := f.admit("9"); permit.Wait != time.Minute || permit.Chat || permit.Probe {
			t.Errorf("%+v, want to wait a minute", permit)
		}
		f.now = f.now.Add(time.Minute)
		if permit := f.admit("9"); permit.Wait > 0 || !permit.Probe || permit.Cause != commands.CauseFlood {
			t.Errorf("%+v, want a probe", permit)
		}
	}
	if stopped, err := f.Suspended(t.Context()); err != nil || len(stopped) != 1 {
		t.Errorf("suspended are %+v (%v), want the bot", stopped, err)
	}
	f.must(f.Resume(t.Context(), "bot-demo", commands.CauseFlood))
	if permit := f.admit("10"); permit.Wait > 0 || permit.Probe {
		t.Errorf("%+v after a probe that succeeded", permit)
	}
	if permit := f.admit("7"); !permit.Chat || permit.Wait == 0 {
		t.Errorf("%+v, want the chat to wait on", permit)
	}
}

// Without a time from Telegram the waits of a chat grow, up to minutes.
func TestRetryAfter_NoSeconds_BacksOff(t *testing.T) {
	t.Parallel()
	f := newFlow(t, newStore(t))
	flood := func(want time.Duration) {
		t.Helper()
		wait, err := f.RetryAfter(t.Context(), "bot-demo", "chat-demo:7", 0, "too many")
		if err != nil || wait != want {
			t.Errorf("wait %s (%v), want %s", wait, err, want)
		}
		if permit := f.admit("7"); permit.Wait != want {
			t.Errorf("%+v, want to wait %s", permit, want)
		}
		f.now = f.now.Add(want + time.Second)
		if _, err := f.DeleteExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		flood(time.Duration(seconds) * time.Second)
	}
	f.now = f.now.Add(10 * time.Minute)
	flood(time.Second)
}

// One call a minute finds out whether a wrong token is right again.
func TestRateLimit_WrongToken_OneProbeAtATime(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	f, other := newFlow(t, open(t, dsn)), newFlow(t, open(t, dsn))
	f.must(f.Suspend(t.Context(), "bot-demo", commands.CauseToken, time.Minute, "unauthorized"))
	if permit := other.admit("7"); permit.Wait != time.Minute || permit.Chat || permit.Cause != commands.CauseToken ||
		permit.Reason != "unauthorized" {
		t.Errorf("%+v, want to wait a minute", permit)
	}
	for range 3 {
		f.now = f.now.Add(time.Minute)
		other.now = f.now
		probes := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 10 {
			asking := []*clocked{f, other}[i%2]
			all.Go(func() {
				permit, err := asking.Acquire(t.Context(), asked(fmt.Sprint(i)))
				if err != nil {
					t.Error(err)
				}
				if mu.Lock(); permit.Wait == 0 && permit.Probe {
					probes++
				} else if permit.Wait == 0 || permit.Wait > time.Minute {
					t.Errorf("%+v", permit)
				}
				mu.Unlock()
			})
		}
		all.Wait()
		if probes != 1 {
			t.Errorf("%d calls try it", probes)
		}
	}
	stopped, err := f.Suspended(t.Context())
	if err != nil || !slices.Equal(slices.Collect(maps.Keys(stopped)), []string{"demo"}) ||
		stopped["demo"].Cause != commands.CauseToken {
		t.Errorf("stopped are %+v (%v)", stopped, err)
	}
	f.must(f.Resume(t.Context(), "bot-demo", commands.CauseToken))
	if permit := other.admit("7"); permit.Wait > 0 || permit.Probe {
		t.Errorf("%+v, once it is right", permit)
	}
	if stopped, err := f.Suspended(t.Context()); err != nil || len(stopped) > 0 {
		t.Errorf("stopped are %+v (%v)", stopped, err)
	}
}

// A blocked chat is closed until it is opened.
func TestRateLimit_BlockedChat_ClosedUntilOpened(t *testing.T) {
	t.Parallel()
	f := newFlow(t, newStore(t))
	f.must(f.Suspend(t.Context(), "chat-demo:7", commands.CauseBlocked, 0, "blocked by the user"))
	f.mustWait(f.RetryAfter(t.Context(), "bot-demo", "chat-demo:7", time.Second, "retry after 1")) // does not shorten it
	f.now = f.now.Add(1000 * time.Hour)
	if _, err := f.DeleteExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	if permit := f.admit("7"); permit.Cause != commands.CauseBlocked || permit.Wait == 0 || !permit.Chat {
		t.Errorf("%+v", permit)
	}
	if permit := f.admit("8"); permit.Wait > 0 {
		t.Errorf("another chat: %+v", permit)
	}
	f.must(f.Resume(t.Context(), "chat-demo:7", commands.CauseToken)) // not for this cause
	if permit := f.admit("7"); permit.Wait == 0 {
		t.Error("opened for another cause")
	}
	f.must(f.Resume(t.Context(), "chat-demo:7", commands.CauseBlocked))
	if permit := f.admit("7"); permit.Wait > 0 {
		t.Errorf("opened: %+v", permit)
	}
}

func TestSweep_RateLimits_OnlyUnusedRemoved(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := newFlow(t, s)
	f.admit("1")
	f.mustWait(f.RetryAfter(t.Context(), "bot-demo", "chat-demo:2", time.Hour, "retry after 3600"))
	f.must(f.Suspend(t.Context(), "chat-demo:3", commands.CauseBlocked, 0, "blocked"))
	f.must(f.Suspend(t.Context(), "bot-other", commands.CauseToken, time.Minute, "unauthorized"))
	for _, step := range []struct {
		pass time.Duration
		left string
	}{
		{time.Second, "bot-demo bot-other chat-demo:1 chat-demo:2 chat-demo:3"},
		{time.Millisecond, "bot-demo bot-other chat-demo:2 chat-demo:3"},
		{10 * time.Second, "bot-other chat-demo:2 chat-demo:3"},
		{time.Hour, "bot-other chat-demo:3"},
	} {
		f.now = f.now.Add(step.pass)
		if _, err := f.DeleteExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := pgtest.Ask[string](t, s.Pool(), `select string_agg(name, ' ' order by name)
			from eventstore.rate_limits`); left != step.left {
			t.Errorf("after %s there are %s, want %s", step.pass, left, step.left)
		}
	}
}

// A claim tells whether it must be asked whether there may be a call.
func TestClaim_Delivery_SaysWhetherMayBeClosed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := outbox.NewRateLimiter(s.DB)
	enqueue(t, s, pending("chat-demo:1", 1), pending("chat-demo:2", 1))
	if err := f.Suspend(t.Context(), "chat-demo:2", commands.CauseBlocked, 0, "blocked"); err != nil {
		t.Fatal(err)
	}
	closed := func() (all []string) {
		for _, c := range claimAll(t, s, leaseOver) {
			if c.Closed {
				all = append(all, c.OrderingKey)
			}
		}
		return all
	}
	if got := closed(); !slices.Equal(got, []string{"chat-demo:2"}) {
		t.Errorf("closed are %v, want the second chat", got)
	}
	if err := f.Suspend(t.Context(), "bot-demo", commands.CauseToken, time.Minute, "unauthorized"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReclaimExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := closed(); len(got) != 2 {
		t.Errorf("closed are %v, want both chats of the bot", got)
	}
}

// The clock is the server's, and a call is asked for again when its time has come.
func TestRateLimit_WaitAsTold_Permitted(t *testing.T) {
	t.Parallel()
	f := outbox.NewRateLimiter(newStore(t).DB)
	ctx, done := context.WithTimeout(t.Context(), waittest.Timeout)
	defer done()
	a := commands.PermitRequest{Bot: commands.Share{Name: "bot-demo", Every: 20 * time.Millisecond}}
	begun := time.Now()
	for range 10 {
		for {
			permit, err := f.Acquire(ctx, a)
			if err != nil {
				t.Fatal(err)
			}
			if permit.Wait == 0 {
				break
			}
			time.Sleep(permit.Wait)
		}
	}
	if took := time.Since(begun); took < 9*20*time.Millisecond-time.Millisecond {
		t.Errorf("ten calls in %s, want one in 20 ms", took)
	}
}

// What was owed to a group goes on in the lane of its new id, ahead of what was owed
// there later; the message that found out is not lost.
func TestMigrate_Group_OrderingKeyKeepsOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("chat-demo:-7", 1), pending("chat-demo:-7", 2),
		pending("chat-demo:-1001", 1), pending("chat-demo:-8", 1))
	for _, c := range claimAll(t, s, leaseLong) {
		if c.OrderingKey == "chat-demo:-7" {
			if err := outbox.NewRateLimiter(s.DB).MoveOrderingKey(t.Context(), "chat-demo:-7", "chat-demo:-1001"); err != nil {
				t.Fatal(err)
			}
		}
		if ok, err := s.Postpone(t.Context(), c.ID, c.Fence, commands.Outcome{State: domain.DeliveryRetry}); err != nil ||
			!ok {
			t.Fatalf("put off: %t, %v", ok, err)
		}
	}
	var order []string
	for range 3 {
		for _, c := range claimAll(t, s, leaseLong) {
			if c.OrderingKey == "chat-demo:-1001" {
				order = append(order, fmt.Sprintf("%s/%d", c.Stream, c.Version))
			}
			settle(t, s, c, domain.DeliveryDone)
		}
	}
	if want := "chat-demo:-7/1 chat-demo:-7/2 chat-demo:-1001/1"; strings.Join(order, " ") != want {
		t.Errorf("sent %v, want %s", order, want)
	}
}
