package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/adapters/telegram/fixture"
	"github.com/chatledger/chatledger/cmd/internal/admin/recording"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

type recordCmd struct {
	database
	Out    string `required:"" placeholder:"DIR" help:"The folder for the fixtures, one for each shape of update."`
	Bot    string `placeholder:"NAME" help:"Only record updates of this bot."`
	Key    string `placeholder:"env:NAME|file:PATH" help:"${record_key}"`
	Follow bool   `help:"Also record new updates, until stopped."`
}

// recordHelp has the help text of --key.
var recordHelp = kong.Vars{
	"record_key": "The secret that determines the replacements, at least 16 bytes. Without it, each run uses a " +
		"random one.",
}

// minKey is the length of a key that cannot be guessed, in bytes.
const minKey = 16

// Run makes fixtures of stored updates, oldest first.
func (c *recordCmd) Run(e *env) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	r := recording.Recording{Maker: fixture.New(key), Dir: c.Out, Bot: c.Bot}
	if c.Follow {
		return r.Follow(e.ctx, store, e.stdout)
	}
	return r.Run(e.ctx, store, e.stdout)
}

// key returns the key given, or a random one.
func (c *recordCmd) key() ([]byte, error) {
	if c.Key == "" {
		key := make([]byte, minKey)
		rand.Read(key) // it never fails
		return key, nil
	}
	if !strings.HasPrefix(c.Key, "env:") && !strings.HasPrefix(c.Key, "file:") {
		return nil, errors.New("--key: give env:NAME or file:PATH; other users can read the command line")
	}
	key, err := config.Resolve(c.Key)
	if err == nil && len(key) < minKey {
		err = fmt.Errorf("the key has %d bytes; it needs at least %d", len(key), minKey)
	}
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return []byte(key), nil
}
