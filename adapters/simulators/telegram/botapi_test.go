package telegramsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/waittest"
)

func TestParams_EveryEncoding_SameResult(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(9007199254740991, "hello")
	const keyboard = `{"inline_keyboard":[[{"text":"Yes","callback_data":"y"}]]}`
	address := w.url + "/bot" + testToken + "/SENDmessage"
	form := url.Values{"chat_id": {"9007199254740991"}, "text": {`{"looks":"like JSON"}`}, "reply_markup": {keyboard}}

	var multi bytes.Buffer
	parts := multipart.NewWriter(&multi)
	for name, values := range form {
		_ = parts.WriteField(name, values[0])
	}
	_ = parts.Close()
	jsonBody := `{"chat_id":9007199254740991,"text":"{\"looks\":\"like JSON\"}","reply_markup":` + keyboard + `}`
	textual := `{"chat_id":"9007199254740991","text":"{\"looks\":\"like JSON\"}","reply_markup":` +
		string(mustJSON(keyboard)) + `}`

	var want map[string]any
	for _, request := range []struct{ name, method, address, kind, body string }{
		{"query", "GET", address + "?" + form.Encode(), "", ""},
		{"urlencoded", "POST", address, "application/x-www-form-urlencoded", form.Encode()},
		{"multipart", "POST", address, parts.FormDataContentType(), multi.String()},
		{"json", "POST", address, "application/json", jsonBody},
		{"json with strings", "POST", address, "application/json; charset=utf-8", textual},
	} {
		r, _ := http.NewRequest(request.method, request.address, strings.NewReader(request.body))
		r.Header.Set("Content-Type", request.kind)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Result map[string]any }
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if err := json.Unmarshal(text, &got); err != nil || got.Result == nil {
			t.Fatalf("%s: %s", request.name, text)
		}
		delete(got.Result, "message_id")
		delete(got.Result, "date")
		if want == nil {
			want = got.Result
		}
		if diff := cmp.Diff(want, got.Result); diff != "" {
			t.Errorf("%s differs from the query:\n%s", request.name, diff)
		}
	}
	if want["text"] != `{"looks":"like JSON"}` || want["reply_markup"] == nil {
		t.Errorf("got %v", want)
	}
}

func TestParams_EmptyMultipart_NoParameters(t *testing.T) {
	w := newWorld(t, Options{})
	response, err := http.Post(w.url+"/bot"+testToken+"/getMe", "multipart/form-data; boundary=x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var me struct {
		Result struct {
			ID       int64
			Username string
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&me); err != nil || me.Result.ID != 4242 ||
		me.Result.Username != "first_bot" {
		t.Errorf("getMe: %+v %v", me, err)
	}
}

func TestBotAPI_Errors_TelegramsDescriptions(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	w.Post(map[string]any{"my_chat_member": map[string]any{
		"chat": map[string]any{"id": 2, "type": "private"}, "new_chat_member": map[string]any{"status": "kicked"},
	}})
	button := func(data string) any {
		return map[string]any{"inline_keyboard": [][]any{{map[string]any{"text": "x", "callback_data": data}}}}
	}
	for _, c := range []struct {
		method string
		args   []any
		code   int
		says   string
	}{
		{"sendMessage", []any{"chat_id", 1, "text", " \n "}, 400, "Bad Request: message text is empty"},
		{"sendMessage", []any{"chat_id", 1, "text", strings.Repeat("😀", 2049)}, 400,
			"Bad Request: message is too long"},
		{"sendMessage", []any{"chat_id", 3, "text", "hi"}, 400, "Bad Request: chat not found"},
		{"sendMessage", []any{"chat_id", "@nobody", "text", "hi"}, 400, "Bad Request: chat not found"},
		{"sendMessage", []any{"text", "hi"}, 400, "Bad Request: chat_id is empty"},
		{"sendMessage", []any{"chat_id", 2, "text", "hi"}, 403, "Forbidden: bot was blocked by the user"},
		{"sendMessage", []any{"chat_id", 1, "text", "hi", "reply_markup", button(strings.Repeat("é", 33))}, 400,
			"Bad Request: BUTTON_DATA_INVALID"},
		{"sendMessage", []any{"chat_id", 1, "text", "1 < 2", "parse_mode", "HTML"}, 400,
			"Bad Request: can't parse entities: Unsupported start tag \"\""},
		{"editMessageText", []any{"chat_id", 1, "message_id", 9, "text", "hi"}, 400,
			"Bad Request: message to edit not found"},
		{"editMessageText", []any{"chat_id", 1, "message_id", 1, "text", "hi"}, 400,
			"Bad Request: message can't be edited"},
		{"sendChatAction", []any{"chat_id", 1, "action", "dancing"}, 400,
			"Bad Request: wrong parameter action in request"},
		{"answerCallbackQuery", []any{"callback_query_id", "1"}, 400,
			"Bad Request: query is too old and response timeout expired or query ID is invalid"},
		{"setWebhook", []any{"url", "http://x/", "secret_token", "no spaces"}, 400,
			"Bad Request: secret token contains unallowed characters"},
		{"setWebhook", []any{"url", "http://x/", "secret_token", strings.Repeat("a", 257)}, 400,
			"Bad Request: secret token is too long"},
		{"setWebhook", []any{"url", "not a url"}, 400, "Bad Request: invalid webhook URL specified"},
		{"sendCourage", nil, 404, "Not Found"},
	} {
		got := w.call(c.method, c.args...)
		if got.OK || got.ErrorCode != c.code || got.Description != c.says {
			t.Errorf("%s %.80v: got %d %q, want %d %q", c.method, c.args, got.ErrorCode, got.Description, c.code,
				c.says)
		}
	}
	if got := w.call("sendMessage", "chat_id", 1, "text", strings.Repeat("😀", 2048)); !got.OK {
		t.Errorf("a text of exactly 4096 UTF-16 units: %s", got.Description)
	}
}

func TestToken_Unknown_IsUnauthorized(t *testing.T) {
	w := newWorld(t, Options{})
	for _, path := range []string{"/bot4242:wrong/getMe", "/bot", "/botnonsense"} {
		response, err := http.Get(w.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if want := `{"ok":false,"error_code":401,"description":"Unauthorized"}`; response.StatusCode != 401 ||
			string(body) != want {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

func TestChat_MessageIDs_AreShared(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.Say(-1001234567890, "/start now")
	sent := w.mustCall("sendMessage", "chat_id", "-1001234567890", "text", "Hi <b>you</b> &amp; me",
		"parse_mode", "HTML", "reply_parameters", map[string]any{"message_id": first})
	var m struct {
		MessageID int64 `json:"message_id"`
		Text      string
		Chat      struct{ Type string }
		From      struct {
			ID    int64
			IsBot bool `json:"is_bot"`
		}
		Entities []entity
		ReplyTo  struct {
			Text string
		} `json:"reply_to_message"`
	}
	if err := json.Unmarshal(sent.Result, &m); err != nil {
		t.Fatal(err)
	}
	if m.MessageID != first+1 || m.Chat.Type != "supergroup" || m.From.ID != 4242 || !m.From.IsBot ||
		m.Text != "Hi you & me" || m.ReplyTo.Text != "/start now" {
		t.Errorf("sent %s", sent.Result)
	}
	if diff := cmp.Diff([]entity{{Type: "bold", Offset: 3, Length: 3}}, m.Entities); diff != "" {
		t.Error(diff)
	}
	if third := w.Say(-1001234567890, "thanks"); third != first+2 {
		t.Errorf("the customer's next message is %d, want %d", third, first+2)
	}
	list := w.Messages(-1001234567890)
	if len(list) != 3 || list[0].From != "user" || list[1].From != "bot" || list[1].Username != "first_bot" ||
		list[2].Text != "thanks" {
		t.Errorf("messages: %+v", list)
	}
}

func TestEdit_SameText_IsRefused(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	keys := map[string]any{"inline_keyboard": [][]any{{map[string]any{"text": "x", "callback_data": "1"}}}}
	w.mustCall("sendMessage", "chat_id", 1, "text", "one", "reply_markup", keys)
	same := w.call("editMessageText", "chat_id", 1, "message_id", 2, "text", "one",
		"reply_markup", `{ "inline_keyboard": [[{"callback_data":"1", "text":"x"}]] }`)
	if same.ErrorCode != 400 || !strings.HasPrefix(same.Description, "Bad Request: message is not modified: ") {
		t.Errorf("identical edit: %+v", same)
	}
	w.mustCall("editMessageText", "chat_id", 1, "message_id", 2, "text", "one") // this removes the keyboard
	if got := w.Messages(1)[1]; got.ReplyMarkup != nil || !got.Edited {
		t.Errorf("after the edit: %+v", got)
	}
}

func TestAnswerCallbackQuery_UnknownMessage_Answered(t *testing.T) {
	w := newWorld(t, Options{})
	_, pressed := w.control("POST", "/sim/chats/1/callbacks", map[string]any{"message_id": 5, "data": "x"})
	w.mustCall("answerCallbackQuery", "callback_query_id", pressed["callback_query_id"], "text", "done")
}

func TestAnswerCallbackQuery_TooLate_IsRefused(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Microsecond})
	_, pressed := w.control("POST", "/sim/chats/1/callbacks", map[string]any{"message_id": 5, "data": "x"})
	waittest.Until(t, "the query expires", func() bool {
		return w.call("answerCallbackQuery", "callback_query_id", pressed["callback_query_id"]).ErrorCode == 400
	})
}

func TestAwait_BotsMessages_Awaited(t *testing.T) {
	w := newWorld(t, Options{})
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		list, err := w.Await(ctx, 1, 2)
		if err == nil && list[len(list)-1].Text != "two" {
			err = errors.New("the last message is " + list[len(list)-1].Text)
		}
		done <- err
	}()
	if got := w.call("sendMessage", "chat_id", 1, "text", "too early"); got.ErrorCode != 400 {
		t.Errorf("before the customer has written: %+v, want an error", got)
	}
	w.Say(1, "hello")
	w.mustCall("sendMessage", "chat_id", 1, "text", "one")
	w.mustCall("sendMessage", "chat_id", 1, "text", "two")
	if err := <-done; err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Await(ended, 1, 3); err == nil || !strings.Contains(err.Error(), "there are 2") {
		t.Errorf("error %v, want one with the number of messages", err)
	}
}

func TestOnSend_EverySendMessage_IsObserved(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	observed := make(chan string, 1)
	w.OnSend(func(chat int64, text string, at time.Time) { observed <- text })
	w.mustCall("sendMessage", "chat_id", 1, "text", "hi")
	if got := <-observed; got != "hi" {
		t.Errorf("observed %q", got)
	}
}
