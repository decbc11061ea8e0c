package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/domain/chat"
)

// Updates of every kind are received and recorded, and the fixtures are read as the same kinds.
func TestRecord_EveryKind_FixturesKeepTheKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paths, err := filepath.Glob("../../adapters/telegram/testdata/updates/*.json")
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d updates: %v", len(paths), err)
	}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		w.mustPost(string(body))
	}
	w.mustPost(strings.ReplaceAll(messageUpdate(1, 7, 1, "MARK Hello"), "Ada", mark))
	w.mustPost(strings.ReplaceAll(messageUpdate(2, 8, 1, mark), "Ada", mark)) // of the same shape
	w.mustPost(strings.Replace(messageUpdate(3, 9, 1, mark), `"date"`,
		`"deep":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,"date"`, 1))
	w.exec(`update eventstore.events set raw = '{"$removed": true}'
		where raw ->> 'update_id' = (select min(raw ->> 'update_id') from eventstore.events where raw ? 'poll')`)

	dir, key := t.TempDir(), filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("sixteen bytes are enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	said := w.must("record", "--out", dir, "--key", "file:"+key)
	files, err := filepath.Glob(dir + "/*.json")
	if err != nil || len(files) < 45 {
		t.Fatalf("%s: %d files (%v)", said, len(files), err)
	}
	var kinds []string
	for _, path := range files {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: others may read it (%v)", path, err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := betrayal(string(text), mark); found != "" {
			t.Errorf("%s: %s", path, found)
		}
		request, err := telegram.Translate(telegram.Bot{Name: "demo"}, text, clock.Now())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		kinds = append(kinds, kindOfUpdate(request.Command))
	}
	slices.Sort(kinds)
	want := strings.Split(w.rows(`select distinct case name when 'update_kept' then name || ' ' || (payload ->> 'kind')
		else name end from eventstore.events where raw is not null and not raw ? '$removed'`), "; ")
	slices.Sort(want)
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("read as %q\nwere    %q", got, want)
	}

	if again := w.must("record", "--out", dir, "--key", "file:"+key); !strings.Contains(again, ", 0 new files") {
		t.Errorf("a second run: %s", again)
	}
	said = w.must("record", "--out", t.TempDir(), "--bot", "nobody")
	if !strings.HasPrefix(said, "0 updates, 0 new files") {
		t.Errorf("another bot: %s", said)
	}
	for _, key := range []string{"a key in the command line", "env:CHATLEDGER_NO_ONE"} {
		if code, _, stderr := w.cli("record", "--out", t.TempDir(), "--key", key); code != 1 ||
			!strings.Contains(stderr, "--key: ") || strings.Contains(stderr, "a key in") {
			t.Errorf("%s: exit %d, %s", key, code, stderr)
		}
	}
}

// kindOfUpdate returns the stored name of the event that a received update becomes.
func kindOfUpdate(command any) string {
	event := command.(chat.Receive).Event
	name := chat.NewCodec().Name(event)
	if kept, ok := event.(chat.UpdateKept); ok {
		name += " " + kept.Kind
	}
	return name
}

func TestRecord_Follow_RecordsNewUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	p := w.program("record", "--out", dir, "--follow")
	var said bytes.Buffer // read after the process has ended
	p.Stdout = &said
	w.launch(p)
	for i, fields := range []string{`"text":"a"`, `"text":"b"`, `"photo":[{"file_id":"x"}]`} {
		w.mustPost(fmt.Sprintf(
			`{"update_id":%d,"message":{"message_id":%[1]d,"date":%d,"chat":{"id":7,"type":"private"},%s}}`,
			i+1, time.Now().Unix(), fields))
	}
	w.eventually("both shapes are there", func() string {
		files, err := os.ReadDir(dir)
		return unless(err == nil && len(files) == 2, "%v %v", files, err)
	})
	if err := w.end(p, os.Interrupt); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if want := "3 updates, 2 new files in " + dir + "\n"; said.String() != want {
		t.Errorf("at the end it prints %q, want %q", said.String(), want)
	}
}
