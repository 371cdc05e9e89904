//go:build !linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// onlyForm is the form of roots of a test build; this one has none.
var onlyForm string

func entered() (bool, error) { return false, nil }

// caller is the user who typed the command; -1 where users have no numbers.
func caller() int { return os.Geteuid() }

// hostPolicy is the host's policy file: in a folder that only its administrators
// write.
func hostPolicy(w world) string {
	if runtime.GOOS != "windows" {
		return "/etc/ztlaunch/policy.yaml"
	}
	data, ok := w.env("ProgramData")
	if !ok || !filepath.IsAbs(data) {
		data = `C:\ProgramData`
	}
	return filepath.Join(data, "ztlaunch", "policy.yaml")
}

func runtimePin() (sum, name string) { return "", "none on " + runtime.GOOS }

func (d dirs) unseal() error { return nil }

// unsupported is why nothing is launched here.
func unsupported() error {
	return &reason.Error{Code: reason.HostUnsupported, What: "launch on " + runtime.GOOS, Expected: "Linux: tasks are boxed by its kernel",
		Found: runtime.GOOS + "/" + runtime.GOARCH, Next: "ztlaunch verify decides here as it does there"}
}

// runVerb refuses: the box is made by a Linux kernel.
func runVerb(_ context.Context, w world, args []string) int {
	refusal(w.err, "run", unsupported())
	return 125
}

// doctorVerb says that this system verifies and does not launch.
func doctorVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("doctor", true)
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("doctor", err)
	}
	return w.fail("doctor", unsupported())
}
