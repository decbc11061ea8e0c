package operators

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// mark is in every text, name and id of bot demo that the API can return.
const mark = "demomark"

// newMarkedOffice is an office in which all of bot demo's data bears the mark.
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

// On every route, for every spelling of the bot or the chat and every role of the operator:
// without the bot's scope the answer is 403 or 404 where the path or the query names the bot, and no
// answer has a byte of it. The routes are those of the router, so that a new one is tested, too.
func TestRoutes_WithoutScope_NoByte(t *testing.T) {
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
	scopes := [][]string{{"shop"}, {"dem"}, {"demo2"}, {"Demo"}, {"demo "}, {"*"}, {"shop", "kiosk"}}
	asked := 0
	for _, one := range routes {
		names := variable.FindAllStringSubmatch(one.path, -1)
		paths := []string{one.path}
		for _, name := range names {
			if spelt[name[1]] == nil {
				t.Fatalf("%s: write down how {%s} names something of a bot", one.path, name[1])
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
				asked++ // 7 scopes, 3 roles and 8 queries: each meets each
				scope := scopes[asked%len(scopes)]
				role := []commands.Role{commands.Admin, commands.Agent, commands.Viewer}[asked%3]
				o.tokens[sha("stranger")] = commands.Operator{Name: "stranger", Role: role, Bots: scope}
				bodies := []string{`{}`}
				if one.method == http.MethodPost {
					bodies = append(bodies, `{"text": "hi", "fence": 1, "name": "`+mark+`", "force": true, "bot": "demo"}`)
				}
				for _, body := range bodies {
					r := request(one.method, "", "stranger", body)
					u, err := r.URL.Parse(path + query)
					if err != nil {
						t.Fatal(err)
					}
					r.URL = u
					w := o.serve(r)
					at := one.method + " " + path + query + " by " + strings.Join(scope, ",")
					if strings.Contains(w.Body.String(), mark) {
						t.Errorf("%s: %s", at, w.Body)
					}
					named := len(names) > 0 || strings.HasSuffix(query, "emo")
					if named && !strings.HasPrefix(one.path, prefix+"/session") && w.Code != http.StatusForbidden &&
						w.Code != http.StatusNotFound {
						t.Errorf("%s: %d %s", at, w.Code, w.Body)
					}
				}
			}
		}
		if n := len(o.streams["chat-demo:42"]); n > before {
			t.Errorf("%s %s wrote %d events", one.method, one.path, n-before)
		}
		if o.read > 0 {
			t.Errorf("%s %s read %d events of another bot", one.method, one.path, o.read)
		}
	}
	// Operators of the bot see the mark.
	o := newMarkedOffice()
	for _, path := range []string{"/queue", "/chats/demo:42", "/chats/demo:42/entries", "/bots/demo/canned-replies"} {
		if w := o.must(t, request("GET", path, "jo", ""), http.StatusOK); !strings.Contains(w.Body.String(), mark) {
			t.Errorf("%s has no mark: %s", path, w.Body)
		}
	}
}
