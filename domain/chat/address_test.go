package chat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
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
	checking = append(walked(noon, dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress),
		checkOf(9, 1, baker))
	saving = append(slices.Clip(checking),
		chat.ToolReturned{
			Delivery: checkID, Call: 1, Tool: dialog.CheckAddress, Input: address(baker), Output: found.Output(),
		},
		step(dialogtest.ValidatingAddress, dialogtest.ConfirmingChanges, noon), step(dialogtest.ConfirmingChanges,
			dialogtest.SavingChanges, noon),
		updateOf(12, 2, 42, normal))
	blocked = chat.MembershipChanged{Update: chat.Update{ID: 99, Key: 99}, Date: noon, Status: "kicked", Blocked: true}
)

func step(from, to dialog.Step, at time.Time) chat.WorkflowMoved {
	return chat.WorkflowMoved{Workflow: dialogtest.AddressChange, From: from, Step: to, Source: 1, At: at}
}

// after is a history that goes on.
func after(history []domain.Event, more ...domain.Event) []domain.Event {
	return append(slices.Clip(history), more...)
}

func address(line string) map[string]string { return map[string]string{"address": line} }

func checkOf(to domain.Version, call int, line string) chat.ToolRequested {
	return chat.ToolRequested{
		Answer: chat.Answer{To: to}, Call: call, For: chat.ForWorkflow, Tool: dialog.CheckAddress,
		Input: address(line), Customer: 42,
	}
}

func updateOf(to domain.Version, call int, customer int64, line string) chat.ToolRequested {
	return chat.ToolRequested{
		Answer: chat.Answer{To: to}, Call: call, For: chat.ForWorkflow, Tool: dialog.ChangeAddress,
		Input: address(line), Customer: customer, Writes: true,
	}
}

func withCRM(to domain.Version, e domain.Event) chat.Command { return equipped(respond(to, e)) }

func checkedWith(output map[string]string, reason string) chat.RecordTool {
	return chat.RecordTool{
		Delivery: checkID, To: 9, Call: 1, For: chat.ForWorkflow, Tool: dialog.CheckAddress, Input: address(baker),
		Output: output, Reason: reason, At: later,
	}
}

func updatedWith(output map[string]string, receipt, reason string) chat.RecordTool {
	return chat.RecordTool{
		Delivery: updateID, To: 12, Call: 2, For: chat.ForWorkflow, Tool: dialog.ChangeAddress, Input: address(normal),
		Output: output, Receipt: receipt, Reason: reason, At: later,
	}
}

var (
	checkedAs  = checkedWith(found.Output(), "")
	refusedAs  = checkedWith(dialog.AddressCheck{Problem: "there is no such street"}.Output(), "")
	notChecked = checkedWith(nil, "down")
	saved      = updatedWith(address(normal), "R-1", "")
	notSaved   = updatedWith(nil, "", "down")
)

func TestAddress_WithCRM_CheckedBeforeConfirming(t *testing.T) {
	sent := wrote(9, baker)
	o := given(t, after(collecting, sent)...).When(withCRM(9, sent))
	o.Then(
		understood(9, dialog.Answered),
		chat.WorkflowMoved{Answer: chat.Answer{To: 9}, Workflow: dialogtest.AddressChange,
			From: dialogtest.CollectingAddress, Step: dialogtest.ValidatingAddress,
			Set: address(baker), Source: 9, By: 42, At: noon.Add(time.Minute)},
		checkOf(9, 1, baker),
	)
	o = given(t, checking...).When(checkedAs)
	if diff := cmp.Diff(chat.ToolReturned{
		Delivery: checkID, Call: 1, Tool: dialog.CheckAddress, Input: address(baker), Output: found.Output(),
	}, o.Events[0]); diff != "" {
		t.Errorf("first comes (-want +got):\n%s", diff)
	}
	reply := only[chat.ReplyQueued](t, o)
	if move := only[chat.WorkflowMoved](t, o); move.Step != dialogtest.ConfirmingChanges || move.To != 9 ||
		!move.At.Equal(later) || o.State.Run.Data["address"] != normal {
		t.Errorf("moved %+v, collected %v", move, o.State.Run.Data)
	}
	if reply.To != 9 || len(reply.Buttons) != 3 {
		t.Errorf("asked %+v", reply)
	}
}

func TestAddress_Confirmed_SavedForItsCustomer(t *testing.T) {
	asked := given(t, checking...).When(checkedAs)
	yes := pressed(12, only[chat.ReplyQueued](t, asked).Buttons[0].Data)
	yes.From.ID = 77
	o := given(t, after(checking, append(asked.Events, yes)...)...).When(withCRM(12, yes))
	if diff := cmp.Diff(updateOf(12, 2, 77, normal), only[chat.ToolRequested](t, o)); diff != "" {
		t.Errorf("requested (-want +got):\n%s", diff)
	}
	if len(all[chat.ReplyQueued](o)) > 0 || o.State.Run.Step != dialogtest.SavingChanges {
		t.Errorf("%+v", o.Events)
	}
	o = given(t, saving...).When(saved)
	o.Then(
		chat.ToolReturned{
			Delivery: updateID, Call: 2, Tool: dialog.ChangeAddress, Input: address(normal), Output: address(normal),
			Receipt: "R-1",
		},
		chat.WorkflowMoved{Answer: chat.Answer{To: 12}, Workflow: dialogtest.AddressChange,
			From: dialogtest.SavingChanges, Step: dialog.Completed,
			Set: address(normal), At: later},
		chat.ReplyQueued{
			Answer: chat.Answer{To: 12}, Text: "Your address is now " + normal + ".", Author: chat.Author{
				Kind: chat.Bot,
			},
		},
	)
}

func TestAddress_WithoutCRM_ConfirmationCompletes(t *testing.T) {
	yes := wrote(12, "yes")
	o := given(t, after(confirming, yes)...).When(respond(12, yes))
	if len(all[chat.ToolRequested](o)) > 0 || o.State.Run.Step != dialog.Completed {
		t.Errorf("%+v", o.Events)
	}
}

func TestAddress_CRMFails_TicketHasCollectedData(t *testing.T) {
	for name, test := range map[string]struct {
		history []domain.Event
		command chat.Command
		first   domain.Event
		to      domain.Version
		reason  string
		address string
	}{
		"a check that failed": {
			checking, notChecked, chat.ToolReturned{
				Delivery: checkID, Call: 1, Tool: dialog.CheckAddress, Input: address(baker), Reason: "down",
			}, 9, "address_check_failed", baker,
		},
		"an update that failed": {
			saving, notSaved, chat.ToolReturned{
				Delivery: updateID, Call: 2, Tool: dialog.ChangeAddress, Input: address(normal), Reason: "down",
			}, 12, "address_update_failed", baker,
		},
		"a check that an operator skipped": {checking,
			chat.SkipDelivery{Delivery: checkID, Kind: chat.KindOf(dialog.CheckAddress), Was: "waiting", At: later},
			chat.DeliverySkipped{Delivery: checkID, Kind: chat.KindOf(dialog.CheckAddress), Was: "waiting"}, 9,
			"address_check_failed", baker},
		"an update that an operator skipped": {saving,
			chat.SkipDelivery{Delivery: updateID, Kind: chat.KindOf(dialog.ChangeAddress), Was: "waiting", At: later},
			chat.DeliverySkipped{Delivery: updateID, Kind: chat.KindOf(dialog.ChangeAddress), Was: "waiting"}, 12,
			"address_update_failed", baker},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, test.history...).When(test.command)
			if diff := cmp.Diff(test.first, o.Events[0]); diff != "" {
				t.Errorf("first comes (-want +got):\n%s", diff)
			}
			if ticket := only[chat.TicketOpened](t, o); ticket.Reason != test.reason || !ticket.At.Equal(later) {
				t.Errorf("opened %+v", ticket)
			}
			if reply := only[chat.ReplyQueued](t, o); reply.To != test.to {
				t.Errorf("said %+v", reply)
			}
			if move := only[chat.WorkflowMoved](t, o); move.Step != dialog.HandedOver ||
				o.State.Run.Data["address"] != test.address {
				t.Errorf("moved %+v, collected %v", move, o.State.Run.Data)
			}
		})
	}
}

func TestAddress_UnawaitedCRMAnswer_OnlyKept(t *testing.T) {
	cancelled := after(checking, step(dialogtest.ValidatingAddress, dialog.Cancelled, noon))
	again := after(checking, checkOf(11, 2, "14 Baker Street, London NW1 6XE"))
	anew := after(checking,
		append(walked(noon, dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress),
			checkOf(15, 2, baker))...)
	person := after(checking, step(dialogtest.ValidatingAddress, dialog.HandedOver, noon), opened)
	done := after(saving, chat.ToolReturned{Delivery: updateID, Call: 2, Tool: dialog.ChangeAddress, Receipt: "R-1"},
		step(dialogtest.SavingChanges, dialog.Completed, noon))
	begun := after(saving, step(dialogtest.SavingChanges, dialog.HandedOver, noon), opened, resolved)
	begun = append(begun, walked(noon, dialog.Initial, dialogtest.CollectingAddress)...)
	ended := after(begun, step(dialogtest.CollectingAddress, dialog.HandedOver, noon), opened)
	resaved := append(begun, step(dialogtest.CollectingAddress, dialogtest.SavingChanges, noon),
		updateOf(30, 3, 42, normal))
	for name, test := range map[string]struct {
		history  []domain.Event
		commands []chat.Command
	}{
		"check, cancelled meanwhile":            {cancelled, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, another address sent meanwhile": {again, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, of an earlier change":           {anew, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, a person took over meanwhile":   {person, []chat.Command{checkedAs, refusedAs, notChecked}},
		"check, a second time":                  {saving, []chat.Command{checkedAs, refusedAs, notChecked}},
		"update, a second time":                 {done, []chat.Command{saved, notSaved}},
		"update, of an earlier change":          {begun, []chat.Command{saved, notSaved}},
		"update, of one before that ended":      {ended, []chat.Command{saved, notSaved}},
		"update, of one before that is saved":   {resaved, []chat.Command{saved, notSaved}},
		"update, failed while a person has it": {
			after(saving, step(dialogtest.SavingChanges, dialog.HandedOver, noon), opened), []chat.Command{notSaved},
		},
		"a skipped delivery of another workflow": {
			confirming, []chat.Command{
				chat.SkipDelivery{Kind: chat.KindOf(dialog.ChangeAddress)}, chat.SkipDelivery{
					Kind: chat.KindOf(dialog.CheckAddress),
				},
			},
		},
		"a skipped message": {saving, []chat.Command{chat.SkipDelivery{Kind: "telegram.sendMessage"}}},
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
func TestAddress_SavedAfterHandOver_Complete(t *testing.T) {
	handedOver := step(dialogtest.SavingChanges, dialog.HandedOver, noon)
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

func TestAddress_CustomerBlockedBot_NotTold(t *testing.T) {
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
			if len(all[chat.ReplyQueued](o)) > 0 || o.State.Run.Step != test.step ||
				o.State.WithPerson() != test.person {
				t.Errorf("%+v; the workflow stands at %s", o.Events, o.State.Run.Step)
			}
		})
	}
}
