package crmsim

import (
	"strings"
	"testing"
)

func TestAddress_Valid_GetsNormalForm(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"12 Baker Street, London NW1 6XE":                           "12 Baker Street, London NW1 6XE",
		"  12  baker st. ,, london   nw1 6xe ":                      "12 Baker Street, London NW1 6XE",
		"221B Baker St, London, NW1 6XE":                            "221B Baker Street, London NW1 6XE",
		"221B Baker St, NW1 6XE, London":                            "221B Baker Street, London NW1 6XE",
		"5 mill rd, Leeds LS1 4AP":                                  "5 Mill Road, Leeds LS1 4AP",
		"Flat 2, 10 Downing Street, London SW1A 2AA, UK":            "Flat 2, 10 Downing Street, London SW1A 2AA, UK",
		"Musterstr. 12a, 10115 Berlin":                              "Musterstraße 12a, 10115 Berlin",
		"Acme GmbH, Musterstrasse 12, 10115 berlin, Germany":        "Acme GmbH, Musterstraße 12, 10115 Berlin, Germany",
		"12, rue de Rivoli, 75001 Paris":                            "12, Rue De Rivoli, 75001 Paris",
		"Damrak 1010, 1012 LG Amsterdam":                            "Damrak 1010, 1012 LG Amsterdam",
		"10115 Berlin Alley, 1, 8001 Zürich":                        "10115 Berlin Alley, 1, 8001 Zürich",
		"12 Baker Street 🏠, London NW1 6XE":                         "12 Baker Street 🏠, London NW1 6XE",
		"1 main st, Springfield, IL 62701":                          "1 Main Street, Springfield, IL 62701",
		"5 mill rd, Halt ZZ9 9ZZ, UK":                               "5 Mill Road, Halt ZZ9 9ZZ, UK",
		"ул. Ленина 5, 1010 Wien":                                   "Ул. Ленина 5, 1010 Wien",
		"12 Baker Street, London NW1 6XE" + strings.Repeat(",", 99): "12 Baker Street, London NW1 6XE",
	} {
		got := CheckAddress(line)
		if !got.Valid || got.Address != want || got.Reason != "" {
			t.Errorf("%q: %+v, want %q", line, got, want)
		}
		if again := CheckAddress(got.Address); !again.Valid || again.Address != got.Address {
			t.Errorf("the normal form of %q is checked as %+v", line, again)
		}
	}
}

func TestAddress_Invalid_Reason(t *testing.T) {
	t.Parallel()
	for line, reason := range map[string]string{
		"":                                "post code is missing",
		",":                               "post code is missing",
		"12 Baker Street, London":         "post code is missing",
		"12, ZZ9 9ZZ":                     "street is missing",
		"Baker Street, Halt xNW1 6XE":     "house number is missing",
		"12 Baker Street, Leeds NW1 6XE":  "NW1 6XE belongs to London",
		"12 London Street, Leeds NW1 6XE": "NW1 6XE belongs to London",
		"London NW1 6XE":                  "street is missing",
		"12, London NW1 6XE":              "street is missing",
		"Baker Street, London NW1 6XE":    "house number is missing",
		"\xff\xfe, London NW1 6XE":        "street is missing",
	} {
		if got := CheckAddress(line); got.Valid || got.Address != "" || !strings.Contains(got.Reason, reason) {
			t.Errorf("%q: %+v, want %q", line, got, reason)
		}
	}
}

// FuzzCheckAddress checks that a valid address has a normal form, which is valid and its own normal form, and
// that an invalid one has a reason.
func FuzzCheckAddress(f *testing.F) {
	for _, seed := range []string{"12 Baker Street, London NW1 6XE", "Musterstr. 12a, 10115 Berlin", ",,",
		"1010, 8001, Wien", "\xff, 1010 Wien"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := CheckAddress(line)
		if got.Valid == (got.Address == "") || got.Valid == (got.Reason != "") {
			t.Errorf("%+v", got)
		}
		if again := CheckAddress(got.Address); got.Valid && again.Valid != got.Valid || again.Address != got.Address {
			t.Errorf("%q has the normal form %q, and that has %+v", line, got.Address, again)
		}
	})
}
