package commands

import (
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// snapshotEvery is how many events a stream grows by before another snapshot of it is saved:
// so many, and what is appended meanwhile, are folded by a process that does not have the
// stream in memory, in some 3 ms. Few chats ever have as many.
const snapshotEvery = 500

// cursor returns the place behind a version from which the events of a long chat are loaded. A
// snapshot may stand in for some of them.
func (h *Handler) cursor(stream domain.StreamID, after domain.Version, limit int) Cursor {
	c := Cursor{Stream: stream, After: after, Limit: limit}
	if _, damaged := h.damaged.Load(stream); !damaged {
		c.Format = chat.StateFormat()
	}
	return c
}

// resume folds what was loaded behind a state, from a snapshot if one came with it, keeps the
// result in the cache, and reports whether there is more to load. A snapshot that cannot be decoded is
// ignored, because the events lead to the same state; the next snapshot replaces it.
func (h *Handler) resume(stream domain.StreamID, from folded, history History) (to folded, more bool) {
	if s := history.From; s != nil {
		state, err := chat.DecodeState(s.State)
		if err != nil {
			h.damaged.Store(stream, true)
			return from, true
		}
		from = folded{state, s.Version, s.Version, from.incarnation}
	}
	to = h.keepSnapshot(stream, h.evolve(stream, from, history.Version, history.Events))
	if to.version > 0 { // there is such a stream
		h.states.Add(stream, to)
	}
	return to, history.More
}

// keepSnapshot saves a snapshot of a state when the stream has more events than one load reads
// and the last snapshot is far behind, beside the request that made it so. One is saved at a
// time; a stream that finds another's under way is saved with one of its next events. When
// saving fails, the next load takes longer, and no more.
func (h *Handler) keepSnapshot(stream domain.StreamID, f folded) folded {
	if _, inChat := stream.Chat(); !inChat || f.version < loadPage || f.version-f.snapshot < snapshotEvery {
		return f
	}
	select {
	case h.saving <- struct{}{}:
	default:
		return f
	}
	f.snapshot = f.version
	h.saves.Go(func() {
		defer func() { <-h.saving }()
		ctx, cancel := h.storeContext()
		defer cancel()
		if encoded, err := chat.EncodeState(f.state); err == nil {
			_ = h.store.SaveSnapshot(ctx, stream, Snapshot{f.version, chat.StateFormat(), encoded, f.incarnation})
		}
	})
	return f
}
