package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
)

const (
	sourcePrefix = "/chatledger/"
	// typePrefix distinguishes our event types from other programs': the module's name, reversed.
	typePrefix = "com.github.chatledger."
)

// Extension attributes. Those that the CloudEvents project has listed have the names from its
// list: correlationid, causationid, recordedtime, traceparent.
const (
	extPosition    = "position"
	extVersion     = "streamversion"
	extCorrelation = "correlationid"
	extCausation   = "causationid"
	extActor       = "actor"
	extRecorded    = "recordedtime"
	extTrace       = "traceparent" // for systems that receive the events; an import ignores it
	extRaw         = "raw"         // in base64: JSON may contain characters that an attribute must not
)

// cloudEventsWriter writes CloudEvents 1.0 in the structured JSON mode, one a line.
type cloudEventsWriter struct{ w io.Writer }

func (w cloudEventsWriter) Write(s domain.Stored) error {
	e := event.New(event.CloudEventsVersionV1)
	e.SetID(s.ID.String())
	e.SetSource(sourcePrefix + url.PathEscape(s.Stream.Bot()))
	e.SetSubject(string(s.Stream))
	e.SetType(typePrefix + s.Name + ".v" + strconv.Itoa(s.EventVersion))
	e.SetTime(s.OccurredAt)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = s.Payload
	e.SetExtension(extPosition, s.Position.String())
	e.SetExtension(extVersion, int64(s.Version))
	e.SetExtension(extCorrelation, s.Correlation.String())
	if s.Causation != uuid.Nil {
		e.SetExtension(extCausation, s.Causation.String())
	}
	e.SetExtension(extActor, string(s.Actor))
	e.SetExtension(extRecorded, s.RecordedAt)
	if s.Trace != "" {
		e.SetExtension(extTrace, s.Trace)
	}
	if s.Raw != nil {
		e.SetExtension(extRaw, s.Raw)
	}
	if err := e.Validate(); err != nil {
		return err
	}
	if err := event.WriteJson(&e, w.w); err != nil {
		return err
	}
	_, err := w.w.Write([]byte{'\n'})
	return err
}

func (cloudEventsWriter) Close() error { return nil }

// parseCloudEvent reads a line. It ignores unknown attributes: systems that forward events may
// add some.
func parseCloudEvent(line []byte) (s domain.Stored, err error) {
	var e event.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return s, err
	}
	if err := e.Validate(); err != nil {
		return s, err
	}
	s.Stream, s.OccurredAt, s.Payload = domain.StreamID(e.Subject()), e.Time().UTC(), e.Data()
	if s.Stream == "" || s.OccurredAt.IsZero() || s.Payload == nil {
		return s, errors.New("it needs subject, time and data")
	}
	kind, ours := strings.CutPrefix(e.Type(), typePrefix)
	dot := strings.LastIndex(kind, ".v")
	if !ours || dot < 0 {
		return s, fmt.Errorf("type %q is not %s<name>.v<version>", e.Type(), typePrefix)
	}
	if s.EventVersion, err = strconv.Atoi(kind[dot+2:]); err != nil {
		return s, fmt.Errorf("type %q: %w", e.Type(), err)
	}
	s.Name = kind[:dot]
	if s.ID, err = uuid.Parse(e.ID()); err != nil {
		return s, fmt.Errorf("id: %w", err)
	}
	return s, readExtensions(&s, e.Extensions())
}

func readExtensions(s *domain.Stored, attributes map[string]any) (err error) {
	for _, field := range []struct {
		name     string
		read     func(any) error
		optional bool
	}{
		{name: extPosition, read: func(v any) error { return readPosition(&s.Position, v) }},
		{
			name: extVersion, read: func(v any) error {
				n, err := types.ToInteger(v)
				s.Version = domain.Version(n)
				return err
			},
		},
		{name: extCorrelation, read: func(v any) error { return readUUID(&s.Correlation, v) }},
		{name: extCausation, read: func(v any) error { return readUUID(&s.Causation, v) }, optional: true},
		{
			name: extActor, read: func(v any) error {
				actor, err := types.ToString(v)
				s.Actor = domain.Actor(actor)
				return err
			},
		},
		{
			name: extRecorded, read: func(v any) error {
				s.RecordedAt, err = types.ToTime(v)
				s.RecordedAt = s.RecordedAt.UTC()
				return err
			},
		},
		{name: extRaw, read: func(v any) error { s.Raw, err = types.ToBinary(v); return err }, optional: true},
	} {
		value, found := attributes[field.name]
		if !found && field.optional {
			continue
		}
		if !found {
			return fmt.Errorf("attribute %s is missing", field.name)
		}
		if err := field.read(value); err != nil {
			return fmt.Errorf("attribute %s: %w", field.name, err)
		}
	}
	return nil
}

func readUUID(id *uuid.UUID, value any) error {
	text, err := types.ToString(value)
	if err == nil {
		*id, err = uuid.Parse(text)
	}
	return err
}

func readPosition(at *domain.Position, value any) error {
	text, err := types.ToString(value)
	if err != nil {
		return err
	}
	var p Position
	err = p.UnmarshalText([]byte(text))
	*at = p.Position
	return err
}
