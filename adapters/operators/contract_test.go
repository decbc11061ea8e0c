package operators

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/openapitest"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

const contract = "../../docs/operators-openapi.yaml"

// call is a call of an operation with the status of its answer.
type call struct {
	operation string
	path      string
	body      string
	as        string // operator; "" means jo
	status    int
	change    func(*office, *http.Request)
}

// calls returns a call for each operation and status, except those of every operation: 401, 429 and 503.
func calls() (list []call) {
	claimed := func(o *office, _ *http.Request) {
		o.record("chat-demo:42", "operator:maria",
			chat.TicketOpened{Ticket: "#1", Reason: "asked", Subject: "hello", Priority: dialog.Normal, At: noon,
				Due: noon, Resolve: noon},
			chat.TicketClaimed{Ticket: "#1", Operator: "jo", Fence: 1, At: noon, Until: noon.Add(time.Hour)})
	}
	others := func(o *office, r *http.Request) {
		claimed(o, r)
		o.record("chat-demo:42", "operator:maria", chat.TicketClaimed{Ticket: "#1", Operator: "maria", Fence: 2,
			At: noon, Until: noon.Add(time.Hour), From: "jo"})
	}
	closed := func(o *office, r *http.Request) {
		claimed(o, r)
		o.record("chat-demo:42", "operator:maria", chat.TicketResolved{Ticket: "#1", At: noon})
	}
	full := func(o *office, r *http.Request) {
		o.record("chat-demo:42", "bot",
			chat.Understood{Language: "en"},
			chat.ReplyQueued{Text: "<b>Hi</b>", Format: dialog.HTML, Author: chat.Author{Kind: chat.Bot}},
			chat.ToolReturned{Tool: dialog.LookUpCustomer, Output: map[string]string{"tier": "gold"}},
			chat.MessageEdited{Text: "hello!"},
			chat.ButtonPressed{Data: "x"},
			chat.WorkflowMoved{Workflow: "address", Step: "collect", Set: map[string]string{"address": "Rome"}, At: noon},
			chat.MembershipChanged{Blocked: true})
		claimed(o, r)
		o.record("chat-demo:42", "operator:jo",
			chat.TicketTagged{Ticket: "#1", Added: []string{"vip"}, Removed: []string{"x"}},
			chat.NoteAdded{Ticket: "#1", Text: "hm"},
			chat.TicketPrioritized{Ticket: "#1", Priority: dialog.Urgent, Due: noon, Resolve: noon},
			chat.TicketAssigned{Ticket: "#1", Assignee: "jo"},
			chat.TicketReferred{Ticket: "#1", Desk: "zendesk"},
			chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent},
			chat.DueBreached{Ticket: "#1", What: chat.DueResponse})
	}
	moved := func(o *office, _ *http.Request) {
		o.record("chat-demo:42", "bot", chat.ChatMigrated{To: -1001}, chat.TicketOpened{Ticket: "#1", Priority: dialog.Low},
			chat.TicketResolved{Ticket: "#1"}, chat.TicketReopened{Ticket: "#1"}, chat.HandedBack{Ticket: "#1"},
			chat.ClaimReleased{Ticket: "#1"})
	}
	returned := func(_ *office, r *http.Request) {
		r.AddCookie(&http.Cookie{Name: attemptCookie, Value: "kept"})
	}
	get := func(operation, path string, status int, change func(*office, *http.Request)) {
		list = append(list, call{operation: "GET " + operation, path: path, status: status, change: change})
	}
	get("/me", "/me", 200, nil)
	list = append(list, call{operation: "GET /me", path: "/me", as: "kim", status: 200})
	for operation, path := range map[string]string{"/queue": "/queue?bot=demo",
		"/bots/{bot}/canned-replies": "/bots/demo/canned-replies", "/chats/{chat}": "/chats/demo:42",
		"/chats/{chat}/entries": "/chats/demo:42/entries"} {
		list = append(list, call{operation: "GET " + operation, path: path, as: "kim", status: 403})
	}
	get("/queue", "/queue?limit=2", 200, nil)
	get("/queue", "/queue?bot=demo&status=open&priority=high&assignee=jo&tag=vip&overdue=true", 200, nil)
	for _, wrong := range []string{"?status=resolved", "?priority=now", "?overdue=1", "?limit=0", "?limit=201",
		"?after=x", "?after=bnVsbA", "?sort=age", "?bot=a&bot=b", "?assignee=%00", "?tag=%ff",
		"?bot=" + strings.Repeat("x", 201)} {
		get("/queue", "/queue"+wrong, 422, nil)
	}
	get("/bots/{bot}/canned-replies", "/bots/demo/canned-replies", 200, nil)
	get("/bots/{bot}/canned-replies", "/bots/other/canned-replies", 404, nil)
	get("/chats/{chat}", "/chats/demo:42", 200, full)
	get("/chats/{chat}", "/chats/demo:42", 200, moved)
	for _, unknown := range []string{"demo:43", "demo", "42", "demo:x", "demo:42%231", "%00:42", "%ff:42", "Demo:42",
		"demo:99999999999999999999"} {
		get("/chats/{chat}", "/chats/"+unknown, 404, nil)
	}
	get("/chats/{chat}", "/chats/demo:42?version=1", 422, nil)
	get("/chats/{chat}/entries", "/chats/demo:42/entries", 200, full)
	get("/chats/{chat}/entries", "/chats/demo:42/entries?limit=1", 200, full)
	get("/chats/{chat}/entries", "/chats/demo:42/entries?before=100", 200, moved)
	get("/chats/{chat}/entries", "/chats/demo:43/entries", 404, nil)
	get("/chats/{chat}/entries", "/chats/demo:43/entries?before=3", 404, nil)
	get("/chats/{chat}/entries", "/chats/demo:42/entries?before=0", 422, nil)
	get("/chats/{chat}/entries", "/chats/demo:42/entries?limit=many", 422, nil)

	// For each act: a valid body and an invalid one, and changes of the chat after which the valid body is
	// accepted, or refused as too late.
	for name, act := range map[string]struct {
		body, invalid string
		when, late    func(*office, *http.Request)
	}{
		"claim":   {`{"seconds": 60}`, `{"seconds": 5}`, nil, others},
		"release": {`{"fence": 1}`, `{"fence": 0}`, claimed, others},
		"reply": {`{"fence": 1, "text": "hi", "media": [{"kind": "photo", "file_id": "AgAC"}]}`,
			`{"fence": 1, "text": " "}`, claimed, others},
		"canned-reply": {`{"fence": 1, "name": "sent", "variables": {"day": "Monday"}}`, `{"name": "sent"}`, claimed, closed},
		"notes":        {`{"text": "hm"}`, `{"text": " "}`, nil, nil},
		"tags":         {`{"add": ["vip"]}`, `{"add": ["VIP"]}`, claimed, func(*office, *http.Request) {}},
		"assign":       {`{"assignee": "maria"}`, `{"assignee": " "}`, claimed, others},
		"priority":     {`{"priority": "low"}`, `{"priority": "now"}`, claimed, closed},
		"resolve":      {`{}`, `{"why": "done"}`, claimed, others},
		"reopen":       {`{"reason": "not yet"}`, `{"reason": 7}`, closed, claimed},
		"hand-back":    {`{"fence": 1}`, `{"fence": "one"}`, claimed, closed},
	} {
		post := func(body, as string, status int, change func(*office, *http.Request)) {
			list = append(list, call{"POST /chats/{chat}/" + name, "/chats/demo:42/" + name, body, as, status, change})
		}
		post(act.body, "", 200, act.when)
		post(act.invalid, "", 422, claimed)
		if act.late != nil {
			post(act.body, "", 409, act.late)
		}
		post(act.body, "vera", 403, act.when)
		list = append(list, call{"POST /chats/{chat}/" + name, "/chats/demo:43/" + name, act.body, "", 404, nil})
		post(`[]`, "", 400, nil)
		post(`null`, "", 400, nil)
		post(`{`, "", 400, nil)
		post(act.body, "", 400, func(_ *office, r *http.Request) { r.Header.Del("Idempotency-Key") })
		post(act.body, "", 400,
			func(_ *office, r *http.Request) { r.Header.Set("Idempotency-Key", strings.Repeat("k", maxKey+1)) })
		post(`{"text": "`+strings.Repeat("x", maxBody)+`"}`, "", 413, nil)
		post(act.body, "", 415, func(_ *office, r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	}
	list = append(list,
		call{"POST /chats/{chat}/claim", "/chats/demo:42/claim", `{"force": true}`, "boss", 200, others},
		call{"POST /chats/{chat}/claim", "/chats/demo:42/claim", `{"force": true}`, "", 403, others},
		call{"POST /session", "/session", `{"name": "jo", "password": "right"}`, "", 200,
			func(o *office, _ *http.Request) { o.password["jo"] = hashOf("right") }},
		call{"POST /session", "/session", `{"name": "j\u0000", "password": "right"}`, "", 401, nil},
		call{"POST /session", "/session", `jo`, "", 400, nil},
		call{"POST /session", "/session", `{"name": "jo", "password": "right"}`, "", 415,
			func(_ *office, r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		call{"POST /session", "/session", `{"name": "` + strings.Repeat("x", maxLogin) + `"}`, "", 413, nil},
		call{"GET /session/oidc", "/session/oidc", ``, "", 303, nil},
		call{"GET /session/oidc", "/session/oidc", ``, "", 404,
			func(o *office, _ *http.Request) { o.Provider = noProvider{} }},
		call{"GET /session/oidc/callback", "/session/oidc/callback?state=s&code=jo@example.com", ``, "", 200, returned},
		call{"GET /session/oidc/callback", "/session/oidc/callback?state=s&code=eve@example.com", ``, "", 403, returned},
		call{"GET /session/oidc/callback", "/session/oidc/callback", ``, "", 404,
			func(o *office, r *http.Request) { o.Provider = noProvider{}; returned(o, r) }},
		call{"DELETE /session", "/session", ``, "", 204, nil},
		call{"DELETE /session", "/session", ``, "", 403, func(o *office, r *http.Request) {
			o.sessions[sha("cookie")] = o.tokens[sha("jo")]
			r.Header.Del("Authorization")
			r.AddCookie(&http.Cookie{Name: cookieName, Value: "cookie"})
		}})
	return list
}

func TestAPI_Contract_Matches(t *testing.T) {
	t.Parallel()
	c := openapitest.Read(t, contract)
	var served []string
	for _, r := range newOffice().API.routes() {
		served = append(served, r.method+" "+r.path)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(c.Operations())), slices.Sorted(slices.Values(served))); diff != "" {
		t.Fatalf("documented -, served +: %s", diff)
	}

	list, have := calls(), map[string]bool{}
	for _, one := range slices.Clone(list) {
		if have[one.operation] {
			continue
		}
		have[one.operation] = true
		// The statuses of every operation.
		unknown, away := one, one
		unknown.status, unknown.change = 401, func(_ *office, r *http.Request) { r.Header.Del("Authorization") }
		away.status, away.change = 503, func(o *office, r *http.Request) {
			o.down = true
			o.Accounts = unavailable{o}
			r.AddCookie(&http.Cookie{Name: attemptCookie, Value: "kept"})
		}
		guessing := unknown
		guessing.status, guessing.change = 429, func(o *office, r *http.Request) {
			unknown.change(o, r)
			o.refused = maxFailed
		}
		malformed := one
		malformed.status, malformed.change = 400, func(_ *office, r *http.Request) { r.URL.RawQuery = "bot=%zz" }
		list = append(list, away, guessing, malformed)
		if one.operation != "GET /session/oidc" { // which needs no credentials
			list = append(list, unknown)
		}
	}
	for _, one := range list {
		o, method := newOffice(), strings.Fields(one.operation)[0]
		as := one.as
		if as == "" {
			as = "jo"
		}
		r := request(method, one.path, as, one.body)
		if one.change != nil {
			one.change(o, r)
		}
		w := o.serve(r)
		at := fmt.Sprintf("%s %.60s: %d", one.operation, one.body, w.Code)
		if w.Code != one.status {
			t.Errorf("%s, want %d: %s", at, one.status, w.Body)
			continue
		}
		c.Answer(t, at, one.operation, w)
	}
	c.Shown(t, "Session", "Me", "CannedReplies", "Queue", "Queued", "Chat", "Workflow", "Ticket", "RunningClaim",
		"Entries", "Entry", "Media", "Problem", "Conflict")
}

func TestContract_ActFields_Documented(t *testing.T) {
	t.Parallel()
	c := openapitest.Read(t, contract)
	for name, act := range acts {
		body := c.Paths["/chats/{chat}/"+name]["post"].RequestBody
		s := c.Components.Schemas[body.Content["application/json"].Schema.Named()]
		if diff := cmp.Diff(slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(slices.Values(act.fields))); diff != "" {
			t.Errorf("%s, fields (-documented +accepted): %s", name, diff)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(s.Required)), slices.Sorted(slices.Values(act.needs))); diff != "" {
			t.Errorf("%s, required fields (-documented +required): %s", name, diff)
		}
	}
}
