// Package crm looks customers' orders up. Today it knows one implementation: a
// catalogue read from a file.
package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Orders finds an order by its number; false when there is none.
type Orders interface {
	Order(ctx context.Context, number string) (dialog.Order, bool, error)
}

// Catalogue is a fixed list of orders by number.
type Catalogue map[string]dialog.Order

// Demo is the catalogue of the demo shop.
var Demo = Catalogue{
	"1001": {Number: "1001", Status: "shipped", Detail: "It left our warehouse yesterday and should arrive tomorrow."},
	"1002": {Number: "1002", Status: "delivered", Detail: "It was left with a neighbour."},
	"1003": {Number: "1003", Status: "processing", Detail: "It will be shipped within two days."},
	"1004": {Number: "1004", Status: "cancelled", Detail: "The refund is on its way."},
}

// ReadCatalogue reads a YAML file of orders: a list of number, status, detail.
func ReadCatalogue(path string) (Catalogue, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	var list []struct{ Number, Status, Detail string }
	if err := yaml.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("orders: %s: %w", path, err)
	}
	c := Catalogue{}
	for i, o := range list {
		if o.Number == "" || o.Status == "" {
			return nil, fmt.Errorf("orders: %s: entry %d needs a number and a status", path, i+1)
		}
		c[strings.ToUpper(o.Number)] = dialog.Order(o)
	}
	return c, nil
}

// Order implements Orders.
func (c Catalogue) Order(_ context.Context, number string) (dialog.Order, bool, error) {
	order, found := c[strings.ToUpper(number)]
	return order, found, nil
}

// LookUp sends deliveries of commands.KindLookUpOrder. Looking up changes nothing,
// so an attempt whose outcome is unknown is simply made again. By bot.
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
	if err != nil {
		return commands.Outcome{State: commands.Again, Reason: err.Error()}
	}
	answer, err := json.Marshal(order)
	if err != nil {
		return l.refuse(d, err.Error())
	}
	return commands.Outcome{State: commands.Done, Answer: answer, Command: chat.RecordLookup{
		Delivery: d.ID, To: asked.To, Number: asked.Number, Found: found, Order: order, At: now(),
	}}
}

func (l LookUp) refuse(d commands.Claimed, reason string) commands.Outcome {
	return commands.Outcome{State: commands.Refused, Reason: reason, Command: l.Fail(d, reason)}
}

// Fail is what is recorded when a look-up is given up.
func (l LookUp) Fail(d commands.Claimed, reason string) chat.Command {
	var asked commands.LookUpOrder
	if err := json.Unmarshal(d.Body, &asked); err != nil {
		reason += "; and the payload cannot be read: " + err.Error()
	}
	return chat.RecordLookup{Delivery: d.ID, To: asked.To, Number: asked.Number, Reason: reason, At: now()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
