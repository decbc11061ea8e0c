package chat

import (
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// Updates of a chat can arrive in another order than they were made in, and update ids can start
// anew, lower: after a week of rest, with another Bot API server, or with a new token. So what is
// late is judged by message ids and dates within the chat, never by update ids.

// Written is a message of which a receipt or an edit was received.
type Written struct {
	ID       int64
	EditedAt int64 // Unix seconds of the newest edit; 0 if there was none
	Missing  bool  // an edit came, and the message did not
}

// writtenMax bounds the messages that are remembered to recognise an edit that overtakes its
// message, 24 bytes each. Telegram retries an update within two minutes, in which a chat is
// answered no more than some 20 times.
const writtenMax = 32

// late reports whether a message is older than the newest one that was received. Both its id and
// its date must say so: ids that start anew come with later dates.
func (s State) late(e MessageReceived) bool {
	return e.MessageID < s.TopMessage && !e.Date.After(s.TopMessageAt)
}

// corrected reports whether an edit of the message was received before it, and answered.
func (s State) corrected(e MessageReceived) bool {
	w, known := s.written(e.MessageID)
	return known && w.Missing && e.Date.Unix() <= w.EditedAt
}

// ahead reports whether an edit overtook its message: the message is not known, and not older
// than all that are remembered. An edit of a message from before that is an edit only.
func (s State) ahead(e MessageEdited) bool {
	if _, known := s.written(e.MessageID); known || e.Text == "" || e.From.Bot {
		return false
	}
	return !slices.ContainsFunc(s.Written, func(w Written) bool { return w.ID > e.MessageID }) ||
		slices.ContainsFunc(s.Written, func(w Written) bool { return w.ID < e.MessageID })
}

// supersededEdit reports whether a newer edit of the same message was received.
func (s State) supersededEdit(e MessageEdited) bool {
	w, known := s.written(e.MessageID)
	return known && e.EditedAt.Unix() < w.EditedAt
}

func (s State) written(id int64) (Written, bool) {
	i := slices.IndexFunc(s.Written, func(w Written) bool { return w.ID == id })
	if i < 0 {
		return Written{}, false
	}
	return s.Written[i], true
}

// wrote remembers a message that was received.
func (s State) wrote(e MessageReceived) State {
	if !e.Late {
		s.TopMessage, s.TopMessageAt = e.MessageID, e.Date
	}
	w, _ := s.written(e.MessageID)
	return s.remember(Written{ID: e.MessageID, EditedAt: w.EditedAt})
}

// edited remembers an edit.
func (s State) edited(e MessageEdited) State {
	w, _ := s.written(e.MessageID)
	w.ID, w.EditedAt, w.Missing = e.MessageID, max(w.EditedAt, e.EditedAt.Unix()), w.Missing || e.Ahead
	return s.remember(w)
}

func (s State) remember(w Written) State {
	others := slices.DeleteFunc(slices.Clone(s.Written), func(before Written) bool { return before.ID == w.ID })
	s.Written = domain.KeepLast(others, w, writtenMax)
	return s
}

// message is an edit that is answered in place of its message.
func (e MessageEdited) message(thread int64) MessageReceived {
	return MessageReceived{
		Update: e.Update, MessageID: e.MessageID, Date: e.EditedAt, From: e.From, Text: e.Text, Thread: thread,
	}
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
