package deliveries

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	// DefaultRate is how many decisions are carried out in a second. What is retried is sent
	// beside what customers wait for, and Telegram takes some 30 messages a second from a bot.
	DefaultRate = 20
	// MaxRate is nearly as fast as one commit follows another.
	MaxRate = 1000
)

// Decisions carries out an operator's decision about deliveries, one after the other and
// each in a commit of its own: after an interruption, what it has printed is done.
type Decisions struct {
	Store    *eventstore.Store
	Settings func(bot string) chat.Settings
	Now      func() time.Time
	Out      io.Writer
	Operator string
	Reason   string // for the events of the chat
	Rate     int    // decisions a second; 0 for DefaultRate
	DryRun   bool   // only print what would be done
}

// Retry attempts deliveries again. A dead letter is the first of its ordering key; what its
// ordering key continued without is sent out of order. With again it repeats also what was done.
func (d Decisions) Retry(ctx context.Context, which outbox.Selection, again bool) error {
	return d.decide(ctx, which, decision{
		done: "retried",
		to:   domain.DeliveryWaiting,
		refuse: func(e outbox.Entry) string {
			switch {
			case e.State == domain.DeliveryWaiting || e.State == domain.DeliverySending:
				return "it is not finished yet"
			case e.State == domain.DeliveryDone && !again:
				return "it was done; --again repeats it"
			}
			return ""
		},
		command: func(e outbox.Entry) chat.Command {
			return chat.RetryDelivery{Delivery: e.ID, Kind: e.Kind, Was: e.State, Reason: d.Reason}
		},
	})
}

// Skip gives deliveries up. What waits behind them is sent. A delivery whose outcome is unknown
// for good leaves the default list.
func (d Decisions) Skip(ctx context.Context, which outbox.Selection) error {
	return d.decide(ctx, which, decision{
		done: "skipped",
		to:   domain.DeliverySkipped,
		refuse: func(e outbox.Entry) string {
			switch {
			case e.State == domain.DeliverySending:
				return "it is being sent"
			case e.FinishedAt != nil && e.State != domain.DeliveryUnknown:
				return "it is finished"
			}
			return ""
		},
		command: func(e outbox.Entry) chat.Command {
			asked := toolOf(e)
			return chat.SkipDelivery{
				Delivery: e.ID, Kind: e.Kind, Was: e.State, Over: e.FinishedAt != nil, Reason: d.Reason,
				To: asked.To, About: asked.About, At: d.Now(),
			}
		},
	})
}

// toolOf returns the tool call that a delivery is. It is zero for any other delivery, and for
// one that a newer program wrote in another form.
func toolOf(e outbox.Entry) (asked commands.UseTool) {
	if _, uses := chat.ToolOf(e.Kind); uses {
		_ = json.Unmarshal(e.Payload, &asked)
	}
	return asked
}

// decision is one kind of decision.
type decision struct {
	done    string                    // "retried"
	to      domain.DeliveryState      // the state of the delivery afterwards
	refuse  func(outbox.Entry) string // the reason why not, or ""
	command func(outbox.Entry) chat.Command
}

// decide carries out one decision for every delivery that is selected.
func (d Decisions) decide(ctx context.Context, which outbox.Selection, to decision) error {
	handler := commands.NewHandler(
		d.Store, commands.Config{Committers: 1, Cached: 1, Settings: commands.SettingsFunc(d.Settings)},
	)
	defer handler.Close()
	pace := time.NewTicker(time.Second / time.Duration(cmp.Or(d.Rate, DefaultRate)))
	defer pace.Stop()
	absent := map[uuid.UUID]bool{}
	for _, id := range which.IDs {
		absent[id] = true
	}
	decided, unchanged := 0, 0
	for e, err := range outbox.New(d.Store.DB).Deliveries(ctx, which) {
		if err != nil {
			return err
		}
		delete(absent, e.ID)
		why, outcome := to.refuse(e), to.done
		if d.DryRun {
			outcome = "would be " + outcome
		} else if why == "" {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if why, err = d.commit(ctx, handler, to, e); err != nil {
				return err
			}
		}
		if why != "" {
			outcome = "not " + to.done + ": " + why
			unchanged++
		} else {
			decided++
		}
		fmt.Fprintf(d.Out, "%s %s %s %q: %s\n",
			e.ID, chatOf(e), e.Kind, terminal.OneLine(contentOf(e), columnWidth), outcome)
	}
	if err := d.Store.NotifyProcesses(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "%d %s\n", decided, to.done)
	if unchanged+len(absent) > 0 {
		return fmt.Errorf("%d deliveries were not %s, %d do not exist", unchanged, to.done, len(absent))
	}
	return nil
}

// commit carries out one decision, unless the delivery has changed since it was read.
func (d Decisions) commit(
	ctx context.Context, handler *commands.Handler, to decision, e outbox.Entry,
) (why string, err error) {
	reason := fmt.Sprintf("%s by %s", to.done, d.Operator)
	if d.Reason != "" {
		reason += ": " + d.Reason
	}
	_, err = handler.Handle(ctx, commands.Request{
		Stream: e.Stream, Command: to.command(e), Actor: domain.OperatorActor(d.Operator),
		Causation: e.ID, Correlation: e.Correlation, At: d.Now(),
		Settles: &commands.Settlement{Delivery: e.ID, Was: e.State, Fence: e.Fence, State: to.to, Reason: reason},
	})
	var fenced commands.Fenced
	if errors.As(err, &fenced) {
		return "it has changed meanwhile", nil
	}
	return "", err
}
