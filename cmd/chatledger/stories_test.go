package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/agent/agenttest"
	"github.com/chatledger/chatledger/adapters/telegram/telegramtest"
	"github.com/chatledger/chatledger/adapters/zendesk/zendesktest"
)

// TestStories runs the conversations in testdata/stories, each on a chatledger and a
// database of its own. A story is what customer 42, the bot and a person do, line by
// line:
//
//	# a remark
//	> text           the customer writes; "..." is unquoted first, and {4096} at
//	                 the end repeats the text up to so many characters
//	+ {"photo": []}  the customer sends a message with these fields of the Bot API
//	+ 46m            so much time goes by, for Telegram and for chatledger
//	~ text           the customer edits the last message
//	[Button]         the customer presses this button where it was last shown;
//	                 [Button] 2 is where it was shown before that
//	< text           the bot says this next; "..." is unquoted, * is any text; a file
//	                 is its kind and id in brackets before its caption: [photo f1] Look
//	< nothing        and nothing more until everything has come to rest
//	@ reply text     a person acts with `chatledger ticket`: reply, resolve, ...;
//	                 with --flags before the text; ! text at the end: and is refused
//	                 with this in the error
//	^ comment text   an agent acts at Zendesk: see agent
//	= name name      the events since the last such line, in their order; what is
//	                 under way is waited for first, so one such line tells of one
//	                 exchange; that the CRM is asked who writes, beside it, is left out
//	% holds          from here on the CRM answers nobody; % answers ends that
//	% keeps text     the CRM has changed the customer's address once, to this; without
//	                 a text it has not: see newCRM
//	? query => rows  what the query (without its select) finds in the database
//
//	& {"text": ""}   the model says this next, or wants {"calls": [{"tool", "input"}]}
//	                 used, in stories whose name begins with agent-; without a script
//	                 it goes by agenttest's few rules
//
// A line that begins with two spaces goes on with the one before.
//
// At the end the bot must have said nothing else, every reply must have arrived
// once, the read models must be what the events lead to, and deciding all of it again
// must lead to the same events.
func TestStories(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d stories: %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{}
			switch kind, _, _ := strings.Cut(filepath.Base(path), "-"); kind {
			case "zendesk":
				s.world, s.zendesk = newWorldWithZendesk(t)
			case "crm":
				crm, withCRM := newCRM(t)
				s.world, s.crm = newWorld(t, withCRM), crm
			case "agent":
				s.world, s.model, s.crm = newAgent(t)
			default:
				s.world = newWorld(t)
			}
			s.clock.pass(monday.Sub(now()))
			lines := strings.Split(string(text), "\n")
			for i := 0; i < len(lines); i++ {
				s.line = fmt.Sprintf("%s:%d: %s", path, i+1, lines[i])
				line := strings.TrimRight(lines[i], " ")
				for ; i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  "); i++ {
					line += " " + strings.TrimSpace(lines[i+1])
				}
				if line != "" {
					s.step(line)
				}
			}
			s.line = path + ": the end"
			s.nothingMore()
			s.wantRows("0", `select count(*) from eventstore.deliveries where state <> 'done' or attempts <> 1`)
			texts := s.heard
			for _, m := range s.Messages(storyChat) {
				if m.Media.Kind != "" && m.From == "bot" {
					texts--
				}
			}
			if sent := s.Stats().Calls["sendMessage"]["200"]; sent != int64(texts) {
				t.Errorf("%s: %d messages sent, %d told of", s.line, sent, texts)
			}
			s.clean()
			s.replaysAsItWas()
		})
	}
}

// monday is when every story begins: an hour after the shop has opened for the week.
var monday = time.Date(2027, 2, 1, 10, 0, 0, 0, time.UTC)

// storyChat is the customer of every story.
const storyChat = 42

type story struct {
	*world
	zendesk *zendesktest.Server // of stories whose name begins with zendesk-
	model   *agenttest.Server   // of stories whose name begins with agent-
	crm     *fakeCRM            // of stories whose name begins with crm-

	line  string // where the story is, for errors
	heard int    // messages of the bot that were told of
	told  int64  // version of the last event that was told of
	last  int64  // the customer's last message
}

func (s *story) step(line string) {
	s.t.Helper()
	mark, rest := line[:1], strings.TrimSpace(line[1:])
	switch mark {
	case "#":
	case ">":
		s.last = s.Say(storyChat, s.text(rest))
	case "+":
		if long, err := time.ParseDuration(rest); err == nil {
			s.settle()
			s.clock.pass(long)
		} else {
			s.send(rest)
		}
	case "~":
		if err := s.Edit(storyChat, s.last, s.text(rest)); err != nil {
			s.fail("%v", err)
		}
	case "[":
		s.press(line)
	case "<":
		if rest == "nothing" {
			s.nothingMore()
		} else {
			s.hear(s.text(rest))
		}
	case "@":
		s.person(rest)
	case "^":
		s.agent(rest)
	case "=":
		s.events(rest)
	case "&":
		var answer agenttest.Answer
		if err := json.Unmarshal([]byte(rest), &answer); err != nil {
			s.fail("%v", err)
		}
		s.model.Script(answer)
	case "%":
		s.atCRM(rest)
	case "?":
		query, want, _ := strings.Cut(rest, " => ")
		s.settle()
		if got := s.rows("select " + query); got != strings.TrimSpace(want) {
			s.fail("found %s", got)
		}
	default:
		s.fail("no such line")
	}
}

func (s *story) fail(format string, args ...any) {
	s.t.Helper()
	var said strings.Builder
	for _, m := range s.Messages(storyChat) {
		fmt.Fprintf(&said, "\n\t%-4s %.200q", m.From, m.Text)
	}
	s.t.Fatalf("%s\n\t%s\n\tthe chat so far:%s", s.line, fmt.Sprintf(format, args...), said.String())
}

var repeated = regexp.MustCompile(`^(.*) \{(\d+)\}$`)

// text is what a line says, with its escapes resolved.
func (s *story) text(source string) string {
	s.t.Helper()
	length := 0
	if m := repeated.FindStringSubmatch(source); m != nil {
		source = m[1]
		length, _ = strconv.Atoi(m[2])
	}
	if strings.HasPrefix(source, `"`) {
		plain, err := strconv.Unquote(source)
		if err != nil {
			s.fail("%v", err)
		}
		source = plain
	}
	if length > 0 {
		runes := []rune(strings.Repeat(source, length/len([]rune(source))+1))
		source = string(runes[:length])
	}
	return source
}

// send posts a message with other fields than text.
func (s *story) send(fields string) {
	s.t.Helper()
	message := map[string]any{}
	if err := json.Unmarshal([]byte(fields), &message); err != nil {
		s.fail("%v", err)
	}
	s.last = 1
	for _, m := range s.Messages(storyChat) {
		s.last = max(s.last, m.MessageID+1)
	}
	message["message_id"], message["date"] = s.last, s.clock.now().Unix()
	message["chat"] = map[string]any{"id": storyChat, "type": "private", "first_name": "Customer 42"}
	message["from"] = map[string]any{"id": storyChat, "is_bot": false, "first_name": "Customer 42"}
	s.Post(map[string]any{"message": message})
}

// hear waits for the bot's next message.
func (s *story) hear(want string) {
	s.t.Helper()
	s.eventually(s.line, func() string {
		return unless(len(s.texts(storyChat, "bot")) > s.heard, "the bot says nothing")
	})
	got := s.texts(storyChat, "bot")[s.heard]
	s.heard++
	if !like(want, got) {
		s.fail("the bot says %q", got)
	}
}

// like tells whether a text is as wanted, where * is any text.
func like(want, got string) bool {
	parts := strings.Split(want, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`).MatchString(got)
}

func (s *story) nothingMore() {
	s.t.Helper()
	s.settle()
	if said := s.texts(storyChat, "bot"); len(said) != s.heard {
		s.fail("the bot says %q too", said[s.heard:])
	}
}

func (s *story) press(line string) {
	s.t.Helper()
	label, rest, _ := strings.Cut(line[1:], "]")
	back := 1
	if rest = strings.TrimSpace(rest); rest != "" {
		var err error
		if back, err = strconv.Atoi(rest); err != nil {
			s.fail("%v", err)
		}
	}
	messages := s.Messages(storyChat)
	for i := len(messages) - 1; i >= 0; i-- {
		if data := button(messages[i], label); data != "" {
			if back--; back == 0 {
				s.Press(storyChat, messages[i].MessageID, data)
				return
			}
		}
	}
	s.fail("there is no such button")
}

// button is the data of a message's button with this label; "" when it has none.
func button(m telegramtest.Message, label string) string {
	var markup struct {
		Rows [][]struct {
			Text string `json:"text"`
			Data string `json:"callback_data"`
		} `json:"inline_keyboard"`
	}
	if json.Unmarshal(m.ReplyMarkup, &markup) != nil {
		return ""
	}
	for _, row := range markup.Rows {
		for _, b := range row {
			if b.Text == label {
				return b.Data
			}
		}
	}
	return ""
}

// person acts on the ticket from another process, as far as the store can tell.
func (s *story) person(line string) {
	s.t.Helper()
	line, refusal, refused := strings.Cut(line, " ! ")
	verb, rest, more := strings.Cut(line, " ")
	args := []string{"ticket", verb, "--as", "ann", fmt.Sprintf("demo:%d", storyChat)}
	for strings.HasPrefix(rest, "--") {
		var flag string
		flag, rest, more = strings.Cut(rest, " ")
		args = append(args, flag)
	}
	if more {
		args = append(args, s.text(rest))
	}
	s.settle()
	code, stdout, stderr := s.cli(args...)
	switch {
	case refused && (code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, refusal)):
		s.fail("exit %d, it says %q", code, stderr)
	case !refused && (code != 0 || stdout == ""):
		s.fail("exit %d, it says %q", code, stderr)
	}
}

// events compares the names of the events since it was last called.
func (s *story) events(want string) {
	s.t.Helper()
	s.settle()
	stream := fmt.Sprintf("chat-demo:%d", storyChat)
	got := strings.ReplaceAll(s.rows(`select name from eventstore.events where stream_id = $1 and version > $2
		and coalesce(payload->>'tool', '') <> 'customer' order by version`, stream, s.told), "; ", " ")
	if got != strings.Join(strings.Fields(want), " ") {
		s.fail("these happened: %s", got)
	}
	if _, err := fmt.Sscan(s.rows(`select coalesce(max(version), 0) from eventstore.events where stream_id = $1`, stream), &s.told); err != nil {
		s.fail("%v", err)
	}
}
