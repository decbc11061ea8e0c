package domain

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var errPoison = errors.New("poison")

// Of any page, every event is handled once and in the order of its stream, but for those from the
// first one that fails in its stream on.
func TestIsolation_AnyFailingEvents_OthersHandled(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var page []Recorded
		versions, stops, failing := map[StreamID]Version{}, map[StreamID]Version{}, map[Recorded]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			stream := ChatStream("demo", int64(rapid.IntRange(1, 8).Draw(t, "chat")))
			versions[stream]++
			r := Recorded{Stream: stream, Version: versions[stream]}
			if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
				failing[r] = true
				if stops[stream] == 0 {
					stops[stream] = r.Version
				}
			}
			page = append(page, r)
		}
		handled := map[StreamID]Version{}
		failed, err := Isolation{
			Attempt: func(events []Recorded) error {
				if slices.ContainsFunc(events, func(r Recorded) bool { return failing[r] }) {
					return errPoison
				}
				for _, r := range events {
					if handled[r.Stream]++; handled[r.Stream] != r.Version {
						t.Fatalf("%s: version %d handled after %d", r.Stream, r.Version, handled[r.Stream]-1)
					}
				}
				return nil
			},
			OfContent: func(err error) bool { return errors.Is(err, errPoison) },
		}.Handle(page)
		if err != nil || len(failed) != len(stops) {
			t.Fatalf("%d streams failed, want %d: %v", len(failed), len(stops), err)
		}
		for _, f := range failed {
			if stops[f.Event.Stream] != f.Event.Version {
				t.Errorf("%s stops at version %d, want %d", f.Event.Stream, f.Event.Version, stops[f.Event.Stream])
			}
		}
		for stream, last := range versions {
			if stop, stopped := stops[stream]; stopped {
				last = stop - 1
			}
			if handled[stream] != last {
				t.Errorf("%s is handled up to %d, want %d", stream, handled[stream], last)
			}
		}
	})
}
