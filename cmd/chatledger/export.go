package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
)

type exportCmd struct {
	database
	To         string         `required:"" placeholder:"DIR" help:"A new directory, or one with an archive to go on with; - writes one stream to stdout."`
	Format     archive.Format `placeholder:"NAME" help:"ndjson, cloudevents or parquet; without it that of the archive, or ndjson."`
	After      string         `placeholder:"POSITION" help:"With --to -: begin behind <transaction>/<number>."`
	PartEvents int64          `placeholder:"N" help:"Events in one file; 50000 unless said otherwise."`
}

const (
	// standard stands for a directory where standard input or output is meant.
	standard = "-"
	// settlePatience is how long an export waits until what was stored when it began is
	// final: writes take milliseconds, and what takes longer is not waited for.
	settlePatience = 10 * time.Second
	settleLook     = 20 * time.Millisecond
	// streamBuffer is how much is written to standard output at once.
	streamBuffer = 64 << 10
)

// Run writes the events that are stored now, in feed order, as they are stored.
func (c *exportCmd) Run(e *env) error { return interrupted(e.ctx, c.export(e)) }

// interrupted makes a failure of being stopped in the middle: nobody is to take a part
// for the whole.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted before the end: run it again to go on")
	}
	return err
}

func (c *exportCmd) export(e *env) error {
	if c.PartEvents < 0 {
		return errors.New("--part-events: a file has at least one")
	}
	if c.After != "" && c.To != standard {
		return errors.New("--after goes with --to -: an archive goes on behind its last event by itself")
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.To == standard {
		return c.stream(e, store)
	}
	return c.directory(e, store)
}

// directory begins an archive or goes on with one.
func (c *exportCmd) directory(e *env, store *postgres.Store) error {
	dir, err := filepath.Abs(c.To)
	if err != nil {
		return err
	}
	release, err := store.HoldArchive(e.ctx, dir)
	if err != nil {
		return err
	}
	defer release()
	out, err := archive.Begin(dir, c.Format, c.PartEvents)
	if err != nil {
		return err
	}
	defer out.Close()
	var after domain.Position
	for _, place := range []*archive.Place{out.Manifest.First, out.Manifest.Last} {
		if place == nil {
			continue
		}
		if err := belongs(e.ctx, store, *place); err != nil {
			return fmt.Errorf("archive %s: %w", dir, err)
		}
		after = place.Position.Position
	}
	extent, err := store.Extent(e.ctx, responder)
	if err != nil {
		return err
	}
	out.Manifest.AnsweredTo = &archive.Position{Position: extent.AnsweredTo}
	shown := newPace(e.stderr, "exported", 0)
	err = exportFeed(e.ctx, store, after, extent.End, shown, out.Write)
	if err == nil || errors.Is(err, errOpenWrite) {
		err = errors.Join(err, out.End(err == nil))
	}
	fmt.Fprintf(e.stdout, "%s; the archive holds %d events of %d streams in %d files\n", shown, out.Manifest.Events, out.Manifest.Streams, len(out.Manifest.Parts))
	return err
}

// belongs refuses to mix the events of two stores.
func belongs(ctx context.Context, store *postgres.Store, p archive.Place) error {
	here, err := store.EventAt(ctx, p.Position.Position)
	if err == nil && here != p.EventID {
		err = fmt.Errorf("it is of another store: it holds event %s at position %v, which this store does not: export to another directory", p.EventID, p.Position)
	}
	return err
}

// stream writes to standard output.
func (c *exportCmd) stream(e *env, store *postgres.Store) error {
	var after domain.Position
	var err error
	if c.After != "" {
		if after, err = parsePosition(c.After); err != nil {
			return fmt.Errorf("--after: %w", err)
		}
	}
	buffer := bufio.NewWriterSize(e.stdout, streamBuffer)
	out, err := archive.NewStream(c.Format, buffer)
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	extent, err := store.Extent(e.ctx, responder)
	if err != nil {
		return err
	}
	shown := newPace(e.stderr, "exported", 0)
	err = errors.Join(exportFeed(e.ctx, store, after, extent.End, shown, out.Write), out.Close(), buffer.Flush())
	fmt.Fprintln(e.stderr, shown)
	return err
}

// errOpenWrite says that the end was not reached, and that all before it is right.
var errOpenWrite = errors.New("newer events stand behind an open write: end it, and run the export again to go on")

// openWrite names who is in the way.
func openWrite(ctx context.Context, store *postgres.Store) error {
	w, found, err := store.OldestWriter(ctx)
	if err != nil || !found {
		return errors.Join(err, errOpenWrite)
	}
	return fmt.Errorf("pid %d (%s) has written %s ago and not committed: %w", w.PID, w.Application, w.Age.Round(time.Second), errOpenWrite)
}

// exportFeed hands the events between two positions to write, when they are final.
func exportFeed(ctx context.Context, store *postgres.Store, after, upTo domain.Position, shown *pace, write func(domain.Stored) error) error {
	for read := time.Now(); after.Before(upTo); {
		page, err := store.ReadStored(ctx, after, upTo)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if time.Since(read) > settlePatience {
				return openWrite(ctx, store)
			}
			if err := pause(ctx, settleLook); err != nil {
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
		shown.add(int64(len(page)))
	}
	return nil
}

// pace tells every lineEvery how many events are done, and how fast.
type pace struct {
	out         io.Writer
	done        string // what is
	events      int64
	total       int64 // 0 when it is not known
	begun, told time.Time
}

func newPace(out io.Writer, done string, total int64) *pace {
	return &pace{out: out, done: done, total: total, begun: time.Now(), told: time.Now()}
}

func (p *pace) add(events int64) {
	p.events += events
	if time.Since(p.told) >= lineEvery {
		p.told = time.Now()
		fmt.Fprintln(p.out, p)
	}
}

func (p *pace) String() string {
	took := time.Since(p.begun)
	rate := float64(p.events) / took.Seconds()
	if p.total > p.events && p.events > 0 {
		left := time.Duration(float64(p.total-p.events) / rate * float64(time.Second))
		return fmt.Sprintf("%s %d of %d events, %.0f/s, %s left", p.done, p.events, p.total, rate, left.Round(time.Second))
	}
	return fmt.Sprintf("%s %d events in %s, %.0f/s", p.done, p.events, took.Round(time.Millisecond), rate)
}
