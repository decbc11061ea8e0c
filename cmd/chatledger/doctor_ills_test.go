package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// nobody is an address at which no server listens.
const nobody = "http://127.0.0.1:1"

// examinee is the system that doctor examines.
type examinee struct {
	t                            *testing.T
	bots, dsn, telegram, running string
	info                         map[string]any // what Telegram says of the webhook
	ahead                        time.Duration  // of Telegram's clock
	ready, metrics               int            // what serve answers
	says                         string         // its metrics
	database                     string         // the database of serve; "" is the right one
}

// newExaminee returns one without a fault.
func newExaminee(t *testing.T, dsn string) *examinee {
	bot := config.Bot{PublicURL: "http://bot.example.com/webhook/shop"}.Registration("")
	p := &examinee{t: t, dsn: dsn, ready: http.StatusOK, metrics: http.StatusOK,
		info: map[string]any{"url": bot.URL, "allowed_updates": bot.AllowedUpdates, "max_connections": bot.MaxConnections}}
	right := pgtest.Ask[string](t, pgtest.Connect(t, dsn), `
		select encode(sha256(convert_to(system_identifier || '/' || oid, 'UTF8')), 'hex')
		from pg_control_system(), pg_database where datname = current_database()`)
	p.write("")
	p.telegram = p.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(p.ahead).UTC().Format(http.TimeFormat))
		if p.info == nil {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"ok":false,"error_code":401,"description":"Unauthorized"}`)
			return
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"ok": true, "result": p.info}); err != nil {
			t.Error(err)
		}
	})
	p.running = p.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			w.WriteHeader(p.metrics)
			fmt.Fprint(w, p.says)
			return
		}
		w.WriteHeader(p.ready)
		if p.ready == http.StatusOK {
			fmt.Fprintf(w, `{"ready":true,"reasons":[],"database":%q}`, cmp.Or(p.database, right))
			return
		}
		fmt.Fprint(w, `{"ready":false,"reasons":["the database is read-only"]}`)
	})
	return p
}

func (p *examinee) serve(answer http.HandlerFunc) string {
	s := httptest.NewServer(answer)
	p.t.Cleanup(s.Close)
	return s.URL
}

// write adds a setting to bot shop.
func (p *examinee) write(setting string) {
	p.bots = saved(p.t, filepath.Join(p.t.TempDir(), "bots.yaml"),
		"bots:\n  shop:\n    token: 1:x\n    secret: s\n"+
			"    public_url: http://bot.example.com/webhook/shop\n    "+setting+"\n")
}

// examined runs doctor and returns the exit status and the findings.
func (p *examinee) examined() (code int, findings []struct{ Severity, What, Says, Do string }) {
	p.t.Helper()
	code, stdout, stderr := command(p.t.Context(), "doctor", "--json", "--bots", p.bots, "--database-url",
		p.dsn, "--telegram-url", p.telegram, "--receiver", p.running)
	for lines := json.NewDecoder(strings.NewReader(stdout)); ; {
		var f struct{ Severity, What, Says, Do string }
		if err := lines.Decode(&f); err == io.EOF {
			return code, findings
		} else if err != nil {
			p.t.Fatalf("%v in %s%s", err, stdout, stderr)
		}
		findings = append(findings, f)
	}
}

// as returns the database's address with a change.
func as(t *testing.T, dsn string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func TestDoctor_EachFault_FoundWithAdvice(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "ill")
	admin := pgtest.Connect(t, r.admin)
	run := func(sql string) func(*examinee) { return func(*examinee) { pgtest.Exec(t, admin, sql) } }

	forgotten := pgtest.Connect(t, r.app)
	pgtest.Exec(t, forgotten, `begin`)
	if code, findings := newExaminee(t, r.app).examined(); code != 0 || len(findings) < 12 {
		t.Errorf("without a fault: exit %d, %v", code, findings)
	}
	const delivery = `insert into eventstore.deliveries (delivery_id, stream_id, version, kind, destination,
		ordering_key, payload, state, correlation_id, created_at)
		values (gen_random_uuid(), 'chat-shop:7', 1, 'telegram.sendMessage', 'telegram:shop', 'chat-shop:7', '{}', '%s',
		gen_random_uuid(), now() - interval '1 hour')`
	const parked = `insert into eventstore.parked (consumer_group, stream_id, version, transaction_id, position, event,
		reason, tries, parked_at, last_try_at)
		values ('outbox', '%s', %d, '7', 9, '%s', '%s', 3, now(), now())`
	for _, c := range []struct {
		name                     string
		falls                    func(*examinee)
		severity, what, says, do string
		heals                    string // SQL
	}{
		{"the bots file is missing", func(p *examinee) { p.bots += ".not" }, "error", "configuration",
			"no such file", "--bots", ""},
		{"the bots file has a mistake", func(p *examinee) { p.write("secert: x") }, "error", "configuration",
			"secert", "config check", ""},
		{"an order catalogue is missing", func(p *examinee) { p.write("orders: /nowhere.yaml") }, "error", "bot shop orders",
			"no such file", "correct the catalogue", ""},
		{"a token is sent unencrypted",
			func(p *examinee) { p.write("model: {url: 'http://model.invalid/v1', key: k, name: m}") },
			"error", "encryption", "sent to model.invalid unencrypted", "server: plaintext", ""},
		{"the database may be unencrypted", func(p *examinee) { p.dsn = "postgres://x@database.invalid/x" }, "error",
			"encryption", "may be unencrypted", "sslmode", ""},
		{"knowledge is missing", func(p *examinee) { p.write("knowledge: nowhere") }, "error", "bot shop knowledge",
			"nowhere", "knowledge check", ""},
		{"the database is down", func(p *examinee) { p.dsn = "postgres://x@127.0.0.1:1/x" }, "error", "database",
			"connection refused", "whether the server runs", ""},
		{"the password is wrong", func(p *examinee) {
			p.dsn = as(t, p.dsn, func(u *url.URL) { u.User = url.UserPassword("ill_none", "x") })
		}, "error", "database", "SQLSTATE 28", "the user and the password", ""},
		{"the database does not exist", func(p *examinee) { p.dsn = as(t, p.dsn, func(u *url.URL) { u.Path = "/ill_none" }) },
			"error", "database", "does not exist", "createdb", ""},
		{"no connection is left", run(`alter role ill_app connection limit 0`), "error", "database", "too many connections",
			"max_connections", `alter role ill_app connection limit -1`},
		{"the schema is behind", run(`update schema_migrations set version_id = -version_id`), "error", "schema",
			"this program needs", "`chatledger migrate`", `update schema_migrations set version_id = -version_id`},
		{"the schema is ahead", run(`insert into schema_migrations (version_id, is_applied) values (9999, true)`), "error",
			"schema", "version 9999", "a newer chatledger", `delete from schema_migrations where version_id = 9999`},
		{"the role has too many privileges", func(p *examinee) { p.dsn = r.owner }, "warning", "roles",
			"may change the schema or history", "migrate --roles", ""},
		{"a view of no migration", run(`create view readmodel.mine as select 1 as one`), "error", "foreign objects",
			"view readmodel.mine", "find out who made it", `drop view readmodel.mine`},
		{"an analyst has no limit", run(`alter role ill_analyst reset statement_timeout`), "warning", "other roles",
			"ill_analyst has no statement_timeout", "migrate --roles", `alter role ill_analyst set statement_timeout = '60s'`},
		{"a delivery is dead", run(fmt.Sprintf(delivery, "dead")), "warning", "deliveries", "1 to telegram:shop are dead",
			"deliveries list", ""},
		{"an outcome stays unknown",
			run(`insert into eventstore.deliveries (delivery_id, stream_id, version, kind, destination,
				ordering_key, payload, state, correlation_id, finished_at)
			values (gen_random_uuid(), 'chat-shop:7', 1, 'telegram.sendMessage', 'telegram:shop', 'chat-shop:7', '{}', 'unknown',
			gen_random_uuid(), now())`),
			"warning", "deliveries", "1 to telegram:shop are unknown", "deliveries list", ""},
		{"a stream is parked", run(fmt.Sprintf(parked, "chat-shop:7", 3, "moon_landed", "unknown event moon_landed@3")),
			"warning", "parked streams", "outbox leaves out chat-shop:7 from version 3 (moon_landed) on: unknown event",
			"`chatledger parked show outbox chat-shop:7`", `delete from eventstore.parked`},
		{"a bot is held", run(fmt.Sprintf(parked, "chat-shop:*", 0, "", "the bot is not in the bots file")),
			"warning", "parked streams", "outbox holds all chats of bot shop since ", "add the bot to the bots file",
			`delete from eventstore.parked`},
		{"deliveries wait for long", run(fmt.Sprintf(delivery, "waiting")), "warning", "deliveries",
			"1 to telegram:shop are waiting, the oldest for 1h", "its token", ""},
		{"Telegram rejected the token", run(`insert into eventstore.rate_limits (name, tat, cause, suspended_until, reason)
			values ('bot-shop', now(), 'token', now() + interval '1 hour', 'Unauthorized')`),
			"error", "bot shop calls", "token: Unauthorized", "correct the token", `delete from eventstore.rate_limits`},
		{"a model has used most of its budget", func(p *examinee) {
			p.write("model: {url: " + p.telegram + ", name: m, daily: {calls: 10}}")
			pgtest.Exec(p.t, admin, `insert into eventstore.model_usage
				values ('shop', (now() at time zone 'utc')::date, 9, 0, 0)`)
		}, "warning", "bot shop model", "90 % of today's budget of calls", "raise `daily`",
			`delete from eventstore.model_usage`},
		{"a group is behind", run(`
			with one as (insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
			correlation_id, actor, occurred_at, recorded_at)
				values ('chat-shop:7', 1, gen_random_uuid(), 'greeted', 1, '{}', gen_random_uuid(), 'bot', now(),
				now() - interval '1 hour'))
			insert into eventstore.checkpoints (consumer_group) values ('responder')`), "warning", "consumers",
			"responder is 1 event behind", "check that a serve is running", `delete from eventstore.checkpoints`},
		{"Telegram is not reached", func(p *examinee) { p.telegram = nobody }, "error", "Telegram's clock",
			"connection refused", "the firewall", ""},
		{"getWebhookInfo has no answer", func(p *examinee) { p.telegram = nobody }, "error", "bot shop webhook",
			"connection refused", "check --telegram-url", ""},
		{"a clock is off", func(p *examinee) { p.ahead = 10 * time.Second }, "warning", "Telegram's clock",
			"apart", "chrony", ""},
		{"a clock is far off", func(p *examinee) { p.ahead = -time.Hour }, "error", "Telegram's clock",
			"apart", "chrony", ""},
		{"the token is invalid", func(p *examinee) { p.info = nil }, "error", "bot shop webhook",
			"invalid bot token", "BotFather", ""},
		{"the webhook is elsewhere", func(p *examinee) { p.info["url"] = "https://elsewhere.example.com/" }, "error",
			"bot shop webhook", `Telegram posts to "https://elsewhere`, "webhook set --bot shop", ""},
		{"the webhook is gone", func(p *examinee) { p.info["url"] = "" }, "error", "bot shop webhook", "should post to",
			"webhook set --bot shop", ""},
		{"other updates are asked for", func(p *examinee) { p.info["allowed_updates"] = []string{"message"} }, "error",
			"bot shop webhook", "allowed_updates", "webhook set", ""},
		{"the webhook fails", func(p *examinee) {
			p.info["last_error_message"] = "Wrong response from the webhook: 502 Bad Gateway"
			p.info["last_error_date"] = time.Now().Unix()
		}, "warning", "bot shop webhook", "502 Bad Gateway", "serve is or was not ready", ""},
		{"updates wait at Telegram", func(p *examinee) { p.info["pending_update_count"] = 500 }, "warning",
			"bot shop webhook", "500 updates wait", "chatledger_webhook_seconds", ""},
		{"nothing runs", func(p *examinee) { p.running = nobody }, "warning", "serve", "connection refused",
			"start serve", ""},
		{"what runs is not ready", func(p *examinee) { p.ready = http.StatusServiceUnavailable }, "warning", "serve",
			"503 Service Unavailable: the database is read-only", "/readyz", ""},
		{"another database's process", func(p *examinee) { p.database = "0123" }, "warning", "serve",
			"serves another database", "--receiver", ""},
		{"metrics are elsewhere", func(p *examinee) { p.metrics = http.StatusNotFound }, "warning",
			"breakers", "404", "--ops", ""},
		{"a breaker is open", func(p *examinee) { p.says = `chatledger_breaker_state{destination="crm:shop"} 2` + "\n" },
			"warning", "breakers", "crm:shop is open", "check the destination", ""},
		{"Zendesk is not reached", func(p *examinee) {
			p.write("zendesk: {url: '" + nobody + "', email: a@example.com, token: t, webhook_secret: s}")
		}, "warning", "bot shop zendesk", "connection refused", "bots file", ""},
		{"a transaction was forgotten", func(*examinee) {
			eventually(t, patience, "it is old", func() string {
				return unless(pgtest.Ask[bool](t, admin, `select now() - xact_start > interval '6 s' from pg_stat_activity
					where pid = $1`, forgotten.PgConn().PID()), "it is not")
			})
			pgtest.Exec(t, forgotten, `select pg_current_xact_id()`) // not before, as it holds up all tests' consumers
		}, "error", "oldest transaction", "user ill_app, idle in transaction", "pg_terminate_backend",
			`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'ill_app'
				and state = 'idle in transaction'`},
	} {
		p := newExaminee(t, r.app)
		c.falls(p)
		code, findings := p.examined()
		found := false
		for _, f := range findings {
			found = found || f.Severity == c.severity && f.What == c.what && strings.Contains(f.Says, c.says) &&
				strings.Contains(f.Do, c.do)
			if (f.Severity == "ok") != (f.Do == "") {
				t.Errorf("%s: no advice in %+v", c.name, f)
			}
		}
		if want := map[string]int{"warning": 1, "error": 2}[c.severity]; !found || code != want {
			t.Errorf("%s: exit %d, want %d and %s %s: %s; %s\n got %+v", c.name, code, want, c.severity, c.what,
				c.says, c.do, findings)
		}
		if c.heals != "" {
			pgtest.Exec(t, admin, c.heals)
		}
		pgtest.Exec(t, admin, `delete from eventstore.deliveries`)
	}
}
