package server

import (
	"os"
	"runtime/debug"
)

const (
	// gcPercent trades memory for speed: what lives is small beside what each update
	// allocates, and at Go's 100 the collector takes a tenth of a busy receiver.
	gcPercent = 400
	// memoryLimit ends that trade: from here the collector works harder, so that a receiver
	// stays below 300 MiB.
	memoryLimit = 256 << 20
)

// TuneMemory sets the garbage collector for a receiver, unless the environment does.
func TuneMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(memoryLimit)
	}
}
