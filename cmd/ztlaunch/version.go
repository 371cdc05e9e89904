package main

import (
	"context"
	"fmt"

	"github.com/ztlaunch/ztlaunch/launch/runc"
)

// version is set by the linker for a release.
var version = "development"

// versionVerb says which ztlaunch this is and which runtime it was built to
// accept.
func versionVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("version", true)
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("version", err)
	}
	pin := runc.Pin()
	if pin == "" {
		pin = "none: this build verifies and does not run"
	}
	return w.done("version", struct {
		header
		Version string `json:"version"`
		Runtime string `json:"runtime"`
		Pin     string `json:"runtimeSHA256,omitempty"`
	}{header{"ztlaunch.version/v1", 0}, version, "runc " + runc.Version, runc.Pin()},
		fmt.Sprintf("ztlaunch %s\nruntime  runc %s, sha256 %s\n", version, runc.Version, pin))
}
