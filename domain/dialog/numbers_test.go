package dialog

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestOrderNumbers_AsPeopleWrite_AreRead(t *testing.T) {
	for text, want := range map[string]string{
		// plain and named
		"1001": "1001", "#1001": "1001", "№1001": "1001", "it's 1001, thanks": "1001", "“1001”": "1001",
		"order no. 1001": "1001", "Bestellung 1001": "1001", "Bestellnummer: 20451": "20451",
		"die Bestellnummer lautet 1003": "1003", "my order number is A-20451": "A-20451", "order AB-1001!": "AB-1001",
		"In March 2024 I placed order 1001": "1001", "I live in 20095 Hamburg, my order is 1001": "1001",
		// as people write them
		"ORD-1001": "1001", "ord 1001": "1001", "ORD1001": "1001", "order1001": "1001", "Bestellung-1001": "1001",
		"Nr.1001": "1001", "nr 1001": "1001", "#1001pls": "1001", "1001pls": "1001", "order 1001plz": "1001",
		"1 0 0 1": "1001", "my order is 1 0 0 1": "1001", "1.001": "1001", "1,001": "1001", "Bestellung 1.001": "1001",
		"1003/1": "1003", "order 1003/1 please": "1003", "1003-2": "1003", "where is 1001?": "1001",
		"where is 1001...": "1001", "1001!": "1001", "(1001)": "1001", "order:1001": "1001", "order\n1001": "1001",
		// in words
		"one zero zero one": "1001", "one oh oh one": "1001", "it's one-zero-zero-one": "1001",
		"eins null null eins": "1001", "Bestellung eins, null, null, eins": "1001", "order ten oh one": "1001",
		"order one thousand and one": "1001", "Bestellung eintausendeins": "1001", "Bestellung tausendeins": "1001",
		"eintausendeins": "1001", "order twenty forty-five": "2045",
		"order two thousand three hundred and four": "2304",
		"Bestellung zweitausenddreihundertvier":     "2304",
		// several
		"1001 and 1002": "1001 1002", "1001, 1002 und 1003": "1001 1002 1003", "1001,1002": "1001 1002",
		"1001/1002": "1001 1002", "1001 & 1002": "1001 1002", "1001 1002": "1001 1002", "#1001 #1002": "1001 1002",
		"orders 1001 and 1002": "1001 1002", "Bestellungen 1001 und 1002": "1001 1002",
		"invoice for 1001 and where is order 1002": "1002", "order 1001, and also order 1002": "1001 1002",
		"1001 1001": "1001", "order 1001 of March 2024 and 1002": "1001",
	} {
		if got := strings.Join(orderNumbers(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestOrderNumbers_OtherNumbers_AreNone(t *testing.T) {
	for _, text := range []string{
		"", "123", "x12345678901", "12345678901",
		// dates and times
		"12.03.2026", "2026-03-12", "12/03/2026", "3/12/2026", "2026/03/12", "12. März 2026", "March 12, 2026",
		"ordered in March 2024", "Dec 2025", "in 2023", "since 2019", "seit 2019", "im Jahr 2024", "Sommer 2024",
		"early 2024", "Ende 2023", "at 18:30", "um 1830 Uhr", "1830 h",
		// prices and amounts
		"1299 EUR", "1299€", "€1299", "$1,299", "EUR 1299", "1.299,00 €", "it cost 1299.00", "1.299 Euro",
		"1200 dollars",
		"1500 ml", "2000mAh", "1500 Watt", "1000 times",
		// phone, card and account numbers, links, post codes
		"+49 30 1234567", "call me at 5551234567", "0301234567", "030 1234567", "(555) 123-4567", "555-1234",
		"meine Handynummer? Handy 17612345678", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00",
		"ada1001@example.com", "https://example.com/1001", "PLZ 20095", "I live in 20095 Hamburg", "post code is 20095",
		"Hauptstraße 12, 20095 Hamburg",
		// words
		"a thousand thanks", "tausend Dank", "I told you a thousand times", "one or two", "no one", "null Ahnung",
		"one two three", "order two lamps", "Bestellung ein",
	} {
		if got := orderNumbers(text); len(got) > 0 {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestOrderNumbers_Hundreds_AreLimited(t *testing.T) {
	got := orderNumbers(strings.Repeat("1001 1002 1003 1004 1005 1006 1007 1008 1009 ", 90))
	if len(got) != numbersMax || !slices.IsSorted(got) {
		t.Errorf("%q", got)
	}
}

// FuzzOrderNumbers: whatever is written, what is read as an order number has the form of one.
func FuzzOrderNumbers(f *testing.F) {
	for _, seed := range []string{"order 1001 and 1002", "1.001", "1 0 0 1", "ORD-1001/1", "eintausendeins",
		"\xff1001ü", "\u212a1001"} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^(?:[A-Z]{1,3}-?)?[0-9]{4,10}$`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range numbersIn(text) {
			if !form.MatchString(n.value) || n.start < 0 || n.start >= n.end || n.end > len(text) {
				t.Errorf("%q: %+v", text, n)
			}
		}
		if withoutNumbers(text, numbersIn(text)); len(orderNumbers(text)) > numbersMax {
			t.Errorf("%q: %d numbers", text, len(orderNumbers(text)))
		}
	})
}
