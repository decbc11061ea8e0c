package dialog

import (
	"strings"
	"testing"
)

func TestMessagesAreUnderstood(t *testing.T) {
	tests := []struct {
		text   string
		intent Intent
		order  string
	}{
		// Commands
		{"/start", Start, ""},
		{"/start ref-123", Start, ""},
		{"/START", Start, ""},
		{"/help", Help, ""},
		{"/help@demo_bot", Help, ""},
		{"/cancel", Cancel, ""},
		{"/cancel\nplease", Cancel, ""},
		{"/settings", Unknown, ""},
		{"see /help", Help, ""},

		// Courtesies, alone and before a wish
		{"Hello", Greeting, ""},
		{"hi!", Greeting, ""},
		{"Good morning", Greeting, ""},
		{"Hi there 👋", Greeting, ""},
		{"thanks", Thanks, ""},
		{"Thank you so much!", Thanks, ""},
		{"thanks for your help", Thanks, ""},
		{"call me Tom", Unknown, ""},
		{"help", Help, ""},
		{"What can you do?", Help, ""},
		{"Can you help me?", Help, ""},
		{"Hi, my package?", OrderStatus, ""},
		{"Hello, I never got my parcel", OrderStatus, ""},
		{"Thank you, and the delivery?", OrderStatus, ""},
		{"Hi, can you help me with a refund", Billing, ""},

		// Orders
		{"Where is my order 1001?", OrderStatus, "1001"},
		{"where’s my order #1001", OrderStatus, "1001"},
		{"WHERE IS MY ORDER", OrderStatus, ""},
		{"I never got my parcel", OrderStatus, ""},
		{"My parcel hasn't arrived yet", OrderStatus, ""},
		{"still haven't received anything", OrderStatus, ""},
		{"Order status please, A-20451", OrderStatus, "A-20451"},
		{"order no. 1001", OrderStatus, "1001"},
		{"Order: AB12345.", OrderStatus, "AB12345"},
		{"track ab12345", OrderStatus, "AB12345"},
		{"1001", OrderStatus, "1001"},
		{"#1001", OrderStatus, "1001"},
		{"it's 1001", OrderStatus, "1001"},
		{"number 1001, thanks", OrderStatus, "1001"},
		{"In March 2024 I placed order 1001, where is it", OrderStatus, "1001"},
		{"order “1001”", OrderStatus, "1001"},
		{"When will my delivery come", OrderStatus, ""},
		{"has my stuff been shipped?", OrderStatus, ""},
		{"I ordered a lamp two weeks ago", OrderStatus, ""},

		// Cancelling: an order is not the conversation
		{"cancel", Cancel, ""},
		{"Cancel please", Cancel, ""},
		{"never mind", Cancel, ""},
		{"stop", Cancel, ""},
		{"forget it", Cancel, ""},
		{"cancel my order", CancelOrder, ""},
		{"please cancel order 1001", CancelOrder, "1001"},
		{"I want to cancel my subscription", CancelOrder, ""},
		{"I need to cancel a reservation", CancelOrder, ""},
		{"OK, cancel the address change please", Cancel, ""},
		{"never mind, I found it", Cancel, ""},

		// Billing
		{"you charged me twice", Billing, ""},
		{"I was charged twice for order 1001", Billing, "1001"},
		{"I want my money back", Billing, ""},
		{"when do I get my refund", Billing, ""},
		{"The invoice is wrong", Billing, ""},
		{"My card was declined", Billing, ""},
		{"can I pay by credit card", Billing, ""},
		{"where do I find my receipt?", Billing, ""},
		{"What's on my bill?", Billing, ""},

		// Addresses
		{"I want to change my billing address", ChangeAddress, ""},
		{"my new address is 12 Baker Street, London", ChangeAddress, ""},
		{"Please update my address", ChangeAddress, ""},
		{"I've moved", ChangeAddress, ""},
		{"I moved to a new flat", ChangeAddress, ""},
		{"new address", ChangeAddress, ""},
		{"billing address is wrong", ChangeAddress, ""},
		{"I want to change my email address", Unknown, ""},
		{"please change the delivery address", Unknown, ""},

		// Troubles
		{"I can't log in", Troubleshooting, ""},
		{"I can’t log in", Troubleshooting, ""},
		{"the app crashes all the time", Troubleshooting, ""},
		{"forgot my password", Troubleshooting, ""},
		{"your website is not working", Troubleshooting, ""},
		{"it doesn't work", Troubleshooting, ""},
		{"I get an error at checkout", Troubleshooting, ""},

		// Persons
		{"I want to talk to a person", Person, ""},
		{"agent", Person, ""},
		{"can I speak to someone?", Person, ""},
		{"are you human?", Person, ""},
		{"Please call me back", Person, ""},
		{"I don't want to talk to a bot", Person, ""},

		// Nothing to hold on to
		{"", Unknown, ""},
		{"   \n", Unknown, ""},
		{"🙂", Unknown, ""},
		{"???", Unknown, ""},
		{"/", Unknown, ""},
		{"\x00", Unknown, ""},
		{"qwertz", Unknown, ""},
		{"Где мой заказ?", Unknown, ""},
		{"我的包裹在哪里", Unknown, ""},
		{"أين طلبي", Unknown, ""},
		{"happy", Unknown, ""},                // holds "app"
		{"a cardboard birdcage", Unknown, ""}, // holds "card"
		{"I will be there at 18:30 on 12.03.2026", Unknown, ""},
		{strings.Repeat("blah ", 819) + "x", Unknown, ""},
		{strings.Repeat("x", 4060) + " where is my order 1001?", OrderStatus, "1001"},
	}
	for _, test := range tests {
		u := Understand(test.text)
		if u.Intent != test.intent || test.order != "" && u.Order != test.order {
			t.Errorf("%.60q: %s (%.2f), order %q; want %s, order %q", test.text, u.Intent, u.Confidence, u.Order, test.intent, test.order)
		}
		if u.Confidence < 0 || u.Confidence > 1 || u.Intent == Unknown && u.Confidence >= threshold || u.Intent != Unknown && u.Confidence < threshold {
			t.Errorf("%.60q: %s with confidence %v", test.text, u.Intent, u.Confidence)
		}
		if u.Angry {
			if test.text != "WHERE IS MY ORDER" {
				t.Errorf("%.60q is taken for anger", test.text)
			}
		}
	}
	if len(tests) < 60 {
		t.Errorf("only %d messages", len(tests))
	}
}

func TestAnOrderNumberStandsAlone(t *testing.T) {
	for text, want := range map[string]string{
		"1001":                       "1001",
		"(1001)":                     "1001",
		"ABC-1001":                   "ABC-1001",
		"abc1001!":                   "ABC1001",
		"Order №1001":                "1001",
		"order number is 1001":       "1001",
		"orders 1001 and 1002":       "1001",
		"123":                        "",
		"12345678901":                "",
		"ABCD1001":                   "",
		"1001st visitor":             "",
		"at 10:01":                   "",
		"€10.01":                     "",
		"mail me at a1001@shop.test": "",
	} {
		if got := orderNumber(text); got != want {
			t.Errorf("%q: order %q, want %q", text, got, want)
		}
	}
}

func TestAngerIsHeardAndOnlyAnger(t *testing.T) {
	for _, text := range []string{
		"This is unacceptable", "I am FED UP with you", "WHERE IS MY ORDER", "You are useless!", "this is the third time I write",
		"Where is my parcel!!!", "How many times do I have to ask", "I'LL NEVER BUY HERE AGAIN", "scam", "ГДЕ МОЙ ЗАКАЗ, ОТВЕТЬТЕ",
		"THIS IS OUTRAGEOUS, I WAITED 3 WEEKS",
	} {
		if !Understand(text).Angry {
			t.Errorf("%q is not taken for anger", text)
		}
	}
	for _, text := range []string{
		"", "OK", "OK!!!", "YES", "Hello!!!", "Thank you!!!", "Thank you so much for this!!!", "THANK YOU", "That was great!!!", "Wow, this is perfect!!!", "Where is my order?", "Where is my order??", "No!",
		"12 BAKER STREET, LONDON NW1 6XE", "MY NEW ADDRESS IS 12 BAKER STREET, LONDON NW1 6XE", "ORDER AB-1001", "USA", "a damning report", "A-20451",
		"我的包裹在哪里我的包裹在哪里", "How many times can I change it?",
	} {
		if Understand(text).Angry {
			t.Errorf("%q is taken for anger", text)
		}
	}
}

func TestAConfirmationIsClear(t *testing.T) {
	for _, text := range []string{"yes", "Yes!", "YES", "y", "ok", "OK!!!", "Yes, please.", "that's right", "That’s correct", "👍", " ✅ ", "sure"} {
		if !saysYes(text) {
			t.Errorf("%q is not taken for a yes", text)
		}
	}
	for _, text := range []string{"", "yes but the number is wrong", "no", "is that right?", "ok wait", "yesterday", "👎", "right street, wrong number"} {
		if saysYes(text) {
			t.Errorf("%q is taken for a yes", text)
		}
	}
	for _, text := range []string{"no", "No!", "nope", "wrong", "that's wrong"} {
		if !saysNo(text) {
			t.Errorf("%q is not taken for a no", text)
		}
	}
	for _, text := range []string{"", "yes", "nothing else", "notice", "12 Nope Lane, Leeds LS1 4AP"} {
		if saysNo(text) {
			t.Errorf("%q is taken for a no", text)
		}
	}
}

func TestATipFitsTheQuestion(t *testing.T) {
	for text, says := range map[string]string{
		"when do I get my refund":          "Refunds go back",
		"you charged me twice":             "second booking",
		"where is the invoice?":            "Invoices",
		"What's on my bill?":               "Invoices",
		"My card was declined":             "declined",
		"I have a billing question":        "What would you like to know",
		"I can't log in":                   "Forgot password",
		"it crashes when I open it":        "latest version",
		"I get an error, is that a bug":    "reload the page",
		"what happens with this error":     "reload the page", // "happens" is no app
		"error in the confirmation e-mail": "spam folder",
	} {
		turn := Take(Context{}, Act{Text: text, At: noon})
		if len(turn.Replies) != 1 || !strings.Contains(turn.Replies[0].Text, says) {
			t.Errorf("%q: %+v, want something of %q", text, turn.Replies, says)
		}
	}
}
