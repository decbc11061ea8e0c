package training

import "testing"

func TestEvaluation_AtThreshold_CountsMessages(t *testing.T) {
	t.Parallel()
	v := &evaluation{
		guesses: []evaluated{
			{0.9, true, true}, {0.8, true, false}, {0.2, true, true},
			{0.7, false, false}, {0.1, false, false},
		},
	}
	if c := v.at(0.5); c != (counts{inScope: 3, right: 2, outOfScope: 2, refused: 1, understood: 3, understoodWell: 1}) {
		t.Errorf("at 0.5: %+v", c)
	}
	if c := v.at(0); c.understood != 5 || c.refused != 0 {
		t.Errorf("at 0: %+v", c)
	}
}
