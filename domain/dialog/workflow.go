package dialog

import (
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Step is where a workflow stands.
type Step string

// Steps of the billing-address change, and the ends of any workflow.
const (
	Initial           Step = "initial"
	CollectingAddress Step = "collecting_address"
	ValidatingAddress Step = "validating_address" // where there is a CRM, its answer is waited for
	ConfirmingChanges Step = "confirming_changes"
	SavingChanges     Step = "saving_changes" // only where there is a CRM, whose answer is waited for
	Completed         Step = "completed"
	Cancelled         Step = "cancelled"
	Expired           Step = "expired"
	HandedOver        Step = "handed_over"
)

// Ended tells whether a workflow that stands here is over.
func (s Step) Ended() bool {
	return s == Completed || s == Cancelled || s == Expired || s == HandedOver
}

// BillingAddressChange is the workflow's name.
const BillingAddressChange = "billing_address_change"

// WorkflowIdle is how long a workflow waits for its customer before it expires.
const WorkflowIdle = time.Hour

// Run is a workflow under way with one customer.
type Run struct {
	Workflow  string
	Step      Step
	Data      map[string]string // what was collected, by field
	Source    int64             // the message the collected data came from
	Asked     int               // confirmations asked in this chat: tells a button of today from an old one
	StartedAt time.Time
	LastAt    time.Time
}

// Move takes a workflow from one step to the next, with what was collected on the
// way and what no longer holds.
type Move struct {
	Workflow string
	From, To Step
	Set      map[string]string
	Cleared  []string
	Source   int64
}

// Active tells whether the workflow has not ended.
func (r Run) Active() bool { return r.Workflow != "" && !r.Step.Ended() }

// waits tells whether the workflow waits for the CRM, and not for its customer.
func (r Run) waits() bool { return r.Step == ValidatingAddress || r.Step == SavingChanges }

// Expired tells whether the customer was away too long.
func (r Run) Expired(at time.Time) bool {
	return r.Active() && !r.waits() && at.Sub(r.LastAt) >= WorkflowIdle
}

func (r Run) to(step Step) Move {
	return Move{Workflow: r.Workflow, From: r.Step, To: step, Source: r.Source}
}

// Field names of what the address change collects.
const (
	fieldAddress = "address"
	fieldProblem = "problem" // why the last address was not taken
)

// startAddressChange asks for the address, unless the customer wrote it at once.
func (c Context) startAddressChange(act Act, turn *Turn) {
	c.Run = Run{Workflow: BillingAddressChange, Step: CollectingAddress, Asked: c.Run.Asked}
	turn.Moves = append(turn.Moves,
		Move{Workflow: c.Run.Workflow, To: Initial},
		Move{Workflow: c.Run.Workflow, From: Initial, To: c.Run.Step})
	if isAddress(act.Text) {
		c.take(act, turn)
		return
	}
	turn.Replies = append(turn.Replies, say(sayAskAddress))
}

// hearStep takes a message within the workflow. Questions are answered in passing.
func (c Context) hearStep(u Understanding, act Act, turn *Turn) {
	r := c.Run
	switch {
	case u.Intent == Cancel && r.Step != SavingChanges:
		r.cancel(turn)
	case u.Intent == Start && r.Step != SavingChanges:
		turn.Moves = append(turn.Moves, r.to(Cancelled))
		turn.Replies = append(turn.Replies, answer(u, act.Text))
	case u.Intent == Cancel || u.Intent == Help:
		turn.Replies = append(turn.Replies, say(r.where()))
	case u.Intent == OrderStatus && u.Order != "":
		turn.Lookup = u.Order
	case r.waits() && (u.Intent == Unknown || u.Intent == ChangeAddress):
		r.claims(turn)
		turn.Replies = append(turn.Replies, say(r.where()))
	case r.Step == ConfirmingChanges && saysYes(act.Text):
		c.confirm(turn)
	case r.Step == ConfirmingChanges && saysNo(act.Text):
		r.again(turn)
	case u.Intent == ChangeAddress && !has(act.Text, unicode.IsDigit):
		turn.Replies = append(turn.Replies, say(sayAskAddress))
	case u.Intent == Unknown || u.Intent == ChangeAddress:
		c.take(act, turn)
	default:
		turn.Replies = append(turn.Replies, say(answer(u, act.Text).Text+"\n\n"+r.where()))
	}
}

// where tells the customer where the workflow stands, and the way on.
func (r Run) where() string {
	switch r.Step {
	case ValidatingAddress:
		return sayChecking
	case SavingChanges:
		return saySaving(r.Data[fieldAddress])
	default:
		return sayHelpAddress
	}
}

// claims marks the act as part of the workflow, whatever it looked like by itself.
func (r Run) claims(turn *Turn) {
	if turn.Intent != Pressed && turn.Intent != Corrected {
		turn.Intent, turn.Confidence = ChangeAddress, 1
	}
}

// take validates an address and asks for confirmation, or says what is missing. What
// our own rules let pass, the CRM looks at before anybody is asked. An address that is
// on its way to be kept cannot be called back.
func (c Context) take(act Act, turn *Turn) {
	r := c.Run
	r.claims(turn)
	text := withoutLeadIn(act.Text)
	address, problem := normalizeAddress(text), checkAddress(text)
	if r.Step == SavingChanges || r.Step == ValidatingAddress && r.Data[fieldAddress] == address {
		turn.Replies = append(turn.Replies, say(r.where()))
		return
	}
	turn.Moves = append(turn.Moves, Move{Workflow: r.Workflow, From: r.Step, To: ValidatingAddress,
		Set: map[string]string{fieldAddress: address}, Source: act.MessageID})
	r.Step, r.Source = ValidatingAddress, act.MessageID
	switch {
	case problem != "":
		r.askAgain(problem, turn)
	case c.CRM:
		turn.Check = address
	default:
		r.askWhether(address, nil, turn)
	}
}

// askAgain says what an address lacks, and waits for another.
func (r Run) askAgain(problem string, turn *Turn) {
	move := r.to(CollectingAddress)
	move.Set = map[string]string{fieldProblem: problem}
	turn.Moves = append(turn.Moves, move)
	turn.Replies = append(turn.Replies, say(sayBadAddress(problem)))
}

// askWhether asks for confirmation of an address.
func (r Run) askWhether(address string, set map[string]string, turn *Turn) {
	move := r.to(ConfirmingChanges)
	move.Set, move.Cleared = set, []string{fieldProblem}
	turn.Moves = append(turn.Moves, move)
	ask := strconv.Itoa(r.Asked + 1)
	turn.Replies = append(turn.Replies, say(sayConfirmAddress(address),
		Button{"Yes, change it", buttonConfirm + ask},
		Button{"Correct it", buttonAgain + ask},
		Button{"Cancel", buttonCancel + ask}))
}

// Callback data of the confirmation; the number of the asking follows.
const (
	buttonConfirm = "address:confirm:"
	buttonAgain   = "address:again:"
	buttonCancel  = "address:cancel:"
)

// pressStep handles a button of the workflow; false when it belongs to an earlier step.
func (c Context) pressStep(act Act, turn *Turn) bool {
	r := c.Run
	i := strings.LastIndexByte(act.Button, ':') + 1
	if r.Step != ConfirmingChanges || act.Button[i:] != strconv.Itoa(r.Asked) {
		return false
	}
	switch act.Button[:i] {
	case buttonConfirm:
		c.confirm(turn)
	case buttonAgain:
		r.again(turn)
	case buttonCancel:
		r.cancel(turn)
	default:
		return false
	}
	return true
}

// confirm has the CRM keep the address; without one the change is done.
func (c Context) confirm(turn *Turn) {
	r, address := c.Run, c.Run.Data[fieldAddress]
	r.claims(turn)
	if c.CRM {
		turn.Moves = append(turn.Moves, r.to(SavingChanges))
		turn.Save, turn.Toast = address, toastSaving
		return
	}
	turn.Moves = append(turn.Moves, r.to(Completed))
	turn.Toast = toastSaved
	turn.Replies = append(turn.Replies, say(sayAddressChanged(address)))
}

func (r Run) again(turn *Turn) {
	r.claims(turn)
	turn.Moves = append(turn.Moves, r.to(CollectingAddress))
	turn.Toast = toastAgain
	turn.Replies = append(turn.Replies, say(sayAskAgain))
}

func (r Run) cancel(turn *Turn) {
	turn.Moves = append(turn.Moves, r.to(Cancelled))
	turn.Toast = toastCancelled
	turn.Replies = append(turn.Replies, say(sayCancelled))
}

// Follow is the run after a move. The maps of the old run are left alone.
func (r Run) Follow(m Move, at time.Time) Run {
	if m.To == Initial {
		return Run{Workflow: m.Workflow, Step: Initial, Asked: r.Asked, StartedAt: at, LastAt: at}
	}
	r.Step, r.LastAt, r.Source = m.To, at, m.Source
	if m.To == ConfirmingChanges {
		r.Asked++
	}
	r.Data = m.Collect(r.Data)
	return r
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
