package zendesksim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// control adds the control endpoints, with which scripts act as agents:
//
//	GET    /fake/tickets
//	POST   /fake/tickets/{id}/solve     {"agent": "Maria"}
//	POST   /fake/tickets/{id}/reopen    {"agent": "Maria"}
//	POST   /fake/tickets/{id}/comments  {"agent": "Maria", "body": "On its way.", "private": false}
//	GET    /fake/calls
//	GET    /fake/faults
//	POST   /fake/faults                 adds a faults.Fault after those set
//	DELETE /fake/faults
//
// Errors are answered with 400 and a line that says what to do.
func (s *Server) control() {
	s.mux.HandleFunc("GET /fake/tickets", func(w http.ResponseWriter, _ *http.Request) { write(w, s.Tickets()) })
	s.mux.HandleFunc("GET /fake/calls", func(w http.ResponseWriter, _ *http.Request) { write(w, s.Calls()) })
	s.mux.HandleFunc("POST /fake/tickets/{id}/{act}", s.act)
	s.faults.Control(s.mux, "/fake/faults")
}

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Agent   string `json:"agent"`
		Body    string `json:"body"`
		Private bool   `json:"private"`
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err == nil {
		err = readBody(r, &in)
	}
	if in.Agent == "" {
		in.Agent = "Agent"
	}
	if err == nil {
		switch act := r.PathValue("act"); act {
		case "solve":
			err = s.Solve(r.Context(), id, in.Agent)
		case "reopen":
			err = s.Reopen(r.Context(), id, in.Agent)
		case "comments":
			err = s.Comment(r.Context(), id, in.Agent, in.Body, !in.Private)
		default:
			err = fmt.Errorf("%q is unknown; use solve, reopen or comments", act)
		}
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	write(w, map[string]string{"result": "done"})
}

// readBody decodes JSON; without a body it does nothing. Unknown fields are rejected: a misspelt one would
// silently do nothing.
func readBody(r *http.Request, target any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the body: %w", err)
	}
	return nil
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	write(w, map[string]string{"error": r.Method + " " + r.URL.Path + ": " + err.Error()})
}

func write(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}
