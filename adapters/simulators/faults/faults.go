// Package faults makes the simulators fail on demand. A Set holds the faults of a simulator. Fault is
// a fault of an HTTP API. Telegram's simulator has another type of fault, because faults of the Bot
// API concern chats and are combined.
package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxFaults limits a Set, so that a script with an endless loop does not fill the memory.
	maxFaults = 1000
	// MaxDelayMS limits a delay, in milliseconds. It is far above any client's timeout; a larger
	// value is probably a typing error.
	MaxDelayMS = 10 * 60 * 1000
	// maxBody limits the request that sets a fault, in bytes.
	maxBody = 64 << 10
)

// Checked is a kind of fault.
type Checked interface {
	// Check returns an error if the fault is not valid. The error says what to do.
	Check() error
}

// Set holds the faults of one simulator, in the order in which they were added. The zero
// Set is ready to use; it is safe for concurrent use.
type Set[F Checked] struct {
	mu   sync.Mutex
	list []F
}

// Add adds faults after those already set, or none of them if one is not valid.
func (s *Set[F]) Add(list ...F) error {
	for _, f := range list {
		if err := f.Check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list)+len(list) > maxFaults {
		return fmt.Errorf("there are %d faults already; delete them first", len(s.list))
	}
	s.list = append(s.list, list...)
	return nil
}

// MustAdd is Add for tests. It panics if a fault is not valid.
func (s *Set[F]) MustAdd(list ...F) {
	if err := s.Add(list...); err != nil {
		panic("faults: " + err.Error())
	}
}

// Clear removes all faults.
func (s *Set[F]) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

// List returns the faults that are set, with their remaining counts.
func (s *Set[F]) List() []F {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]F{}, s.list...)
}

// Visit calls use for each fault in order, and removes the fault if use returns true.
func (s *Set[F]) Visit(use func(*F) (usedUp bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.list[:0]
	for i := range s.list {
		if f := s.list[i]; !use(&f) {
			kept = append(kept, f)
		}
	}
	clear(s.list[len(kept):])
	s.list = kept
}

// CountDown subtracts a call from a fault's Count, and reports whether it was the last one. A count of 0
// means until cleared.
func CountDown(count *int) (usedUp bool) {
	if *count == 1 {
		return true
	}
	*count = max(*count-1, 0)
	return false
}

// Spoil is a way to spoil the answer to a call.
type Spoil string

// Ways to spoil an answer. With all but Reset the call takes effect.
const (
	Reset     Spoil = "reset"     // the connection closes at once, and the call has no effect
	Cut       Spoil = "cut"       // the connection closes instead of an answer
	HTML      Spoil = "html"      // a page with status 200
	Nonsense  Spoil = "nonsense"  // JSON without the expected fields
	Truncated Spoil = "truncated" // half the answer, as a complete one
	Half      Spoil = "half"      // half the answer, then the connection closes
	Endless   Spoil = "endless"   // an answer that does not end
)

var spoils = []Spoil{Reset, Cut, HTML, Nonsense, Truncated, Half, Endless}

// Fault makes calls of an HTTP API fail or wait. Only the first fault that matches a call is applied.
type Fault struct {
	Method     string `json:"method,omitempty"`      // empty: every method
	Path       string `json:"path,omitempty"`        // prefix of the path; empty: every path
	Every      int    `json:"every,omitempty"`       // 2 means every second call that matches; 0 and 1 mean each
	Count      int    `json:"count,omitempty"`       // number of calls; 0: until cleared
	DelayMS    int    `json:"delay_ms,omitempty"`    // milliseconds before the call takes effect or fails
	Status     int    `json:"status,omitempty"`      // the call fails with this status and has no effect
	RetryAfter int    `json:"retry_after,omitempty"` // seconds, with a status
	Spoil      Spoil  `json:"spoil,omitempty"`

	seen int // calls that matched
}

// Check implements Checked.
func (f Fault) Check() error {
	switch {
	case f.Spoil != "" && !slices.Contains(spoils, f.Spoil):
		return fmt.Errorf("spoil %q is unknown; use one of %q", f.Spoil, spoils)
	case f.Status != 0 && (f.Status < 300 || f.Status > 599):
		return fmt.Errorf("status %d is not an error status; give 300 to 599, or omit it", f.Status)
	case f.Status != 0 && f.Spoil != "":
		return errors.New("status and spoil exclude each other; give one")
	case f.Status == 0 && f.Spoil == "" && f.DelayMS == 0:
		return errors.New("the fault does nothing; give a status, a spoil or delay_ms")
	case f.DelayMS < 0 || f.DelayMS > MaxDelayMS:
		return fmt.Errorf("delay_ms %d is out of range; give 0 to %d", f.DelayMS, MaxDelayMS)
	case f.Every < 0 || f.Count < 0 || f.RetryAfter < 0:
		return errors.New("every, count and retry_after cannot be negative")
	}
	return nil
}

// HTTP is the Set of an HTTP API.
type HTTP struct{ Set[Fault] }

// Hit returns the fault of a call and counts it; the zero Fault if none matches.
func (h *HTTP) Hit(method, path string) (found Fault) {
	done := false
	h.Visit(func(f *Fault) bool {
		if done || f.Method != "" && !strings.EqualFold(f.Method, method) || !strings.HasPrefix(path, f.Path) {
			return false
		}
		if f.seen++; f.seen%max(f.Every, 1) != 0 {
			return false
		}
		done, found = true, *f
		return CountDown(&f.Count)
	})
	return found
}

// Control adds the control endpoints for faults:
//
//	GET    path   lists the faults that are set
//	POST   path   adds a Fault after them
//	DELETE path   removes all
//
// An invalid request is answered with status 400 and a line that says what to do.
func (h *HTTP) Control(mux *http.ServeMux, path string) {
	list := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.List()) // an error means that the client closed the connection
	}
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { list(w) })
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		// Unknown fields are rejected: a misspelt one would silently do nothing.
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		decoder.DisallowUnknownFields()
		var f Fault
		err := decoder.Decode(&f)
		if err != nil {
			err = fmt.Errorf("the body is not a fault: %w; send for example {\"status\": 500, \"every\": 2}", err)
		} else {
			err = h.Add(f)
		}
		if err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": r.Method + " " + r.URL.Path + ": " + err.Error()})
			return
		}
		list(w)
	})
	mux.HandleFunc("DELETE "+path, func(w http.ResponseWriter, _ *http.Request) {
		h.Clear()
		list(w)
	})
}

// Wait waits for the fault's delay. It returns false if the client closes the connection before.
func (f Fault) Wait(ctx context.Context) bool {
	select {
	case <-time.After(time.Duration(f.DelayMS) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// Write writes an answer, spoilt by the fault. The header must be set before.
func (f Fault) Write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	switch f.Spoil {
	case Reset, Cut:
		panic(http.ErrAbortHandler)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html>\n<title>Log in</title>")
	case Nonsense:
		_, _ = io.WriteString(w, `{"ok": false, "answers": 42, "id": null}`)
	case Truncated:
		w.WriteHeader(status)
		_, _ = w.Write(body[:len(body)/2])
	case Half:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case Endless:
		w.WriteHeader(status)
		chunk := bytes.Repeat([]byte(" "), 64<<10) // JSON may begin with any number of spaces
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	default:
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}
}
