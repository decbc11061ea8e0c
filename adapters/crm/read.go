package crm

import (
	"bytes"
	"encoding/json"
	"errors"
)

// read decodes an answer. A number where text is expected, as in {"number": 1001}, is accepted
// as it is written.
func read(said []byte, into any) error {
	err := json.Unmarshal(said, into)
	var mistyped *json.UnmarshalTypeError
	if !errors.As(err, &mistyped) {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(said))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return err
	}
	text, _ := json.Marshal(worded(value)) // a decoded value can be encoded
	if json.Unmarshal(text, into) != nil {
		return err // the error about the original answer
	}
	return nil
}

// worded returns a JSON value with its numbers as text.
func worded(value any) any {
	switch v := value.(type) {
	case json.Number:
		return v.String()
	case []any:
		for i := range v {
			v[i] = worded(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = worded(v[name])
		}
	}
	return value
}
