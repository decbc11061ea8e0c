package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/crm/crmtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// owed is a delivery of the bot demo as a worker holds it.
func owed(t *testing.T, kind string, payload any) commands.Claimed {
	t.Helper()
	body, isText := payload.(string)
	if !isText {
		encoded, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	return commands.Claimed{Delivery: commands.Delivery{ID: uuid.New(), Stream: domain.ChatStream("demo", 7), Kind: kind}, Body: []byte(body)}
}

// told is the part of an outcome that a worker acts upon.
type told struct {
	State  commands.State
	After  time.Duration
	Answer string
}

func outcome(o commands.Outcome) told { return told{o.State, o.After, string(o.Answer)} }

func TestOrdersAreFoundInACatalogueAndInACRMAlike(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for name, orders := range map[string]Orders{"catalogue": Demo, "CRM": w.Client} {
			lookUp := LookUp{"demo": orders}
			for number, want := range map[string]dialog.Order{"1001": Demo["1001"], "1004": Demo["1004"], "9": {}} {
				d := owed(t, commands.KindLookUpOrder, commands.LookUpOrder{Number: number, To: 3})
				got := lookUp.Send(t.Context(), d)
				record, ok := got.Command.(chat.RecordLookup)
				if got.State != commands.Done || !ok || record.Delivery != d.ID || record.To != 3 || record.Number != number || record.Found != (want != dialog.Order{}) || record.Order != want || record.Reason != "" {
					t.Errorf("%s, %s: %+v", name, number, got)
				}
				var answer dialog.Order
				if err := json.Unmarshal(got.Answer, &answer); err != nil || answer != want {
					t.Errorf("%s, %s: answer %s, %v", name, number, got.Answer, err)
				}
			}
		}
	})
}

func TestALookUpThatFailsIsMadeAgainUnlessItIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   crmtest.Fault
		payload any
		want    told
	}{
		"cut":         {crmtest.Fault{Cut: true}, commands.LookUpOrder{Number: "1001"}, told{State: commands.Again}},
		"429":         {crmtest.Fault{Status: 429, RetryAfter: 7}, commands.LookUpOrder{Number: "1001"}, told{State: commands.Again, After: 7 * time.Second}},
		"422":         {crmtest.Fault{Status: 422}, commands.LookUpOrder{Number: "1001", To: 3}, told{State: commands.Refused}},
		"no number":   {crmtest.Fault{DelayMS: 1}, commands.LookUpOrder{To: 3}, told{State: commands.Refused}},
		"no payload":  {crmtest.Fault{DelayMS: 1}, `[`, told{State: commands.Refused}},
		"another bot": {crmtest.Fault{DelayMS: 1}, commands.LookUpOrder{Number: "1001", To: 3}, told{State: commands.Refused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w world) {
				w.crm.AddFault(c.fault)
				lookUp := LookUp{"demo": w.Client}
				if name == "another bot" {
					lookUp = LookUp{"shop": w.Client}
				}
				got := lookUp.Send(t.Context(), owed(t, commands.KindLookUpOrder, c.payload))
				if diff := cmp.Diff(c.want, outcome(got)); diff != "" || got.Reason == "" {
					t.Errorf("%s; reason %q", diff, got.Reason)
				}
				record, recorded := got.Command.(chat.RecordLookup)
				if recorded != (got.State == commands.Refused) || recorded && (record.Reason == "" || record.Found) {
					t.Errorf("recorded: %+v", got.Command)
				}
			})
		})
	}
}

func TestAddressesAreCheckedAndUpdated(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		clients := map[string]*Client{"demo": w.Client}
		check, update := Check(clients), Update(clients)
		for _, c := range []struct {
			line, says string
			found      dialog.AddressCheck
		}{
			{"12 baker st, london, NW1 6XE", `{"valid":true,"address":"12 Baker Street, London NW1 6XE"}`, dialog.AddressCheck{Valid: true, Address: "12 Baker Street, London NW1 6XE"}},
			{"12 Baker Street, Leeds NW1 6XE", `{"valid":false,"problem":"the post code NW1 6XE belongs to London"}`, dialog.AddressCheck{Problem: "the post code NW1 6XE belongs to London"}},
		} {
			d := owed(t, commands.KindValidateAddress, commands.ValidateAddress{Address: c.line, To: 3})
			got := check.Send(t.Context(), d)
			record, _ := got.Command.(chat.RecordAddressCheck)
			if record.At.IsZero() {
				t.Errorf("%s: recorded %+v", c.line, got.Command)
			}
			record.At = time.Time{}
			want := chat.RecordAddressCheck{Delivery: d.ID, To: 3, Address: c.line, Check: c.found}
			if diff := cmp.Diff(want, record); diff != "" || outcome(got) != (told{commands.Done, 0, c.says}) {
				t.Errorf("%s: %+v\n%s", c.line, got, diff)
			}
		}
		d := owed(t, commands.KindUpdateAddress, commands.UpdateAddress{Customer: "telegram:7", Address: address, To: 3})
		got := update.Send(t.Context(), d)
		record, _ := got.Command.(chat.RecordAddressUpdate)
		if record.At = (time.Time{}); got.State != commands.Done || record != (chat.RecordAddressUpdate{Delivery: d.ID, To: 3, Address: "14 Baker Street, London NW1 6XE", Receipt: "R-1"}) {
			t.Errorf("%+v", got)
		}
		var receipt Receipt
		if err := json.Unmarshal(got.Answer, &receipt); err != nil || receipt.Customer != "telegram:7" || receipt.UpdatedAt == "" {
			t.Errorf("%s, %v", got.Answer, err)
		}
		if last := w.crm.Requests()[w.requests()-1]; last.IdempotencyKey != d.ID.String() {
			t.Errorf("the idempotency key is %q", last.IdempotencyKey)
		}
	})
}

func TestWhatCannotBeCheckedOrUpdatedIsRefusedAndRecordedSo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		clients := map[string]*Client{"demo": w.Client}
		for _, c := range []struct {
			sender interface {
				Send(context.Context, commands.Claimed) commands.Outcome
				Fail(commands.Claimed, string) chat.Command
			}
			payload any
			says    string
		}{
			{Check(clients), commands.ValidateAddress{To: 3}, "0 characters"},
			{Check(clients), `{"to": 3, "address": 7}`, "payload"},
			{Check{}, commands.ValidateAddress{Address: address, To: 3}, "bot demo has no CRM"},
			{Update(clients), commands.UpdateAddress{Customer: "C-9", Address: address, To: 3}, "no customer"},
			{Update(clients), commands.UpdateAddress{Customer: "telegram:7", Address: "nowhere", To: 3}, "post code"},
			{Update(clients), `{"to": 3, "address": 7}`, "payload"},
			{Update{}, commands.UpdateAddress{Customer: "telegram:7", Address: address, To: 3}, "bot demo has no CRM"},
		} {
			d := owed(t, "", c.payload)
			got := c.sender.Send(t.Context(), d)
			if got.State != commands.Refused || !strings.Contains(got.Reason, c.says) {
				t.Errorf("%T %v: %+v", c.sender, c.payload, got)
			}
			switch record := c.sender.Fail(d, got.Reason).(type) {
			case chat.RecordAddressCheck:
				if record.Delivery != d.ID || record.To != 3 || !strings.Contains(record.Reason, c.says) || record.At.IsZero() {
					t.Errorf("%v: recorded %+v", c.payload, record)
				}
			case chat.RecordAddressUpdate:
				if record.Delivery != d.ID || record.To != 3 || !strings.Contains(record.Reason, c.says) || record.At.IsZero() {
					t.Errorf("%v: recorded %+v", c.payload, record)
				}
			default:
				t.Errorf("%v: recorded %+v", c.payload, record)
			}
		}
		if n := len(w.crm.Updates()); n != 0 {
			t.Errorf("%d addresses were changed", n)
		}
	})
}

// A CRM that answers every second call with 500, and loses answers besides: everything
// is done in the end, and every update once.
func TestNothingIsLostOrDoneTwiceWhenHalfOfTheCallsFail(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(crmtest.Fault{Status: 500, Every: 2})
		w.crm.AddFault(crmtest.Fault{Path: "/customers/", Cut: true, Every: 3})
		w.crm.AddFault(crmtest.Fault{Body: "truncated", Every: 5})
		lookUp, update := LookUp{"demo": w.Client}, Update{"demo": w.Client}
		// send does as a worker does: it comes back until it is done.
		send := func(sender interface {
			Send(ctx context.Context, d commands.Claimed) commands.Outcome
		}, d commands.Claimed) {
			for attempt := 1; ; attempt++ {
				o := sender.Send(t.Context(), d)
				if o.State == commands.Done {
					return
				}
				if o.State != commands.Again || attempt == 80 {
					t.Errorf("attempt %d: %+v", attempt, o)
					return
				}
				time.Sleep(max(o.After, 500*time.Millisecond<<min(attempt, 9)))
			}
		}
		var workers sync.WaitGroup
		const each = 100
		for i := range each {
			begin := time.Duration(i) * 70 * time.Millisecond
			workers.Go(func() {
				time.Sleep(begin)
				send(update, owed(t, commands.KindUpdateAddress, commands.UpdateAddress{Customer: fmt.Sprintf("telegram:%d", i), Address: address}))
			})
			workers.Go(func() {
				time.Sleep(begin)
				send(lookUp, owed(t, commands.KindLookUpOrder, commands.LookUpOrder{Number: fmt.Sprint(1001 + i)}))
			})
		}
		workers.Wait()
		changed := map[string]int{}
		for _, u := range w.crm.Updates() {
			changed[u.Customer]++
		}
		for i := range each {
			if n := changed[fmt.Sprintf("telegram:%d", i)]; n != 1 {
				t.Errorf("customer %d was changed %d times", i, n)
			}
		}
	})
}

// The same over a real network, where the transport has its own mind.
func TestACRMOnARealNetworkIsAsked(t *testing.T) {
	t.Parallel()
	crm := crmtest.New(crmtest.Options{Token: token})
	front := httptest.NewServer(crm)
	t.Cleanup(front.Close)
	c, err := NewClient(front.URL+"/", token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := world{c, crm}
	w.order(t, "1001")
	if _, err := w.change(t, "key-1"); err != nil {
		t.Error(err)
	}
	crm.AddFault(crmtest.Fault{Cut: true}) // also on a connection that was used before
	if _, err := w.change(t, "key-2"); failure(t, err).State != commands.Unknown {
		t.Errorf("%v", err)
	}
	crm.ClearFaults()
	if r, err := w.change(t, "key-2"); err != nil || r.ID != "R-2" || len(crm.Updates()) != 2 {
		t.Errorf("%+v, %v, %d updates", r, err, len(crm.Updates()))
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	nobody, err := NewClient("http://"+l.Addr().String(), token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nobody.Close)
	if _, _, err := nobody.Order(t.Context(), "1001"); failure(t, err).State != commands.Again {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestACatalogueIsReadFromAFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"good":      {"- {number: a-1, status: shipped, detail: Soon.}\n- {number: 7, status: lost}", ""},
		"no status": {"- {number: 7}", "entry 1 needs a number and a status"},
		"no list":   {"number: 7", "cannot unmarshal"},
	} {
		path := filepath.Join(t.TempDir(), "orders.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadCatalogue(path)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		want := Catalogue{"A-1": {Number: "a-1", Status: "shipped", Detail: "Soon."}, "7": {Number: "7", Status: "lost"}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %s, %v", name, diff, err)
		}
	}
	if _, err := ReadCatalogue("nowhere.yaml"); err == nil {
		t.Error("no error for a file that is not there")
	}
}
