package telegramsim

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLimits_Calls_CountedAsTelegramDoes(t *testing.T) {
	for name, c := range map[string]struct {
		chats  []int64       // called in turn
		every  time.Duration // pause between calls
		calls  int
		floods Floods
	}{
		"a bot at its limit":               {chats(30), 34 * time.Millisecond, 90, Floods{}},
		"a bot over its limit":             {chats(31), 0, 31, Floods{Over: 1}},
		"a chat at its limit":              {[]int64{1}, time.Second, 100, Floods{}},
		"a burst in a chat":                {[]int64{1}, 0, 5, Floods{}},
		"more than a burst in a chat":      {[]int64{1}, 0, 8, Floods{Over: 1, During: 2}},
		"slightly above a chat's rate":     {[]int64{1}, 900 * time.Millisecond, 43, Floods{Over: 1, During: 1}},
		"a group at its limit":             {[]int64{-1}, 3 * time.Second, 100, Floods{}},
		"a group over its limit":           {[]int64{-1}, time.Second, 21, Floods{Over: 1}},
		"a group, calls during the wait":   {[]int64{-1}, time.Second, 24, Floods{Over: 1, During: 3}},
		"two chats, each below its limits": {[]int64{1, 2}, time.Second / 2, 100, Floods{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Bots: []Bot{{Token: testToken}}})
				defer s.Close()
				s.Limit(TelegramLimits)
				for i := range c.calls {
					s.rates.refuse(s.bots[0], "sendMessage", c.chats[i%len(c.chats)], time.Now())
					time.Sleep(c.every)
				}
				if got := s.Stats().Floods; got != c.floods {
					t.Errorf("%+v, want %+v", got, c.floods)
				}
			})
		})
	}
}

// chats returns the ids of n private chats.
func chats(n int64) (ids []int64) {
	for id := range n {
		ids = append(ids, id+1)
	}
	return ids
}

func TestLimits_CallOver_Gets429AndNoEffect(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	w.Limit(TelegramLimits)
	for range burst {
		w.mustCall("sendMessage", "chat_id", 1, "text", "hi")
	}
	got := w.call("sendMessage", "chat_id", 1, "text", "hi")
	if got.ErrorCode != 429 || got.Parameters.RetryAfter != 3 {
		t.Errorf("got %+v", got)
	}
	if n := len(w.Messages(1)); n != 1+burst {
		t.Errorf("%d messages", n)
	}
	if got := w.call("answerCallbackQuery", "callback_query_id", "1"); got.ErrorCode != 400 {
		t.Errorf("an answer to a button counts against the chat's limit: %+v", got)
	}
	w.Limit(Limits{})
	w.mustCall("sendMessage", "chat_id", 1, "text", "hi")
}
