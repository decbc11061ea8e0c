package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

type importCmd struct {
	database
	From       string         `required:"" placeholder:"DIR" help:"Directory with an archive; - reads one stream from stdin."`
	Format     archive.Format `placeholder:"NAME" help:"With --from -: ndjson or cloudevents."`
	Incomplete bool           `help:"Import also an archive whose export did not come to its end, as far as it goes."`
}

const (
	// A batch is one transaction, and twice that is in memory. It ends at whichever comes first.
	batchEvents = 5000
	batchBytes  = 8 << 20
	// toldUnanswered is how many unanswered messages are told one by one.
	toldUnanswered = 20
)

// policies are the groups that act upon events, and not only fold them: an import
// takes them past what it brings along.
var policies = []string{"deliveries", responder}

// Run fills a store with the events of an archive. Nothing is sent.
func (c *importCmd) Run(e *env) error { return interrupted(e.ctx, c.fill(&intake{env: e})) }

func (c *importCmd) fill(i *intake) error {
	verify, err := c.open(i)
	if err != nil {
		return err
	}
	defer i.from.Close()
	if i.codec, err = openStore(i.ctx, c.database); err != nil {
		return err
	}
	defer i.codec.Close()
	if i.into, err = i.codec.StartImport(i.ctx, policies); err != nil {
		return err
	}
	defer i.into.Close()
	if err := verify(); err != nil {
		return err
	}
	return i.run()
}

// open opens what is imported. verify makes sure, before anything is stored, that an
// archive is whole and undamaged.
func (c *importCmd) open(i *intake) (verify func() error, err error) {
	if c.From == standard {
		if i.from, err = archive.ReadStream(c.Format, standardInput(i.ctx)); err != nil {
			return nil, fmt.Errorf("--format: %w", err)
		}
		return func() error { return nil }, nil
	}
	if c.Format != "" {
		return nil, errors.New("--format goes with --from -: an archive knows its own")
	}
	a, err := archive.Open(c.From)
	if err != nil {
		return nil, err
	}
	m := a.Manifest
	if !m.Complete && !c.Incomplete {
		return nil, fmt.Errorf("archive %s: its export did not come to its end: run it again, or import what is there with --incomplete", c.From)
	}
	if i.from, i.total = a.Reader(), m.Events; m.AnsweredTo != nil {
		i.left.AnsweredTo = &m.AnsweredTo.Position
	}
	return func() error { return a.Verify(i.ctx, newPace(i.stderr, "checked", m.Events).add) }, nil
}

// standardInput is standard input until ctx ends. Nothing else ends a read that waits for
// more; what is left waiting ends with the process.
func standardInput(ctx context.Context) io.Reader {
	in, out := io.Pipe()
	go func() {
		_, err := io.Copy(out, os.Stdin)
		out.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(context.Cause(ctx)) })
	return in
}

// intake is an import that is under way.
type intake struct {
	*env
	from  *archive.Reader
	total int64 // events in the archive; 0 when that is not known
	codec *postgres.Store
	into  *postgres.Import
	left  commands.Unfinished
}

func (i *intake) run() error {
	known, more, err := i.compare()
	if err != nil {
		return err
	}
	shown := newPace(i.stderr, "imported", i.total-known)
	if more {
		if err := i.add(shown); err != nil {
			return err
		}
	}
	if shown.events == 0 {
		fmt.Fprintf(i.stdout, "nothing to import: all %d events are stored\n", known)
		return nil
	}
	fmt.Fprintf(i.stdout, "%s; %d were stored already\n", shown, known)
	i.report()
	return nil
}

// next reads an event that this program can read, too.
func (i *intake) next() (domain.Stored, error) {
	s, err := i.from.Read()
	if err != nil {
		return s, err
	}
	r, err := i.codec.Decode(s)
	if err != nil {
		return s, fmt.Errorf("%v: %s version %d: %w", i.from.Where(), s.Stream, s.Version, err)
	}
	i.left.Follow(r)
	return s, nil
}

// compare passes over what an earlier run has stored. more is false when the store holds
// all of the archive, and perhaps what came later.
func (i *intake) compare() (known int64, more bool, err error) {
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
				return known, false, fmt.Errorf("%v: %s version %d: the store holds another event in its place, %s version %d: import into an empty store",
					i.from.Where(), s.Stream, s.Version, here.Stream, here.Version)
			}
			known++
		}
	}
}

// batch is what is stored in one transaction.
type batch struct {
	events []domain.Stored
	where  []archive.Where
	left   *postgres.Left // by the whole archive; of the last batch
}

// add stores the rest of the archive, a batch while the next is read.
func (i *intake) add(shown *pace) error {
	both, ctx := errgroup.WithContext(i.ctx)
	batches := make(chan batch)
	both.Go(func() error {
		defer close(batches)
		return i.read(ctx, batches)
	})
	both.Go(func() error {
		for b := range batches {
			if err := i.store(b); err != nil {
				return err
			}
			shown.add(int64(len(b.events)))
		}
		return nil
	})
	return both.Wait()
}

func (i *intake) read(ctx context.Context, batches chan<- batch) error {
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
			b.left = &postgres.Left{Effects: i.left.Effects(), Timed: i.left.Timed(), At: i.now()}
			return send()
		case err != nil:
			return err
		case len(b.events) == batchEvents || size > batchBytes:
			if err := send(); err != nil {
				return err
			}
			b, size = batch{}, 0
		}
		b.events, b.where = append(b.events, s), append(b.where, i.from.Where())
		size += len(s.Payload) + len(s.Raw)
	}
}

// store stores a batch; a mistake in an event is told with its place.
func (i *intake) store(b batch) error {
	err := i.into.Add(i.ctx, b.events, b.left)
	var misfit *postgres.Misfit
	if errors.As(err, &misfit) {
		s := b.events[misfit.Event]
		return fmt.Errorf("%v: %s version %d: %w", b.where[misfit.Event], s.Stream, s.Version, misfit.Err)
	}
	return err
}

// report tells what the archive leaves open: nothing of it was sent.
func (i *intake) report() {
	if n := len(i.left.Effects()); n > 0 {
		fmt.Fprintf(i.stdout, "%d effects have no outcome in the archive and were not sent: `chatledger deliveries` shows them, and each waits for `retry` or `skip`\n", n)
	}
	if n := len(i.left.Timed()); n > 0 {
		fmt.Fprintf(i.stdout, "in %d chats something runs or is open: what is overdue by the next `chatledger serve` ends there without a word, and the rest goes on\n", n)
	}
	if i.left.AnsweredTo == nil {
		fmt.Fprintln(i.stdout, "a stream does not tell which messages the bot had yet to answer; none is answered from here")
	}
	unanswered := i.left.Unanswered()
	if len(unanswered) == 0 {
		return
	}
	fmt.Fprintf(i.stdout, "%d messages had not had the bot's turn and get no answer from here:\n", len(unanswered))
	for _, u := range unanswered[:min(len(unanswered), toldUnanswered)] {
		fmt.Fprintf(i.stdout, "  %s version %d\n", u.Stream, u.Version)
	}
	if more := len(unanswered) - toldUnanswered; more > 0 {
		fmt.Fprintf(i.stdout, "  and %d more\n", more)
	}
}
