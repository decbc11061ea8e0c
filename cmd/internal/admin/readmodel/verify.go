package readmodel

import (
	"context"
	"errors"
	"fmt"

	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// Verify compares tables with the result of folding the events anew. A difference is an error, and so is
// a stream with an event that cannot be folded. A sample above 0 is the number of streams to compare,
// chosen at random.
func (t Tables) Verify(ctx context.Context, list []projections.Projection, sample int) error {
	var differing error
	for _, p := range list {
		v, err := t.verify(ctx, p, sample)
		fmt.Fprint(t.Out, stoppedInWords(p.Name(), v.Stopped, int(v.StoppedStreams)))
		switch {
		case err != nil:
			return err
		case v.First != nil:
			differing = errors.Join(differing, fmt.Errorf("%v; `chatledger rebuild %s` repairs it", v.First, p.Name()))
		case v.StoppedStreams > 0:
			differing = errors.Join(differing, fmt.Errorf("readmodel.%s: %d of %d streams have an event that cannot be folded; "+
				"the rows of the others are clean", p.Name(), v.StoppedStreams, v.Streams))
		default:
			fmt.Fprintf(t.Out, "%s: clean, %d rows of %d streams at position %v\n", p.Name(), v.Rows, v.Streams, v.At)
		}
	}
	return differing
}

func (t Tables) verify(ctx context.Context, p projections.Projection, sample int) (rebuild.Verification, error) {
	if sample > 0 {
		return rebuild.VerifySample(ctx, t.Session, t.ledger(), p, sample)
	}
	return rebuild.Verify(ctx, t.Session, t.ledger(), p)
}
