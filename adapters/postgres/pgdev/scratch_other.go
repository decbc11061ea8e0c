//go:build !linux

package pgdev

import "os"

// ScratchDir returns the folder for temporary servers.
func ScratchDir() string { return os.TempDir() }
