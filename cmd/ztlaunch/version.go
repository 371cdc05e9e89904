package main

import (
	"context"
	"fmt"
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
	if fs.NArg() > 0 {
		return w.fail("version", wrong("read the command", "no word behind it, found "+fs.Arg(0), "ztlaunch version"))
	}
	sum, runtime := runtimePin()
	pin := sum
	if pin == "" {
		pin = "none: this build verifies and does not run"
	}
	test := ""
	if onlyForm != "" {
		test = "test     build: roots are " + onlyForm + " and nothing else\n"
	}
	return w.done("version", struct {
		header
		Version string `json:"version"`
		Runtime string `json:"runtime"`
		Pin     string `json:"runtimeSHA256,omitempty"`
		Only    string `json:"onlyForm,omitempty"` // a test build's
	}{header{"ztlaunch.version/v1", 0}, version, runtime, sum, onlyForm},
		fmt.Sprintf("ztlaunch %s\nruntime  %s, sha256 %s\n%s", version, runtime, pin, test))
}
