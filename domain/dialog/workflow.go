package dialog

import (
	"maps"
	"slices"
	"time"
)

// Workflow is a matter that takes more than one answer.
type Workflow struct {
	Name   string
	Title  Text          // "your address change"
	Brief  bool          // interrupts another without asking, and goes back to it
	Idle   time.Duration // after which it expires
	Remind time.Duration // after which the customer is reminded; 0 never
	Steps  []StepDef     // the first is where it begins
}

// StepDef is a step: one of Ask, Call, Confirm and Say.
type StepDef struct {
	Name    Step
	Ask     *Ask
	Call    *Call
	Confirm *Confirm
	Say     *Goto // says something and goes on
}

// Goto is where a step leads: to another step, or to an end.
type Goto struct {
	Step     Step
	Say      Text              // on the way
	Set      map[string]string // collected on the way; values may hold variables, {result.x} is of a tool's answer
	Clear    []string          // what no longer holds
	Problem  Text              // the step is asked again because of this
	HandOver HandOver          // to a person, at the end handed_over
}

// Ask is a step that waits for a field.
type Ask struct {
	Field     string
	Prompt    Text
	Again     Text     // after a rejected answer; {problem} is the reason
	Help      Text     // where we are, when the customer is lost
	Check     Check    // of a typed answer; "" takes any text
	Choices   []Choice // buttons; with Only nothing else is taken
	Only      bool
	FromStart bool     // a choice may stand in what began the workflow, and then is not asked for
	HangsOn   []string // fields; when one of them changes, this is asked again
	Next      Goto
}

// Choice is one answer of several. It leads to its own step when it has one.
type Choice struct {
	Value string
	Label Text
	Words []string // that mean it, too, as whole words in small letters
	Next  Goto
}

// Call is a step that waits for a tool.
type Call struct {
	Tool    string
	Input   map[string]string // values may hold variables
	Wait    Text              // for a customer who writes before the tool has answered
	Cases   []Case            // the first that fits counts
	Failed  Goto              // it could not be done
	Without Goto              // this bot does not have the tool
}

// Case is what follows an answer with these values. One without is the last resort.
type Case struct {
	When map[string]string
	Next Goto
}

// Confirm is a step that shows what was collected, and waits for a yes.
type Confirm struct {
	Prompt  Text
	Yes     Text // on the buttons
	Change  Text
	Toast   Text // as the yes is taken
	Next    Goto // after the yes
	Correct Goto // after a no: to a step that asks again
}

// Step is where a workflow stands.
type Step string

// Ends of any workflow, and the step that every one begins with.
const (
	Initial    Step = "initial"
	Completed  Step = "completed"
	Cancelled  Step = "cancelled"
	Expired    Step = "expired"
	HandedOver Step = "handed_over"
)

// Ended reports whether a workflow that stands here is over.
func (s Step) Ended() bool {
	return s == Completed || s == Cancelled || s == Expired || s == HandedOver
}

// Limits of workflows.
const (
	// DefaultIdle is how long a workflow waits for its customer before it expires.
	DefaultIdle = time.Hour
	// maxPath bounds the way back, in steps; no team writes a longer workflow.
	maxPath = 64
)

// step finds a step by its name; nil when there is none, as when the knowledge has
// changed under a run.
func (w *Workflow) step(name Step) *StepDef {
	if w == nil {
		return nil
	}
	if i := slices.IndexFunc(w.Steps, func(s StepDef) bool { return s.Name == name }); i >= 0 {
		return &w.Steps[i]
	}
	return nil
}

// Uses is the tool that a step calls; "" when it calls none.
func (k *Knowledge) Uses(workflow string, step Step) string {
	if k == nil {
		return ""
	}
	if def := k.Workflows[workflow].step(step); def != nil && def.Call != nil {
		return def.Call.Tool
	}
	return ""
}

// Run is a workflow under way with one customer.
type Run struct {
	Workflow  string
	Step      Step
	Data      map[string]string // what was collected, by field
	Sources   map[string]int64  // the messages it came from, by field
	Path      []Step            // the way here, oldest first, without detours
	Asked     int               // moves in this chat: tells a button of today from an old one
	Failures  int               // answers that were not taken
	Calling   string            // the tool that is waited for; "" when it is the customer
	Writing   bool              // what is under way cannot be called back
	Reminded  bool              // since it last moved
	Offered   Offer             // what the customer was asked to do first; zero when they were not
	TakeUp    TakeUp            // that the customer was offered since it expired; zero when it was not
	Under     *Run              // waits until this one is over
	StartedAt time.Time
	LastAt    time.Time // when it last moved, or the customer last did anything
}

// Move takes a workflow from one step to the next, with what was collected on the
// way and what no longer holds; or sets it aside for another, or comes back to it.
type Move struct {
	Kind     MoveKind
	Workflow string
	From, To Step
	Set      map[string]string
	Cleared  []string
	Source   int64 // the message that Set came from; 0 when from none
	By       int64 // who brought it about; 0 when nobody did
}

// MoveKind tells moves apart.
type MoveKind int

// Kinds of moves.
const (
	Stepped MoveKind = iota
	Paused           // the workflow waits at its step until another is over
	Resumed          // it goes on where it waited
)

// Active reports whether the workflow has not ended.
func (r Run) Active() bool { return r.Workflow != "" && !r.Step.Ended() }

// IdleSince tells since when the workflow waits for its customer; false when it does not.
func (r Run) IdleSince() (time.Time, bool) { return r.LastAt, r.Active() && r.Calling == "" }

// Heard is the run after the customer did something, which need not have moved it: they
// are there, so that it goes on waiting for them.
func (r Run) Heard(at time.Time) Run {
	if r.Active() && at.After(r.LastAt) {
		r.LastAt, r.Reminded = at, false
	}
	return r
}

// Follow is the run after a move. The maps and lists of the old run are left alone.
func (r Run) Follow(m Move, at time.Time) Run {
	switch {
	case m.Kind == Paused:
		r.Offered = Offer{}
		return Run{Asked: r.Asked + 1, Under: &r}
	case m.Kind == Resumed && r.Under != nil:
		back := *r.Under
		back.Asked, back.LastAt, back.Reminded = r.Asked+1, at, false
		return back
	case m.To == Initial:
		return Run{Workflow: m.Workflow, Step: Initial, Asked: r.Asked + 1, StartedAt: at, LastAt: at, Under: r.Under}
	}
	if _, failed := m.Set[FieldRefused]; failed {
		r.Failures++
	}
	if m.To != r.Step {
		r.Path = wayTo(r.Path, r.Step, m.To)
	}
	r.Workflow, r.Step, r.LastAt, r.Asked = m.Workflow, m.To, at, r.Asked+1
	r.Calling, r.Writing, r.Reminded, r.Offered, r.TakeUp = "", false, false, Offer{}, TakeUp{}
	if m.To == HandedOver || m.To == Expired {
		r.Under = nil // all that was begun is over
	}
	r.Data = m.Collect(r.Data)
	if len(m.Set) > 0 && m.Source != 0 {
		r.Sources = maps.Clone(r.Sources)
		if r.Sources == nil {
			r.Sources = map[string]int64{}
		}
		for field := range m.Set {
			r.Sources[field] = m.Source
		}
	}
	return r
}

// wayTo is the way to a step by way of the last one. A step that was there before ends
// the detour.
func wayTo(path []Step, from, to Step) []Step {
	if i := slices.Index(path, to); i >= 0 {
		return path[:i:i]
	}
	if len(path) >= maxPath {
		path = path[1:]
	}
	return append(slices.Clip(path), from)
}

// Collect is what is known after the move of what was known before, which it leaves alone.
func (m Move) Collect(known map[string]string) map[string]string {
	if len(m.Set)+len(m.Cleared) == 0 {
		return known
	}
	after := map[string]string{}
	maps.Copy(after, known)
	maps.Copy(after, m.Set)
	for _, field := range m.Cleared {
		delete(after, field)
	}
	return after
}
