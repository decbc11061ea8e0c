package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// No answer of today's is so long that it has both buttons and parts.
func TestReply_Buttons_OnLastPart(t *testing.T) {
	buttons := []dialog.Button{{Text: "Yes", Data: "yes"}}
	got := State{Thread: 12}.queue(ReplyQueued{Buttons: buttons}, []string{"one", "two"})
	want := []domain.Event{
		ReplyQueued{Text: "one", Thread: 12}, ReplyQueued{Text: "two", Thread: 12, Buttons: buttons},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
