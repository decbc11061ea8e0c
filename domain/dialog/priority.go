package dialog

import "time"

// Priority says how much a ticket hurries.
type Priority string

// Priorities, most urgent first.
const (
	Urgent Priority = "urgent"
	High   Priority = "high"
	Normal Priority = "normal"
	Low    Priority = "low"
)

// due is the time within which a person replies first.
var due = map[Priority]time.Duration{
	Urgent: 15 * time.Minute,
	High:   time.Hour,
	Normal: 4 * time.Hour,
	Low:    24 * time.Hour,
}

// rank orders priorities; unknown ones rank below all.
var rank = map[Priority]int{Urgent: 4, High: 3, Normal: 2, Low: 1}

// Due is the time within which a person replies first to a ticket of this priority.
func (p Priority) Due() time.Duration { return due[p] }

// Valid tells whether p is one of the priorities.
func (p Priority) Valid() bool { return rank[p] > 0 }

// Above tells whether p is more urgent than q.
func (p Priority) Above(q Priority) bool { return rank[p] > rank[q] }
