package whatif_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// anyOperate is an act of one of the team, some sent again, and under any claim.
func (l *life) anyOperate(t *rapid.T) chat.Operate {
	at := l.now.Add(-time.Microsecond)
	who := rapid.SampledFrom([]string{"maria", "jo"}).Draw(t, "who")
	tags := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2)
	return chat.Operate{Key: fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "key")), Fingerprint: 1, Operator: who, At: at,
		Fence: max(0, l.state.Fence-rapid.SampledFrom([]int64{0, 0, 0, 1, 100}).Draw(t, "behind")),
		Force: rapid.Bool().Draw(t, "force"),
		Lease: rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "lease"),
		Do: rapid.SampledFrom([]chat.Command{
			chat.Claim{For: time.Hour}, chat.Claim{For: chat.MinLease}, chat.Release{}, chat.Reply{Text: "hello"},
			chat.CannedReply{Name: "?"}, chat.CannedReply{Name: "hold"}, chat.AddNote{Text: "hm"},
			chat.Tag{Add: tags.Draw(t, "add"), Remove: tags.Draw(t, "remove")}, chat.AssignTicket{Assignee: "jo"},
			chat.OpenTicket{Reason: "r", Priority: dialog.Low, At: at},
			chat.EscalateTicket{Reason: "r", Priority: dialog.Urgent, At: at}, chat.SetPriority{
				Priority: rapid.SampledFrom([]dialog.Priority{dialog.Urgent, dialog.Low}).Draw(t, "priority"), At: at,
			},
			chat.ResolveTicket{At: at}, chat.ReopenTicket{Reason: "r", At: at}, chat.HandBack{},
		}).Draw(t, "do")}
}
