package telegramsim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault makes Bot API calls fail or wait. Of several that fit a call, all
// delays add up and the first refusal counts; each that took part uses up one
// of its Count.
type Fault struct {
	Method     string `json:"method"`                // as in the Bot API, case ignored; "*" is every method
	Chat       int64  `json:"chat,omitempty"`        // 0: any chat
	Status     int    `json:"status,omitempty"`      // the call is refused with this; 0: it takes effect
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds, with 429; 0 means 1
	MigrateTo  int64  `json:"migrate_to,omitempty"`  // with 400: the group became this supergroup
	DelayMS    int64  `json:"delay_ms,omitempty"`    // milliseconds before anything happens
	DropReply  bool   `json:"drop_reply,omitempty"`  // the call takes effect, then the connection closes without an answer
	Count      int    `json:"count,omitempty"`       // calls left to hit; 0: until cleared
}

// Bounds of a Fault, so that a slip of the finger does not freeze a server.
const (
	maxFaults     = 1000
	maxFaultDelay = 10 * 60 * 1000 // milliseconds; far above any client's timeout
)

// check says what is wrong with a fault, and what to do.
func (f Fault) check() error {
	_, known := methods[strings.ToLower(f.Method)]
	switch {
	case f.Method == "":
		return errors.New(`a fault needs a method, for example "sendMessage", or "*" for all`)
	case f.Method != "*" && !known:
		return fmt.Errorf("method %q is not simulated; use one of the Bot API's, for example sendMessage, or \"*\"", f.Method)
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d is no refusal; give 400 to 599, or leave it out", f.Status)
	case f.Status != 0 && f.DropReply:
		return errors.New("status and drop_reply exclude each other: a dropped reply belongs to a call that took effect")
	case f.Status == 0 && f.DelayMS == 0 && !f.DropReply:
		return errors.New("the fault does nothing; give a status, a delay_ms or drop_reply")
	case f.DelayMS < 0 || f.DelayMS > maxFaultDelay:
		return fmt.Errorf("delay_ms %d is out of range; give 0 to %d", f.DelayMS, maxFaultDelay)
	case f.RetryAfter < 0 || f.Count < 0:
		return errors.New("retry_after and count cannot be negative")
	}
	return nil
}

// refusal is the error of a fault's status in Telegram's words.
func (f Fault) refusal() *apiError {
	switch f.Status {
	case 0:
		return nil
	case http.StatusTooManyRequests:
		return tooManyRequests(max(f.RetryAfter, 1))
	case http.StatusBadRequest:
		if f.MigrateTo != 0 {
			fault := badRequest("group chat was upgraded to a supergroup chat")
			fault.migrateTo = f.MigrateTo
			return fault
		}
		return badRequest("chat not found")
	case http.StatusForbidden:
		return &apiError{code: f.Status, description: "Forbidden: bot was blocked by the user"}
	case http.StatusConflict:
		return &apiError{code: f.Status, description: "Conflict: terminated by other request"}
	}
	return &apiError{code: f.Status, description: http.StatusText(f.Status), retryAfter: f.RetryAfter}
}

// faults are the faults set now.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// hit is what the faults do to one call.
type hit struct {
	delay     time.Duration
	refusal   *apiError
	dropReply bool
}

// hit finds the faults of a call and uses them up.
func (f *faults) hit(method string, chat int64) (h hit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == 0 {
		return h
	}
	decided := false
	kept := f.list[:0]
	for _, one := range f.list {
		fits := (one.Method == "*" || strings.EqualFold(one.Method, method)) && (one.Chat == 0 || one.Chat == chat)
		decides := one.Status != 0 || one.DropReply
		if !fits || decides && decided {
			kept = append(kept, one)
			continue
		}
		h.delay += time.Duration(one.DelayMS) * time.Millisecond
		if decides {
			decided, h.refusal, h.dropReply = true, one.refusal(), one.DropReply
		}
		if one.Count == 1 {
			continue // used up
		}
		if one.Count > 1 {
			one.Count--
		}
		kept = append(kept, one)
	}
	f.list = kept
	return h
}

// AddFault adds a fault behind those already set. It panics when the fault
// makes no sense.
func (s *Server) AddFault(f Fault) {
	if err := s.faults.add(f); err != nil {
		panic("telegramsim: AddFault: " + err.Error())
	}
}

// SetFaults replaces all faults. It panics when one makes no sense.
func (s *Server) SetFaults(list ...Fault) {
	s.ClearFaults()
	for _, f := range list {
		s.AddFault(f)
	}
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
}

// Faults lists the faults still set, with what is left of their counts.
func (s *Server) Faults() []Fault {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return append([]Fault{}, s.faults.list...)
}

func (f *faults) add(one Fault) error {
	if err := one.check(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) >= maxFaults {
		return fmt.Errorf("there are %d faults already; delete them first", maxFaults)
	}
	f.list = append(f.list, one)
	return nil
}
