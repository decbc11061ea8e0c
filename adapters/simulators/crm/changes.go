package crmsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

// Durations in the demo shop, in days.
const (
	refundDays = 5
	answerDays = 3
)

// written is a change with its idempotency key, its request and its answer.
type written struct {
	key, asked string
	answer     reply
}

// once makes a change once for its idempotency key, and returns the first answer to retries. The lock is held
// while change is called.
func (s *Server) once(c call, asked any, change func() reply) reply {
	key := c.Header.Get("Idempotency-Key")
	if key == "" || len(key) > 255 {
		return refuse(http.StatusBadRequest, "Idempotency-Key is missing or longer than 255 characters")
	}
	what := fmt.Sprintf("%s %s %q", c.Method, c.URL.Path, asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.written {
		if w.key == key && w.asked == what {
			return w.answer
		}
		if w.key == key {
			return refuse(http.StatusUnprocessableEntity, "Idempotency-Key %s was used for another change", key)
		}
	}
	answer := change()
	if answer.status == http.StatusOK {
		s.written = newest(append(s.written, written{key, what, answer}), maxChanges)
	}
	return answer
}

// number returns the next number of a kind of change. The caller holds the lock.
func (s *Server) number(prefix string) string {
	s.numbers[prefix]++
	return fmt.Sprintf("%s-%d", prefix, s.numbers[prefix])
}

func (s *Server) putBillingAddress(c call) reply {
	line, err := c.address()
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	id := c.PathValue("id")
	return s.once(c, line, func() reply {
		account := s.account(id)
		if account == nil {
			return refuse(http.StatusNotFound, "there is no customer %q", id)
		}
		check := CheckAddress(line)
		if !check.Valid {
			return refuse(http.StatusUnprocessableEntity, "%s", check.Reason)
		}
		u := Update{s.number("R"), id, check.Address, time.Now().UTC()}
		account.BillingAddress = u.Address
		s.updates = newest(append(s.updates, u), maxChanges)
		return ok(u)
	})
}

func (s *Server) postRefund(c call) reply {
	var asked struct{ Order, Charge string }
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return refuse(http.StatusBadRequest, "the body is not {\"order\": ..., \"charge\": ...}: %v", err)
	}
	for _, key := range []string{asked.Order, asked.Charge} {
		if err := checkKey(key); err != nil {
			return refuse(http.StatusBadRequest, "order or charge: %v", err)
		}
	}
	id := c.PathValue("id")
	return s.once(c, asked, func() reply {
		p := s.bought(id, asked.Order)
		if p == nil {
			return refuse(http.StatusNotFound, "customer %q has no order %q", id, asked.Order)
		}
		for _, charge := range p.charges {
			switch {
			case charge.ID != asked.Charge:
				continue
			case charge.DuplicateOf == "" || charge.Status != Charged:
				return refuse(http.StatusUnprocessableEntity,
					"charge %s of order %s is %s and no duplicate to refund", charge.ID, p.order.Number, charge.Status)
			}
			s.refunded[[2]string{id, charge.ID}] = true
			r := Refund{s.number("RF"), id, p.order.Number, charge.ID, charge.Amount, refundDays}
			s.refunds = newest(append(s.refunds, r), maxChanges)
			return ok(r)
		}
		return refuse(http.StatusUnprocessableEntity, "order %s has no charge %q", p.order.Number, asked.Charge)
	})
}

func (s *Server) postDeliveryProblem(c call) reply {
	var asked struct{ Order, Problem, Detail string }
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return refuse(http.StatusBadRequest, "the body is not {\"order\": ..., \"problem\": ..., \"detail\": ...}: %v", err)
	}
	if err := checkKey(asked.Order); err != nil {
		return refuse(http.StatusBadRequest, "order: %v", err)
	}
	switch asked.Problem {
	case "not_arrived", "damaged", "wrong_item", "missing_item":
	default:
		return refuse(http.StatusBadRequest, "problem %q is unknown; use not_arrived, damaged, wrong_item or missing_item",
			asked.Problem)
	}
	if n := utf8.RuneCountInString(asked.Detail); n > maxDetail {
		return refuse(http.StatusBadRequest, "detail has %d characters; send at most %d", n, maxDetail)
	}
	id := c.PathValue("id")
	return s.once(c, asked, func() reply {
		p := s.bought(id, asked.Order)
		if p == nil {
			return refuse(http.StatusNotFound, "customer %q has no order %q", id, asked.Order)
		}
		d := DeliveryCase{s.number("DC"), id, p.order.Number, asked.Problem, asked.Detail, answerDays}
		s.cases = newest(append(s.cases, d), maxChanges)
		return ok(d)
	})
}

// Updates returns the changes of billing addresses, oldest first, without retries.
func (s *Server) Updates() []Update { return list(s, &s.updates) }

// Refunds returns the refunded charges, oldest first, without retries.
func (s *Server) Refunds() []Refund { return list(s, &s.refunds) }

// Cases returns the reported problems, oldest first, without retries.
func (s *Server) Cases() []DeliveryCase { return list(s, &s.cases) }

// list returns a copy of one of the server's lists.
func list[T any](s *Server, kept *[]T) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]T{}, *kept...)
}
