package archive_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/domain"
)

// An interrupted export continues after its last complete part.
func TestExport_Interrupted_ContinuesAfterLastPart(t *testing.T) {
	t.Parallel()
	events := feed(25)
	for _, format := range formats {
		whole, broken := t.TempDir(), t.TempDir()
		write(t, whole, format, 10, events...)

		w := begin(t, broken, format, 10)
		put(t, w, events[:17]...) // one part, and a piece of the second
		if w.Manifest.Events != 10 || w.Manifest.Complete {
			t.Errorf("%s: after 17 events the manifest counts %d, complete: %v",
				format, w.Manifest.Events, w.Manifest.Complete)
		}
		// A killed process does not clean up.
		again := begin(t, broken, "", 10)
		if last := again.Manifest.Last; last.Position.Position != events[9].Position || last.EventID != events[9].ID {
			t.Errorf("%s: continues after %+v", format, last)
		}
		put(t, again, events[10:]...)
		if err := again.End(true); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(files(t, whole), files(t, broken)); diff != "" {
			t.Errorf("%s (-uninterrupted +interrupted):\n%s", format, diff)
		}
		wantEvents(t, events, read(t, broken))
	}
}

func TestExport_Again_AddsNewEvents(t *testing.T) {
	t.Parallel()
	dir, events := t.TempDir(), feed(12)
	write(t, dir, archive.NDJSON, 10, events[:3]...)
	before := files(t, dir)["part-000001.ndjson"]
	if m := write(t, dir, "", 10, events[3:]...); m.Events != 12 || m.Streams != 2 || len(m.Parts) != 2 ||
		!m.Complete || m.First.EventID != events[0].ID || m.Last.EventID != events[11].ID {
		t.Errorf("manifest: %+v", m)
	}
	if files(t, dir)["part-000001.ndjson"] != before {
		t.Error("a finished part was written again")
	}
	if m := write(t, dir, "", 10); len(m.Parts) != 2 || m.Events != 12 {
		t.Errorf("without new events: %+v", m)
	}
	wantEvents(t, events, read(t, dir))
}

// An archive without events can be opened and verified.
func TestExport_NoEvents_ValidArchive(t *testing.T) {
	t.Parallel()
	for _, format := range formats {
		dir := filepath.Join(t.TempDir(), "new", "directory")
		if m := write(t, dir, format, 10); !m.Complete || m.Events != 0 || m.First != nil {
			t.Errorf("%s: %+v", format, m)
		}
		if events := read(t, dir); events != nil {
			t.Errorf("%s: read %v", format, events)
		}
	}
}

// A directory that is not an archive is not changed.
func TestExport_ForeignDirectory_Untouched(t *testing.T) {
	t.Parallel()
	used, other, newer, outside := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	put := func(dir, name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(used, "thesis.txt", "")
	write(t, other, archive.Parquet, 10, feed(3)...)
	put(newer, "manifest.json", `{"layout": 2, "format": "ndjson"}`)
	put(outside, "manifest.json", `{"layout": 1, "format": "ndjson", "parts": [{"file": "../secrets"}]}`)
	for _, c := range []struct {
		dir, says string
		format    archive.Format
	}{
		{used, "thesis.txt", ""},
		{other, "it is of format parquet, not ndjson", archive.NDJSON},
		{newer, "its layout is 2", ""},
		{outside, "not a file of the directory", ""},
		{t.TempDir(), `unknown format "xml"`, "xml"},
		{filepath.Join(used, "thesis.txt"), "not a directory", ""},
	} {
		if w, err := archive.Begin(c.dir, c.format, 10); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v %v, want %q", c.dir, w, err, c.says)
		}
	}
	for dir, says := range map[string]string{
		used: "no manifest.json", newer: "its layout is 2", outside: "not a file of the directory",
	} {
		if _, err := archive.Open(dir); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("opened: %v, want %q", err, says)
		}
	}
}

// A damaged archive is rejected.
func TestVerify_DamagedArchive_Rejected(t *testing.T) {
	t.Parallel()
	const first, second = "part-000001.", "part-000002."
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir, suffix string)
		says   string
	}{
		"cut off": {func(t *testing.T, dir, s string) {
			edit(t, dir, second+s, func(b []byte) []byte { return b[:len(b)-1] })
		}, second + "%s: it has"},
		"a flipped bit": {func(t *testing.T, dir, s string) {
			edit(t, dir, first+s, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, first + "%s: its SHA-256"},
		"missing": {func(t *testing.T, dir, s string) {
			if err := os.Remove(filepath.Join(dir, second+s)); err != nil {
				t.Fatal(err)
			}
		}, second + "%s: the part is missing"},
		"swapped": {func(t *testing.T, dir, s string) {
			one, two := filepath.Join(dir, first+s), filepath.Join(dir, second+s)
			for _, move := range [][2]string{{one, one + "x"}, {two, one}, {one + "x", two}} {
				if err := os.Rename(move[0], move[1]); err != nil {
					t.Fatal(err)
				}
			}
		}, first + "%s: it"},
		"a manifest cut off": {func(t *testing.T, dir, _ string) {
			edit(t, dir, "manifest.json", func(b []byte) []byte { return b[:len(b)/2] })
		}, "manifest.json: unexpected end"},
	} {
		for _, format := range formats {
			dir := t.TempDir()
			write(t, dir, format, 4, feed(8)...)
			c.damage(t, dir, string(format))
			says := c.says
			if strings.Contains(says, "%s") {
				says = fmt.Sprintf(says, format)
			}
			if _, err := open(t, dir); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s, %s: %v, want %q", name, format, err, says)
			}
		}
	}
}

// Wrong events are rejected although the sizes and digests in the manifest match.
func TestVerify_WrongEvents_PlaceNamed(t *testing.T) {
	t.Parallel()
	events := feed(8)
	moved := slices.Clone(events)
	moved[5], moved[6] = moved[6], moved[5]
	twice := append(slices.Clone(events[:6]), events[5:7]...)
	for _, format := range formats {
		unit := map[bool]string{true: "row", false: "line"}[format == archive.Parquet]
		for says, list := range map[string][]domain.Stored{
			"part-000002.%s %s 3: chat-demo:1 version 3 at position 703/6 follows position 703/7": moved,
			"part-000002.%s %s 3: chat-demo:1 version 3 at position 703/6 follows position 703/6": twice,
		} {
			dir := t.TempDir()
			write(t, dir, format, 4, list...)
			wantRejected(t, dir, fmt.Sprintf(says, format, unit))
		}
		dir := t.TempDir()
		write(t, dir, format, 4, events...)
		edit(t, dir, "manifest.json",
			func(b []byte) []byte { return bytes.Replace(b, []byte(`"events": 4`), []byte(`"events": 5`), 1) })
		wantRejected(t, dir, fmt.Sprintf("part-000001.%s has 4 events and the manifest says 5", format))
		edit(t, dir, "manifest.json", func(b []byte) []byte {
			return bytes.Replace(bytes.Replace(b, []byte(`"events": 5`), []byte(`"events": 4`), 1),
				[]byte(`"streams": 2`), []byte(`"streams": 3`), 1)
		})
		wantRejected(t, dir, "the parts have 8 events of 2 streams and the manifest says 8 of 3")
	}
}

func TestRead_MalformedLine_PlaceNamed(t *testing.T) {
	t.Parallel()
	without := func(field string) func(string) string {
		return func(line string) string {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &fields); err != nil || fields[field] == nil {
				t.Fatalf("%v: no %s in %s", err, field, line)
			}
			delete(fields, field)
			b, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	replaced := func(old, new string) func(string) string {
		return func(line string) string {
			if !strings.Contains(line, old) {
				t.Fatalf("no %s in %s", old, line)
			}
			return strings.Replace(line, old, new, 1)
		}
	}
	always := func(line string) func(string) string { return func(string) string { return line } }
	type mistake struct {
		says   string
		change func(string) string
	}
	mistakes := map[archive.Format][]mistake{
		archive.NDJSON: {
			{"not a complete JSON object", always("")},
			{"not a complete JSON object", always("[]")},
			{"not a complete JSON object", always("}{")},
			{"not a complete JSON object", replaced(`"recorded_at":"2026-03-04T05:06:07.123457Z"}`, "")},
			{"not a complete JSON object", func(line string) string { return line[:strings.Index(line, "customer")] }},
			{
				"field actor is missing", func(line string) string {
					return line[:strings.Index(line, `"actor"`)] + "}"
				},
			},
			{"field recorded_at: ", func(line string) string { return line + "{}" }},
			{"field recorded_at: ", func(line string) string { return line + line }},
			{
				"field occurred_at is missing", replaced(`"occurred_at":"2026-03-04T05:06:07.123456Z"`,
					`"occurred_at":null`),
			},
			{"field cause is not known", replaced(`"actor"`, `"cause":1,"actor"`)},
			{"field actor is not known, or is there twice", replaced(`"actor"`, `"actor":"x","actor"`)},
			{"field version: ", replaced(`"version":1`, `"version":"1"`)},
			{"field event_id: ", replaced(`"event_id":"0`, `"event_id":"x`)},
			{"field occurred_at: ", replaced(`T05`, ` 05`)},
			{"field payload: ", replaced(`{"update_id":1}`, `{"update_id":}`)},
		},
		archive.CloudEvents: {
			{"unexpected end", always("")},
			{"no specversion", always("{}")},
			{"unknown value: 2.0", replaced(`"1.0"`, `"2.0"`)},
			{"unexpected end", func(line string) string { return line[:len(line)/2] }},
			{"after top-level value", func(line string) string { return line + "{}" }},
			{"is not com.github.chatledger.<name>.v<version>", replaced("com.github", "com.example")},
			{"is not com.github.chatledger.<name>.v<version>", replaced("received.v1", "received")},
			{"received.vx", replaced("received.v1", "received.vx")},
			{"id: ", replaced(`"id":"0`, `"id":"x`)},
			{"attribute position: ", replaced(`700/1`, `700`)},
			{"out of range", replaced(`"streamversion":1`, `"streamversion":99999999999`)},
			{"attribute recordedtime: ", replaced(`"recordedtime":"2026`, `"recordedtime":"26`)},
			{"it needs subject, time and data", without("data")},
			{"it needs subject, time and data", without("subject")},
			{"it needs subject, time and data", without("time")},
		},
	}
	for _, field := range []string{
		"transaction_id", "position", "stream_id", "version", "event_id", "name", "event_version", "payload",
		"correlation_id", "actor", "occurred_at", "recorded_at",
	} {
		mistakes[archive.NDJSON] = append(mistakes[archive.NDJSON],
			mistake{"field " + field + " is missing", without(field)})
	}
	for _, name := range []string{"position", "streamversion", "correlationid", "actor", "recordedtime"} {
		mistakes[archive.CloudEvents] = append(mistakes[archive.CloudEvents],
			mistake{"attribute " + name + " is missing", without(name)})
	}
	for format, list := range mistakes {
		for _, m := range list {
			dir := t.TempDir()
			write(t, dir, format, 10, feed(3)...)
			part := "part-000001." + string(format)
			forge(t, dir, part, func(b []byte) []byte {
				lines := strings.SplitAfter(string(b), "\n")
				lines[0] = m.change(strings.TrimSuffix(lines[0], "\n")) + "\n"
				return []byte(strings.Join(lines, ""))
			})
			wantRejected(t, dir, part+" line 1: ", m.says)
		}
	}
}

// A damaged Parquet file whose manifest matches leads to an error, not to a panic.
func TestRead_DamagedParquet_Error(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, archive.Parquet, 1000, feed(600)...)
	const part = "part-000001.parquet"
	good := []byte(files(t, dir)[part])
	for i := 0; i < len(good); i += 41 {
		forge(t, dir, part, func([]byte) []byte {
			bad := slices.Clone(good)
			bad[i] ^= 0x55
			return bad
		})
		a, err := open(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		// A change of some bytes has no effect, or results in other valid content.
		if events, err := rest(a.Reader()); err == nil && len(events) != 600 {
			t.Errorf("byte %d damaged: %d events and no error, want 600 or an error", i, len(events))
		}
	}
	forge(t, dir, part, func([]byte) []byte { return []byte("PAR1") })
	wantRejected(t, dir, part)
}

// wantRejected fails unless reading an archive ends with an error that contains all these texts.
func wantRejected(t *testing.T, dir string, says ...string) {
	t.Helper()
	a, err := open(t, dir)
	if err != nil {
		t.Fatalf("rejected before its events are read: %v", err)
	}
	_, err = rest(a.Reader())
	for _, s := range says {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("read: %v, want %q", err, s)
		}
	}
}

// edit changes a file.
func edit(t *testing.T, dir, name string, change func([]byte) []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// forge changes a part, and its size and digest in the manifest.
func forge(t *testing.T, dir, part string, change func([]byte) []byte) {
	t.Helper()
	edit(t, dir, part, change)
	content, err := os.ReadFile(filepath.Join(dir, part))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(content)
	edit(t, dir, "manifest.json", func(text []byte) []byte {
		var m archive.Manifest
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		for i := range m.Parts {
			if m.Parts[i].File == part {
				m.Parts[i].Bytes, m.Parts[i].SHA256 = int64(len(content)), hex.EncodeToString(digest[:])
			}
		}
		if text, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		return text
	})
}

// files returns the contents of a directory's files by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, f := range list {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		content[f.Name()] = string(b)
	}
	return content
}
