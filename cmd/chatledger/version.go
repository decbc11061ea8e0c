package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version string

type versionCmd struct{}

// Run prints which program this is.
func (versionCmd) Run(e *env) error {
	name := version
	if info, ok := debug.ReadBuildInfo(); ok && name == "" {
		name = info.Main.Version
	}
	if name == "" {
		name = "(devel)"
	}
	fmt.Fprintf(e.stdout, "chatledger %s %s %s/%s\n", name, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
