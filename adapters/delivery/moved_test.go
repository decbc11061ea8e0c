package delivery

import (
	"errors"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestWorker_GroupMigrated_MessageRetried(t *testing.T) {
	for name, errs := range map[string][]error{
		"recorded": nil, "not recorded": {errors.New("no connection to the database")},
	} {
		t.Run(name, func(t *testing.T) {
			o := newFixture(commands.Outcome{
				State: domain.DeliveryRetry, MovedTo: -1001, Reason: "the group was upgraded",
			})
			o.errs = errs
			c := claim()
			c.Stream, c.OrderingKey = "chat-demo:-7", "chat-demo:-5" // the key of a group that was migrated before
			o.deliver(t, c)
			if len(o.postponed) != 1 || len(o.recorded) != 1 {
				t.Fatalf("postponed %+v, recorded %+v", o.postponed, o.recorded)
			}
			r := o.recorded[0]
			command, ok := r.Command.(chat.Migrate)
			if !ok || command.To != -1001 || !command.At.Equal(r.At) || r.Stream != "chat-demo:-5" ||
				r.Settles != nil || r.Causation != c.ID || r.Correlation != c.Correlation {
				t.Errorf("recorded %+v", r)
			}
		})
	}
}
