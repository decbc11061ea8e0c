package chat

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

const (
	// maxParts bounds the messages that one reply takes: as many as a group may get in a
	// minute. What is longer is better sent as a file.
	maxParts = 20
	// maxAlbum is Telegram's limit of an album.
	maxAlbum = 10
	// maxFileID is over twice the longest file id that is seen, in bytes.
	maxFileID = 256
)

// fileID is what Telegram's file ids look like. Anything else it would take for an
// address to fetch the file from.
var fileID = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9_-]{1,%d}$`, maxFileID))

// Kinds of media that are sent.
const (
	Photo    = "photo"
	Document = "document"
	Voice    = "voice"
)

// reply is what the bot says, in as many messages as it takes.
func (s State) reply(to Answer, r dialog.Reply) []domain.Event {
	return s.queue(ReplyQueued{Answer: to, Author: Author{Kind: Bot}, Buttons: r.Buttons},
		dialog.Split(r.Text, dialog.MaxText))
}

// replyOf is what a person says. It is refused whole when Telegram would refuse any of it.
func (s State) replyOf(c Reply) ([]domain.Event, error) {
	if s.Blocked {
		return nil, fmt.Errorf("reply: %w", ErrBlocked)
	}
	if err := c.checkMedia(); err != nil {
		return nil, fmt.Errorf("reply: %w: %w", ErrMedia, err)
	}
	parts, err := c.split(dialog.MaxText)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reply: %w: %w", ErrHTML, err)
	case len(parts) == 0 && len(c.Media) == 0:
		return nil, fmt.Errorf("reply: %w", ErrEmpty)
	case len(parts) > maxParts:
		return nil, fmt.Errorf("reply: %w: it takes %d messages and %d are sent at most; send it as a document",
			ErrTooLong, len(parts), maxParts)
	}
	reply := ReplyQueued{Author: c.Author, Format: c.Format}
	if len(c.Media) == 0 {
		return s.queue(reply, parts), nil
	}
	file, caption := reply, []string{""}
	file.Media = c.Media
	if short, _ := c.split(dialog.MaxCaption); len(short) == 1 {
		caption, parts = short, nil
	}
	return append(s.queue(file, caption), s.queue(reply, parts)...), nil // what is too long for a caption follows
}

// queue is a reply in several messages: all are like the one given, and the last one
// has the buttons. They go where the chat is now.
func (s State) queue(like ReplyQueued, texts []string) (events []domain.Event) {
	buttons := like.Buttons
	if like.Chat = s.MovedTo; like.Chat == 0 {
		like.Thread = s.Thread
	}
	for i, text := range texts {
		if like.Text, like.Buttons = text, nil; i == len(texts)-1 {
			like.Buttons = buttons
		}
		events = append(events, like)
	}
	return events
}

func (c Reply) split(limit int) ([]string, error) {
	if c.Format == dialog.HTML {
		return dialog.SplitHTML(c.Text, limit)
	}
	return dialog.Split(c.Text, limit), nil
}

// checkMedia says why Telegram would not send the media in one message or album.
func (c Reply) checkMedia() error {
	if len(c.Media) > maxAlbum {
		return fmt.Errorf("an album has %d files at most, not %d", maxAlbum, len(c.Media))
	}
	for _, m := range c.Media {
		switch {
		case m.Kind != Photo && m.Kind != Document && m.Kind != Voice:
			return fmt.Errorf("a %q; only %s can", m.Kind, strings.Join([]string{Photo, Document, Voice}, ", "))
		case !fileID.MatchString(m.FileID):
			return fmt.Errorf("%q is not a file id of Telegram: use the id of a file that was received",
				domain.Shorten(m.FileID, subjectMax))
		case len(c.Media) > 1 && (m.Kind == Voice || m.Kind != c.Media[0].Kind):
			return fmt.Errorf("a %s with a %s: an album is of photos only, or of documents only", c.Media[0].Kind,
				m.Kind)
		}
	}
	return nil
}
