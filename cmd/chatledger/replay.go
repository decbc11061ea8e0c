package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/cmd/internal/admin/replay"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands/whatif"
	"github.com/chatledger/chatledger/domain"
)

type replayCmd struct {
	database
	Sandbox bool   `help:"${replay_sandbox}"`
	Bots    string `env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"${replay_bots}"`
	Bot     string `xor:"which" placeholder:"NAME" help:"Replay the chats of one bot."`
	Stream  string `xor:"which" placeholder:"ID" help:"Replay one chat, for example demo:42."`
	Since   string `placeholder:"TIME" help:"${replay_since}"`
	Limit   int    `placeholder:"N" help:"Replay at most this many chats."`
	JSON    bool   `name:"json" help:"Print one JSON object a line: the differences, then the summary."`
	Keep    bool   `help:"Keep the schema with the read-model tables of the replay, and print its name."`
}

// replayHelp has the help texts of the flags above, by the names that the tags use.
var replayHelp = kong.Vars{
	"replay_sandbox": "Required: confirms that chats are decided again in a temporary schema and that nothing is sent.",
	"replay_bots": "Decide with the settings in this bots file, and replay its bots. Without it, replay all bots " +
		"with the effects that their settings had then.",
	"replay_since": "Decide only what was recorded since this time, given as 2026-01-31T12:00:00Z; the state before " +
		"it is the recorded one.",
}

// Run decides recorded chats again and reports what differs; a difference is an error.
func (c *replayCmd) Run(e *env) error {
	if !c.Sandbox {
		return errors.New("give --sandbox: a replay decides recorded chats again in a temporary schema and sends nothing;" +
			" there is no other kind")
	}
	r, err := c.prepare(e)
	if err != nil {
		return err
	}
	store, conn, closeBoth, err := openSession(e.ctx, c.database, "replay")
	if err != nil {
		return err
	}
	defer closeBoth()
	return r.Run(e.ctx, store, conn)
}

// prepare checks the flags and reads the settings.
func (c *replayCmd) prepare(e *env) (*replay.Replay, error) {
	shop, err := config.ShopKnowledge()
	if err != nil {
		return nil, err
	}
	r := &replay.Replay{
		Bots: []string{c.Bot}, Stream: domain.NamedStream(c.Stream), Limit: c.Limit, JSON: c.JSON, Keep: c.Keep,
		Settings:  func(bot string) whatif.Settings { return replay.AsRecorded(bot, shop) },
		Responder: server.Responder, Out: e.stdout, ErrOut: e.stderr,
	}
	if c.Since != "" {
		if r.Since, err = time.Parse(time.RFC3339, c.Since); err != nil {
			return nil, fmt.Errorf("--since %q: write it as 2026-01-31T12:00:00Z", c.Since)
		}
	}
	if _, inChat := r.Stream.Chat(); r.Stream != "" && !inChat {
		return nil, fmt.Errorf("--stream %q is not a chat: write <bot>:<chat id>, for example demo:42", c.Stream)
	}
	if c.Bots == "" {
		return r, nil
	}
	bots, err := config.ReadSettings(c.Bots)
	if err != nil {
		return nil, err
	}
	byBot := map[string]whatif.Settings{}
	for name, b := range bots {
		if byBot[name], err = replay.SettingsOf(name, b, e.log); err != nil {
			return nil, fmt.Errorf("bots file %s: bot %s: %w", c.Bots, name, err)
		}
	}
	r.Settings = func(bot string) whatif.Settings { return byBot[bot] }
	switch one := cmp.Or(c.Bot, r.Stream.Bot()); {
	case one == "":
		r.Bots = slices.Sorted(maps.Keys(byBot))
	case byBot[one].Translate == nil:
		return nil, fmt.Errorf("bots file %s has no bot %s", c.Bots, one)
	}
	return r, nil
}
