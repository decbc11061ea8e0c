package knowledge

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// talker is a customer who talks to the shop's bot in a test.
type talker struct {
	*testing.T
	context dialog.Context
	at      time.Time
	message int64
	last    dialog.Turn
}

// visit begins a conversation with a bot that has these tools, or all tools if none are given.
func visit(t *testing.T, language dialog.Language, tools ...string) *talker {
	if len(tools) == 0 {
		tools = slices.Collect(maps.Keys(dialog.Toolbox))
	}
	c := &talker{T: t, at: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
	c.context.Knowledge, c.context.Prefers, c.context.Tools = theShop(t), language, map[string]bool{}
	for _, tool := range tools {
		c.context.Tools[tool] = true
	}
	return c
}

// writes sends a message, or presses the button with this label.
func (c *talker) writes(text string) *talker {
	c.Helper()
	c.message++
	act := dialog.Act{Text: text, MessageID: c.message, At: c.at}
	for _, reply := range c.last.Replies {
		for _, b := range reply.Buttons {
			if b.Text == text {
				act.Text, act.Button = "", b.Data
			}
		}
	}
	return c.follow(dialog.Take(c.context, act))
}

// returns sends the answer of the tool that the bot waits for, as pairs of key and value; without
// pairs, the tool has failed.
func (c *talker) returns(tool string, pairs ...string) *talker {
	c.Helper()
	if c.context.Run.Calling != tool {
		c.Fatalf("the bot waits for the tool %q, want %s; it said %+v", c.context.Run.Calling, tool, c.last.Replies)
	}
	output := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		output[pairs[i]] = pairs[i+1]
	}
	c.context.Run.Calling, c.context.Run.Writing = "", false
	return c.follow(dialog.Returned(c.context, output, len(pairs) == 0, dialog.Act{At: c.at}))
}

func (c *talker) fails(tool string) *talker { c.Helper(); return c.returns(tool) }

func (c *talker) follow(turn dialog.Turn) *talker {
	c.last, c.context.Language = turn, turn.Language
	for _, move := range turn.Moves {
		c.context.Run = c.context.Run.Follow(move, c.at)
	}
	if turn.Offer.Intent != "" {
		c.context.Run.Offered = turn.Offer
	}
	for _, call := range turn.Asides { // its answer is handled like that to a step
		q := call.About
		c.context.Run = dialog.Run{Workflow: q.Workflow, Step: q.Step, Data: q.Data, Calling: call.Tool}
	}
	if turn.Call.Tool != "" {
		c.context.Run.Calling, c.context.Run.Writing = turn.Call.Tool, dialog.Toolbox[turn.Call.Tool].Writes
	}
	return c
}

func (c *talker) stands(step dialog.Step, says ...string) *talker {
	c.Helper()
	said := ""
	for _, reply := range c.last.Replies {
		said += reply.Text + "\n"
	}
	if c.context.Run.Step != step {
		c.Fatalf("the workflow is at step %s, want %s; the bot said %s", c.context.Run.Step, step, said)
	}
	for _, part := range says {
		if !strings.Contains(said, part) {
			c.Errorf("the bot said %q, want %q in it", said, part)
		}
	}
	if strings.ContainsAny(said, "{}") {
		c.Errorf("the bot said braces: %q", said)
	}
	return c
}

func (c *talker) person(reason string, priority dialog.Priority, says ...string) {
	c.Helper()
	if c.last.HandOver != (dialog.HandOver{Reason: reason, Priority: priority}) {
		c.Fatalf("handed over as %+v, want %s %s; the bot said %+v", c.last.HandOver, reason, priority, c.last.Replies)
	}
	if c.context.Run.Step != "" {
		c.stands(dialog.HandedOver, says...)
	}
}

const baker = "12 Baker Street, London NW1 6XE"

func TestShop_BillingAddress_Changed(t *testing.T) {
	t.Parallel()
	confirming := func(t *testing.T) *talker {
		return visit(t, "en").writes("I want to change my billing address").
			stands("collecting_address", "send me the new billing address").
			writes("12 baker street, london nw1 6xe").
			stands("validating_address").
			returns(dialog.CheckAddress, "valid", "true", "address", baker).
			stands("confirming_changes", "Your new billing address will be:\n"+baker)
	}
	t.Run("after a yes", func(t *testing.T) {
		confirming(t).writes("Yes, change it").
			stands("saving_changes").
			returns(dialog.ChangeAddress, "address", baker).
			stands(dialog.Completed, "Done: your billing address is now "+baker)
	})
	t.Run("corrected", func(t *testing.T) {
		confirming(t).writes("Correct it").stands("collecting_address", "send me the address again")
	})
	t.Run("refused by the CRM", func(t *testing.T) {
		visit(t, "en").writes("my new address is 1 Nowhere Lane, London NW1 6XE").
			returns(dialog.CheckAddress, "valid", "false", "problem", "there is no such street").
			stands("collecting_address", "I can't use this address yet: there is no such street.")
	})
	t.Run("not checked", func(t *testing.T) {
		visit(t, "en").writes("my new address is "+baker).
			fails(dialog.CheckAddress).
			person("address_check_failed", dialog.Normal, "Nothing was changed")
	})
	t.Run("not saved", func(t *testing.T) {
		confirming(t).writes("yes").
			fails(dialog.ChangeAddress).
			person("address_update_failed", dialog.Normal, "couldn't complete")
	})
	t.Run("without a CRM", func(t *testing.T) {
		visit(t, "en", "none").writes("change my billing address").
			writes(baker).
			stands("confirming_changes").
			writes("yes").
			stands(dialog.Completed, "is now "+baker)
	})
	t.Run("in German", func(t *testing.T) {
		visit(t, "de").writes("Ich möchte meine Rechnungsadresse ändern").
			stands("collecting_address", "neue Rechnungsadresse").
			writes("Hauptstraße 12, 10115 Berlin").
			returns(dialog.CheckAddress, "valid", "true", "address", "Hauptstraße 12, 10115 Berlin").
			writes("Ja, ändern").
			returns(dialog.ChangeAddress, "address", "Hauptstraße 12, 10115 Berlin").
			stands(dialog.Completed, "Erledigt")
	})
}

func TestShop_Order_LookedUp(t *testing.T) {
	t.Parallel()
	visit(t, "en").writes("Where is my order 1001?").
		returns(dialog.OrderStatus, "found", "true", "number", "1001", "status", "shipped", "detail",
			"It should arrive tomorrow.").
		stands(dialog.Completed, "Order 1001: shipped. It should arrive tomorrow.")
	visit(t, "en").writes("where is my parcel").stands("asking_number", "Which order do you mean?").writes("1009").
		returns(dialog.OrderStatus, "found", "false").stands(dialog.Completed, "I can't find an order 1009.")
	visit(t, "en").writes("Where is my order 1001?").
		fails(dialog.OrderStatus).
		person("order_lookup_failed", dialog.Normal, "I can't look up order 1001 right now.")
	visit(t, "en", "none").writes("Where is my order 1001?").person("order_lookup_failed", dialog.Normal)
	visit(t, "de").writes("Wo ist meine Bestellung 1001?").
		returns(dialog.OrderStatus, "found", "true", "number", "1001", "status", "shipped").
		stands(dialog.Completed, "Bestellung 1001: versandt.")
}

func TestShop_Invoice_Fetched(t *testing.T) {
	t.Parallel()
	visit(t, "en").writes("I need an invoice").stands("asking_number", "Orders › Invoices").writes("1001").
		returns(dialog.Invoice, "found", "true", "invoice", "R-77", "amount", "49.90 EUR", "date", "2026-02-01", "url",
			"https://shop.test/r77.pdf").
		stands(dialog.Completed, "R-77", "49.90 EUR", "2026-02-01", "https://shop.test/r77.pdf")
	visit(t, "en").writes("send me the invoice for order 1001").
		returns(dialog.Invoice, "found", "false").
		stands(dialog.Completed, "can't find an invoice for order 1001")
	visit(t, "en").writes("send me the invoice for order 1001").
		fails(dialog.Invoice).
		person("invoice_lookup_failed", dialog.Normal)
	visit(t, "en", "none").writes("send me the invoice for order 1001").
		stands(dialog.Completed, "Every invoice is in your account under Orders › Invoices")
}

func TestShop_DuplicateCharge_Refunded(t *testing.T) {
	t.Parallel()
	looked := func(t *testing.T, pairs ...string) *talker {
		return visit(t, "en").writes("I was charged twice for order 1001").
			stands("checking_charges").
			returns(dialog.Charges, pairs...)
	}
	duplicate := func(t *testing.T) *talker {
		return looked(t, "found", "true", "duplicate", "true", "pending", "false", "charge", "ch_2", "amount",
			"49.90 EUR").stands("confirming_refund", "49.90 EUR was charged twice")
	}
	t.Run("after a yes", func(t *testing.T) {
		c := duplicate(t).writes("Yes, return it").stands("refunding")
		if want := map[string]string{"number": "1001", "charge": "ch_2"}; !maps.Equal(c.last.Call.Input, want) {
			t.Errorf("refunds %v, want %v", c.last.Call.Input, want)
		}
		c.returns(dialog.RefundDuplicate, "amount", "49.90 EUR", "days", "3").
			stands(dialog.Completed, "49.90 EUR goes back to you", "3 days")
	})
	t.Run("for another order", func(t *testing.T) { duplicate(t).writes("no").stands("asking_number") })
	t.Run("that fails", func(t *testing.T) {
		duplicate(t).writes("yes").fails(dialog.RefundDuplicate).person("refund_failed", dialog.High)
	})
	t.Run("unless it is a reservation", func(t *testing.T) {
		looked(t, "found", "true", "duplicate", "true", "pending", "true", "amount",
			"49.90 EUR").stands(dialog.Completed, "only a reservation", "49.90 EUR")
	})
	none := func(t *testing.T) *talker {
		return looked(t, "found", "true", "duplicate", "false", "pending", "false", "list",
			"49.90 EUR on 1 March").stands("asking_what_now", "nothing was charged twice", "49.90 EUR on 1 March")
	}
	t.Run("unless there is none", func(t *testing.T) { none(t).writes("All right").stands(dialog.Completed) })
	t.Run("unless there is none, which a person looks at", func(t *testing.T) {
		none(t).writes("please look at it").person("duplicate_charge", dialog.Normal)
	})
	t.Run("unless there is no such order",
		func(t *testing.T) { looked(t, "found", "false").stands(dialog.Completed, "can't find an order 1001") })
	t.Run("unless the lookup fails", func(t *testing.T) { looked(t).person("charge_lookup_failed", dialog.Normal) })
	t.Run("by a person without the tool", func(t *testing.T) {
		visit(t, "en", "none").writes("you charged me twice").writes("1001").person("duplicate_charge", dialog.Normal)
	})
}

func TestShop_DeliveryProblem_Reported(t *testing.T) {
	t.Parallel()
	choosing := func(t *testing.T) *talker {
		return visit(t, "en").writes("there is a problem with my delivery").
			stands("asking_number").
			writes("1001").
			stands("choosing_problem", "What is wrong with order 1001?")
	}
	t.Run("to the parcel service", func(t *testing.T) {
		c := choosing(t).writes("Something is damaged").
			returns(dialog.OrderStatus, "found", "true", "status", "delivered").
			stands("describing").
			writes("The shade has a crack").
			stands("confirming_report", "Order 1001", "“The shade has a crack”").
			writes("Yes, report it").
			stands("reporting")
		if want := map[string]string{
			"number": "1001", "problem": "damaged", "detail": "The shade has a crack",
		}; !maps.Equal(c.last.Call.Input, want) {
			t.Errorf("reports %v, want %v", c.last.Call.Input, want)
		}
		c.returns(dialog.ReportDelivery, "case", "C-9", "days", "2").stands(dialog.Completed, "C-9", "2 days")
	})
	t.Run("unless it is on its way", func(t *testing.T) {
		choosing(t).writes("it never arrived").
			returns(dialog.OrderStatus, "found", "true", "status", "shipped", "number", "1001", "detail",
				"It comes tomorrow.").
			stands(dialog.Completed, "still on its way. It comes tomorrow.")
	})
	t.Run("that was delivered to somebody else", func(t *testing.T) {
		choosing(t).writes("It has not arrived").
			returns(dialog.OrderStatus, "found", "true", "status", "delivered", "number", "1001").
			stands("describing")
	})
	t.Run("of an order that is there", func(t *testing.T) {
		choosing(t).writes("Something is missing").
			returns(dialog.OrderStatus, "found", "false").
			stands("asking_number", "there is no order 1001")
	})
	t.Run("described anew", func(t *testing.T) {
		choosing(t).writes("The wrong thing came").
			fails(dialog.OrderStatus).
			stands("describing").
			writes("a blue one").
			writes("no").
			stands("describing", "what happened?")
	})
	t.Run("that cannot be reported", func(t *testing.T) {
		choosing(t).writes("broken").
			fails(dialog.OrderStatus).
			writes("a crack").
			writes("yes").
			fails(dialog.ReportDelivery).
			person("delivery_report_failed", dialog.Normal)
	})
	t.Run("by a person without the tool", func(t *testing.T) { // what is wrong was said at the beginning
		visit(t, "en", "none").writes("my parcel arrived damaged").
			writes("1001").
			stands("describing").
			writes("a crack").
			writes("yes").
			person("delivery_problem", dialog.Normal)
	})
}

func TestShop_Troubleshooting_FindsTheCause(t *testing.T) {
	t.Parallel()
	t.Run("by three questions", func(t *testing.T) {
		visit(t,
			"en").writes("technical problem").stands("choosing_area").writes("Signing in").stands("choosing_sign_in").
			writes("My password is not accepted").stands("hint_password", "Forgot password", "Did that help?").
			writes("still not working").stands("hint_reset_mail").writes("yes, it works now").stands(dialog.Completed,
			"Great!")
	})
	t.Run("in words", func(t *testing.T) {
		visit(t, "en").writes("technical problem").
			writes("the app crashes").
			stands("choosing_app").
			writes("it freezes").
			stands("hint_restart", "latest version").
			writes("no luck").
			stands("hint_reload").
			writes("No").
			person("troubleshooting_failed", dialog.Normal, "I'm sorry that didn't help.")
	})
	t.Run("a yes that is a no", func(t *testing.T) {
		visit(t, "en").writes("technical problem").
			writes("Something else").
			stands("hint_reload").
			writes("yes but it still fails").
			person("troubleshooting_failed", dialog.Normal)
	})
	t.Run("in German", func(t *testing.T) {
		visit(t, "de").writes("Technisches Problem").
			stands("choosing_area").
			writes("E-Mails von euch").
			stands("choosing_email").
			writes("Ich bekomme zu viele").
			stands("hint_newsletter", "Nachrichten").
			writes("hilft nicht").
			person("troubleshooting_failed", dialog.Normal, "Schade")
	})
}

func TestShop_Request_FetchesAnOperator(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]dialog.HandOver{
		"This is unacceptable":                   {Reason: "angry", Priority: dialog.Urgent},
		"I am FED UP with you":                   {Reason: "angry", Priority: dialog.Urgent},
		"WHERE IS MY ORDER":                      {Reason: "angry", Priority: dialog.Urgent},
		"You are useless!":                       {Reason: "angry", Priority: dialog.Urgent},
		"Where is my parcel!!!":                  {Reason: "angry", Priority: dialog.Urgent},
		"How many times do I have to ask":        {Reason: "angry", Priority: dialog.Urgent},
		"I'LL NEVER BUY HERE AGAIN":              {Reason: "angry", Priority: dialog.Urgent},
		"scam":                                   {Reason: "angry", Priority: dialog.Urgent},
		"ГДЕ МОЙ ЗАКАЗ, ОТВЕТЬТЕ":                {Reason: "angry", Priority: dialog.Urgent},
		"THIS IS OUTRAGEOUS, I WAITED 3 WEEKS":   {Reason: "angry", Priority: dialog.Urgent},
		"Das ist eine Frechheit":                 {Reason: "angry", Priority: dialog.Urgent},
		"I want to make a complaint":             {Reason: "angry", Priority: dialog.Urgent},
		"this is the third time I write":         {Reason: "insistent", Priority: dialog.High},
		"I want to talk to a person":             {Reason: "asked", Priority: dialog.High},
		"Ich möchte mit einem Menschen sprechen": {Reason: "asked", Priority: dialog.High},
		"cancel my order":                        {Reason: "cancel_order", Priority: dialog.High},
	} {
		if c := visit(t, "en").writes(text); c.last.HandOver != want {
			t.Errorf("%q: %+v, want %+v", text, c.last.HandOver, want)
		}
	}
	for _, text := range []string{
		"", "OK", "OK!!!", "YES", "Hello!!!", "Thank you!!!", "Thank you so much for this!!!", "THANK YOU",
		"That was great!!!", "Wow, this is perfect!!!", "Where is my order?",
		"Where is my order??", "No!", "12 BAKER STREET, LONDON NW1 6XE",
		"MY NEW ADDRESS IS 12 BAKER STREET, LONDON NW1 6XE", "ORDER AB-1001", "USA", "a damning report", "A-20451",
		"我的包裹在哪里我的包裹在哪里", "How many times can I change it?", "VIELEN DANK FÜR DIE HILFE",
	} {
		if c := visit(t, "en").writes(text); c.last.HandOver.Reason == "angry" ||
			c.last.HandOver.Reason == "insistent" {
			t.Errorf("%q is handed over as angry or insistent", text)
		}
	}
	t.Run("after two messages that were not understood", func(t *testing.T) {
		c := visit(t, "en").writes("qwertz").stands("", "I'm not sure what you mean")
		c.context.Misunderstood = 1
		c.writes("asdfgh").person("not_understood", dialog.Normal)
	})
	t.Run("after three answers that a step rejected", func(t *testing.T) {
		visit(t, "en").writes("where is my parcel").
			writes("123").
			writes("12").
			writes("7").
			person("step_failed", dialog.Normal)
	})
	t.Run("sooner for some", func(t *testing.T) {
		c := visit(t, "en")
		c.context.Customer = map[string]string{"tier": "priority"}
		c.writes("where is my order 1001").fails(dialog.OrderStatus).person("order_lookup_failed", dialog.High)
	})
}

func TestShop_Texts_InBothLanguages(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	for word := range dialog.Words() {
		for _, language := range k.Languages {
			if k.Words[word][language] == "" {
				t.Errorf("%s is not said in %s", word, language)
			}
		}
	}
	examples, err := Examples(Shop)
	if err != nil {
		t.Fatal(err)
	}
	count := map[dialog.Intent]map[dialog.Language]int{}
	for _, e := range examples {
		if count[e.Intent] == nil {
			count[e.Intent] = map[dialog.Language]int{}
		}
		count[e.Intent][e.Language]++
	}
	for intent, by := range count {
		if by["en"] < 25 || by["de"] < 12 {
			t.Errorf("%s has %d examples in English and %d in German", intent, by["en"], by["de"])
		}
	}
	if len(count) != len(k.Topics)-1+4 { // start has none; unknown, cancel, back and help have no topic
		t.Errorf("examples of %d intents, %d topics", len(count), len(k.Topics))
	}
}
