package whatif

import "strings"

// Tally sums the outcomes of many chats up.
type Tally struct {
	Chats      int `json:"chats"`
	Inputs     int `json:"inputs"`
	Decisions  int `json:"decisions"`
	Waiting    int `json:"waiting"`
	Unanswered int `json:"unanswered"`

	ChatsThatDiffer     int            `json:"chats_that_differ"`
	DecisionsThatDiffer int            `json:"decisions_that_differ"`
	Kinds               map[Kind]int   `json:"kinds"`   // decisions that differ in this
	Intents             map[string]int `json:"intents"` // "from -> to"
	Reworded            int            `json:"replies_reworded"`
	Sent                int            `json:"replies_sent"`     // that were not then
	Unsent              int            `json:"replies_not_sent"` // that were then
}

// Add takes a chat's outcome in.
func (t *Tally) Add(o Outcome) {
	if t.Kinds == nil {
		t.Kinds, t.Intents = map[Kind]int{}, map[string]int{}
	}
	t.Chats++
	t.Inputs += o.Inputs
	t.Decisions += o.Decisions
	t.Waiting += o.Waiting
	t.Unanswered += o.Unanswered
	if len(o.Differences) > 0 {
		t.ChatsThatDiffer++
	}
	for _, d := range o.Differences {
		t.DecisionsThatDiffer++
		for _, f := range d.Fields {
			t.Kinds[f.Kind]++
			switch f.Kind {
			case Intent:
				if was, now := intent(f.Was), intent(f.Now); was != now {
					t.Intents[was+" -> "+now]++
				}
			case Reply:
				both := min(len(f.Was), len(f.Now))
				t.Sent += len(f.Now) - both
				t.Unsent += len(f.Was) - both
				for i := range both {
					if f.Was[i] != f.Now[i] {
						t.Reworded++
					}
				}
			}
		}
	}
}

// intent is that of an Intent field's lines, without the confidence.
func intent(lines []string) string {
	if len(lines) == 0 {
		return "none"
	}
	name, _, _ := strings.Cut(lines[0], " ")
	return name
}
