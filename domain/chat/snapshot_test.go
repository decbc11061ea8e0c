package chat_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// A state that comes from a snapshot must be the state that the events fold to, also behind the
// snapshot: whatever is decided on one is decided on the other.
func TestState_FromSnapshot_IsTheFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, func(chat.State, chat.Command, []domain.Event) {})
		at := rapid.IntRange(0, len(c.history)).Draw(t, "snapshot at")
		before := chat.Decider.Fold(chat.Decider.Initial(), c.history[:at]...)
		encoded, err := chat.EncodeState(before)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := chat.DecodeState(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, decoded); diff != "" {
			t.Fatalf("at version %d (-folded +decoded):\n%s", at, diff)
		}
		if diff := cmp.Diff(state, chat.Decider.Fold(decoded, c.history[at:]...)); diff != "" {
			t.Fatalf("folded on from version %d (-folded +from snapshot):\n%s", at, diff)
		}
	})
}

var update = flag.Bool("update", false, "write testdata/folds.json anew")

// fold is a history as it is stored, and the state that it folds to.
type fold struct {
	Format string          `json:"format"` // chat.StateFormat of the program that folded it
	Events []storedEvent   `json:"events"`
	State  json.RawMessage `json:"state"`
}

type storedEvent struct {
	Name    string          `json:"name"`
	Version int             `json:"version"`
	Payload json.RawMessage `json:"payload"`
}

// Snapshots of another program are used as long as its StateFormat is the same. So whoever
// changes what Evolve makes of stored events must raise foldVersion: this test fails until
// that is done and the file is written anew with -update.
func TestStateFormat_EvolveChanged_MustChange(t *testing.T) {
	const file = "testdata/folds.json"
	codec := chat.NewCodec()
	if *update {
		writeFolds(t, codec, file)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var folds []fold
	if err := json.Unmarshal(content, &folds); err != nil {
		t.Fatal(err)
	}
	for i, f := range folds {
		state := chat.Decider.Initial()
		for _, e := range f.Events {
			event, err := codec.Decode(e.Name, e.Version, e.Payload)
			if err != nil {
				t.Fatalf("history %d: %v", i, err)
			}
			state = chat.Evolve(state, event)
		}
		encoded, err := chat.EncodeState(state)
		if err != nil {
			t.Fatal(err)
		}
		var was bytes.Buffer
		if err := json.Compact(&was, f.State); err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(encoded, was.Bytes()); same && f.Format == chat.StateFormat() {
			continue
		} else if !same && f.Format == chat.StateFormat() {
			t.Errorf("history %d folds to another state than before: raise foldVersion in snapshot.go", i)
		}
		t.Fatalf("history %d: the format was %s and is %s: run this test with -update", i, f.Format,
			chat.StateFormat())
	}
}

func writeFolds(t *testing.T, codec *domain.Codec, file string) {
	t.Helper()
	lives := rapid.Custom(func(t *rapid.T) []domain.Event {
		_, c := life(t, func(chat.State, chat.Command, []domain.Event) {})
		return c.history
	})
	var folds []fold
	for seed := range 40 {
		f := fold{Format: chat.StateFormat()}
		state := chat.Decider.Initial()
		for _, event := range lives.Example(seed) {
			name, version, payload, err := codec.Encode(event)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := codec.Decode(name, version, payload)
			if err != nil {
				t.Fatal(err)
			}
			state = chat.Evolve(state, stored)
			f.Events = append(f.Events, storedEvent{name, version, payload})
		}
		encoded, err := chat.EncodeState(state)
		if err != nil {
			t.Fatal(err)
		}
		f.State = encoded
		folds = append(folds, f)
	}
	content, err := json.MarshalIndent(folds, "", " ")
	if err == nil {
		err = os.WriteFile(file, append(content, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
