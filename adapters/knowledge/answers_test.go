package knowledge

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// describing is a report of a delivery that waits for a description in free words.
func describing(k *dialog.Knowledge, language dialog.Language) dialog.Context {
	return dialog.Context{
		Knowledge: k,
		Language:  language,
		Tools:     map[string]bool{dialog.OrderStatus: true},
		Run: dialog.Run{
			Workflow: "delivery_problem", Step: "describing", Path: []dialog.Step{
				dialog.Initial, "asking_number", "choosing_problem",
			}, Asked: 4,
			Data: map[string]string{"order": "1001", "trouble": "damaged"}},
	}
}

// taken tells whether a message is taken for the answer to the open question.
func taken(c dialog.Context, text string) bool {
	turn := dialog.Take(c, dialog.Act{Text: text, MessageID: 1, At: time.Time{}.Add(time.Minute)})
	return turn.Intent == dialog.Answered && turn.Offer.Intent == ""
}

// Shares of what is said to an open question that must be heard rightly: answers, and
// other wishes that a whole workflow or a person is for. Answers are many times as
// frequent there, and who is not heard is shown their own words and can say so.
const (
	answersTaken = 0.9
	wishesHeard  = 0.7
)

func TestShop_FreeAnswer_RarelyLeavesWorkflow(t *testing.T) {
	t.Parallel()
	k := theShop(t)
	file, err := os.Open("testdata/answers.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	answers, right := 0, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		language, text, ok := strings.Cut(lines.Text(), "\t")
		if !ok || strings.HasPrefix(language, "#") {
			continue
		}
		answers++
		if taken(describing(k, dialog.Language(language)), text) {
			right++
			continue
		}
		u := k.Understand(text, dialog.Language(language))
		t.Logf("no answer: %q: %s %.2f", text, u.Intent, u.Confidence)
	}
	wishes, heard := 0, 0
	for _, m := range readMessages(t, "testdata/unseen.tsv") {
		switch topic := k.Topics[dialog.Intent(m.intent)]; {
		case topic.Workflow == "" && topic.HandOver.Reason == "", topic.Workflow == "delivery_problem":
			continue
		}
		wishes++
		if !taken(describing(k, m.language), m.text) {
			heard++
			continue
		}
		u := k.Understand(m.text, m.language)
		t.Logf("no wish: %q: %s %.2f", m.text, u.Intent, u.Confidence)
	}
	t.Logf("of %d answers %d are taken, of %d other wishes %d are heard", answers, right, wishes, heard)
	if float64(right) < answersTaken*float64(answers) || float64(heard) < wishesHeard*float64(wishes) {
		t.Error("too few of them")
	}
}
