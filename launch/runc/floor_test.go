package runc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestFloor(t *testing.T) {
	old, unknown := reason.RuntimeTooOld, reason.RuntimeUnknown
	for _, c := range []struct {
		name, version string
		host          Facts
		want          reason.Code
	}{
		{"runc", "1.5.2", Facts{}, ""},
		{"runc", "1.6.0-rc.1", Facts{}, ""},
		{"runc", "2.0.0", Facts{}, ""},
		{"runc", "1.5.0-rc.3", Facts{}, ""},
		{"runc", "1.5.0-rc.2", Facts{}, old},
		{"runc", "1.5.0", Facts{}, ""},
		{"runc", "1.4.3", Facts{}, ""},
		{"runc", "1.4.2", Facts{}, old},
		{"runc", "1.4.0-rc.3", Facts{}, old},
		{"runc", "1.3.6", Facts{}, ""},
		{"runc", "1.3.5", Facts{}, old},
		{"runc", "1.2.8", Facts{}, old},
		{"runc", "1.1.5+ds1", Facts{}, old},
		{"runc", "1.0.0-rc6", Facts{}, old},
		{"runc", "1.4.3", Facts{Kernel: "6.18.1-amd64", Unified: true}, old},
		{"runc", "1.5.1", Facts{Kernel: "7.1.9", Unified: true}, old},
		{"runc", "1.5.2", Facts{Kernel: "6.18.1-amd64", Unified: true}, ""},
		{"runc", "1.4.3", Facts{Kernel: "6.18.1"}, ""},
		{"runc", "1.4.3", Facts{Kernel: "6.16.12", Unified: true}, ""},
		{"runc", "1.4.3", Facts{Kernel: "7.2.0", Unified: true}, ""},
		{"crun", "1.28", Facts{}, ""},
		{"crun", "1.27.1", Facts{}, old},
		{"crun", "1.8.1", Facts{}, old},
		{"runsc", "release-20220101.0", Facts{}, unknown},
		{"runc", "unknown", Facts{}, unknown},
		{"runc", "", Facts{}, unknown},
		{"runc", "99999999999999999999.0", Facts{}, unknown},
	} {
		if err := Floor(c.name, c.version, c.host); code(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s %s on %+v: %v, want %q", c.name, c.version, c.host, err, c.want)
		}
	}
}

func TestAlternative(t *testing.T) {
	const able = `{"linux":{"namespaces":["cgroup","ipc","mount","network","pid","user","uts"],` +
		`"seccomp":{"enabled":true,"actions":["SCMP_ACT_ALLOW","SCMP_ACT_ERRNO","SCMP_ACT_KILL_PROCESS"]}}}`
	for _, c := range []struct {
		name, banner, features string
		want                   reason.Code
	}{
		{"good", "runc version 1.5.2", able, ""},
		{"other", "runsc version release-20220101.0", able, reason.RuntimeUnknown},
		{"mute", "", able, reason.RuntimeUnknown},
		{"old", "runc version 1.1.5+ds1", able, reason.RuntimeTooOld},
		{"no-seccomp", "runc version 1.5.2", strings.Replace(able, "true", "false", 1), reason.RuntimeNoSeccomp},
		{"silent-seccomp", "runc version 1.5.2", strings.Replace(able, `"enabled":true,`, "", 1), reason.RuntimeNoSeccomp},
		{"weak-seccomp", "runc version 1.5.2", strings.Replace(able, `,"SCMP_ACT_KILL_PROCESS"`, "", 1), reason.RuntimeNoSeccomp},
		{"no-userns", "runc version 1.5.2", strings.Replace(able, `"user",`, "", 1), reason.RuntimeUnknown},
		{"garbage", "runc version 1.5.2", "{", reason.RuntimeUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "alt")
			script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in\n*--version) echo '%s';;\n*features) echo '%s';;\n*) exit 9;;\nesac\n", c.banner, c.features)
			if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			r, err := Alternative(t.Context(), path, Facts{})
			if code(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err == nil && (r.Pinned() || r.Form() != program.Plain || r.Version() != "1.5.2" || r.Digest() == "") {
				t.Errorf("%+v", r)
			}
			r.Close()
		})
	}
	t.Run("absent", func(t *testing.T) {
		if _, err := Alternative(t.Context(), filepath.Join(t.TempDir(), "x"), Facts{}); code(err) != reason.RuntimeAbsent {
			t.Error(err)
		}
	})
	t.Run("fails", func(t *testing.T) {
		if _, err := Alternative(t.Context(), "/bin/false", Facts{}); code(err) != reason.RuntimeUnknown {
			t.Error(err)
		}
	})
}

func TestLastError(t *testing.T) {
	for _, c := range []struct{ log, want string }{
		{"", ""},
		{`{"level":"warning","msg":"w"}`, ""},
		{"{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\"}\n{\"level\":\"info\",\"msg\":\"c\"}\n", "b"},
		{"not json\n{\"level\":\"fatal\",\"msg\":\"x\"}", "x"},
		{`{"level":"error","msg":"\u001b[31mred\u0007 \u202ebidi\nline"}`, "?[31mred? ?bidi line"},
		{`{"level":"error","msg":"` + strings.Repeat("a", 600) + `"}`, strings.Repeat("a", 500) + "..."},
	} {
		if got := lastError([]byte(c.log)); got != c.want {
			t.Errorf("%q: %q, want %q", c.log, got, c.want)
		}
	}
}

func FuzzLastError(f *testing.F) {
	f.Add([]byte(`{"level":"error","msg":"x"}`))
	f.Add([]byte("\x00\n{"))
	f.Fuzz(func(t *testing.T, log []byte) {
		for _, c := range lastError(log) {
			if c < ' ' || c == 0x7f {
				t.Fatalf("%q lets %q through", log, c)
			}
		}
	})
}

func FuzzVersion(f *testing.F) {
	f.Add("1.5.2")
	f.Add("1.4.0-rc.3+dev")
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := parseVersion(s); ok && v.compare(v) != 0 {
			t.Fatal(s)
		}
		_ = Floor("runc", s, Facts{Kernel: s, Unified: true})
	})
}
