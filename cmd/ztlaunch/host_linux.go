package main

import (
	"os"

	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/outer"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/launch/runc"
)

// entered goes on in the namespaces of package outer, if that is what this process
// was started for.
func entered() (bool, error) {
	if os.Args[0] != outer.Name {
		return false, nil
	}
	return true, outer.Enter()
}

// caller is the user who typed the command, also in a namespace where everybody
// is root.
func caller() int { return outer.Caller() }

// hostPolicy is the host's policy file.
func hostPolicy(world) string { return "/etc/ztlaunch/policy.yaml" }

// runtimePin is the sha256 of the runtime that this build executes, and its name.
func runtimePin() (sum, name string) { return runc.Pin(), "runc " + runc.Version }

// unseal removes what root's launches keep in memory: what dead tasks left, kept
// seals and kept programs. Running tasks keep what they have mounted.
func (d dirs) unseal() error {
	if _, err := os.Stat(d.Run); err != nil || os.Geteuid() != 0 {
		return nil //nolint:nilerr // nothing was ever launched
	}
	if err := keeper.Sweep(d.Run); err != nil {
		return err
	}
	seals, err := rootfs.OpenSeals(d.seals(), 0)
	if err == nil {
		err = seals.Prune()
	}
	if err == nil {
		err = d.drop()
	}
	return err
}
