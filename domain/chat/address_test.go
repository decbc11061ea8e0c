package chat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

const (
	baker  = "12 Baker Street, London NW1 6XE"
	normal = "12 Baker Street, London NW1 6XE, UK" // as the CRM writes it
)

var (
	checkID  = uuid.MustParse("0192c3a4-0000-7000-8000-0000000000c1")
	updateID = uuid.MustParse("0192c3a4-0000-7000-8000-0000000000c2")
	found    = dialog.AddressCheck{Valid: true, Address: normal}
	later    = noon.Add(3 * time.Hour)
)

// checking is an address change that waits for the check asked for by event 9, saving
// one that waits for the update asked for by event 12.
var (
	checking = append(walked(noon, dialog.Initial, dialog.CollectingAddress, dialog.ValidatingAddress),
		chat.AddressCheckRequested{Answer: chat.Answer{To: 9}, Address: baker})
	saving = append(slices.Clip(checking), chat.AddressChecked{Delivery: checkID, Address: baker, Check: found},
		step(dialog.ValidatingAddress, dialog.ConfirmingChanges, noon), step(dialog.ConfirmingChanges, dialog.SavingChanges, noon),
		chat.AddressUpdateRequested{Answer: chat.Answer{To: 12}, Customer: 42, Address: normal})
	blocked = chat.MembershipChanged{Update: chat.Update{ID: 99, Key: 99}, Date: noon, Status: "kicked", Blocked: true}
)

func step(from, to dialog.Step, at time.Time) chat.WorkflowMoved {
	return chat.WorkflowMoved{Workflow: dialog.BillingAddressChange, From: from, Step: to, Source: 1, At: at}
}

// after is a history that goes on.
func after(history []domain.Event, more ...domain.Event) []domain.Event {
	return append(slices.Clip(history), more...)
}

func withCRM(to domain.Version, e domain.Event) chat.Respond {
	r := respond(to, e)
	r.CRM = true
	return r
}

var (
	checkedAs  = chat.RecordAddressCheck{Delivery: checkID, To: 9, Address: baker, Check: found, At: later}
	refusedAs  = chat.RecordAddressCheck{Delivery: checkID, To: 9, Address: baker, Check: dialog.AddressCheck{Problem: "there is no such street"}, At: later}
	notChecked = chat.RecordAddressCheck{Delivery: checkID, To: 9, Address: baker, Reason: "down", At: later}
	saved      = chat.RecordAddressUpdate{Delivery: updateID, To: 12, Address: normal, Receipt: "R-1", At: later}
	notSaved   = chat.RecordAddressUpdate{Delivery: updateID, To: 12, Address: normal, Reason: "down", At: later}
)

func TestAnAddressIsCheckedBeforeAnybodyIsAsked(t *testing.T) {
	address := wrote(9, baker)
	o := given(t, after(collecting, address)...).When(withCRM(9, address))
	o.Then(
		understood(9, dialog.ChangeAddress),
		chat.WorkflowMoved{Answer: chat.Answer{To: 9}, Workflow: dialog.BillingAddressChange, From: dialog.CollectingAddress, Step: dialog.ValidatingAddress,
			Set: map[string]string{"address": baker}, Source: 9, At: noon.Add(time.Minute)},
		chat.AddressCheckRequested{Answer: chat.Answer{To: 9}, Address: baker},
	)
	o = given(t, checking...).When(checkedAs)
	if e, ok := o.Events[0].(chat.AddressChecked); !ok || e != (chat.AddressChecked{Delivery: checkID, Address: baker, Check: found}) {
		t.Errorf("first comes %+v", o.Events[0])
	}
	reply := only[chat.ReplyQueued](t, o)
	if move := only[chat.WorkflowMoved](t, o); move.Step != dialog.ConfirmingChanges || move.To != 9 || !move.At.Equal(later) || o.State.Run.Data["address"] != normal {
		t.Errorf("moved %+v, collected %v", move, o.State.Run.Data)
	}
	if reply.To != 9 || len(reply.Buttons) != 3 {
		t.Errorf("asked %+v", reply)
	}
}

func TestAConfirmedAddressIsKeptByTheCRMForWhoConfirmedIt(t *testing.T) {
	asked := given(t, checking...).When(checkedAs)
	yes := pressed(12, only[chat.ReplyQueued](t, asked).Buttons[0].Data)
	yes.From.ID = 77
	o := given(t, after(checking, append(asked.Events, yes)...)...).When(withCRM(12, yes))
	if e := only[chat.AddressUpdateRequested](t, o); e != (chat.AddressUpdateRequested{Answer: chat.Answer{To: 12}, Customer: 77, Address: normal}) {
		t.Errorf("requested %+v", e)
	}
	if len(all[chat.ReplyQueued](o)) > 0 || o.State.Run.Step != dialog.SavingChanges || only[chat.ButtonAnswered](t, o).Text == "Saved" {
		t.Errorf("%+v", o.Events)
	}
	o = given(t, saving...).When(saved)
	o.Then(
		chat.AddressUpdated{Delivery: updateID, Address: normal, Receipt: "R-1"},
		chat.WorkflowMoved{Answer: chat.Answer{To: 12}, Workflow: dialog.BillingAddressChange, From: dialog.SavingChanges, Step: dialog.Completed,
			Set: map[string]string{"address": normal}, Source: 1, At: later},
		chat.ReplyQueued{Answer: chat.Answer{To: 12}, Text: "Done: your billing address is now " + normal + ".", Author: chat.Author{Kind: chat.Bot}},
	)
}

func TestWithoutACRMAConfirmationCompletesTheChange(t *testing.T) {
	yes := wrote(12, "yes")
	o := given(t, after(confirming, yes)...).When(respond(12, yes))
	if len(all[chat.AddressUpdateRequested](o)) > 0 || o.State.Run.Step != dialog.Completed {
		t.Errorf("%+v", o.Events)
	}
}

func TestWhatTheCRMFailsToDoIsHandedToAPersonWithWhatWasCollected(t *testing.T) {
	for name, test := range map[string]struct {
		history []domain.Event
		command chat.Command
		first   domain.Event
		to      domain.Version
		reason  string
		address string
	}{
		"a check that failed":   {checking, notChecked, chat.AddressChecked{Delivery: checkID, Address: baker, Reason: "down"}, 9, dialog.ReasonNotChecked, baker},
		"an update that failed": {saving, notSaved, chat.AddressUpdateFailed{Delivery: updateID, Address: normal, Reason: "down"}, 12, dialog.ReasonNotSaved, baker},
		"a check that an operator skipped": {checking, chat.SkipDelivery{Delivery: checkID, Kind: chat.KindValidateAddress, Was: "waiting", At: later},
			chat.DeliverySkipped{Delivery: checkID, Kind: chat.KindValidateAddress, Was: "waiting"}, 9, dialog.ReasonNotChecked, baker},
		"an update that an operator skipped": {saving, chat.SkipDelivery{Delivery: updateID, Kind: chat.KindUpdateAddress, Was: "waiting", At: later},
			chat.DeliverySkipped{Delivery: updateID, Kind: chat.KindUpdateAddress, Was: "waiting"}, 12, dialog.ReasonNotSaved, baker},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, test.history...).When(test.command)
			if o.Events[0] != test.first {
				t.Errorf("first comes %+v", o.Events[0])
			}
			if ticket := only[chat.TicketOpened](t, o); ticket.Reason != test.reason || !ticket.At.Equal(later) {
				t.Errorf("opened %+v", ticket)
			}
			if reply := only[chat.ReplyQueued](t, o); reply.To != test.to {
				t.Errorf("said %+v", reply)
			}
			if move := only[chat.WorkflowMoved](t, o); move.Step != dialog.HandedOver || o.State.Run.Data["address"] != test.address {
				t.Errorf("moved %+v, collected %v", move, o.State.Run.Data)
			}
		})
	}
}

func TestAnAnswerOfTheCRMThatIsNotWaitedForIsOnlyKept(t *testing.T) {
	cancelled := after(checking, step(dialog.ValidatingAddress, dialog.Cancelled, noon))
	again := after(checking, chat.AddressCheckRequested{Answer: chat.Answer{To: 11}, Address: "14 Baker Street, London NW1 6XE"})
	anew := after(checking, append(walked(noon, dialog.Initial, dialog.CollectingAddress, dialog.ValidatingAddress),
		chat.AddressCheckRequested{Answer: chat.Answer{To: 15}, Address: baker})...)
	person := after(checking, step(dialog.ValidatingAddress, dialog.HandedOver, noon), opened)
	done := after(saving, chat.AddressUpdated{Delivery: updateID, Address: normal, Receipt: "R-1"}, step(dialog.SavingChanges, dialog.Completed, noon))
	begun := after(saving, step(dialog.SavingChanges, dialog.HandedOver, noon), opened, resolved)
	begun = append(begun, walked(noon, dialog.Initial, dialog.CollectingAddress)...)
	ended := after(begun, step(dialog.CollectingAddress, dialog.HandedOver, noon), opened)
	resaved := append(begun, step(dialog.CollectingAddress, dialog.SavingChanges, noon),
		chat.AddressUpdateRequested{Answer: chat.Answer{To: 30}, Customer: 42, Address: normal})
	for name, test := range map[string]struct {
		history  []domain.Event
		commands []chat.Command
	}{
		"check, cancelled meanwhile":             {cancelled, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, another address sent meanwhile":  {again, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, of an earlier change":            {anew, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, a person took over meanwhile":    {person, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, a second time":                   {saving, []chat.Command{checkedAs, refusedAs, notChecked}},
		"update, a second time":                  {done, []chat.Command{saved, notSaved}},
		"update, of an earlier change":           {begun, []chat.Command{saved, notSaved}},
		"update, of one before that ended":       {ended, []chat.Command{saved, notSaved}},
		"update, of one before that is saved":    {resaved, []chat.Command{saved, notSaved}},
		"update, failed while a person has it":   {after(saving, step(dialog.SavingChanges, dialog.HandedOver, noon), opened), []chat.Command{notSaved}},
		"a skipped delivery of another workflow": {confirming, []chat.Command{chat.SkipDelivery{Kind: chat.KindUpdateAddress}, chat.SkipDelivery{Kind: chat.KindValidateAddress}}},
		"a skipped message":                      {saving, []chat.Command{chat.SkipDelivery{Kind: "telegram.sendMessage"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range test.commands {
				if o := given(t, test.history...).When(command); len(o.Events) != 1 {
					t.Errorf("%+v led to %+v", command, o.Events[1:])
				}
			}
		})
	}
}

// An update cannot be called back: a person who took over finds the change complete.
func TestAnUpdateThatArrivesAfterAPersonTookOverIsComplete(t *testing.T) {
	handedOver := step(dialog.SavingChanges, dialog.HandedOver, noon)
	o := given(t, after(saving, handedOver, opened)...).When(saved)
	if o.State.Run.Step != dialog.Completed || len(all[chat.ReplyQueued](o)) > 0 || !o.State.WithPerson() {
		t.Errorf("%+v", o.Events)
	}
	// Who took over is gone, and an operator had it attempted anew.
	o = given(t, after(saving, handedOver, opened, handedBack)...).When(saved)
	only[chat.ReplyQueued](t, o)
	if o.State.Run.Step != dialog.Completed {
		t.Errorf("the workflow stands at %s", o.State.Run.Step)
	}
}

func TestWhoBlockedTheBotHearsNothingOfTheirAddress(t *testing.T) {
	for name, test := range map[string]struct {
		history []domain.Event
		command chat.Command
		step    dialog.Step
		person  bool
	}{
		"a check that went well":  {checking, checkedAs, dialog.Cancelled, false},
		"a check that failed":     {checking, notChecked, dialog.Cancelled, false},
		"an update that was made": {saving, saved, dialog.Completed, false},
		"an update that failed":   {saving, notSaved, dialog.HandedOver, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, after(test.history, blocked)...).When(test.command)
			if len(all[chat.ReplyQueued](o)) > 0 || o.State.Run.Step != test.step || o.State.WithPerson() != test.person {
				t.Errorf("%+v; the workflow stands at %s", o.Events, o.State.Run.Step)
			}
		})
	}
}
