package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// mark is a part of every text, name and token in these tests.
const mark = "zqxjkvwzq"

// disguises are the forms in which output could show a mark.
func disguises(mark string) []string {
	all := []string{
		mark, strings.ToUpper(mark), hex.EncodeToString([]byte(mark)),
		strings.Trim(fmt.Sprint([]byte(mark)), "[]"),
	}
	for shift := range 3 { // base64 writes a text in three ways, by how much stands before it
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("-", shift) + mark))
		all = append(all, text[(8*shift+5)/6:8*(shift+len(mark))/6])
	}
	return all
}

// betrayal returns the first line of an output that shows a mark, or "".
func betrayal(output string, marks ...string) string {
	for _, m := range marks {
		for _, form := range disguises(m) {
			if at := strings.Index(output, form); at >= 0 {
				return fmt.Sprintf("%q in ...%.600q", form, output[max(0, at-300):])
			}
		}
	}
	return ""
}

// parrot is a server that answers with the request: all of it, as the detail of a problem, in the
// requested format.
type parrot struct {
	inner http.Handler
	as    atomic.Int64 // the status; 0 lets the inner one answer, 200 writes what is no JSON, 1 hangs up
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := int(p.as.Load())
	if status == 0 {
		p.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || status == 1 {
		panic(http.ErrAbortHandler)
	}
	said := fmt.Sprintf("%s %s %v %s %s", r.Method, r.URL, r.Header, body, mark)
	if name, password, ok := r.BasicAuth(); ok {
		said += name + password
	}
	w.Header().Set("Location", "/"+mark+r.URL.Path)
	w.WriteHeader(status)
	if status == http.StatusOK {
		fmt.Fprint(w, "<p>", said)
		return
	}
	fmt.Fprintf(w,
		`{"ok":false,"error_code":%d,"description":%q,"detail":%[2]q,"error":%[2]q,"parameters":{"retry_after":1}}`,
		status, said)
}

// speak sets its answer until the test sets another.
func (p *parrot) speak(status int) { p.as.Store(int64(status)) }

// inhabited is a world in which all content has a mark.
type inhabited struct {
	*team
	telegram, crm, zendesk *parrot
	desk                   *zendesksim.Server
	wire                   *wire
	said                   [2]waittest.Log // the logs of two processes, as JSON and as text
	spans                  *otlpReceiver
	other                  *running
	updates                int64
}

func newInhabited(t *testing.T) *inhabited {
	t.Helper()
	w := &inhabited{team: &team{world: newTown(t, pgtest.Database(t))}, spans: newOTLPReceiver(t)}
	front := func(p **parrot, inner http.Handler) string {
		*p = &parrot{inner: inner}
		server := httptest.NewServer(*p)
		t.Cleanup(server.Close)
		return server.URL
	}
	w.world.api = front(&w.telegram, w.Server) // the team's is that of operators
	crm := crmsim.New(crmsim.Options{Token: "crm-" + mark})
	w.bot.Orders, w.bot.CRM = "", &config.CRM{URL: front(&w.crm, crm) + "/" + mark, Token: "crm-" + mark}
	w.crm.inner = http.StripPrefix("/"+mark, crm)
	account := &config.Zendesk{
		Email: mark + "@example.com", Token: "zendesk-" + mark, WebhookSecret: "hook-" + mark,
		Rate: new(float64),
	}
	w.desk = zendesksim.New(zendesksim.Options{Email: account.Email, Token: account.Token,
		Secret: account.WebhookSecret, RetryUnit: unit})
	account.URL = front(&w.zendesk, w.desk)
	w.bot.Zendesk = account
	people := teamOf(w.world, "ann")
	w.token = people.token

	for chat := range int64(5) {
		w.openChat(chat + 1)
	}
	var dsn string
	w.wire, dsn = newWire(t, w.dsn)
	for i, format := range []string{"json", "text"} {
		operators, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.team.api = "http://" + operators.Addr().String() + "/api/v1"
		w.other = w.running
		w.running = w.start(dsn, w.spans.traced(format, 1), func(c *server.Config) {
			c.Operators, c.Log = operators, logFlags{LogFormat: format}.logger(&w.said[i], slog.LevelDebug-4)
		})
	}
	w.desk.SetHook(w.url + "/zendesk/demo")
	return w
}

// send posts an update with a kind's body, by number, to either process.
func (w *inhabited) send(kind, body string) {
	w.t.Helper()
	w.updates++
	base := []*running{w.running, w.other}[w.updates%2].url
	update := fmt.Sprintf(`{"update_id":%d,%q:%s}`, w.updates, kind, strings.ReplaceAll(body, "MARK", mark))
	if status, _, err := post(base, update); err != nil || status != http.StatusOK {
		w.t.Errorf("answered %d (%v) to %s", status, err, update)
	}
}

// message sends a message of a customer whose every field is marked.
func (w *inhabited) message(chat int64, fields string) {
	w.t.Helper()
	w.send("message", w.about(chat, fields))
}

func (w *inhabited) about(chat int64, fields string) string {
	return fmt.Sprintf(`{"message_id":%d,"date":%d,"chat":{"id":%d,"type":"private","first_name":"MARK","title":"MARK"},
		"from":{"id":%[3]d,"first_name":"Ada MARK","last_name":"MARK","username":"MARK","language_code":"en-MARK"},%s}`,
		w.updates+1000, time.Now().Unix(), chat, fields)
}

// rest waits until no work is left. The updates by which the simulator learns the chats stay there, as no
// webhook is set.
func (w *inhabited) rest() {
	w.t.Helper()
	w.eventually("everything comes to rest", func() string { return w.rows(unsettled) })
}

// converse does what customers and operators do.
func (w *inhabited) converse() {
	for i, text := range []string{"Where is my order MARK-1001?", "Where is my order 1001? MARK",
		"I was charged twice MARK", "change my billing address", "5 MARK Row, Leeds LS1 4AP", "yes",
		"/start MARK", "MARK https://example.com/MARK?token=MARK", "I want to talk to a person, MARK"} {
		w.message(int64(1+i/6),
			fmt.Sprintf(`"text":%q,"entities":[{"type":"text_mention","offset":0,"length":2,`+
				`"user":{"id":5,"first_name":"MARK"}}]`, text))
		w.rest()
	}
	w.message(3,
		`"caption":"MARK","photo":[{"file_id":"MARK","file_name":"MARK.jpg","file_unique_id":"MARK","file_size":1}]`)
	w.message(3, `"document":{"file_id":"MARK","file_name":"MARK.pdf","mime_type":"application/MARK"}`)
	w.message(3, `"contact":{"phone_number":"MARK","first_name":"MARK"}`)
	w.message(3, `"text":{"MARK":"MARK"}`)
	w.send("edited_message", w.about(3, `"edit_date":1,"text":"MARK edited"`))
	w.send("callback_query",
		`{"id":"MARK","from":{"id":3,"first_name":"MARK"},"data":"MARK","message":`+w.about(3, `"text":"MARK"`)+`}`)
	w.send("MARK", `{"MARK":"MARK","chat":{"id":3}}`)
	w.send("my_chat_member", `{"chat":{"id":4,"title":"MARK"},"date":1,"new_chat_member":{"status":"MARK"}}`)
	w.rest()

	ask := func(as, method, path, body string) {
		w.updates++
		if _, err := w.ask(as, method, path, fmt.Sprint(w.updates, mark),
			strings.ReplaceAll(body, "MARK", mark)); err != nil && method != http.MethodGet {
			w.t.Error(err)
		}
	}
	for _, c := range []struct{ act, body string }{{"claim", `{}`}, {"reply", `{"text":"MARK"}`},
		{"note", `{"text":"MARK"}`}, {"tag", `{"tag":"MARK"}`}, {"tags", `{"add":["MARK"]}`},
		{"reply", `{"text":"<b>MARK","format":"html"}`}, {"reply", `MARK`}, {"priority", `{"priority":"MARK"}`},
		{"assign", `{"to":"MARK"}`}, {"resolve", `{}`}} {
		ask("ann", http.MethodPost, "/chats/demo:2/"+c.act, c.body)
	}
	ask("ann", http.MethodGet, "/queue?q="+mark, "")
	ask("ann", http.MethodGet, "/chats/"+mark, "")
	ask("ann", http.MethodGet, "/chats/demo:2/entries", "")
	w.token["stranger"] = "token-" + mark
	ask("stranger", http.MethodGet, "/chats/demo:"+mark, "")
	ask("stranger", http.MethodPost, "/login", `{"name":"MARK","password":"MARK"}`)
	ask("stranger", http.MethodPost, "/sessions", `{"name":"MARK","password":"MARK"}`)
	w.rest()
	for _, ticket := range w.desk.Tickets() {
		if err := w.desk.Comment(w.t.Context(), ticket.ID, "Maria "+mark, "It is "+mark, true); err != nil {
			w.t.Error(err)
		}
	}
	w.rest()
}

// knock sends requests of strangers, and invalid requests of authorized clients.
func (w *inhabited) knock() {
	for _, secret := range []string{dev.Secret, mark, ""} {
		for _, path := range []string{"/webhook/demo", "/webhook/" + mark, "/zendesk/demo", "/zendesk/" + mark,
			"/" + mark + "?token=" + mark, "/metrics?" + mark} {
			for _, body := range []string{mark, `{"` + mark, `"` + mark + `"`, `{"update_id":"` + mark + `"}`,
				strings.Repeat(mark, 300_000)} {
				r, err := http.NewRequest(http.MethodPost, w.url+path, strings.NewReader(body))
				if err != nil {
					w.t.Fatal(err)
				}
				for name, value := range map[string]string{"Content-Type": "application/json",
					"X-Telegram-Bot-Api-Secret-Token": secret, "Authorization": "Bearer " + mark,
					"X-Forwarded-For": mark, "Traceparent": mark, "Tracestate": "a=" + mark, "Baggage": "a=" + mark,
					"User-Agent": mark, "Cookie": mark + "=" + mark} {
					r.Header.Set(name, value)
				}
				if answer, err := webhookClient.Do(r); err == nil { // or the connection was cut
					answer.Body.Close()
				}
			}
		}
	}
	for _, body := range []string{`MARK`, `{"event":"MARK"}`, `{"event":7,"external_id":"MARK"}`,
		`{"event":"solved","external_id":"chat-demo:2/#1","ticket_id":1,"updated_at":"MARK"}`,
		`{"event":"MARK","external_id":"chat-demo:2/#1","ticket_id":1,"updated_at":"2026-01-02T03:04:05Z","author":"MARK"}`,
		`{"event":"solved","external_id":"chat-demo:999/#1","ticket_id":1,` +
			`"updated_at":"2026-01-02T03:04:05Z","author":"MARK"}`} {
		w.postZendesk("demo", w.bot.Zendesk.WebhookSecret, strings.ReplaceAll(body, "MARK", mark))
	}
}

// suffer lets each of the other systems answer in every bad way while customers write.
func (w *inhabited) suffer() {
	for _, status := range []int{1, 200, 302, 400, 403, 404, 409, 422, 429, 500, 503} {
		for _, p := range []*parrot{w.telegram, w.crm, w.zendesk} {
			p.speak(status)
		}
		if status == http.StatusNotFound {
			w.telegram.speak(http.StatusTeapot) // by a 404 it says that the token is wrong, which comes last
		}
		chat := int64(100 + status)
		w.message(chat, `"text":"Where is my order 1001? MARK"`)
		w.message(chat+1000, `"text":"I want to talk to a person, MARK"`)
		w.eventually("something is tried", func() string {
			return w.rows(`select 'nothing yet'
				where not exists (select from eventstore.deliveries where stream_id in ($1, $2) and attempts > 0)`,
				fmt.Sprint("chat-demo:", chat), fmt.Sprint("chat-demo:", chat+1000))
		})
	}
	// The database fails during a delivery.
	w.wire.set(cut)
	w.updates++
	if status, _, err := post(w.url, messageUpdate(w.updates, 5, 5, mark)); err != nil ||
		status != http.StatusServiceUnavailable {
		w.t.Errorf("answered %d (%v) without a database", status, err)
	}
	w.wire.set(through)
	for _, one := range []*running{w.running, w.other} {
		w.eventually("it is ready again", func() string {
			status, body, err := get(one.url + "/readyz")
			return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
		})
	}
	w.telegram.speak(http.StatusUnauthorized) // the last: nothing is sent any more
	for chat := range int64(5) {
		w.message(7000+chat, `"text":"hello MARK"`)
	}
	w.eventually("the bot is stopped", func() string {
		return unless(strings.Contains(w.said[0].String()+w.said[1].String(), "may not call Telegram"), "it is not")
	})
}

// Customers' messages and names, and operators' replies, are in the ledger only: not in logs at the finest
// level, in metrics or in traces.
func TestOutput_WholeRun_HoldsNoPersonalData(t *testing.T) {
	t.Parallel()
	w := newInhabited(t)
	w.converse()
	w.knock()
	w.suffer()
	var metrics string
	for _, one := range []*running{w.running, w.other} {
		_, page, err := get(one.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics += page
	}
	w.stop()
	w.other.stop()

	address, err := url.Parse(w.dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	marks := []string{mark, strings.Split(dev.Token, ":")[1], dev.Secret, password, w.token["ann"]}
	for name, output := range map[string]string{"the log as JSON": w.said[0].String(),
		"the log as text": w.said[1].String(), "metrics": metrics, "traces": w.spans.all.String()} {
		if found := betrayal(output, marks...); found != "" {
			t.Errorf("%s: %s", name, found)
		}
	}
	// Without these lines the run would prove little.
	log := w.said[0].String() + w.said[1].String()
	for _, line := range []string{"delivery failed", "delivery will be retried", "update not stored", "requests rejected",
		"operator request rejected", "may not call Telegram"} {
		if !strings.Contains(log, line) {
			t.Errorf("the logs have no line %q", line)
		}
	}
	w.wantRows("true, true", `select count(*) filter (where bot = 'demo') > 2,
		count(*) filter (where bot = 'zendesk:demo') > 3 from eventstore.quarantine`)
	w.wantRows("true", `select count(distinct destination) > 2 from eventstore.deliveries where reason is not null`)
	for _, table := range strings.Split(w.rows(`select schemaname || '.' || tablename from pg_tables
		where schemaname in ('eventstore', 'readmodel')`), "; ") {
		for _, m := range marks[1:] {
			w.wantRows("0", `select count(*) from `+table+` t where strpos(t::text, $1) > 0`, m)
		}
	}
}

// A mistake in a bots file is reported without its content.
func TestBotsFile_Mistakes_RevealNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(mark+" "+mark), 0o600); err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf("token: '1:%s', secret: %s", mark, mark)
	for name, bot := range map[string]string{
		"a list for a token":      "token: [" + mark + "], secret: s",
		"a word for a map":        good + ", crm: " + mark,
		"a word for a number":     good + ", rate: {bot: " + mark + "}",
		"a word for a time":       good + ", reorder_window: " + mark,
		"a secret of two words":   "token: '1:x', secret: file:" + secret,
		"a CRM that is a token":   good + ", crm: {url: " + mark + "}",
		"a password for a CRM":    good + ", crm: {url: 'http://u:" + mark + "@h?k=" + mark + "'}",
		"a CRM that is no URL":    good + ", crm: {url: 'http://" + mark + "%zz'}",
		"a Zendesk without email": good + ", zendesk: {url: 'https://u:" + mark + "@h', token: " + mark + "}",
		"a Zendesk that is none":  good + ", zendesk: {url: '" + mark + "', token: " + mark + "}",
		"nothing wrong":           good + ", public_url: 'https://h/" + mark + "'",
	} {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		if err := os.WriteFile(path, []byte("bots: {demo: {"+bot+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, dsn := range []string{"postgres://u:" + mark + "@127.0.0.1:1/d", "postgres://u:" + mark + "@127.0.0.1:1:1/d",
			"postgres://u:" + mark + "%zz@h/d", "host=127.0.0.1 port=1 password=" + mark,
			"host=127.0.0.1 port=x password='" + mark} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			code, stdout, stderr := command(ctx, "--log-level", "debug", "serve", "--bots", path, "--listen",
				"127.0.0.1:0", "--database-url", dsn, "--otlp-endpoint", "http://u:"+mark+"@127.0.0.1:1")
			cancel()
			if code != 1 || stderr == "" {
				t.Errorf("%s: exit %d, %q", name, code, stderr)
			}
			if found := betrayal(stdout+stderr, mark); found != "" {
				t.Errorf("%s, %s: %s", name, strings.ReplaceAll(dsn, mark, "..."), found)
			}
		}
	}
}
