package server

// Part is the part of the work that a process does. A receiver needs the database only, and a
// worker sees what receivers have stored: there may be any number of both, at different places.
// By default a process does both parts.
type Part string

// Parts of the work.
const (
	Receive Part = "receive" // webhooks
	Work    Part = "work"    // consumer groups, deliveries, timers, tables
)

func (p Part) receives() bool { return p != Work }
func (p Part) works() bool    { return p != Receive }
