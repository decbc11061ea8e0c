package dialog

import (
	"slices"
	"strings"
	"unicode"
)

// Intent is what the customer wants: a topic of the knowledge, or one of those below.
type Intent string

// Intents that every bot knows.
const (
	Unknown   Intent = "unknown"
	Start     Intent = "start"
	Help      Intent = "help"
	Cancel    Intent = "cancel"
	Back      Intent = "back"
	File      Intent = "file"       // a photo or document without a word
	Pressed   Intent = "button"     // a button says what it wants by itself
	Corrected Intent = "correction" // an edited message
	Answered  Intent = "answer"     // what a step of a workflow asked for
	Waited    Intent = "backlog"    // a message that is answered with those that came after it
	Hasty     Intent = "too_fast"   // the first of those over the limit
)

// Understanding is what was made of a message.
type Understanding struct {
	Intent     Intent
	Confidence float64 // 0 to 1
	Language   Language
	Orders     []string // the order numbers in the text
	words      string
}

// commands are those of Telegram's that every bot knows.
var commands = map[string]Intent{"/start": Start, "/help": Help, "/cancel": Cancel, "/back": Back}

// Understand makes what it can of a text, in a conversation that was in a language so
// far. Of a text that is no clear case of another language, that one is kept.
func (k *Knowledge) Understand(text string, before Language) Understanding {
	u := Understanding{Intent: Unknown, Language: before, Orders: orderNumbers(text), words: wordsOf(text)}
	if name := command(text); name != "" {
		if intent, known := commands[name]; known {
			u.Intent, u.Confidence = intent, 1
		}
		return u
	}
	if said := spoken(text); k.Tongue != nil && strings.Count(wordsOf(said), " ") > enoughWords {
		if guess := k.Tongue.Classify(said); guess.Confidence >= sureOfLanguage && guess.Known >= enoughKnown {
			u.Language = Language(guess.Intent)
		}
	}
	for phrase, intent := range map[Phrase]Intent{PhraseCancel: Cancel, PhraseBack: Back} {
		if k.Means(phrase, text) {
			u.Intent, u.Confidence = intent, 1
			return u
		}
	}
	if k.Model == nil || strings.TrimSpace(u.words) == "" {
		return u
	}
	u.Intent, u.Confidence = k.guess(text)
	return u
}

// guess is what a text most likely wants. An order number alone is a wish of its own, to see the
// order; beside another wish it is the order that is meant.
func (k *Knowledge) guess(text string) (Intent, float64) {
	intent, confidence := k.classify(text)
	numbers := numbersIn(text)
	if len(numbers) == 0 {
		return intent, confidence
	}
	first := numbers[0]
	alone, sure := k.classify(text[first.start:first.end])
	rest := withoutNumbers(text, numbers)
	words := strings.Count(wordsOf(rest), " ") - 1
	switch {
	case k.Topics[intent].Courtesy && words <= 2 && alone != Unknown:
		return alone, sure // "thanks, 1001"
	case intent != Unknown && intent != alone:
		return intent, confidence
	}
	wish, surer := k.classify(rest)
	topic, least := k.Topics[wish], k.Threshold
	switch {
	case topic.HandOver.Reason != "":
		least = k.Plain
	case words < 2:
		least = (k.Threshold + k.Plain) / 2 // one word says little
	}
	if topic.known() && !topic.Courtesy && surer >= least {
		return wish, surer
	}
	return intent, confidence
}

func (k *Knowledge) classify(text string) (Intent, float64) {
	guess := k.Model.Classify(text)
	switch {
	case Intent(guess.Intent) == Unknown: // it may be sure of that
		return Unknown, 0
	case guess.Confidence < k.Threshold:
		return Unknown, guess.Confidence
	default:
		return Intent(guess.Intent), guess.Confidence
	}
}

// A language is changed for a sentence that is surely in it, and not for a name, a
// number or a word that several languages have; nor for one in a language that the bot
// does not speak, of which little is known though it may be surely the less unlike of two.
// By the shop's examples 99 in 100 English messages about anything at all (CLINC150) are
// known to 0.43 and more, and sentences in eleven other languages to 0.36 at most.
const (
	enoughWords    = 2
	sureOfLanguage = 0.8
	enoughKnown    = 0.4
)

// spoken is a text without numbers, e-mail addresses and links, which are in no language.
func spoken(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(text), func(word string) bool {
		return has(word, unicode.IsDigit) || strings.Contains(word, "@") || strings.Contains(word, "://")
	}), " ")
}

// command is the bot command a text begins with, without "@bot".
func command(text string) string {
	if !strings.HasPrefix(text, "/") {
		return ""
	}
	first, _, _ := strings.Cut(strings.Fields(text)[0], "@")
	return strings.ToLower(first)
}

// orderNumber is the first order number in a text; "" when there is none.
func orderNumber(text string) string {
	if all := orderNumbers(text); len(all) > 0 {
		return all[0]
	}
	return ""
}

// wordsOf is the text in lower case, words and apostrophes only, set off by
// single spaces at both ends too: " where's my order 1001 ".
func wordsOf(text string) string {
	text = strings.ReplaceAll(strings.ToLower(text), "’", "'")
	fields := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\''
	})
	return " " + strings.Join(fields, " ") + " "
}

func containsAny(words string, phrases []string) bool {
	return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(words, " "+phrase+" ") })
}
