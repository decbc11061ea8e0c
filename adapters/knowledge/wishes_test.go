package knowledge

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// hears returns what the shop's bot does about a message: the calls of tools, each with its input, the
// workflows that it begins, and the reason of a hand-over.
func hears(t *testing.T, c dialog.Context, text string) string {
	t.Helper()
	c.Knowledge, c.Tools = theShop(t), map[string]bool{}
	for name := range dialog.Toolbox {
		c.Tools[name] = true
	}
	turn := dialog.Take(c, dialog.Act{Text: text, MessageID: 7, At: time.Date(2027, 2, 1, 12, 0, 0, 0, time.UTC)})
	var does []string
	for _, call := range append(turn.Asides, turn.Call) {
		if call.Tool != "" {
			does = append(does, call.Tool+" "+strings.Join(slices.Sorted(maps.Values(call.Input)), " "))
		}
	}
	for _, workflow := range begun(turn) {
		does = append(does, "begins "+workflow)
	}
	if turn.HandOver.Reason != "" {
		does = append(does, "hands over "+turn.HandOver.Reason)
	}
	return strings.Join(does, ", ")
}

const (
	both          = "order_status 1001, order_status 1002"
	status13      = "order_status 1001, order_status 1003"
	beginsAddress = "begins billing_address_change"
	beginsProblem = "begins delivery_problem"
)

func TestShop_SeveralWishes_AllServed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"invoice for 1001 and where is order 1002":                         "invoice 1001, order_status 1002",
		"I need the invoice for order 1001, and where is 1002?":            "invoice 1001, order_status 1002",
		"Where is order 1002? Also please send me the bill for 1001":       "order_status 1002, invoice 1001",
		"can i get a receipt for #1001 and whats the status of #1002":      "invoice 1001, order_status 1002",
		"Rechnung für 1001 und wo ist Bestellung 1002":                     "invoice 1001, order_status 1002",
		"Ich brauche die Rechnung zu 1001, und wo bleibt mein Paket 1002?": "invoice 1001, order_status 1002",
		"Wo ist 1002? Und bitte die Rechnung für Bestellung 1001":          "order_status 1002, invoice 1001",
		"Please send invoice 1001. Where's 1002?":                          "invoice 1001, order_status 1002",
		"invoice for 1001 & where is 1002":                                 "invoice 1001, order_status 1002",
		"where is my order 1002 and can I get the invoice for it":          "order_status 1002, invoice 1002",
		"1001 and 1002":                                                         both,
		"1001, 1002 und 1003":                                                   both + ", order_status 1003",
		"where are 1001 and 1002?":                                              both,
		"wo sind 1001 und 1002":                                                 both,
		"Where is order 1001 and where is order 1002?":                          both,
		"where is 1001 and where is order 1002":                                 both,
		"where is 1001? invoice for 1002? and where is 1003?":                   status13 + ", invoice 1002",
		"invoices for 1001 and 1002 please":                                     "invoice 1001, invoice 1002",
		"Rechnungen für 1001 und 1002 bitte":                                    "invoice 1001, invoice 1002",
		"where is 1001? I want to change my billing address":                    "order_status 1001, " + beginsAddress,
		"Ich möchte meine Rechnungsadresse ändern. Und wo ist Bestellung 1001?": "order_status 1001, " + beginsAddress,
	} {
		if got := hears(t, dialog.Context{}, text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestShop_OneWish_ServedOnce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"My parcel with order 1003 arrived broken":                          "order_status 1003, " + beginsProblem,
		"order 1003 came damaged":                                           "order_status 1003, " + beginsProblem,
		"I ordered a lamp, order 1003, and it came broken":                  "order_status 1003, " + beginsProblem,
		"The lamp from order 1003 is cracked":                               "order_status 1003, " + beginsProblem,
		"I got the wrong item in order 1003":                                "order_status 1003, " + beginsProblem,
		"my parcel arrived yesterday, order 1003. The box is torn":          "order_status 1003, " + beginsProblem,
		"Mein Paket mit der Bestellung 1003 kam kaputt an":                  "order_status 1003, " + beginsProblem,
		"Bestellung 1003 ist beschädigt angekommen":                         "order_status 1003, " + beginsProblem,
		"Die Lampe aus Bestellung 1003 ist zerbrochen":                      "order_status 1003, " + beginsProblem,
		"In Bestellung 1003 fehlt etwas":                                    "order_status 1003, " + beginsProblem,
		"where is my parcel? order 1001":                                    "order_status 1001",
		"Hello, I ordered in March 2024 for 1299 EUR, where is order 1001?": "order_status 1001",
		"Hallo, meine Bestellnummer ist 1001. Wo bleibt mein Paket?":        "order_status 1001",
		"order 1003 is damaged":                                             "order_status 1003, " + beginsProblem,
		"Lieferung 1003 ist kaputt":                                         "order_status 1003, " + beginsProblem,
		"Die Vase (Bestellung 1003) ist in Scherben":                        "begins delivery_problem",
		"1003 kaputt":         "order_status 1003, " + beginsProblem,
		"hello, 1001":         "order_status 1001",
		"1001 danke":          "order_status 1001",
		"Order 1003 broken!!": "order_status 1003, " + beginsProblem,
		"Ich wohne in 20095 Hamburg. Wo ist 1001?": "order_status 1001",
		"please":      "",
		"cancel 1001": "hands over cancel_order",
		"Die Lampe, die ich bekommen habe, geht nicht an": "begins delivery_problem",
		"where is order 1001? I want to talk to a person": "hands over asked",
		"invoice for 1001 and please cancel order 1002":   "hands over cancel_order",
	} {
		if got := hears(t, dialog.Context{}, text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A question that names only another order repeats the last wish for that order, in the language of
// the conversation.
func TestShop_FollowUp_SameWishForOtherOrder(t *testing.T) {
	t.Parallel()
	for text, last := range map[string]dialog.Intent{
		"und 1001?": "order_status", "und 1001": "invoice",
		"und was ist mit 1001?": "invoice", "und Bestellung 1001": "invoice",
		"and 1001?": "order_status", "what about order 1001": "invoice", "also 1001 please": "invoice",
	} {
		c := dialog.Context{Language: "de", Last: last}
		if got, want := hears(t, c, text), string(last)+" 1001"; got != want {
			t.Errorf("%q after %s: %q", text, last, got)
		}
		if language := theShop(t).Understand(text, "de").Language; strings.HasPrefix(text, "u") && language != "de" {
			t.Errorf("%q leads to %s", text, language)
		}
	}
}

// The examples and the unseen messages have one wish each, and none of them is split into two wishes.
func TestShop_OneWishMessages_NotSplit(t *testing.T) {
	t.Parallel()
	all := readMessages(t, "testdata/unseen.tsv")
	examples, err := Examples(Shop)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		all = append(all, message{string(e.Intent), e.Language, e.Text})
	}
	for _, m := range all {
		c := dialog.Context{Knowledge: theShop(t), Language: m.language}
		turn := dialog.Take(c, dialog.Act{Text: m.text, MessageID: 7, At: time.Date(2027, 2, 1, 12, 0, 0, 0, time.UTC)})
		if n := len(begun(turn)); n > 1 || n == 0 && len(turn.Replies) > 1 {
			t.Errorf("%q (%s): begins %q, says %+v", m.text, m.intent, begun(turn), turn.Replies)
		}
	}
}

// begun returns the workflows that a turn begins.
func begun(turn dialog.Turn) (workflows []string) {
	for _, move := range turn.Moves {
		if move.Kind == dialog.Stepped && move.To == dialog.Initial {
			workflows = append(workflows, move.Workflow)
		}
	}
	return workflows
}
