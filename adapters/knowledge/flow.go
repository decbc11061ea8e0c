package knowledge

import (
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain/dialog"
)

// judge reports mistakes between the steps of a workflow: every step must be reachable, must
// lead to an end, and every loop must wait for the customer or for a tool.
func (d *draft) judge() {
	for _, u := range d.uses {
		if !d.fields[u.name] {
			d.mistake(d.file, u.line, "nothing in this workflow collects {%s}; it collects %s", u.name,
				braced(d.fieldList()))
		}
	}
	for _, l := range d.leads {
		d.judgeLead(l)
	}
	reached := d.spread([]dialog.Step{d.Steps[0].Name}, func(l lead) (from, to dialog.Step) { return l.from, l.to })
	ending := d.spread([]dialog.Step{dialog.Completed, dialog.Cancelled, dialog.HandedOver},
		func(l lead) (from, to dialog.Step) { return l.to, l.from })
	for _, s := range d.Steps {
		switch {
		case !slices.Contains(reached, s.Name):
			d.wrong(d.lines[s.Name], "nothing leads to the step %s: lead to it from another, or remove it", s.Name)
		case !slices.Contains(ending, s.Name):
			d.wrong(d.lines[s.Name], "from the step %s no way leads to an end: lead one to completed, or to a person",
				s.Name)
		}
	}
	d.judgeLoops()
}

// judgeLead reports a transition to a step that it may not lead to.
func (d *draft) judgeLead(l lead) {
	if l.to == "" || l.to.Ended() || l.to == dialog.Initial {
		if l.asking && l.to.Ended() {
			d.wrong(l.at, "a problem or a correction leads to a step that asks, and not to %s", l.to)
		}
		return
	}
	i := slices.IndexFunc(d.Steps, func(s dialog.StepDef) bool { return s.Name == l.to })
	switch {
	case i < 0 && d.lines[l.to] != nil: // the step exists but has a mistake of its own
	case i < 0:
		d.wrong(l.at, "there is no step %s; write it, or lead to one of those there are", l.to)
	case l.asking && d.Steps[i].Ask == nil:
		d.wrong(l.at, "a problem or a correction leads to a step that asks, and %s does not", l.to)
	case !l.confirmed && d.Steps[i].Call != nil && dialog.Toolbox[d.Steps[i].Call.Tool].Writes:
		d.wrong(l.at, "the step %s changes something at another system: lead to it only by the yes of a step that confirms",
			l.to)
	}
}

// spread returns all steps that can be reached from these.
func (d *draft) spread(steps []dialog.Step, way func(lead) (from, to dialog.Step)) []dialog.Step {
	for i := 0; i < len(steps); i++ {
		for _, l := range d.leads {
			if from, to := way(l); from == steps[i] && !slices.Contains(steps, to) {
				steps = append(steps, to)
			}
		}
	}
	return steps
}

// judgeLoops reports loops without a wait: the bot would repeat itself forever.
func (d *draft) judgeLoops() {
	waits := map[dialog.Step]bool{}
	for _, s := range d.Steps {
		waits[s.Name] = s.Ask != nil || s.Confirm != nil
	}
	onward := func(l lead) (from, to dialog.Step) {
		if waits[l.from] || waits[l.to] {
			return "", ""
		}
		return l.from, l.to
	}
	for _, s := range d.Steps {
		if waits[s.Name] {
			continue
		}
		var after []dialog.Step
		for _, l := range d.leads {
			if from, to := onward(l); from == s.Name {
				after = append(after, to)
			}
		}
		if slices.Contains(d.spread(after, onward), s.Name) {
			d.wrong(d.lines[s.Name],
				"the step %s leads back to itself without waiting for the customer: put a step that asks or confirms between",
				s.Name)
		}
	}
}

func (d *draft) fieldList() (list []string) {
	for field := range d.fields {
		if !strings.Contains(field, ".") {
			list = append(list, field)
		}
	}
	return list
}
