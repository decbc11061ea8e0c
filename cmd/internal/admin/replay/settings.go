package replay

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/commands/whatif"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// AsRecorded decides with today's program and with what the bot's settings led to then.
func AsRecorded(bot string, k *dialog.Knowledge) whatif.Settings {
	translate := func(update []byte, at time.Time) (commands.Request, error) {
		return telegram.Translate(telegram.Bot{Name: bot}, update, at)
	}
	return whatif.Settings{With: chat.Settings{Knowledge: k}, Translate: translate}
}

// SettingsOf returns the part of a bot's settings that decisions depend on. A replay calls no
// other system: each answers what it answered then.
func SettingsOf(name string, b config.Bot, log *slog.Logger) (whatif.Settings, error) {
	k, err := b.ReadKnowledge(log)
	if err != nil {
		return whatif.Settings{}, err
	}
	desk := ""
	if b.Zendesk != nil {
		desk = chat.DeskZendesk
	}
	s := AsRecorded(name, k)
	s.Limit, s.Desk = &chat.Limit{Count: b.ChatLimit.Count, Window: b.ChatLimit.Window}, &desk
	orders, err := b.ReadOrders()
	s.With.Tools = crm.ToolsWith(orders != nil, b.CRM != nil)
	s.With = b.Model.Informs(s.With)
	if catalogue, ok := orders.(crm.Catalogue); ok {
		s.Order = func(number string) (dialog.Order, bool) {
			order, found, _ := catalogue.Order(context.Background(), number, crm.Asker{}) // a list never fails
			return order, found
		}
	}
	return s, err
}
