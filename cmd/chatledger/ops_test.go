package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// metricsOf returns the status of /metrics at a base address, for a request with a header.
func metricsOf(t *testing.T, base string, header ...string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range header {
		switch name {
		case "Host":
			r.Host = "evil.example"
		case "Origin":
			r.Header.Set(name, "https://evil.example")
		default:
			r.Header.Set(name, "198.51.100.7")
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func TestMetrics_RemoteRequest_NotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if status := metricsOf(t, w.url); status != http.StatusOK {
		t.Errorf("this machine is answered %d", status)
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"} {
		if status := metricsOf(t, w.url, header); status != http.StatusNotFound {
			t.Errorf("through a proxy that adds %s: %d", header, status)
		}
	}
	for _, header := range []string{"Host", "Origin"} { // of a web page in a browser here
		if status := metricsOf(t, w.url, header); status != http.StatusNotFound {
			t.Errorf("another %s: %d", header, status)
		}
	}

	ops, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := w.start(w.dsn, func(c *server.Config) { c.Ops = ops })
	side := "http://" + ops.Addr().String()
	if public, inside := metricsOf(t, other.url), metricsOf(t, side, "X-Forwarded-For"); public != http.StatusNotFound ||
		inside != http.StatusOK {
		t.Errorf("with a listener of its own: %d at the webhook's, %d there", public, inside)
	}
	for _, header := range []string{"Host", "Origin"} {
		if status := metricsOf(t, side, header); status != http.StatusForbidden {
			t.Errorf("at the listener of its own, another %s: %d", header, status)
		}
	}
	for _, page := range []string{other.url + "/readyz", side + "/readyz", other.url + "/healthz", side + "/healthz"} {
		if status, body, err := get(page); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %s %v", page, status, body, err)
		}
	}
	if status, _, err := get(side + "/webhook/demo"); err != nil || status != http.StatusNotFound {
		t.Errorf("a webhook where operations are: %d %v", status, err)
	}
}

// Readiness checks the tables that an update is stored in. A schema with more than this program knows is
// accepted: processes of two releases run side by side.
func TestReadyz_UpdateStorable_Ready(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := w.rows(`select current_database()`)
	admin := pgtest.Connect(t, w.dsn) // what is said of new sessions does not concern it
	change := func(sql string) {
		for _, one := range []string{sql, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`} {
			if _, err := admin.Exec(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct{ name, breaks, mends, reason string }{
		{"a column is gone", `alter table eventstore.inbox rename update_id to number`,
			`alter table eventstore.inbox rename number to update_id`, "SQLSTATE 42703"},
		{"a table is gone", `alter table eventstore.events rename to facts`, `alter table eventstore.facts rename to events`,
			"SQLSTATE 42P01"},
		{"it is read-only", `alter database ` + name + ` set default_transaction_read_only = on`,
			`alter database ` + name + ` reset default_transaction_read_only`, "read-only"},
	} {
		change(c.breaks)
		w.eventually(c.name, func() string {
			status, body, err := get(w.url + "/readyz")
			return unless(err == nil && status == http.StatusServiceUnavailable && strings.Contains(body, c.reason),
				"%d %s %v", status, body, err)
		})
		if status, _, err := post(w.url, messageUpdate(1, 7, 1, "hello")); err != nil ||
			status != http.StatusServiceUnavailable {
			t.Errorf("%s: the webhook answers %d %v", c.name, status, err)
		}
		change(c.mends)
		w.eventually("it is mended that "+c.name, func() string {
			status, body, err := get(w.url + "/readyz")
			return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
		})
	}
	change(`alter table eventstore.events add column tomorrow text`)
	w.eventually("it is ready", func() string {
		status, body, err := get(w.url + "/readyz")
		return unless(err == nil && status == http.StatusOK, "with a newer schema: %d %s %v", status, body, err)
	})
	w.mustPost(messageUpdate(1, 7, 1, "hello"))
}

// A server may accept reads and no writes: after a failover, or with a full disk, on which an append of
// nothing succeeds. /readyz fails, Telegram gets 503, and afterwards every update is stored.
func TestReadyz_ReadOnlyDatabase_Unready(t *testing.T) {
	t.Parallel()
	const (
		end = `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
			and pid <> pg_backend_pid()`
		full = `create function pg_temp.full() returns trigger language plpgsql
				as $$ begin raise exception using errcode = 'disk_full'; end $$;
			create trigger full_disk before insert on eventstore.events for each row execute function pg_temp.full()`
	)
	for reason, state := range map[string]struct{ begins, ends string }{
		"the database is read-only": {`alter database %s set default_transaction_read_only = on`,
			`alter database %s reset default_transaction_read_only`},
		"the database's disk is full": {full, `drop trigger full_disk on eventstore.events`},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			admin := pgtest.Connect(t, w.dsn) // the state does not concern it
			change := func(sql string) {
				t.Helper()
				for _, one := range []string{strings.ReplaceAll(sql, "%s", admin.Config().Database), end} {
					if _, err := admin.Exec(t.Context(), one); err != nil {
						t.Fatal(err)
					}
				}
			}
			ready := func(want int, reason string) {
				t.Helper()
				w.eventually("it says whether it is ready", func() string {
					status, body, err := get(w.url + "/readyz")
					return unless(err == nil && status == want && strings.Contains(body, reason), "%d %s %v",
						status, body, err)
				})
			}
			change(state.begins)
			w.Say(42, "Where is my order 1001?")
			ready(http.StatusServiceUnavailable, reason)
			if status, again, err := post(w.url, messageUpdate(1, 7, 1, "hello")); err != nil ||
				status != http.StatusServiceUnavailable || again == "" {
				t.Errorf("the webhook answers %d, to come again in %q (%v)", status, again, err)
			}
			if stats := w.Stats().Updates; stats.Pending != 1 || stats.Delivered != 0 {
				t.Errorf("%+v", stats)
			}
			change(state.ends)
			ready(http.StatusOK, "")
			w.eventually("the customer is answered",
				func() string { return unless(len(w.texts(42, "bot")) == 1, "%+v", w.Stats().Updates) })
			w.settle()
			if stats := w.Stats().Updates; stats.Pending != 0 || stats.Delivered != 1 || len(w.texts(42, "bot")) != 1 {
				t.Errorf("%+v, %q", stats, w.texts(42, "bot"))
			}
			w.clean()
		})
	}
}

// While nothing is appended, the disk is checked with a file. A server on which no file can be written is
// not ready.
func TestReadyz_NothingAppended_ChecksDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.db.Exec(t.Context(), `alter database `+w.rows(`select current_database()`)+
		` set temp_file_limit = '512kB'`); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is not ready", func() string {
		status, body, err := get(w.url + "/readyz")
		return unless(err == nil && status == http.StatusServiceUnavailable && strings.Contains(body, "SQLSTATE 53400"),
			"%d %s %v", status, body, err)
	})
	w.mustPost(messageUpdate(1, 7, 1, "hello")) // which is news of the disk, and good ones
	if status, body, err := get(w.url + "/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("after an append: %d %s %v", status, body, err)
	}
}

func TestReadyz_StartingOrStopping_Unready(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, err := server.New(t.Context(), server.Config{DSN: w.dsn, Bots: map[string]config.Bot{"demo": w.bot},
		TelegramURL: w.api, Listener: listener, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	reasons := func() string {
		answer := httptest.NewRecorder()
		a.Ready(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if answer.Code != http.StatusServiceUnavailable {
			t.Errorf("answered %d", answer.Code)
		}
		return answer.Body.String()
	}
	if said := reasons(); !strings.Contains(said, `["handlers are starting"]`) {
		t.Error(said)
	}
	a.Stopping.Store(true)
	if said := reasons(); !strings.Contains(said, "stopping") {
		t.Error(said)
	}
	a.Store.Close()
	if said := reasons(); !strings.Contains(said, "the database does not answer") || strings.Contains(said, "127.0.0.1") {
		t.Error(said)
	}
}

// A process whose work stands still can store updates: /readyz succeeds, and /workz fails.
func TestWorkz_GroupStandsStill_SaysWhich(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settle()
	if status, body, err := get(w.url + "/workz"); err != nil || status != http.StatusOK ||
		!strings.Contains(body, `"moves":true`) {
		t.Errorf("workz: %d %s (%v)", status, body, err)
	}
	writer := pgtest.Connect(t, w.dsn)
	pgtest.Exec(t, writer, `begin`)
	pgtest.Exec(t, writer, `select pg_current_xact_id()`) // holds the feed back
	w.Say(7, "hello")
	w.eventually("the message is stored", func() string {
		return unless(w.rows(`select count(*) from eventstore.events where stream_id = 'chat-demo:7'`) != "0", "it is not")
	})
	w.rows(`update eventstore.events set recorded_at = now() - interval '1 hour' returning 1`)
	w.rows(`update eventstore.checkpoints set updated_at = now() - interval '1 hour' returning 1`)
	w.eventually("workz says which groups stand still", func() string {
		status, body, err := get(w.url + "/workz")
		named := strings.Contains(body, "consumer group responder stands still")
		return unless(err == nil && status == http.StatusServiceUnavailable && named, "%d %s (%v)", status, body, err)
	})
	status, body, err := get(w.url + "/readyz")
	if err != nil || status != http.StatusOK || !strings.Contains(body, `"moves":false`) {
		t.Errorf("readyz: %d %s (%v)", status, body, err)
	}
	pgtest.Exec(t, writer, `rollback`)
	w.eventually("the work moves again", func() string {
		status, body, err := get(w.url + "/workz")
		return unless(err == nil && status == http.StatusOK, "%d %s (%v)", status, body, err)
	})
}
