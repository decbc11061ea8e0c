// Package domain is the pure heart of chatledger: events, the codec that stores
// them, and the shape of a decision. It knows no clock, no randomness and no I/O;
// times and ids arrive in commands.
package domain

// A Decider is an aggregate as three pure functions. Decide says which events a
// command leads to in a state: none when what is asked is already so, a named
// error when it is refused. Evolve takes one event into the state and never
// fails, because what has happened cannot be refused any more.
type Decider[State, Command any] struct {
	Initial func() State
	Decide  func(State, Command) ([]Event, error)
	Evolve  func(State, Event) State
}

// Fold takes events into a state, oldest first.
func (d Decider[State, Command]) Fold(state State, events ...Event) State {
	for _, event := range events {
		state = d.Evolve(state, event)
	}
	return state
}
