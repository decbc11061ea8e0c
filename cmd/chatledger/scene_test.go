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

// scene is where a story takes place. The lines at its beginning say so:
//
//	: group            in a group with several customers
//	: topic 7          in this topic of a supergroup
//	: speaks de        the customers' app is in this language
//	: limit 3 1m       the bot answers so many messages in so long a time
//
// Without any it is a chat between customer 42 and the bot.
type scene struct {
	customer int64
	chat     int64
	kind     string // of the chat, in Telegram's words
	topic    int64  // 0 is none
	language string
	limit    config.ChatLimit
}

// where a group of stories is, and the supergroup that it becomes.
const (
	storyGroup      = -4000000042
	storySupergroup = -1001900000042
)

func readScene(t *testing.T, lines []string) scene {
	s := scene{customer: 42, chat: 42, kind: "private", language: "en"}
	for _, line := range lines {
		setting, ok := strings.CutPrefix(line, ": ")
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
			err = fmt.Errorf("there is no such setting")
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return s
}

func (s scene) limits(b *config.Bot) { b.ChatLimit = &s.limit }

// say is what a customer writes.
func (s *story) say(line string) {
	s.t.Helper()
	update, from, date := map[string]any{}, s.customer, s.clock.now()
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
			s.settle() // what it comes behind has to be there
			var first int64
			_, err = fmt.Sscan(s.rows(`select min(update_id) from eventstore.inbox`), &first)
			update["update_id"] = first - 1
		default:
			s.fail("there is no %s", name)
		}
		if err != nil {
			s.fail("%v", err)
		}
	}
	s.send(update, map[string]any{"text": s.text(line)}, from, date)
}

// sendFields is a message of other fields than text.
func (s *story) sendFields(fields string) {
	s.t.Helper()
	message := map[string]any{}
	if err := json.Unmarshal([]byte(fields), &message); err != nil {
		s.fail("%v", err)
	}
	s.send(map[string]any{}, message, s.customer, s.clock.now())
}

// send posts an update with a customer's message.
func (s *story) send(update, message map[string]any, from int64, date time.Time) {
	const gap = 100 // the bot may be writing at this moment
	s.last = gap
	for _, m := range s.Messages(s.chat) {
		s.last = max(s.last, m.MessageID+gap)
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

// moves makes the story's group a supergroup.
func (s *story) moves() {
	s.t.Helper()
	s.nothingMore()
	s.Migrate(s.chat, storySupergroup)
	s.chat, s.kind = storySupergroup, "supergroup"
	s.heardBefore, s.heard, s.told = s.heard, 0, 0
}

// operator acts in the chat by the operators' API, under their own claim, or else under the
// last.
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
