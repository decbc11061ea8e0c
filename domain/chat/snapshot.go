package chat

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
)

// foldVersion is part of StateFormat. Raise it when Evolve folds the same events into another
// state: the snapshots that were made before are ignored from then on.
const foldVersion = 2

// StateFormat names the shape of State and the rules by which events are folded into it. A
// snapshot is used only by a program with the same format.
func StateFormat() string { return stateFormat }

var stateFormat = shapeOf(reflect.TypeFor[State]())

func shapeOf(t reflect.Type) string {
	shape := fnv.New64a()
	writeShape(shape, t, map[reflect.Type]bool{})
	return fmt.Sprintf("%d-%016x", foldVersion, shape.Sum64())
}

// writeShape writes the names and the types of all fields, in their order.
func writeShape(w io.Writer, t reflect.Type, seen map[reflect.Type]bool) {
	fmt.Fprintf(w, "%s %s;", t, t.Kind())
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		if t.Kind() == reflect.Map {
			writeShape(w, t.Key(), seen)
		}
		writeShape(w, t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			fmt.Fprintf(w, "%s %s ", t.Field(i).Name, t.Field(i).Tag)
			writeShape(w, t.Field(i).Type, seen)
		}
	}
}

// EncodeState returns a state as a snapshot keeps it.
func EncodeState(s State) ([]byte, error) {
	encoded, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the state of a chat: %w", err)
	}
	return encoded, nil
}

// DecodeState is the reverse of EncodeState in a program of the same StateFormat.
func DecodeState(encoded []byte) (s State, err error) {
	if err := json.Unmarshal(encoded, &s); err != nil {
		return State{}, fmt.Errorf("decode the state of a chat: %w", err)
	}
	return s, nil
}
