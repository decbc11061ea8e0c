package zendesksim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault makes calls fail or wait. The first that fits a call is used.
type Fault struct {
	Method     string `json:"method,omitempty"`      // empty is every method
	Status     int    `json:"status,omitempty"`      // the call is refused with this and has no effect
	RetryAfter int    `json:"retry_after,omitempty"` // seconds, with a Status
	DelayMS    int    `json:"delay_ms,omitempty"`    // milliseconds before anything happens
	Spoil      Spoil  `json:"spoil,omitempty"`
	Count      int    `json:"count,omitempty"` // calls left to hit; 0: until cleared
}

// Spoil says what becomes of a call's answer.
type Spoil string

// Ways to spoil an answer. All but Reset let the call have its effect.
const (
	Reset     Spoil = "reset"     // the connection closes at once, and nothing is done
	Cut       Spoil = "cut"       // the connection closes instead of an answer
	HTML      Spoil = "html"      // a page with status 200
	Truncated Spoil = "truncated" // half the answer, as if it were all
	Half      Spoil = "half"      // half the answer, then the connection closes
	Endless   Spoil = "endless"   // an answer that does not end
)

// maxDelay bounds a Fault, so that a slip of the finger does not freeze a server.
const maxDelay = 10 * time.Minute

func (f Fault) check() error {
	switch {
	case f.Status != 0 && (f.Status < 300 || f.Status > 599):
		return fmt.Errorf("status %d is no refusal; give 300 to 599, or leave it out", f.Status)
	case f.Spoil != "" && !slices.Contains([]Spoil{Reset, Cut, HTML, Truncated, Half, Endless}, f.Spoil):
		return fmt.Errorf("spoil %q is unknown; it is reset, cut, html, truncated, half or endless", f.Spoil)
	case f.Status == 0 && f.Spoil == "" && f.DelayMS == 0:
		return errors.New("the fault does nothing; give a status, a spoil or a delay_ms")
	case f.DelayMS < 0 || f.DelayMS > int(maxDelay.Milliseconds()) || f.RetryAfter < 0 || f.Count < 0:
		return fmt.Errorf("delay_ms is 0 to %d; retry_after and count are not negative", maxDelay.Milliseconds())
	}
	return nil
}

// SetFaults replaces all faults; none clears them. It panics when one makes no sense.
func (s *Server) SetFaults(list ...Fault) {
	for _, f := range list {
		if err := f.check(); err != nil {
			panic("zendesksim: SetFaults: " + err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.Clone(list)
}

// fault is the one for a call, if any; it is used up by one.
func (s *Server) fault(c Call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.Method == "" || strings.EqualFold(f.Method, c.Method) })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	switch f.Count {
	case 0:
	case 1:
		s.faults = slices.Delete(s.faults, i, i+1)
	default:
		s.faults[i].Count--
	}
	return f
}

// write answers as the fault wants it.
func (f Fault) write(w http.ResponseWriter, r *http.Request, a answer) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if a.lookup != "" {
		w.Header().Set("x-idempotency-lookup", a.lookup)
	}
	if a.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	switch f.Spoil {
	case Reset, Cut:
		panic(http.ErrAbortHandler)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html>\n<title>Just a moment</title>")
	case Truncated:
		w.WriteHeader(a.status)
		w.Write(a.body[:len(a.body)/2])
	case Half:
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		w.Write(a.body[:len(a.body)/2])
		panic(http.ErrAbortHandler)
	case Endless:
		w.WriteHeader(a.status)
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	default:
		w.WriteHeader(a.status)
		w.Write(a.body)
	}
}
