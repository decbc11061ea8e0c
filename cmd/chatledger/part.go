package main

// part is what of the work a process does. Who receives needs nothing but the database, and
// what it has stored is known to who works: so there may be any number of either, at
// different places. A process that is not told otherwise does both.
type part string

// Parts of the work.
const (
	receiving part = "receive" // webhooks
	working   part = "work"    // consumer groups, deliveries, timers, tables
)

func (p part) receives() bool { return p != working }
func (p part) works() bool    { return p != receiving }
