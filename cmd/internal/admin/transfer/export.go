// Package transfer moves a ledger out of a store and into another: it exports the events to an
// archive or a stream, and imports them from there. An import sends nothing.
package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/admin/inspect"
	"github.com/chatledger/chatledger/cmd/internal/admin/progress"
	"github.com/chatledger/chatledger/domain"
)

// Standard stands for standard input or output in the place of a directory.
const Standard = "-"

const (
	// settleTimeout limits how long an export waits for transactions that were open when it
	// began. A write takes milliseconds; an export does not wait for a longer one.
	settleTimeout = 10 * time.Second
	// settlePoll is how often it looks meanwhile.
	settlePoll = 20 * time.Millisecond
	// streamBuffer is how many bytes are written to standard output at once.
	streamBuffer = 64 << 10
)

// Export is the settings of an export.
type Export struct {
	To         string         // a directory, or Standard
	Format     archive.Format // empty for the archive's own format, or ndjson
	After      string         // position; only with Standard
	PartEvents int64          // events in one file; 0 for the default
	Responder  string         // the consumer group that answers messages; the archive notes its checkpoint
}

// Check reports settings that contradict each other.
func (x Export) Check() error {
	if x.PartEvents < 0 {
		return errors.New("--part-events must be at least 1")
	}
	if x.After != "" && x.To != Standard {
		return errors.New("--after needs --to -: an archive continues after its last event by itself")
	}
	return nil
}

// Run writes the events that are stored now, in feed order. Events go to out when x.To is
// Standard, and progress goes to errOut.
func (x Export) Run(ctx context.Context, store *eventstore.Store, out, errOut io.Writer) error {
	if x.To == Standard {
		return Interrupted(ctx, x.stream(ctx, store, out, errOut))
	}
	return Interrupted(ctx, x.directory(ctx, store, out, errOut))
}

// Interrupted turns a stop in the middle into a failure, so that nobody takes a part of the
// events for all of them.
func Interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted before the end: run the command again to continue")
	}
	return err
}

// directory starts an archive, or continues one.
func (x Export) directory(ctx context.Context, store *eventstore.Store, out, errOut io.Writer) error {
	dir, err := filepath.Abs(x.To)
	if err != nil {
		return err
	}
	release, err := eventstore.NewExporter(store).LockArchive(ctx, dir)
	if err != nil {
		return err
	}
	defer release()
	to, err := archive.Begin(dir, x.Format, x.PartEvents)
	if err != nil {
		return err
	}
	defer to.Close()
	var after domain.Position
	for _, place := range []*archive.Place{to.Manifest.First, to.Manifest.Last} {
		if place == nil {
			continue
		}
		if err := checkSameStore(ctx, store, *place); err != nil {
			return fmt.Errorf("archive %s: %w", dir, err)
		}
		after = place.Position.Position
	}
	extent, err := eventstore.NewExporter(store).Extent(ctx, x.Responder)
	if err != nil {
		return err
	}
	to.Manifest.AnsweredTo = &archive.Position{Position: extent.AnsweredTo}
	shown := progress.NewCounter(errOut, "exported", 0)
	err = exportFeed(ctx, store, after, extent.End, shown, to.Write)
	if err == nil || errors.Is(err, errOpenTransaction) {
		err = errors.Join(err, to.End(err == nil))
	}
	fmt.Fprintf(out, "%s; the archive holds %d events of %d streams in %d files\n",
		shown, to.Manifest.Events, to.Manifest.Streams, len(to.Manifest.Parts))
	return err
}

// checkSameStore fails when the event of an archive is not an event of this store.
func checkSameStore(ctx context.Context, store *eventstore.Store, p archive.Place) error {
	here, err := eventstore.NewExporter(store).EventAt(ctx, p.Position.Position)
	if err == nil && here != p.EventID {
		err = fmt.Errorf("the archive is from another store: it holds event %s at position %v, which this store does not:"+
			" export to another directory", p.EventID, p.Position)
	}
	return err
}

// stream writes to standard output.
func (x Export) stream(ctx context.Context, store *eventstore.Store, out, errOut io.Writer) error {
	var after domain.Position
	var err error
	if x.After != "" {
		if after, err = inspect.ParsePosition(x.After); err != nil {
			return fmt.Errorf("--after: %w", err)
		}
	}
	buffer := bufio.NewWriterSize(out, streamBuffer)
	to, err := archive.NewStream(x.Format, buffer)
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	extent, err := eventstore.NewExporter(store).Extent(ctx, x.Responder)
	if err != nil {
		return err
	}
	shown := progress.NewCounter(errOut, "exported", 0)
	err = errors.Join(exportFeed(ctx, store, after, extent.End, shown, to.Write), to.Close(), buffer.Flush())
	fmt.Fprintln(errOut, shown)
	return err
}

// errOpenTransaction means that the export stopped before the end; all it wrote is right.
var errOpenTransaction = errors.New(
	"newer events stand behind an open write: end it, and run the export again to continue",
)

// openTransaction names the transaction that an export cannot get past.
func openTransaction(ctx context.Context, store *eventstore.Store) error {
	w, found, err := health.Of(store.DB).OldestWriter(ctx)
	if err != nil || !found {
		return errors.Join(err, errOpenTransaction)
	}
	return fmt.Errorf("pid %d (%s) has written %s ago and not committed: %w",
		w.PID, w.Application, w.Age.Round(time.Second), errOpenTransaction)
}

// exportFeed passes the events between two positions to write, once all transactions before
// them have ended.
func exportFeed(
	ctx context.Context, store *eventstore.Store, after, upTo domain.Position,
	shown *progress.Counter, write func(domain.Stored) error,
) error {
	for read := time.Now(); after.Before(upTo); {
		page, err := eventstore.NewExporter(store).Read(ctx, after, upTo)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if time.Since(read) > settleTimeout {
				return openTransaction(ctx, store)
			}
			if err := wait.For(ctx, settlePoll); err != nil {
				return err
			}
			continue
		}
		for _, event := range page {
			if err := write(event); err != nil {
				return err
			}
		}
		after, read = page[len(page)-1].Position, time.Now()
		shown.Add(int64(len(page)))
	}
	return nil
}
