package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

func TestUser(t *testing.T) {
	accounts := Accounts{
		Passwd: []byte("root:x:0:0:root:/root:/bin/sh\nshort:x\nagent:x:1000:1000::/home/agent:/bin/sh\nbig:x:70000:1::/:/\nrelative:x:7:7::home:/\n"),
		Group:  []byte("root:x:0:\nagent:x:1000:\nvideo:x:44:agent,other\nstaff:x:50:agent\n"),
	}
	for _, c := range []struct {
		spec string
		want user
		code reason.Code
	}{
		{"", user{0, 0, nil, "/root"}, ""},
		{"0", user{0, 0, nil, "/root"}, ""},
		{"agent", user{1000, 1000, []uint32{44, 50}, "/home/agent"}, ""},
		{"1000", user{1000, 1000, []uint32{44, 50}, "/home/agent"}, ""},
		{"agent:video", user{1000, 44, nil, "/home/agent"}, ""},
		{"agent:7", user{1000, 7, nil, "/home/agent"}, ""},
		{"4242", user{4242, 0, nil, "/"}, ""},
		{"4242:4243", user{4242, 4243, nil, "/"}, ""},
		{"relative", user{7, 7, nil, "/"}, ""},
		{"nobody-here", user{}, reason.UserUnknown},
		{"agent:nogroup", user{}, reason.UserUnknown},
		{"70000", user{}, reason.UserUnknown},
		{"big", user{}, reason.UserUnknown},
		{"-1", user{}, reason.UserUnknown},
		{"0:99999999999", user{}, reason.UserUnknown},
	} {
		got, err := accounts.find(c.spec)
		if code := codeOf(err); code != c.code {
			t.Errorf("%q: %v, want code %q", c.spec, err, c.code)
			continue
		}
		if got.UID != c.want.UID || got.GID != c.want.GID || got.Home != c.want.Home || !slices.Equal(got.Groups, c.want.Groups) {
			t.Errorf("%q: %+v, want %+v", c.spec, got, c.want)
		}
	}
}

func TestArguments(t *testing.T) {
	empty, sh := "", "/bin/sh"
	image := ocispec.ImageConfig{Entrypoint: []string{"/agent", "-v"}, Cmd: []string{"serve"}}
	for _, c := range []struct {
		task Task
		want string
		code reason.Code
	}{
		{Task{}, "/agent -v serve", ""},
		{Task{Command: []string{"help"}}, "/agent -v help", ""},
		{Task{Entrypoint: &sh}, "/bin/sh", ""},
		{Task{Entrypoint: &sh, Command: []string{"-c", "x"}}, "/bin/sh -c x", ""},
		{Task{Entrypoint: &empty, Command: []string{"ls"}}, "ls", ""},
		{Task{Entrypoint: &empty}, "", reason.CommandAbsent},
	} {
		got, err := arguments(c.task, image)
		if code := codeOf(err); code != c.code || strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %q %v, want %q %q", c.task, got, err, c.want, c.code)
		}
	}
}

func TestEnvironment(t *testing.T) {
	image := ocispec.ImageConfig{Env: []string{"PATH=/bin", "LANG=C", "A=image", "=broken"}}
	for _, c := range []struct {
		name string
		task Task
		want string
	}{
		{"image", Task{}, "PATH=/bin HOSTNAME=h LANG=C A=image HOME=/root"},
		{"task wins and comes first", Task{Env: []string{"A=task", "B=2"}}, "PATH=/bin HOSTNAME=h A=task B=2 LANG=C HOME=/root"},
		{"last of the task wins", Task{Env: []string{"A=1", "A=2"}}, "PATH=/bin HOSTNAME=h A=2 LANG=C HOME=/root"},
		{"terminal", Task{Terminal: true}, "PATH=/bin HOSTNAME=h TERM=xterm LANG=C A=image HOME=/root"},
		{"home set", Task{Env: []string{"HOME=/x", "PATH=/y"}}, "PATH=/y HOSTNAME=h HOME=/x LANG=C A=image"},
		{"empty value stays", Task{Env: []string{"LANG="}}, "PATH=/bin HOSTNAME=h LANG= A=image HOME=/root"},
	} {
		if got := strings.Join(environment(c.task, image, "h", "/root"), " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestProgram(t *testing.T) {
	root := files(t,
		tree.Entry{Path: "bin", Type: tree.Symlink, Link: "usr/bin"},
		tree.Entry{Path: "usr/bin/sh", Type: tree.File, Mode: 0o755},
		tree.Entry{Path: "usr/bin/data", Type: tree.File, Mode: 0o644},
		tree.Entry{Path: "usr/bin/private", Type: tree.File, Mode: 0o700, UID: 5},
		tree.Entry{Path: "usr/bin/loop", Type: tree.Symlink, Link: "loop"},
		tree.Entry{Path: "usr/bin/link", Type: tree.Symlink, Link: "../../usr/bin/sh"},
		tree.Entry{Path: "usr/bin/outside", Type: tree.Symlink, Link: "../../../../../etc/passwd"},
		tree.Entry{Path: "opt/tool", Type: tree.File, Mode: 0o111},
		tree.Entry{Path: "usr/local/bin/veiled", Type: tree.Symlink, Link: "/srv/veiled"},
		tree.Entry{Path: "opt/veiled", Type: tree.Symlink, Link: "/srv/veiled"},
		tree.Entry{Path: "srv/veiled", Type: tree.File, Mode: 0o755},
		tree.Entry{Path: "usr/local/bin/hidden", Type: tree.File, Mode: 0o755},
	)
	for _, c := range []struct {
		arg0, cwd string
		uid       uint32
		code      reason.Code
	}{
		{"sh", "/", 0, ""},
		{"/bin/sh", "/", 0, ""},
		{"link", "/", 0, ""},
		{"./tool", "/opt", 0, ""},
		{"tool", "/opt", 0, reason.CommandNotFound},
		{"nothing", "/", 0, reason.CommandNotFound},
		{"/nothing", "/", 0, reason.CommandNotFound},
		{"loop", "/", 0, reason.CommandNotFound},
		{"outside", "/", 0, reason.CommandNotFound},
		{"data", "/", 0, reason.CommandNotExecutable},
		{"/usr", "/", 0, reason.CommandNotExecutable},
		{"private", "/", 5, ""},
		{"private", "/", 0, reason.CommandNotExecutable}, // root has no capability here
		{"/work/run/script", "/", 0, ""},                 // in a mount that programs run from: the kernel decides
		{"script", "/work/run", 0, ""},
		{"/work/script", "/", 0, reason.CommandNotExecutable}, // and in any other mount none does
		{"./script", "/work", 0, reason.CommandNotExecutable},
		{"hidden", "/", 0, reason.CommandNotFound}, // by a mount
		{"veiled", "/", 0, reason.CommandNotFound}, // by a mount that a link leads into
		{"/opt/veiled", "/", 0, reason.CommandNotExecutable},
	} {
		mounted := func(p string) (Bind, bool) {
			return Bind{Target: "/work", Exec: strings.HasPrefix(p, "/work/run/")}, strings.HasPrefix(p, "/work/") || p == "/usr/local/bin/hidden" || p == "/srv/veiled"
		}
		searched := "/usr/local/bin:/bin"
		if c.arg0 == "script" {
			searched = "/work/run"
		}
		_, err := findProgram(root, c.arg0, searched, c.cwd, user{UID: c.uid}, mounted)
		if code := codeOf(err); code != c.code {
			t.Errorf("%s in %s as %d: %v, want code %q", c.arg0, c.cwd, c.uid, err, c.code)
		}
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		real   string
		refuse bool
	}{
		{"/", true}, {"/proc", true}, {"/proc/1/root", true}, {"/sys/fs/cgroup", true}, {"/dev", true}, {"/dev/sda", true},
		{"/run", true}, {"/run/docker.sock", true}, {"/run/user/1000", true}, {"/var/run/docker.sock", true}, {"/var", true},
		{"/var/lib", true}, {"/var/lib/docker/overlay2", true}, {"/etc", true}, {"/etc/ssh", true}, {"/boot", true},
		{"/home", true}, {"/home/op", true}, {"/home/op/.ssh", true}, {"/home/op/.config/x", true}, {"/home/other/.aws", true},
		{"/home/other", true}, {"/srv/box/docker.sock", true}, {"/root", true}, {"/root/.kube", true},
		{"/home/op/work", false}, {"/home/op/work/.git", false}, {"/srv/data", false}, {"/procession", false},
		{"/root/work", false}, {"/etc/ssl/certs", false}, {"/work", false}, {"/tmp/x", false},
	} {
		home := "/home/op"
		if strings.HasPrefix(c.real, "/root") {
			home = "/root"
		}
		err := admitSource(Mount{Source: Source{Asked: "x", Real: c.real, Homes: []string{home}, Dir: true}, Target: "/t"}, []string{"/srv/state"})
		if (codeOf(err) == reason.MountRefused) != c.refuse {
			t.Errorf("%s: %v, want refused=%v", c.real, err, c.refuse)
		}
	}
	for real, refuse := range map[string]bool{"/usr": true, "/usr/local/bin": true, "/lib64": true, "/opt/data": false} {
		for class, writable := range map[Class]bool{Work: true, Input: false} {
			err := admitSource(Mount{Class: class, Source: Source{Asked: "x", Real: real, Dir: true}, Target: "/t"}, nil)
			if (codeOf(err) == reason.MountRefused) != (refuse && writable) {
				t.Errorf("%s as %s: %v", real, class, err)
			}
		}
	}
	if err := admitSource(Mount{Source: Source{Real: "/srv/s", Socket: true}}, nil); codeOf(err) != reason.MountRefused {
		t.Errorf("a socket: %v", err)
	}
}

func TestTargets(t *testing.T) {
	for target, ok := range map[string]bool{
		"/work": true, "/etc/app": true, "/run/app": true, "/models/x": true, "/home": true,
		"/": false, "work": false, "/proc": false, "/proc/sys": false, "/sys/x": false, "/dev": false, "/dev/shm": false,
		"/etc/hosts": false, "/etc/resolv.conf": false, "/run/ztlaunch": false, "/run/ztlaunch/mcp.json": false,
		"/a/../b": false, "/a/": false, "/a\nb": false, "/a\x00": false, "": false,
	} {
		want := reason.MountTarget
		if ok {
			want = ""
		}
		if err := admitTarget(Mount{Target: target}); codeOf(err) != want {
			t.Errorf("%q: %v, want %q", target, err, want)
		}
	}
}

// codeOf is the code of a refusal, or "" for none.
func codeOf(err error) reason.Code {
	if err == nil {
		return ""
	}
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return "no-reason"
}

// files makes a Tree of entries; files get the digest of their path.
func files(t *testing.T, entries ...tree.Entry) tree.Tree {
	t.Helper()
	for i := range entries {
		switch e := &entries[i]; e.Type {
		case tree.File:
			e.Size, e.Digest = max(1, e.Size), digest.FromString(e.Path)
		case tree.Symlink:
			e.Mode = 0o777
		case tree.Dir:
			e.Mode |= 0o755
		default:
		}
	}
	made, err := tree.FromFiles(entries)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestIntegrity holds how roots are held against the box.
func TestIntegrity(t *testing.T) {
	root := world(t)
	for demanded, ok := range map[string]string{"": "sealed loop extracted ", "extracted": "sealed loop extracted ", "loop": "sealed loop ", "sealed": "sealed "} {
		box := ""
		if demanded != "" {
			box = "box: {integrity: " + demanded + "}\n"
		}
		a := admission(t, root, ocispec.ImageConfig{Entrypoint: []string{"/agent"}}, box)
		for _, held := range []string{"sealed", "loop", "extracted", ""} {
			_, err := Build(a, root, Task{ID: id("a")}, Accounts{}, filter(), Host{Integrity: held})
			want := held != "" && strings.Contains(ok, held+" ") || demanded == ""
			if e, refused := reason.Of(err); want != (err == nil) || refused && e.Code != reason.IntegrityBelowBox {
				t.Errorf("demanded %q, held %q: %v", demanded, held, err)
			}
		}
	}
}

// TestUnlimited plans for a host that can bound nothing.
func TestUnlimited(t *testing.T) {
	root := world(t)
	none, rootless := Host{Unlimited: []string{"memory", "cpu"}}, Host{Unlimited: []string{"memory", "cpu", "pids"}}
	for _, c := range []struct {
		name, box string
		task      Task
		host      Host
		ok        bool
	}{
		{"not-typed", "", Task{}, none, false},
		{"another-word", "", Task{Unsafe: []string{"limits"}}, none, false},
		{"typed", "", Task{Unsafe: []string{NoLimits}}, none, true},
		{"asked", "", Task{Unsafe: []string{NoLimits}, Limits: Limits{CPUs: 1}}, none, false},
		{"demanded", "box: {limits: {memory: 1GiB}}\n", Task{Unsafe: []string{NoLimits}}, none, false},
		{"other-limits", "box: {limits: {pids: 10, time: 1h}}\n", Task{Unsafe: []string{NoLimits}}, none, true},
		{"root", "", Task{Unsafe: []string{NoLimits}}, rootless, true},
		{"root-asks", "", Task{Unsafe: []string{NoLimits}, Limits: Limits{Pids: 20}}, rootless, false},
		{"root-demanded", "box: {limits: {pids: 10}}\n", Task{Unsafe: []string{NoLimits}}, rootless, false},
		{"changes-users", "box: {caps: [SETUID], limits: {pids: 10}}\n", Task{Caps: []string{"SETUID"}}, Host{}, false},
		{"typed-in-vain", "", Task{Unsafe: []string{NoLimits}}, Host{PidsController: true}, true},
	} {
		c.task.ID = id("a")
		p, err := Build(admission(t, root, ocispec.ImageConfig{Entrypoint: []string{"/agent"}}, c.box), root, c.task, Accounts{}, filter(), c.host)
		if e, refused := reason.Of(err); c.ok != (err == nil) || refused && e.Code != reason.LimitsUnenforceable {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		s, bounded := p.Spec(Paths{Scratches: make([]string, len(p.Scratches()))}), len(c.host.Unlimited) == 0
		if (s.Linux.Resources.Memory != nil) != bounded || (s.Linux.Resources.CPU != nil) != bounded || (s.Linux.CgroupsPath != "") != bounded ||
			(p.Limits().Memory > 0) != bounded || (len(s.Process.Rlimits) == 1) != (!bounded && p.Limits().Pids > 0) || len(s.Linux.Resources.Devices) != 1 {
			t.Errorf("%s: %+v, %+v", c.name, p.Limits(), s.Linux.Resources)
		}
	}
}
