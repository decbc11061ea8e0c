package commands

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// Parked is a stream, or all chats of a bot (domain.AllChats), that a consumer group leaves out of its
// pages, because it could not handle one of its events. From that event on, the group handles none of the
// stream until an operator has it retried.
type Parked struct {
	Group    string
	Stream   domain.StreamID
	Version  domain.Version // of the event that could not be handled
	Position domain.Position
	Event    string // the stored name of that event
	Reason   string
	Tries    int
	ParkedAt time.Time
	LastTry  time.Time
	Request  ParkedRequest
}

// ParkedRequest is what an operator has asked the group's leader to do with a parked stream.
type ParkedRequest string

// Requests for a parked stream.
const (
	ParkedWaits ParkedRequest = ""      // nothing was asked for
	ParkedRetry ParkedRequest = "retry" // handle its events again, from the one that failed
	ParkedSkip  ParkedRequest = "skip"  // leave out that event, and handle those after it
)

// LeftOut are the first of the events that a group left out of a parked stream.
type LeftOut struct {
	Events  []domain.Recorded
	Through domain.Position // the place in the feed up to which they were looked for
	Last    bool            // there are no more
}

// ErrNotServed means that the bot is not in the bots file of this process, so that what it says
// cannot be decided here.
var ErrNotServed = errors.New("the bot is not in the bots file of this process")

// ErrGroupGivenUp means that another process has the bot whose chats are held, and is to lead the group.
var ErrGroupGivenUp = errors.New("the group is given up to a process that has the bot in its bots file")

// ErrParkedChanged means that an operator or a rebuild changed the group's parked streams while
// a page was being handled. The page is read again.
var ErrParkedChanged = errors.New("the parked streams of the group were changed: the page is read again")

// ErrUnreadable means that a stream has an event that this program cannot decode. No command
// for the stream can be decided.
var ErrUnreadable = errors.New("the stream cannot be read")

// CheckReadable returns an ErrUnreadable that names the event if it cannot be decoded.
func CheckReadable(r domain.Recorded) error {
	if r.Unreadable == nil {
		return nil
	}
	return fmt.Errorf("%s version %d: %w; %w", r.Stream, r.Version, r.Unreadable, ErrUnreadable)
}
