//go:build !linux

package pgdev

import "os"

// ScratchDir is the best folder for servers that are thrown away.
func ScratchDir() string { return os.TempDir() }
