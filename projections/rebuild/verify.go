package rebuild

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

// Ledger reads events for rebuilds and verifications.
type Ledger interface {
	// Feed reads up to limit events after a position, in feed order; with only, those
	// of other types come without their Event. An event that cannot be decoded comes as Unreadable.
	Feed(
		ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event,
	) ([]domain.Recorded, error)
	// Streams lists up to limit streams after one, in order of their ids.
	Streams(ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// Sample picks up to n different streams at random.
	Sample(ctx context.Context, tx pgx.Tx, n int) ([]domain.StreamID, error)
	// Replay passes on all events of these streams up to a position, stream by stream in
	// order of their ids, oldest first. It uses the transaction's connection meanwhile. An event
	// that cannot be decoded comes as Unreadable.
	Replay(
		ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position,
		take func(domain.Recorded) error,
	) error
	// Name is the stored name of an event.
	Name(domain.Event) string
	// OfContent reports whether an error is caused by what an event contains.
	OfContent(error) bool
	// ParkedOf lists those of these streams that a consumer group left out from an event on.
	ParkedOf(ctx context.Context, tx pgx.Tx, group string, streams []domain.StreamID) ([]Stopped, error)
	// ParkFor records that a consumer group leaves a stream out from an event on.
	ParkFor(ctx context.Context, tx pgx.Tx, group string, s Stopped) error
}

// Verification is the result of a verification.
type Verification struct {
	Streams, Rows int64
	At            domain.Position // the checkpoint at which the last rows were compared
	First         *Divergence     // nil when all rows are what the events lead to
	// Stopped are the first of the streams that were not compared, or not up to their ends, because
	// an event cannot be folded; StoppedStreams counts them all.
	Stopped        []Stopped
	StoppedStreams int64
}

// verifyBatch is how many streams are compared at once: few enough to take milliseconds,
// with some 50 events each.
const verifyBatch = 500

// Verify folds every stream anew and compares the outcome with the table, while
// reading and writing continue. It stops at the first row that differs. A stream with an event that
// cannot be folded is named, and those after it are compared. It returns a VersionError for a table
// that another version of the projection made.
//
// Streams are compared in batches, each with the table as of a moment of its own: no
// snapshot is held for long, and a rebuild may put another table in place between two.
func Verify(ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection) (v Verification, err error) {
	var last domain.StreamID
	err = v.batches(ctx, conn, ledger, p, func(tx pgx.Tx) ([]domain.StreamID, error) {
		streams, err := ledger.Streams(ctx, tx, last, verifyBatch)
		if len(streams) > 0 {
			last = streams[len(streams)-1]
		}
		return streams, err
	})
	if err == nil && v.First == nil {
		err = glimpse(ctx, conn, p, func(tx pgx.Tx, live mark) error {
			v.First, err = stranger(ctx, tx, ledger, p, live.At)
			return err
		})
	}
	if err != nil {
		return v, fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	return v, nil
}

// VerifySample is Verify for n streams picked at random. A row of a stream that does
// not exist is never among them.
func VerifySample(
	ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection, n int,
) (v Verification, err error) {
	var sample []domain.StreamID
	err = v.batches(ctx, conn, ledger, p, func(tx pgx.Tx) (streams []domain.StreamID, err error) {
		if sample == nil {
			if sample, err = ledger.Sample(ctx, tx, n); err != nil {
				return nil, err
			}
		}
		streams, sample = sample[:min(verifyBatch, len(sample))], sample[min(verifyBatch, len(sample)):]
		return streams, nil
	})
	if err != nil {
		return v, fmt.Errorf("verify a sample of %s: %w", p.Name(), err)
	}
	return v, nil
}

// batches verifies the streams that next hands out, until it has no more or a row differs.
func (v *Verification) batches(
	ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection,
	next func(pgx.Tx) ([]domain.StreamID, error),
) error {
	for more := true; more && v.First == nil; {
		err := glimpse(ctx, conn, p, func(tx pgx.Tx, live mark) error {
			streams, err := next(tx)
			if err != nil {
				return err
			}
			n, found, stopped, err := divergences(ctx, tx, ledger, p, live.At, streams)
			if err != nil {
				return err
			}
			v.StoppedStreams += int64(len(stopped))
			v.Stopped = append(v.Stopped, stopped[:min(len(stopped), stoppedFew-len(v.Stopped))]...)
			if len(found) > 0 {
				v.First = &found[0]
				err = v.First.explain(ctx, tx, ledger, p, live.At)
			}
			v.At, v.Streams, v.Rows, more = live.At, v.Streams+int64(len(streams)), v.Rows+
				n, len(streams) == verifyBatch
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// VersionError says that a table was made by another version of its projection.
type VersionError struct {
	Table        string
	Stored, Ours int
}

func (e VersionError) Error() string {
	return fmt.Sprintf("readmodel.%s was made by version %d of the projection and this program has version %d: run "+
		"`chatledger rebuild %s`, or the other program",
		e.Table, e.Stored, e.Ours, e.Table)
}

// glimpse reads the state of the live table, as made by our version, and the ledger as of one moment.
func glimpse(ctx context.Context, conn *pgx.Conn, p projections.Projection, look func(pgx.Tx, mark) error) error {
	return snapshot(ctx, conn, p, func(tx pgx.Tx, live mark) error {
		if live.Version != p.Version() {
			return VersionError{p.Name(), live.Version, p.Version()}
		}
		return look(tx, live)
	})
}

// snapshot reads the state of the live table and the ledger as of one moment. It takes no
// transaction id, so only a swap of the table waits for it.
func snapshot(
	ctx context.Context, conn *pgx.Conn, p projections.Projection, look func(tx pgx.Tx, live mark) error,
) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
		func(tx pgx.Tx) error {
			// Locked before the snapshot is taken: a table that a rebuild puts in place
			// afterwards would look empty in it.
			_, err := tx.Exec(ctx,
				`set local search_path = readmodel; lock table `+namesOf(p).live+` in access share mode`)
			if err != nil {
				return err
			}
			live, err := markOf(ctx, tx, p, p.Name(), "")
			if err != nil {
				return err
			}
			return look(tx, live)
		})
}

// stranger finds a row of a stream that does not exist, which a comparison stream by
// stream does not find.
func stranger(
	ctx context.Context, tx pgx.Tx, ledger Ledger, p projections.Projection, at domain.Position,
) (*Divergence, error) {
	var stream domain.StreamID
	err := tx.QueryRow(ctx, `
		select t.stream_id from `+namesOf(p).live+` t
		where not exists (select from eventstore.streams s where s.stream_id = t.stream_id)
		order by 1 limit 1`).Scan(&stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, found, _, err := divergences(ctx, tx, ledger, p, at, []domain.StreamID{stream})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}
