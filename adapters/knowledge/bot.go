package knowledge

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones are known also where the system has none

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/intents"
)

// Limits of the settings in bot.yaml.
const (
	// defaultPlain is the confidence from which a message within a workflow leaves the
	// workflow without a question: leaving it by mistake costs more than asking once.
	defaultPlain = 0.8

	maxLanguages = 20
	maxBacklog   = 7 * 24 * time.Hour
	maxTarget    = 90 * 24 * time.Hour
	maxRounds    = 20
	maxTokens    = 1_000_000
	maxWithin    = 10 * time.Minute
	maxHolidays  = 1000
)

// code is a language code without a region.
var code = regexp.MustCompile(`^[a-z]{2,3}$`)

// bot reads bot.yaml.
func (r *reading) bot(p page) {
	k := r.k
	k.Threshold = intents.Threshold
	root := p.root()
	if root == nil {
		return
	}
	p.object(root, botFile, fields{
		"languages": p.languages,
		"threshold": func(n *yaml.Node) { k.Threshold = p.share(n, "threshold") },
		"plain":     func(n *yaml.Node) { k.Plain = p.share(n, "plain") },
		"backlog":   func(n *yaml.Node) { k.Backlog = p.duration(n, "backlog", 0, maxBacklog) },
		"hours":     func(n *yaml.Node) { k.Hours = p.hours(n) },
		"targets":   p.targets,
		"tiers":     p.tiers,
		"llm":       func(n *yaml.Node) { k.LLM = p.llm(n) },
	})
	if len(k.Languages) == 0 {
		p.wrong(root, "languages are missing: write `languages: [en]`, with those that the bot speaks")
	}
	if k.Plain == 0 {
		k.Plain = max(defaultPlain, k.Threshold)
	}
	if k.Plain < k.Threshold {
		p.wrong(root, "plain is %g and threshold %g: what is plain is understood, so write at least %g", k.Plain,
			k.Threshold, k.Threshold)
	}
}

func (p page) languages(n *yaml.Node) {
	p.list(n, "languages", maxLanguages, func(n *yaml.Node) {
		language := dialog.Language(n.Value)
		switch {
		case !code.MatchString(n.Value):
			p.wrong(n, "%q is no language: write its code of two or three small letters, such as en or de", n.Value)
		case slices.Contains(p.k.Languages, language):
			p.wrong(n, "%s stands here twice", language)
		default:
			p.k.Languages = append(p.k.Languages, language)
		}
	})
}

// days are the names of the days, numbered as time.Weekday.
var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// hours reads the business hours: a line for a day or for several consecutive days.
func (p page) hours(n *yaml.Node) (h dialog.Hours) {
	h.Zone = time.UTC
	p.pairs(n, "hours", func(key, value *yaml.Node) {
		switch key.Value {
		case "zone":
			zone, err := time.LoadLocation(value.Value)
			if err != nil || value.Value == "" || value.Value == "Local" {
				p.wrong(value, "%q is no time zone: write one such as Europe/London", value.Value)
				return
			}
			h.Zone = zone
		case "holidays":
			h.Holidays = p.holidays(value)
		default:
			which := daysOf(key.Value)
			if which == nil {
				p.wrong(key, "hours have no %q; they may have zone, holidays, a day such as mon, or days such as mon-fri",
					key.Value)
			}
			shifts := p.shifts(value)
			for _, day := range which {
				if h.Weekdays[day] != nil {
					p.wrong(key, "%s has hours already", days[day])
				}
				h.Weekdays[day] = shifts
			}
		}
	})
	if !slices.ContainsFunc(h.Weekdays[:], func(shifts []dialog.Shift) bool { return len(shifts) > 0 }) {
		p.wrong(n,
			"hours has no days: write days, such as mon-fri: 09:00-18:00, or remove hours if operators always work")
	}
	return h
}

// daysOf returns the days that "mon" or "sat-sun" names; nil when it names none.
func daysOf(text string) (which []int) {
	from, to, several := strings.Cut(text, "-")
	first, last := slices.Index(days, from), slices.Index(days, cmp.Or(to, from))
	if first < 0 || last < 0 || several && to == "" {
		return nil
	}
	for day := first; ; day = (day + 1) % len(days) {
		which = append(which, day)
		if day == last {
			return which
		}
	}
}

// shifts reads "09:00-12:30, 13:30-18:00".
func (p page) shifts(n *yaml.Node) (shifts []dialog.Shift) {
	for part := range strings.SplitSeq(n.Value, ",") {
		from, to, _ := strings.Cut(strings.TrimSpace(part), "-")
		s := dialog.Shift{From: timeOfDay(from), To: timeOfDay(to)}
		switch {
		case s.From < 0 || s.To <= s.From:
			p.wrong(n, "%q are no hours: write them as 09:00-18:00, the end after the beginning, several with commas between",
				n.Value)
			return nil
		case len(shifts) > 0 && s.From < shifts[len(shifts)-1].To:
			p.wrong(n, "%q: each part begins after the one before it has ended", n.Value)
			return nil
		}
		shifts = append(shifts, s)
	}
	return shifts
}

// timeOfDay returns the time since midnight, up to 24:00; less than 0 when it is invalid.
func timeOfDay(text string) time.Duration {
	if text == "24:00" {
		return 24 * time.Hour
	}
	at, err := time.Parse("15:04", strings.TrimSpace(text))
	if err != nil {
		return -1
	}
	return time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
}

func (p page) holidays(n *yaml.Node) map[string]bool {
	dates := map[string]bool{}
	p.list(n, "holidays", maxHolidays, func(n *yaml.Node) {
		if _, err := time.Parse(time.DateOnly, n.Value); err != nil {
			p.wrong(n, "%q is no date: write it as 2026-12-25", n.Value)
		}
		dates[n.Value] = true
	})
	return dates
}

// targets reads the times for the first response and the resolution, by priority.
func (p page) targets(n *yaml.Node) {
	p.pairs(n, "targets", func(key, value *yaml.Node) {
		var t dialog.Target
		p.object(value, "a target", fields{
			"first_response": func(n *yaml.Node) {
				t.FirstResponse = p.duration(n, "first_response", time.Minute, maxTarget)
			},
			"resolution": func(n *yaml.Node) { t.Resolution = p.duration(n, "resolution", time.Minute, maxTarget) },
		})
		if t.Resolution < t.FirstResponse {
			p.wrong(value, "a case is not closed before it is answered: write a resolution of at least %v",
				t.FirstResponse)
		}
		p.k.Targets[p.priority(key)] = t
	})
}

// tiers reads the least priority of a case, by the customer's tier in the CRM.
func (p page) tiers(n *yaml.Node) {
	p.pairs(n, "tiers", func(key, value *yaml.Node) {
		p.k.Tiers[p.name(key, "a tier")] = p.priority(value)
	})
}

func (p page) priority(n *yaml.Node) dialog.Priority {
	priority := dialog.Priority(n.Value)
	if !priority.Valid() {
		p.wrong(n, "%q is no priority: write urgent, high, normal or low", n.Value)
	}
	return priority
}

// llm reads whether a language model answers, and its limits.
func (p page) llm(n *yaml.Node) (a dialog.LLM) {
	a = dialog.LLM{Rounds: 4, Tokens: 8000, Within: 30 * time.Second, MaxLength: 1200}
	p.object(n, "llm", fields{
		"use": func(n *yaml.Node) {
			switch use := dialog.LLMUse(n.Value); use {
			case "never":
			case dialog.LLMUnknown, dialog.LLMAlways:
				a.Use = use
			default:
				p.wrong(n, "use is never, unknown (messages that the bot does not understand) or always")
			}
		},
		"persona":    func(n *yaml.Node) { a.Persona = p.sentence(n, "persona", maxText, p.only()) },
		"rounds":     func(n *yaml.Node) { a.Rounds = p.count(n, "rounds", 1, maxRounds) },
		"tokens":     func(n *yaml.Node) { a.Tokens = p.count(n, "tokens", 1, maxTokens) },
		"within":     func(n *yaml.Node) { a.Within = p.duration(n, "within", time.Second, maxWithin) },
		"max_length": func(n *yaml.Node) { a.MaxLength = p.count(n, "max_length", 1, maxText) },
	})
	if a.Use != dialog.LLMNever && a.Persona == "" {
		p.wrong(n, "persona is missing: tell the model whom it speaks for, and how")
	}
	return a
}
