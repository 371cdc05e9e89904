package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
)

// prepare mounts everything that the plan names, and says where. Mounts are
// cloned here, in the host's namespace where their originals are, and placed on
// the thread, in memory that only its namespace has: nothing of it is visible to
// the host or left behind when the thread ends.
func prepare(p plan.Plan, parts Parts, t *thread, dir string) (plan.Paths, error) {
	userns := parts.Ground.userns
	b := builder{ids: parts.Ground.ids, at: plan.Paths{Userns: fdPath(userns)}}
	err := b.clone(p, parts, userns)
	if err == nil {
		err = t.do(func() error { return b.place(p, parts, dir) })
	}
	for _, m := range b.clones() {
		m.Close()
	}
	return b.at, err
}

// builder carries the steps of one preparation.
type builder struct {
	dir    string // where mounts are placed
	ids    *rootfs.IDs
	root   *os.File
	back   *os.File // the root once more, where nothing of the task is mounted over it
	models []*os.File
	binds  []*os.File
	at     plan.Paths
}

func (b *builder) clones() []*os.File {
	all := slices.Concat(b.models, b.binds)
	for _, m := range []*os.File{b.root, b.back} {
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

// clone makes a detached mount of everything that the host has already.
func (b *builder) clone(p plan.Plan, parts Parts, userns *os.File) (err error) {
	if b.root, err = parts.Root.Mount(userns); err != nil {
		return err
	}
	if slices.ContainsFunc(p.Scratches(), func(s plan.ScratchMount) bool { return len(s.Back) > 0 }) {
		if b.back, err = parts.Root.Mount(userns); err != nil {
			return err
		}
	}
	for _, model := range p.Models() {
		m, err := parts.Models[model.Name].Mount(userns)
		if err != nil {
			return err
		}
		b.models = append(b.models, m)
	}
	for _, bind := range p.Binds() {
		m, err := b.bind(bind, parts.Keeper)
		if err != nil {
			return err
		}
		b.binds = append(b.binds, m)
	}
	return nil
}

// bind clones a host folder from the descriptor that was judged, with the
// source's owner mapped to the task's user and nobody else mapped; where the task's
// user is the launcher's own, nothing is mapped.
func (b *builder) bind(bind plan.Bind, k *keeper.Keeper) (*os.File, error) {
	var owner *os.File
	if !b.ids.Caller() {
		var err error
		owner, err = k.Userns(
			rootfs.OwnerMap(bind.Source.UID, b.ids.Base, bind.UID), rootfs.OwnerMap(bind.Source.GID, b.ids.Base, bind.GID))
		if err != nil {
			return nil, refused("map the owner of "+bind.Source.Asked, err)
		}
		defer owner.Close()
	}
	fd, err := unix.FcntlInt(uintptr(bind.Source.Handle), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, refused("open "+bind.Source.Asked, err)
	}
	source := os.NewFile(uintptr(fd), bind.Source.Asked)
	defer source.Close()
	return rootfs.Bind(source, rootfs.Attr{ReadOnly: bind.ReadOnly, Exec: bind.Exec}, owner)
}

// place puts everything in place, on the thread.
func (b *builder) place(p plan.Plan, parts Parts, dir string) (err error) {
	if b.dir, err = openGround(dir); err != nil {
		return refused("find a folder to mount in", err)
	}
	if b.at.Root, err = b.put("root", b.root, true); err != nil {
		return refused("mount the root", err)
	}
	if b.back != nil {
		if b.at.Back, err = b.put("back", b.back, true); err != nil {
			return refused("mount the root", err)
		}
	}
	var points []rootfs.Point
	for _, miss := range p.Missing() {
		points = append(points, rootfs.Point{Path: strings.TrimPrefix(miss.Path, "/"), Dir: miss.Dir})
	}
	if _, err := rootfs.Points(parts.Tree, b.at.Root, points, b.ids); err != nil {
		return err
	}
	for i, m := range b.models {
		at, err := b.put("model"+strconv.Itoa(i), m, true)
		if err != nil {
			return refused("mount model "+p.Models()[i].Name, err)
		}
		b.at.Models = append(b.at.Models, at)
	}
	for i, m := range b.binds {
		at, err := b.put("bind"+strconv.Itoa(i), m, p.Binds()[i].Source.Dir)
		if err != nil {
			return refused("mount "+p.Binds()[i].Source.Asked, err)
		}
		b.at.Binds = append(b.at.Binds, at)
	}
	if err := b.scratches(p); err != nil {
		return err
	}
	return b.files(p, parts)
}

// grounds are folders that every user may pass through and that a launch does
// not need: the runtime's init reaches its root as an unprivileged user.
var grounds = []string{"/mnt", "/media", "/srv", "/opt", "/dev/shm"}

// openGround mounts memory over one of them, in the thread's namespace alone. It
// takes none that holds the task's own folder.
func openGround(dir string) (string, error) {
	for _, at := range grounds {
		st, err := os.Lstat(at)
		if err != nil || !st.IsDir() || st.Mode().Perm()&0o001 == 0 || strings.HasPrefix(dir+"/", at+"/") {
			continue
		}
		return at, mountMemory(at, 1<<20, 0o711, 0, 0)
	}
	return "", fmt.Errorf("none of %v can be used", grounds)
}

// put mounts a detached mount at a new folder or file.
func (b *builder) put(name string, mount *os.File, dir bool) (at string, err error) {
	at = filepath.Join(b.dir, name)
	if dir {
		err = os.Mkdir(at, 0o711)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return "", err
	}
	return at, rootfs.Place(mount, at)
}

// files writes the box's own small files into memory that only this task sees.
func (b *builder) files(p plan.Plan, parts Parts) error {
	at := filepath.Join(b.dir, "files")
	if err := os.Mkdir(at, 0o711); err != nil {
		return refused("make the task's files", err)
	}
	if err := mountMemory(at, 1<<20, 0o755, b.ids.UID(0), b.ids.GID(0)); err != nil {
		return refused("make the task's files", err)
	}
	for name, content := range map[string][]byte{
		"hosts":       p.Hosts(parts.names()),
		"hostname":    []byte(p.Hostname() + "\n"),
		"resolv.conf": {},
		"mcp.json":    parts.config(),
	} {
		file := filepath.Join(at, name)
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return refused("write the task's "+name, err)
		}
		if err := os.Chown(file, int(b.ids.UID(0)), int(b.ids.GID(0))); err != nil {
			return refused("write the task's "+name, err)
		}
	}
	b.at.Files = at
	return nil
}
