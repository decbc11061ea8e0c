package dialog

// AddressCheck is what a CRM finds of an address.
type AddressCheck struct {
	Valid   bool   `json:"valid"`
	Address string `json:"address,omitempty"` // in its normal form, when valid
	Problem string `json:"problem,omitempty"` // when not: half a sentence for the customer
}

// The turns below are the bot's when the CRM has answered, which no act of the
// customer's led to.

// Checked asks for confirmation of the address as the CRM writes it, or for another.
func (r Run) Checked(check AddressCheck) (turn Turn) {
	if check.Valid {
		r.askWhether(check.Address, map[string]string{fieldAddress: check.Address}, &turn)
	} else {
		r.askAgain(check.Problem, &turn)
	}
	return turn
}

// NotChecked hands over to a person because the address cannot be checked.
func (r Run) NotChecked() Turn { return r.failed(ReasonNotChecked, sayNotChecked) }

// Saved tells that the change is done: the CRM keeps this address now.
func (r Run) Saved(address string) Turn {
	move := r.to(Completed)
	move.Set = map[string]string{fieldAddress: address}
	return Turn{Moves: []Move{move}, Replies: []Reply{say(sayAddressChanged(address))}}
}

// NotSaved hands over to a person because the CRM did not say that it keeps the address.
// An earlier attempt may have arrived all the same.
func (r Run) NotSaved() Turn { return r.failed(ReasonNotSaved, sayNotSaved) }

func (r Run) failed(reason, words string) (turn Turn) {
	handOver(Context{Run: r}, &turn, HandOver{reason, Normal}, words)
	return turn
}

// Dropped ends a workflow whose customer does not listen any more.
func (r Run) Dropped() Turn { return Turn{Moves: []Move{r.to(Cancelled)}} }
