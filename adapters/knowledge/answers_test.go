package knowledge

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// describing returns the context of a report of a delivery problem that waits for a description in free words.
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

// taken reports whether a message is understood as the answer to the open question.
func taken(c dialog.Context, text string) bool {
	turn := dialog.Take(c, dialog.Act{Text: text, MessageID: 1, At: time.Time{}.Add(time.Minute)})
	return turn.Intent == dialog.Answered && turn.Offer.Intent == ""
}

// The least shares of messages after an open question that must be understood correctly: of
// answers, and of other wishes that need a workflow or a person. Answers are many times as
// frequent. A customer whose wish is taken for an answer sees the answer quoted, and can correct it.
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
		t.Logf("answer not recognized: %q: %s %.2f", text, u.Intent, u.Confidence)
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
		t.Logf("wish not recognized: %q: %s %.2f", m.text, u.Intent, u.Confidence)
	}
	t.Logf("of %d answers %d are recognized, of %d other wishes %d", answers, right, wishes, heard)
	if float64(right) < answersTaken*float64(answers) || float64(heard) < wishesHeard*float64(wishes) {
		t.Errorf("too few are recognized, want %.0f %% of the answers and %.0f %% of the wishes",
			100*answersTaken, 100*wishesHeard)
	}
}
