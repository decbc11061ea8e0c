package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
)

// maxLine limits a line, in bytes. An update has at most 1 MiB. It is in raw, and parts of it
// are in the payload; base64 and the spelling of numbers may lengthen both.
const maxLine = 64 << 20

// lines reads the formats that have one event in each line.
type lines struct {
	scanner *bufio.Scanner
	parse   func([]byte) (domain.Stored, error)
}

func newLines(r io.Reader, parse func([]byte) (domain.Stored, error)) *lines {
	l := &lines{bufio.NewScanner(r), parse}
	l.scanner.Buffer(make([]byte, fileBuffer), maxLine)
	return l
}

func (l *lines) decode() (domain.Stored, error) {
	if !l.scanner.Scan() {
		err := l.scanner.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line is longer than %d bytes, the maximum of an event", maxLine)
		}
		return domain.Stored{}, cmp.Or(err, io.EOF)
	}
	s, err := l.parse(l.scanner.Bytes())
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the line has ended, not the file
	}
	return s, err
}

// ndjson is a line of the NDJSON format. Its fields are named like the columns of the table.
type ndjson struct {
	TransactionID uint64          `json:"transaction_id"`
	Position      int64           `json:"position"`
	StreamID      domain.StreamID `json:"stream_id"`
	Version       domain.Version  `json:"version"`
	EventID       uuid.UUID       `json:"event_id"`
	Name          string          `json:"name"`
	EventVersion  int             `json:"event_version"`
	Payload       json.RawMessage `json:"payload"`
	Raw           json.RawMessage `json:"raw,omitempty"`
	CausationID   uuid.UUID       `json:"causation_id,omitzero"`
	CorrelationID uuid.UUID       `json:"correlation_id"`
	Actor         domain.Actor    `json:"actor"`
	OccurredAt    time.Time       `json:"occurred_at"`
	RecordedAt    time.Time       `json:"recorded_at"`
}

type ndjsonWriter struct{ *json.Encoder }

func newNDJSONWriter(w io.Writer) ndjsonWriter {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return ndjsonWriter{e}
}

func (w ndjsonWriter) Write(s domain.Stored) error {
	return w.Encode(ndjson{
		s.Position.Transaction, s.Position.Number, s.Stream, s.Version, s.ID, s.Name, s.EventVersion,
		s.Payload, s.Raw, s.Causation, s.Correlation, s.Actor, s.OccurredAt, s.RecordedAt,
	})
}

func (ndjsonWriter) Close() error { return nil }

// parseNDJSON reads a line field by field. Decoding the line as a whole would fail if raw were
// nested as deeply as the JSON decoder allows, because the line adds a level.
func parseNDJSON(line []byte) (s domain.Stored, err error) {
	fields := map[string]any{
		"transaction_id": &s.Position.Transaction, "position": &s.Position.Number, "stream_id": &s.Stream,
		"version": &s.Version, "event_id": &s.ID, "name": &s.Name, "event_version": &s.EventVersion,
		"payload": (*json.RawMessage)(&s.Payload), "raw": (*json.RawMessage)(&s.Raw),
		"causation_id": &s.Causation, "correlation_id": &s.Correlation, "actor": &s.Actor,
		"occurred_at": &s.OccurredAt, "recorded_at": &s.RecordedAt,
	}
	rest := bytes.TrimSpace(line)
	if len(rest) < 2 || rest[0] != '{' || rest[len(rest)-1] != '}' {
		return s, errors.New("not a complete JSON object")
	}
	for rest = rest[1 : len(rest)-1]; len(rest) > 0; {
		var member []byte
		member, rest = cut(rest, ',')
		key, value := cut(member, ':')
		name := string(bytes.Trim(key, ` "`))
		field, known := fields[name]
		if !known {
			return s, fmt.Errorf("field %s is not known, or is there twice", name)
		}
		if _, holdsJSON := field.(*json.RawMessage); !holdsJSON && string(bytes.TrimSpace(value)) == "null" {
			continue // null counts as missing
		}
		delete(fields, name)
		if err := json.Unmarshal(value, field); err != nil {
			return s, fmt.Errorf("field %s: %w", name, err)
		}
	}
	delete(fields, "raw")
	delete(fields, "causation_id")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		return s, fmt.Errorf("field %s is missing", name)
	}
	s.OccurredAt, s.RecordedAt = s.OccurredAt.UTC(), s.RecordedAt.UTC()
	return s, nil
}

// cut cuts JSON at the first separator outside strings, objects and arrays. It also cuts text
// that is not JSON; decoding the pieces then returns an error.
func cut(text []byte, separator byte) (before, after []byte) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == separator && depth == 0:
			return text[:i], text[i+1:]
		}
	}
	return text, nil
}
