package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/delivery"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// deadLetter lets a chat's customer write, and the answer fail until it is a dead letter.
func (w *world) deadLetter(chat int64) {
	w.t.Helper()
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: chat, Status: http.StatusBadGateway})
	w.Say(chat, "hello")
	stream := fmt.Sprintf("chat-demo:%d", chat)
	w.eventually("the answer is given up", func() string {
		// A day passes.
		if _, err := w.db.Exec(w.t.Context(), `update eventstore.deliveries
			set created_at = created_at - interval '1 day', next_attempt = now()
			where stream_id = $1 and state = 'waiting' and attempts > 0`, stream); err != nil {
			w.t.Fatal(err)
		}
		state := w.rows(`select state from eventstore.deliveries where stream_id = $1`, stream)
		return unless(state == "dead", "it is %q", state)
	})
}

// must runs a subcommand that must succeed.
func (w *world) must(args ...string) string {
	w.t.Helper()
	code, stdout, stderr := w.cli(args...)
	if code != 0 || stderr != "" {
		w.t.Fatalf("%v: exit %d, %s%s", args, code, stdout, stderr)
	}
	return stdout
}

func TestDeadLetter_Decided_ChatContinuesInOrder(t *testing.T) {
	t.Parallel()
	const hello, welcome = "Hello! What can I do for you?", "You're welcome!"
	for decision, want := range map[string][]string{"retry": {hello, welcome}, "skip": {welcome}} {
		t.Run(decision, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deadLetter(7)
			w.ClearFaults() // too late for the dead letter
			w.Say(7, "thank you")
			w.Say(8, "hello")
			if _, err := w.Await(t.Context(), 8, 1); err != nil {
				t.Fatal(err)
			}
			w.eventually("the next answer is pending", func() string {
				return unless(w.rows(`select count(*) from eventstore.deliveries where stream_id = 'chat-demo:7'`) == "2",
					"it is not")
			})
			list := w.must("deliveries")
			lines := strings.Split(strings.TrimSpace(list), "\n")
			if len(lines) != 3 || !strings.Contains(lines[1], "dead") || !strings.Contains(lines[1], hello) ||
				!strings.Contains(lines[1], "given up after") ||
				!strings.Contains(lines[2], "waiting") || !strings.Contains(lines[2], welcome) ||
				!strings.HasSuffix(lines[2], "behind "+strings.Fields(lines[1])[0]) {
				t.Errorf("the list says\n%s", list)
			}
			plan := w.must("deliveries", decision, "--chat", "demo:7", "--dry-run")
			if !strings.Contains(plan, `"`+hello+`": would be `) || strings.Contains(plan, welcome) {
				t.Errorf("the dry run says %s", plan)
			}
			w.wantRows("0",
				`select count(*) from eventstore.events where name in ('delivery_retried', 'delivery_skipped')`)
			if said := w.texts(7, "bot"); len(said) != 0 {
				t.Errorf("the dry run sent %q", said)
			}

			w.must("deliveries", decision, "--chat", "demo:7", "--as", "ann", "--why", "it is mended")
			w.settle()
			if said := w.texts(7, "bot"); strings.Join(said, "|") != strings.Join(want, "|") {
				t.Errorf("the bot says %q, want %q", said, want)
			}
			past := map[string]string{"retry": "delivery_retried", "skip": "delivery_skipped"}[decision]
			w.wantRows(past+", operator:ann, dead, it is mended, true", `
				select e.name, e.actor, e.payload->>'was', e.payload->>'reason', e.causation_id::text = e.payload->>'delivery'
				from eventstore.events e where e.name like 'delivery_%ed' and e.actor like 'operator:%'`)
			if list := w.must("deliveries"); strings.Count(list, "\n") != 1 {
				t.Errorf("afterwards the list says\n%s", list)
			}
			w.gapless()
			w.clean()
		})
	}
}

// A refused delivery is no dead letter: a retry could not help.
func TestDelivery_Refused_ChatContinues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 7, Status: http.StatusBadRequest, Count: 1})
	w.Say(7, "hello")
	w.Say(7, "thank you")
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 1 || said[0] != "You're welcome!" {
		t.Errorf("the bot says %q", said)
	}
	if list := w.must("deliveries"); strings.Count(list, "\n") != 1 {
		t.Errorf("the list says\n%s", list)
	}
	w.wantRows("refused, true",
		`select state, finished_at is not null from eventstore.deliveries order by seq limit 1`)
	w.wantRows("bad request, Bad Request: chat not found",
		`select payload->>'reason' from eventstore.events where name = 'delivery_failed'`)
}

// A reply with an unknown outcome is sent again, or an operator is asked, as the bots file says; the
// ledger records that it may have arrived twice.
func TestDelivery_UnknownOutcome_IsMarked(t *testing.T) {
	t.Parallel()
	for _, policy := range []delivery.Policy{delivery.Resend, delivery.Ask} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(b *config.Bot) { b.Unknown = policy })
			w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 7, DropReply: true, Count: 1})
			w.Say(7, "hello")
			if policy == delivery.Ask {
				w.eventually("it waits for an operator", func() string {
					row := w.rows(`select state, finished_at is null from eventstore.deliveries`)
					return unless(row == "unknown, true", "it is %q", row)
				})
				w.Say(7, "thank you")
				w.eventually("the next answer is pending", func() string {
					return unless(w.rows(`select count(*) from eventstore.deliveries`) == "2", "it is not")
				})
				if list := w.must("deliveries"); !strings.Contains(list, " unknown ") || !strings.Contains(list, " behind ") {
					t.Errorf("the list says\n%s", list)
				}
				if said := w.texts(7, "bot"); len(said) != 1 {
					t.Errorf("nobody was asked, and the bot says %q", said)
				}
				w.wantRows("unknown, true", `select payload->>'outcome', payload->'held' from eventstore.events
					where name = 'delivery_failed'`)
				w.must("deliveries", "retry", "--all")
			}
			w.settle()
			if said := w.texts(7, "bot"); len(said) < 2 || said[0] != said[1] {
				t.Errorf("the bot says %q", said)
			}
			w.wantRows("done, 1, an earlier attempt may have arrived",
				`select state, unsure, reason from eventstore.deliveries order by seq limit 1`)
			w.wantRows("1", `select payload->'unsure' from eventstore.events where name = 'delivery_succeeded' order by version
				limit 1`)
			w.clean()
		})
	}
}

// A message whose outcome stays unknown is in the default list, with its text and its reason,
// until an operator decides. The chat continues meanwhile.
func TestDeliveries_UnknownForGood_ListedUntilDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 7, DropReply: true, Count: 2})
	w.Say(7, "hello")
	w.settle()
	w.Say(7, "thank you")
	w.settle()
	list := w.must("deliveries")
	if strings.Count(list, "\n") != 2 || !strings.Contains(list, " unknown ") ||
		!strings.Contains(list, "Hello! What can I do for you?") ||
		!strings.Contains(list, "EOF") {
		t.Errorf("the list says\n%s", list)
	}
	id := w.rows(`select delivery_id::text from eventstore.deliveries where state = 'unknown'`)
	if out := w.must("deliveries", "retry", "--all"); !strings.HasPrefix(out, "0 retried") {
		t.Errorf("retry --all repeats what may have arrived:\n%s", out)
	}
	w.must("deliveries", "skip", id)
	if list := w.must("deliveries"); !strings.HasPrefix(list, "no dead letters or unknown outcomes") {
		t.Errorf("the list says\n%s", list)
	}
	w.settle()
	w.wantRows("1, 1, 0", `select replies, failed_deliveries, awaiting_delivery
		from readmodel.conversations where chat_id = 7`)
	w.clean()
}

func TestRetry_Bulk_IsPacedAndSkipsFinished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(6, "hello")
	w.settle()
	for chat := range int64(5) {
		w.deadLetter(10 + chat)
	}
	w.ClearFaults()
	database := "--database-url=" + w.dsn
	refused(t, "select what to retry", "deliveries", "retry", database)
	refused(t, `"nobody" is not a chat`, "deliveries", "retry", "--chat", "nobody", database)

	begun := time.Now()
	out := w.must("deliveries", "retry", "--reason", "GIVEN UP", "--destination", "telegram:demo", "--rate", "10")
	if took := time.Since(begun); took < 400*time.Millisecond {
		t.Errorf("5 decisions at 10 a second took %s", took)
	}
	if strings.Count(out, ": retried\n") != 5 || !strings.HasSuffix(out, "\n5 retried\n") {
		t.Errorf("it says\n%s", out)
	}
	w.settle()
	w.wantRows("6", `select count(*) from eventstore.deliveries where state = 'done'`)

	// A delivery that is done is repeated only with --again.
	id := w.rows(`select delivery_id::text from eventstore.deliveries where stream_id = 'chat-demo:6'`)
	code, stdout, stderr := w.cli("deliveries", "retry", id, "01a20061-4a99-7f28-a5e7-bc0000000000")
	if code != 1 || !strings.Contains(stdout, "not retried: it was done") ||
		!strings.Contains(stderr, "1 deliveries were not retried, 1 do not exist") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := w.cli("deliveries", "skip", id); code != 1 ||
		!strings.Contains(stdout, "not skipped: it is finished") {
		t.Errorf("exit %d, %s", code, stdout)
	}
	w.must("deliveries", "retry", id, "--again")
	w.settle()
	if said := w.texts(6, "bot"); len(said) != 2 {
		t.Errorf("the bot says %q", said)
	}
	w.clean()
}

func TestDeliveriesShow_DeadLetter_PrintsEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deadLetter(7)
	var entry struct {
		ID, State, Reason, Stream string
		Attempts                  int
		Payload                   struct{ Text string }
	}
	if err := json.Unmarshal([]byte(w.must("deliveries", "list", "--json")), &entry); err != nil {
		t.Fatal(err)
	}
	if entry.State != "dead" || entry.Stream != "chat-demo:7" || entry.Attempts < 2 || entry.Payload.Text == "" {
		t.Errorf("listed as %+v", entry)
	}
	shown := w.must("deliveries", "show", entry.ID)
	for _, want := range []string{`"state": "dead"`, "reply_queued", "delivery_failed", entry.Reason} {
		if !strings.Contains(shown, want) {
			t.Errorf("shown without %s:\n%s", want, shown)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(w.must("deliveries", "show", "--json", entry.ID)), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	refused(
		t, "there is no delivery 01a20061", "deliveries", "show", "01a20061-4a99-7f28-a5e7-bc0000000000",
		"--database-url="+w.dsn,
	)
	if all := w.must("deliveries", "--all", "--state", "done"); strings.Count(all, "\n") != 1 {
		t.Errorf("nothing is done, yet\n%s", all)
	}
}

func TestBotsFile_Unknown_SetsPolicy(t *testing.T) {
	t.Parallel()
	read := func(line string) (config.Bot, error) {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		if err := os.WriteFile(path, []byte("bots: {demo: {token: '1:x', secret: s"+line+"}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		bots, err := config.ReadBots(path)
		return bots["demo"], err
	}
	for line, want := range map[string]delivery.Policy{"": delivery.Resend, ", unknown: resend": delivery.Resend,
		", unknown: ask": delivery.Ask} {
		if b, err := read(line); err != nil || b.Policy("telegram.sendMessage") != want ||
			b.Policy("orders.lookup") != delivery.Repeat {
			t.Errorf("%q: %v", line, err)
		}
	}
	if _, err := read(", unknown: repeat"); err == nil || !strings.Contains(err.Error(), "resend or ask") {
		t.Errorf("got %v", err)
	}
}
