package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// capabilities holds what a task asks for against the box, which alone grants
// any: what root in an image expects of docker is nothing that a task needs.
func capabilities(asked []string, box admit.Box) ([]string, error) {
	for _, c := range asked {
		if !slices.Contains(box.Caps, c) {
			return nil, &reason.Error{Code: reason.CapNotGranted, What: "grant capability " + c,
				Expected: "it in the policy's box", Found: "[" + strings.Join(box.Caps, ", ") + "]", Next: "box: {caps: [" + c + "]}"}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(asked))), nil
}

// capSets are the sets of a task's first process. They are bounding, effective
// and permitted: root in the task has them, and another user does not.
func capSets(names []string) *specs.LinuxCapabilities {
	var all []string
	for _, n := range names {
		all = append(all, "CAP_"+n)
	}
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}

// switchers are programs that change owners or users, with the capabilities
// that they need.
var switchers = map[string][]string{
	"chown": {"CHOWN"}, "chgrp": {"CHOWN"},
	"gosu": {"SETGID", "SETUID"}, "su-exec": {"SETGID", "SETUID"}, "setpriv": {"SETGID", "SETUID"}, "su": {"SETGID", "SETUID"},
	"sudo": {"SETGID", "SETUID"}, "runuser": {"SETGID", "SETUID"}, "setuidgid": {"SETGID", "SETUID"},
	"s6-setuidgid": {"SETGID", "SETUID"}, "chpst": {"SETGID", "SETUID"},
}

// Wants explains a task that failed: the programs that change owners or users
// among its command and the words of script, which is the text of the program it
// ran ("" for one that is no script), and the capabilities that they need and the
// task lacks.
func (p Plan) Wants(script string) (programs, caps []string) {
	if i := slices.Index(p.args, "-c"); i > 0 && i+1 < len(p.args) { // of a shell
		script += " " + p.args[i+1]
	}
	words := strings.FieldsFunc(script, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	})
	words = append(words, path.Base(p.args[0]))
	for _, w := range words {
		for _, c := range switchers[w] {
			if !slices.Contains(p.caps, c) {
				programs, caps = append(programs, w), append(caps, c)
			}
		}
	}
	sortedSet := func(s []string) []string { slices.Sort(s); return slices.Compact(s) }
	return sortedSet(programs), sortedSet(caps)
}
