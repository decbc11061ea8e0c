package domain

import "strings"

// Actor names the person or the part of the program that caused an event.
type Actor string

// Actors. An operator's is made by OperatorActor.
const (
	ActorCustomer Actor = "customer"
	ActorTelegram Actor = "telegram" // an update that no customer sent, such as a changed chat id
	ActorBot      Actor = "bot"
	ActorDelivery Actor = "delivery" // the outcome of a delivery
	ActorTimer    Actor = "timer"    // a deadline passed
	ActorOperator Actor = "operator" // the command line, where no operator is named
	ActorGuard    Actor = "guard"    // the webhook's guard against attacks
	ActorSystem   Actor = "system"   // the server itself, for example when it starts

	// ActorImport caused what fell due while an archive was not running: it ended, and no
	// customer or operator was told.
	ActorImport Actor = "import"
)

const operatorPrefix = "operator:"

// OperatorActor is the actor of an operator.
func OperatorActor(name string) Actor { return Actor(operatorPrefix + name) }

// Operator returns the name of the operator; false when a is no named operator.
func (a Actor) Operator() (name string, ok bool) {
	return strings.CutPrefix(string(a), operatorPrefix)
}
