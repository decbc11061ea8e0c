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
	// Feed reads up to limit events after a position, in feed order. If only is given, events of other
	// types have no Event. An event that cannot be decoded is Unreadable. The page ends before limit
	// if it has many bytes. more reports whether there may be events after it.
	Feed(
		ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event,
	) (page []domain.Recorded, more bool, err error)
	// Streams lists up to limit streams after the given one, in the order of their ids.
	Streams(ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// Sample picks up to n different streams at random.
	Sample(ctx context.Context, tx pgx.Tx, n int) ([]domain.StreamID, error)
	// Replay calls take for all events of these streams up to a position: stream by stream in the order
	// of their ids, oldest event first. It uses the transaction's connection until it returns. An event
	// that cannot be decoded is Unreadable.
	Replay(
		ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position,
		take func(domain.Recorded) error,
	) error
	// Name returns the stored name of an event.
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
	First         *Divergence     // nil if all rows are what the events lead to
	// Stopped are the first of the streams that were not compared, or not up to their ends, because
	// an event cannot be folded; StoppedStreams counts them all.
	Stopped        []Stopped
	StoppedStreams int64
}

// verifyBatch is how many streams are compared at once. With some 50 events each, a batch takes
// milliseconds.
const verifyBatch = 500

// Verify folds every stream again and compares the result with the table, while reading and writing
// continue. It stops at the first row that differs. It reports a stream with an event that cannot be
// folded, and goes on with the next stream. It returns a VersionError for a table that another version
// of the projection made.
//
// Streams are compared in batches, each in a snapshot of its own. So no snapshot is held for long, and
// a rebuild may swap the table between two batches.
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
		err = snapshotOfVersion(ctx, conn, p, func(tx pgx.Tx, live mark) error {
			v.First, err = withoutStream(ctx, tx, ledger, p, live.At)
			return err
		})
	}
	if err != nil {
		return v, fmt.Errorf("verify %s: %w", p.Name(), err)
	}
	return v, nil
}

// VerifySample is Verify for n streams picked at random. It does not look for rows of streams that do
// not exist.
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

// batches verifies the streams that next returns, until it returns no more or a row differs.
func (v *Verification) batches(
	ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection,
	next func(pgx.Tx) ([]domain.StreamID, error),
) error {
	for more := true; more && v.First == nil; {
		err := snapshotOfVersion(ctx, conn, p, func(tx pgx.Tx, live mark) error {
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
			v.At, v.Streams, v.Rows = live.At, v.Streams+int64(len(streams)), v.Rows+n
			more = len(streams) == verifyBatch
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
	return fmt.Sprintf("readmodel.%s was made by version %d of the projection and this program has version %d: "+
		"run `chatledger rebuild %s`, or the other program",
		e.Table, e.Stored, e.Ours, e.Table)
}

// snapshotOfVersion is snapshot for a table that this version of the projection made. It returns a
// VersionError for another.
func snapshotOfVersion(
	ctx context.Context, conn *pgx.Conn, p projections.Projection, look func(pgx.Tx, mark) error,
) error {
	return snapshot(ctx, conn, p, func(tx pgx.Tx, live mark) error {
		if live.Version != p.Version() {
			return VersionError{p.Name(), live.Version, p.Version()}
		}
		return look(tx, live)
	})
}

// snapshot calls look in a transaction that sees the live table and the ledger as of one moment. It
// takes no transaction id, so only a swap of the table waits for it.
func snapshot(
	ctx context.Context, conn *pgx.Conn, p projections.Projection, look func(tx pgx.Tx, live mark) error,
) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
		func(tx pgx.Tx) error {
			// The lock comes before the snapshot: a table that a rebuild swaps in after the snapshot
			// would look empty in it.
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

// withoutStream finds a row of a stream that does not exist. A comparison stream by stream cannot
// find it.
func withoutStream(
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
