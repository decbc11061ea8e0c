//go:build unix

package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// board is a ledger with deliveries in every state:
//
//	a/1 dead, a/2 and a/3 wait behind it
//	b/1 unknown, for an operator to decide, b/2 waits behind it
//	c/1 unknown and left at that, c/2 refused, c/3 done, c/4 waits for nobody
func board(t *testing.T) (*process, map[string]uuid.UUID) {
	s := newStore(t)
	ids := map[string]uuid.UUID{}
	var all []commands.Delivery
	for _, place := range []string{"a/1", "b/1", "c/1", "a/2", "b/2", "c/2", "a/3", "c/3", "c/4"} {
		d := pending(place[:1], int(place[2]-'0'))
		ids[place] = d.ID
		all = append(all, d)
	}
	enqueue(t, s, all...)
	for range 3 {
		for _, c := range claimAll(t, s, leaseLong) {
			switch place := places([]commands.Claimed{c}); place {
			case "a/1":
				hold(t, s, c, domain.DeliveryDead, "Given up: 503")
			case "b/1":
				hold(t, s, c, domain.DeliveryUnknown, "no answer")
			default:
				settle(t, s, c,
					map[string]domain.DeliveryState{
						"c/1": domain.DeliveryUnknown, "c/2": domain.DeliveryRefused, "c/3": domain.DeliveryDone,
					}[place])
			}
		}
	}
	return s, ids
}

// Deliveries are selected by all that is said.
func TestDeliveries_SeveralFilters_AllApply(t *testing.T) {
	t.Parallel()
	s, ids := board(t)
	for name, c := range map[string]struct {
		which outbox.Selection
		want  string
	}{
		"all":                        {outbox.Selection{}, "a/1 b/1 c/1 a/2 b/2 c/2 a/3 c/3 c/4"},
		"dead letters":               {outbox.Selection{DeadLetters: true}, "a/1 b/1"},
		"and what waits behind them": {outbox.Selection{DeadLetters: true, Behind: true}, "a/1 b/1 a/2 b/2 a/3"},
		"of one chat": {
			outbox.Selection{DeadLetters: true, Behind: true, Stream: "a"}, "a/1 a/2 a/3",
		},
		"states": {
			outbox.Selection{States: []domain.DeliveryState{domain.DeliveryUnknown, domain.DeliveryRefused}},
			"b/1 c/1 c/2",
		},
		"a reason in other letters": {outbox.Selection{Reason: "given UP"}, "a/1"},
		"a reason with a wildcard":  {outbox.Selection{Reason: "%"}, ""},
		"ids": {
			outbox.Selection{IDs: []uuid.UUID{ids["a/3"], ids["c/2"], uuid.New()}}, "c/2 a/3",
		},
		"ids of another state": {
			outbox.Selection{IDs: []uuid.UUID{ids["a/3"]}, States: []domain.DeliveryState{domain.DeliveryDone}}, "",
		},
		"a destination": {
			outbox.Selection{Destination: destination, States: []domain.DeliveryState{domain.DeliveryDead}}, "a/1",
		},
		"a destination of nobody": {outbox.Selection{Destination: "telegram:other"}, ""},
		"everything said of one alone": {
			outbox.Selection{
				IDs: []uuid.UUID{ids["b/1"]}, Stream: "b", Destination: destination, States: []domain.DeliveryState{
					domain.DeliveryUnknown,
				}, Reason: "answer", DeadLetters: true,
			}, "b/1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for e, err := range s.Deliveries(t.Context(), c.which) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s/%d", e.OrderingKey, e.Version))
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("selected %q, want %q", got, c.want)
			}
		})
	}
}

func TestDeliveries_Waiting_NamesBlocker(t *testing.T) {
	t.Parallel()
	s, ids := board(t)
	behind := map[string]string{"a/2": "a/1", "a/3": "a/1", "b/2": "b/1"}
	for e, err := range s.Deliveries(t.Context(), outbox.Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		place := fmt.Sprintf("%s/%d", e.OrderingKey, e.Version)
		switch head, waits := behind[place]; {
		case !waits && e.Behind != nil:
			t.Errorf("%s waits behind %s", place, e.Behind)
		case waits && (e.Behind == nil || *e.Behind != ids[head]):
			t.Errorf("%s waits behind %v, want %s", place, e.Behind, ids[head])
		}
		if letter := place == "a/1" || place == "b/1"; e.DeadLetter() != letter {
			t.Errorf("%s is a dead letter: %t", place, e.DeadLetter())
		}
		if e.ID != ids[place] || !strings.Contains(string(e.Payload), place) || e.Destination != destination ||
			e.CreatedAt.IsZero() {
			t.Errorf("%s: %+v", place, e)
		}
	}
}

// All deliveries are read however many there are.
func TestDeliveries_ManyPages_AllRead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	list := make([]commands.Delivery, 1234)
	for i := range list {
		list[i] = pending("a", i+1)
	}
	enqueue(t, s, list...)
	n := 0
	for e, err := range s.Deliveries(t.Context(), outbox.Selection{}) {
		if n++; err != nil || e.Version != domain.Version(n) {
			t.Fatalf("place %d: version %d (%v)", n, e.Version, err)
		}
	}
	if n != len(list) {
		t.Errorf("%d were read of %d", n, len(list))
	}
}
