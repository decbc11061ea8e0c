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

	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/clock"
)

// TestStories runs the conversations in testdata/stories, each on a chatledger and a
// database of its own. A story is what customer 42, the bot and a person do, line by
// line:
//
//	# a remark
//	: group          where it takes place, and with what, before anything else: see scene
//	> text           the customer writes; "..." is unquoted first, and {4096} at
//	                 the end repeats the text up to so many characters; --ago=20m
//	                 before it: they did so long ago, and it comes only now; --late: it
//	                 comes behind what they wrote later; --from=7: another customer does
//	+ {"photo": []}  the customer sends a message with these fields of the Bot API
//	+ 46m            so much time goes by, for Telegram and for chatledger
//	+ moves          the group becomes a supergroup, where the story goes on
//	~ text           the customer edits the last message
//	[Button]         the customer presses this button where it was last shown;
//	                 [Button] 2 is where it was shown before that
//	< text           the bot says this next; "..." is unquoted, * is any text; a file
//	                 is its kind and id in brackets before its caption: [photo f1] Look
//	< nothing        and nothing more until everything has come to rest
//	@ reply text     a person acts with `chatledger ticket`: reply, resolve, ...;
//	                 with --flags before the text; ! text at the end: and is refused
//	                 with this in the error
//	& maria claim    an operator acts by the API: claim, release, reply, notes, ...; ! 409
//	                 at the end: and is answered with this status
//	^ comment text   an agent acts at Zendesk: see agent
//	= name name      the events since the last such line, in their order; what is
//	                 under way is waited for first, so one such line tells of one
//	                 exchange; that the CRM is asked who writes, beside it, is left out
//	% holds          from here on the CRM answers nobody; % answers ends that
//	% keeps text     the CRM has changed the customer's address once, to this; without
//	                 a text it has not: see newCRM
//	% refuses /path  from here on the CRM refuses for good what is asked of it there
//	% tier priority  the CRM serves the customer in this way
//	$ {"text": ""}   the model says this next, or wants {"calls": [{"tool", "input"}]}
//	                 used, in stories whose name begins with agent-; without a script
//	                 it goes by llmsim's few rules
//	? query => rows  what the query (without its select) finds in the database
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
			lines := strings.Split(string(text), "\n")
			s := &story{scene: readScene(t, lines), fences: map[string]int64{}}
			switch kind, _, _ := strings.Cut(filepath.Base(path), "-"); kind {
			case "zendesk":
				s.world, s.zendesk = newWorldWithZendesk(t)
			case "crm":
				crm, withCRM := newCRM(t)
				s.world, s.crm = newWorld(t, withCRM, s.limits), crm
			case "agent":
				s.world, s.model, s.crm = newAgent(t)
			case "team":
				s.team = newTeam(t, "maria", "jo", "boss")
				s.world = s.team.world
			default:
				s.world = newWorld(t, s.limits)
			}
			s.clock.pass(monday.Sub(clock.Now()))
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
			s.wantRows("0", `select count(*) from eventstore.deliveries where (state <> 'done' and not (state = 'refused' and $1 and destination <> 'telegram:demo')) or attempts <> 1`, s.refuses)
			texts := s.heardBefore + s.heard
			for _, m := range s.Messages(s.chat) {
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

type story struct {
	*world
	scene
	zendesk *zendesksim.Server // of stories whose name begins with zendesk-
	model   *llmsim.Server     // of stories whose name begins with agent-
	crm     *fakeCRM           // of stories whose name begins with crm-
	team    *team              // of stories whose name begins with team-

	line  string // where the story is, for errors
	heard int    // messages of the bot that were told of
	told  int64  // version of the last event that was told of
	last  int64  // the customer's last message

	heardBefore int              // messages that were told of where the group was before
	fences      map[string]int64 // of the operators' claims; "" is of the last
	refuses     bool             // the CRM may refuse for good
}

func (s *story) step(line string) {
	s.t.Helper()
	mark, rest := line[:1], strings.TrimSpace(line[1:])
	switch mark {
	case "#", ":":
	case ">":
		s.say(rest)
	case "+":
		if long, err := time.ParseDuration(rest); err == nil {
			s.settle()
			s.clock.pass(long)
		} else if rest == "moves" {
			s.moves()
		} else {
			s.sendFields(rest)
		}
	case "~":
		if err := s.Edit(s.chat, s.last, s.text(rest)); err != nil {
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
	case "&":
		s.operator(rest)
	case "^":
		s.agent(rest)
	case "=":
		s.events(rest)
	case "$":
		var answer llmsim.Answer
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
	for _, m := range s.Messages(s.chat) {
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

// hear waits for the bot's next message.
func (s *story) hear(want string) {
	s.t.Helper()
	s.eventually(s.line, func() string {
		return unless(len(s.texts(s.chat, "bot")) > s.heard, "the bot says nothing")
	})
	got := s.texts(s.chat, "bot")[s.heard]
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
	if said := s.texts(s.chat, "bot"); len(said) != s.heard {
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
	messages := s.Messages(s.chat)
	for i := len(messages) - 1; i >= 0; i-- {
		if data := button(messages[i], label); data != "" {
			if back--; back == 0 {
				s.Press(s.chat, messages[i].MessageID, data)
				return
			}
		}
	}
	s.fail("there is no such button")
}

// button is the data of a message's button with this label; "" when it has none.
func button(m telegramsim.Message, label string) string {
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
	args := []string{"ticket", verb, "--as", "ann", fmt.Sprintf("demo:%d", s.chat)}
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
	stream := fmt.Sprintf("chat-demo:%d", s.chat)
	got := strings.ReplaceAll(s.rows(`select name from eventstore.events where stream_id = $1 and version > $2
		and coalesce(payload->>'tool', '') <> 'customer' order by version`, stream, s.told), "; ", " ")
	if got != strings.Join(strings.Fields(want), " ") {
		s.fail("these happened: %s", got)
	}
	if _, err := fmt.Sscan(s.rows(`select coalesce(max(version), 0) from eventstore.events where stream_id = $1`, stream), &s.told); err != nil {
		s.fail("%v", err)
	}
}
