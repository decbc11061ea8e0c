package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telegram/fixture"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/wait"
	"github.com/chatledger/chatledger/domain"
)

type recordCmd struct {
	database
	Out    string `required:"" placeholder:"DIR" help:"Where the files go: one for each shape of update that is not there yet."`
	Bot    string `placeholder:"NAME" help:"Of this bot alone."`
	Key    string `placeholder:"env:NAME|file:PATH" help:"What replacements depend on, 16 bytes at least; without it each run has its own."`
	Follow bool   `help:"Go on with what comes in, until stopped."`
}

const (
	// leastKey is what nobody guesses, in bytes.
	leastKey = 16
	// recordEvery is how often --follow looks for more.
	recordEvery = time.Second
)

// Run makes fixtures of stored updates, oldest first.
func (c *recordCmd) Run(e *env) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	r := recording{maker: fixture.New(key), dir: c.Out, bot: c.Bot}
	for {
		if err := r.catchUp(e, store); err != nil {
			return err
		}
		if !c.Follow {
			break
		}
		if wait.For(e.ctx, recordEvery) != nil {
			return nil
		}
	}
	fmt.Fprintf(e.stdout, "%d updates, %d new files in %s\n", r.updates, r.files, c.Out)
	return nil
}

// key is what was given, or one that is forgotten with the run.
func (c *recordCmd) key() ([]byte, error) {
	if c.Key == "" {
		key := make([]byte, leastKey)
		rand.Read(key) // it never fails
		return key, nil
	}
	if !strings.HasPrefix(c.Key, "env:") && !strings.HasPrefix(c.Key, "file:") {
		return nil, errors.New("--key: give env:NAME or file:PATH; what stands in a command line is no secret")
	}
	key, err := config.Resolve(c.Key)
	if err == nil && len(key) < leastKey {
		err = fmt.Errorf("it has %d bytes; %d are the least", len(key), leastKey)
	}
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return []byte(key), nil
}

// recording is how far a run has come.
type recording struct {
	maker          *fixture.Maker
	dir, bot       string
	at             domain.Position
	updates, files int
}

// catchUp goes through the feed to where it ends now.
func (r *recording) catchUp(e *env, store *eventstore.Store) error {
	extent, err := eventstore.NewExporter(store).Extent(e.ctx, "")
	if err != nil {
		return err
	}
	for {
		page, err := eventstore.NewExporter(store).Read(e.ctx, r.at, extent.End)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, event := range page {
			r.at = event.Position
			if r.bot != "" && event.Stream.Bot() != r.bot {
				continue
			}
			if err := r.keep(event); err != nil {
				return fmt.Errorf("event %s: %w", event.Position, err)
			}
		}
	}
}

// keep writes the fixture of an event's update, if it has one that is still there, of a
// shape that is new.
func (r *recording) keep(event domain.Stored) error {
	raw, err := eventstore.Update(event)
	if err != nil || raw == nil {
		return err
	}
	made, err := r.maker.Make(raw)
	if errors.Is(err, fixture.ErrNoUpdate) {
		return nil // removed when it was old enough, or not Telegram's
	}
	if err != nil {
		return err
	}
	r.updates++
	// Never over a file that is there: somebody may have changed it.
	file, err := os.OpenFile(filepath.Join(r.dir, made.Shape+".json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
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
