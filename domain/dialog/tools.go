package dialog

import (
	"slices"
	"strconv"
)

// Tool is something outside that the bot may use.
type Tool struct {
	Name        string
	Description string // for a model that chooses among tools
	Input       []Field
	Output      []Field
	Says        string // the output in the tool's own words, for which a team may have others (see Knowledge.Codes)
	Writes      bool   // it changes something: only after the customer has confirmed it
}

// Field is a named value that goes into a tool or comes out of it.
type Field struct {
	Name, Description string
	Check             Check // of what goes in; "" takes any text
	Optional          bool
	Theirs            bool // of what comes out: the customer's own words, which ground no promise of a model
}

// Theirs reports whether an output field holds the customer's own words.
func (t Tool) Theirs(field string) bool {
	return slices.ContainsFunc(t.Output, func(f Field) bool { return f.Name == field && f.Theirs })
}

// Names of tools.
const (
	OrderStatus     = "order_status"
	Invoice         = "invoice"
	Charges         = "charges"
	CheckAddress    = "check_address"
	ChangeAddress   = "change_billing_address"
	RefundDuplicate = "refund_duplicate"
	ReportDelivery  = "report_delivery_problem"
	LookUpCustomer  = "customer"
)

// Toolbox is every tool there is, by name. A bot has those that it was given.
var Toolbox = map[string]Tool{
	OrderStatus: {Name: OrderStatus, Description: "Where an order is.", Says: "detail",
		Input: []Field{{Name: "number", Description: "the order's number", Check: CheckOrderNumber}},
		Output: []Field{
			{Name: "found", Description: "true or false"}, {Name: "number"}, {
				Name: "status", Description: "processing, shipped, delivered or cancelled",
			}, {Name: "detail", Optional: true},
		}},
	Invoice: {Name: Invoice, Description: "The invoice of an order.",
		Input: []Field{{Name: "number", Description: "the order's number", Check: CheckOrderNumber}},
		Output: []Field{
			{Name: "found", Description: "true or false"}, {Name: "invoice", Description: "its number"}, {
				Name: "amount",
			}, {Name: "date"}, {Name: "url", Description: "where the PDF is"},
		}},
	Charges: {Name: Charges, Description: "What was charged for an order, and whether anything was charged twice.",
		Input: []Field{{Name: "number", Description: "the order's number", Check: CheckOrderNumber}},
		Output: []Field{
			{Name: "found", Description: "true or false"}, {Name: "duplicate", Description: "true or false"}, {
				Name: "pending", Description: "true when the second is only a reservation",
			}, {Name: "charge", Description: "id of the second charge"}, {Name: "amount"}, {
				Name: "list", Description: "all charges, one a line",
			},
		}},
	RefundDuplicate: {Name: RefundDuplicate, Description: "Give back what was charged twice.", Writes: true,
		Input: []Field{
			{Name: "number", Description: "the order's number", Check: CheckOrderNumber}, {
				Name: "charge", Description: "id of the second charge",
			},
		},
		Output: []Field{{Name: "amount"}, {Name: "days", Description: "until it is there"}}},
	ReportDelivery: {Name: ReportDelivery, Description: "Tell the carrier of a problem with a delivery.", Writes: true,
		Input: []Field{
			{Name: "number", Description: "the order's number", Check: CheckOrderNumber}, {
				Name: "problem", Description: "not_arrived, damaged, wrong_item or missing_item",
			}, {Name: "detail", Optional: true},
		},
		Output: []Field{
			{Name: "case", Description: "number of the case"}, {Name: "days", Description: "until there is an answer"},
		}},
	CheckAddress: {Name: CheckAddress, Description: "Check a postal address and write it in its normal form.",
		Says: "problem",
		Input: []Field{
			{Name: "address", Description: "on one line, its parts set off by commas", Check: CheckPostal},
		},
		Output: []Field{
			{Name: "valid", Description: "true or false"}, {Name: "address", Optional: true, Theirs: true}, {
				Name: "problem", Optional: true,
			},
		}},
	ChangeAddress: {Name: ChangeAddress, Description: "Change the customer's billing address.", Writes: true,
		Input: []Field{
			{Name: "address", Description: "on one line, its parts set off by commas", Check: CheckPostal},
		},
		Output: []Field{{Name: "address", Description: "as it is kept", Theirs: true}}},
	LookUpCustomer: {Name: LookUpCustomer, Description: "What is known of the customer.",
		Output: []Field{
			{Name: "found", Description: "true or false"}, {Name: "name", Theirs: true},
			{Name: "email", Theirs: true}, {
				Name: "tier", Description: "such as standard or priority",
			}, {Name: "address", Theirs: true},
		}},
}

// Order is what is known of an order.
type Order struct {
	Number string `json:"number"`
	Status string `json:"status"` // processing, shipped, delivered, cancelled
	Detail string `json:"detail,omitempty"`
	Coded         // of the detail
}

// Output is an order as the tool tells of it.
func (o Order) Output(found bool) map[string]string {
	if !found {
		return map[string]string{"found": "false"}
	}
	return o.output(map[string]string{"found": "true", "number": o.Number, "status": o.Status, "detail": o.Detail})
}

// AddressCheck is what a CRM finds of an address.
type AddressCheck struct {
	Valid   bool   `json:"valid"`
	Address string `json:"address,omitempty"` // in its normal form, when valid
	Problem string `json:"problem,omitempty"` // when not: half a sentence for the customer
	Coded          // of the problem
}

// Output is a finding as the tool tells of it.
func (c AddressCheck) Output() map[string]string {
	return c.output(map[string]string{
		"valid": strconv.FormatBool(c.Valid), "address": c.Address, "problem": c.Problem,
	})
}
