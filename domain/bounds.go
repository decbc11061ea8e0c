package domain

import "slices"

// KeepLast returns a new list of the last n items of list and item. It leaves list alone,
// because states share their lists.
func KeepLast[T any](list []T, item T, n int) []T {
	if len(list) >= n {
		list = list[len(list)-n+1:]
	}
	return append(slices.Clip(list), item)
}

// Shorten returns the first n characters of a text, with an ellipsis if there are more.
func Shorten(text string, n int) string {
	for i := range text {
		if n--; n < 0 {
			return text[:i] + "…"
		}
	}
	return text
}
