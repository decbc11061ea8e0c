package telegramsim

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFault_EveryKind_HasItsEffect(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		code  int
		says  string
		retry int64
		moved int64
	}{
		{Fault{Method: "sendMessage", Status: 429, RetryAfter: 5}, 429, "Too Many Requests: retry after 5", 5, 0},
		{Fault{Method: "sendMessage", Status: 429}, 429, "Too Many Requests: retry after 1", 1, 0},
		{Fault{Method: "*", Status: 403}, 403, "Forbidden: bot was blocked by the user", 0, 0},
		{Fault{Method: "SENDMESSAGE", Status: 400}, 400, "Bad Request: chat not found", 0, 0},
		{Fault{Method: "sendMessage", Status: 400, MigrateTo: -1001}, 400,
			"Bad Request: group chat was upgraded to a supergroup chat", 0, -1001},
		{Fault{Method: "sendMessage", Status: 500}, 500, "Internal Server Error", 0, 0},
		{Fault{Method: "sendMessage", Status: 429, NoSeconds: true}, 429, "Too Many Requests", 0, 0},
		{Fault{Method: "sendMessage", Status: 400, Description: "Bad Request: TOPIC_CLOSED"}, 400,
			"Bad Request: TOPIC_CLOSED", 0, 0},
	} {
		w := newWorld(t, Options{})
		w.Say(1, "hello")
		w.AddFault(c.fault)
		got := w.call("sendMessage", "chat_id", 1, "text", "hi")
		if got.OK || got.ErrorCode != c.code || got.Description != c.says || got.Parameters.RetryAfter != c.retry ||
			got.Parameters.MigrateToChatID != c.moved {
			t.Errorf("%+v: got %+v", c.fault, got)
		}
		if n := len(w.Messages(1)); n != 1 {
			t.Errorf("%+v: the failed call took effect", c.fault)
		}
		w.ClearFaults()
		w.mustCall("sendMessage", "chat_id", 1, "text", "hi")
		want := map[string]int64{fmt.Sprint(c.code): 1, "200": 1}
		if diff := cmp.Diff(want, w.Stats().Calls["sendMessage"]); diff != "" {
			t.Errorf("%+v: %s", c.fault, diff)
		}
	}
}

func TestFault_Scope_IsChatMethodAndCount(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	w.Say(2, "hello")
	w.SetFaults(Fault{Method: "sendMessage", Chat: 2, Status: 500, Count: 2})
	w.mustCall("sendMessage", "chat_id", 1, "text", "other chat")
	w.mustCall("sendChatAction", "chat_id", 2, "action", "typing")
	for range 2 {
		if got := w.call("sendMessage", "chat_id", "2", "text", "hi"); got.ErrorCode != 500 {
			t.Errorf("got %+v, want 500", got)
		}
	}
	w.mustCall("sendMessage", "chat_id", 2, "text", "no fault left")
	if left := w.Faults(); len(left) != 0 {
		t.Errorf("remaining faults: %+v", left)
	}
}

func TestFault_DroppedReply_TakesEffectOnce(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	w.AddFault(Fault{Method: "sendMessage", DropReply: true, Count: 1})
	if got, err := w.tryCall("sendMessage", "chat_id", 1, "text", "hi"); err == nil {
		t.Errorf("the call was answered: %+v", got)
	}
	if list := w.Messages(1); len(list) != 2 || list[1].Text != "hi" {
		t.Errorf("messages: %+v", list)
	}
	if n := w.Stats().Calls["sendMessage"]["dropped"]; n != 1 {
		t.Errorf("dropped calls: %d", n)
	}
	w.mustCall("sendMessage", "chat_id", 1, "text", "again")
}

func TestFault_Delay_AddsToOtherFaults(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	w.SetFaults(Fault{Method: "*", DelayMS: 30}, Fault{Method: "sendMessage", Status: 429, RetryAfter: 2, Count: 1})
	start := time.Now()
	if got := w.call("sendMessage", "chat_id", 1, "text", "hi"); got.ErrorCode != 429 {
		t.Errorf("got %+v", got)
	}
	w.mustCall("sendMessage", "chat_id", 1, "text", "hi")
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("two calls took %v, want at least 60ms", took)
	}
}

func TestControl_Faults_CanBeSet(t *testing.T) {
	w := newWorld(t, Options{})
	status, set := w.control("POST", "/sim/faults", `{"method":"sendMessage","status":429,"retry_after":3,"count":2}`)
	if status != 200 || len(set["list"].([]any)) != 1 {
		t.Errorf("POST: %d %v", status, set)
	}
	want := []Fault{{Method: "sendMessage", Status: 429, RetryAfter: 3, Count: 2}}
	if diff := cmp.Diff(want, w.Faults()); diff != "" {
		t.Error(diff)
	}
	if status, left := w.control("DELETE", "/sim/faults", nil); status != 200 || len(left["list"].([]any)) != 0 {
		t.Errorf("DELETE: %d %v", status, left)
	}
	for _, nonsense := range []string{
		`{}`, `{"method":"sendMessage"}`, `{"method":"sendMesage","status":429}`, `{"method":"*","status":200}`,
		`{"method":"*","status":"429"}`, `{"method":"*","status":429,"drop_reply":true}`, `{"method":"*","delay":5}`,
		`[`,
	} {
		if status, out := w.control("POST", "/sim/faults", nonsense); status != 400 || out["error"] == nil {
			t.Errorf("%s: %d %v", nonsense, status, out)
		}
	}
}

// With html, the answer is a gateway's page with the status of the fault, and the call has no effect.
func TestFault_HTML_PageAndNoEffect(t *testing.T) {
	for _, status := range []int{200, 404, 502} {
		w := newWorld(t, Options{})
		w.Say(1, "hello")
		w.AddFault(Fault{Method: "sendMessage", Status: status, HTML: true})
		response, err := http.Post(w.url+"/bot"+testToken+"/sendMessage", "application/json",
			strings.NewReader(`{"chat_id":1,"text":"hi"}`))
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != status || response.Header.Get("Content-Type") != "text/html" || page[0] != '<' {
			t.Errorf("%d: got %d %s", status, response.StatusCode, page)
		}
		if n := len(w.Messages(1)); n != 1 {
			t.Errorf("%d: the message took effect", status)
		}
	}
}

func TestFault_Topic_OnlyCallsIntoIt(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(-7, "hello")
	w.AddFault(Fault{Method: "sendMessage", Topic: 5, Status: 400, Description: "Bad Request: TOPIC_DELETED"})
	got := w.call("sendMessage", "chat_id", -7, "text", "hi", "message_thread_id", 5)
	if got.Description != "Bad Request: TOPIC_DELETED" {
		t.Errorf("into the topic: %+v", got)
	}
	w.mustCall("sendMessage", "chat_id", -7, "text", "hi", "message_thread_id", 6)
	w.mustCall("sendMessage", "chat_id", -7, "text", "hi")
	if said := w.Messages(-7); len(said) != 3 || said[1].Topic != 6 || said[2].Topic != 0 {
		t.Errorf("said %+v", said)
	}
}
