package plan

import (
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestCapabilities gives what the policy's box lists, and nothing for the asking.
func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		name, box string
		asked     []string
		want      []string
		code      reason.Code
	}{
		{"none", "box: {caps: [CHOWN]}\n", nil, nil, ""},
		{"granted", "box: {caps: [SETUID, CHOWN]}\n", []string{"SETUID", "CHOWN", "CHOWN"}, []string{"CAP_CHOWN", "CAP_SETUID"}, ""},
		{"no-box", "", []string{"CHOWN"}, nil, reason.CapNotGranted},
		{"another", "box: {caps: [CHOWN]}\n", []string{"CHOWN", "SETUID"}, nil, reason.CapNotGranted},
		{"all", "box: {caps: [CHOWN]}\n", []string{"ALL"}, nil, reason.CapNotGranted},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := world(t)
			task := Task{ID: id("a"), Caps: c.asked, Typed: true}
			p, err := Build(admission(t, root, ocispec.ImageConfig{Entrypoint: []string{"/agent"}}, c.box), root, task, Accounts{}, filter(), Host{PidsController: true})
			if e, _ := reason.Of(err); (c.code == "") != (err == nil) || err != nil && e.Code != c.code {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if err != nil {
				return
			}
			caps := p.Spec(Paths{Scratches: make([]string, len(p.Scratches()))}).Process.Capabilities
			for name, set := range map[string][]string{"bounding": caps.Bounding, "effective": caps.Effective, "permitted": caps.Permitted} {
				if !slices.Equal(set, c.want) {
					t.Errorf("%s: %v, want %v", name, set, c.want)
				}
			}
			if len(caps.Ambient)+len(caps.Inheritable) != 0 {
				t.Errorf("ambient %v, inheritable %v", caps.Ambient, caps.Inheritable)
			}
		})
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		name, script   string
		args, have     []string
		programs, caps []string
	}{
		{"binary", "", []string{"/agent"}, nil, nil, nil},
		{"direct", "", []string{"/sbin/su-exec", "app", "x"}, nil, []string{"su-exec"}, []string{"SETGID", "SETUID"}},
		{"script", "#!/bin/sh\nchown -R app /data\nexec gosu app \"$@\"\n", []string{"/entry"}, nil, []string{"chown", "gosu"}, []string{"CHOWN", "SETGID", "SETUID"}},
		{"part", "#!/bin/sh\nchown -R app /data\nexec gosu app \"$@\"\n", []string{"/entry"}, []string{"SETGID", "SETUID"}, []string{"chown"}, []string{"CHOWN"}},
		{"shell", "", []string{"sh", "-c", "chown 1 /tmp"}, nil, []string{"chown"}, []string{"CHOWN"}},
		{"other-words", "#!/bin/sh\necho chowned super-su-executor resume\n", []string{"/entry"}, nil, nil, nil},
		{"argument", "", []string{"/agent", "chown"}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			programs, caps := Plan{args: c.args, caps: c.have}.Wants(c.script)
			if !slices.Equal(programs, c.programs) || !slices.Equal(caps, c.caps) {
				t.Errorf("%v %v, want %v %v", programs, caps, c.programs, c.caps)
			}
		})
	}
}
