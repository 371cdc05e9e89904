package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// taskFile is a task as a file. It asks; it grants nothing: its mounts must lie
// below its own folder, and its limits below the policy's box.
type taskFile struct {
	image         string
	command       []string
	env           []string          // NAME=VALUE, sorted
	user, workDir string            //
	models        map[string]string // name: folder, relative to the file's
	servers       map[string]string // name: image
	mounts        []taskMount
	caps          []string
	limit         plan.Limits
	folder        string
	basename      string
}

type taskMount struct {
	source, target string
	class          plan.Class
	size           int64
}

// readTask reads a task file: unknown and duplicate keys are errors with their
// line.
func readTask(file string) (taskFile, error) {
	raw, err := readCapped(file, form.MaxSize)
	if err != nil {
		return taskFile{}, err
	}
	t := taskFile{folder: filepath.Dir(file), basename: filepath.Base(file),
		models: map[string]string{}, servers: map[string]string{}}
	doc := form.Parse(file, raw)
	root := doc.Root()
	root.Fields(map[string]func(form.Node){
		"image":   func(n form.Node) { t.image = n.Text() },
		"command": func(n form.Node) { n.List(func(_ int, v form.Node) { t.command = append(t.command, v.Text()) }) },
		"env": func(n form.Node) {
			n.Map(func(k, v form.Node) { t.env = append(t.env, k.Text()+"="+v.Text()) })
		},
		"user":    func(n form.Node) { t.user = n.Text() },
		"workdir": func(n form.Node) { t.workDir = n.Text() },
		"models":  func(n form.Node) { n.Map(func(k, v form.Node) { named(t.models, k, v) }) },
		"servers": func(n form.Node) { n.Map(func(k, v form.Node) { named(t.servers, k, v) }) },
		"mounts":  func(n form.Node) { n.List(func(_ int, v form.Node) { t.mounts = append(t.mounts, readMount(v)) }) },
		"caps":    func(n form.Node) { t.caps = n.Texts() },
		"limits": func(n form.Node) {
			n.Fields(map[string]func(form.Node){
				"memory": func(n form.Node) { t.limit.Memory = n.Bytes() },
				"cpus":   func(n form.Node) { t.limit.CPUs = n.Number(4096) },
				"pids":   func(n form.Node) { t.limit.Pids = n.Int(1, 1<<22) },
				"time":   func(n form.Node) { t.limit.Time = n.Duration() },
			})
		},
	})
	root.Need("image")
	slices.Sort(t.env)
	return t, doc.Err()
}

// named reads one entry whose key names a model or a server.
func named(m map[string]string, key, value form.Node) {
	name := key.Text()
	if !plainName(name) || strings.ContainsRune(name, '.') {
		key.Fail(reason.TaskInvalid, "a name of letters, digits, dash and underscore", name, "rename it")
	}
	m[name] = value.Text()
}

func readMount(n form.Node) taskMount {
	var m taskMount
	n.Fields(map[string]func(form.Node){
		"source": func(n form.Node) { m.source = n.Text() },
		"target": func(n form.Node) { m.target = n.Text() },
		"class": func(n form.Node) {
			m.class = plan.Class(n.OneOf(string(plan.Work), string(plan.Input), string(plan.Scratch)))
		},
		"size": func(n form.Node) { m.size = n.Bytes() },
	})
	n.Need("target", "class")
	return m
}

// model is where a model of the file lies, and what the policy knows it by.
func (f taskFile) model(dir string) (at, name string) {
	at = dir
	if !filepath.IsAbs(at) {
		at = filepath.Join(f.folder, at)
	}
	return slashed(at), strings.Trim(filepath.ToSlash(filepath.Clean(dir)), "/")
}

// plainName says whether s may name a task, model or server.
func plainName(s string) bool {
	for i, c := range s {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", c)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// slashed makes a relative folder look like a path, so that a scheme counts.
func slashed(dir string) string {
	if filepath.IsAbs(dir) || strings.HasPrefix(dir, "./") || strings.HasPrefix(dir, "../") {
		return dir
	}
	return "./" + dir
}
