package telegramsim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

// Fault makes Bot API calls fail or wait. If several match a call, their delays are added and the first
// with a status or drop_reply decides. Each fault that is used counts down its Count.
type Fault struct {
	Method     string `json:"method"`                // as in the Bot API, case ignored; "*" is every method
	Chat       int64  `json:"chat,omitempty"`        // 0: any chat
	Topic      int64  `json:"topic,omitempty"`       // only calls into this forum topic; 0: any call
	Status     int    `json:"status,omitempty"`      // the call fails with this status; 0: it takes effect
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds, with 429; 0 means 1
	NoSeconds  bool   `json:"no_seconds,omitempty"`  // with 429: the answer has no retry_after
	HTML       bool   `json:"html,omitempty"`        // the answer is a gateway's page; status may be 200
	// Description replaces Telegram's description of the status.
	Description string `json:"description,omitempty"`
	MigrateTo   int64  `json:"migrate_to,omitempty"` // with 400: the group was migrated to this supergroup
	DelayMS     int64  `json:"delay_ms,omitempty"`   // milliseconds before the call takes effect or fails
	// DropReply closes the connection without an answer after the call has taken effect.
	DropReply bool `json:"drop_reply,omitempty"`
	Count     int  `json:"count,omitempty"` // number of calls; 0: until cleared
}

// Check returns an error if the fault is not valid. The error says what to do.
func (f Fault) Check() error {
	_, known := methods[strings.ToLower(f.Method)]
	switch {
	case f.Method == "":
		return errors.New(`a fault needs a method, for example "sendMessage", or "*" for all`)
	case f.Method != "*" && !known:
		return fmt.Errorf("method %q is not simulated; use one of the Bot API's, for example sendMessage, or \"*\"",
			f.Method)
	case f.HTML && f.Status == 0:
		return errors.New("html needs a status, for example 502; 200 is possible, too")
	case f.NoSeconds && (f.Status != http.StatusTooManyRequests || f.RetryAfter != 0):
		return errors.New("no_seconds belongs to status 429 without retry_after")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599) && !(f.HTML && f.Status == http.StatusOK):
		return fmt.Errorf("status %d is not an error status; give 400 to 599, or omit it", f.Status)
	case f.Status != 0 && f.DropReply:
		return errors.New("status and drop_reply exclude each other: with drop_reply the call takes effect")
	case f.Status == 0 && f.DelayMS == 0 && !f.DropReply:
		return errors.New("the fault does nothing; give a status, a delay_ms or drop_reply")
	case f.DelayMS < 0 || f.DelayMS > faults.MaxDelayMS:
		return fmt.Errorf("delay_ms %d is out of range; give 0 to %d", f.DelayMS, faults.MaxDelayMS)
	case f.RetryAfter < 0 || f.Count < 0:
		return errors.New("retry_after and count cannot be negative")
	}
	return nil
}

// refusal returns the error for a fault's status, with Telegram's description.
func (f Fault) refusal() *apiError {
	refusal := f.byStatus()
	if refusal != nil && f.Description != "" {
		refusal.description = f.Description
	}
	return refusal
}

func (f Fault) byStatus() *apiError {
	if f.HTML {
		return &apiError{code: f.Status, html: true}
	}
	switch f.Status {
	case 0:
		return nil
	case http.StatusTooManyRequests:
		if f.NoSeconds {
			return &apiError{code: f.Status, description: "Too Many Requests"}
		}
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

// hit is the combined effect of the faults on one call.
type hit struct {
	delay     time.Duration
	refusal   *apiError
	dropReply bool
}

// hit returns the effect of the faults that match a call, and counts them down.
func (s *Server) hit(method string, chat, topic int64) (h hit) {
	decided := false
	s.faults.Visit(func(f *Fault) bool {
		fits := (f.Method == "*" || strings.EqualFold(f.Method, method)) && (f.Chat == 0 || f.Chat == chat) &&
			(f.Topic == 0 || f.Topic == topic)
		decides := f.Status != 0 || f.DropReply
		if !fits || decides && decided {
			return false
		}
		h.delay += time.Duration(f.DelayMS) * time.Millisecond
		if decides {
			decided, h.refusal, h.dropReply = true, f.refusal(), f.DropReply
		}
		return faults.CountDown(&f.Count)
	})
	return h
}

// AddFault adds a fault after those already set. It panics if the fault is not valid.
func (s *Server) AddFault(f Fault) { s.faults.MustAdd(f) }

// SetFaults replaces all faults. It panics if one is not valid.
func (s *Server) SetFaults(list ...Fault) {
	s.faults.Clear()
	s.faults.MustAdd(list...)
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.Clear() }

// Faults returns the faults that are set, with their remaining counts.
func (s *Server) Faults() []Fault { return s.faults.List() }
