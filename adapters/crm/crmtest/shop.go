package crmtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func (s *Server) getCustomer(c call) reply { return single(s.find("customer", c.PathValue("id"))) }

func (s *Server) getOrder(c call) reply { return single(s.find("order", c.PathValue("number"))) }

// single answers a look-up that came alone.
func single(a Answer) reply {
	switch {
	case a.Error != nil:
		return reply{status: a.Error.Status, body: *a.Error}
	case a.Customer != nil:
		return ok(a.Customer)
	case a.Order != nil:
		return ok(a.Order)
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

// address reads the body {"address": ...}.
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
	Status   string        `json:"status"` // found, not_found or error
	Customer *Customer     `json:"customer,omitempty"`
	Order    *Order        `json:"order,omitempty"`
	Address  *AddressCheck `json:"address,omitempty"`
	Error    *problem      `json:"error,omitempty"`
}

func (s *Server) postLookups(c call) reply {
	var asked struct {
		Lookups []struct{ Kind, Key string }
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return refuse(http.StatusBadRequest, "the body is not {\"lookups\": [{\"kind\": ..., \"key\": ...}]}: %v", err)
	}
	if n := len(asked.Lookups); n < 1 || n > maxLookups {
		return refuse(http.StatusBadRequest, "there are %d look-ups; send 1 to %d", n, maxLookups)
	}
	answers := make([]Answer, len(asked.Lookups))
	for i, l := range asked.Lookups {
		answers[i] = s.find(l.Kind, l.Key)
	}
	return ok(map[string][]Answer{"answers": answers})
}

// find makes one look-up.
func (s *Server) find(kind, key string) Answer {
	a := Answer{Kind: kind, Key: key, Status: "found"}
	if err := checkKey(key); err != nil {
		return a.fail("%v", err)
	}
	switch kind {
	case "customer":
		a.Customer = s.customer(key)
	case "order":
		a.Order = s.order(key)
	case "address":
		check := CheckAddress(key)
		a.Address = &check
	default:
		return a.fail("%q is no kind; use customer, order or address", kind)
	}
	if a.Customer == nil && a.Order == nil && a.Address == nil {
		a.Status = "not_found"
	}
	return a
}

// fail is the answer to what nobody can look up.
func (a Answer) fail(format string, args ...any) Answer {
	a.Status = "error"
	a.Error = &problem{http.StatusText(http.StatusBadRequest), http.StatusBadRequest, fmt.Sprintf(format, args...)}
	return a
}

func (s *Server) order(number string) *Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, found := s.orders[strings.ToUpper(number)]
	if !found {
		return nil
	}
	return &o
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

// account is a customer, nil when there is none. The caller holds the lock.
func (s *Server) account(id string) *Customer {
	number, ofTelegram := strings.CutPrefix(id, "telegram:")
	if _, err := strconv.ParseInt(number, 10, 64); ofTelegram && err == nil && s.customers[id] == nil && len(s.customers) < maxAccounts {
		s.customers[id] = &Customer{ID: id, Name: "Customer " + number}
	}
	return s.customers[id]
}

// putBillingAddress makes a change once, however often it is asked for.
func (s *Server) putBillingAddress(c call) reply {
	key, id := c.Header.Get("Idempotency-Key"), c.PathValue("id")
	if key == "" || len(key) > 255 {
		return refuse(http.StatusBadRequest, "Idempotency-Key is missing or longer than 255 characters")
	}
	line, err := c.address()
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.key == key && u.Customer == id && u.asked == line {
			return ok(u)
		}
		if u.key == key {
			return refuse(http.StatusUnprocessableEntity, "Idempotency-Key %s was used for another change", key)
		}
	}
	account := s.account(id)
	if account == nil {
		return refuse(http.StatusNotFound, "there is no customer %q", id)
	}
	check := CheckAddress(line)
	if !check.Valid {
		return refuse(http.StatusUnprocessableEntity, "%s", check.Reason)
	}
	s.updated++
	u := Update{fmt.Sprintf("R-%d", s.updated), id, check.Address, time.Now().UTC(), key, line}
	account.BillingAddress = u.Address
	s.updates = newest(append(s.updates, u), maxUpdates)
	return ok(u)
}
