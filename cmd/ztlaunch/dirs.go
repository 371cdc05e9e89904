package main

import (
	"path/filepath"
)

// dirs are where ztlaunch keeps what outlives a command. State is on disk; Run
// is memory that a reboot empties.
type dirs struct{ State, Run, Config string }

// dirs are the host's for root, the user's otherwise (XDG base directory
// specification 0.8), or below --root.
func (w world) dirs() dirs {
	if w.root != "" {
		at := w.root
		if abs, err := filepath.Abs(at); err == nil {
			at = abs
		}
		return dirs{filepath.Join(at, "state"), filepath.Join(at, "run"), filepath.Join(at, "config")}
	}
	config := w.xdg("XDG_CONFIG_HOME", ".config")
	if caller() == 0 {
		return dirs{"/var/lib/ztlaunch", "/run/ztlaunch", config}
	}
	d := dirs{State: w.xdg("XDG_STATE_HOME", ".local/state"), Config: config}
	d.Run = filepath.Join(d.State, "run")
	if run, ok := w.env("XDG_RUNTIME_DIR"); ok && filepath.IsAbs(run) {
		d.Run = filepath.Join(run, "ztlaunch")
	}
	return d
}

// xdg is ztlaunch's folder below one of the user's base folders.
func (w world) xdg(name, fallback string) string {
	if dir, ok := w.env(name); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "ztlaunch")
	}
	home, _ := w.env("HOME")
	if !filepath.IsAbs(home) {
		home, _ = w.env("USERPROFILE") // Windows's
	}
	if !filepath.IsAbs(home) {
		home = "/root"
	}
	return filepath.Join(home, fallback, "ztlaunch")
}

func (d dirs) store() string    { return filepath.Join(d.State, "store") }
func (d dirs) audit() string    { return filepath.Join(d.State, "audit") }
func (d dirs) trust() string    { return filepath.Join(d.State, "trust") }
func (d dirs) spool() string    { return filepath.Join(d.State, "spool") }
func (d dirs) seals() string    { return filepath.Join(d.Run, "seals") }
func (d dirs) ids() string      { return filepath.Join(d.Run, "ids") }
func (d dirs) locks() string    { return filepath.Join(d.State, "trust", "locks") }
func (d dirs) feeds() string    { return filepath.Join(d.State, "trust", "feeds") }
func (d dirs) policy() string   { return filepath.Join(d.Config, "policy.yaml") }
func (d dirs) adoptKey() string { return filepath.Join(d.Config, "adopt.key") }
func (d dirs) kept() string     { return filepath.Join(d.Run, "programs") }

// own are ztlaunch's folders, where they really are: what a task must never see.
func (d dirs) own() []string {
	var all []string
	for _, dir := range []string{d.State, d.Run, d.Config} {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		all = append(all, dir)
	}
	return all
}
