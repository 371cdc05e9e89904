package plan

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

const (
	scratchSize = 64 << 20 // bytes of one scratch mount, unless the task says otherwise
	copyUpLimit = 16 << 20 // bytes of image content that a scratch mount may take along
)

// mount admits the task's mounts and adds the box's own scratch memory.
func (p *Plan) mount(task Task, box admit.Box, t tree.Tree, volumes []string) error {
	for _, m := range task.Mounts {
		if err := admitTarget(m); err != nil {
			return err
		}
		if m.Exec && !slices.ContainsFunc(box.Exec.Mounts, func(name string) bool {
			return name == m.Target || name == path.Base(m.Target)
		}) {
			return &reason.Error{Code: reason.ExecNotGranted, What: "mount " + m.Target + " executable",
				Expected: "the mount named in the policy's box", Found: "no such entry",
				Next: "box: {exec: {mounts: [" + path.Base(m.Target) + "]}}"}
		}
		if m.Class == Scratch {
			p.scratches = append(p.scratches, ScratchMount{Target: m.Target,
				Size: cmp.Or(m.Size, scratchSize), Mode: cmp.Or(m.Mode, 0o1777), UID: p.user.UID, GID: p.user.GID})
			continue
		}
		if err := admitSource(m, task.Own); err != nil {
			return err
		}
		p.binds = append(p.binds, Bind{Source: m.Source, Target: m.Target, ReadOnly: m.Class == Input,
			Exec: m.Exec, UID: p.user.UID, GID: p.user.GID})
	}
	p.scratch(t, "/tmp", 0o1777, 0, 0)
	p.scratch(t, "/run", 0o755, 0, 0)
	p.scratch(t, p.user.Home, 0o700, p.user.UID, p.user.GID)
	for _, v := range volumes {
		p.scratch(t, v, 0, p.user.UID, p.user.GID)
	}
	for i, s := range p.scratches {
		if !fill(&p.scratches[i], t) {
			return &reason.Error{Code: reason.ScratchTooLarge, What: "make scratch memory at " + s.Target,
				Expected: "at most 16 MiB of image content below it", Found: "more",
				Next: "mount a folder there: -v ./data:" + s.Target}
		}
	}
	slices.SortFunc(p.scratches, func(a, b ScratchMount) int { return cmp.Compare(a.Target, b.Target) })
	return p.distinct()
}

// scratch adds the box's own scratch memory at a target, unless the task or the
// box already mounts that path or one above it. HOME and volumes whose content
// is too large to copy stay read-only, as the image has them.
func (p *Plan) scratch(t tree.Tree, target string, mode, uid, gid uint32) {
	target = path.Clean(target)
	taken := func(at string) bool { return target == at || (at != "/" && within(target, at)) }
	_, bound := p.bound(target)
	if bound || target == "/" || within(target, "/dev") || within(target, "/proc") || within(target, "/sys") ||
		slices.ContainsFunc(p.scratches, func(s ScratchMount) bool { return taken(s.Target) }) {
		return
	}
	s := ScratchMount{Target: target, Size: scratchSize, Mode: mode, UID: uid, GID: gid}
	rel := strings.TrimPrefix(target, "/")
	if e, ok := t.Lookup(rel); ok {
		if e.Type != tree.Dir {
			return
		}
		s.Mode, s.UID, s.GID = e.Mode, e.UID, e.GID
	}
	s.Mode = cmp.Or(s.Mode, 0o755)
	if try := s; fill(&try, t) {
		p.scratches = append(p.scratches, s)
	}
}

// fill lists the image content below a scratch mount: everything is copied in,
// and what the image marks executable, or is named like a shared library, is
// bound back from the verified tree, since the memory itself is noexec. False
// means that the content is larger than the copy-up limit.
func fill(s *ScratchMount, t tree.Tree) bool {
	s.Copy, s.Back = nil, nil
	var size int64
	for e := range t.Below(strings.TrimPrefix(s.Target, "/")) {
		switch e.Type {
		case tree.File:
			size += e.Size
			if size > copyUpLimit {
				return false
			}
			if e.Mode&0o111 != 0 || strings.Contains(path.Base(e.Path), ".so") {
				s.Back = append(s.Back, e.Path)
			}
		case tree.Dir, tree.Symlink:
		default:
			continue
		}
		s.Copy = append(s.Copy, e.Path)
	}
	return true
}

// distinct refuses two mounts at one target.
func (p *Plan) distinct() error {
	seen := map[string]bool{}
	add := func(at string) error {
		if seen[at] {
			return &reason.Error{Code: reason.MountTarget, What: "mount at " + at,
				Expected: "one mount for each target", Found: "two", Next: "drop one of them"}
		}
		seen[at] = true
		return nil
	}
	for _, s := range p.scratches {
		if err := add(s.Target); err != nil {
			return err
		}
	}
	for _, b := range p.binds {
		if err := add(b.Target); err != nil {
			return err
		}
	}
	for _, m := range p.models {
		if err := add(m.Target); err != nil {
			return err
		}
	}
	return nil
}
