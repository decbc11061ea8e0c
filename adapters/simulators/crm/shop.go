package crmsim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

func (s *Server) getCustomer(c call) reply {
	return single(s.find("customer", c.PathValue("id"), "", Asker{}))
}

func (s *Server) getOrder(c call) reply {
	query := c.URL.Query()
	by := Asker{Customer: query.Get("customer")}
	by.User, _ = strconv.ParseInt(query.Get("telegram_user"), 10, 64) // not a number: an unknown user
	return single(s.find("order", c.PathValue("number"), "", by))
}

func (s *Server) getInvoice(c call) reply {
	return single(s.find("invoice", c.PathValue("number"), c.PathValue("id"), Asker{}))
}

func (s *Server) getCharges(c call) reply {
	return single(s.find("charges", c.PathValue("number"), c.PathValue("id"), Asker{}))
}

// single returns the reply to a single lookup.
func single(a Answer) reply {
	switch {
	case a.Error != nil:
		return reply{status: a.Error.Status, body: *a.Error}
	case a.Customer != nil:
		return ok(a.Customer)
	case a.Order != nil:
		return ok(a.Order)
	case a.Invoice != nil:
		return ok(a.Invoice)
	case a.Charges != nil:
		return ok(a.Charges)
	default:
		return refuse(http.StatusNotFound, "there is no %s %q", a.Kind, a.Key)
	}
}

func (s *Server) postAddress(c call) reply {
	line, err := c.address()
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return ok(CheckAddress(line))
}

// address decodes the body {"address": ...}.
func (c call) address() (string, error) {
	var asked struct{ Address string }
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return "", fmt.Errorf("the body is not {\"address\": ...}: %w", err)
	}
	return asked.Address, checkKey(asked.Address)
}

func checkKey(key string) error {
	if n := utf8.RuneCountInString(key); n < 1 || n > maxKey {
		return fmt.Errorf("there are %d characters; send 1 to %d", n, maxKey)
	}
	return nil
}

// Answer is one answer of a batch.
type Answer struct {
	Kind     string        `json:"kind"`
	Key      string        `json:"key"`
	Owner    string        `json:"owner,omitempty"`
	Status   string        `json:"status"` // found, not_found or error
	Customer *Customer     `json:"customer,omitempty"`
	Order    *Order        `json:"order,omitempty"`
	Invoice  *Invoice      `json:"invoice,omitempty"`
	Charges  *Charges      `json:"charges,omitempty"`
	Address  *AddressCheck `json:"address,omitempty"`
	Error    *problem      `json:"error,omitempty"`
}

func (s *Server) postLookups(c call) reply {
	var asked struct {
		Lookups []struct {
			Kind, Key, Owner string
			Asker            Asker
		}
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return refuse(http.StatusBadRequest, "the body is not {\"lookups\": [{\"kind\": ..., \"key\": ...}]}: %v", err)
	}
	if n := len(asked.Lookups); n < 1 || n > maxLookups {
		return refuse(http.StatusBadRequest, "there are %d lookups; send 1 to %d", n, maxLookups)
	}
	answers := make([]Answer, len(asked.Lookups))
	for i, l := range asked.Lookups {
		answers[i] = s.find(l.Kind, l.Key, l.Owner, l.Asker)
	}
	return ok(map[string][]Answer{"answers": answers})
}

// Asker identifies the customer who asks for an order.
type Asker struct {
	User     int64  `json:"telegram_user"`
	Chat     int64  `json:"telegram_chat"`
	Customer string `json:"customer"`
}

// id returns the asker's id in the shop.
func (a Asker) id() string { return cmp.Or(a.Customer, fmt.Sprintf("telegram:%d", a.User)) }

// find answers one lookup. Invoices and charges are found only for their owner, and an order only if the
// asker is its owner.
func (s *Server) find(kind, key, owner string, by Asker) Answer {
	a := Answer{Kind: kind, Key: key, Owner: owner, Status: "found"}
	if err := checkKey(key); err != nil {
		return a.fail("%v", err)
	}
	switch kind {
	case "invoice", "charges":
		if err := checkKey(owner); err != nil {
			return a.fail("owner: %v", err)
		}
		if p := s.purchase(owner, key); p != nil && kind == "invoice" {
			a.Invoice = p.invoice
		} else if p != nil {
			a.Charges = &Charges{p.charges}
		}
	case "customer":
		a.Customer = s.customer(key)
	case "order":
		if p := s.purchase(by.id(), key); p != nil {
			a.Order = &p.order
		}
	case "address":
		check := CheckAddress(key)
		a.Address = &check
	default:
		return a.fail("kind %q is unknown; use customer, order, invoice, charges or address", kind)
	}
	if a.Customer == nil && a.Order == nil && a.Invoice == nil && a.Charges == nil && a.Address == nil {
		a.Status = "not_found"
	}
	return a
}

// fail returns the answer to an invalid lookup.
func (a Answer) fail(format string, args ...any) Answer {
	a.Status = "error"
	a.Error = &problem{http.StatusText(http.StatusBadRequest), http.StatusBadRequest, fmt.Sprintf(format, args...)}
	return a
}

func (s *Server) purchase(customer, number string) *purchase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bought(customer, number)
}

func (s *Server) customer(id string) *Customer {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.account(id)
	if account == nil {
		return nil
	}
	c := *account
	return &c
}
