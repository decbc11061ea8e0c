package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/importer"
	"github.com/chatledger/chatledger/cmd/internal/admin/progress"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	// BatchEvents and batchBytes limit a batch: one transaction; two batches are in memory.
	BatchEvents = 5000
	batchBytes  = 8 << 20
	// unansweredListed is how many unanswered messages are listed one by one.
	unansweredListed = 20
)

// Import is the settings of an import.
type Import struct {
	From       string         // a directory, or Standard
	Format     archive.Format // only with Standard
	Incomplete bool           // also import an archive whose export did not reach its end
	// Policies are the consumer groups that act on events and do not only fold them. The
	// import moves their checkpoints past all that it stores.
	Policies []string
	Now      func() time.Time
}

// Run fills a store with the events of an archive. It sends nothing. connect opens the
// store once the archive itself is found to be readable.
func (x Import) Run(
	ctx context.Context, connect func(context.Context) (*eventstore.Store, error), out, errOut io.Writer,
) error {
	return Interrupted(ctx, x.run(&importRun{ctx: ctx, now: x.Now, out: out, errOut: errOut}, connect))
}

func (x Import) run(i *importRun, connect func(context.Context) (*eventstore.Store, error)) error {
	verify, err := x.open(i)
	if err != nil {
		return err
	}
	defer i.from.Close()
	if i.store, err = connect(i.ctx); err != nil {
		return err
	}
	defer i.store.Close()
	if i.into, err = importer.Start(i.ctx, i.store, x.Policies); err != nil {
		return err
	}
	defer i.into.Close()
	if err := verify(); err != nil {
		return err
	}
	return i.run()
}

// open opens the source. verify checks, before anything is stored, that an archive is
// complete and undamaged.
func (x Import) open(i *importRun) (verify func() error, err error) {
	if x.From == Standard {
		if i.from, err = archive.ReadStream(x.Format, standardInput(i.ctx)); err != nil {
			return nil, fmt.Errorf("--format: %w", err)
		}
		return func() error { return nil }, nil
	}
	if x.Format != "" {
		return nil, errors.New("--format needs --from -: an archive names its own format")
	}
	a, err := archive.Open(x.From)
	if err != nil {
		return nil, err
	}
	m := a.Manifest
	if !m.Complete && !x.Incomplete {
		return nil, fmt.Errorf("archive %s: its export did not come to its end: run the export again,"+
			" or import what is there with --incomplete", x.From)
	}
	if i.from, i.total = a.Reader(), m.Events; m.AnsweredTo != nil {
		i.left.AnsweredTo = &m.AnsweredTo.Position
	}
	return func() error { return a.Verify(i.ctx, progress.NewCounter(i.errOut, "checked", m.Events).Add) }, nil
}

// standardInput returns standard input until ctx ends. Nothing else ends a read that waits
// for more input; the goroutine that waits ends with the process.
func standardInput(ctx context.Context) io.Reader {
	in, out := io.Pipe()
	go func() {
		_, err := io.Copy(out, os.Stdin)
		out.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	return in
}

// importRun is an import in progress.
type importRun struct {
	ctx         context.Context
	now         func() time.Time
	out, errOut io.Writer
	from        *archive.Reader
	total       int64 // events in the archive; 0 when it is unknown
	store       *eventstore.Store
	into        *importer.Import
	left        commands.Unfinished
}

func (i *importRun) run() error {
	known, more, err := i.compare()
	if err != nil {
		return err
	}
	shown := progress.NewCounter(i.errOut, "imported", i.total-known)
	if more {
		if err := i.add(shown); err != nil {
			return err
		}
	}
	if shown.Events() == 0 {
		fmt.Fprintf(i.out, "nothing to import: all %d events are stored\n", known)
		return nil
	}
	fmt.Fprintf(i.out, "%s; %d were stored already\n", shown, known)
	i.report()
	return nil
}

// next reads an event, and checks that this program can decode it.
func (i *importRun) next() (domain.Stored, error) {
	s, err := i.from.Read()
	if err != nil {
		return s, err
	}
	r, err := eventstore.NewExporter(i.store).Decode(s)
	if err != nil {
		return s, fmt.Errorf("%v: %s version %d: %w", i.from.Where(), s.Stream, s.Version, err)
	}
	i.left.Add(r)
	return s, nil
}

// compare skips the events that an earlier run has stored. more is false when the store
// holds the whole archive, and perhaps later events.
func (i *importRun) compare() (known int64, more bool, err error) {
	for {
		page, err := i.into.Stored(i.ctx)
		if err != nil || len(page) == 0 {
			return known, true, err
		}
		for _, here := range page {
			s, err := i.next()
			if err == io.EOF {
				return known, false, nil
			}
			if err != nil {
				return known, false, err
			}
			if s.ID != here.ID || s.Stream != here.Stream || s.Version != here.Version {
				return known, false, fmt.Errorf("%v: %s version %d: the store holds another event in its place,"+
					" %s version %d: import into an empty store",
					i.from.Where(), s.Stream, s.Version, here.Stream, here.Version)
			}
			known++
		}
	}
}

// batch is the events that are stored in one transaction.
type batch struct {
	events []domain.Stored
	where  []archive.Where
	left   *importer.Left // what the whole archive leaves open; set in the last batch
}

// add stores the rest of the archive: it stores a batch while it reads the next.
func (i *importRun) add(shown *progress.Counter) error {
	both, ctx := errgroup.WithContext(i.ctx)
	batches := make(chan batch)
	both.Go(func() error {
		defer close(batches)
		return i.read(ctx, batches)
	})
	both.Go(func() error {
		for b := range batches {
			if err := i.storeBatch(b); err != nil {
				return err
			}
			shown.Add(int64(len(b.events)))
		}
		return nil
	})
	return both.Wait()
}

func (i *importRun) read(ctx context.Context, batches chan<- batch) error {
	var b batch
	send := func() error {
		select {
		case batches <- b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for size := 0; ; {
		s, err := i.next()
		switch {
		case err == io.EOF && len(b.events) == 0:
			return nil
		case err == io.EOF:
			b.left = &importer.Left{Effects: i.left.Effects(), Timed: i.left.Timed(), At: i.now()}
			return send()
		case err != nil:
			return err
		case len(b.events) == BatchEvents || size > batchBytes:
			if err := send(); err != nil {
				return err
			}
			b, size = batch{}, 0
		}
		b.events, b.where = append(b.events, s), append(b.where, i.from.Where())
		size += len(s.Payload) + len(s.Raw)
	}
}

// storeBatch stores a batch. The error for an event names its place in the archive.
func (i *importRun) storeBatch(b batch) error {
	err := i.into.Add(i.ctx, b.events, b.left)
	var misfit *importer.Misfit
	if errors.As(err, &misfit) {
		s := b.events[misfit.Event]
		return fmt.Errorf("%v: %s version %d: %w", b.where[misfit.Event], s.Stream, s.Version, misfit.Err)
	}
	return err
}

// report prints what the archive leaves open: nothing of it was sent.
func (i *importRun) report() {
	if n := len(i.left.Effects()); n > 0 {
		fmt.Fprintf(i.out, "%d effects have no outcome in the archive and were not sent:"+
			" `chatledger deliveries` lists them, and each waits for `retry` or `skip`\n", n)
	}
	if n := len(i.left.Timed()); n > 0 {
		fmt.Fprintf(i.out, "%d chats have a workflow or a ticket in progress: what is overdue at the next"+
			" `chatledger serve` ends without a message to the customer, and the rest continues\n", n)
	}
	if i.left.AnsweredTo == nil {
		fmt.Fprintln(
			i.out,
			"a stream does not say which messages the bot had not answered yet; this store answers none of them",
		)
	}
	unanswered := i.left.Unanswered()
	if len(unanswered) == 0 {
		return
	}
	fmt.Fprintf(i.out, "the bot had not come to %d messages; this store does not answer them:\n", len(unanswered))
	for _, u := range unanswered[:min(len(unanswered), unansweredListed)] {
		fmt.Fprintf(i.out, "  %s version %d\n", u.Stream, u.Version)
	}
	if more := len(unanswered) - unansweredListed; more > 0 {
		fmt.Fprintf(i.out, "  and %d more\n", more)
	}
}
