package chat_test

import (
	"os"
	"reflect"
	"testing"

	"github.com/chatledger/chatledger/domain/chat"
)

// FuzzDecode: a stored payload is refused or read; what is read is folded, and comes back
// the same when it is stored again.
func FuzzDecode(f *testing.F) {
	codec := chat.NewCodec()
	for name, current := range codec.Names() {
		for version := 1; version <= current; version++ {
			stored, err := os.ReadFile(golden(name, version))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(name, version, stored)
			f.Add(name, version, []byte(`{}`))
			f.Add(name, version, []byte(`null`))
		}
	}
	f.Fuzz(func(t *testing.T, name string, version int, payload []byte) {
		event, err := codec.Decode(name, version, payload)
		if err != nil {
			return
		}
		chat.Evolve(chat.Evolve(chat.State{}, event), event)
		as, current, stored, err := codec.Encode(event)
		if err != nil {
			t.Fatalf("%s@%d %q is read as %+v and cannot be stored: %v", name, version, payload, event, err)
		}
		again, err := codec.Decode(as, current, stored)
		if err != nil {
			t.Fatalf("%s@%d is stored as %s and cannot be read: %v", as, current, stored, err)
		}
		if _, _, twice, err := codec.Encode(again); err != nil || !reflect.DeepEqual(twice, stored) {
			t.Errorf("%s, stored again, is %s (%v)", stored, twice, err)
		}
	})
}
