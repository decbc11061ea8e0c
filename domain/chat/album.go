package chat

import (
	"cmp"
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// The parts of an album come as messages of their own, one after the other, and are one
// thing that the customer sent. The first words of an album are what is answered, whichever
// part brings them, and no other part is. An album that begins without words is therefore
// not answered at once. A photo that is no album's is.

// Album is a part of an album. Of two that write in a group at once, the parts come mixed.
type Album struct {
	ID    string
	Words bool // the part had a caption
}

// albumsMax bounds the memory of parts of albums: two albums, which have ten each.
const albumsMax = 20

// albumGather is how long an album's words are waited for. Telegram sends the next part as
// soon as it has the answer to the one before; all ten are here well within this.
const albumGather = 3 * time.Second

// Unworded is an album that waits for its words; the zero one is none. One that begins while
// another waits takes its place: they are answered together.
type Unworded struct {
	Wordless
	To domain.Version // the part that came first
}

// until is when the wait is over; zero when nothing waits.
func (u Unworded) until() time.Time {
	if u.To == 0 {
		return time.Time{}
	}
	return u.At.Add(albumGather)
}

// continues reports whether a message is one act with earlier parts of its album.
func (s State) continues(e MessageReceived) bool {
	parts, words := 0, false
	for _, part := range s.Albums {
		if part.ID == e.Album {
			parts, words = parts+1, words || part.Words
		}
	}
	return parts > 0 && (words || e.Text == "")
}

// brings reports whether a message has the words that an album waits for.
func (s State) brings(e MessageReceived) bool {
	return s.Unworded.To != 0 && e.Album == s.Unworded.Album && e.Text != ""
}

// awaitWords is the bot's turn about an album that begins without words.
func (s informed) awaitWords(c Respond, m MessageReceived) []domain.Event {
	return []domain.Event{Understood{Answer: Answer{c.To}, Intent: dialog.File, Confidence: 1,
		Language:  cmp.Or(s.Language, s.knowledge().Speaks(dialog.Language(m.From.Language))),
		Knowledge: s.knowledge().Hash,
		Wordless:  &Wordless{Album: m.Album, By: m.From.ID, Sent: m.Date, At: c.At}}}
}

// worded adds to a turn that it has the words an album waited for.
func (s State) worded(c Respond, turn []domain.Event) []domain.Event {
	return slices.Insert(turn, 1, domain.Event(AlbumTaken{Answer{s.Unworded.To}, c.To, c.At}))
}

// takeUnworded answers an album whose words did not come. Nobody is answered whom a person
// has by now, or who does not want to hear from us.
func (s informed) takeUnworded(at time.Time) []domain.Event {
	album := s.Unworded
	taken := AlbumTaken{Answer: Answer{album.To}, At: at}
	if s.WithPerson() || s.Blocked {
		return []domain.Event{taken}
	}
	turn := dialog.Take(s.context(Sender{}), dialog.Act{Media: true, By: album.By, At: album.Sent})
	return append([]domain.Event{taken}, s.does(taken.Answer, turn, album.By, at)...)
}
