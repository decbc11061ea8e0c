package zendesk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// SplitExternalID is the inverse of commands.ExternalID. It returns false for an id that
// commands.ExternalID did not make.
func SplitExternalID(id string) (stream domain.StreamID, ticket string, ok bool) {
	at := strings.LastIndexByte(id, '/')
	if at < 0 || at == len(id)-1 {
		return "", "", false
	}
	stream = domain.StreamID(id[:at])
	_, ok = stream.Chat()
	return stream, id[at+1:], ok
}

// sureAbsent is the attempt at which a ticket that is not found counts as missing. At earlier attempts it
// may be so new that Zendesk's list does not contain it yet.
const sureAbsent = 4

// Clients sends the deliveries of several bots, each to its account, for all delivery kinds
// of Zendesk. A repeated attempt first looks for the effect of the earlier one, so that an
// attempt of unknown outcome can always be retried.
type Clients map[string]*Client // by bot

// Send makes one attempt.
func (cs Clients) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	client := cs[d.Stream.Bot()]
	if client == nil {
		return commands.Outcome{State: domain.DeliveryRefused,
			Reason: fmt.Sprintf("bot %q has no Zendesk account configured here", d.Stream.Bot())}
	}
	id, err := client.deliver(ctx, d)
	var failed *Error
	switch {
	case errors.As(err, &failed):
		return failed.Outcome
	case err != nil:
		return commands.Outcome{State: domain.DeliveryRefused, Reason: err.Error()}
	}
	return commands.Outcome{
		State:   domain.DeliveryDone,
		Answer:  fmt.Appendf(nil, `{"ticket_id": %d}`, id),
		Command: filing(d, id),
	}
}

// filing returns the command that records the number of a created ticket; nil for other
// deliveries.
func filing(d commands.Claimed, id int64) chat.Command {
	var created commands.CreateTicket
	if d.Kind != domain.KindCreateTicket || json.Unmarshal(d.Body, &created) != nil {
		return nil
	}
	_, ticket, _ := SplitExternalID(created.ExternalID)
	return chat.RecordFiling{Delivery: d.ID, Ticket: ticket, Desk: chat.DeskZendesk, Number: strconv.FormatInt(id, 10)}
}

// deliver creates or changes a ticket and returns its number.
func (c *Client) deliver(ctx context.Context, d commands.Claimed) (int64, error) {
	switch d.Kind {
	case domain.KindCreateTicket:
		var p commands.CreateTicket
		if err := read(d, &p, &p.ExternalID, &p.Comment); err != nil {
			return 0, err
		}
		return c.create(ctx, d, p)
	case domain.KindAddComment:
		var p commands.AddComment
		if err := read(d, &p, &p.ExternalID, &p.Body); err != nil {
			return 0, err
		}
		return c.update(ctx, d, p.ExternalID, Update{Comment: &Comment{p.Body, p.Public}})
	case domain.KindSetStatus:
		var p commands.SetStatus
		if err := read(d, &p, &p.ExternalID, &p.Status); err != nil {
			return 0, err
		}
		return c.update(ctx, d, p.ExternalID, Update{Status: p.Status})
	case domain.KindSetPriority:
		var p commands.SetPriority
		if err := read(d, &p, &p.ExternalID, &p.Priority); err != nil {
			return 0, err
		}
		return c.update(ctx, d, p.ExternalID, Update{Priority: p.Priority})
	default:
		return 0, refused("zendesk has no sender for deliveries of kind %s", d.Kind)
	}
}

// read decodes a payload and refuses one with an empty required field: Zendesk accepts an empty comment or
// status and does nothing.
func read(d commands.Claimed, payload any, required ...*string) error {
	if err := json.Unmarshal(d.Body, payload); err != nil {
		return refused("read the payload: %v", err)
	}
	for _, text := range required {
		if strings.TrimSpace(*text) == "" {
			return refused("the payload of %s has an empty required field: %s", d.Kind, excerpt(d.Body))
		}
	}
	return nil
}

// repeated reports whether an earlier attempt may have taken effect. Every retry counts, because a lookup
// costs only one call.
func repeated(d commands.Claimed) bool { return d.Attempt > 1 || d.Unsure > 0 }

func (c *Client) create(ctx context.Context, d commands.Claimed, p commands.CreateTicket) (int64, error) {
	if repeated(d) {
		if id, err := c.Find(ctx, p.ExternalID); err != nil || id != 0 {
			return id, err
		}
	}
	return c.Create(ctx, d.ID.String(), Ticket{
		Subject: p.Subject, Comment: Comment{p.Comment, false}, Requester: Requester{p.Requester},
		ExternalID: p.ExternalID, Priority: p.Priority, Tags: p.Tags,
	})
}

func (c *Client) update(ctx context.Context, d commands.Claimed, externalID string, u Update) (int64, error) {
	id, err := c.Find(ctx, externalID)
	if err != nil {
		return 0, err
	}
	if id == 0 {
		missing := refused("there is no ticket with external id %q", externalID)
		if d.Attempt < sureAbsent {
			missing.State = domain.DeliveryRetry
		}
		return 0, missing
	}
	if repeated(d) {
		if done, err := c.Updated(ctx, id, d.ID.String()); err != nil || done {
			return id, err
		}
	}
	return id, c.Update(ctx, id, d.ID.String(), u)
}
