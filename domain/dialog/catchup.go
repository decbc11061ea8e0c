package dialog

import (
	"slices"
	"strconv"
	"strings"

	"github.com/chatledger/chatledger/domain"
)

// TooFast tells a customer who writes faster than the limit that they do.
func TooFast(c Context) Turn {
	t := begin(c, Act{})
	t.turn.Intent, t.turn.Confidence = Hasty, 1
	t.say(t.word(WordTooFast))
	return t.done()
}

// CatchUp answers what a customer wrote while nobody listened: it apologises once, says
// what was heard, and acts upon the last message that says what is wanted. count is of
// all messages; of many only the last are known.
func CatchUp(c Context, said []string, count int, act Act) Turn {
	t := begin(c, act)
	var lines []string
	if more := count - len(said); more > 0 {
		lines = append(lines, "• … (+"+strconv.Itoa(more)+")")
	}
	for _, text := range said {
		if text = strings.Join(strings.Fields(text), " "); text != "" {
			lines = append(lines, "• "+domain.Shorten(text, lineMax))
		}
	}
	act.Text = t.wanted(said)
	act.Media = act.Text == "" // there were no words at all
	turn := Take(c, act)
	t.Language = turn.Language
	apology := t.word(WordBacklog, map[string]string{"count": strconv.Itoa(count), "list": strings.Join(lines, "\n")})
	turn.Replies = append([]Reply{{Text: apology}}, turn.Replies...)
	return turn
}

// lineMax is how much of a message is repeated to whom wrote it, in characters.
const lineMax = 100

// wanted is the last message that says what the customer wants; the last one when none
// does.
func (t *talk) wanted(said []string) (text string) {
	for _, one := range slices.Backward(said) {
		if text == "" {
			text = one // nothing better is known
		}
		u := t.Knowledge.Understand(one, t.Language)
		if topic := t.Knowledge.Topics[u.Intent]; topic.known() && !topic.Courtesy || t.Run.Active() && one != "" {
			return one
		}
	}
	return text
}
