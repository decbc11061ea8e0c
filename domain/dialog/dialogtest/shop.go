// Package dialogtest is a small shop's knowledge for tests: every kind of step, in two
// languages, with a classifier that goes by a few words. What it says is as short as
// can be told apart.
package dialogtest

import (
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/intents"
)

// Names of the shop's workflows.
const (
	AddressChange   = "billing_address_change"
	OrderQuestion   = "order_status"
	DeliveryProblem = "delivery_problem"
)

// Steps of the shop's workflows.
const (
	CollectingAddress dialog.Step = "collecting_address"
	ValidatingAddress dialog.Step = "validating_address"
	ConfirmingChanges dialog.Step = "confirming_changes"
	SavingChanges     dialog.Step = "saving_changes"
	AskingNumber      dialog.Step = "asking_number"
	LookingUp         dialog.Step = "looking_up"
	ChoosingProblem   dialog.Step = "choosing_problem"
	Describing        dialog.Step = "describing"
	ConfirmingReport  dialog.Step = "confirming_report"
	Reporting         dialog.Step = "reporting"
)

// AllTools is a bot that has every tool.
var AllTools = func() map[string]bool {
	all := map[string]bool{}
	for name := range dialog.Toolbox {
		all[name] = true
	}
	return all
}()

// Cues is a classifier that takes a text for the first intent one of whose phrases stands
// in it, and is certain.
type Cues []struct{ Intent, Phrases string }

// Classify implements dialog.Classifier.
func (c Cues) Classify(text string) intents.Guess {
	words := " " +
		strings.Join(strings.FieldsFunc(strings.ToLower(text),
			func(r rune) bool { return strings.ContainsRune(" \n,.!?", r) }), " ") + " "
	for _, one := range c {
		for _, phrase := range strings.Split(one.Phrases, "|") {
			if strings.Contains(words, " "+phrase+" ") {
				return intents.Guess{Intent: one.Intent, Confidence: 0.99, Known: 1}
			}
		}
	}
	return intents.Guess{Intent: string(dialog.Unknown), Confidence: 0.1}
}

func both(english, german string) dialog.Text { return dialog.Text{"en": english, "de": german} }

func say(english string) dialog.Text { return dialog.Text{"en": english} }

func end(english string) dialog.Goto { return dialog.Goto{Step: dialog.Completed, Say: say(english)} }

func person(reason, english string) dialog.Goto {
	return dialog.Goto{
		Step: dialog.HandedOver, Say: say(english), HandOver: dialog.HandOver{Reason: reason, Priority: dialog.Normal},
	}
}

func answer(english string) dialog.Topic {
	return dialog.Topic{Answers: []dialog.Answer{{Text: say(english)}}}
}

// Shop is the knowledge.
var Shop = dialog.Knowledge{
	Hash: "shop", Languages: []dialog.Language{"en", "de"}, Threshold: 0.5, Plain: 0.8, Backlog: 10 * time.Minute,
	Model: Cues{
		{"cancel_order", "cancel my order"}, {"person", "person|human"}, {"change_address", "address|adresse"}, {
			"delivery_problem", "damaged|beschädigt",
		},
		{"order_status", "order|parcel|bestellung"}, {"invoice", "invoice|receipt"}, {"thanks", "thanks|danke"}, {
			"greeting", "hello|hi|hallo",
		}, {"cancel", "stop it"},
	},
	Tongue: Cues{{"de", "ich|meine|ist|wo|das"}, {"en", "i|my|is|where|the|want"}},
	Topics: map[dialog.Intent]dialog.Topic{
		"greeting": {Answers: []dialog.Answer{{Text: both("Hello!", "Hallo!")}}, Courtesy: true},
		"thanks":   {Answers: []dialog.Answer{{Text: both("You're welcome!", "Gern!")}}, Courtesy: true},
		"start":    answer("Welcome, {customer}!"),
		"invoice": {
			Answers: []dialog.Answer{
				{Words: []string{"wrong"}, Text: say("What is wrong?")}, {
					Text: say("Under Invoices."), Buttons: []dialog.TopicButton{
						{Label: say("My order"), Intent: "order_status"},
					},
				},
			},
		},
		"person": {HandOver: dialog.HandOver{Reason: dialog.ReasonAsked, Priority: dialog.High}},
		"cancel_order": {
			HandOver: dialog.HandOver{Reason: "cancel_order", Priority: dialog.High},
			Say:      say("A colleague cancels it."),
		},
		"change_address":   {Workflow: AddressChange},
		"order_status":     {Workflow: OrderQuestion},
		"delivery_problem": {Workflow: DeliveryProblem, Say: say("I'm sorry.")},
	},
	Workflows: map[string]*dialog.Workflow{
		AddressChange: {Name: AddressChange, Title: both("your address change", "die Adressänderung"),
			Remind: 45 * time.Minute, Steps: []dialog.StepDef{
				{Name: CollectingAddress,
					Ask: &dialog.Ask{Field: "address", Prompt: both("Send me the address.", "Wie ist die Adresse?"),
						Again: say("I can't use this: {problem}."),
						Help:  say("We are changing your address."), Check: dialog.CheckPostal, Next: dialog.Goto{
							Step: ValidatingAddress,
						}}},
				{Name: ValidatingAddress,
					Call: &dialog.Call{Tool: dialog.CheckAddress, Input: map[string]string{"address": "{address}"},
						Wait: say("I'm still checking."),
						Cases: []dialog.Case{
							{
								When: map[string]string{"valid": "true"}, Next: dialog.Goto{
									Step: ConfirmingChanges, Set: map[string]string{"address": "{result.address}"},
								},
							},
							{Next: dialog.Goto{Step: CollectingAddress, Problem: say("{result.problem}")}},
						},
						Failed:  person("address_check_failed", "I can't check it. Nothing was changed."),
						Without: dialog.Goto{Step: ConfirmingChanges}}},
				{Name: ConfirmingChanges,
					Confirm: &dialog.Confirm{Prompt: say("{address}\nIs that right?"), Yes: say("Yes, change it"),
						Toast: say("Saved"),
						Next:  dialog.Goto{Step: SavingChanges}, Correct: dialog.Goto{
							Step: CollectingAddress, Say: say("Send it again."),
						}}},
				{Name: SavingChanges,
					Call: &dialog.Call{Tool: dialog.ChangeAddress, Input: map[string]string{"address": "{address}"},
						Wait: say("It is being saved: {address}"),
						Cases: []dialog.Case{
							{
								Next: dialog.Goto{
									Step: dialog.Completed, Set: map[string]string{"address": "{result.address}"},
									Say: say("Your address is now {address}."),
								},
							},
						},
						Failed:  person("address_update_failed", "I couldn't complete the change."),
						Without: end("Your address is now {address}.")}},
			}},
		OrderQuestion: {Name: OrderQuestion, Title: both("your order", "Ihre Bestellung"), Brief: true,
			Steps: []dialog.StepDef{
				{
					Name: AskingNumber, Ask: &dialog.Ask{
						Field: "order", Prompt: both("Which order?", "Welche Bestellung?"),
						Check: dialog.CheckOrderNumber, Next: dialog.Goto{Step: LookingUp},
					},
				},
				{Name: LookingUp,
					Call: &dialog.Call{Tool: dialog.OrderStatus, Input: map[string]string{"number": "{order}"},
						Cases: []dialog.Case{
							{
								When: map[string]string{"found": "true"},
								Next: end("Order {result.number}: {result.status}. {result.detail}"),
							},
							{When: map[string]string{"found": "false"}, Next: end("I can't find an order {order}.")},
						},
						Failed:  person("order_lookup_failed", "I can't look up order {order}."),
						Without: person("order_lookup_failed", "I can't look up orders.")}},
			}},
		DeliveryProblem: {Name: DeliveryProblem, Title: say("your delivery"), Idle: 30 * time.Minute,
			Steps: []dialog.StepDef{
				{
					Name: AskingNumber, Ask: &dialog.Ask{
						Field: "order", Prompt: say("Which order?"), Check: dialog.CheckOrderNumber, Next: dialog.Goto{
							Step: ChoosingProblem,
						},
					},
				},
				{Name: ChoosingProblem,
					Ask: &dialog.Ask{Field: "problem", Prompt: say("What is it?"), Only: true,
						HangsOn: []string{"order"}, Choices: []dialog.Choice{
							{Value: "damaged", Label: say("Damaged"), Words: []string{"broken"}},
							{Value: "lost", Label: say("Lost"), Next: person("lost", "A colleague looks for it.")},
						}, Next: dialog.Goto{Step: Describing}}},
				{
					Name: Describing, Ask: &dialog.Ask{
						Field: "detail", Prompt: say("Tell me more."), Check: dialog.CheckText, Next: dialog.Goto{
							Step: ConfirmingReport,
						},
					},
				},
				{
					Name: ConfirmingReport, Confirm: &dialog.Confirm{
						Prompt: say("{order}, {problem}: {detail}"), Next: dialog.Goto{Step: Reporting},
						Correct: dialog.Goto{Step: Describing},
					},
				},
				{Name: Reporting,
					Call: &dialog.Call{Tool: dialog.ReportDelivery,
						Input: map[string]string{"number": "{order}", "problem": "{problem}", "detail": "{detail}"},
						Cases: []dialog.Case{{Next: end("Case {result.case}.")}}, Without: person("report_failed",
							"A colleague sees to it.")}},
			}},
	},
	Phrases: map[dialog.Phrase]map[dialog.Language][]string{
		dialog.PhraseYes:    {"en": {"yes", "ok", "👍"}, "de": {"ja"}},
		dialog.PhraseNo:     {"en": {"no"}, "de": {"nein"}},
		dialog.PhraseCancel: {"en": {"cancel", "never mind", "please stop"}, "de": {"abbrechen"}},
		dialog.PhraseBack:   {"en": {"back"}, "de": {"zurück"}},
		dialog.PhraseAnd:    {"en": {"and", "what about"}, "de": {"und"}},
	},
	Words: map[dialog.Word]dialog.Text{dialog.WordCancelled: both("Cancelled. Nothing was changed.", "Abgebrochen.")},
	Rules: []dialog.Rule{
		{Name: "angry", Words: []string{"outrageous"}, Priority: dialog.Urgent, Say: say("I'm sorry about this.")},
		{
			Name: "angry", Shouting: true, Unless: []string{"great"}, Priority: dialog.Urgent,
			Say: say("I'm sorry about this."),
		},
		{Name: "insistent", Repeats: 3, Priority: dialog.High},
		{Name: "step_failed", Failures: 3, Priority: dialog.Normal},
		{Name: dialog.ReasonNotUnderstood, Unsure: 2, Priority: dialog.Normal},
	},
	Tiers: map[string]dialog.Priority{"priority": dialog.High},
	Canned: map[string]dialog.Text{
		"hold": both("One moment, {customer}.", "Einen Moment, {customer}."),
	},
}
