package main

import "time"

// now is the time as events carry it: in the database's resolution.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
