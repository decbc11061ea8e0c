package server

// Part is what of the work a process does. Who receives needs nothing but the database, and
// what it has stored is known to who works: so there may be any number of either, at
// different places. A process that is not told otherwise does both.
type Part string

// Parts of the work.
const (
	Receive Part = "receive" // webhooks
	Work    Part = "work"    // consumer groups, deliveries, timers, tables
)

func (p Part) receives() bool { return p != Work }
func (p Part) works() bool    { return p != Receive }
