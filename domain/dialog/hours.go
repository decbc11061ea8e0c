package dialog

import (
	"cmp"
	"time"
)

// Hours are when people work. The zero Hours are always.
type Hours struct {
	Zone     *time.Location  // nil is UTC
	Weekdays [7][]Shift      // by time.Weekday, each day's in order
	Holidays map[string]bool // dates such as 2026-12-25
}

// Shift is a part of a day in which people work, by the clock of the place.
type Shift struct{ From, To time.Duration } // since midnight

// farthest bounds the search for working hours, in days: no shop is closed for longer.
const farthest = 366

// Add is when so much time has been worked from at on. Hours without a shift are always,
// and so is what comes after a year.
func (h Hours) Add(at time.Time, worked time.Duration) time.Time {
	if worked <= 0 || h.always() {
		return at.Add(max(worked, 0))
	}
	day, left := at.In(h.zone()), worked
	for range farthest {
		for _, shift := range h.shifts(day) {
			from, to := onDay(day, shift.From), onDay(day, shift.To)
			if from.Before(at) {
				from = at
			}
			if length := to.Sub(from); length >= left {
				return from.Add(left).In(at.Location())
			} else if length > 0 {
				left -= length
			}
		}
		// not every day has a midnight
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 12, 0, 0, 0, day.Location())
	}
	return day.Add(left).In(at.Location())
}

// Open reports whether people work now.
func (h Hours) Open(at time.Time) bool {
	day := at.In(h.zone())
	for _, shift := range h.shifts(day) {
		if !at.Before(onDay(day, shift.From)) && at.Before(onDay(day, shift.To)) {
			return true
		}
	}
	return h.always()
}

func (h Hours) zone() *time.Location {
	if h.Zone == nil {
		return time.UTC
	}
	return h.Zone
}

func (h Hours) always() bool {
	for _, shifts := range h.Weekdays {
		if len(shifts) > 0 {
			return false
		}
	}
	return true
}

func (h Hours) shifts(day time.Time) []Shift {
	if h.Holidays[day.Format(time.DateOnly)] {
		return nil
	}
	return h.Weekdays[day.Weekday()]
}

// onDay is a time of the clock on a day. One that the clock passes over, because it is put
// forward, is the moment in which it is.
func onDay(day time.Time, clock time.Duration) time.Time {
	on := func(place *time.Location) time.Time {
		return time.Date(day.Year(), day.Month(), day.Day(), int(clock/time.Hour), int(clock/time.Minute)%60, 0, 0,
			place)
	}
	at, asked := on(day.Location()), on(time.UTC)
	_, offset := at.Zone()
	shown := at.Add(time.Duration(offset) * time.Second)
	before, after := at.ZoneBounds()
	switch {
	case shown.Before(asked):
		return after
	case shown.After(asked):
		return before
	default:
		return at
	}
}

// Due is when a person must have replied first to a ticket that is opened at a time, and
// when they must have closed it.
func (k *Knowledge) Due(p Priority, at time.Time) (response, resolution time.Time) {
	target, usual := k.Targets[p], targets[p]
	return k.Hours.Add(at, cmp.Or(target.FirstResponse, usual.FirstResponse)), k.Hours.Add(at,
		cmp.Or(target.Resolution, usual.Resolution))
}

// targets are those of a team that has set none.
var targets = map[Priority]Target{
	Urgent: {15 * time.Minute, 4 * time.Hour},
	High:   {time.Hour, 8 * time.Hour},
	Normal: {4 * time.Hour, 24 * time.Hour},
	Low:    {24 * time.Hour, 72 * time.Hour},
}
