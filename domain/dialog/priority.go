package dialog

// Priority says how much a ticket hurries.
type Priority string

// Priorities, most urgent first.
const (
	Urgent Priority = "urgent"
	High   Priority = "high"
	Normal Priority = "normal"
	Low    Priority = "low"
)

// rank orders priorities; unknown ones rank below all.
var rank = map[Priority]int{Urgent: 4, High: 3, Normal: 2, Low: 1}

// Valid reports whether p is one of the priorities.
func (p Priority) Valid() bool { return rank[p] > 0 }

// Above reports whether p is more urgent than q.
func (p Priority) Above(q Priority) bool { return rank[p] > rank[q] }
