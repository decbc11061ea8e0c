// Package clock reads the system clock in the resolution in which the database stores time.
package clock

import "time"

// Now is the time as events carry it: in the database's resolution.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
