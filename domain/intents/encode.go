package intents

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// format opens the bytes of a model. Behind it stand the numbers of intents and of
// features, the intents with their lengths, then the numbers of the model in the order
// of MarshalBinary, little-endian, and last the SHA-256 of all that.
const format = "chatledger intents 1\n"

// ErrDamaged is that bytes are not a model of this format, or not whole.
var ErrDamaged = errors.New("not a classifier of this program, or damaged: train it again")

var order = binary.LittleEndian

// MarshalBinary gives a model as bytes. The same examples lead to the same bytes.
func (m *Model) MarshalBinary() ([]byte, error) {
	hashes := make([]uint64, len(m.words.rarity))
	for hash, feature := range m.words.index {
		hashes[feature] = hash
	}
	data := []byte(format)
	data = order.AppendUint32(data, uint32(len(m.intents)))
	data = order.AppendUint32(data, uint32(len(hashes)))
	for _, intent := range m.intents {
		data = order.AppendUint32(data, uint32(len(intent)))
		data = append(data, intent...)
	}
	for _, numbers := range []any{hashes, m.words.rarity, m.words.unknown, m.units, m.bias, m.confidence, m.weights} {
		var err error
		if data, err = binary.Append(data, order, numbers); err != nil {
			return nil, fmt.Errorf("encode a model: %w", err)
		}
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...), nil
}

// UnmarshalBinary makes a model of bytes that MarshalBinary gave. Its error is
// ErrDamaged, and the model is what it was.
func (m *Model) UnmarshalBinary(data []byte) error {
	body, sum := data[:max(0, len(data)-sha256.Size)], data[max(0, len(data)-sha256.Size):]
	if expected := sha256.Sum256(body); !bytes.HasPrefix(body, []byte(format)) || !bytes.Equal(sum, expected[:]) {
		return ErrDamaged
	}
	r := reader{rest: body[len(format):]}
	intents, features := int(r.uint32()), int(r.uint32())
	var decoded Model
	for i := 0; i < intents && !r.failed; i++ {
		decoded.intents = append(decoded.intents, string(r.take(int(r.uint32()))))
	}
	// Room is made only for what is there: a feature has a hash and a rarity, and a
	// weight for each intent.
	if r.failed || uint64(features)*(12+uint64(intents)) > uint64(len(r.rest)) {
		return ErrDamaged
	}
	hashes := make([]uint64, features)
	decoded.words = vocabulary{index: make(map[uint64]uint32, features), rarity: make([]float32, features)}
	decoded.units, decoded.bias = make([]float32, intents), make([]float32, intents)
	decoded.weights = make([]int8, features*intents)
	for _, numbers := range []any{
		hashes, decoded.words.rarity, &decoded.words.unknown, decoded.units, decoded.bias, &decoded.confidence,
		decoded.weights,
	} {
		r.numbers(numbers)
	}
	if r.failed || len(r.rest) > 0 {
		return ErrDamaged
	}
	for feature, hash := range hashes {
		decoded.words.index[hash] = uint32(feature)
	}
	*m = decoded
	return nil
}

// reader takes bytes from the front, until there are too few.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.failed, n = true, 0
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); len(b) == 4 {
		return order.Uint32(b)
	}
	return math.MaxUint32
}

// numbers fills a slice, or what a pointer points to, as long as it is.
func (r *reader) numbers(into any) {
	n, err := binary.Decode(r.rest, order, into)
	r.failed = r.failed || err != nil
	r.take(n)
}
