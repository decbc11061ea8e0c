package crm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// LookUp sends deliveries of commands.KindLookUpOrder. By bot.
type LookUp map[string]Orders

// Send makes one look-up.
func (l LookUp) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	var asked commands.LookUpOrder
	if err := json.Unmarshal(d.Body, &asked); err != nil {
		return l.refuse(d, fmt.Sprintf("the payload cannot be read: %v", err))
	}
	orders := l[d.Stream.Bot()]
	if orders == nil {
		return l.refuse(d, fmt.Sprintf("bot %s has no order system configured", d.Stream.Bot()))
	}
	order, found, err := orders.Order(ctx, asked.Number)
	if outcome := judge(err); outcome.State == commands.Refused {
		return l.refuse(d, outcome.Reason)
	} else if outcome.State != commands.Done {
		return outcome
	}
	return done(order, chat.RecordLookup{Delivery: d.ID, To: asked.To, Number: asked.Number, Found: found, Order: order, At: now()})
}

func (l LookUp) refuse(d commands.Claimed, reason string) commands.Outcome {
	return commands.Outcome{State: commands.Refused, Reason: reason, Command: l.Fail(d, reason)}
}

// Fail is what is recorded when a look-up is given up.
func (l LookUp) Fail(d commands.Claimed, reason string) chat.Command {
	var asked commands.LookUpOrder
	reason += unreadAfter(json.Unmarshal(d.Body, &asked))
	return chat.RecordLookup{Delivery: d.ID, To: asked.To, Number: asked.Number, Reason: reason, At: now()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Check sends deliveries of commands.KindValidateAddress. By bot.
type Check map[string]*Client

// Send makes one check. That the address is not valid is a finding like any other.
func (c Check) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	client, asked, err := read[commands.ValidateAddress](c, d)
	if err != nil {
		return judge(err)
	}
	found, err := client.ValidateAddress(ctx, asked.Address)
	if err != nil {
		return judge(err)
	}
	return done(found, chat.RecordAddressCheck{Delivery: d.ID, To: asked.To, Address: asked.Address, Check: found, At: now()})
}

// Fail is what is recorded when a check is given up.
func (c Check) Fail(d commands.Claimed, reason string) chat.Command {
	var asked commands.ValidateAddress
	reason += unreadAfter(json.Unmarshal(d.Body, &asked))
	return chat.RecordAddressCheck{Delivery: d.ID, To: asked.To, Address: asked.Address, Reason: reason, At: now()}
}

// Update sends deliveries of commands.KindUpdateAddress. By bot.
type Update map[string]*Client

// Send makes one attempt. The delivery's id is the idempotency key.
func (u Update) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	client, asked, err := read[commands.UpdateAddress](u, d)
	if err != nil {
		return judge(err)
	}
	receipt, err := client.UpdateBillingAddress(ctx, d.ID.String(), asked.Customer, asked.Address)
	if err != nil {
		return judge(err)
	}
	return done(receipt, chat.RecordAddressUpdate{Delivery: d.ID, To: asked.To, Address: receipt.Address, Receipt: receipt.ID, At: now()})
}

// Fail is what is recorded when an update is given up.
func (u Update) Fail(d commands.Claimed, reason string) chat.Command {
	var asked commands.UpdateAddress
	reason += unreadAfter(json.Unmarshal(d.Body, &asked))
	return chat.RecordAddressUpdate{Delivery: d.ID, To: asked.To, Address: asked.Address, Reason: reason, At: now()}
}

// read finds a delivery's CRM and reads its payload.
func read[Payload any](clients map[string]*Client, d commands.Claimed) (client *Client, asked Payload, err error) {
	if client = clients[d.Stream.Bot()]; client == nil {
		return nil, asked, refused("bot %s has no CRM configured", d.Stream.Bot())
	}
	if err := json.Unmarshal(d.Body, &asked); err != nil {
		return nil, asked, refused("the payload cannot be read: %v", err)
	}
	return client, asked, nil
}

// unreadAfter is the end of a reason when the payload cannot be read, either.
func unreadAfter(err error) string {
	if err == nil {
		return ""
	}
	return "; and the payload cannot be read: " + err.Error()
}

func done(answer any, record chat.Command) commands.Outcome {
	text, err := json.Marshal(answer)
	if err != nil {
		return judge(refused("the answer cannot be kept: %v", err))
	}
	return commands.Outcome{State: commands.Done, Answer: text, Command: record}
}

// judge says what an error means for the delivery. One whose outcome is unknown is
// made again: a look-up changes nothing, and an update bears its idempotency key.
func judge(err error) commands.Outcome {
	if err == nil {
		return commands.Outcome{State: commands.Done}
	}
	outcome := commands.Outcome{State: commands.Again, Reason: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		outcome.After = e.After
		if e.State == commands.Refused {
			outcome.State = commands.Refused
		}
	}
	return outcome
}
