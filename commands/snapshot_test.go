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
	for n := range int64(600) {
		if _, err := first.Handle(t.Context(), update(anna, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	first.Close()
	kept := store.snapshots[anna]
	if kept.Version < 500 || kept.Format != chat.StateFormat() {
		t.Fatalf("kept version %d in format %q", kept.Version, kept.Format)
	}
	var read int
	store.loading = func(cursors []commands.Cursor) error {
		if cursors[0].After == 0 && cursors[0].Format != kept.Format {
			t.Errorf("cursor %+v asks for no snapshot", cursors[0])
		}
		read = len(store.streams[anna]) - int(kept.Version)
		return nil
	}
	second := handler(t, store, commands.Config{})
	state, version, err := second.State(context.Background(), anna)
	if err != nil || version != 600 || read > 100 {
		t.Fatalf("version %d after %d events, error %v", version, read, err)
	}
	if want, _, err := first.State(context.Background(), anna); err != nil || state.LastUpdate != want.LastUpdate {
		t.Errorf("last update %d, want %d, error %v", state.LastUpdate, want.LastUpdate, err)
	}
	if result, err := second.Handle(t.Context(), update(anna, 600)); err != nil || len(result.Events) > 0 {
		t.Errorf("a repeat led to %+v, error %v", result, err)
	}
}

// A snapshot of other rules, or one that cannot be read, is not folded on.
func TestHandler_SnapshotOfNoUse_FoldsEvents(t *testing.T) {
	store := newMemory()
	h := handler(t, store, commands.Config{})
	for n := range int64(3) {
		if _, err := h.Handle(t.Context(), update(anna, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	want, _, err := h.State(t.Context(), anna)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"of another program", chat.StateFormat()} {
		store.snapshots[anna] = commands.Snapshot{Version: 2, Format: format, State: []byte("{")}
		got, version, err := handler(t, store, commands.Config{}).State(t.Context(), anna)
		if err != nil || version != 3 || got.LastUpdate != want.LastUpdate || got.TopMessage != want.TopMessage {
			t.Errorf("format %q: version %d, last update %d, error %v", format, version, got.LastUpdate, err)
		}
		result, err := handler(t, store, commands.Config{}).Handle(t.Context(), update(anna, 3))
		if err != nil || len(result.Events) > 0 {
			t.Errorf("format %q: a repeat led to %+v, error %v", format, result, err)
		}
	}
}
