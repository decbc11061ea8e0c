package archive_test

import (
	"bytes"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/domain"
)

var formats = []archive.Format{archive.NDJSON, archive.CloudEvents, archive.Parquet}

// at is when everything in these tests happens, to the microsecond.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)

// event returns the n-th event of a feed, counted from 1, which is also the n-th of its stream.
func event(n int) domain.Stored {
	id := uuid.UUID{15: byte(n), 14: byte(n >> 8), 6: 0x70, 8: 0x80}
	return domain.Stored{
		Position: domain.Position{Transaction: uint64(700 + n/2), Number: int64(n)},
		Stream:   "chat-demo:42", Version: domain.Version(n), ID: id, Name: "message_received", EventVersion: 1,
		Payload: []byte(`{"update_id":1}`), Correlation: id, Actor: domain.ActorCustomer, OccurredAt: at,
		RecordedAt: at.Add(time.Microsecond),
	}
}

// with returns an event with changes.
func with(change func(*domain.Stored)) domain.Stored {
	e := event(1)
	change(&e)
	return e
}

// awkward are events that are hard to write and read, by their difficulty. Their JSON has no
// white space, because one of the formats removes it.
var awkward = map[string]domain.Stored{
	"plain": event(1),
	"with raw and causation": with(func(e *domain.Stored) {
		e.Raw, e.Causation = []byte(`{"update_id":1}`), uuid.UUID{0: 1, 6: 0x70, 8: 0x80}
	}),
	"sealed": with(func(e *domain.Stored) { e.Payload = []byte(`{"$base64":"eyJ0ZXh0IjoiYVx1MDAwMGIifQ=="}`) }),
	"every kind of character": with(func(e *domain.Stored) {
		e.Payload = []byte("{\"text\":\"<b>&amp; grüß \u2028\u2029 \U0001f44b \u0085\u007f\uffff \\\\ \\\" \\n\"}")
		e.Raw = e.Payload
		e.Actor = "operator:Zoë <\"\\\n>"
	}),
	"large numbers": with(func(e *domain.Stored) {
		e.Payload = []byte(`{"id":9007199254740993,"n":1e400,"m":-2.50}`)
		e.Raw = e.Payload
	}),
	"raw that is null": with(func(e *domain.Stored) { e.Raw = []byte(`null`) }),
	"payload a string": with(func(e *domain.Stored) { e.Payload = []byte(`""`) }),
	"payload null":     with(func(e *domain.Stored) { e.Payload = []byte(`null`) }),
	"empty actor":      with(func(e *domain.Stored) { e.Actor = "" }),
	"a long text":      with(func(e *domain.Stored) { e.Raw = []byte(`"` + strings.Repeat("x", 1<<20) + `"`) }),
	"deeply nested raw": with(func(e *domain.Stored) {
		e.Raw = []byte(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	}),
	"an odd name":   with(func(e *domain.Stored) { e.Name, e.EventVersion = "odd.v2.näme", 32767 }),
	"an odd stream": with(func(e *domain.Stored) { e.Stream = "bot-%zz ? # ü" }),
	"far away times": with(func(e *domain.Stored) {
		e.OccurredAt = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)
		e.RecordedAt = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	}),
	"large positions": with(func(e *domain.Stored) {
		e.Position, e.Version = domain.Position{Transaction: math.MaxInt64 - 1, Number: math.MaxInt64}, math.MaxInt32
	}),
}

func TestArchive_AwkwardEvents_ReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, format := range formats {
		for name, want := range awkward {
			t.Run(string(format)+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				write(t, dir, format, 10, want)
				got := read(t, dir)
				wantEvents(t, []domain.Stored{want}, got)
			})
		}
	}
}

// Reading a stream returns the events that were written.
func TestStream_Events_ReadAsWritten(t *testing.T) {
	t.Parallel()
	want := feed(30)
	for _, format := range formats[:2] {
		var b bytes.Buffer
		w, err := archive.NewStream(format, &b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range want {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b.Bytes(), []byte("\n")); n != len(want) {
			t.Errorf("%s: %d lines for %d events", format, n, len(want))
		}
		r, err := archive.ReadStream(format, &b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rest(r)
		if err != nil {
			t.Errorf("%s: %v", format, err)
		}
		wantEvents(t, want, got)
	}
	for _, format := range []archive.Format{archive.Parquet, "xml"} {
		if _, err := archive.NewStream(format, io.Discard); err == nil {
			t.Errorf("a stream of %s can be written", format)
		}
		if _, err := archive.ReadStream(format, strings.NewReader("")); err == nil {
			t.Errorf("a stream of %s can be read", format)
		}
	}
}

// Programs of analysts depend on the fields.
func TestFormat_Fields_AsDocumented(t *testing.T) {
	t.Parallel()
	e := event(1)
	e.Raw, e.Causation, e.Trace = []byte(`{"update_id":1}`), e.ID,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for format, want := range map[archive.Format]string{
		archive.NDJSON: `{"transaction_id":700,"position":1,"stream_id":"chat-demo:42","version":1,` +
			`"event_id":"00000000-0000-7000-8000-000000000001","name":"message_received",` +
			`"event_version":1,"payload":{"update_id":1},"raw":{"update_id":1},` +
			`"causation_id":"00000000-0000-7000-8000-000000000001",` +
			`"correlation_id":"00000000-0000-7000-8000-000000000001","actor":"customer",` +
			`"occurred_at":"2026-03-04T05:06:07.123456Z","recorded_at":"2026-03-04T05:06:07.123457Z"}` + "\n",
		archive.CloudEvents: `{"specversion":"1.0","id":"00000000-0000-7000-8000-000000000001","source":"/chatledger/demo",` +
			`"type":"com.github.chatledger.message_received.v1","subject":"chat-demo:42",` +
			`"datacontenttype":"application/json","time":"2026-03-04T05:06:07.123456Z","data":{"update_id":1},` +
			`"actor":"customer","causationid":"00000000-0000-7000-8000-000000000001",` +
			`"correlationid":"00000000-0000-7000-8000-000000000001","position":"700/1","raw":"eyJ1cGRhdGVfaWQiOjF9",` +
			`"recordedtime":"2026-03-04T05:06:07.123457Z","streamversion":1,` +
			`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}` + "\n",
	} {
		if got := string(encoded(t, format, e)); got != want {
			t.Errorf("%s:\n got  %s want %s", format, got, want)
		}
	}
}

// FuzzAStream: an event that is read from any input is the same after it is written and read again.
func FuzzAStream(f *testing.F) {
	for _, format := range formats[:2] {
		for _, e := range []domain.Stored{
			awkward["with raw and causation"], awkward["sealed"], awkward["an odd name"],
		} {
			f.Add(string(format), encoded(f, format, e))
		}
	}
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		r, err := archive.ReadStream(archive.Format(format), bytes.NewReader(text))
		if err != nil {
			return
		}
		first, err := r.Read()
		if err != nil {
			return
		}
		again, err := archive.ReadStream(archive.Format(format),
			bytes.NewReader(encoded(t, archive.Format(format), first)))
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Read()
		if err != nil || first.Stream != second.Stream || first.ID != second.ID || first.Name != second.Name ||
			!first.OccurredAt.Equal(second.OccurredAt) {
			t.Errorf("%v, written again:\n%+v\n%+v", err, first, second)
		}
	})
}

func encoded(t testing.TB, format archive.Format, e domain.Stored) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewStream(format, &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(e); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// feed returns the first n events of a feed of two streams.
func feed(n int) []domain.Stored {
	events := make([]domain.Stored, n)
	for i := range events {
		events[i] = event(i + 1)
		events[i].Stream, events[i].Version = domain.ChatStream("demo", int64(i%2)), domain.Version(i/2+1)
	}
	return events
}

// write writes a complete archive.
func write(
	t testing.TB, dir string, format archive.Format, partEvents int64, events ...domain.Stored,
) archive.Manifest {
	t.Helper()
	w := begin(t, dir, format, partEvents)
	put(t, w, events...)
	if err := w.End(true); err != nil {
		t.Fatal(err)
	}
	return w.Manifest
}

func begin(t testing.TB, dir string, format archive.Format, partEvents int64) *archive.Export {
	t.Helper()
	w, err := archive.Begin(dir, format, partEvents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func put(t testing.TB, w *archive.Export, events ...domain.Stored) {
	t.Helper()
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
}

// open opens an archive and verifies it.
func open(t testing.TB, dir string) (*archive.Archive, error) {
	a, err := archive.Open(dir)
	if err != nil {
		return nil, err
	}
	return a, a.Verify(t.Context(), func(int64) {})
}

// read reads all events of an archive.
func read(t testing.TB, dir string) []domain.Stored {
	t.Helper()
	a, err := open(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	events, err := rest(a.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// wantEvents first checks for equality, because cmp.Diff is slow for long texts.
func wantEvents(t *testing.T, want, got []domain.Stored) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("(-written +read):\n%.3000s", cmp.Diff(want, got))
	}
}

func rest(r *archive.Reader) (events []domain.Stored, err error) {
	defer r.Close()
	for {
		e, err := r.Read()
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}
