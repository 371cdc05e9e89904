package plan

import (
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// defaultPath is the PATH of an image that sets none, as docker has it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// arguments merges the image's entry point and command with the task's, in
// docker's way: an entry point given by the task drops the image's command.
func arguments(t Task, c ocispec.ImageConfig) ([]string, error) {
	entry, command := c.Entrypoint, c.Cmd
	if t.Entrypoint != nil {
		entry, command = nil, nil
		if *t.Entrypoint != "" {
			entry = []string{*t.Entrypoint}
		}
	}
	if len(t.Command) > 0 {
		command = t.Command
	}
	args := slices.Concat(entry, command)
	if len(args) == 0 {
		return nil, &reason.Error{Code: reason.CommandAbsent, What: "choose the command",
			Expected: "an entry point or a command", Found: "neither in the image nor after its name",
			Next: "ztlaunch run REF COMMAND"}
	}
	return args, nil
}

// environment is docker's order: the defaults, each replaced in place where the
// task or the image sets it; then the task's own; then the image's that the
// task did not set; and HOME last where nobody set it.
func environment(t Task, c ocispec.ImageConfig, hostname, home string) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + hostname}
	if t.Terminal {
		env = append(env, "TERM=xterm")
	}
	set := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		for i, have := range env {
			if strings.HasPrefix(have, name+"=") {
				env[i] = kv
				return
			}
		}
		env = append(env, kv)
	}
	own := map[string]bool{}
	for _, kv := range t.Env {
		name, _, _ := strings.Cut(kv, "=")
		own[name] = true
		set(kv)
	}
	for _, kv := range c.Env {
		if name, _, ok := strings.Cut(kv, "="); ok && !own[name] && name != "" { // docker drops a bare name too
			set(kv)
		}
	}
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		env = append(env, "HOME="+home)
	}
	return env
}

// lookup is one value of an environment.
func lookup(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// findProgram looks the command up in the Tree as execvp would, and returns
// 126 (found, cannot be executed) or 127 (not found) as reasons of their own,
// so that neither depends on any runtime's wording. From most mounts nothing is
// executed; what lies in one that the policy lets programs run from cannot be judged
// from the Tree and is left to the kernel. It gives the file's path in the Tree.
func findProgram(t tree.Tree, arg0, searchPath, cwd string, u user, mounted func(string) (Bind, bool)) (string, error) {
	if strings.Contains(arg0, "/") {
		p := arg0
		if !path.IsAbs(p) {
			p = path.Join(cwd, p)
		}
		if b, ok := mounted(path.Clean(p)); ok {
			return "", executed(arg0, b)
		}
		at, err := runnable(t, arg0, p, u)
		if b, ok := mounted("/" + at); ok && err == nil { // by way of a link
			return "", executed(arg0, b)
		}
		return at, err
	}
	var denied error
	for dir := range strings.SplitSeq(searchPath, ":") {
		if dir == "" {
			dir = cwd
		}
		p := path.Join(dir, arg0)
		if b, ok := mounted(p); ok {
			if b.Exec {
				return "", nil
			}
			continue
		}
		at, err := runnable(t, arg0, p, u)
		if b, ok := mounted("/" + at); ok && err == nil { // by way of a link: what the image has there is hidden
			if b.Exec {
				return "", nil
			}
			continue
		}
		if err == nil {
			return at, nil
		}
		if e, ok := reason.Of(err); ok && e.Code == reason.CommandNotExecutable && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &reason.Error{Code: reason.CommandNotFound, What: "find " + arg0,
		Expected: "a program in " + searchPath, Found: "no such file in the verified root",
		Next: "name a program that the image has"}
}

// executed refuses a program that lies in a mount, unless programs run from there.
func executed(arg0 string, b Bind) error {
	if b.Exec {
		return nil
	}
	return &reason.Error{Code: reason.CommandNotExecutable, What: "execute " + arg0, Expected: "a program of the image",
		Found: "a path in the mount at " + b.Target + ", from which nothing is executed",
		Next:  "-v SOURCE:" + b.Target + ":exec, with `box: {exec: {mounts: [work]}}` in the policy; an interpreter of the image may read it as it is"}
}

// runnable gives the verified file that p leads to, if u may execute it.
func runnable(t tree.Tree, arg0, p string, u user) (string, error) {
	e, err := t.Resolve(strings.TrimPrefix(path.Clean(p), "/"))
	if err != nil {
		return "", &reason.Error{Code: reason.CommandNotFound, What: "find " + arg0,
			Expected: "a program at " + p, Found: "no such file in the verified root",
			Next: "name a program that the image has"}
	}
	refuse := func(found string) (string, error) {
		return "", &reason.Error{Code: reason.CommandNotExecutable, What: "execute " + arg0,
			Expected: "an executable file at " + p, Found: found,
			Next: "name a program that the image has"}
	}
	if e.Type != tree.File {
		return refuse("not a regular file")
	}
	bits := e.Mode & 0o7
	switch { // root is judged like anybody: it has no capability to override modes
	case e.UID == u.UID:
		bits = e.Mode >> 6 & 0o7
	case e.GID == u.GID || slices.Contains(u.Groups, e.GID):
		bits = e.Mode >> 3 & 0o7
	}
	if bits&1 == 0 {
		return refuse("no execute permission for this user")
	}
	return e.Path, nil
}
