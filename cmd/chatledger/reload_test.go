package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// town is a world with several bots that one bots file names.
type town struct {
	*world
	file string
	log  waittest.Log
}

// newBotsTown returns a simulator with these bots; no chatledger runs yet.
func newBotsTown(t *testing.T, names ...string) *town {
	t.Helper()
	w := &town{world: newTown(t, pgtest.Database(t)), file: filepath.Join(t.TempDir(), "bots.yaml")}
	var bots []telegramsim.Bot
	for i, name := range names {
		bots = append(bots, telegramsim.Bot{Token: tokenOf(i), Username: name, Name: name})
	}
	w.simulate(bots...) // instead of the one that knows the demo bot
	return w
}

func tokenOf(i int) string { return fmt.Sprintf("%d:token-of-bot-%d", 100+i, i) }

// plain returns a bot of the file that answers about orders.
func plain(name string, i int, more ...string) string {
	return fmt.Sprintf("  %s:\n    token: %s\n    secret: secret-of-%s\n    orders: demo\n"+
		"    rate: {bot: 0, chat: 0, group_per_minute: 0}\n    chat_limit: {count: 0}\n    %s\n",
		name, tokenOf(i), name, strings.Join(more, "\n    "))
}

// write replaces the bots file as an editor does.
func (w *town) write(bots ...string) {
	w.t.Helper()
	fresh := saved(w.t, w.file+".new", "bots:\n"+strings.Join(bots, ""))
	if err := os.Rename(fresh, w.file); err != nil {
		w.t.Fatal(err)
	}
}

// serveFile runs a chatledger on the bots file.
func (w *town) serveFile() {
	w.t.Helper()
	w.running = w.serveFileAs("", &w.log)
}

// serveFileAs runs one that does a part of the work, with a log of its own.
func (w *town) serveFileAs(only server.Part, log *waittest.Log) *running {
	w.t.Helper()
	file, err := config.Read(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.start(w.dsn, func(c *server.Config) {
		c.Bots, c.Server, c.BotsFile, c.Only = file.Bots, file.Server, w.file, only
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
}

// point makes the simulator post a bot's updates to the running chatledger.
func (w *town) point(name string, b config.Bot) {
	w.t.Helper()
	if err := dev.SetWebhook(w.t.Context(), w.api, b, w.url+"/webhook/"+name); err != nil {
		w.t.Fatal(err)
	}
}

// says lets a customer write to a bot.
func (w *town) says(name string, chat int, text string) {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.Post(fmt.Sprintf("%s/sim/chats/%d/messages?bot=%s", w.api, chat, name),
		"application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		w.t.Fatalf("the simulator answers %s", answer.Status)
	}
}

// heard returns the messages of a bot in a chat, the last one first.
func (w *town) heard(name string, chat int) (texts []string) {
	w.t.Helper()
	answer, err := http.Get(fmt.Sprintf("%s/sim/chats/%d/messages?bot=%s", w.api, chat, name))
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	var all []telegramsim.Message
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil {
		w.t.Fatal(err)
	}
	for _, m := range all {
		if m.From != "user" {
			texts = append([]string{m.Text}, texts...)
		}
	}
	return texts
}

// answers asks a bot and waits for an answer with these words.
func (w *town) answers(name string, chat int, ask, want string) {
	w.t.Helper()
	w.says(name, chat, ask)
	w.eventually(name+" answers "+ask, func() string {
		heard := w.heard(name, chat)
		return unless(len(heard) > 0 && strings.Contains(heard[0], want), "it says %q", heard)
	})
}

func (w *town) logged(what string) {
	w.t.Helper()
	w.eventually("the log says "+what,
		func() string { return unless(strings.Contains(w.log.String(), what), "it says: %s", w.log.String()) })
}

func TestReload_BotsAddedChangedRemoved_Followed(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "steady", "changing", "leaving", "coming")
	orders := saved(t, filepath.Join(t.TempDir(), "orders.yaml"),
		"- {number: '1001', status: shipped, detail: By rail.}\n")
	steady, leaving := plain("steady", 0), plain("leaving", 2)
	w.write(steady, plain("changing", 1), leaving)
	w.serveFile()
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range file.Bots {
		w.point(name, b)
		w.answers(name, 7, "Where is my order 1001?", "Order 1001")
	}
	before := w.rows(`select stream_id, max(version) from eventstore.events where stream_id = 'chat-steady:7' group by 1`)

	// A mistake changes nothing, and is reported.
	w.write(steady, "  changing:\n    tokn: x\n")
	w.logged(w.file + ":10: field tokn not found")
	w.answers("changing", 7, "Where is my order 1002?", "Order 1002")

	// One bot changes its secret, its token and its catalogue, one is removed, one is added.
	changed := strings.Replace(plain("changing", 1), "orders: demo", "orders: "+orders, 1)
	changed = strings.Replace(changed, "secret-of-changing", "another-secret", 1)
	w.write(steady, changed, plain("coming", 3))
	w.logged("added=[coming] changed=[changing] removed=[leaving]")
	now, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	w.point("changing", now.Bots["changing"])
	w.point("coming", now.Bots["coming"])
	w.answers("changing", 17, "Where is my order 1001?", "By rail.")
	w.answers("coming", 17, "Where is my order 1001?", "Order 1001")
	w.answers("steady", 8, "Where is my order 1001?", "Order 1001")
	for bot, want := range map[string]string{"changing secret-of-changing": "401", "changing another-secret": "200",
		"leaving secret-of-leaving": "404", "steady secret-of-steady": "200"} {
		name, secret, _ := strings.Cut(bot, " ")
		if got := fmt.Sprint(postTo(t, w.url+"/webhook/"+name, secret)); got != want {
			t.Errorf("%s is answered %s, want %s", bot, got, want)
		}
	}
	if after := w.rows(`select stream_id, max(version) from eventstore.events where stream_id = 'chat-steady:7'
		group by 1`); after != before {
		t.Errorf("the bot that did not change went from %s to %s", before, after)
	}

	// A change of a file that a bot refers to is applied, too.
	saved(t, orders, "- {number: '1001', status: delivered, detail: By hand.}\n")
	w.eventually("the bot is built again", func() string {
		return unless(strings.Count(w.log.String(), "changed=[changing]") == 2, "it says: %s", w.log.String())
	})
	w.answers("changing", 18, "Where is my order 1001?", "By hand.")

	// The removed bot comes back with its history.
	w.write(steady, leaving)
	w.logged("added=[leaving] changed=[] removed=\"[changing coming]\"")
	w.answers("leaving", 7, "Where is my order 1003?", "Order 1003")
}

func TestReload_SIGHUP_ReadsFile(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	p := w.serve()
	file := p.Args[3]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	saved(t, file, string(text)+"    tokn: x\n")
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.eventually("it says what is wrong", func() string {
		return unless(strings.Contains(p.said.String(), file+":7: field tokn not found"), "it says: %s",
			p.said.String())
	})
	if status, _, err := post(p.url, messageUpdate(1, 7, 1, "hello")); err != nil || status != http.StatusOK {
		t.Errorf("with a bad file it answers %d (%v)", status, err)
	}
}

// A mounted folder is replaced behind a link, and its files have the same times.
func TestReload_LinkTargetReplaced_Noticed(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "shop")
	dir := filepath.Dir(w.file)
	then := time.Now().Add(-time.Hour)
	release := func(version, detail, secret string) {
		t.Helper()
		folder := filepath.Join(dir, version)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"bots.yaml": "bots:\n" + strings.NewReplacer("orders: demo", "orders: "+dir+"/current/orders.yaml",
				"secret-of-shop", "file:"+dir+"/current/secret").Replace(plain("shop", 0)),
			"orders.yaml": "- {number: '1001', status: shipped, detail: " + detail + "}\n",
			"secret":      secret,
		} {
			if err := os.Chtimes(saved(t, filepath.Join(folder, name), text), then, then); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(version, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
	}
	release("1", "By rail.", "first-secret")
	if err := os.Symlink("current/bots.yaml", w.file); err != nil {
		t.Fatal(err)
	}
	w.serveFile()
	release("2", "By ship.", "first-secret") // only the catalogue is another, and no longer
	w.logged("changed=[shop]")
	release("3", "By ship.", "other-secret")
	w.eventually("the other secret is right", func() string {
		got := postTo(t, w.url+"/webhook/shop", "other-secret")
		return unless(got == http.StatusOK, "%d", got)
	})
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	w.point("shop", file.Bots["shop"])
	w.answers("shop", 7, "Where is my order 1001?", "By ship.")
}

// A file that the bots file names may appear later; then the bots file is accepted without a change.
func TestReload_MissingReferenceAppears_Accepted(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "shop")
	w.write(plain("shop", 0))
	w.serveFile()
	folder := filepath.Join(t.TempDir(), "none")
	w.write(strings.Replace(plain("shop", 0), "orders: demo", "knowledge: "+folder, 1))
	w.logged(w.file + ":5: bot shop: knowledge: stat " + folder + ": no such file or directory: put the file there")
	refused := func(want string) {
		t.Helper()
		w.eventually("the metric says "+want, func() string {
			_, metrics, err := get(w.url + "/metrics")
			return unless(strings.Contains(metrics, "\nchatledger_bots_file_rejected "+want+"\n"), "%v", err)
		})
	}
	refused("1")
	if err := errors.Join(os.CopyFS(folder+".new", knowledge.Shop), os.Rename(folder+".new", folder)); err != nil {
		t.Fatal(err)
	}
	w.logged("bots file accepted again")
	w.logged("changed=[shop]")
	refused("0")
	if n := strings.Count(w.log.String(), "bots file rejected"); n != 1 {
		t.Errorf("what is wrong is told %d times", n)
	}
}

// postTo posts a body that is no update to a webhook.
func postTo(t *testing.T, address, secret string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Telegram-Bot-Api-Secret-Token", secret)
	answer, err := webhookClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// nowhere is the listener of a server that does not run.
type nowhere struct{ net.Listener }

func (nowhere) Addr() net.Addr { return &net.TCPAddr{} }

func (w *town) quiet() *slog.Logger { return slog.New(slog.NewTextHandler(&w.log, nil)) }
