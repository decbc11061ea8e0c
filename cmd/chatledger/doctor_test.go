package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/doctor"
)

func TestDoctor_Faults_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	w, _ := newReleases(t)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	examine := func(more ...string) (int, string) {
		code, stdout, stderr := w.cli(append([]string{"doctor", "--bots", w.file, "--telegram-url", w.api,
			"--receiver", w.url}, more...)...)
		return code, stdout + stderr
	}
	// The role of the tests is a superuser, which is a warning; nothing else is reported.
	code, says := examine()
	if code != 1 || strings.Contains(says, "\nerror") || !strings.Contains(says, "is a superuser") ||
		!strings.Contains(says, "0 errors, 1 warning") {
		t.Errorf("all is well: %d\n%s", code, says)
	}
	for _, what := range []string{"configuration", "database", "schema", "roles", "database clock", "oldest transaction",
		"consumers", "deliveries", "disk", "Telegram's clock", "serve", "bot shop webhook"} {
		if !strings.Contains(says, " "+what+" ") {
			t.Errorf("nothing is said of %s:\n%s", what, says)
		}
	}
	if code, says := examine("--json"); code != 1 ||
		json.Unmarshal([]byte(strings.SplitN(says, "\n", 2)[0]), &doctor.Finding{}) == nil &&
			!strings.Contains(says, `"severity":"warning"`) {
		t.Errorf("as JSON: %d\n%s", code, says)
	}

	for _, c := range []struct {
		what string
		ill  func()
		want []string
	}{
		{"the webhook is gone", func() { w.mustWebhook("delete") },
			[]string{"error    bot shop webhook", "webhook set --bot shop"}},
		{"a dead letter", func() {
			_, err := w.db.Exec(t.Context(), `insert into eventstore.deliveries (delivery_id, stream_id, version, kind,
				destination, ordering_key, payload, state, correlation_id)
				values (gen_random_uuid(), 'chat-shop:7', 1, 'telegram.sendMessage', 'telegram:shop', 'chat-shop:7', '{}', 'dead',
				gen_random_uuid())`)
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"warning  deliveries", "1 to telegram:shop are dead", "deliveries list"}},
		{"a mistake in the file", func() { w.write("  shop: {token: '1:x'}\n") },
			[]string{"error    configuration", ":2: bot shop: secret must be"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.ill()
			code, says := examine()
			for _, want := range c.want {
				if !strings.Contains(says, want) {
					t.Errorf("it does not say %q: exit %d\n%s", want, code, says)
				}
			}
			if strings.HasPrefix(c.want[0], "error") && code != 2 {
				t.Errorf("exit %d, want 2", code)
			}
		})
	}
	code, stdout, _ := command(t.Context(), "doctor", "--bots", w.file, "--telegram-url", "http://127.0.0.1:1",
		"--database-url", "postgres://nobody@127.0.0.1:1/none", "--receiver", "http://127.0.0.1:1")
	if code != 2 || !strings.Contains(stdout, "error    database") || !strings.Contains(stdout, "warning  serve") {
		t.Errorf("with nothing there: %d\n%s", code, stdout)
	}
}

func TestDoctor_MissingPrivileges_Found(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "doctored")
	file := saved(t, filepath.Join(t.TempDir(), "bots.yaml"), "bots: {}\n")
	doctor := func(dsn string) string {
		_, stdout, _ := command(t.Context(), "doctor", "--bots", file, "--database-url", dsn, "--receiver",
			"http://127.0.0.1:1")
		return stdout
	}
	says := doctor(r.app)
	if !strings.Contains(says, "doctored_app has the privileges that serve needs, and cannot change events") {
		t.Errorf("as the app:\n%s", says)
	}
	if says := doctor(r.owner); !strings.Contains(says, "doctored_owner may change the schema or history") {
		t.Errorf("as the owner:\n%s", says)
	}
	admin := pgtest.Connect(t, r.admin)
	pgtest.Exec(t, admin, `grant update on eventstore.events to doctored_analyst`)
	pgtest.Exec(t, admin, `revoke insert on eventstore.events from doctored_app`)
	says = doctor(r.app)
	for _, want := range []string{"doctored_app may not insert on eventstore.events",
		"history can be changed by doctored_analyst, too", "migrate --roles"} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q:\n%s", want, says)
		}
	}
}
