package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version string

type versionCmd struct{}

// Run prints the version of the program.
func (versionCmd) Run(e *env) error {
	fmt.Fprintf(e.stdout, "chatledger %s %s %s/%s\n", programVersion(), runtime.Version(), runtime.GOOS,
		runtime.GOARCH)
	return nil
}

// programVersion returns the version of the release, or what the build information says.
func programVersion() string {
	info, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return cmp.Or(version, "(devel)")
	}
	return cmp.Or(info.Main.Version, "(devel)")
}
