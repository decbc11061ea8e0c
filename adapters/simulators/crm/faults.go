package crmsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Fault makes calls of the contract fail or wait. The first that fits a call hits
// it, and no other.
type Fault struct {
	Path       string `json:"path,omitempty"`        // how the path begins; empty: every path
	Every      int    `json:"every,omitempty"`       // 2 hits every second call that fits; 0 and 1 hit each
	Count      int    `json:"count,omitempty"`       // calls left to hit; 0: until cleared
	DelayMS    int    `json:"delay_ms,omitempty"`    // milliseconds before anything happens
	Status     int    `json:"status,omitempty"`      // the call is refused with this; 0: it takes effect
	RetryAfter int    `json:"retry_after,omitempty"` // seconds, with a status
	Cut        bool   `json:"cut,omitempty"`         // the call takes effect, then the connection closes without an answer
	Body       string `json:"body,omitempty"`        // the call takes effect, then the answer is html, nonsense, truncated or endless

	seen int // calls that fitted
}

// Bounds of faults, so that a slip of the finger does not freeze a server.
const (
	maxFaults  = 100
	maxDelayMS = 10 * 60 * 1000 // far above any client's timeout
)

// check says what is wrong with a fault, and what to do.
func (f Fault) check() error {
	switch f.Body {
	case "", "html", "nonsense", "truncated", "endless":
	default:
		return fmt.Errorf("body %q is unknown; use html, nonsense, truncated or endless", f.Body)
	}
	switch {
	case f.Status != 0 && (f.Status < 300 || f.Status > 599):
		return fmt.Errorf("status %d is no refusal; give 300 to 599, or leave it out", f.Status)
	case f.Status != 0 && (f.Cut || f.Body != "") || f.Cut && f.Body != "":
		return errors.New("status, cut and body exclude each other; give one")
	case f.Status == 0 && !f.Cut && f.Body == "" && f.DelayMS == 0:
		return errors.New("the fault does nothing; give a status, cut, a body or delay_ms")
	case f.DelayMS < 0 || f.DelayMS > maxDelayMS:
		return fmt.Errorf("delay_ms %d is out of range; give 0 to %d", f.DelayMS, maxDelayMS)
	case f.Every < 0 || f.Count < 0 || f.RetryAfter < 0:
		return errors.New("every, count and retry_after cannot be negative")
	}
	return nil
}

// hit finds the fault of a call and uses it up. The caller holds the lock.
func (s *Server) hit(path string) Fault {
	for i := range s.faults {
		f := &s.faults[i]
		if !strings.HasPrefix(path, f.Path) {
			continue
		}
		if f.seen++; f.seen%max(f.Every, 1) != 0 {
			continue
		}
		found := *f
		if f.Count == 1 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		} else if f.Count > 1 {
			f.Count--
		}
		return found
	}
	return Fault{}
}

// wait makes the delay; false when the caller did not.
func (f Fault) wait(ctx context.Context) bool {
	select {
	case <-time.After(time.Duration(f.DelayMS) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// spoil writes an answer as the fault wants it.
func (f Fault) spoil(w http.ResponseWriter, r *http.Request, answer reply) {
	switch {
	case f.Cut:
		panic(http.ErrAbortHandler)
	case f.Body == "html":
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>Log in</title>"))
	case f.Body == "nonsense":
		_, _ = w.Write([]byte(`{"ok": false, "answers": 42, "id": null}`))
	case f.Body == "truncated":
		whole, err := json.Marshal(answer.body)
		if err != nil {
			panic(err)
		}
		_, _ = w.Write(whole[:len(whole)/2])
	case f.Body == "endless":
		chunk := bytes.Repeat([]byte(" "), 64<<10) // JSON may begin with any number of spaces
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	default:
		write(w, answer)
	}
}

// AddFault adds a fault behind those already set. It panics when the fault makes
// no sense.
func (s *Server) AddFault(f Fault) {
	if err := s.addFault(f); err != nil {
		panic("crmsim: AddFault: " + err.Error())
	}
}

func (s *Server) addFault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) >= maxFaults {
		return fmt.Errorf("there are %d faults already; delete them first", maxFaults)
	}
	s.faults = append(s.faults, f)
	return nil
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults lists the faults still set, with what is left of their counts.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.faults...)
}
