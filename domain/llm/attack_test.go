package llm_test

import (
	"os"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/domain/llm"
)

func TestAttack_RedTeamFile_DetectedNoFalseAlarm(t *testing.T) {
	t.Parallel()
	attempts, harmless := llm.RedTeam()
	if len(attempts) < 60 || len(harmless) < 20 {
		t.Fatalf("%d attempts and %d harmless messages", len(attempts), len(harmless))
	}
	for _, text := range attempts {
		if llm.Attack(text) == "" {
			t.Errorf("not seen: %q", text)
		}
	}
	for _, text := range harmless {
		if kind := llm.Attack(text); kind != "" {
			t.Errorf("harmless and taken for %s: %q", kind, text)
		}
	}
}

// The signs are no list of sentences: they see half of what nobody tuned them to, and let
// nearly all of what looks alike pass.
func TestAttack_UnlistedAttempts_HalfDetected(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/unseen.txt")
	if err != nil {
		t.Fatal(err)
	}
	var attempts, seen, harmless, wronged int
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if attempt, ok := strings.CutPrefix(line, "! "); ok {
			if attempts++; llm.Attack(attempt) != "" {
				seen++
			} else {
				t.Logf("not seen: %s", attempt)
			}
		} else if message, ok := strings.CutPrefix(line, "= "); ok {
			if harmless++; llm.Attack(message) != "" {
				wronged++
				t.Logf("harmless and taken for %s: %s", llm.Attack(message), message)
			}
		}
	}
	if seen*100 < attempts*50 || wronged*100 > harmless*10 {
		t.Errorf("%d of %d attempts are seen, and %d of %d harmless messages are taken for one", seen, attempts,
			wronged, harmless)
	}
}

func BenchmarkAttack(b *testing.B) {
	text := strings.Repeat("Where is my order 1001, and can you ignore the previous message? ", 60)
	for b.Loop() {
		llm.Attack(text)
	}
}
