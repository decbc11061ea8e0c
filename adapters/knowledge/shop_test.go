package knowledge

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chatledger/chatledger/domain/dialog"
)

// shop returns the embedded knowledge, read and trained once for all tests.
var shop = sync.OnceValues(func() (*dialog.Knowledge, error) { return Read(Shop, Options{}) })

func theShop(t *testing.T) *dialog.Knowledge {
	t.Helper()
	k, err := shop()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// billing lists the intents about billing: the messages below do not decide between them.
var billing = []dialog.Intent{"billing", "refund", "invoice", "duplicate_charge", "payment"}

func TestShop_KnownMessages_Understood(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	for text, want := range map[string][]dialog.Intent{
		"/start":       {dialog.Start},
		"/help":        {dialog.Help},
		"/cancel":      {dialog.Cancel},
		"/settings":    {dialog.Unknown},
		"see /help":    {dialog.Help},
		"Hello":        {"greeting"},
		"hi!":          {"greeting"},
		"Good morning": {"greeting"},
		"Hi there 👋":   {"greeting"},
		"thanks":       {"thanks"}, "Thank you so much!": {"thanks"}, "thanks for your help": {"thanks"},
		"call me Tom": {dialog.Unknown},
		"help":        {dialog.Help}, "What can you do?": {dialog.Help}, "Can you help me?": {dialog.Help},
		"Hi, my package?":                                {"order_status"},
		"Hello, I never got my parcel":                   {"order_status", "delivery_problem"},
		"Thank you, and the delivery?":                   {"order_status"},
		"Hi, can you help me with a refund":              billing,
		"Where is my order 1001?":                        {"order_status"},
		"where’s my order #1001":                         {"order_status"},
		"WHERE IS MY ORDER":                              {"order_status"},
		"I never got my parcel":                          {"order_status", "delivery_problem"},
		"My parcel hasn't arrived yet":                   {"order_status"},
		"still haven't received anything":                {"order_status"},
		"Order status please, A-20451":                   {"order_status"},
		"order no. 1001":                                 {"order_status"},
		"Order: AB12345.":                                {"order_status"},
		"track ab12345":                                  {"order_status"},
		"1001":                                           {"order_status"},
		"#1001":                                          {"order_status"},
		"it's 1001":                                      {"order_status"},
		"number 1001, thanks":                            {"order_status"},
		"In March 2024 I placed order 1001, where is it": {"order_status"},
		"order “1001”":                                   {"order_status"},
		"When will my delivery come":                     {"order_status"},
		"has my stuff been shipped?":                     {"order_status"},
		"I ordered a lamp two weeks ago":                 {"order_status"},
		"cancel":                                         {dialog.Cancel},
		"Cancel please":                                  {dialog.Cancel},
		"never mind":                                     {dialog.Cancel},
		"stop":                                           {dialog.Cancel},
		"forget it":                                      {dialog.Cancel},
		"cancel my order":                                {"cancel_order"},
		"please cancel order 1001":                       {"cancel_order"},
		"I want to cancel my subscription":               {"cancel_order"},
		"I need to cancel a reservation":                 {"cancel_order"},
		"OK, cancel the address change please":           {dialog.Cancel},
		"never mind, I found it":                         {dialog.Cancel},
		"you charged me twice":                           billing,
		"I was charged twice for order 1001":             billing,
		"I want my money back":                           billing,
		"when do I get my refund":                        billing,
		"The invoice is wrong":                           billing,
		"My card was declined":                           billing,
		"can I pay by credit card":                       billing,
		"where do I find my receipt?":                    billing,
		"What's on my bill?":                             billing,
		"I want to change my billing address":            {"change_address"},
		"my new address is 12 Baker Street, London":      {"change_address"},
		"Please update my address":                       {"change_address"},
		"I've moved":                                     {"change_address"},
		"I moved to a new flat":                          {"change_address"},
		"new address":                                    {"change_address"},
		"billing address is wrong":                       {"change_address"},
		"I want to change my email address":              {dialog.Unknown},
		"please change the delivery address":             {dialog.Unknown},
		"I can't log in":                                 {"troubleshooting"},
		"I can’t log in":                                 {"troubleshooting"},
		"the app crashes all the time":                   {"troubleshooting"},
		"forgot my password":                             {"troubleshooting"},
		"your website is not working":                    {"troubleshooting"},
		"it doesn't work":                                {"troubleshooting"},
		"I get an error at checkout":                     {"troubleshooting"},
		"I want to talk to a person":                     {"person"},
		"agent":                                          {"person"},
		"can I speak to someone?":                        {"person"},
		"are you human?":                                 {"person"},
		"Please call me back":                            {"person"},
		"I don't want to talk to a bot":                  {"person"},
		"":                                               {dialog.Unknown},
		"   \n":                                          {dialog.Unknown},
		"🙂":                                              {dialog.Unknown},
		"???":                                            {dialog.Unknown},
		"/":                                              {dialog.Unknown},
		"\x00":                                           {dialog.Unknown},
		"qwertz":                                         {dialog.Unknown},
		"Где мой заказ?":                                 {dialog.Unknown},
		"我的包裹在哪里":                                        {dialog.Unknown},
		"أين طلبي":                                       {dialog.Unknown},
		"happy":                                          {dialog.Unknown},
		"a cardboard birdcage":                           {dialog.Unknown},
		"I will be there at 18:30 on 12.03.2026":         {dialog.Unknown},
		strings.Repeat("blah ", 819) + "x":               {dialog.Unknown},
	} {
		u := k.Understand(text, dialog.English)
		if !slices.Contains(want, u.Intent) {
			t.Errorf("%.60q: %s (%.2f), want %s", text, u.Intent, u.Confidence, want)
		}
	}
}

// message is one of a file of intent<TAB>language<TAB>message lines.
type message struct {
	intent   string
	language dialog.Language
	text     string
}

func readMessages(t *testing.T, file string) (all []message) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if columns := strings.Split(lines.Text(), "\t"); len(columns) == 3 {
			all = append(all, message{columns[0], dialog.Language(columns[1]), columns[2]})
		}
	}
	return all
}

// understoodShare is the least share of unseen messages that must be understood. They were written
// before the examples.
const understoodShare = 0.85

func TestShop_UnseenMessages_Understood(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	all := readMessages(t, "testdata/unseen.tsv")
	right, wrong, asked := 0, 0, 0
	for _, m := range all {
		switch u := k.Understand(m.text, m.language); {
		case string(u.Intent) == m.intent:
			right++
		case u.Intent == dialog.Unknown:
			asked++
			t.Logf("asks: %-16s %.2f %s", m.intent, u.Confidence, m.text)
		default:
			wrong++
			t.Logf("errs: %-16s %.2f %s: %s", m.intent, u.Confidence, u.Intent, m.text)
		}
	}
	share := float64(right) / float64(len(all))
	t.Logf("of %d messages %d are understood (%.1f %%), %d asked about, %d mistaken",
		len(all), right, 100*share, asked, wrong)
	if len(all) < 80 || share < understoodShare {
		t.Errorf("%.1f %% of %d messages are understood, want %.0f %% of at least 80", 100*share, len(all),
			100*understoodShare)
	}
}

// A word or two do not change the language of a conversation; a sentence that is clearly in another
// language does.
func TestShop_Language_Recognized(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	other := map[dialog.Language]dialog.Language{"en": "de", "de": "en"}
	sentences, changed := 0, 0
	for _, m := range readMessages(t, "testdata/unseen.tsv") {
		if u := k.Understand(m.text, m.language); u.Language != m.language {
			t.Errorf("%q in a conversation in %s leads to %s", m.text, m.language, u.Language)
		}
		if len(strings.Fields(m.text)) < 4 {
			continue
		}
		sentences++
		if u := k.Understand(m.text, other[m.language]); u.Language == m.language {
			changed++
		} else {
			t.Logf("language not recognized: %s", m.text)
		}
	}
	if share := float64(changed) / float64(sentences); share < 0.9 {
		t.Errorf("of %d sentences the language of %.1f %% is recognized, want 90 %%", sentences, 100*share)
	}
}

// A customer who writes in a language that the bot does not speak is answered as before, not in
// another foreign one.
func TestShop_ForeignLanguage_LanguageKept(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	for _, text := range []string{
		"¿Dónde está mi pedido por favor?", "No he recibido mi paquete todavía y ya pasaron dos semanas",
		"Gdzie jest moje zamówienie? Czekam już tydzień",
		"Chciałbym zmienić adres dostawy proszę", "Où est ma commande s'il vous plaît ?",
		"On m'a débité deux fois pour la même commande", "Vorrei cambiare il mio indirizzo di spedizione",
		"Waar is mijn bestelling? Ik wacht al een week", "Var är min beställning någonstans egentligen",
		"Onde está o meu pedido por favor", "Siparişim nerede lütfen bana yardım edin",
		"Где мой заказ, я жду уже неделю", "Unde este comanda mea vă rog",
	} {
		for _, before := range k.Languages {
			if u := k.Understand(text, before); u.Language != before {
				t.Errorf("%q in a conversation in %s leads to %s", text, before, u.Language)
			}
		}
	}
}

func TestShop_UnseenMessages_NotExamples(t *testing.T) {
	t.Parallel()
	examples, err := Examples(Shop)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, e := range examples {
		known[plainWords(e.Text)] = true
	}
	for _, m := range readMessages(t, "testdata/unseen.tsv") {
		if known[plainWords(m.text)] {
			t.Errorf("%q is an example", m.text)
		}
	}
}
