package dialog

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain/intents"
)

// Knowledge is what a team has written for its bot: what customers want and how they
// say it, what the bot answers, the workflows it walks through with them, and when a
// person is needed. It is a value: nothing changes it once it is made, so that many
// decisions may be taken with it at once.
type Knowledge struct {
	Hash      string     // of all that was written; it is recorded on each decision
	Languages []Language // that the bot speaks; the first with whoever speaks none of them
	Model     Classifier // tells intents apart; nil tells none
	Tongue    Classifier // tells languages apart; nil where there is one

	// Threshold is the confidence from which an intent counts as understood; below it
	// a wrong answer costs the customer more than a question does. From Plain on a
	// message within a workflow is about something else for certain.
	Threshold, Plain float64

	Topics    map[Intent]Topic
	Workflows map[string]*Workflow
	Phrases   map[Phrase]map[Language][]string // whole messages in small letters, by what they mean
	Words     map[Word]Text                    // the bot's own; what is missing is said in plain English
	// what a tool finds, by tool and code; what is missing is said in the tool's own words
	Codes   map[string]map[string]Text
	Rules   []Rule              // when a person is needed; the first that fits counts
	Tiers   map[string]Priority // how much it hurries at least with customers of a tier, by the CRM
	Hours   Hours
	Targets map[Priority]Target
	Canned  map[string]Text // replies for people, by name
	LLM     LLM

	// Backlog is how old a message may be to be answered by itself; 0 is any age. What
	// is older has waited through an outage, and is answered with all that came with it.
	Backlog time.Duration
}

// Classifier makes the best guess it can of a text.
type Classifier interface {
	Classify(text string) intents.Guess
}

// Language is a language code such as "en".
type Language string

// Text is what is said, by language. It may hold variables: {address} stands for what
// was collected under that name.
type Text map[Language]string

// Topic is what the bot does about an intent: one of Answers, Workflow and HandOver.
type Topic struct {
	Answers  []Answer
	Workflow string
	HandOver HandOver
	Say      Text // before the workflow, or as the person is fetched
	Courtesy bool // said beside a wish as often as alone
}

// Answer is one answer to an intent. The first of a topic's counts whose words stand in
// the message; the last has none.
type Answer struct {
	Words   []string // each the beginning of words in small letters
	Text    Text
	Buttons []TopicButton
}

// TopicButton goes on with another intent, as if the customer had written it.
type TopicButton struct {
	Label  Text
	Intent Intent
}

// Phrase is a meaning that whole messages have within a workflow; of PhraseAnd, words in them.
type Phrase string

// Phrases.
const (
	PhraseYes    Phrase = "yes"
	PhraseNo     Phrase = "no"
	PhraseCancel Phrase = "cancel"
	PhraseBack   Phrase = "back"
	PhraseAnd    Phrase = "and" // joins two wishes: "and", "what about"
)

// Means reports whether the whole of a text is one of the phrases, in any language.
func (k *Knowledge) Means(p Phrase, text string) bool {
	said := strings.TrimSpace(wordsOf(text))
	for _, list := range k.Phrases[p] {
		if slices.Contains(list, said) || slices.Contains(list, strings.TrimSpace(text)) {
			return true
		}
	}
	return false
}

// Speaks is the language to use with somebody who prefers one: it, without its region,
// when the bot speaks it, and else the bot's first.
func (k *Knowledge) Speaks(preferred Language) Language {
	short, _, _ := strings.Cut(strings.ToLower(string(preferred)), "-")
	if slices.Contains(k.Languages, Language(short)) {
		return Language(short)
	}
	return k.first()
}

func (k *Knowledge) first() Language {
	if len(k.Languages) == 0 {
		return English
	}
	return k.Languages[0]
}

// English is the language of the words that the bot has of its own.
const English Language = "en"

// in is the text in a language, or in the first that the bot speaks and the text is in.
func (t Text) in(k *Knowledge, l Language) string {
	return cmp.Or(t[l], t[k.first()], t[English])
}

// fill puts values in the place of variables. What is not known stays away.
func fill(text string, values ...map[string]string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString("{" + rest)
			return b.String()
		}
		for _, known := range values {
			if value, ok := known[name]; ok {
				b.WriteString(value)
				break
			}
		}
		text = after
	}
}

// Rule says when a person is needed. All of its conditions must hold; those that are
// zero do.
type Rule struct {
	Name     string   // the reason that a ticket is opened for
	Words    []string // one of these stands in the message, as whole words in small letters
	Unless   []string // and none of these does
	Shouting bool     // it is written in capitals, or the exclamation mark is hammered
	Repeats  int      // so often it was said before, lately
	Failures int      // so many answers of theirs were not taken in this workflow
	Tiers    []string // the customer is of one of these, by the CRM
	Intents  []Intent // it means one of these; Unknown is below the threshold
	Unsure   int      // so many messages in a row nothing was made of
	Priority Priority
	Say      Text
}

// Target is the time in which a person replies first, and in which the case is closed,
// of business hours.
type Target struct {
	FirstResponse, Resolution time.Duration
}

// LLM says whether a language model answers, and what that may cost.
type LLM struct {
	Use       LLMUse
	Persona   string        // how it introduces itself to the model: who it speaks for, and how
	Rounds    int           // questions to the model about one message, at most
	Tokens    int           // of all rounds together
	Within    time.Duration // from the message to the answer
	MaxLength int           // of an answer, in characters
}

// LLMUse selects the messages that the model is asked about.
type LLMUse string

// Uses of a model.
const (
	LLMNever   LLMUse = ""
	LLMUnknown LLMUse = "unknown" // messages without a recognised intent
	LLMAlways  LLMUse = "always"  // all except commands, workflows and what needs an operator
)
