package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// An Upcaster lifts a stored payload from one version of its shape to the next.
// It is pure: the same old fields give the same new ones, for ever.
type Upcaster func(fields map[string]json.RawMessage) map[string]json.RawMessage

// Codec turns events into stored payloads and back. The stored name and version
// are given as strings and numbers, never taken from Go's type names, so that
// types can be renamed while history stays readable.
type Codec struct {
	byName map[string]*format
	byType map[reflect.Type]*format
}

type format struct {
	name      string
	typ       reflect.Type
	upcasters []Upcaster // upcasters[i] lifts version i+1 to i+2
	former    bool       // the name is read and not written any more
	decided   bool       // somebody declared which tables fold it
	tables    []string
}

// version is that of today's shape; under a former name nothing is stored in it.
func (f *format) version() int { return len(f.upcasters) + 1 }

// newest is the highest version that may be stored.
func (f *format) newest() int {
	if f.former {
		return len(f.upcasters)
	}
	return f.version()
}

// NewCodec returns a codec that knows no events yet.
func NewCodec() *Codec {
	return &Codec{byName: map[string]*format{}, byType: map[reflect.Type]*format{}}
}

// Register makes E the type stored under name. Its current version is one more
// than the number of upcasters, which lift versions 1, 2, ... one step each.
func Register[E Event](c *Codec, name string, upcasters ...Upcaster) Registration {
	f := &format{name: name, typ: reflect.TypeFor[E](), upcasters: upcasters}
	if c.byName[name] != nil || c.byType[f.typ] != nil {
		panic(fmt.Sprintf("codec: %s (%v) is registered twice", name, f.typ))
	}
	c.byName[name], c.byType[f.typ] = f, f
	return Registration{f}
}

// A Registration completes the declaration of an event.
type Registration struct{ format *format }

// FoldedBy declares which tables of the read model the event can change; no table means that all of
// them ignore it. A table that every event changes, because it keeps the stream's version, is not
// named.
func (r Registration) FoldedBy(tables ...string) {
	r.format.tables, r.format.decided = tables, true
}

// Folded returns the zero values of the events that a table folds, in order of their names.
func (c *Codec) Folded(table string) (events []Event) {
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		if f := c.byName[name]; slices.Contains(f.tables, table) {
			events = append(events, reflect.Zero(f.typ).Interface().(Event))
		}
	}
	return events
}

// FoldedBy returns the tables that fold an event, and whether its registration declares them.
func (c *Codec) FoldedBy(name string) (tables []string, declared bool) {
	f := c.byName[name]
	return f.tables, f.decided
}

// Formerly has what was stored under another name read as E, which is registered
// under its own. The upcasters lift the versions under the former name, the last of
// them to E's shape of today.
func Formerly[E Event](c *Codec, name string, upcasters ...Upcaster) {
	f := &format{name: name, typ: reflect.TypeFor[E](), upcasters: upcasters, former: true}
	if c.byName[name] != nil || c.byType[f.typ] == nil || len(upcasters) == 0 {
		panic(fmt.Sprintf("codec: %s cannot be a former name of %v", name, f.typ))
	}
	c.byName[name] = f
}

// Names lists the stored names with their newest versions.
func (c *Codec) Names() map[string]int {
	names := make(map[string]int, len(c.byName))
	for name, f := range c.byName {
		names[name] = f.newest()
	}
	return names
}

// Former tells whether nothing is stored under a name any more.
func (c *Codec) Former(name string) bool {
	f := c.byName[name]
	return f == nil || f.former
}

// NamesOf are all names that events of this type are stored under, today's first.
func (c *Codec) NamesOf(event Event) []string {
	names := []string{c.Name(event)}
	for name, f := range c.byName {
		if f.former && f.typ == reflect.TypeOf(event) {
			names = append(names, name)
		}
	}
	return names
}

// Knows reports whether events that are stored under a name and version can be decoded.
func (c *Codec) Knows(name string, version int) bool {
	f := c.byName[name]
	return f != nil && 1 <= version && version <= f.newest()
}

// Name is the stored name of an event.
func (c *Codec) Name(event Event) string {
	if f := c.byType[reflect.TypeOf(event)]; f != nil {
		return f.name
	}
	return fmt.Sprintf("%T", event)
}

// Encode returns the name, version and JSON payload to store an event under.
func (c *Codec) Encode(event Event) (name string, version int, payload []byte, err error) {
	f := c.byType[reflect.TypeOf(event)]
	if f == nil {
		return "", 0, nil, fmt.Errorf("encode event: %T has no stored name: register it in the codec", event)
	}
	payload, err = json.Marshal(event)
	if err != nil {
		return "", 0, nil, fmt.Errorf("encode event %s@%d: %w", f.name, f.version(), err)
	}
	return f.name, f.version(), payload, nil
}

// Decode turns a stored payload into the event of today. A name or version it
// does not know is an error: guessing would fold a wrong state in silence.
func (c *Codec) Decode(name string, version int, payload []byte) (Event, error) {
	f := c.byName[name]
	if f == nil {
		return nil, fmt.Errorf("unknown event %s@%d: it was stored by another program, or its type was removed from "+
			"the codec", name, version)
	}
	if version < 1 || version > f.newest() {
		return nil, fmt.Errorf("unknown version of event %s@%d: this program knows versions 1 to %d", name, version,
			f.newest())
	}
	if version < f.version() {
		lifted, err := f.lift(version, payload)
		if err != nil {
			return nil, fmt.Errorf("upcast event %s@%d: %w", name, version, err)
		}
		payload = lifted
	}
	event := reflect.New(f.typ)
	if err := json.Unmarshal(payload, event.Interface()); err != nil {
		return nil, fmt.Errorf("decode event %s@%d: %w", name, version, err)
	}
	return event.Elem().Interface(), nil
}

func (f *format) lift(version int, payload []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("the payload is null")
	}
	for _, upcast := range f.upcasters[version-1:] {
		fields = upcast(fields)
	}
	return json.Marshal(fields)
}
