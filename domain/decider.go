// Package domain is the pure heart of chatledger: events, the codec that stores
// them, and the shape of a decision. It knows no clock, no randomness and no I/O;
// times and ids arrive in commands.
package domain

// A Decider is an aggregate as three pure functions. Decide returns the events that a
// command leads to in a state, under the settings of the bot: none when the command was
// carried out before, or a named error when the domain refuses it. Evolve applies one event
// to the state. It never fails, because an event has already happened.
type Decider[State, Command, Settings any] struct {
	Initial func() State
	Decide  func(State, Command, Settings) ([]Event, error)
	Evolve  func(State, Event) State
}

// Fold applies events to a state, oldest first.
func (d Decider[State, Command, Settings]) Fold(state State, events ...Event) State {
	for _, event := range events {
		state = d.Evolve(state, event)
	}
	return state
}
