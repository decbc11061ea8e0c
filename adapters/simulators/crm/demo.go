package crmsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// purchase is an order with its invoice and charges.
type purchase struct {
	owner   string // the only customer who has it; "": every customer has it
	order   Order
	invoice *Invoice // nil if there is none yet
	charges []Charge // oldest first
}

// link is the base URL of the demo shop's invoices.
const link = "https://shop.example.com/invoices/"

// demoOrders returns the orders that every customer has, one for each state of a payment, and one that only
// Ada has.
func demoOrders() map[string]purchase {
	orders := map[string]purchase{}
	for _, p := range []purchase{
		{
			order: Order{Number: "1001", Status: "shipped",
				Detail: "It left our warehouse yesterday and should arrive tomorrow.", Coded: Coded{Code: "arrives_tomorrow"}},
			invoice: &Invoice{"INV-1001", "24.90 EUR", "2026-03-02", link + "INV-1001.pdf"},
			charges: []Charge{{ID: "CH-1001-1", Amount: "24.90 EUR", Date: "2026-03-02", Status: Charged},
				{ID: "CH-1001-2", Amount: "24.90 EUR", Date: "2026-03-02", Status: Reserved, DuplicateOf: "CH-1001-1"}},
		},
		{
			order: Order{Number: "1002", Status: "delivered", Detail: "It was left with a neighbour.",
				Coded: Coded{Code: "with_neighbour"}},
			invoice: &Invoice{"INV-1002", "59.00 EUR", "2026-02-20", link + "INV-1002.pdf"},
			charges: []Charge{{ID: "CH-1002-1", Amount: "59.00 EUR", Date: "2026-02-20", Status: Charged},
				{ID: "CH-1002-2", Amount: "59.00 EUR", Date: "2026-02-21", Status: Charged, DuplicateOf: "CH-1002-1"}},
		},
		{
			order: Order{Number: "1003", Status: "processing", Detail: "It will be shipped within 2 days.",
				Coded: Coded{Code: "ships_within", Values: map[string]string{"days": "2"}}},
			charges: []Charge{{ID: "CH-1003-1", Amount: "112.50 EUR", Date: "2026-03-04", Status: Charged}},
		},
		{
			order: Order{Number: "1004", Status: "cancelled", Detail: "The refund is on its way.",
				Coded: Coded{Code: "refund_under_way"}},
			invoice: &Invoice{"INV-1004", "18.00 EUR", "2026-02-11", link + "INV-1004.pdf"},
			charges: []Charge{{ID: "CH-1004-1", Amount: "18.00 EUR", Date: "2026-02-11", Status: Refunded}},
		},
		{
			owner:   "C-1",
			order:   Order{Number: "2001", Status: "delivered"},
			invoice: &Invoice{"INV-2001", "349.00 EUR", "2026-01-15", link + "INV-2001.pdf"},
			charges: []Charge{{ID: "CH-2001-1", Amount: "349.00 EUR", Date: "2026-01-15", Status: Charged},
				{ID: "CH-2001-2", Amount: "349.00 EUR", Date: "2026-01-15", Status: Charged, DuplicateOf: "CH-2001-1"}},
		},
	} {
		orders[p.order.Number] = p
	}
	return orders
}

// demoCustomers returns the customers that exist from the start.
func demoCustomers() map[string]*Customer {
	return map[string]*Customer{
		"C-1": {
			ID:             "C-1",
			Name:           "Ada Example",
			Email:          "ada@example.com",
			Tier:           "priority",
			BillingAddress: "12 Baker Street, London NW1 6XE",
		},
		"C-2": {ID: "C-2", Name: "Bo Beispiel"},
	}
}

// account returns a customer; nil if there is none. The caller holds the lock.
func (s *Server) account(id string) *Customer {
	number, ofTelegram := strings.CutPrefix(id, "telegram:")
	if _, err := strconv.ParseInt(number, 10, 64); ofTelegram && err == nil && s.customers[id] == nil &&
		len(s.customers) < maxAccounts {
		s.customers[id] = &Customer{ID: id, Name: "Customer " + number, Tier: "standard"}
	}
	return s.customers[id]
}

// bought returns a customer's order; nil if there is none or it is another customer's. The caller holds the
// lock.
func (s *Server) bought(customer, number string) *purchase {
	p, found := s.orders[strings.ToUpper(number)]
	account := s.account(customer)
	if !found || account == nil || p.owner != "" && p.owner != account.ID {
		return nil
	}
	p.charges = slices.Clone(p.charges)
	for i, c := range p.charges {
		if s.refunded[[2]string{customer, c.ID}] {
			p.charges[i].Status = Refunded
		}
	}
	return &p
}

// Known adds another id to a customer's account, such as telegram:77. It panics if there is no such
// customer.
func (s *Server) Known(as, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.account(id)
	if account == nil {
		panic("crmsim: Known: there is no customer " + id)
	}
	s.customers[as] = account
}

// AddCustomer adds a customer, or replaces the one with this id. It panics if the id or the name is empty.
func (s *Server) AddCustomer(c Customer) {
	if err := s.addCustomer(c); err != nil {
		panic("crmsim: AddCustomer: " + err.Error())
	}
}

func (s *Server) addCustomer(c Customer) error {
	if c.ID == "" || c.Name == "" {
		return errors.New("id or name is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.customers[c.ID] == nil && len(s.customers) >= maxAccounts {
		return fmt.Errorf("there are %d customers already", maxAccounts)
	}
	s.customers[c.ID] = &c
	return nil
}
