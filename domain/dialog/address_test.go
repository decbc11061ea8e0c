package dialog

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAddress_ManyCountries_Accepted(t *testing.T) {
	for text, want := range map[string]string{
		"12 Baker Street, London NW1 6XE":    "12 Baker Street, London NW1 6XE",
		"221B Baker Street\nLondon\nNW1 6XE": "221B Baker Street, London, NW1 6XE",
		"Flat 2, 10 Downing Street, London SW1A 2AA, UK": "Flat 2, 10 Downing Street, London " +
			"SW1A 2AA, UK",
		"Musterstraße 12, 10115 Berlin": "Musterstraße 12, 10115 Berlin",
		"Acme GmbH\nMusterstraße 12a\n10115 Berlin\nGermany": "Acme GmbH, Musterstraße 12a, 10115 " +
			"Berlin, Germany",
		"1600 Pennsylvania Ave NW, Washington, DC 20500": "1600 Pennsylvania Ave NW, " +
			"Washington, DC 20500",
		"350 5th Ave, Floor 20; New York, NY 10118-0110": "350 5th Ave, Floor 20, New York, NY " +
			"10118-0110",
		"Flat 4B, 12 MG Road, Bengaluru 560001":                        "Flat 4B, 12 MG Road, Bengaluru 560001",
		"Damrak 1, 1012 LG Amsterdam":                                  "Damrak 1, 1012 LG Amsterdam",
		"12, rue de Rivoli, 75001 Paris":                               "12, rue de Rivoli, 75001 Paris",
		"Rua Augusta 101, 1100-048 Lisboa":                             "Rua Augusta 101, 1100-048 Lisboa",
		"ул. Ленина 5, 101000 Москва":                                  "ул. Ленина 5, 101000 Москва",
		"神宮前1-2-3、150-0001 東京都":                                        "神宮前1-2-3, 150-0001 東京都",
		"  12   Baker  Street ,, London\t NW1 6XE \r\n":                "12 Baker Street, London NW1 6XE",
		"12 Baker\x00Street, London NW1 6XE\x00":                       "12 Baker Street, London NW1 6XE",
		"12 Baker Street 🏠, London NW1 6XE":                            "12 Baker Street 🏠, London NW1 6XE",
		"12 Baker Street London NW1 6XE":                               "12 Baker Street, London NW1 6XE",
		"my new address is 350 Main Street Springfield IL 62701":       "350 Main Street, Springfield IL 62701",
		"Hauptstraße 12 a 10115 Berlin":                                "Hauptstraße 12 a, 10115 Berlin",
		"Straße des 17. Juni 135 10623 Berlin":                         "Straße des 17. Juni 135, 10623 Berlin",
		"Bahnhofstrasse 1 8001 Zürich":                                 "Bahnhofstrasse 1, 8001 Zürich",
		"My new address is 12 Baker Street, London NW1 6XE":            "12 Baker Street, London NW1 6XE",
		"new address: 12 Baker Street, London NW1 6XE":                 "12 Baker Street, London NW1 6XE",
		"My address:\n12 Baker Street\nLondon NW1 6XE":                 "12 Baker Street, London NW1 6XE",
		"No, it’s 14 Baker Street, London NW1 6XE":                     "14 Baker Street, London NW1 6XE",
		"I moved to 12 Baker Street, London NW1 6XE":                   "12 Baker Street, London NW1 6XE",
		"Please change my address to 12 Baker Street, London NW1 6XE":  "12 Baker Street, London NW1 6XE",
		"Meine neue Rechnungsadresse ist Hauptstraße 12, 20095 Berlin": "Hauptstraße 12, 20095 Berlin",
		"die neue Adresse lautet: Lindenweg 5, 80331 München":          "Lindenweg 5, 80331 München",
		"Meine Anschrift ist jetzt Lindenweg 5, 80331 München":         "Lindenweg 5, 80331 München",
		"Nein, sie lautet Lindenweg 5, 80331 München":                  "Lindenweg 5, 80331 München",
	} {
		if got, problem := CheckPostal.read(text); got != want || problem != "" {
			t.Errorf("%q: %q, %q; want %q", text, got, problem, want)
		}
	}
}

func TestAddress_Incomplete_NamesWhatIsMissing(t *testing.T) {
	for text, lacks := range map[string]string{
		"":         "too short",
		"x":        "too short",
		"1 A, B 2": "too short",
		"🏠🏠🏠":      "too short",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": "too short",
		strings.Repeat("12 Baker Street, ", 30):        "too long",
		"12 Baker St London NW1 6XE":                   "separated by a comma",
		"🏠🏠🏠🏠🏠🏠, 🏠🏠🏠🏠🏠🏠 12345":                         "street",
		"12, 10115 Berlin":                             "street",
		"12 Baker Street, 10115":                       "town",
		"Baker Street, London NW1 6XE":                 "house number",
		"Baker Street, London NW1 6XE, UK":             "house number",
		"Baker Street, London":                         "house number",
		"12 Baker Street, London":                      "post code",
	} {
		if problem := plain[checkAddress(text)]; !strings.Contains(problem, lacks) {
			t.Errorf("%.40q: %q, want something of %q", text, problem, lacks)
		}
		if CheckPostal.plain("my address is: " + text) {
			t.Errorf("%.40q is taken for an address", text)
		}
	}
}

func TestAddress_Sentence_Rejected(t *testing.T) {
	for _, text := range []string{
		"Where is my order 1001, I paid 3 weeks ago", "talk to a person, I have 2 orders and 3 complaints",
		"I moved, my order 1234 of 2024 is late",
		"hello", "cancel", "12 Baker Street", "please, order 1001, of the 3rd",
		"Danke! Wo ist 1001, und bitte die Rechnung für 1002", "Ich warte auf 2 Pakete, Nummer 1001 und 1002",
	} {
		if isAddress(text) {
			t.Errorf("%q is taken for an address", text)
		}
	}
}

// FuzzAddress: whatever is written, what is stored as an address is one line of
// valid text within bounds.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"12 Baker Street, London NW1 6XE", "\x00,1\n2;\xff", "my address is: ", "it's"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address := normalizeAddress(withoutLeadIn(text))
		if checkAddress(address) != "" {
			return
		}
		if n := utf8.RuneCountInString(address); n < addressMin || n > addressMax ||
			strings.ContainsAny(address, "\n\r\x00\t") {
			t.Errorf("%q became %q", text, address)
		}
		if again := normalizeAddress(address); again != address {
			t.Errorf("%q is written otherwise the second time: %q", address, again)
		}
	})
}
