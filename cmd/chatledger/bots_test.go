package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

const (
	// isolated is the number of bots; the first three have a fault.
	isolated = 10
	troubled = 3
	// asking is how many customers each of the other bots has; flooding is how many updates one bot with a
	// fault gets at the same time.
	asking   = 10
	flooding = 1500
)

// figures returns the numbers of a bot's updates, answers and deliveries, and of deliveries with more than
// one attempt.
func (w *town) figures(bot string) string {
	return w.rows(`
		select (select count(*) from eventstore.events where starts_with(stream_id, 'chat-' || $1 || ':')
		and name = 'message_received') || ' received, ' ||
			(select count(*) from eventstore.events where starts_with(stream_id, 'chat-' || $1 || ':')
			and name = 'reply_queued') || ' answered, ' ||
			(select count(*) filter (where state = 'done') || ' delivered, ' ||
				count(*) filter (where attempts > 1) || ' repeated'
			 from eventstore.deliveries where destination = 'telegram:' || $1)`, bot)
}

// pace returns how long a bot's messages took to be delivered, as text.
func (w *town) pace(bot string) string {
	return w.rows(`
		select coalesce('p50 ' || round(1000 * percentile_cont(0.5) within group
				(order by extract(epoch from finished_at - created_at))::numeric) ||
			' ms, p95 ' || round(1000 * percentile_cont(0.95) within group
				(order by extract(epoch from finished_at - created_at))::numeric) || ' ms', 'nothing delivered')
		from eventstore.deliveries where destination = 'telegram:' || $1 and state = 'done'`, bot)
}

func TestBots_OthersFail_Isolated(t *testing.T) {
	t.Parallel()
	// A Zendesk that accepts connections and does not answer.
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dead.Close() })

	run := func(trouble bool) map[string][2]string {
		var names, bots []string
		for i := range isolated {
			names = append(names, fmt.Sprintf("b%d", i))
		}
		w := newBotsTown(t, names...)
		for i, name := range names {
			bot := plain(name, i)
			switch {
			case !trouble || i >= troubled:
			case i == 0:
				bot = strings.Replace(bot, tokenOf(0), "100:another-token", 1)
			case i == 2:
				bot = plain(name, i,
					fmt.Sprintf("zendesk: {url: 'http://%s', email: bot@example.com, token: t, webhook_secret: s, rate: 0}",
						dead.Addr()))
			}
			bots = append(bots, bot)
		}
		w.write(bots...)
		w.serveFile()
		for i, name := range names {
			b := config.Bot{Token: tokenOf(i), Secret: "secret-of-" + name}
			w.point(name, b)
		}
		var all sync.WaitGroup
		if trouble {
			for i := range 20 {
				w.says("b0", 100+i, "Where is my order 1001?")
				w.says("b2", 100+i, "I want to speak to a person")
			}
			all.Go(func() {
				for i := range flooding {
					w.says("b1", 100+i%10, "Where is my order 1001?")
				}
			})
		}
		for i := troubled; i < isolated; i++ {
			all.Go(func() {
				for chat := range asking {
					w.says(names[i], 1+chat, "Where is my order 1001?")
				}
			})
		}
		all.Wait()
		found := map[string][2]string{}
		for _, name := range names[troubled:] {
			w.eventually(name+" has answered everybody", func() string {
				delivered := w.rows(`select count(*) from eventstore.deliveries where destination = 'telegram:' || $1
					and state = 'done'`, name)
				return unless(delivered == fmt.Sprint(asking), "%s; %s", delivered, w.figures(name))
			})
			found[name] = [2]string{w.figures(name), w.pace(name)}
		}
		if trouble {
			w.eventually("the wrong token has stopped its bot", func() string {
				return unless(w.rows(`select cause from eventstore.rate_limits where name = 'bot-b0'`) == "token",
					"%s", w.rows(`select name, cause from eventstore.rate_limits where cause is not null`)+".")
			})
			w.eventually("the flood is received", func() string {
				return unless(strings.HasPrefix(w.figures("b1"), fmt.Sprint(flooding)+" received"), "%s",
					w.figures("b1"))
			})
			w.eventually("the tickets for Zendesk are pending", func() string {
				n := w.rows(`select count(*) from eventstore.deliveries where destination = 'zendesk:b2'
					and state in ('waiting', 'sending') and kind = 'zendesk.createTicket'`)
				return unless(n == "20", "%s", n)
			})
			for _, name := range names[:troubled] {
				t.Logf("%s, in trouble: %s; %s", name, w.figures(name), w.pace(name))
			}
			w.wantRows("0",
				`select count(*) from eventstore.deliveries where destination = 'telegram:b0' and state = 'done'`)
		}
		w.stop()
		return found
	}
	alone, beside := run(false), run(true)
	for i := troubled; i < isolated; i++ {
		name := fmt.Sprintf("b%d", i)
		t.Logf("%s alone: %s | beside three in trouble: %s", name, alone[name], beside[name])
		if alone[name][0] != beside[name][0] {
			t.Errorf("%s: %s alone, %s beside bots in trouble", name, alone[name][0], beside[name][0])
		}
	}
}

// postUpdate posts an update to a webhook.
func postUpdate(address, secret, update string) (int, error) {
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(update))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Telegram-Bot-Api-Secret-Token", secret)
	answer, err := webhookClient.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// No output of a command or a running server contains a secret.
func TestOutput_AllBots_HoldsNoSecret(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "shop")
	const marked = "5up3r53cr3t"
	right := plain("shop", 0, "public_url: http://127.0.0.1:1/webhook/shop",
		fmt.Sprintf("crm: {url: 'http://127.0.0.1:1', token: %s-crm}", marked),
		fmt.Sprintf("zendesk: {url: 'http://127.0.0.1:1', email: a@b, token: %s-zendesk, webhook_secret: %s-hook}",
			marked, marked))
	right = strings.Replace(strings.Replace(right, "orders: demo", "", 1), "secret-of-shop", marked+"-webhook", 1)
	wrong := strings.Replace(right, tokenOf(0), "99:"+marked+"-token", 1)
	var said strings.Builder
	for _, file := range []string{right, wrong, strings.Replace(wrong, "max", "maxx", 1) + "    nonsense: " + marked +
		"\n    max_connections: " + marked + "\n"} {
		w.write(file)
		for _, args := range [][]string{{"config", "check", "--bots", w.file}, {"webhook", "set"}, {"webhook", "info"},
			{"webhook", "rotate"}, {"webhook", "switch", "v2"}, {"webhook", "delete"}, {"doctor"}} {
			for _, api := range []string{w.api, "http://127.0.0.1:1"} {
				if args[len(args)-1] == "rotate" && api != w.api {
					continue // it waits for its new address, and makes no call of the API
				}
				full := args
				if args[0] != "config" {
					full = append(append([]string{}, args...), "--bots", w.file, "--telegram-url", api,
						"--database-url", w.dsn)
				}
				_, stdout, stderr := command(t.Context(), full...)
				fmt.Fprintf(&said, "%v: %s%s\n", args, stdout, stderr)
			}
		}
	}
	w.write(wrong)
	w.serveFile()
	w.logged("cannot register the bot's webhook")
	if status, err := postUpdate(w.url+"/webhook/shop", marked+"-webhook",
		messageUpdate(1, 7, 1, "I want to speak to a person")); err != nil || status != http.StatusOK {
		t.Fatalf("the webhook answers %d (%v)", status, err)
	}
	w.eventually("calls were tried", func() string {
		return unless(w.rows(`select count(*) from eventstore.deliveries where reason is not null`) != "0",
			"none has a reason")
	})
	_, metrics, err := get(w.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	stored := w.rows(`select payload::text from eventstore.events union all select concat(payload, outcome, reason)
		from eventstore.deliveries union all select coalesce(reason, '') from eventstore.rate_limits`)
	for what, text := range map[string]string{"commands": said.String(), "the log": w.log.String(),
		"metrics": metrics, "tables": stored} {
		if i := strings.Index(text, marked); i >= 0 {
			t.Errorf("%s: ...%s...", what, text[max(0, i-200):min(len(text), i+50)])
		}
	}
}
