package dialog

import "testing"

func TestCheck_OrderNumber_StandsAlone(t *testing.T) {
	for text, want := range map[string]string{
		"1001": "1001", "#1001": "1001", "order AB-1001!": "AB-1001", "In March 2024 I placed order 1001": "1001",
		"order no. 1001": "1001", "Bestellung 1001": "1001",
		"it's 1001, thanks": "1001", "12.03.2026": "", "at 18:30": "", "123": "", "x12345678901": "", "": "",
	} {
		if got := orderNumber(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestCheck_Answers_ReadByForm(t *testing.T) {
	for _, test := range []struct {
		check       Check
		text, value string
		problem     Word
	}{
		{CheckEmail, " ada@example.com ", "ada@example.com", ""}, {CheckEmail, "ada", "", ProblemEmail}, {
			CheckEmail, "ada@example", "", ProblemEmail,
		},
		{CheckAmount, "12,5", "12.5", ""}, {CheckAmount, "€ 12.50", "12.50", ""}, {CheckAmount, "40 EUR", "40", ""}, {
			CheckAmount, "a lot", "", ProblemAmount,
		},
		{CheckDate, "2026-03-31", "2026-03-31", ""}, {CheckDate, "31.3.2026", "2026-03-31", ""}, {
			CheckDate, "2026-02-30", "", ProblemDate,
		},
		{CheckOrderNumber, "it is #1001", "1001", ""}, {CheckOrderNumber, "none", "", ProblemOrderNumber},
		{CheckText, " torn\x00 ", "torn", ""}, {CheckText, "  ", "", ProblemShort}, {"", "anything", "anything", ""},
	} {
		if value, problem := test.check.read(test.text); value != test.value || problem != test.problem {
			t.Errorf("%s %q: %q, %q; want %q, %q", test.check, test.text, value, problem, test.value, test.problem)
		}
	}
}
