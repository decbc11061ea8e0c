package crmtest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// controls are the doors for people and scripts:
//
//	GET    /fake/requests   what was asked, oldest first
//	GET    /fake/updates    changes that took effect, oldest first
//	GET    /fake/faults     those set
//	POST   /fake/faults     a Fault, added behind them
//	DELETE /fake/faults     none any more
func (s *Server) controls() {
	s.control.HandleFunc("GET /fake/requests", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Requests())) })
	s.control.HandleFunc("GET /fake/updates", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Updates())) })
	s.control.HandleFunc("GET /fake/faults", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Faults())) })
	s.control.HandleFunc("POST /fake/faults", func(w http.ResponseWriter, r *http.Request) {
		if err := s.postFault(w, r); err != nil {
			write(w, refuse(http.StatusBadRequest, "%v", err))
			return
		}
		write(w, ok(s.Faults()))
	})
	s.control.HandleFunc("DELETE /fake/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		write(w, ok(s.Faults()))
	})
}

// postFault refuses unknown fields: a misspelt one would silently do nothing.
func (s *Server) postFault(w http.ResponseWriter, r *http.Request) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	var f Fault
	if err := decoder.Decode(&f); err != nil {
		return fmt.Errorf("the body is no fault: %w; send for example {\"status\": 500, \"every\": 2}", err)
	}
	return s.addFault(f)
}
