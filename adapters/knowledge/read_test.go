package knowledge

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// small is a small valid folder that contains each kind of file and of step.
var small = map[string]string{
	"bot.yaml": `
languages: [en]
hours:
  zone: Europe/London
  mon-fri: 09:00-12:30, 13:30-18:00
  sun: 10:00-24:00
  holidays: [2026-12-25]
targets:
  urgent: {first_response: 15m, resolution: 4h}
tiers: {gold: high}
`,
	"intents/all.yaml": `
opening_hours:
  answer: We are open from 9 to 6.
booking:
  workflow: booking
`,
	"intents/opening_hours.txt": "# how they ask\nwhen are you open\n\nopening hours\n",
	"intents/booking.en.txt":    "book a table\na table for two\n",
	"intents/unknown.en.txt":    "what is the weather\n",
	"workflows/booking.yaml": `
title: your booking
steps:
  - name: asking_date
    ask: date
    check: date
    prompt: For which day?
    again: "Not that day: {problem}."
    next: choosing_time
  - name: choosing_time
    ask: time
    hangs_on: [date]
    prompt: At what time on {date}?
    choices:
      - value: "7"
        label: Seven
        words: [seven, early]
      - value: late
        label: Later
        hand_over: late_booking
    next: checking
  - name: checking
    call: order_status
    input: {number: "{date}"}
    cases:
      - when: {found: true}
        step: confirming
        set: {seen: "{result.status}"}
    next: {step: asking_date, problem: "there is {seen} nothing"}
    failed: {hand_over: {reason: broken, priority: high}}
    without: telling
  - name: telling
    say: Let me see, {customer}.
    next: confirming
  - name: confirming
    confirm: Book a table on {date} at {time}?
    next: {step: completed, say: "Booked: {date}."}
    correct: asking_date
`,
	"rules.yaml":   "- {name: angry, words: [Damn], unless: [joke], priority: urgent}\n",
	"words.yaml":   "welcome: Welcome, {customer}!\n",
	"phrases.yaml": "\"yes\": {en: [\"Yes, please!\", 👍]}\n",
	"canned.yaml":  "hold: One moment, {customer}.\n",
}

// changed returns the small folder with other contents of some files; empty contents remove a file.
func changed(changes map[string]string) fs.FS {
	files := fstest.MapFS{}
	both := maps.Clone(small)
	maps.Copy(both, changes)
	for name, text := range both {
		if text != "" {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return files
}

// replaced returns the small folder with a text in one file replaced.
func replaced(t *testing.T, file, before, after string) fs.FS {
	t.Helper()
	if !strings.Contains(small[file], before) {
		t.Fatalf("%s holds no %q", file, before)
	}
	return changed(map[string]string{file: strings.Replace(small[file], before, after, 1)})
}

func TestRead_SmallFolder_HasEverything(t *testing.T) {
	t.Parallel()
	k, err := Read(changed(nil), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if u := k.Understand("a table please", "en"); u.Intent != "booking" {
		t.Errorf("a message is understood as %s (%.2f), want booking", u.Intent, u.Confidence)
	}
	booking := k.Workflows["booking"]
	if len(booking.Steps) != 5 || booking.Idle != dialog.DefaultIdle {
		t.Errorf("the workflow is %+v", booking)
	}
	if c := booking.Steps[1].Ask.Choices; c[0].Words[0] != "seven" || c[0].Next.Step != "" ||
		c[1].Next.HandOver != (dialog.HandOver{Reason: "late_booking", Priority: dialog.Normal}) ||
		c[1].Next.Step != dialog.HandedOver {
		t.Errorf("the choices are %+v", c)
	}
	if c := booking.Steps[2].Call; len(c.Cases) != 2 || c.Cases[0].When["found"] != "true" ||
		len(c.Cases[1].When) != 0 || c.Failed.HandOver.Priority != dialog.High {
		t.Errorf("the call is %+v", c)
	}
	if say := booking.Steps[3].Say; say.Say["en"] != "Let me see, {customer}." || say.Step != "confirming" {
		t.Errorf("the step that says something is %+v", say)
	}
	if h := k.Hours; h.Zone.String() != "Europe/London" ||
		h.Weekdays[time.Friday][1] != (dialog.Shift{From: 13*time.Hour + 30*time.Minute, To: 18 * time.Hour}) ||
		h.Weekdays[time.Saturday] != nil ||
		h.Weekdays[time.Sunday][0].To != 24*time.Hour ||
		!h.Holidays["2026-12-25"] {
		t.Errorf("the hours are %+v", h)
	}
	if k.Targets[dialog.Urgent] != (dialog.Target{FirstResponse: 15 * time.Minute, Resolution: 4 * time.Hour}) ||
		k.Tiers["gold"] != dialog.High {
		t.Errorf("targets %v, tiers %v", k.Targets, k.Tiers)
	}
	if r := k.Rules[0]; r.Words[0] != "damn" || r.Unless[0] != "joke" || r.Priority != dialog.Urgent {
		t.Errorf("the rule is %+v", r)
	}
	if !k.Means(dialog.PhraseYes, "yes please") || !k.Means(dialog.PhraseYes, "👍") {
		t.Errorf("the phrases are %v", k.Phrases)
	}
	if k.Words[dialog.WordWelcome]["en"] == "" || k.Canned["hold"]["en"] == "" || k.Tongue != nil ||
		len(k.Hash) != hashLength {
		t.Errorf("read %+v", k)
	}
}

func TestRead_Mistakes_NameFileLineAndRemedy(t *testing.T) {
	t.Parallel()
	flow := func(before, after string) fs.FS { return replaced(t, "workflows/booking.yaml", before, after) }
	bot := func(text string) fs.FS { return changed(map[string]string{"bot.yaml": text}) }
	intents := func(before, after string) fs.FS { return replaced(t, "intents/all.yaml", before, after) }
	long := strings.Repeat("x", 5000)
	for name, test := range map[string]struct {
		folder fs.FS
		want   string // the beginning of one mistake
	}{
		"no bot.yaml":       {changed(map[string]string{"bot.yaml": ""}), "bot.yaml: there is no such file"},
		"an empty bot.yaml": {bot("# nothing\n"), "bot.yaml: it is empty"},
		"no languages":      {bot("threshold: 0.5\n"), "bot.yaml:1: languages are missing"},
		"a language's name": {bot("languages:\n  - English\n"), `bot.yaml:2: "English" is no language`},
		"a language twice":  {bot("languages: [en, en]\n"), "bot.yaml:1: en stands here twice"},
		"an unknown key": {
			bot("languages: [en]\ntreshold: 0.5\n"),
			`bot.yaml:2: bot.yaml has no "treshold"; it may have backlog, hours`,
		},
		"a key twice": {
			bot("languages: [en]\nplain: 0.9\nplain: 0.8\n"), `bot.yaml:3: "plain" is already in line 2`,
		},
		"a threshold above 1": {
			bot("languages: [en]\nthreshold: 50\n"), "bot.yaml:2: threshold is a number from 0 to 1",
		},
		"plain below threshold": {
			bot("languages: [en]\nthreshold: 0.7\nplain: 0.6\n"), "bot.yaml:1: plain is 0.6 and threshold 0.7",
		},
		"a backlog without unit": {
			bot("languages: [en]\nbacklog: 15\n"), "bot.yaml:2: backlog is a time from 0s to 168h0m0s, such as",
		},
		"an unknown zone": {
			bot("languages: [en]\nhours:\n  zone: Mars/Base\n  mon: 09:00-10:00\n"),
			`bot.yaml:3: "Mars/Base" is no time zone`,
		},
		"an unknown day": {
			bot("languages: [en]\nhours:\n  monday: 09:00-10:00\n"), `bot.yaml:3: hours have no "monday"`,
		},
		"a day twice": {
			bot("languages: [en]\nhours:\n  mon-fri: 09:00-10:00\n  fri: 09:00-10:00\n"),
			"bot.yaml:4: fri has hours already",
		},
		"an end before its start": {
			bot("languages: [en]\nhours:\n  mon: 18:00-09:00\n"), `bot.yaml:3: "18:00-09:00" are no hours`,
		},
		"shifts that overlap": {
			bot("languages: [en]\nhours:\n  mon: 09:00-12:00, 11:00-13:00\n"),
			"bot.yaml:3: \"09:00-12:00, 11:00-13:00\": each part begins after",
		},
		"no business days": {bot("languages: [en]\nhours:\n  zone: UTC\n"), "bot.yaml:3: hours has no days"},
		"a holiday of no date": {
			bot("languages: [en]\nhours:\n  mon: 09:00-10:00\n  holidays: [25.12.2026]\n"),
			`bot.yaml:4: "25.12.2026" is no date`,
		},
		"an unknown priority": {
			bot("languages: [en]\ntargets:\n  asap: {first_response: 15m, resolution: 1h}\n"),
			`bot.yaml:3: "asap" is no priority`,
		},
		"closed before answered": {
			bot("languages: [en]\ntargets:\n  high: {first_response: 2h, resolution: 1h}\n"),
			"bot.yaml:3: a case is not closed before it is answered",
		},
		"an unknown use of the llm": {
			bot("languages: [en]\nllm: {use: sometimes}\n"), "bot.yaml:2: use is never, unknown",
		},
		"an llm without a persona": {bot("languages: [en]\nllm: {use: always}\n"), "bot.yaml:2: persona is missing"},
		"an llm with too many rounds": {
			bot("languages: [en]\nllm: {rounds: 1000}\n"), "bot.yaml:2: rounds is a number from 1 to 20",
		},
		"no YAML":       {bot("languages: [en]\nplain: : x\n"), "bot.yaml:2: this is no YAML"},
		"two documents": {bot("languages: [en]\n---\nplain: 0.9\n"), "bot.yaml:2: a second document begins"},
		"an alias":      {bot("languages: &l [en]\ntiers: *l\n"), "bot.yaml:2: tiers is written as lines"},
		"a file of another name": {
			changed(map[string]string{"rule.yaml": "x: y\n"}), "rule.yaml: nothing is read from here",
		},
		"not UTF-8": {
			changed(map[string]string{"canned.yaml": "hold: \xff\n"}), "canned.yaml: it is not written in UTF-8",
		},

		"an intent with two reactions": {
			intents("answer: We are open from 9 to 6.", "answer: We are open.\n  workflow: booking"),
			"intents/all.yaml:2: opening_hours needs one of answer, workflow and hand_over",
		},
		"an intent without a reaction": {
			intents("workflow: booking", "courtesy: true"), "intents/all.yaml:4: booking needs one of",
		},
		"a missing workflow": {
			intents("workflow: booking", "workflow: bookings"), "intents/all.yaml:5: there is no workflow bookings",
		},
		"a workflow that no intent begins": {
			intents("workflow: booking", "answer: No."), "workflows/booking.yaml:2: no intent begins this workflow",
		},
		"an intent of the bot's own": {
			intents("booking:", "cancel:"), "intents/all.yaml:4: cancel is an intent that the bot acts on by itself",
		},
		"a variable in an answer": {
			intents("from 9 to 6", "from {open} to 6"),
			"intents/all.yaml:3: nothing fills {open} here; there is {customer}",
		},
		"an open brace": {
			intents("from 9 to 6", "from { to 6"), "intents/all.yaml:3: a { begins a variable",
		},
		"a long text": {
			intents("from 9 to 6", long), "intents/all.yaml:3: answer has 5013 characters; 4096 is the most",
		},
		"an answer behind the last": {
			intents("answer: We are open from 9 to 6.", "answer: [{text: a}, {text: b}]"),
			"intents/all.yaml:3: answer 1 has no words",
		},
		"no answer for the rest": {
			intents("answer: We are open from 9 to 6.", "answer: [{text: a, words: [b]}]"),
			"intents/all.yaml:3: the last answer is for all other messages",
		},
		"a button with an unknown intent": {
			intents("answer: We are open from 9 to 6.", "answer: {text: a, buttons: [{label: b, intent: c}]}"),
			`intents/all.yaml:3: there is no intent "c"`,
		},
		"another language": {
			intents("answer: We are open from 9 to 6.", "answer: {en: a, fr: b}"),
			`intents/all.yaml:3: "fr" is none of the languages in bot.yaml, which are en`,
		},
		"a missing language": {
			changed(map[string]string{
				"bot.yaml": "languages: [en, de]\n", "intents/opening_hours.txt": "",
				"intents/opening_hours.en.txt": "when\n",
			}), "intents/all.yaml:3: answer is needed in de, en",
		},
		"a text in one of two": {
			changed(map[string]string{
				"bot.yaml": "languages: [en, de]\n", "canned.yaml": "hold:\n  en: One moment.\n",
			}), "canned.yaml:2: hold is missing in de",
		},
		"a code of a tool without codes": {
			changed(map[string]string{"codes.yaml": "invoice:\n  late: It is late.\n"}),
			`codes.yaml:1: "invoice" is no tool that answers with a code; there are check_address, order_status`,
		},
		"a code without words": {
			changed(map[string]string{"codes.yaml": "check_address:\n  late: \"\"\n"}),
			"codes.yaml:2: late is missing",
		},
		"an intent without examples": {
			changed(map[string]string{"intents/booking.en.txt": "# none\n"}),
			"intents/all.yaml:4: booking has no example in en",
		},
		"examples of an unknown intent": {
			changed(map[string]string{"intents/refund.en.txt": "refund\n"}),
			"intents/refund.en.txt: there is no intent refund",
		},
		"examples in another language": {
			changed(map[string]string{"intents/booking.fr.txt": "une table\n"}),
			"intents/booking.fr.txt: a file of examples is called <intent>.<language>.txt, with one of",
		},
		"an example under two intents": {
			changed(map[string]string{"intents/booking.en.txt": "book\nOpening hours!\n"}),
			`intents/opening_hours.txt:4: "opening hours" stands under booking, too (intents/booking.en.txt:2)`,
		},
		"an example twice": {
			changed(map[string]string{"intents/booking.en.txt": "book\nBook!\n"}),
			`intents/booking.en.txt:2: "Book!" is already in line 1`,
		},
		"a long example": {
			changed(map[string]string{"intents/booking.en.txt": "book\n" + long + "\n"}),
			"intents/booking.en.txt:2: an example has up to 1000 characters",
		},
		"an intent in two files": {
			changed(map[string]string{"intents/more.yaml": "booking:\n  answer: No.\n"}),
			"intents/more.yaml:1: the intent booking stands in another file already",
		},

		"no title": {
			flow("title: your booking", "brief: true"), "workflows/booking.yaml:2: title is missing",
		},
		"a reminder after the end": {
			flow("title: your booking", "title: your booking\nidle: 1h\nremind: 2h"),
			"workflows/booking.yaml:2: remind is 2h0m0s and idle 1h0m0s",
		},
		"a step without a name": {
			flow("- name: telling\n    say:", "- say:"), "workflows/booking.yaml:32: name is missing",
		},
		"a step of two kinds": {
			flow("    say: Let me see, {customer}.", "    say: Let me see.\n    ask: date"),
			"workflows/booking.yaml:32: the step telling needs one of ask, call, confirm, say",
		},
		"a step called like an end": {
			flow("- name: telling", "- name: completed"),
			"workflows/booking.yaml:32: completed is how every workflow begins or ends",
		},
		"a step twice": {
			flow("- name: telling", "- name: checking"),
			"workflows/booking.yaml:32: the step checking is already defined in line 22",
		},
		"a missing step": {
			flow("next: choosing_time", "next: choosing"), "workflows/booking.yaml:9: there is no step choosing;",
		},
		"a step without a next step": {
			flow("    next: choosing_time\n", ""), "workflows/booking.yaml:4: the step asking_date has no next step",
		},
		"an unreachable step": {
			flow("without: telling", "without: confirming"),
			"workflows/booking.yaml:32: nothing leads to the step telling",
		},
		"no way to an end": {
			changed(map[string]string{
				"workflows/booking.yaml": "title: t\nsteps:\n  - {name: a, ask: x, prompt: p, next: b}\n  - {name: " +
					"b, ask: y, prompt: p, next: a}\n",
			}), "workflows/booking.yaml:3: from the step a no way leads to an end",
		},
		"a loop without a wait": {
			flow("    next: confirming\n", "    next: checking\n"),
			"workflows/booking.yaml:22: the step checking leads back to itself without waiting",
		},
		"an unknown check": {
			flow("check: date", "check: regexp"),
			`workflows/booking.yaml:6: there is no check "regexp"; there are address, amount`,
		},
		"a variable that no step collects": {
			flow("on {date}?", "on {day}?"),
			"workflows/booking.yaml:13: nothing in this workflow collects {day}; it collects {customer}, {date}",
		},
		"a field that no step collects": {
			flow("hangs_on: [date]", "hangs_on: [day]"),
			"workflows/booking.yaml:12: nothing in this workflow collects {day}",
		},
		"a result outside of a call": {
			flow("Let me see, {customer}.", "Let me see, {result.status}."),
			"workflows/booking.yaml:33: nothing in this workflow collects {result.status}",
		},
		"an unknown result of a tool": {
			flow("{result.status}", "{result.state}"),
			`workflows/booking.yaml:28: the tool order_status answers no "state"; it answers detail, found`,
		},
		"an unknown tool": {
			flow("call: order_status", "call: orders"),
			`workflows/booking.yaml:23: there is no tool "orders"; there are`,
		},
		"a tool without its input": {
			flow(`    input: {number: "{date}"}`+"\n", ""),
			"workflows/booking.yaml:22: the tool order_status needs the input number",
		},
		"a tool with other input": {
			flow("input: {number:", "input: {date: x, number:"),
			`workflows/booking.yaml:24: the tool order_status takes no "date"; it takes number`,
		},
		"a case without an answer": {
			flow("when: {found: true}", "when: {}"), "workflows/booking.yaml:26: when is missing",
		},
		"a case with an unknown answer": {
			flow("when: {found: true}", "when: {fount: true}"),
			`workflows/booking.yaml:26: the tool order_status answers no "fount"`,
		},
		"a call without a last case": {
			flow(`    next: {step: asking_date, problem: "there is {seen} nothing"}`+"\n", ""),
			"workflows/booking.yaml:22: the step checking has no next step in one case: write next",
		},
		"a call without failed": {
			flow("    failed: {hand_over: {reason: broken, priority: high}}\n", ""),
			"workflows/booking.yaml:22: the step checking has no next step in one case: write failed",
		},
		"a call without without": {
			flow("    without: telling\n", ""),
			"workflows/booking.yaml:22: the step checking has no next step in one case: write without",
		},
		"a problem that leads to no question": {
			flow("next: {step: asking_date, problem:", "next: {step: telling, problem:"),
			"workflows/booking.yaml:29: a problem or a correction leads to a step that asks, and telling does not",
		},
		"a correction that leads to a tool": {
			flow("correct: asking_date", "correct: checking"),
			"workflows/booking.yaml:38: a problem or a correction leads to a step that asks",
		},
		"both a step and a person": {
			flow("hand_over: late_booking", "hand_over: late_booking\n        step: completed"),
			"workflows/booking.yaml:18: this choice leads both to completed and to a person",
		},
		"a person without a reason": {
			flow("without: telling", "without: handed_over"),
			"workflows/booking.yaml:31: without leads to a person: write hand_over",
		},
		"an end only the bot knows": {
			flow("without: telling", "without: expired"),
			"workflows/booking.yaml:31: without leads to expired, where only the bot",
		},
		"a value with a colon": {
			flow(`value: "7"`, `value: "19:00"`), `workflows/booking.yaml:15: the value "19:00" travels in a button`,
		},
		"a value too long": {flow(`value: "7"`, "value: "+long[:41]), "workflows/booking.yaml:15: the value"},
		"a value of the bot's own": {
			flow(`value: "7"`, "value: back"),
			`workflows/booking.yaml:15: the value "back" is that of a button of the bot's own`,
		},
		"a field of the bot's own": {
			flow("ask: time", "ask: refused"), "workflows/booking.yaml:11: refused is what the bot itself collects",
		},
		"a value twice": {
			flow(`value: "7"`, "value: late"), `workflows/booking.yaml:18: the value "late" stands in this step twice`,
		},
		"a label too long": {
			flow("label: Seven", "label: "+long[:65]),
			"workflows/booking.yaml:16: label has 65 characters; 64 is the most",
		},
		"only, without a choice": {
			flow("check: date", "only: true"), "workflows/booking.yaml:4: only takes nothing but choices",
		},
		"an unconfirmed change": {flow("call: order_status\n    input: {number: \"{date}\"}\n    cases:\n      - when: "+
			"{found: true}\n        step: confirming\n        set: {seen: \"{result.status}\"}\n",
			"call: change_billing_address\n    input: {address: \"{date}\"}\n"),
			"workflows/booking.yaml:21: the step checking changes something at another system"},

		"a rule for everything": {
			changed(map[string]string{"rules.yaml": "- {name: all, priority: low, unless: [x]}\n"}),
			"rules.yaml:1: the rule all fits every message",
		},
		"a rule without a name": {
			changed(map[string]string{"rules.yaml": "- {words: [a], priority: low}\n"}),
			"rules.yaml:1: name is missing",
		},
		"a rule without a priority": {
			changed(map[string]string{"rules.yaml": "- {words: [a], name: a}\n"}), "rules.yaml:1: priority is missing",
		},
		"a rule on an unknown intent": {
			changed(map[string]string{"rules.yaml": "- {intents: [refund], name: a, priority: low}\n"}),
			`rules.yaml:1: there is no intent "refund"`,
		},
		"too few repeats": {
			changed(map[string]string{"rules.yaml": "- {repeats: 1, name: a, priority: low}\n"}),
			"rules.yaml:1: repeats is a number from 2 to 20",
		},
		"an unknown word": {
			changed(map[string]string{"words.yaml": "goodbye: Bye.\n"}),
			`words.yaml:1: the bot says no "goodbye" of itself; it says`,
		},
		"a word's variable": {
			changed(map[string]string{"words.yaml": "welcome: Hello {name}\n"}),
			"words.yaml:1: nothing fills {name} here; there is {customer}, {title}",
		},
		"an unknown meaning": {
			changed(map[string]string{"phrases.yaml": "perhaps: {en: [maybe]}\n"}),
			`phrases.yaml:1: no message means "perhaps"; there are and, back, cancel, no, yes`,
		},
		"a phrase of two meanings": {
			changed(map[string]string{"phrases.yaml": "\"yes\": {en: [ok]}\n\"no\": {en: [OK!]}\n"}),
			`phrases.yaml:2: "ok" means yes, too`,
		},
		"an empty text": {changed(map[string]string{"canned.yaml": "hold: \"\"\n"}), "canned.yaml:1: hold is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := Read(test.folder, Options{Untrained: true})
			if k != nil || err == nil {
				t.Fatalf("no mistake is reported, want %q", test.want)
			}
			if !slices.ContainsFunc(Mistakes(err),
				func(m Mistake) bool { return strings.HasPrefix(m.Error(), test.want) }) {
				t.Errorf("mistakes are\n%v\nwant %q", err, test.want)
			}
		})
	}
}

func TestRead_BrokenYAML_NamesLine(t *testing.T) {
	t.Parallel()
	before := "a:\n  b: [x,\n    y]\n  c: 'two\n    lines'\nd:\n" + strings.Repeat("  - e\n", 20)
	for name, text := range map[string]string{
		"a colon":               "f: g: h\ni: j\n",
		"a bracket":             "f: {g: h {i}.}\nj: k\n",
		"a tab":                 "\tf: g\nh: i\n",
		"an indentation":        " f: g\nh: i\n",
		"a quotation left open": "f: 'g\nh: i\nj: k\n",
		"a list left open":      "f: [g\nh: i\n",
		"the end of the file":   "f: [",
	} {
		_, err := Read(changed(map[string]string{"canned.yaml": before + text}), Options{})
		if list := Mistakes(err); len(list) != 1 || list[0].Line != 27 || !strings.Contains(list[0].Says, "no YAML") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Read(changed(map[string]string{"canned.yaml": "a: {b {c}}\n"}), Options{})
	if list := Mistakes(err); len(list) != 1 || list[0].Line != 1 {
		t.Errorf("in the first line: %v", err)
	}
	const long = 64 << 10
	_, err = Read(changed(map[string]string{"canned.yaml": strings.Repeat("# long\n", long) + "a: b: c\n"}), Options{})
	if list := Mistakes(err); len(list) != 1 || list[0].Line != long+1 {
		t.Errorf("in a long file: %v", err)
	}
}

func TestRead_AllMistakes_ReportedInOrder(t *testing.T) {
	t.Parallel()
	_, err := Read(changed(map[string]string{
		"canned.yaml": "a: {x\n", "rules.yaml": "- {}\n- {}\n", "words.yaml": "welcome: '{a} {b}'\n",
	}), Options{})
	var at []string
	for _, m := range Mistakes(err) {
		at = append(at, fmt.Sprintf("%s:%d", m.File, m.Line))
	}
	if len(at) != 5 || !slices.IsSorted(at) {
		t.Errorf("mistakes at %s, want 5 in order\n%v", at, err)
	}
}

func TestRead_TooLargeFolder_Rejected(t *testing.T) {
	t.Parallel()
	many := fstest.MapFS{}
	for i := range maxFiles + 1 {
		many[fmt.Sprintf("intents/i%d.txt", i)] = &fstest.MapFile{}
	}
	steps := "title: long\nsteps:\n" + strings.Repeat("  - {name: a, say: b, next: completed}\n", maxSteps+1)
	for name, test := range map[string]struct {
		folder fs.FS
		want   string
	}{
		"files": {many, "there are more than 2000 files"},
		"a file": {
			changed(map[string]string{"canned.yaml": strings.Repeat("#", maxFile+1)}),
			"canned.yaml: it is longer than 4 MiB",
		},
		"steps": {
			changed(map[string]string{"workflows/booking.yaml": steps}), "there are 65 steps; 64 is the most",
		},
		"examples": {
			changed(map[string]string{"intents/booking.en.txt": manyLines(maxExamples + 1)}),
			"there are more than 100000 examples",
		},
		"depth": {changed(map[string]string{"canned.yaml": strings.Repeat("[", 100_000)}), "canned.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(test.folder, Options{Untrained: true})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%.300v, want %q", err, test.want)
			}
		})
	}
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "example %d\n", i)
	}
	return b.String()
}

func TestHash_OtherNamesOrContents_Changes(t *testing.T) {
	t.Parallel()
	of := func(files map[string]string) string {
		folder := fstest.MapFS{}
		for name, text := range files {
			folder[name] = &fstest.MapFile{Data: []byte(text)}
		}
		f, err := open(folder)
		if err != nil {
			t.Fatal(err)
		}
		return f.hash
	}
	base := of(map[string]string{"bot.yaml": "a", "rules.yaml": "b"})
	for name, same := range map[string]map[string]string{
		"as it was":  {"rules.yaml": "b", "bot.yaml": "a"},
		"with notes": {"bot.yaml": "a", "rules.yaml": "b", "README.md": "c"},
		"with an editor's leavings": {
			"bot.yaml": "a", "rules.yaml": "b", ".rules.yaml": "c", ".git/x.yaml": "d", "rules.yaml~": "e",
		},
	} {
		if got := of(same); got != base {
			t.Errorf("%s: the hash is %s, want %s", name, got, base)
		}
	}
	for name, other := range map[string]map[string]string{
		"with another text":       {"bot.yaml": "a", "rules.yaml": "c"},
		"with another name":       {"bot.yaml": "a", "rulez.yaml": "b"},
		"with texts exchanged":    {"bot.yaml": "b", "rules.yaml": "a"},
		"with one file less":      {"bot.yaml": "a"},
		"with files run together": {"bot.yaml": "a10 rules.yaml 1 b"},
	} {
		if got := of(other); got == base {
			t.Errorf("%s: the hash is the same", name)
		}
	}
}

func TestRead_UnreadableFolder_NoMistakes(t *testing.T) {
	t.Parallel()
	_, err := Read(fstest.MapFS{"a": &fstest.MapFile{Mode: fs.ModeDir}}, Options{})
	if len(Mistakes(err)) != 1 { // bot.yaml is missing
		t.Errorf("%v", err)
	}
	_, err = Read(locked{}, Options{})
	if err == nil || len(Mistakes(err)) != 0 || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
}

// locked is a folder without permission to read it.
type locked struct{}

func (locked) Open(string) (fs.File, error) { return nil, fs.ErrPermission }
