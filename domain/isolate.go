package domain

import "slices"

// MaxParked limits the parked streams of one consumer group, some 200 bytes each in memory. More of
// them mean that the group or the program is at fault and not the content.
const MaxParked = 1000

// Failure is an event that a consumer cannot handle.
type Failure struct {
	Event Recorded
	Cause error
}

// Readable returns the events of a page that are to be handled, and the first event of each stream
// that cannot be decoded. The events after it in its stream, and those for which leftOut is true, are
// left out.
func Readable(page []Recorded, leftOut func(Recorded) bool) (events []Recorded, failed []Failure) {
	withheld := func(r Recorded) bool { return r.Unreadable != nil || leftOut(r) }
	if !slices.ContainsFunc(page, withheld) { // as almost always
		return page, nil
	}
	stopped := map[StreamID]bool{}
	for _, r := range page {
		switch {
		case leftOut(r) || stopped[r.Stream]:
		case r.Unreadable != nil:
			stopped[r.Stream] = true
			failed = append(failed, Failure{r, r.Unreadable})
		default:
			events = append(events, r)
		}
	}
	return events, failed
}

// Isolation finds the events of a page that cannot be handled.
type Isolation struct {
	// Attempt handles events, or has no effect and returns an error.
	Attempt func([]Recorded) error
	// OfContent reports whether an error of Attempt is caused by what the events contain, so that it
	// comes again whenever they do.
	OfContent func(error) bool
}

// Handle handles what can be handled of these events. What fails is halved by streams, down to the
// stream, and of that the events before the one that fails are handled. Each part is an attempt of
// its own, so streams that fail only together with others are found, too. Any error that is not of
// the content ends it.
func (i Isolation) Handle(events []Recorded) ([]Failure, error) {
	err := i.attempt(events)
	if err == nil || !i.OfContent(err) {
		return nil, err
	}
	streams := streamsOf(events)
	if len(streams) == 1 {
		return i.handleStream(events)
	}
	half := map[StreamID]bool{}
	for _, s := range streams[:len(streams)/2] {
		half[s] = true
	}
	first, second := partition(events, half)
	failed, err := i.Handle(first)
	if err != nil {
		return nil, err
	}
	more, err := i.Handle(second)
	return append(failed, more...), err
}

// handleStream finds by bisection an event of one stream that fails after those before it were
// handled, and leaves these handled.
func (i Isolation) handleStream(events []Recorded) ([]Failure, error) {
	handled, fails := 0, len(events) // events[:handled] are, events[:fails] cannot be
	for fails-handled > 1 {
		middle := (handled + fails) / 2
		err := i.attempt(events[handled:middle])
		switch {
		case err == nil:
			handled = middle
		case i.OfContent(err):
			fails = middle
		default:
			return nil, err
		}
	}
	// The error so far may be that of a longer part; the event alone says it best.
	err := i.attempt(events[handled:fails])
	switch {
	case err == nil:
		// It failed with others and not alone.
		return i.Handle(events[fails:])
	case !i.OfContent(err):
		return nil, err
	}
	return []Failure{{events[handled], err}}, nil
}

func (i Isolation) attempt(events []Recorded) error {
	if len(events) == 0 {
		return nil
	}
	return i.Attempt(events)
}

func streamsOf(events []Recorded) (streams []StreamID) {
	seen := map[StreamID]bool{}
	for _, r := range events {
		if !seen[r.Stream] {
			seen[r.Stream] = true
			streams = append(streams, r.Stream)
		}
	}
	return streams
}

// partition splits events by their streams, and keeps their order.
func partition(events []Recorded, of map[StreamID]bool) (in, rest []Recorded) {
	for _, r := range events {
		if of[r.Stream] {
			in = append(in, r)
		} else {
			rest = append(rest, r)
		}
	}
	return in, rest
}
