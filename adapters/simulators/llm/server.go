// Package llmsim simulates a server of language models. It serves streamed chat completions. It
// answers from a script, or by a few rules that look up orders and change addresses. It can fail on
// demand and obey prompt injections.
package llmsim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

// Options configure New.
type Options struct {
	Key string // bearer token of callers; empty accepts every caller
}

// Server is the simulated server: an http.Handler of /v1/chat/completions and of the control
// endpoints /fake/answers, /fake/faults and /fake/requests.
type Server struct {
	key    string
	mux    *http.ServeMux
	faults faults.HTTP

	mu       sync.Mutex
	script   []Answer
	requests []Request
	obeys    bool
}

// Answer is the model's next answer: a text, or tool calls.
type Answer struct {
	Text      string `json:"text,omitempty"`
	Calls     []Call `json:"calls,omitempty"`
	Finish    string `json:"finish,omitempty"`    // the finish_reason, such as length; empty: stop or tool_calls
	Uncounted bool   `json:"uncounted,omitempty"` // the answer has no token counts
}

// Call is a tool call. Input is any text, valid JSON or not.
type Call struct {
	Tool  string `json:"tool"`
	Input string `json:"input"`
}

// Request is a question as received.
type Request struct {
	Model    string    `json:"model"`
	Messages []Message `json:"messages"`
	Tools    []struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tools"`
	Stream    bool `json:"stream"`
	MaxTokens int  `json:"max_completion_tokens"`
}

// Message is a message of a question.
type Message struct {
	Role      string `json:"role"`
	Content   string `json:"content"`
	CallID    string `json:"tool_call_id,omitempty"`
	ToolCalls []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls,omitempty"`
}

// Limits of memory and of requests.
const (
	maxRequest    = 1 << 20 // bytes
	maxRequests   = 1000
	wordsPerPiece = 3 // in one event
)

// New returns a server.
func New(o Options) *Server {
	s := &Server{key: o.Key, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /v1/chat/completions", s.complete)
	s.mux.HandleFunc("POST /fake/answers", takes(s.Script))
	s.faults.Control(s.mux, "/fake/faults")
	s.mux.HandleFunc("GET /fake/requests", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Requests()) })
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Script adds an answer to the script.
func (s *Server) Script(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, a)
}

// AddFault adds a fault after those already set. It panics if the fault is not valid.
func (s *Server) AddFault(f faults.Fault) { s.faults.MustAdd(f) }

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.Clear() }

// Obey makes the model follow the customer's last message instead of its instructions: it
// reveals them and calls tools that change something.
func (s *Server) Obey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.obeys = true
}

// Requests returns the questions so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// take records a question and returns the answer to it.
func (s *Server) take(r Request, fault faults.Fault) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests = append(s.requests, r); len(s.requests) > maxRequests {
		s.requests = s.requests[1:]
	}
	switch {
	case fault.Status != 0:
		return Answer{}
	case len(s.script) > 0:
		next := s.script[0]
		s.script = s.script[1:]
		return next
	case s.obeys:
		return obedient(r)
	default:
		return think(r)
	}
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	var question Request
	body := http.MaxBytesReader(w, r.Body, maxRequest)
	switch err := json.NewDecoder(body).Decode(&question); {
	case s.key != "" && r.Header.Get("Authorization") != "Bearer "+s.key:
		refuse(w, http.StatusUnauthorized, "Incorrect API key provided.")
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, "We could not parse the JSON body of your request.")
		return
	case question.wrong() != "":
		refuse(w, http.StatusBadRequest, question.wrong())
		return
	}
	fault := s.faults.Hit(r.Method, r.URL.Path)
	answer := s.take(question, fault)
	if !fault.Wait(r.Context()) {
		return // the client closed the connection
	}
	if fault.Status != 0 {
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(fault.RetryAfter))
		}
		refuse(w, fault.Status, "A fault is set for this call.")
		return
	}
	stream(w, r, question, answer, fault)
}

// wrong returns the error with which the API rejects a question, for example because tool calls have no
// results; "" if there is none.
func (r Request) wrong() string {
	switch {
	case !r.Stream:
		return "only streams are served here"
	case len(r.Messages) == 0 || r.Model == "":
		return "you must provide a model and messages"
	}
	open := map[string]bool{}
	for _, m := range r.Messages {
		if m.Role != "tool" && len(open) > 0 {
			return "an assistant message with 'tool_calls' must be followed by tool messages responding to each " +
				"'tool_call_id'"
		}
		if m.Role == "tool" && !open[m.CallID] {
			return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
		}
		delete(open, m.CallID)
		for _, call := range m.ToolCalls {
			open[call.ID] = true
		}
	}
	if len(open) > 0 {
		return "tool calls have no results"
	}
	return ""
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, map[string]any{"error": map[string]any{"message": message, "type": "fake", "param": nil, "code": nil}})
}

func writeJSON(w io.Writer, value any) {
	_ = json.NewEncoder(w).Encode(value) // an error means that the client closed the connection
}

// takes returns a control endpoint that decodes its body and calls take.
func takes[T any](take func(T)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var value T
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&value); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		take(value)
		w.WriteHeader(http.StatusNoContent)
	}
}

// stream writes an answer as events, some words in each.
func stream(w http.ResponseWriter, r *http.Request, question Request, a Answer, f faults.Fault) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(delta map[string]any, finished any) {
		writeEvent(w, map[string]any{"id": "fake", "object": "chat.completion.chunk", "model": question.Model,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finished}}})
	}
	switch f.Spoil {
	case faults.Reset, faults.Cut, faults.HTML:
		f.Write(w, r, http.StatusOK, nil)
		return
	case faults.Nonsense:
		fmt.Fprint(w, "data: <html>busy</html>\n\n")
		return
	case faults.Endless:
		for range 10_000 {
			send(map[string]any{"content": strings.Repeat("and so on ", 20)}, nil)
		}
	}
	words := strings.SplitAfter(a.Text, " ")
	for piece := range slices.Chunk(words, wordsPerPiece) {
		send(map[string]any{"content": strings.Join(piece, "")}, nil)
	}
	switch f.Spoil {
	case faults.Truncated:
		return
	case faults.Half:
		panic(http.ErrAbortHandler)
	}
	finished := "stop"
	for i, call := range a.Calls {
		finished = "tool_calls"
		sendCall := func(fields map[string]any) { send(map[string]any{"tool_calls": []any{fields}}, nil) }
		sendCall(map[string]any{"index": i, "id": fmt.Sprintf("call_%d", i), "type": "function",
			"function": map[string]any{"name": call.Tool, "arguments": ""}})
		half := len(call.Input) / 2
		for _, part := range []string{call.Input[:half], call.Input[half:]} {
			sendCall(map[string]any{"index": i, "function": map[string]any{"arguments": part}})
		}
	}
	send(map[string]any{}, cmp.Or(a.Finish, finished))
	if !a.Uncounted {
		in, out := 0, len(words)
		for _, m := range question.Messages {
			in += len(strings.Fields(m.Content))
		}
		usage := map[string]any{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out}
		writeEvent(w, map[string]any{"id": "fake", "object": "chat.completion.chunk", "model": question.Model,
			"choices": []any{}, "usage": usage})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func writeEvent(w http.ResponseWriter, value any) {
	fmt.Fprint(w, "data: ")
	writeJSON(w, value)
	fmt.Fprint(w, "\n")
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
}
