package chat_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// partOf is a message with a photo of an album.
func partOf(album string, n int64, caption string) chat.MessageReceived {
	m := wrote(n, caption)
	m.Album, m.Media = album, []chat.Media{{Kind: "photo", FileID: "f"}}
	return m
}

// come has these come one after the other, each with the bot's turn, and lets time go by
// behind them.
func come(t *testing.T, history []domain.Event, messages ...chat.MessageReceived) []domain.Event {
	t.Helper()
	last := noon
	for _, m := range messages {
		got := only[chat.MessageReceived](t, given(t, history...).When(receive(m)))
		history = append(history, got)
		last = noon.Add(time.Duration(m.MessageID) * time.Second / 10)
		turn := given(t, history...).When(chat.Respond{To: domain.Version(len(history)), Event: got, At: last})
		history = append(history, turn.Events...)
	}
	return append(history, given(t, history...).When(chat.Elapse{At: last.Add(time.Minute / 2)}).Events...)
}

func TestAlbum_WithCaption_AnsweredOnce(t *testing.T) {
	const album, words = "album-1", "hello"
	for name, c := range map[string]struct {
		parts    []chat.MessageReceived // as they come
		answered []int64                // message ids
	}{
		"without words": {[]chat.MessageReceived{partOf(album, 1, ""), partOf(album, 2, ""),
			partOf(album, 3, "")}, []int64{1}},
		"words with the first": {[]chat.MessageReceived{partOf(album, 1, words), partOf(album, 2, ""),
			partOf(album, 3, "")}, []int64{1}},
		"words with each": {[]chat.MessageReceived{partOf(album, 1, words), partOf(album, 2, words),
			partOf(album, 3, words)}, []int64{1}},
		"words with the second": {[]chat.MessageReceived{partOf(album, 1, ""), partOf(album, 2, words),
			partOf(album, 3, words)}, []int64{2}},
		"words with the last": {[]chat.MessageReceived{partOf(album, 1, ""), partOf(album, 2, ""),
			partOf(album, 3, words)}, []int64{3}},
		"the last comes first": {[]chat.MessageReceived{partOf(album, 3, ""), partOf(album, 1, words),
			partOf(album, 2, "")}, []int64{1}},
		"others write meanwhile": {[]chat.MessageReceived{partOf(album, 1, ""), wrote(2, "hello"),
			partOf(album, 3, "")}, []int64{2, 1}},
		"two albums at once": {[]chat.MessageReceived{partOf(album, 1, ""), partOf("album-2", 2, ""),
			partOf(album, 3, ""), partOf("album-2", 4, "")}, []int64{2}},
		"two, and one has words": {[]chat.MessageReceived{partOf(album, 1, ""), partOf("album-2", 2, ""),
			partOf(album, 3, words)}, []int64{3, 2}},
		"one album after another": {[]chat.MessageReceived{partOf(album, 1, words), partOf(album, 2, ""),
			partOf("album-2", 3, words)}, []int64{1, 3}},
		"messages that are no album": {[]chat.MessageReceived{wrote(1, "hello"), wrote(2, "hello")}, []int64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			history := come(t, nil, c.parts...)
			var answered []int64
			for _, e := range history {
				if e, ok := e.(chat.ReplyQueued); ok {
					answered = append(answered, history[e.To-1].(chat.MessageReceived).MessageID)
				}
			}
			if !slices.Equal(answered, c.answered) {
				t.Errorf("answered messages %v, want %v", answered, c.answered)
			}
			wakes(t, given(t, history...).When(elapse(time.Hour)).State, 0)
		})
	}
}

func TestAlbum_WithoutCaption_AnsweredLater(t *testing.T) {
	photo := partOf("", 1, "")
	if o := given(t, photo).When(respond(1, photo)); len(heard(o)) != 1 {
		t.Errorf("a photo leads to %+v", o.Events)
	}
	first := partOf("a", 1, "")
	history := []domain.Event{first,
		only[chat.Understood](t, given(t, first).When(chat.Respond{To: 1, Event: first, At: noon}))}
	wakes(t, given(t, history...).When(elapse(0)).State, 3*time.Second)
	given(t, history...).When(elapse(3*time.Second - 1)).ThenNothing()
	o := given(t, history...).When(elapse(3 * time.Second))
	if taken := only[chat.AlbumTaken](t, o); taken.To != 1 || taken.Words != 0 ||
		!strings.Contains(heard(o)[0], "I've kept it") {
		t.Errorf("an album leads to %+v", o.Events)
	}
	wakes(t, o.State, 0)
}

func TestAlbum_LateCaption_AnswersWorkflow(t *testing.T) {
	words := partOf("a", 8, "12 Baker Street, London NW1 6XE")
	history := come(t, collecting, partOf("a", 9, ""), words)
	var replies []chat.ReplyQueued
	for _, e := range history[len(collecting):] {
		if e, ok := e.(chat.ReplyQueued); ok {
			replies = append(replies, e)
		}
	}
	if len(replies) != 1 || !strings.Contains(replies[0].Text, "Is that right?") {
		t.Errorf("the bot says %+v", replies)
	}
}

func TestAlbum_OperatorHasChat_NotAnswered(t *testing.T) {
	first := partOf("a", 1, "")
	history := []domain.Event{first,
		only[chat.Understood](t, given(t, first).When(chat.Respond{To: 1, Event: first, At: noon}))}
	blocked := chat.MembershipChanged{Update: chat.Update{ID: 2, Key: 2}, Date: noon, Status: "kicked", Blocked: true}
	for _, since := range []domain.Event{opened, blocked} {
		given(t, append(slices.Clip(history), since)...).When(elapse(3 * time.Second)).
			Then(chat.AlbumTaken{Answer: chat.Answer{To: 1}, At: noon.Add(3 * time.Second)})
	}
}

func TestAlbum_OverLimit_OnlyFirstPartMarked(t *testing.T) {
	history := []domain.Event{at(wrote(1, "a"), 0), at(wrote(2, "b"), 1), at(partOf("a", 3, ""), 2)}
	part := at(partOf("a", 4, ""), 3)
	part.Continues = true
	given(t, history...).When(limited(at(partOf("a", 4, ""), 3))).Then(part)
	given(t, history...).When(limited(at(partOf("b", 5, ""), 3))).Then(func() chat.MessageReceived {
		over := at(partOf("b", 5, ""), 3)
		over.OverLimit, over.TooFast = true, true
		return over
	}())
}

func TestAlbum_Limit_CountsOneMessage(t *testing.T) {
	var album []domain.Event
	for n := range int64(5) {
		m := at(wrote(n+1, ""), 0)
		m.Album, m.Continues = "a", n > 0
		album = append(album, m)
	}
	given(t, album...).When(limited(at(wrote(9, "hello"), 1))).Then(at(wrote(9, "hello"), 1))
}
