package telegramsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxControlBytes limits a control request, in bytes. The largest are updates.
const maxControlBytes = 1 << 20

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.HandleFunc("GET /sim/chats", s.control(listChats))
	mux.HandleFunc("GET /sim/chats/{chat}/status", s.control(chatStatus))
	mux.HandleFunc("GET /sim/chats/{chat}/messages", s.control(listMessages))
	mux.HandleFunc("POST /sim/chats/{chat}/messages", s.control(postMessage))
	mux.HandleFunc("POST /sim/chats/{chat}/callbacks", s.control(postCallback))
	mux.HandleFunc("POST /sim/chats/{chat}/migrate", s.control(postMigration))
	mux.HandleFunc("POST /sim/updates", s.control(postUpdate))
	mux.HandleFunc("POST /sim/faults", s.control(postFault))
	mux.HandleFunc("GET /sim/faults",
		s.control(func(b *bot, _ *http.Request) (any, error) { return b.server.Faults(), nil }))
	mux.HandleFunc("DELETE /sim/faults", s.control(func(b *bot, _ *http.Request) (any, error) {
		b.server.ClearFaults()
		return b.server.Faults(), nil
	}))
	mux.HandleFunc("GET /sim/stats",
		s.control(func(b *bot, _ *http.Request) (any, error) { return b.server.Stats(), nil }))
	mux.HandleFunc("GET /sim/events", s.serveEvents)
	return mux
}

// control wraps the handler of a control request. Every error is a mistake of the client and is answered
// with status 400 and a line that says what failed and what to do.
func (s *Server) control(handle func(*bot, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, ok := s.chosenBot(w, r)
		if !ok {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxControlBytes)
		out, err := handle(b, r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		writeBody(w, http.StatusOK, append(mustJSON(out), '\n')) // for shells
	}
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": r.Method + " " + r.URL.Path + ": " + err.Error()})
}

// chosenBot returns the bot of ?bot=<username>, or the first one.
func (s *Server) chosenBot(w http.ResponseWriter, r *http.Request) (*bot, bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // r.URL.Query would ignore the error
		refuse(w, r, fmt.Errorf("the query is malformed: %w", err))
		return nil, false
	}
	name := strings.TrimPrefix(query.Get("bot"), "@")
	if name == "" {
		return s.bots[0], true
	}
	b := s.byName[strings.ToLower(name)]
	if b == nil {
		refuse(w, r, fmt.Errorf("there is no bot %q; omit ?bot= for %q", name, s.bots[0].account.Username))
	}
	return b, b != nil
}

// readBody decodes a JSON object. Unknown fields are rejected: a misspelt one
// would silently do nothing.
func readBody(r *http.Request, target any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return fmt.Errorf("read the body: %w; send one JSON object", err)
	}
	return nil
}

func pathChat(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("chat"), 10, 64)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("chat id %q is not a number; use 42 for a private chat, a negative number for a group",
			r.PathValue("chat"))
	}
	return id, nil
}

func listChats(b *bot, _ *http.Request) (any, error) {
	type line struct {
		Chat     int64    `json:"chat"`
		Messages int      `json:"messages"`
		Last     *Message `json:"last_message,omitempty"`
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]line, 0, len(b.chats))
	for _, id := range b.chatIDs() {
		c := b.chats[id]
		l := line{Chat: id, Messages: len(c.messages)}
		if n := len(c.messages); n > 0 {
			last := c.messages[n-1].public()
			l.Last = &last
		}
		out = append(out, l)
	}
	return out, nil
}

// listMessages returns the messages of a chat, oldest first; with ?last=n the newest n.
func listMessages(b *bot, r *http.Request) (any, error) {
	id, err := pathChat(r)
	if err != nil {
		return nil, err
	}
	limit := 0
	if last := r.URL.Query().Get("last"); last != "" {
		if limit, err = strconv.Atoi(last); err != nil || limit < 1 {
			return nil, fmt.Errorf("last=%q is not a positive number; omit it for all messages", last)
		}
	}
	return b.list(id, limit), nil
}

func postMessage(b *bot, r *http.Request) (any, error) {
	id, err := pathChat(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Text    string         `json:"text"`
		From    map[string]any `json:"from"`
		ReplyTo int64          `json:"reply_to"`
		Edit    int64          `json:"edit"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	switch {
	case strings.TrimSpace(body.Text) == "":
		return nil, errors.New("text is empty; Telegram's apps do not send empty messages")
	case utf16Len(body.Text) > maxText:
		return nil, fmt.Errorf("text has %d characters; Telegram's apps send at most %d", utf16Len(body.Text), maxText)
	}
	var updateID, messageID int64
	if body.Edit != 0 {
		messageID = body.Edit
		updateID, err = b.edit(id, body.Edit, body.Text)
	} else {
		updateID, messageID, err = b.say(id, body.Text, body.From, body.ReplyTo)
	}
	if err != nil {
		return nil, err
	}
	return map[string]int64{"update_id": updateID, "message_id": messageID}, nil
}

func postCallback(b *bot, r *http.Request) (any, error) {
	id, err := pathChat(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		MessageID int64  `json:"message_id"`
		Data      string `json:"data"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if body.MessageID == 0 {
		return nil, errors.New("message_id is missing; give the id of the message with the button")
	}
	updateID, queryID := b.press(id, body.MessageID, body.Data)
	return map[string]any{"update_id": updateID, "callback_query_id": queryID}, nil
}

func postUpdate(b *bot, r *http.Request) (any, error) {
	source, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read the update: %w", err)
	}
	id, err := b.post(source)
	if err != nil {
		return nil, err
	}
	return map[string]int64{"update_id": id}, nil
}

func postFault(b *bot, r *http.Request) (any, error) {
	var one Fault
	if err := readBody(r, &one); err != nil {
		return nil, err
	}
	if err := b.server.faults.Add(one); err != nil {
		return nil, err
	}
	return b.server.Faults(), nil
}
