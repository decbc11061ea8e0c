package operators

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// mark is contained in every text, name and id of bot demo that the API can return.
const mark = "demomark"

// newMarkedOffice returns an office in which all data of bot demo contain the mark.
func newMarkedOffice() *office {
	o := newOffice()
	o.Canned = cannedReplies{"demo": {mark}, "shop": {"sent"}}
	o.streams["chat-demo:42"] = nil
	o.record("chat-demo:42", "customer",
		chat.MessageReceived{
			Date: noon, Text: mark, From: chat.Sender{ID: 42, Name: mark, Username: mark},
			Media: []chat.Media{{Kind: mark, FileName: mark, FileID: mark}},
		},
		chat.TicketOpened{Ticket: "#1", Reason: mark, Subject: mark, Priority: dialog.Urgent, At: noon, Due: noon,
			Resolve: noon},
		chat.TicketTagged{Ticket: "#1", Added: []string{mark}},
		chat.TicketAssigned{Ticket: "#1", Assignee: mark},
		chat.NoteAdded{Ticket: "#1", Text: mark},
		chat.ReplyQueued{Text: mark, Author: chat.Author{Kind: chat.Person, Name: mark}},
		chat.TicketReferred{Ticket: "#1", Desk: mark},
	)
	o.record("chat-shop:42", "customer", chat.MessageReceived{Date: noon, From: chat.Sender{ID: 42}, Text: "hello"})
	o.queued = mark
	return o
}

var variable = regexp.MustCompile(`\{(\w+)\}`)

// An operator of other bots, with any role, gets no data of bot demo, on any route and with any spelling of the
// bot or the chat. If the path or the query names the bot, the answer is 403 or 404. The routes are read from
// the router, so that a new one is tested, too.
func TestRoutes_WithoutScope_NoData(t *testing.T) {
	t.Parallel()
	var routes []struct{ method, path string }
	err := newOffice().routes.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := r.GetMethods()
		for _, method := range methods {
			routes = append(routes, struct{ method, path string }{method, path})
		}
		return err
	})
	if err != nil || len(routes) < 10 {
		t.Fatalf("%d routes, %v", len(routes), err)
	}
	spelt := map[string][]string{
		"chat": {"demo:42", "chat-demo:42", "demo%3A42", "%64emo:42", "chat-demo%3a42", "demo:042", "demo:+42", "DEMO:42",
			"demo:42%20"},
		"bot": {"demo", "%64emo", "Demo", "demo%20", "demo%00"},
	}
	queries := []string{"", "?bot=shop", "?bot=demo", "?bot=%64emo", "?limit=1", "?assignee=" + mark, "?tag=" + mark,
		"?before=3"}
	scopes := [][]string{{"shop"}, {"dem"}, {"demo2"}, {"Demo"}, {"demo "}, {"demo:42"}, {"*"}, {"shop", "kiosk"}}
	asked := 0
	for _, one := range routes {
		names := variable.FindAllStringSubmatch(one.path, -1)
		paths := []string{one.path}
		for _, name := range names {
			if spelt[name[1]] == nil {
				t.Fatalf("%s: add spellings of {%s} to this test", one.path, name[1])
			}
			var more []string
			for _, path := range paths {
				for _, spelling := range spelt[name[1]] {
					more = append(more, strings.Replace(path, name[0], spelling, 1))
				}
			}
			paths = more
		}
		o := newMarkedOffice()
		before := len(o.streams["chat-demo:42"])
		for _, path := range paths {
			for _, query := range queries {
				for range 3 { // 3 does not divide the number of scopes, so each is combined with each role and query
					asked++
					scope := scopes[asked%len(scopes)]
					role := []commands.Role{commands.Admin, commands.Agent, commands.Viewer}[asked%3]
					o.tokens[sha("other")] = commands.Operator{Name: "other", Role: role, Bots: scope}
					for _, body := range []string{`{}`,
						`{"text": "hi", "fence": 1, "name": "` + mark + `", "force": true, "bot": "demo"}`} {
						r := request(one.method, "", "other", body)
						u, err := r.URL.Parse(path + query)
						if err != nil {
							t.Fatal(err)
						}
						r.URL = u
						w := httptest.NewRecorder()
						o.routes.ServeHTTP(w, r)
						at := one.method + " " + path + query + " by " + strings.Join(scope, ",")
						if strings.Contains(w.Body.String(), mark) {
							t.Errorf("%s: %s", at, w.Body)
						}
						named := len(names) > 0 || strings.HasSuffix(query, "emo")
						named = named && !strings.HasPrefix(one.path, prefix+"/session")
						if named && w.Code != http.StatusForbidden && w.Code != http.StatusNotFound {
							t.Errorf("%s: %d %s", at, w.Code, w.Body)
						}
					}
				}
			}
		}
		if n := len(o.streams["chat-demo:42"]); n > before {
			t.Errorf("%s %s appended %d events", one.method, one.path, n-before)
		}
		if o.read > 0 {
			t.Errorf("%s %s read %d events of another bot", one.method, one.path, o.read)
		}
	}
	// An operator of bot demo sees the mark.
	o := newMarkedOffice()
	for _, path := range []string{"/queue", "/chats/demo:42", "/chats/demo:42/entries", "/bots/demo/canned-replies"} {
		if w := o.must(t, request("GET", path, "jo", ""), http.StatusOK); !strings.Contains(w.Body.String(), mark) {
			t.Errorf("%s does not contain the mark: %s", path, w.Body)
		}
	}
}
