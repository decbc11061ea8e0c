package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

type stateCmd struct {
	database
	Stream   string `arg:"" help:"The stream, for example chat-demo:42."`
	Version  string `xor:"point" placeholder:"V" help:"As of this version."`
	At       string `xor:"point" placeholder:"TIME" help:"As of this time, as 2026-01-31T12:00:00Z."`
	Position string `xor:"point" placeholder:"P" help:"As of this position of the feed, as <transaction>/<number>."`
	Diff     string `placeholder:"POINT" help:"A second point of the same kind: print what changed between the two."`
}

// Run prints what was known of a chat at a point, or between two.
func (c *stateCmd) Run(e *env) error {
	until, err := c.point(c.Version, c.At, c.Position)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	history, err := readAll(e.ctx, store, domain.StreamID(c.Stream))
	if err != nil {
		return err
	}
	then := foldUntil(history, until)
	if c.Diff == "" {
		then.print(e.stdout)
		return nil
	}
	if c.Version == "" && c.At == "" && c.Position == "" {
		return fmt.Errorf("--diff needs a first point: --version, --at or --position")
	}
	second := []*string{&c.Version, &c.At, &c.Position}
	for _, p := range second {
		if *p != "" {
			*p = c.Diff
		}
	}
	if until, err = c.point(c.Version, c.At, c.Position); err != nil {
		return err
	}
	printDiff(e.stdout, then, foldUntil(history, until))
	return nil
}

// point is the condition that an event stands at or before a point; without one
// all events do.
func (c *stateCmd) point(version, at, position string) (func(domain.Recorded) bool, error) {
	switch {
	case version != "":
		var v domain.Version
		if _, err := fmt.Sscanf(version, "%d", &v); err != nil {
			return nil, fmt.Errorf("version %q: give a whole number", version)
		}
		return func(r domain.Recorded) bool { return r.Version <= v }, nil
	case at != "":
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return nil, fmt.Errorf("time %q: write it as 2026-01-31T12:00:00Z", at)
		}
		return func(r domain.Recorded) bool { return !r.RecordedAt.After(t) }, nil
	case position != "":
		p, err := parsePosition(position)
		if err != nil {
			return nil, err
		}
		return func(r domain.Recorded) bool { return !p.Before(r.Position) }, nil
	default:
		return func(domain.Recorded) bool { return true }, nil
	}
}

func parsePosition(text string) (p domain.Position, err error) {
	if _, err := fmt.Sscanf(text, "%d/%d", &p.Transaction, &p.Number); err != nil {
		return p, fmt.Errorf("position %q: write it as <transaction>/<number>, for example 1042/7", text)
	}
	return p, nil
}

// readAll reads a whole stream; one that does not exist is an error.
func readAll(ctx context.Context, store *postgres.Store, stream domain.StreamID) ([]domain.Recorded, error) {
	var all []domain.Recorded
	for {
		page, err := store.ReadStream(ctx, store.Pool(), stream, domain.Version(len(all)), eventsPage)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < eventsPage {
			break
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no stream %s: `chatledger events` shows those there are", stream)
	}
	return all, nil
}

// moment is a chat's state after some of its events.
type moment struct {
	state  chat.State
	events []domain.Recorded // those folded
}

func foldUntil(history []domain.Recorded, until func(domain.Recorded) bool) moment {
	m := moment{state: chat.Decider.Initial()}
	for _, r := range history {
		if until(r) {
			m.state = chat.Decider.Evolve(m.state, r.Event)
			m.events = append(m.events, r)
		}
	}
	return m
}

// fields is what was known, in words: what a person would ask about first.
func (m moment) fields() [][2]string {
	s := m.state
	handler, ticket, workflow := "bot", "none", "none"
	if s.WithPerson() {
		handler = "person"
	}
	if s.Ticket.ID != "" {
		ticket = fmt.Sprintf("%s %s, %s", s.Ticket.ID, s.Ticket.Status, s.Ticket.Priority)
		if s.Ticket.Assignee != "" {
			ticket += ", with " + s.Ticket.Assignee
		}
		if s.Ticket.Lease.Operator != "" {
			ticket += fmt.Sprintf(", claimed by %s until %s", s.Ticket.Lease.Operator, s.Ticket.Lease.Until.UTC().Format(time.DateTime))
		}
		if len(s.Ticket.Tags) > 0 {
			ticket += ", tagged " + strings.Join(s.Ticket.Tags, " ")
		}
		if s.Ticket.Desk != "" {
			ticket += ", kept at " + s.Ticket.Desk + " too"
		}
	}
	if s.Run.Workflow != "" {
		workflow = fmt.Sprintf("%s at %s, last moved %s", s.Run.Workflow, s.Run.Step, s.Run.LastAt.Format(time.DateTime))
	}
	fields := [][2]string{
		{"handler", handler}, {"ticket", ticket}, {"blocked", fmt.Sprint(s.Blocked)}, {"workflow", workflow},
	}
	for _, field := range slices.Sorted(maps.Keys(s.Run.Data)) {
		fields = append(fields, [2]string{"collected " + field, s.Run.Data[field]})
	}
	fields = append(fields, told(m.events)...)
	return append(fields, [2]string{"last text", s.LastText}, [2]string{"last intent", string(s.LastIntent)},
		[2]string{"not understood", fmt.Sprintf("%d in a row", s.Misunderstood)}, [2]string{"answered up to", fmt.Sprintf("version %d", s.Answered)},
		[2]string{"last update", fmt.Sprint(s.LastUpdate)})
}

func (m moment) title() string {
	if len(m.events) == 0 {
		return "before its first event"
	}
	last := m.events[len(m.events)-1]
	return fmt.Sprintf("%s at version %d (position %v, %s)", last.Stream, last.Version, last.Position, last.RecordedAt.UTC().Format(time.RFC3339Nano))
}

func (m moment) print(w io.Writer) {
	fmt.Fprintln(w, m.title())
	for _, f := range m.fields() {
		fmt.Fprintf(w, "  %-16s %s\n", f[0], f[1])
	}
}

func (m moment) byName() map[string]string {
	values := map[string]string{}
	for _, f := range m.fields() {
		values[f[0]] = f[1]
	}
	return values
}

func printDiff(w io.Writer, a, b moment) {
	fmt.Fprintf(w, "- %s\n+ %s\n", a.title(), b.title())
	before := a.byName()
	for _, f := range b.fields() {
		was, known := before[f[0]]
		delete(before, f[0])
		if known && was == f[1] {
			continue
		}
		if known {
			fmt.Fprintf(w, "  - %-16s %s\n", f[0], was)
		}
		fmt.Fprintf(w, "  + %-16s %s\n", f[0], f[1])
	}
	for _, field := range slices.Sorted(maps.Keys(before)) {
		fmt.Fprintf(w, "  - %-16s %s\n", field, before[field])
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
