package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// scene is where a story takes place. The first lines of the story set it:
//
//	scene group        in a group with several customers
//	scene topic 7      in this topic of a supergroup
//	scene speaks de    the language of the customers' app
//	scene limit 3 1m   the bot answers at most 3 messages in one minute
//
// Without such a line it is a chat between customer 42 and the bot.
type scene struct {
	customer int64
	chat     int64
	kind     string // of the chat, in Telegram's words
	topic    int64  // 0 is none
	language string
	limit    config.ChatLimit
}

// The chat ids of a story's group, and of the supergroup that it becomes.
const (
	storyGroup      = -4000000042
	storySupergroup = -1001900000042
)

func readScene(t *testing.T, lines []string) scene {
	s := scene{customer: 42, chat: 42, kind: "private", language: "en"}
	for _, line := range lines {
		setting, ok := strings.CutPrefix(line, "scene ")
		if !ok {
			continue
		}
		var err error
		switch name, value, _ := strings.Cut(setting, " "); name {
		case "group":
			s.chat, s.kind = storyGroup, "group"
		case "topic":
			s.chat, s.kind = storySupergroup, "supergroup"
			s.topic, err = strconv.ParseInt(value, 10, 64)
		case "speaks":
			s.language = value
		case "limit":
			var window string
			if _, err = fmt.Sscan(value, &s.limit.Count, &window); err == nil {
				s.limit.Window, err = time.ParseDuration(window)
			}
		default:
			err = fmt.Errorf("unknown setting %q", name)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return s
}

func (s scene) limits(b *config.Bot) { b.ChatLimit = &s.limit }

// say sends a text as a customer.
func (s *story) say(line string) {
	s.t.Helper()
	update, message, from, date := map[string]any{}, map[string]any{}, s.customer, s.clock.now()
	for strings.HasPrefix(line, "--") {
		var flag string
		flag, line, _ = strings.Cut(line, " ")
		name, value, _ := strings.Cut(flag, "=")
		var err error
		switch name {
		case "--ago":
			var ago time.Duration
			ago, err = time.ParseDuration(value)
			date = date.Add(-ago)
		case "--from":
			from, err = strconv.ParseInt(value, 10, 64)
		case "--late":
			s.settle() // the updates before it must be stored
			var first int64
			_, err = fmt.Sscan(s.rows(`select min(update_id) from eventstore.inbox`), &first)
			s.late++
			update["update_id"], message["message_id"], date = first-1, messageGap-s.late, date.Add(-time.Minute)
		default:
			s.fail("unknown flag %s", name)
		}
		if err != nil {
			s.fail("%v", err)
		}
	}
	message["text"] = s.text(line)
	s.send(update, message, from, date)
}

// sendFields sends a message with these fields as the customer.
func (s *story) sendFields(fields string) {
	s.t.Helper()
	message := map[string]any{}
	if err := json.Unmarshal([]byte(fields), &message); err != nil {
		s.fail("%v", err)
	}
	s.send(map[string]any{}, message, s.customer, s.clock.now())
}

// messageGap is how far apart a customer's message ids are: the bot may be writing between.
const messageGap = 100

// send posts an update with a customer's message.
func (s *story) send(update, message map[string]any, from int64, date time.Time) {
	s.last = messageGap
	for _, m := range s.Messages(s.chat) {
		s.last = max(s.last, m.MessageID+messageGap)
	}
	if earlier, late := message["message_id"].(int64); late {
		s.last = earlier
	}
	name := fmt.Sprintf("Customer %d", from)
	message["message_id"], message["date"] = s.last, date.Unix()
	message["chat"] = map[string]any{"id": s.chat, "type": s.kind, "first_name": name}
	message["from"] = map[string]any{"id": from, "is_bot": false, "first_name": name, "language_code": s.language}
	if s.topic != 0 {
		message["message_thread_id"], message["is_topic_message"] = s.topic, true
	}
	update["message"] = message
	s.Post(update)
}

// becomesSupergroup migrates the story's group to a supergroup.
func (s *story) becomesSupergroup(rest string) {
	s.t.Helper()
	if rest != "becomes a supergroup" {
		s.fail("unknown step of a group")
	}
	s.nothingMore()
	s.Migrate(s.chat, storySupergroup)
	s.chat, s.kind = storySupergroup, "supergroup"
	s.heardBefore, s.heard, s.told = s.heard, 0, 0
}

// operator calls the operators' API for the chat, with the operator's own claim or else with the
// last one.
func (s *story) operator(line string) {
	s.t.Helper()
	line, refusal, _ := strings.Cut(line, " ! ")
	who, act, _ := strings.Cut(line, " ")
	act, text, _ := strings.Cut(act, " ")
	body := map[string]any{}
	if fence := max(s.fences[who], s.fences[""]); act != "claim" && act != "notes" && act != "tags" {
		if own, ok := s.fences[who]; ok {
			fence = own
		}
		body["fence"] = fence
	}
	switch act {
	case "reply", "notes":
		body["text"] = s.text(text)
	case "canned-reply":
		body["name"] = text
	case "tags":
		body["add"] = strings.Fields(text)
	case "priority", "assign":
		body[map[string]string{"priority": "priority", "assign": "assignee"}[act]] = text
	case "claim":
		body["force"] = text == "--force"
	}
	status := http.StatusOK
	if refusal != "" {
		var err error
		if status, err = strconv.Atoi(refusal); err != nil {
			s.fail("%v", err)
		}
	}
	request, err := json.Marshal(body)
	if err != nil {
		s.fail("%v", err)
	}
	s.settle()
	a := s.team.must(who, http.MethodPost, fmt.Sprintf("/chats/demo:%d/%s", s.chat, act), string(request), status)
	if act == "claim" && status == http.StatusOK {
		s.fences[who], s.fences[""] = a.Claim.Fence, a.Claim.Fence
	}
}
