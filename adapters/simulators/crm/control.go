package crmsim

import (
	"encoding/json"
	"net/http"
)

// controls adds the control endpoints:
//
//	GET    /fake/requests   the calls of the contract, oldest first
//	GET    /fake/updates    changes of billing addresses, oldest first
//	GET    /fake/refunds    refunded charges, oldest first
//	GET    /fake/cases      reported problems with deliveries, oldest first
//	POST   /fake/customers  adds a Customer, or replaces the one with this id
//	GET    /fake/faults     the faults that are set
//	POST   /fake/faults     adds a faults.Fault after them
//	DELETE /fake/faults     removes all
func (s *Server) controls() {
	s.control.HandleFunc("GET /fake/requests",
		func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Requests())) })
	s.control.HandleFunc("GET /fake/updates", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Updates())) })
	s.control.HandleFunc("GET /fake/refunds", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Refunds())) })
	s.control.HandleFunc("GET /fake/cases", func(w http.ResponseWriter, _ *http.Request) { write(w, ok(s.Cases())) })
	s.control.HandleFunc("POST /fake/customers", func(w http.ResponseWriter, r *http.Request) {
		var c Customer
		err := read(w, r, &c)
		if err == nil {
			err = s.addCustomer(c)
		}
		if err != nil {
			write(w, refuse(http.StatusBadRequest, "the body is not a customer: %v; send for example "+
				`{"id": "telegram:7", "name": "Ada", "tier": "priority"}`, err))
			return
		}
		write(w, ok(c))
	})
	s.faults.Control(s.control, "/fake/faults")
}

// read decodes a body. It rejects unknown fields: a misspelt one would silently do nothing.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
