package telegramsim

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is the result of a successful call.
type answer struct {
	result      any
	description string
}

// apiError is the error of a call, with Telegram's description.
type apiError struct {
	code        int
	description string
	retryAfter  int64 // seconds, with 429
	migrateTo   int64 // new chat id, with 400
	html        bool  // a gateway answers with a page instead of the Bot API
}

func badRequest(what string) *apiError {
	return &apiError{code: http.StatusBadRequest, description: "Bad Request: " + what}
}

func tooManyRequests(seconds int64) *apiError {
	return &apiError{
		code:        http.StatusTooManyRequests,
		description: "Too Many Requests: retry after " + strconv.FormatInt(seconds, 10),
		retryAfter:  seconds,
	}
}

var (
	notFound     = &apiError{code: http.StatusNotFound, description: "Not Found"}
	unauthorized = &apiError{code: http.StatusUnauthorized, description: "Unauthorized"}
)

// A method of the Bot API. Telegram ignores case in method names; name has the spelling of its
// documentation.
type method struct {
	name string
	run  func(*bot, params) (answer, *apiError)
}

var methods = map[string]method{}

// The table is filled in init, because the methods refer to it: a webhook's answer can call a method.
func init() {
	for _, m := range []method{
		{"getMe", (*bot).getMe},
		{"setWebhook", (*bot).setWebhook},
		{"deleteWebhook", (*bot).deleteWebhook},
		{"getWebhookInfo", (*bot).getWebhookInfo},
		{"sendMessage", (*bot).sendMessage},
		{"sendPhoto", (*bot).sendPhoto},
		{"sendDocument", (*bot).sendDocument},
		{"sendVoice", (*bot).sendVoice},
		{"sendMediaGroup", (*bot).sendMediaGroup},
		{"editMessageText", (*bot).editMessageText},
		{"sendChatAction", (*bot).sendChatAction},
		{"answerCallbackQuery", (*bot).answerCallbackQuery},
		{"getFile", (*bot).getFile},
	} {
		methods[strings.ToLower(m.name)] = m
	}
}

// serveBotAPI answers /bot<token>/<method>; path is what follows "/bot".
func (s *Server) serveBotAPI(w http.ResponseWriter, r *http.Request, path string) {
	token, name, _ := strings.Cut(path, "/")
	b := s.byToken[token]
	if b == nil {
		m, known := methods[strings.ToLower(name)]
		if !known {
			m.name = "unknown"
		}
		s.calls.count(m.name, strconv.Itoa(unauthorized.code))
		writeAPI(w, answer{}, unauthorized)
		return
	}
	p, fault := readParams(r)
	if fault != nil {
		writeAPI(w, answer{}, fault)
		return
	}
	result, fault, silent := b.call(r.Context(), name, p)
	if silent {
		panic(http.ErrAbortHandler) // net/http closes the connection without an answer
	}
	writeAPI(w, result, fault)
}

// call runs one method with the faults that are set for it. silent means that the connection is closed
// without an answer.
func (b *bot) call(ctx context.Context, name string, p params) (result answer, fault *apiError, silent bool) {
	m, known := methods[strings.ToLower(name)]
	if !known {
		b.server.calls.count("unknown", strconv.Itoa(notFound.code))
		return answer{}, notFound, false
	}
	if m.name == "sendMessage" {
		if hook := b.server.onSend.Load(); hook != nil {
			chat, _ := p.integer("chat_id")
			(*hook)(chat, p["text"], time.Now())
		}
	}
	flood := b.server.rates.refuse(b, m.name, b.chatOf(p), time.Now())
	topic, _ := p.integer("message_thread_id")
	hit := b.server.hit(m.name, b.chatOf(p), topic)
	if hit.delay > 0 {
		select {
		case <-time.After(hit.delay):
		case <-ctx.Done(): // the client closed the connection; the call still takes effect
		case <-b.server.ctx.Done():
		}
	}
	if fault = hit.refusal; fault == nil {
		fault = flood
	}
	if fault == nil {
		result, fault = m.run(b, p)
	}
	outcome := "200"
	switch {
	case hit.dropReply:
		outcome = "dropped"
	case fault != nil:
		outcome = strconv.Itoa(fault.code)
	}
	b.server.calls.count(m.name, outcome)
	return result, fault, hit.dropReply
}

// chatOf returns the chat of a call; 0 if it has none.
func (b *bot) chatOf(p params) int64 {
	if id, ok := p.integer("chat_id"); ok {
		return id
	}
	if query := p["callback_query_id"]; query != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.presses[query].chat
	}
	return 0
}

// envelope is the answer to every call.
type envelope struct {
	OK          bool        `json:"ok"`
	Result      any         `json:"result,omitempty"`
	ErrorCode   int         `json:"error_code,omitempty"`
	Description string      `json:"description,omitempty"`
	Parameters  *parameters `json:"parameters,omitempty"`
}

// parameters are the ResponseParameters of an error.
type parameters struct {
	MigrateToChatID int64 `json:"migrate_to_chat_id,omitempty"`
	RetryAfter      int64 `json:"retry_after,omitempty"`
}

func writeAPI(w http.ResponseWriter, result answer, fault *apiError) {
	out, status := envelope{OK: true, Result: result.result, Description: result.description}, http.StatusOK
	if fault != nil && fault.html {
		writeGatewayPage(w, fault.code)
		return
	}
	if fault != nil {
		out, status = envelope{ErrorCode: fault.code, Description: fault.description}, fault.code
		if fault.retryAfter > 0 || fault.migrateTo != 0 {
			out.Parameters = &parameters{RetryAfter: fault.retryAfter, MigrateToChatID: fault.migrateTo}
		}
	}
	writeJSON(w, status, out)
}

// writeGatewayPage answers like a reverse proxy that cannot reach the Bot API.
func writeGatewayPage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	_, _ = w.Write([]byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" +
		title + "</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"))
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	writeBody(w, status, mustJSON(value))
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client closed the connection
}

func (b *bot) getMe(params) (answer, *apiError) {
	return answer{result: struct {
		ID                      int64  `json:"id"`
		IsBot                   bool   `json:"is_bot"`
		FirstName               string `json:"first_name"`
		Username                string `json:"username"`
		CanJoinGroups           bool   `json:"can_join_groups"`
		CanReadAllGroupMessages bool   `json:"can_read_all_group_messages"`
		SupportsInlineQueries   bool   `json:"supports_inline_queries"`
	}{ID: b.self.id, IsBot: true, FirstName: b.account.Name, Username: b.account.Username, CanJoinGroups: true}}, nil
}

// writable returns the chat of a call if the bot may write to it. Callers hold b.mu.
func (b *bot) writable(p params) (*chat, *apiError) {
	if p["chat_id"] == "" {
		return nil, badRequest("chat_id is empty")
	}
	id, _ := p.integer("chat_id")
	c := b.chats[id]
	switch {
	case c == nil: // a bot cannot write before the customer
		return nil, badRequest("chat not found")
	case c.movedTo != 0:
		return nil, movedTo(c.movedTo)
	case c.refusal != "":
		return nil, &apiError{code: http.StatusForbidden, description: c.refusal}
	}
	return c, nil
}

// content reads the parameters that sendMessage and editMessageText have in common.
func content(p params) (text string, entities, markup json.RawMessage, fault *apiError) {
	text, marks, fault := parseText(p["text"], p["parse_mode"])
	if fault != nil {
		return "", nil, nil, fault
	}
	if p["parse_mode"] == "" && p["entities"] != "" {
		if err := p.decode("entities", &marks); err != nil {
			return "", nil, nil, badRequest("can't parse entities JSON object")
		}
	}
	markup, fault = readMarkup(p["reply_markup"])
	return text, marked(marks), markup, fault
}

// marked encodes entities; nil if there are none.
func marked(entities []entity) json.RawMessage {
	if len(entities) == 0 {
		return nil
	}
	return mustJSON(entities)
}

func (b *bot) sendMessage(p params) (answer, *apiError) {
	text, entities, markup, fault := content(p)
	if fault != nil {
		return answer{}, fault
	}
	sent, fault := b.send(p, &message{text: text, entities: entities, markup: markup})
	if fault != nil {
		return answer{}, fault
	}
	return answer{result: sent[0]}, nil
}

// send adds messages of the bot to the chat of a call.
func (b *bot) send(p params, messages ...*message) (sent []*wireMessage, fault *apiError) {
	var reply struct {
		MessageID  int64 `json:"message_id"`
		AllowGhost bool  `json:"allow_sending_without_reply"`
	}
	if err := p.decode("reply_parameters", &reply); err != nil {
		return nil, badRequest("can't parse reply parameters JSON object")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, fault := b.writable(p)
	if fault != nil {
		return nil, fault
	}
	var original *message
	if reply.MessageID != 0 {
		if original = c.find(reply.MessageID); original == nil && !reply.AllowGhost {
			return nil, badRequest("message to be replied not found")
		}
	}
	topic, _ := p.integer("message_thread_id")
	for _, m := range messages {
		m.topic = topic
		m.bot, m.from, m.date, m.replyTo = true, b.self, b.unixNow(), original
		c.add(m)
		sent = append(sent, c.wire(m))
	}
	if awaited := b.awaited[c.id]; awaited != nil {
		close(awaited)
		delete(b.awaited, c.id)
	}
	b.events.chatChanged(c.id)
	return sent, nil
}

func (b *bot) editMessageText(p params) (answer, *apiError) {
	text, entities, markup, fault := content(p)
	if fault != nil {
		return answer{}, fault
	}
	messageID, ok := p.integer("message_id")
	if !ok {
		return answer{}, badRequest("message identifier is not specified")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, fault := b.writable(p)
	if fault != nil {
		return answer{}, fault
	}
	m := c.find(messageID)
	switch {
	case m == nil:
		return answer{}, badRequest("message to edit not found")
	case !m.bot:
		return answer{}, badRequest("message can't be edited")
	case m.text == text && bytes.Equal(m.entities, entities) && bytes.Equal(m.markup, markup):
		return answer{}, badRequest(
			"message is not modified: specified new message content and reply markup are exactly the same as a " +
				"current content and reply markup of the message",
		)
	}
	m.text, m.entities, m.markup, m.editDate = text, entities, markup, b.unixNow()
	b.events.chatChanged(c.id)
	return answer{result: c.wire(m)}, nil
}

// chatActions are the actions that sendChatAction accepts.
var chatActions = []string{
	"typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice",
	"upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note",
}

func (b *bot) sendChatAction(p params) (answer, *apiError) {
	if !slices.Contains(chatActions, strings.ToLower(p["action"])) {
		return answer{}, badRequest("wrong parameter action in request")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, fault := b.writable(p)
	if fault != nil {
		return answer{}, fault
	}
	b.events.note(event{Kind: "typing", Chat: c.id})
	return answer{result: true}, nil
}

// maxCallbackAnswer is Telegram's limit for the text of an answer to a callback query, in characters.
const maxCallbackAnswer = 200

func (b *bot) answerCallbackQuery(p params) (answer, *apiError) {
	if utf16Len(p["text"]) > maxCallbackAnswer {
		return answer{}, badRequest("MESSAGE_TOO_LONG")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	asked, known := b.presses[p["callback_query_id"]]
	if !known || time.Since(asked.at) > b.server.timeout(callbackLife) {
		return answer{}, badRequest("query is too old and response timeout expired or query ID is invalid")
	}
	b.events.note(event{Kind: "toast", Chat: asked.chat, Text: p["text"], Alert: p.truth("show_alert")})
	return answer{result: true}, nil
}

// getFile returns a path for any id. The simulator has no files to download.
func (b *bot) getFile(p params) (answer, *apiError) {
	id := p["file_id"]
	if id == "" {
		return answer{}, badRequest("file_id not specified")
	}
	file := map[string]any{"file_id": id, "file_unique_id": "u" + id, "file_path": "documents/file_0"}
	return answer{result: file}, nil
}
