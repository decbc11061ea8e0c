package chat_test

import (
	"reflect"
	"time"
)

// zeroField is the path of a field that is not set, anywhere in a value; "" when
// all are.
func zeroField(value any) string { return zeroIn(reflect.ValueOf(value)) }

func zeroIn(v reflect.Value) string {
	if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[time.Time]() {
		if v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 {
			return v.Type().String()
		}
		if v.Kind() == reflect.Slice {
			return zeroIn(v.Index(0))
		}
		return ""
	}
	for i := range v.NumField() {
		if inner := zeroIn(v.Field(i)); inner != "" {
			return v.Type().Field(i).Name + " " + inner
		}
	}
	return ""
}

// deepCopy is a copy that shares no memory with the value.
func deepCopy[T any](value T) T {
	copied := reflect.New(reflect.TypeFor[T]()).Elem()
	copied.Set(copyOf(reflect.ValueOf(value)))
	return copied.Interface().(T)
}

func copyOf(v reflect.Value) reflect.Value {
	switch {
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		out := reflect.New(v.Type()).Elem()
		for i := range v.NumField() {
			out.Field(i).Set(copyOf(v.Field(i)))
		}
		return out
	case v.Kind() == reflect.Slice && !v.IsNil():
		// The space behind the slice is copied too: an append into it is a change.
		full := v.Slice3(0, v.Cap(), v.Cap())
		out := reflect.MakeSlice(v.Type(), v.Cap(), v.Cap())
		for i := range full.Len() {
			out.Index(i).Set(copyOf(full.Index(i)))
		}
		return out.Slice(0, v.Len())
	case v.Kind() == reflect.Map && !v.IsNil():
		out := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			out.SetMapIndex(key, copyOf(v.MapIndex(key)))
		}
		return out
	default:
		return v
	}
}

// spare lays open what lies behind a slice's end, so that comparing sees it.
func spare[T any](list []T) []T { return list[:cap(list)] }
