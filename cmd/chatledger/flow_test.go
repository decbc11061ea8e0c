package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// telegramRates are the limits of a bot whose bots file names none.
func telegramRates(b *config.Bot) {
	if err := b.Rate.Complete(); err != nil {
		panic(err)
	}
}

// sent returns how many messages have arrived.
func (w *world) sent() int64 { return w.Stats().Calls["sendMessage"]["200"] }

// Two processes share the rate limits: the simulated Telegram, which counts calls, never answers 429, and
// no message is delayed much longer than the limits require.
func TestRateLimit_TwoProcesses_NeverExceeded(t *testing.T) {
	t.Parallel()
	const chats = 100
	w := newWorld(t, telegramRates)
	w.start(w.dsn)
	w.Limit(telegramsim.TelegramLimits)
	for chat := range int64(chats) {
		w.Say(100+chat, "hello")
	}
	for range 5 { // more than a burst of a private chat, and of a group
		w.Say(7, "hello")
		w.Say(-7, "hello")
	}
	w.settle() // 22 a second, and five to a group take 8 s
	stats := w.Stats()
	if stats.Floods != (telegramsim.Floods{}) {
		t.Errorf("too many calls: %+v", stats.Floods)
	}
	if n := w.sent(); n != chats+10 {
		t.Errorf("%d messages, want %d", n, chats+10)
	}
	w.wantRows("1, 1", `select min(attempts), max(attempts) from eventstore.deliveries`)
	w.wantRows("done", `select distinct state from eventstore.deliveries`)
}

// A flood of the bot's answers leaves permits for operators and for buttons.
func TestButton_DuringFlood_Answered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, telegramRates)
	w.Limit(telegramsim.TelegramLimits)
	const chats = 100
	for chat := range int64(chats) {
		w.Say(100+chat, "hello")
	}
	w.eventually("the flood begins", func() string { return unless(w.sent() > 10, "%d", w.sent()) })
	for chat := range int64(5) {
		w.Press(100+chat, 1, "anything")
	}
	w.eventually("the buttons are answered", func() string {
		return unless(w.Stats().Calls["answerCallbackQuery"]["200"] == 5, "%v", w.Stats().Calls)
	})
	if n := w.sent(); n > 3*chats/4 {
		t.Errorf("the buttons waited behind %d messages", n)
	}
	w.settle()
	if floods := w.Stats().Floods; floods != (telegramsim.Floods{}) {
		t.Errorf("too many calls: %+v", floods)
	}
}

// After a 429 for one chat no process calls Telegram for it, not even one that starts meanwhile, and no
// other chat waits.
func TestSuspension_Restart_Remembered(t *testing.T) {
	t.Parallel()
	const ban = 3 * time.Second
	w := newTown(t, pgtest.Database(t), telegramRates)
	w.running = w.start(w.dsn)
	w.register()
	var mu sync.Mutex
	var calls []time.Time
	w.OnSend(func(chat int64, _ string, at time.Time) {
		if mu.Lock(); chat == 7 {
			calls = append(calls, at)
		}
		mu.Unlock()
	})
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 7, Status: 429, RetryAfter: int64(ban.Seconds()), Count: 1})
	w.Say(7, "hello")
	w.eventually("the chat is closed", func() string {
		return unless(w.rows(`select cause from eventstore.rate_limits where name = 'chat-demo:7'`) == "flood",
			"no row says so")
	})
	w.stop()
	// The rate limit of the chat, not the delivery's own time, postpones the reply.
	w.rows(`update eventstore.deliveries set next_attempt = now() returning 1`)
	// The suspension lasts longer than the start of a process can take.
	w.rows(`update eventstore.rate_limits set suspended_until = suspended_until + interval '1 hour'
		where name = 'chat-demo:7' returning 1`)
	w.running = w.start(w.dsn)
	w.register()
	w.Say(7, "thank you")
	w.Say(8, "hello")
	if _, err := w.Await(t.Context(), 8, 1); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(calls) > 1 {
		t.Errorf("the closed chat was called %d times", len(calls))
	}
	mu.Unlock()
	w.rows(`update eventstore.rate_limits set suspended_until = suspended_until - interval '1 hour'
		where name = 'chat-demo:7' returning 1`)
	w.eventually("the chat is called again", func() string {
		w.rows(`update eventstore.deliveries set next_attempt = now()
			where state = 'waiting' and next_attempt > now() + interval '1 minute' returning 1`)
		mu.Lock()
		defer mu.Unlock()
		return unless(len(calls) > 1, "it is not")
	})
	w.settle()
	mu.Lock()
	defer mu.Unlock()
	if len(calls) != 3 || calls[1].Sub(calls[0]) < ban {
		t.Errorf("called at %v", calls)
	}
	if said := w.texts(7, "bot"); len(said) != 2 || said[1] != "You're welcome!" {
		t.Errorf("the bot says %q", said)
	}
	// The call that Telegram answered with 429 does not count as an attempt.
	w.wantRows("1, 1",
		`select max(attempts), min(attempts) from eventstore.deliveries where stream_id = 'chat-demo:7'`)
}

// Two chats get a 429 at the same time: then the whole bot is suspended.
func TestSuspension_WholeBot_StopsAllChats(t *testing.T) {
	t.Parallel()
	const ban = 2 * time.Second
	w := newWorld(t)
	var mu sync.Mutex
	var calls []time.Time
	w.OnSend(func(_ int64, _ string, at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, at)
	})
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: 429, RetryAfter: int64(ban.Seconds()), Count: 2})
	w.Say(7, "hello")
	w.Say(8, "hello")
	w.eventually("the bot is stopped", func() string {
		return unless(w.rows(`select cause from eventstore.rate_limits where name = 'bot-demo'`) == "flood",
			"no row says so")
	})
	w.Say(9, "hello")
	w.Press(9, 1, "anything")
	w.settle()
	mu.Lock()
	defer mu.Unlock()
	if len(calls) != 5 || calls[2].Sub(calls[1]) < ban {
		t.Errorf("called at %v", calls)
	}
	if calls := w.Stats().Calls; calls["sendMessage"]["200"] != 3 || calls["sendMessage"]["429"] != 2 ||
		calls["answerCallbackQuery"]["200"] != 1 {
		t.Errorf("calls %v", calls)
	}
}

// After a customer has blocked the bot, one call is made, whatever is still to be sent, until the customer
// comes back.
func TestBlockedChat_UntilItReturns_NotCalled(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(*world){
		"by writing": func(w *world) { w.Say(7, "hello") },
		"by unblocking": func(w *world) {
			w.Post(map[string]any{"my_chat_member": map[string]any{"chat": map[string]any{"id": 7, "type": "private"},
				"date":            time.Now().Unix(),
				"new_chat_member": map[string]any{"status": "member"}}})
			w.settle()
			if code, _, stderr := w.cli("ticket", "open", "chat-demo:7"); code != 0 {
				w.t.Fatalf("ticket open: %s", stderr)
			}
			if code, _, stderr := w.cli("ticket", "reply", "chat-demo:7", "Are you still there?"); code != 0 {
				w.t.Fatalf("ticket reply: %s", stderr)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			release := make(chan struct{})
			answer := sync.OnceFunc(func() { close(release) })
			defer answer()
			w.OnSend(func(int64, string, time.Time) { <-release })
			w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: 403})
			for range 3 {
				w.Say(7, "hello")
			}
			w.eventually("three answers are pending", func() string {
				return unless(w.rows(`select count(*) from eventstore.deliveries`) == "3", "they are not")
			})
			answer()
			w.settle()
			calls := w.Stats().Calls["sendMessage"]["403"]
			if calls != 1 {
				t.Errorf("%d calls", calls)
			}
			w.wantRows("refused, true, 1; refused, false, 2", `
				select state, reason not like 'suppressed%', count(*) from eventstore.deliveries group by 1, 2 order by 3`)
			w.wantRows("3, 0, true",
				`select failed_deliveries, awaiting_delivery, blocked from readmodel.conversations where chat_id = 7`)

			w.stop() // and another process knows
			w.running = w.start(w.dsn)
			w.register()
			w.ClearFaults()
			back(w)
			w.settle()
			if said := w.texts(7, "bot"); len(said) != 1 {
				t.Errorf("after the return the bot says %q", said)
			}
			w.wantRows("false", `select blocked from readmodel.conversations where chat_id = 7`)
			w.clean()
		})
	}
}

// A wrong token suspends one bot, which doctor and the metrics show; one call a minute tries it.
func TestWrongToken_OneBot_OthersContinue(t *testing.T) {
	t.Parallel()
	const chats = 15
	w := newTown(t, pgtest.Database(t), telegramRates)
	wrong := w.bot
	wrong.Token = dev.Token + "-and-more"
	bots := func(demo config.Bot) func(*server.Config) {
		return func(c *server.Config) { c.Bots = map[string]config.Bot{"demo": demo, "other": w.bot} }
	}
	w.running = w.start(w.dsn, bots(wrong))
	if err := dev.SetWebhook(t.Context(), w.api, w.bot, w.url+"/webhook/other"); err != nil {
		t.Fatal(err)
	}
	refused := func() int64 { return w.Stats().Calls["sendMessage"]["401"] }
	for chat := range int64(chats) {
		w.openChat(100 + chat)
		w.mustPost(messageUpdate(1+chat, 100+chat, 1, "hello"))
		if chat == 0 {
			w.eventually("the token is tried", func() string { return unless(refused() == 1, "%v", w.Stats().Calls) })
		}
	}
	w.Say(7, "hello")
	if _, err := w.Await(t.Context(), 7, 1); err != nil {
		t.Fatalf("the other bot: %v", err)
	}
	w.eventually("the metric says why", func() string {
		_, metrics, err := get(w.url + "/metrics")
		return unless(err == nil && strings.Contains(metrics, `chatledger_bot_suspended{bot="demo",cause="token"} 1`) &&
			!strings.Contains(metrics, `chatledger_bot_suspended{bot="other"`), "%v", err)
	})
	w.eventually("the deliveries wait and say why", func() string {
		waiting := w.rows(`select count(*) filter (where reason like '%token is wrong%') > 0, min(attempts), max(attempts),
			count(*) from eventstore.deliveries
			where destination = 'telegram:demo' and state = 'waiting'`)
		return unless(waiting == fmt.Sprintf("true, 0, 0, %d", chats), "%s", waiting)
	})
	if n := refused(); n != 1 {
		t.Errorf("%d calls with the wrong token", n)
	}

	minuteLater := func() {
		w.rows(`update eventstore.rate_limits set suspended_until = now() where name = 'bot-demo' returning 1`)
		w.rows(`update eventstore.deliveries set next_attempt = now() where state = 'waiting' returning 1`)
	}
	minuteLater()
	w.eventually("the token is tried again", func() string { return unless(refused() == 2, "%v", w.Stats().Calls) })

	w.stop() // somebody mends it
	minuteLater()
	w.running = w.start(w.dsn, bots(w.bot))
	w.settle()
	if n := refused(); n != 2 {
		t.Errorf("%d calls with the wrong token", n)
	}
	w.wantRows(fmt.Sprintf("done, %d", chats+1), `select state, count(*) from eventstore.deliveries group by 1`)
	w.wantRows("", `select name from eventstore.rate_limits where cause is not null`)
}

// slowOrders answers when the test lets it.
type slowOrders struct {
	crm.Orders
	answer chan struct{}
}

func (s slowOrders) Order(ctx context.Context, number string, by crm.Asker) (dialog.Order, bool, error) {
	select {
	case <-s.answer:
	case <-ctx.Done():
	}
	return s.Orders.Order(ctx, number, by)
}

// During a look-up the customer sees the typing indicator repeatedly, but not when the bot has more urgent
// calls to make.
func TestTyping_SlowLookup_ShownAndShedUnderLoad(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t), telegramRates)
	w.Limit(telegramsim.TelegramLimits)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := server.New(t.Context(), server.Config{DSN: w.dsn, Bots: map[string]config.Bot{"demo": w.bot},
		TelegramURL: w.api, Listener: listener, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	orders := slowOrders{crm.Demo, make(chan struct{})}
	a.Bots.All()["demo"].Typing[chat.KindOf(dialog.OrderStatus)].Asker = crm.Tools{
		Shops: map[string]crm.Shop{"demo": {Orders: orders}}, Now: clock.Now,
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-a.Router.Running()
	w.running = &running{url: "http://" + listener.Addr().String()}
	w.register()
	typed := func() int64 { return w.Stats().Calls["sendChatAction"]["200"] }

	w.Say(7, "where is my order 1001?")
	w.eventually("typing is shown", func() string { return unless(typed() == 1, "%v", w.Stats().Calls) })
	w.eventually("typing is renewed", func() string { return unless(typed() == 2, "%v", w.Stats().Calls) })
	orders.answer <- struct{}{}
	if _, err := w.Await(t.Context(), 7, 1); err != nil {
		t.Fatal(err)
	}

	// The bot's rate limit is used up, as by a flood; this machine may be too slow for a real one.
	w.exec(`insert into eventstore.rate_limits (name, tat) values ('bot-demo', now() + interval '1 hour')
		on conflict (name) do update set tat = excluded.tat`)
	for chat := range int64(60) {
		w.Say(100+chat, "hello")
	}
	w.Say(8, "where is my order 1002?")
	w.eventually("the order is looked up, and messages wait", func() string {
		row := w.rows(`select bool_or(destination = 'orders:demo' and state = 'sending'),
			count(*) filter (where state = 'waiting') >= 10 from eventstore.deliveries`)
		return unless(row == "true, true", "%s", row)
	})
	if n := typed(); n != 2 {
		t.Errorf("typing was shown in the flood")
	}
	w.exec(`update eventstore.rate_limits set tat = now() where name = 'bot-demo'`)
	w.eventually("the flood is over", func() string {
		w.rows(`update eventstore.deliveries set next_attempt = now()
			where state = 'waiting' and next_attempt > now() + interval '1 minute' returning 1`)
		return unless(w.sent() == 61, "%d", w.sent())
	})
	orders.answer <- struct{}{}
	w.settle()
	if said := w.texts(8, "bot"); len(said) != 1 || !strings.HasPrefix(said[0], "Order 1002") {
		t.Errorf("the bot says %q", said)
	}
	if floods := w.Stats().Floods; floods != (telegramsim.Floods{}) {
		t.Errorf("too many calls: %+v", floods)
	}
}

// A group has migrated to another chat id: pending messages arrive there, in order, and before later ones.
func TestGroupMigration_PendingMessages_Follow(t *testing.T) {
	t.Parallel()
	const from, to = -7, -1001234567890
	w := newWorld(t)
	w.openChat(to)
	held := map[int64]chan struct{}{from: make(chan struct{}), to: make(chan struct{})}
	answer := map[int64]func(){}
	for chat, calls := range held {
		answer[chat] = sync.OnceFunc(func() { close(calls) })
		defer answer[chat]()
	}
	w.OnSend(func(chat int64, _ string, _ time.Time) { <-held[chat] })
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: from, Status: 400, MigrateTo: to})
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: to, Status: 500, Count: 1})
	w.Say(from, "/help")
	w.Say(from, "hello")
	w.eventually("both are to be sent", func() string {
		return unless(w.rows(`select count(*) from eventstore.deliveries`) == "2", "not yet")
	})
	w.Say(to, "thank you")
	w.eventually("both ids are called", func() string {
		n := w.rows(`select count(*) from eventstore.deliveries where state = 'sending'`)
		return unless(n == "2", "%s are", n)
	})
	answer[from]()
	w.eventually("the line has moved", func() string {
		n := w.rows(`select count(*) from eventstore.deliveries where ordering_key = $1`, fmt.Sprint("chat-demo:", to))
		return unless(n == "3", "%s are in it", n)
	})
	answer[to]()
	w.settle()
	said := w.texts(to, "bot")
	if len(said) != 3 || !strings.HasPrefix(said[0], "You can write") || said[1] != "Hello! What can I do for you?" ||
		said[2] != "You're welcome!" {
		t.Errorf("the bot says %q", said)
	}
	if calls := w.Stats().Calls["sendMessage"]; calls["400"] != 1 {
		t.Errorf("calls %v", calls)
	}
	w.wantRows("3, 0",
		`select sum(replies)::int, sum(failed_deliveries)::int from readmodel.conversations where chat_id in ($1, $2)`,
		from, to)
}
