package delivery

import (
	"errors"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestWorker_GroupMigrated_MessageRetried(t *testing.T) {
	for name, answers := range map[string][]error{
		"it is told": nil, "it cannot be told": {errors.New("the database is away")},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(commands.Outcome{
				State: domain.DeliveryRetry, MovedTo: -1001, Reason: "the group was upgraded",
			})
			o.answers = answers
			c := claim()
			c.Stream, c.OrderingKey = "chat-demo:-7", "chat-demo:-5" // that of a group which moved before
			o.deliver(t, c)
			if len(o.postpones) != 1 || len(o.recorded) != 1 {
				t.Fatalf("put off %+v, told %+v", o.postpones, o.recorded)
			}
			r := o.recorded[0]
			command, ok := r.Command.(chat.Migrate)
			if !ok || command.To != -1001 || !command.At.Equal(r.At) || r.Stream != "chat-demo:-5" ||
				r.Settles != nil || r.Causation != c.ID || r.Correlation != c.Correlation {
				t.Errorf("told %+v", r)
			}
		})
	}
}
