package dialog

// Resume goes on with a run in another chat, whose messages and buttons it does not
// know: the bot asks once more what it had asked. asked is how many confirmations were
// asked in that chat.
func (r Run) Resume(asked int) Turn {
	turn := Turn{Moves: []Move{{Workflow: r.Workflow, To: Initial}, {Workflow: r.Workflow, From: Initial, To: CollectingAddress}}}
	if r.Step != ConfirmingChanges {
		turn.Replies = append(turn.Replies, say(sayAskAddress))
		return turn
	}
	address := r.Data[fieldAddress]
	turn.Moves = append(turn.Moves, Move{Workflow: r.Workflow, From: CollectingAddress, To: ValidatingAddress, Set: map[string]string{fieldAddress: address}})
	Run{Workflow: r.Workflow, Step: ValidatingAddress, Asked: asked}.askWhether(address, nil, &turn)
	return turn
}
