package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/cmd/internal/admin/replay"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/chat"
)

// botSettings names the bots file, for commands that decide something for a bot.
type botSettings struct {
	Bots string `env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"${bot_settings}"`
}

// botSettingsHelp has the help text of --bots.
var botSettingsHelp = kong.Vars{
	"bot_settings": "The bots file with business hours and workflows. Without it, those of the built-in shop are used.",
}

// settingsOf returns the settings that the decisions of each bot depend on.
func (c botSettings) settingsOf(e *env) (func(bot string) chat.Settings, error) {
	if c.Bots == "" {
		shop, err := config.ShopKnowledge()
		return func(string) chat.Settings { return chat.Settings{Knowledge: shop} }, err
	}
	bots, err := config.ReadSettings(c.Bots)
	if err != nil {
		return nil, err
	}
	all := map[string]chat.Settings{}
	for name, b := range bots {
		s, err := replay.SettingsOf(name, b, e.log)
		if err != nil {
			return nil, fmt.Errorf("bots file %s: bot %s: %w", c.Bots, name, err)
		}
		all[name] = s.With
	}
	return func(bot string) chat.Settings { return all[bot] }, nil
}
