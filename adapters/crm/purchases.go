package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain"
)

const (
	// maxCharges limits the charges of an order, so that they fit into one message. The newest are
	// used. The contract has the same limit.
	maxCharges = 50
	// maxDetail is the contract's limit for a customer's description of a problem, in characters.
	maxDetail = 1000
)

// Invoice is the invoice of an order.
type Invoice struct {
	Number string `json:"number"`
	Amount string `json:"amount"` // with its currency: 24.90 EUR
	Date   string `json:"date"`   // 2026-03-02
	URL    string `json:"url"`    // where the customer can read it
}

// Charge is a payment for an order, taken or reserved.
type Charge struct {
	ID          string `json:"id"`
	Amount      string `json:"amount"` // with its currency: 24.90 EUR
	Date        string `json:"date"`   // 2026-03-02
	Status      string `json:"status"`
	DuplicateOf string `json:"duplicate_of,omitempty"` // the charge that it duplicates by mistake
}

// Statuses of a charge. For a charge with another status, the bot neither offers a refund nor says that
// the reservation will lapse.
const (
	statusReserved = "reserved"
	statusCharged  = "charged"
)

// Refund is the CRM's confirmation of a refund.
type Refund struct {
	ID     string      `json:"id"`
	Amount string      `json:"amount"` // with its currency: 24.90 EUR
	Days   json.Number `json:"days"`   // until the customer has it
}

// DeliveryCase is the CRM's confirmation that it opened a case about a delivery.
type DeliveryCase struct {
	Number string      `json:"number"`
	Days   json.Number `json:"days"` // until the customer has an answer
}

// Invoice finds the invoice of a customer's order; false when there is none, or when the
// order is another customer's.
func (c *Client) Invoice(ctx context.Context, customer, number string) (Invoice, bool, error) {
	a, err := c.lookUp(ctx, owned(kindInvoice, customer, number))
	if err != nil || a.Invoice == nil {
		return Invoice{}, false, err
	}
	return *a.Invoice, true, nil
}

// Charges finds what was charged for a customer's order, oldest first; false when there is
// no such order, or when it is another customer's.
func (c *Client) Charges(ctx context.Context, customer, number string) ([]Charge, bool, error) {
	a, err := c.lookUp(ctx, owned(kindCharges, customer, number))
	if err != nil || a.Charges == nil {
		return nil, false, err
	}
	return a.Charges.Charges, true, nil
}

// RefundDuplicate refunds a charge that duplicates another one of a customer's order. The CRM
// refuses any other charge. A retry with the same key refunds nothing and returns the first
// receipt.
func (c *Client) RefundDuplicate(ctx context.Context, key, customer, number, charge string) (Refund, error) {
	if err := checked("customer", customer, "order", number, "charge", charge); err != nil {
		return Refund{}, err
	}
	defer c.forget(owned(kindCharges, customer, number)) // even a failed call may have taken effect
	var r Refund
	path := "/customers/" + url.PathEscape(customer) + "/refunds"
	err := c.call(ctx, http.MethodPost, path, key, map[string]string{"order": number, "charge": charge}, &r)
	if err != nil {
		return Refund{}, err
	}
	if lacks := missing("id", r.ID, "amount", r.Amount, "days", r.Days.String()); lacks != "" {
		return Refund{}, unreadable(domain.DeliveryUnknown, "it lacks %s", lacks)
	}
	return r, nil
}

// ReportDeliveryProblem opens a case about the delivery of a customer's order: problem is a
// word of the contract, detail is the customer's description. A retry with the same key opens
// no second case and returns the first.
func (c *Client) ReportDeliveryProblem(
	ctx context.Context,
	key, customer, number, problem, detail string,
) (DeliveryCase, error) {
	if err := checked("customer", customer, "order", number, "problem", problem); err != nil {
		return DeliveryCase{}, err
	}
	if n := utf8.RuneCountInString(detail); n > maxDetail || !utf8.ValidString(detail) {
		return DeliveryCase{}, refused("the detail has %d characters; it must be text of at most %d", n, maxDetail)
	}
	asked := map[string]string{"order": number, "problem": problem}
	if detail != "" {
		asked["detail"] = detail
	}
	var d DeliveryCase
	path := "/customers/" + url.PathEscape(customer) + "/delivery-problems"
	if err := c.call(ctx, http.MethodPost, path, key, asked, &d); err != nil {
		return DeliveryCase{}, err
	}
	if lacks := missing("number", d.Number, "days", d.Days.String()); lacks != "" {
		return DeliveryCase{}, unreadable(domain.DeliveryUnknown, "it lacks %s", lacks)
	}
	return d, nil
}

// notFound is the result for something that does not exist or is another customer's.
func notFound() map[string]string { return map[string]string{"found": "false"} }

// output returns a customer as the tool's output.
func (c Customer) output(found bool) map[string]string {
	if !found {
		return notFound()
	}
	tier := c.Tier
	if tier == "" {
		tier = "standard"
	}
	return map[string]string{"found": "true", "name": c.Name, "email": c.Email, "tier": tier, "address": c.BillingAddress}
}

// output returns an invoice as the tool's output.
func (i Invoice) output(found bool) map[string]string {
	if !found {
		return notFound()
	}
	return map[string]string{"found": "true", "invoice": i.Number, "amount": i.Amount, "date": i.Date, "url": i.URL}
}

// charged returns the charges of an order as the tool's output, with the duplicate. A duplicate that
// was taken has precedence over one that is only reserved; a refunded one does not count.
func charged(charges []Charge, found bool) map[string]string {
	if !found {
		return notFound()
	}
	output := map[string]string{"found": "true", "duplicate": "false", "pending": "false"}
	var lines []string
	for _, c := range charges[max(0, len(charges)-maxCharges):] {
		line := c.Date + ": " + c.Amount
		if c.Status != statusCharged {
			line += fmt.Sprintf(" (%s)", c.Status)
		}
		lines = append(lines, line)
		twice := c.DuplicateOf != "" && c.Status == statusCharged
		reserved := c.DuplicateOf != "" && c.Status == statusReserved
		if twice || reserved && output["duplicate"] == "false" {
			output["charge"], output["amount"] = c.ID, c.Amount
			output["duplicate"], output["pending"] = fmt.Sprint(twice), fmt.Sprint(reserved)
		}
	}
	output["list"] = strings.Join(lines, "\n")
	return output
}
