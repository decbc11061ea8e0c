package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/clock"
)

// TestStories runs the conversations in testdata/stories, each with a server and a database of
// its own. A story lists what customer 42, the bot and the operators do, a line for each step:
//
//	# a remark
//	scene group           where the story takes place, before any other line: see scene
//	> text                the customer writes; text in "..." is unquoted first, and {4096} at
//	                      the end repeats it up to that many characters. --ago=20m before it:
//	                      it was written 20 minutes ago. --late: it was written before those that
//	                      were received, and its ids are lower. --from=7: another customer writes it
//	send {"photo": []}    the customer sends a message with these fields of the Bot API
//	edit text             the customer edits the last message
//	[Button]              the customer presses this button where it was shown last;
//	                      [Button] 2 is where it was shown before that
//	< text                the bot says this next; text in "..." is unquoted, * is any text. A
//	                      file is its kind and id before its caption: [photo f1] Look
//	<< text | text        the bot says these next, in any order
//	< nothing             the bot says nothing until all work is done
//	wait 46m              time passes, for Telegram and for the server
//	group becomes a supergroup
//	                      the story continues there
//	ticket reply text     an operator runs `chatledger ticket reply`, resolve, ...; --flags stand
//	                      before the text; "! text" at the end: the command fails with this error
//	operator maria claim  an operator calls the API: claim, release, reply, notes, ...; "! 409" at
//	                      the end: the response has this status
//	zendesk comment text  an agent acts in Zendesk: see zendeskStep
//	events name name      the events since the last such line, in order, once all work is done;
//	                      the look-up of the customer in the CRM is left out
//	crm holds             from here on the CRM does not respond; crm answers ends that
//	crm keeps text        the CRM has changed the customer's address once, to this; without
//	                      a text it has not: see newCRM
//	crm refuses /path     from here on the CRM refuses requests to this path
//	crm tier priority     the customer's tier in the CRM
//	llm {"text": ""}      the model answers this next, or calls tools: {"calls": [{"tool",
//	                      "input"}]}; in stories whose name begins with llm-. Without such a
//	                      line it answers by the rules of llmsim
//	select query => rows  the result of this query
//
// A line that begins with two spaces continues the one before.
//
// At the end the bot has said nothing else, each reply was delivered once, the read models equal
// what the events fold to, and a replay of the chat produces the same events.
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
			case "llm":
				s.world, s.model, s.crm = newWorldWithModel(t)
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
			s.wantRows("0", `select count(*) from eventstore.deliveries
				where (state <> 'done' and not (state = 'refused' and $1 and destination <> 'telegram:demo'))
				or attempts <> 1`, s.refuses)
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

// monday is when each story begins: an hour after the shop opened for the week.
var monday = time.Date(2027, 2, 1, 10, 0, 0, 0, time.UTC)

type story struct {
	*world
	scene
	zendesk *zendesksim.Server // of stories whose name begins with zendesk-
	model   *llmsim.Server     // of stories whose name begins with llm-
	crm     *fakeCRM           // of stories whose name begins with crm-
	team    *team              // of stories whose name begins with team-

	line  string // where the story is, for errors
	heard int    // messages of the bot that the story has mentioned
	told  int64  // version of the last event that the story has mentioned
	last  int64  // the customer's last message
	late  int64  // messages that came late so far

	heardBefore int              // messages that the story mentioned before the group moved
	fences      map[string]int64 // of the operators' claims; "" is of the last
	refuses     bool             // the CRM refuses some requests
}

func (s *story) step(line string) {
	s.t.Helper()
	if strings.HasPrefix(line, "[") {
		s.press(line)
		return
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "#", "scene":
	case ">":
		s.say(rest)
	case "send":
		s.sendFields(rest)
	case "edit":
		if err := s.Edit(s.chat, s.last, s.text(rest)); err != nil {
			s.fail("%v", err)
		}
	case "<":
		if rest == "nothing" {
			s.nothingMore()
		} else {
			s.hear(s.text(rest))
		}
	case "<<":
		s.hearAll(strings.Split(rest, " | "))
	case "wait":
		s.wait(rest)
	case "group":
		s.becomesSupergroup(rest)
	case "ticket":
		s.ticketCommand(rest)
	case "operator":
		s.operator(rest)
	case "zendesk":
		s.zendeskStep(rest)
	case "events":
		s.events(rest)
	case "crm":
		s.crmStep(rest)
	case "llm":
		var answer llmsim.Answer
		if err := json.Unmarshal([]byte(rest), &answer); err != nil {
			s.fail("%v", err)
		}
		s.model.Script(answer)
	case "select":
		s.query(rest)
	default:
		s.fail("unknown step %q", word)
	}
}

func (s *story) wait(duration string) {
	s.t.Helper()
	d, err := time.ParseDuration(duration)
	if err != nil {
		s.fail("%v", err)
	}
	s.settle()
	s.clock.pass(d)
}

func (s *story) query(rest string) {
	s.t.Helper()
	query, want, _ := strings.Cut(rest, " => ")
	s.settle()
	if got := s.rows("select " + query); got != strings.TrimSpace(want) {
		s.fail("the query returned %s", got)
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

// text returns the text of a line, with its escapes resolved.
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

// hearAll waits for as many messages of the bot's, and compares them in any order.
func (s *story) hearAll(wanted []string) {
	s.t.Helper()
	s.eventually(s.line, func() string {
		return unless(len(s.texts(s.chat, "bot")) >= s.heard+len(wanted), "the bot says less")
	})
	for _, got := range s.texts(s.chat, "bot")[s.heard : s.heard+len(wanted)] {
		i := slices.IndexFunc(wanted, func(want string) bool { return like(s.text(want), got) })
		if i < 0 {
			s.fail("the bot says %q", got)
		}
		wanted = slices.Delete(wanted, i, i+1)
		s.heard++
	}
}

// like reports whether got is want, in which * is any text.
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

// button returns the data of a message's button with this label, or "".
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

// ticketCommand runs `chatledger ticket` as operator ann.
func (s *story) ticketCommand(line string) {
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
		s.fail("exit code %d, standard error %q", code, stderr)
	case !refused && (code != 0 || stdout == ""):
		s.fail("exit code %d, standard error %q", code, stderr)
	}
}

// events compares the names of the events since the last call with those wanted.
func (s *story) events(want string) {
	s.t.Helper()
	s.settle()
	stream := fmt.Sprintf("chat-demo:%d", s.chat)
	got := strings.ReplaceAll(s.rows(`select name from eventstore.events where stream_id = $1 and version > $2
		and coalesce(payload->>'tool', '') <> 'customer' order by version`, stream, s.told), "; ", " ")
	if got != strings.Join(strings.Fields(want), " ") {
		s.fail("the events are: %s", got)
	}
	last := s.rows(`select coalesce(max(version), 0) from eventstore.events where stream_id = $1`, stream)
	if _, err := fmt.Sscan(last, &s.told); err != nil {
		s.fail("%v", err)
	}
}
