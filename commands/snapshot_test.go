package commands_test

import (
	"context"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// A process that does not have a long chat in memory reads the events behind the snapshot, and
// decides as if it had read all of them.
func TestHandler_LongStream_LoadsFromSnapshot(t *testing.T) {
	store := newMemory()
	first := handler(t, store, commands.Config{})
	for n := range int64(2600) {
		if _, err := first.Handle(t.Context(), update(anna, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	first.Close()
	kept := store.snapshots[anna]
	if kept.Version < 2000 || kept.Format != chat.StateFormat() {
		t.Fatalf("kept version %d in format %q", kept.Version, kept.Format)
	}
	var asked int
	store.loading = func(cursors []commands.Cursor) error {
		switch c := cursors[0]; {
		case c.After == 0: // most chats are short, and have none
		case c.After < kept.Version && c.Format != kept.Format:
			t.Errorf("cursor %+v asks for no snapshot", c)
		case c.After < kept.Version:
			asked++
		}
		return nil
	}
	second := handler(t, store, commands.Config{})
	state, version, err := second.State(context.Background(), anna)
	if err != nil || version != 2600 || asked != 1 {
		t.Fatalf("version %d after %d questions for a snapshot, error %v", version, asked, err)
	}
	if want, _, err := first.State(context.Background(), anna); err != nil || state.LastUpdate != want.LastUpdate {
		t.Errorf("last update %d, want %d, error %v", state.LastUpdate, want.LastUpdate, err)
	}
	if result, err := second.Handle(t.Context(), update(anna, 2600)); err != nil || len(result.Events) > 0 {
		t.Errorf("a repeat led to %+v, error %v", result, err)
	}
}

// A snapshot of other rules, or one that cannot be read, is not folded on.
func TestHandler_SnapshotOfNoUse_FoldsEvents(t *testing.T) {
	store := newMemory()
	h := handler(t, store, commands.Config{})
	for n := range int64(2100) {
		if _, err := h.Handle(t.Context(), update(anna, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	want, _, err := h.State(t.Context(), anna)
	if err != nil {
		t.Fatal(err)
	}
	h.Close() // and with it what it saves
	for _, format := range []string{"of another program", chat.StateFormat()} {
		reader, repeater := handler(t, store, commands.Config{}), handler(t, store, commands.Config{})
		store.snapshots[anna] = commands.Snapshot{Version: 2050, Format: format, State: []byte("{")}
		got, version, err := reader.State(t.Context(), anna)
		if err != nil || version != 2100 || got.LastUpdate != want.LastUpdate || got.TopMessage != want.TopMessage {
			t.Errorf("format %q: version %d, last update %d, error %v", format, version, got.LastUpdate, err)
		}
		result, err := repeater.Handle(t.Context(), update(anna, 2100))
		if err != nil || len(result.Events) > 0 {
			t.Errorf("format %q: a repeat led to %+v, error %v", format, result, err)
		}
		reader.Close()
		repeater.Close()
	}
}
