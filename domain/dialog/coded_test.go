package dialog_test

import (
	"testing"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

func TestCoded_Output_SaidInTheTeamsWords(t *testing.T) {
	elsewhere := AddressCheck{
		Problem: "the post code NW1 6XE belongs to London", Coded: Coded{
			"elsewhere", map[string]string{"town": "London"},
		},
	}
	unlisted := AddressCheck{Problem: "nobody lives there", Coded: Coded{Code: "empty"}}
	for _, c := range []struct {
		language Language
		found    AddressCheck
		problem  string
	}{
		{"en", elsewhere, "that is in London"},
		{"de", elsewhere, "das ist in London"},
		{"de", unlisted, "nobody lives there"},
		{"de", AddressCheck{Problem: "nobody lives there"}, "nobody lives there"},
	} {
		shop := Shop
		shop.Codes = map[string]map[string]Text{
			CheckAddress: {"elsewhere": {"en": "that is in {town}", "de": "das ist in {town}"}},
		}
		talk := beginWithCRM(t)
		talk.context.Knowledge = &shop
		talk.write("change my address").write(baker)
		talk.context.Language = c.language
		output := c.found.Output()
		talk.returns(output).stands(CollectingAddress).says(c.problem)
		if kept := talk.context.Run.Data[FieldRefused]; kept != c.problem {
			t.Errorf("%s: kept %q", c.problem, kept)
		}
		if output["problem"] != c.found.Problem {
			t.Errorf("what the system said is %q by now", output["problem"])
		}
	}
}

func TestCoded_Value_ReplacesNoOtherOutput(t *testing.T) {
	got := Order{
		Number: "1", Status: "shipped", Coded: Coded{
			"late", map[string]string{"found": "false", "code": "x", "days": "2"},
		},
	}.Output(true)
	if got["found"] != "true" || got["code"] != "late" || got["days"] != "2" {
		t.Errorf("%v", got)
	}
}
