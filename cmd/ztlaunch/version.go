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
	asJSON := fs.Bool("json", false, "print JSON")
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("version", err)
	}
	if *asJSON {
		if err := outputError(writeJSON(w.out, struct {
			Version string `json:"version"`
			Runtime string `json:"runtime"`
			Pin     string `json:"runtimeSHA256,omitempty"`
		}{version, "runc " + runc.Version, runc.Pin()})); err != nil {
			return w.fail("version", err)
		}
		return 0
	}
	pin := runc.Pin()
	if pin == "" {
		pin = "none: this build verifies and does not run"
	}
	if _, err := fmt.Fprintf(w.out, "ztlaunch %s\nruntime  runc %s, sha256 %s\n", version, runc.Version, pin); err != nil {
		return w.fail("version", outputError(err))
	}
	return 0
}
