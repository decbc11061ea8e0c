package telegram_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

const botToken = "4242:token"

// newAPI starts the Bot API simulator with one bot and one customer in chat 7. It returns
// senders for the bots demo, whose token is valid, and stale, whose token is not.
func newAPI(t *testing.T) (*telegramsim.Server, telegram.Clients) {
	t.Helper()
	bots := []telegramsim.Bot{{Token: botToken, Username: "demo_bot", Name: "Demo"}}
	sim := telegramsim.New(telegramsim.Options{Bots: bots})
	front := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		front.Close()
	})
	sim.Say(7, "hello")
	return sim, telegram.Clients{"demo": client(t, front.URL, botToken), "stale": client(t, front.URL, "4242:other")}
}

func client(t *testing.T, url, token string) *telegram.Client {
	t.Helper()
	c, err := telegram.NewClient(url, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// claimed returns a claimed delivery.
func claimed(t *testing.T, bot string, kind domain.DeliveryKind, payload any) commands.Claimed {
	t.Helper()
	body, ok := payload.(string)
	if !ok {
		encoded, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	stream := domain.ChatStream(bot, 7)
	if m, ok := payload.(commands.SendMessage); ok {
		stream = domain.ChatStream(bot, m.ChatID)
	}
	return commands.Claimed{Delivery: commands.Delivery{Stream: stream, Kind: kind, OrderingKey: string(stream)},
		Body: []byte(body), Deadline: time.Now().Add(time.Minute)}
}

func message(text string, buttons ...dialog.Button) commands.SendMessage {
	return commands.SendMessage{ChatID: 7, Text: text, Buttons: buttons}
}

func TestSend_EveryAnswer_Outcome(t *testing.T) {
	t.Parallel()
	const (
		send   = domain.KindSendMessage
		button = domain.KindAnswerButton
	)
	for name, c := range map[string]struct {
		fault   telegramsim.Fault
		bot     string
		kind    domain.DeliveryKind
		payload any
		want    commands.Outcome // Reason: a part of it
	}{
		"429": {telegramsim.Fault{Status: 429, RetryAfter: 7}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: 7 * time.Second,
				Reason: "too many requests"}},
		"429 with a huge retry_after": {telegramsim.Fault{Status: 429, RetryAfter: 1 << 50}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: 24 * time.Hour,
				Reason: "too many requests"}},
		"429 without retry_after": {telegramsim.Fault{Status: 429, NoSeconds: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, Reason: "too many requests"}},
		"429 with a page": {telegramsim.Fault{Status: 429, HTML: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, Reason: "gateway"}},
		"403 with a page": {telegramsim.Fault{Status: 403, HTML: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true,
				Reason: "403 Forbidden (text/html): a gateway answered"}},
		"404 with a page": {telegramsim.Fault{Status: 404, HTML: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true,
				Reason: "404 Not Found (text/html): a gateway answered"}},
		"502 with a page": {telegramsim.Fault{Status: 502, HTML: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true,
				Reason: "502 Bad Gateway (text/html): a gateway answered"}},
		"200 with a page": {telegramsim.Fault{Status: 200, HTML: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true,
				Reason: "200 OK (text/html): a gateway answered"}},
		"403": {telegramsim.Fault{Status: 403}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRefused, Blocked: true, Reason: "blocked by the user"}},
		"400": {telegramsim.Fault{Status: 400}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRefused, Reason: "chat not found"}},
		"409": {telegramsim.Fault{Status: 409}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Reason: "conflict"}},
		"a moved group": {telegramsim.Fault{Status: 400, MigrateTo: -1001}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, MovedTo: -1001, After: time.Millisecond, Reason: "-1001"}},
		"500": {telegramsim.Fault{Status: 500}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Reason: "500"}},
		"502": {telegramsim.Fault{Status: 502}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Reason: "502"}},
		"a dropped reply": {telegramsim.Fault{DropReply: true}, "demo", send, message("hi"),
			commands.Outcome{State: domain.DeliveryUnknown, Unanswered: true, Reason: "EOF"}},
		"a wrong token": {telegramsim.Fault{}, "stale", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseToken, After: time.Minute,
				Reason: "token is wrong"}},
		"an unknown bot": {telegramsim.Fault{}, "nobody", send, message("hi"),
			commands.Outcome{State: domain.DeliveryRefused, Reason: "nobody"}},
		"an unknown kind": {telegramsim.Fault{}, "demo", "telegram.sendSmoke", message("hi"),
			commands.Outcome{State: domain.DeliveryRefused, Reason: "sendSmoke"}},
		"a broken payload": {telegramsim.Fault{}, "demo", send, `{"text":`,
			commands.Outcome{State: domain.DeliveryRefused, Reason: "payload"}},
		"empty text": {telegramsim.Fault{}, "demo", send, message(""),
			commands.Outcome{State: domain.DeliveryRefused, Reason: "text is empty"}},
		"4097 characters": {telegramsim.Fault{}, "demo", send, message(strings.Repeat("x", 4097)),
			commands.Outcome{State: domain.DeliveryRefused, Reason: "too long"}},
		"an old button": {telegramsim.Fault{}, "demo", button, commands.AnswerButton{QueryID: "1"},
			commands.Outcome{State: domain.DeliveryRefused, Reason: "query is too old"}},
		"429 to a button": {telegramsim.Fault{Method: "answerCallbackQuery", Status: 429, RetryAfter: 3}, "demo", button,
			commands.AnswerButton{QueryID: "1"},
			commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood, After: 3 * time.Second,
				Reason: "too many"}},
		"429 to typing": {telegramsim.Fault{Method: "sendChatAction", Status: 429, RetryAfter: 3}, "demo",
			domain.KindTyping, "", commands.Outcome{State: domain.DeliveryRetry, Cause: commands.CauseFlood,
				After: 3 * time.Second, Reason: "too many"}},
		"typing": {telegramsim.Fault{}, "demo", domain.KindTyping, "", commands.Outcome{State: domain.DeliveryDone}},
		"a broken button payload": {telegramsim.Fault{}, "demo", button, `[]`,
			commands.Outcome{State: domain.DeliveryRefused, Reason: "payload"}},
		"an unknown chat": {telegramsim.Fault{}, "demo", send, commands.SendMessage{ChatID: 8, Text: "hi"},
			commands.Outcome{State: domain.DeliveryRefused, Reason: "chat not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, clients := newAPI(t)
			if c.fault != (telegramsim.Fault{}) {
				if c.fault.Method == "" {
					c.fault.Method = "sendMessage"
				}
				sim.AddFault(c.fault)
			}
			got := clients.Send(t.Context(), claimed(t, c.bot, c.kind, c.payload))
			if !strings.Contains(got.Reason, c.want.Reason) || strings.Contains(got.Reason, botToken) {
				t.Errorf("reason %q, want one with %q and without the token", got.Reason, c.want.Reason)
			}
			if got.State != c.want.State || got.Cause != c.want.Cause ||
				got.MovedTo != c.want.MovedTo || got.After != c.want.After || got.Blocked != c.want.Blocked ||
				got.Unlikely != c.want.Unlikely || got.Unanswered != c.want.Unanswered || got.MessageID != 0 {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if n := len(sim.Messages(7)) - 1; (n == 1) != c.fault.DropReply {
				t.Errorf("%d messages arrived", n)
			}
		})
	}
}

// Every answer of the Bot API, an error too, shows that it is reachable. A gateway's page does not.
func TestProbe_EveryAnswer_ErrorIfFromGateway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bot   string
		fault telegramsim.Fault
		want  string
	}{
		"success":       {"demo", telegramsim.Fault{}, ""},
		"a wrong token": {"stale", telegramsim.Fault{}, ""},
		"rate limited":  {"demo", telegramsim.Fault{Status: 429, RetryAfter: 7}, ""},
		"a page":        {"demo", telegramsim.Fault{Status: 502, HTML: true}, "502 Bad Gateway"},
		"no answer":     {"demo", telegramsim.Fault{DropReply: true}, "EOF"},
	} {
		sim, clients := newAPI(t)
		if c.fault != (telegramsim.Fault{}) {
			c.fault.Method = "getMe"
			sim.AddFault(c.fault)
		}
		err := clients.Probe(t.Context(), c.bot)
		if (err != nil) != (c.want != "") || err != nil &&
			(!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), botToken)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A message whose topic is deleted or closed is sent without it, at once. The next message tries a
// closed topic again, but not a deleted one.
func TestSend_TopicMissing_SentWithoutIt(t *testing.T) {
	t.Parallel()
	for description, tries := range map[string]int64{
		"Bad Request: message thread not found": 1,
		"Bad Request: TOPIC_DELETED":            1,
		"Bad Request: TOPIC_CLOSED":             2,
	} {
		t.Run(description, func(t *testing.T) {
			t.Parallel()
			sim, clients := newAPI(t)
			sim.Say(-100, "hello")
			sim.AddFault(telegramsim.Fault{Method: "sendMessage", Topic: 5, Status: 400, Description: description})
			for range 2 {
				got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage,
					commands.SendMessage{ChatID: -100, Text: "hi", Thread: 5}))
				if got.State != domain.DeliveryDone || !strings.Contains(string(got.Answer), `"sent_without_topic": 5`) {
					t.Errorf("outcome %+v, answer %s", got, got.Answer)
				}
			}
			clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage,
				commands.SendMessage{ChatID: -100, Text: "hi", Thread: 6}))
			said := sim.Messages(-100)
			if len(said) != 4 || said[1].Topic != 0 || said[2].Topic != 0 || said[3].Topic != 6 {
				t.Errorf("said %+v", said)
			}
			if n := sim.Stats().Calls["sendMessage"]["400"]; n != tries {
				t.Errorf("%d calls into the topic, want %d", n, tries)
			}
		})
	}
}

func TestSend_Message_SentAsDecided(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":           "Order 1001: shipped.",
		"markup-like":     "<b>not bold</b> & *neither* _this_ [x](y)",
		"emoji":           "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁷󠁬󠁳󠁿 1️⃣",
		"right to left":   "مرحبا שלום",
		"NUL":             "before\x00after",
		"4096 characters": strings.Repeat("é", 4096),
		"lines":           "one\ntwo\n\nthree",
		"a JSON number":   "42",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, clients := newAPI(t)
			got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, message(text)))
			said := sim.Messages(7)
			if len(said) != 2 || said[1].Text != text || said[1].From != "bot" {
				t.Fatalf("%d messages arrived, the last %q; outcome %+v", len(said)-1, said[len(said)-1].Text, got)
			}
			if got.State != domain.DeliveryDone || got.MessageID != said[1].MessageID || got.MessageID == 0 {
				t.Errorf("outcome %+v, message %d", got, said[1].MessageID)
			}
			var answer map[string]int64
			if err := json.Unmarshal(got.Answer, &answer); err != nil || answer["message_id"] != got.MessageID {
				t.Errorf("answer %s (%v)", got.Answer, err)
			}
		})
	}
}

func TestSend_Buttons_OneRow(t *testing.T) {
	t.Parallel()
	sim, clients := newAPI(t)
	longest := strings.Repeat("d", 64)
	yes, no := dialog.Button{Text: "Yes", Data: "y:1"}, dialog.Button{Text: "No", Data: longest}
	question := message("Is that right?", yes, no)
	got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, question))
	if got.State != domain.DeliveryDone {
		t.Fatalf("outcome %+v", got)
	}
	var markup struct {
		Rows [][]struct {
			Text string `json:"text"`
			Data string `json:"callback_data"`
		} `json:"inline_keyboard"`
	}
	if err := json.Unmarshal(sim.Messages(7)[1].ReplyMarkup, &markup); err != nil {
		t.Fatal(err)
	}
	if rows := markup.Rows; len(rows) != 1 || len(rows[0]) != 2 || rows[0][0].Text != "Yes" || rows[0][0].Data != "y:1" ||
		rows[0][1].Data != longest {
		t.Errorf("buttons %+v", markup.Rows)
	}

	const query = "77"
	sim.Post(map[string]any{"callback_query": map[string]any{"id": query, "from": map[string]any{"id": 7}, "data": "y:1",
		"message": map[string]any{"message_id": got.MessageID, "date": 1, "chat": map[string]any{"id": 7}}}})
	answer := commands.AnswerButton{QueryID: query, Text: "Saved"}
	pressed := clients.Send(t.Context(), claimed(t, "demo", domain.KindAnswerButton, answer))
	if pressed.State != domain.DeliveryDone || pressed.MessageID != 0 {
		t.Errorf("outcome %+v", pressed)
	}
}

// Without an answer the outcome is unknown only if the request was sent.
func TestSend_NoAnswer_UnknownIfWritten(t *testing.T) {
	t.Parallel()
	t.Run("connection refused", func(t *testing.T) {
		t.Parallel()
		clients := telegram.Clients{"demo": client(t, "http://127.0.0.1:1", botToken)}
		got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, message("hi")))
		if got.State != domain.DeliveryRetry || got.After != 0 || strings.Contains(got.Reason, botToken) {
			t.Errorf("outcome %+v", got)
		}
	})
	t.Run("no answer in time", func(t *testing.T) {
		t.Parallel()
		ctx, timeOver := context.WithCancel(t.Context())
		defer timeOver()
		silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client disconnects
			timeOver()
			<-r.Context().Done()
		}))
		t.Cleanup(silent.Close)
		clients := telegram.Clients{"demo": client(t, silent.URL, botToken)}
		got := clients.Send(ctx, claimed(t, "demo", domain.KindSendMessage, message("hi")))
		if got.State != domain.DeliveryUnknown {
			t.Errorf("outcome %+v", got)
		}
	})
	t.Run("cancelled before the call", func(t *testing.T) {
		t.Parallel()
		sim, clients := newAPI(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := clients.Send(ctx, claimed(t, "demo", domain.KindSendMessage, message("hi")))
		if got.State != domain.DeliveryRetry || len(sim.Messages(7)) != 1 {
			t.Errorf("outcome %+v, %d messages", got, len(sim.Messages(7)))
		}
	})
	t.Run("an endless answer", func(t *testing.T) {
		t.Parallel()
		endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 64<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}))
		t.Cleanup(endless.Close)
		clients := telegram.Clients{"demo": client(t, endless.URL, botToken)}
		got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, message("hi")))
		if got.State != domain.DeliveryUnknown {
			t.Errorf("outcome %+v", got.State)
		}
	})
}

func TestSetWebhook_Default_AllUpdateKinds(t *testing.T) {
	t.Parallel()
	sim, clients := newAPI(t)
	got := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request) {
		got <- r.Header.Get(token)
	}))
	t.Cleanup(hook.Close)
	if err := clients["demo"].SetWebhook(t.Context(), telegram.Registration{URL: hook.URL, Secret: "s3cret"}); err != nil {
		t.Fatal(err)
	}
	// A bot gets the last three only if it lists them.
	for _, kind := range []string{"message", "edited_message", "callback_query", "my_chat_member", "guest_message",
		"managed_bot", "chat_member", "message_reaction", "message_reaction_count"} {
		if sim.Post(map[string]any{kind: map[string]any{"date": time.Now().Unix()}}) == 0 {
			t.Errorf("%s is not in allowed_updates", kind)
			continue
		}
		select {
		case given := <-got:
			if given != "s3cret" {
				t.Errorf("%s arrived with secret %q", kind, given)
			}
		case <-time.After(within):
			t.Errorf("%s did not arrive", kind)
		}
	}
	err := clients["stale"].SetWebhook(t.Context(), telegram.Registration{URL: hook.URL, Secret: "s3cret"})
	if err == nil || strings.Contains(err.Error(), "4242:other") {
		t.Errorf("with a wrong token: %v", err)
	}
}
