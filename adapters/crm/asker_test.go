package crm

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// adasOrder returns a lookup of Ada's order for a customer in a chat.
func adasOrder(t *testing.T, customer, account string, chatID int64) commands.Claimed {
	t.Helper()
	body, err := json.Marshal(commands.UseTool{Tool: dialog.OrderStatus, For: chat.ForWorkflow,
		Input: map[string]string{"number": "2001"}, Customer: customer, Account: account})
	if err != nil {
		t.Fatal(err)
	}
	d := claimed(string(body))
	d.Stream = domain.ChatStream("demo", chatID)
	return d
}

func TestOrder_OtherCustomer_NotFound(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.Known("telegram:77", "C-1")
		none := (dialog.Order{}).Output(false)
		for name, c := range map[string]struct {
			d     commands.Claimed
			found bool
		}{
			"by Telegram's id":            {adasOrder(t, "telegram:77", "", 77), true},
			"another user, after Ada":     {adasOrder(t, "telegram:78", "", 78), false},
			"by the CRM's id":             {adasOrder(t, "telegram:79", "C-1", 79), true},
			"Ada in a group":              {adasOrder(t, "telegram:77", "", -5), true},
			"another member of the group": {adasOrder(t, "telegram:78", "", -5), false},
			"user 0":                      {adasOrder(t, "telegram:0", "", -5), false},
			"no customer in the payload":  {adasOrder(t, "", "", 77), false},
			"an id longer than allowed":   {adasOrder(t, "telegram:78", strings.Repeat("x", maxKey+1), 78), false},
		} {
			if got := finds(t, w.tools(), c.d).Output; (got["found"] == "true") != c.found ||
				!c.found && !maps.Equal(got, none) {
				t.Errorf("%s: %v", name, got)
			}
		}
		// The cache does not return one asker's result to another.
		for range 2 {
			w.order(t, "1001")
		}
		before := w.requests()
		if _, found, err := w.Order(t.Context(), "1001", Asker{User: 78, Chat: 78}); err != nil || !found ||
			w.requests() != before+1 {
			t.Errorf("found %v, error %v, %d requests for another asker, want 1", found, err, w.requests()-before)
		}
	})
}

func TestOrder_Request_NamesAskerAndChat(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		finds(t, w.tools(), adasOrder(t, "telegram:77", "C-1", -5))
		var asked struct {
			Lookups []struct{ Asker json.RawMessage }
		}
		if err := json.Unmarshal(w.crm.Requests()[0].Body, &asked); err != nil {
			t.Fatal(err)
		}
		got, want := string(asked.Lookups[0].Asker), `{"telegram_user":77,"telegram_chat":-5,"customer":"C-1"}`
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// A CRM may answer a single lookup with the error 403 or 404. That means "not found", not a wrong token.
func TestOrder_Forbidden_CountsAsNotFound(t *testing.T) {
	t.Parallel()
	for status, denied := range map[int]bool{http.StatusForbidden: true, http.StatusNotFound: true,
		http.StatusBadRequest: false, http.StatusServiceUnavailable: false} {
		inWorld(t, func(t *testing.T, _ world) {
			c := serve(t, reply(200, fmt.Sprintf(`{"answers": [{"kind": "order", "key": "2001", "status": "error",
				"error": {"title": "no", "status": %d, "detail": "no"}}]}`, status)))
			if _, found, err := c.Order(t.Context(), "2001", anybody); found || (err == nil) != denied {
				t.Errorf("%d: %v %v", status, found, err)
			}
		})
	}
}
