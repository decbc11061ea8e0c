package crm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Tools sends the deliveries that use tools.
type Tools struct {
	Shops map[string]Shop  // by bot
	Now   func() time.Time // the time of a record
}

// Shop holds the systems that provide a bot's tools: a CRM provides all of them, a catalogue only
// orders.
type Shop struct {
	Orders Orders  // nil if orders are in the CRM
	CRM    *Client // nil if there is none
}

// Has returns the tools of a shop.
func (s Shop) Has() map[string]bool { return ToolsWith(s.Orders != nil, s.CRM != nil) }

// ToolsWith returns the tools of a bot with a catalogue, or with a CRM.
func ToolsWith(catalogue, crm bool) map[string]bool {
	has := map[string]bool{}
	for tool := range dialog.Toolbox {
		has[tool] = crm || catalogue && tool == dialog.OrderStatus
	}
	return has
}

// Send uses a tool once. "There is no such order" and "this address is not valid" are
// results, not errors. The delivery's id is the idempotency key of a tool that changes
// something.
func (t Tools) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	var asked commands.UseTool
	if err := json.Unmarshal(d.Body, &asked); err != nil {
		return t.refuse(d, fmt.Sprintf("read the payload: %v", err))
	}
	shop := t.Shops[d.Stream.Bot()]
	if !shop.Has()[asked.Tool] {
		return t.refuse(d, fmt.Sprintf("bot %s has no tool %q configured", d.Stream.Bot(), asked.Tool))
	}
	answer, err := shop.use(ctx, asked, d)
	if outcome := judge(err); outcome.State == domain.DeliveryRefused {
		return t.refuse(d, outcome.Reason)
	} else if outcome.State != domain.DeliveryDone {
		return outcome
	}
	record := asked.Returned(d.ID, t.Now())
	record.Output, record.Receipt, record.Account = answer.output, answer.receipt, answer.account
	return done(answer.output, record)
}

func (t Tools) refuse(d commands.Claimed, reason string) commands.Outcome {
	return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Command: t.Fail(d, reason)}
}

// Fail returns the command that records that a use of a tool failed and is not retried.
func (t Tools) Fail(d commands.Claimed, reason string) chat.Command {
	var asked commands.UseTool
	if err := json.Unmarshal(d.Body, &asked); err != nil {
		reason += "; read the payload: " + err.Error()
	}
	record := asked.Returned(d.ID, t.Now())
	record.Reason = reason
	return record
}

// used is the result of a tool.
type used struct {
	output  map[string]string
	receipt string // confirms a change
	account string // the CRM's id of a customer
}

// use calls a tool that the shop has.
func (s Shop) use(ctx context.Context, asked commands.UseTool, d commands.Claimed) (used, error) {
	key := d.ID.String()
	switch asked.Tool {
	case dialog.OrderStatus:
		orders := s.Orders
		if orders == nil {
			orders = s.CRM
		}
		order, found, err := orders.Order(ctx, asked.Input["number"], askerOf(asked, d.Stream))
		return used{output: order.Output(found)}, err
	case dialog.CheckAddress:
		check, err := s.CRM.ValidateAddress(ctx, asked.Input["address"])
		return used{output: check.Output()}, err
	case dialog.ChangeAddress:
		receipt, err := s.CRM.UpdateBillingAddress(ctx, key, asked.Customer, asked.Input["address"])
		return used{output: map[string]string{"address": receipt.Address}, receipt: receipt.ID}, err
	case dialog.LookUpCustomer:
		customer, found, err := s.CRM.Customer(ctx, asked.Customer)
		return used{output: customer.output(found), account: customer.ID}, err
	case dialog.Invoice:
		invoice, found, err := s.CRM.Invoice(ctx, asked.Customer, asked.Input["number"])
		return used{output: invoice.output(found)}, err
	case dialog.Charges:
		charges, found, err := s.CRM.Charges(ctx, asked.Customer, asked.Input["number"])
		return used{output: charged(charges, found)}, err
	case dialog.RefundDuplicate:
		refund, err := s.CRM.RefundDuplicate(ctx, key, asked.Customer, asked.Input["number"], asked.Input["charge"])
		return used{
			output:  map[string]string{"amount": refund.Amount, "days": refund.Days.String()},
			receipt: refund.ID,
		}, err
	case dialog.ReportDelivery:
		report, err := s.CRM.ReportDeliveryProblem(ctx, key, asked.Customer, asked.Input["number"], asked.Input["problem"],
			asked.Input["detail"])
		return used{
			output:  map[string]string{"case": report.Number, "days": report.Days.String()},
			receipt: report.Number,
		}, err
	default:
		return used{}, refused("the tool %q has no implementation", asked.Tool)
	}
}

// askerOf returns the customer and the chat for which a tool is used.
func askerOf(asked commands.UseTool, stream domain.StreamID) Asker {
	by := Asker{Customer: asked.Account}
	by.Chat, _ = stream.Chat()
	if id, ofTelegram := strings.CutPrefix(asked.Customer, "telegram:"); ofTelegram {
		by.User, _ = strconv.ParseInt(id, 10, 64) // not a number: an unknown user
	}
	return by
}

func done(answer any, record chat.Command) commands.Outcome {
	text, err := json.Marshal(answer)
	if err != nil {
		return judge(refused("encode the answer: %v", err))
	}
	return commands.Outcome{State: domain.DeliveryDone, Answer: text, Command: record}
}

// judge translates an error into the outcome of the delivery. An unknown outcome is
// retried: a lookup changes nothing, and an update has its idempotency key.
func judge(err error) commands.Outcome {
	if err == nil {
		return commands.Outcome{State: domain.DeliveryDone}
	}
	outcome := commands.Outcome{State: domain.DeliveryRetry, Reason: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		outcome.After = e.After
		if e.State == domain.DeliveryRefused {
			outcome.State = domain.DeliveryRefused
		}
	}
	return outcome
}
