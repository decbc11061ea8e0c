package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Point is a point in the history of a chat: a version, a time or a position, or the
// present when none is given.
type Point struct {
	kind     pointKind
	includes func(domain.Recorded) bool // whether an event is at or before the point
}

type pointKind int

const (
	present pointKind = iota
	atVersion
	atTime
	atPosition
)

// ParsePoint reads a point from the one argument that is not empty.
func ParsePoint(version, at, position string) (Point, error) {
	switch {
	case version != "":
		return parsePoint(atVersion, version)
	case at != "":
		return parsePoint(atTime, at)
	case position != "":
		return parsePoint(atPosition, position)
	}
	return Point{present, func(domain.Recorded) bool { return true }}, nil
}

// Second reads a second point of the same kind as p.
func (p Point) Second(text string) (Point, error) {
	if p.kind == present {
		return Point{}, errors.New("--diff needs a first point: --version, --at or --position")
	}
	return parsePoint(p.kind, text)
}

func parsePoint(kind pointKind, text string) (Point, error) {
	switch kind {
	case atVersion:
		var v domain.Version
		if _, err := fmt.Sscanf(text, "%d", &v); err != nil {
			return Point{}, fmt.Errorf("version %q: give a whole number", text)
		}
		return Point{kind, func(r domain.Recorded) bool { return r.Version <= v }}, nil
	case atTime:
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return Point{}, fmt.Errorf("time %q: write it as 2026-01-31T12:00:00Z", text)
		}
		return Point{kind, func(r domain.Recorded) bool { return !r.RecordedAt.After(t) }}, nil
	default:
		p, err := ParsePosition(text)
		if err != nil {
			return Point{}, err
		}
		return Point{kind, func(r domain.Recorded) bool { return !p.Before(r.Position) }}, nil
	}
}

// PrintState prints the state of a chat at a point.
func PrintState(ctx context.Context, store *eventstore.Store, out io.Writer, stream domain.StreamID, at Point) error {
	history, err := streamUntil(ctx, store, stream, at.includes)
	if err != nil {
		return err
	}
	foldUntil(history, at).print(out)
	return nil
}

// PrintStateDiff prints what changed in the state of a chat between two points.
func PrintStateDiff(
	ctx context.Context, store *eventstore.Store, out io.Writer, stream domain.StreamID, first, second Point,
) error {
	either := func(r domain.Recorded) bool { return first.includes(r) || second.includes(r) }
	history, err := streamUntil(ctx, store, stream, either)
	if err != nil {
		return err
	}
	printDiff(out, foldUntil(history, first), foldUntil(history, second))
	return nil
}

// moment is the state of a chat after some of its events.
type moment struct {
	state  chat.State
	events []domain.Recorded // the events folded
}

func foldUntil(history []domain.Recorded, until Point) moment {
	m := moment{state: chat.Decider.Initial()}
	for _, r := range history {
		if until.includes(r) {
			m.state = chat.Decider.Evolve(m.state, r.Event)
			m.events = append(m.events, r)
		}
	}
	return m
}

// field is a name and a value of a state, as they are printed.
type field struct{ name, value string }

// fields returns the state in words, with what people ask about most often first.
func (m moment) fields() []field {
	s := m.state
	handler, workflow := "bot", "none"
	if s.WithPerson() {
		handler = "person"
	}
	if s.Run.Workflow != "" {
		workflow = fmt.Sprintf("%s at %s, last moved %s",
			s.Run.Workflow, s.Run.Step, s.Run.LastAt.Format(time.DateTime))
	}
	fields := []field{
		{"handler", handler},
		{"ticket", ticketInWords(s.Ticket)},
		{"blocked", fmt.Sprint(s.Blocked)},
		{"workflow", workflow},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Run.Data)) {
		fields = append(fields, field{"collected " + name, s.Run.Data[name]})
	}
	fields = append(fields, modelFields(m.events)...)
	return append(fields,
		field{"last text", s.LastText},
		field{"last intent", string(s.LastIntent)},
		field{"not understood", fmt.Sprintf("%d in a row", s.Misunderstood)},
		field{"answered up to", fmt.Sprintf("version %d", s.Answered)},
		field{"last update", fmt.Sprint(s.LastUpdate)})
}

func ticketInWords(t chat.Ticket) string {
	if t.ID == "" {
		return "none"
	}
	text := fmt.Sprintf("%s %s, %s", t.ID, t.Status, t.Priority)
	if t.Assignee != "" {
		text += ", assigned to " + t.Assignee
	}
	if t.Lease.Operator != "" {
		text += fmt.Sprintf(", claimed by %s until %s", t.Lease.Operator, t.Lease.Until.UTC().Format(time.DateTime))
	}
	if len(t.Tags) > 0 {
		text += ", tagged " + strings.Join(t.Tags, " ")
	}
	if t.Desk != "" {
		text += ", copied to " + t.Desk
	}
	return text
}

func (m moment) title() string {
	if len(m.events) == 0 {
		return "before its first event"
	}
	last := m.events[len(m.events)-1]
	return fmt.Sprintf("%s at version %d (position %v, %s)",
		last.Stream, last.Version, last.Position, last.RecordedAt.UTC().Format(time.RFC3339Nano))
}

func (m moment) print(w io.Writer) {
	fmt.Fprintln(w, m.title())
	for _, f := range m.fields() {
		fmt.Fprintf(w, "  %-16s %s\n", f.name, f.value)
	}
}

func (m moment) byName() map[string]string {
	values := map[string]string{}
	for _, f := range m.fields() {
		values[f.name] = f.value
	}
	return values
}

func printDiff(w io.Writer, a, b moment) {
	fmt.Fprintf(w, "- %s\n+ %s\n", a.title(), b.title())
	before := a.byName()
	for _, f := range b.fields() {
		was, known := before[f.name]
		delete(before, f.name)
		if known && was == f.value {
			continue
		}
		if known {
			fmt.Fprintf(w, "  - %-16s %s\n", f.name, was)
		}
		fmt.Fprintf(w, "  + %-16s %s\n", f.name, f.value)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		fmt.Fprintf(w, "  - %-16s %s\n", name, before[name])
	}
	if maps.Equal(a.byName(), b.byName()) {
		fmt.Fprintln(w, "  nothing that is shown here is different")
	}
	codec := chat.NewCodec()
	var names []string
	for _, r := range b.events[min(len(a.events), len(b.events)):] {
		names = append(names, fmt.Sprintf("%d %s", r.Version, codec.Name(r.Event)))
	}
	if len(names) > 0 {
		fmt.Fprintf(w, "  by %s\n", strings.Join(names, ", "))
	}
}
