// Package recording makes test fixtures of the updates in a ledger. A fixture keeps the shape
// of an update and replaces everything that is about a person.
package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telegram/fixture"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/domain"
)

// Recording writes fixtures into a folder: one file for each shape of update that the folder
// does not have yet.
type Recording struct {
	Maker *fixture.Maker
	Dir   string
	Bot   string // when not empty, only updates of this bot count

	at             domain.Position
	updates, files int
	tooLarge       int // updates that Telegram would not send
}

// maxFiles is how many files a run makes: Telegram's updates have some hundred shapes.
const maxFiles = 5000

var errTooMany = fmt.Errorf(
	"%d new files were made, and there are more shapes: these updates are not Telegram's", maxFiles)

// pollEvery is how often Follow looks for new events.
const pollEvery = time.Second

// Run makes fixtures of the updates that are stored now, and prints how many.
func (r *Recording) Run(ctx context.Context, store *eventstore.Store, out io.Writer) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	if err := r.catchUp(ctx, store); err != nil {
		return err
	}
	r.summarize(out)
	return nil
}

func (r *Recording) summarize(out io.Writer) {
	fmt.Fprintf(out, "%d updates, %d new files in %s\n", r.updates, r.files, r.Dir)
	if r.tooLarge > 0 {
		fmt.Fprintf(out, "%d updates left out: too large or nested too deeply\n", r.tooLarge)
	}
}

// Follow makes fixtures of the updates that are stored now and of those that come, until ctx
// ends. Then it prints how many.
func (r *Recording) Follow(ctx context.Context, store *eventstore.Store, out io.Writer) error {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	for {
		if err := r.catchUp(ctx, store); err != nil && ctx.Err() == nil {
			return err
		}
		if wait.For(ctx, pollEvery) != nil {
			r.summarize(out)
			return nil
		}
	}
}

// catchUp reads the feed up to its present end.
func (r *Recording) catchUp(ctx context.Context, store *eventstore.Store) error {
	extent, err := eventstore.NewExporter(store).Extent(ctx, "")
	if err != nil {
		return err
	}
	for {
		page, err := eventstore.NewExporter(store).Read(ctx, r.at, extent.End)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, event := range page {
			r.at = event.Position
			if r.Bot != "" && event.Stream.Bot() != r.Bot {
				continue
			}
			if err := r.keep(event); err != nil {
				return fmt.Errorf("event %s: %w", event.Position, err)
			}
		}
	}
}

// keep writes the fixture of an event's update. It writes none when the event has no update,
// the update has been removed, or its shape is known.
func (r *Recording) keep(event domain.Stored) error {
	raw, err := eventstore.Update(event)
	if err != nil || raw == nil {
		return err
	}
	made, err := r.Maker.Make(raw)
	if errors.Is(err, fixture.ErrNoUpdate) {
		return nil // retention has removed it, or it is not from Telegram
	}
	if errors.Is(err, fixture.ErrTooLarge) {
		r.tooLarge++
		return nil
	}
	if err != nil {
		return err
	}
	r.updates++
	if r.files == maxFiles {
		return errTooMany
	}
	// O_EXCL: an operator may have edited the file that is there.
	file, err := os.OpenFile(filepath.Join(r.Dir, made.Shape+".json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.files++
	_, err = file.Write(made.Body)
	return errors.Join(err, file.Close())
}
