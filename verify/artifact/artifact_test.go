package artifact

import (
	_ "crypto/sha512" // so that sha512 is not refused for want of an implementation
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in, out, name, tag, file string
		scheme                   Scheme
		kind                     Kind
	}{
		{"alpine", "docker.io/library/alpine:latest", "docker.io/library/alpine", "latest", "", Registry, Image},
		{"alpine:3.20", "docker.io/library/alpine:3.20", "docker.io/library/alpine", "3.20", "", Registry, Image},
		{"acme/agent", "docker.io/acme/agent:latest", "docker.io/acme/agent", "latest", "", Registry, Image},
		{"index.docker.io/alpine", "docker.io/library/alpine:latest", "docker.io/library/alpine", "latest", "", Registry, Image},
		{"localhost/a", "localhost/a:latest", "localhost/a", "latest", "", Registry, Image},
		{"localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b", "c", "", Registry, Image},
		{"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a", "latest", "", Registry, Image},
		{"Registry.Example/a", "registry.example/a:latest", "registry.example/a", "latest", "", Registry, Image},
		{"registry.example/a@sha256:" + hex, "registry.example/a@sha256:" + hex, "registry.example/a", "", "", Registry, Image},
		{"registry.example/a:1@sha256:" + hex, "registry.example/a:1@sha256:" + hex, "registry.example/a", "1", "", Registry, Image},
		{"a__b-.c", "", "", "", "", Registry, Image},
		{"a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest", "docker.io/a__b/c--d.e_f", "latest", "", Registry, Image},
		{"model:latest", "docker.io/library/model:latest", "docker.io/library/model", "latest", "", Registry, Image},
		{"oci-layout:dir", "docker.io/library/oci-layout:dir", "docker.io/library/oci-layout", "dir", "", Registry, Image},
		{"oci-layout:./dir", "oci-layout:./dir", "", "", "./dir", OCILayout, Image},
		{`oci-layout:C:\a\b`, `oci-layout:C:\a\b`, "", "", `C:\a\b`, OCILayout, Image},
		{"oci-layout:c:/a:1.4", "oci-layout:c:/a:1.4", "", "1.4", "c:/a", OCILayout, Image},
		{"model:C:/m", "model:C:/m", "", "", "C:/m", ModelDir, Model},
		{"oci-layout:../dir:1.4", "oci-layout:../dir:1.4", "", "1.4", "../dir", OCILayout, Image},
		{"oci-layout:/a:b/dir", "oci-layout:/a:b/dir", "", "", "/a:b/dir", OCILayout, Image},
		{"oci-layout:/d@sha256:" + hex, "oci-layout:/d@sha256:" + hex, "", "", "/d", OCILayout, Image},
		{"oci-archive:/f.tar:x", "oci-archive:/f.tar:x", "", "x", "/f.tar", OCIArchive, Image},
		{"docker-archive:./f.tar", "docker-archive:./f.tar", "", "", "./f.tar", DockerArchive, Image},
		{"docker-daemon:agent", "docker-daemon:docker.io/library/agent:latest", "docker.io/library/agent", "latest", "", DockerDaemon, Image},
		{"model:./m:1", "model:./m:1", "", "", "./m:1", ModelDir, Model},
		{"mcp:/etc/mcp.json", "mcp:/etc/mcp.json", "", "", "/etc/mcp.json", MCPFile, MCP},
		{"npm:./x.tgz", "npm:./x.tgz", "", "", "./x.tgz", NPM, MCP},
		{"receipt:/r", "receipt:/r", "", "", "/r", Receipt, 0},
	} {
		r, err := Parse(c.in)
		if c.out == "" {
			if err == nil {
				t.Errorf("Parse(%q) = %v, want an error", c.in, r)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if r.String() != c.out || r.Name() != c.name || r.Tag() != c.tag || r.Path() != c.file || r.Scheme() != c.scheme || r.Kind() != c.kind {
			t.Errorf("Parse(%q) = %q name %q tag %q path %q scheme %q kind %v", c.in, r, r.Name(), r.Tag(), r.Path(), r.Scheme(), r.Kind())
		}
		again, err := Parse(r.String())
		if err != nil || again != r || again.String() != r.String() {
			t.Errorf("Parse(%q) does not read back: %v, %v", r.String(), again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", "@", "/", "./dir", "/dir", "../dir", ".", "..",
		"Alpine", "HOST/a", "a//b", "a/", "/a", "a:", "a:b c", "a:" + strings.Repeat("x", 129), "a..b", "a___b", "-a", "a-",
		"a@sha256:", "a@sha256:../../etc/passwd", "a@sha256:" + hex[1:], "a@sha256:" + strings.ToUpper(hex),
		"a@sha512:" + hex + hex, "a@md5:" + hex[:32], "a@sha256:" + hex + "@sha256:" + hex,
		"registry.example:0/a", "registry.example:99999/a", "registry..example/a", "-x.example/a", "[::1/a", "[zz]/a", "[1]/a",
		"registry.example:+80/a", "user@registry.example/a", "https://registry.example/a",
		"oci-layout:@sha256:" + hex, "oci-layout:./d@sha256:../../x", "docker-daemon:", "docker-daemon:./x",
		"docker-daemon:a@sha256:" + hex, "model:@", "a\nb", "a\x00", "oci-layout:./a\x1b[2J",
		strings.Repeat("a", 256), strings.Repeat("a/", 3000),
	} {
		r, err := Parse(in)
		if err == nil {
			t.Errorf("Parse(%q) = %v", in, r)
			continue
		}
		if e, ok := reason.Of(err); !ok || e.Code != reason.ReferenceInvalid {
			t.Errorf("Parse(%q): %v", in, err)
		}
		if !r.Zero() {
			t.Errorf("Parse(%q) returns a reference with its error", in)
		}
	}
}

func TestNamed(t *testing.T) {
	layout, _ := Parse("oci-layout:./x")
	model, _ := Parse("model:./m")
	remote, _ := Parse("registry.example/a:1")
	daemon, _ := Parse("docker-daemon:a:1")
	for _, c := range []struct {
		ref        Reference
		name, want string
	}{
		{layout, "coder", "docker.io/library/coder"},
		{layout, "registry.example/agents/coder:1", "registry.example/agents/coder"},
		{model, "models/Small-1.5B", "models/Small-1.5B"},
		{model.As(MCP), "mcp/filesystem", "mcp/filesystem"},
	} {
		if got := c.ref.Named(c.name).Name(); got != c.want {
			t.Errorf("%v named %q is %q, want %q", c.ref, c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		ref  Reference
		name string
	}{{layout, "A B"}, {layout, "x@sha256:" + hex}, {layout, ""}, {model, ""}, {model, "../up"}, {model, "a//b"}, {model, "*"}, {Reference{}, "x"}, {remote, "x"}, {daemon, "x"}} {
		if got := c.ref.Named(c.name); !got.Zero() {
			t.Errorf("%v named %q is accepted: %v", c.ref, c.name, got)
		}
	}
	if got := layout.Name(); got != "" {
		t.Errorf("an unnamed folder is called %q", got)
	}
	if (Reference{}).As(Image) != (Reference{}) {
		t.Error("As makes a reference out of nothing")
	}
}

func TestWithDigest(t *testing.T) {
	r, _ := Parse("registry.example/a:1")
	d := digest.Digest("sha256:" + hex)
	if got := r.WithDigest(d); got.String() != "registry.example/a:1@sha256:"+hex || got.Digest() != d {
		t.Errorf("pinned: %v", got)
	}
	if got := r.WithDigest("sha512:" + hex + hex); !got.Zero() {
		t.Errorf("sha512 is accepted: %v", got)
	}
}

func TestPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/amd64/v1": "linux/amd64",
		"linux/amd64/v3": "linux/amd64/v3", "linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64",
		"linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "Linux/AMD64": "linux/amd64",
	} {
		p, err := ParsePlatform(in)
		if err != nil || p.String() != want || p.Normal() != p {
			t.Errorf("ParsePlatform(%q) = %v, %v", in, p, err)
		}
	}
	for _, in := range []string{"", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a md64", strings.Repeat("x", 60) + "/amd64"} {
		if _, err := ParsePlatform(in); err == nil {
			t.Errorf("ParsePlatform(%q) is accepted", in)
		} else if e, _ := reason.Of(err); e == nil || e.Code != reason.PlatformInvalid {
			t.Errorf("ParsePlatform(%q): %v", in, err)
		}
	}
}

func good(t *testing.T) Pinned {
	t.Helper()
	ref, err := Parse("registry.example/a")
	if err != nil {
		t.Fatal(err)
	}
	d := digest.Digest("sha256:" + hex)
	return Pinned{
		Ref: ref, Index: digest.FromString("index"), Manifest: d, Platform: Platform{OS: "linux", Architecture: "amd64"},
		Config:       ocispec.Image{Config: ocispec.ImageConfig{Env: []string{"A=1"}}, RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{d}}},
		ConfigDigest: d, Layers: []Layer{{Digest: d, DiffID: d, Size: 1}},
	}
}

func TestPin(t *testing.T) {
	p := good(t)
	a, err := Pin(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Subjects(); len(got) != 2 || got[0] != p.Manifest || got[1] != p.Index {
		t.Errorf("subjects %v", got)
	}
	p.Config.Config.Env[0], p.Layers[0].Size = "A=2", 2
	a.Config().Config.Env[0], a.Layers()[0].Size = "A=3", 3
	if a.Config().Config.Env[0] != "A=1" || a.Layers()[0].Size != 1 {
		t.Error("a pinned artifact can be changed from outside")
	}
	model, _ := Parse("model:./m")
	if m, err := Pin(Pinned{Ref: model, Manifest: p.Manifest}); err != nil || m.Zero() || len(m.Subjects()) != 1 {
		t.Errorf("pin a model: %v", err)
	}
	if !(Artifact{}).Zero() || len((Artifact{}).Subjects()) != 0 {
		t.Error("the zero artifact is not zero")
	}
}

func TestPinRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Pinned){
		"reference": func(p *Pinned) { p.Ref = Reference{} },
		"kind":      func(p *Pinned) { p.Ref = p.Ref.As(0) },
		"manifest":  func(p *Pinned) { p.Manifest = "" },
		"traversal": func(p *Pinned) { p.Manifest = "sha256:../../x" },
		"sha512":    func(p *Pinned) { p.Manifest = "sha512:" + hex + hex },
		"index":     func(p *Pinned) { p.Index = "sha256:x" },
		"config":    func(p *Pinned) { p.ConfigDigest = "" },
		"platform":  func(p *Pinned) { p.Platform = Platform{} },
		"abnormal":  func(p *Pinned) { p.Platform.Architecture = "x86_64" },
		"diffs":     func(p *Pinned) { p.Layers = nil },
		"diff":      func(p *Pinned) { p.Layers[0].DiffID = digest.FromString("x") },
		"layer":     func(p *Pinned) { p.Layers[0].Digest = "" },
		"size":      func(p *Pinned) { p.Layers[0].Size = -1 },
	} {
		p := good(t)
		spoil(&p)
		a, err := Pin(p)
		if e, ok := reason.Of(err); !ok || e.Code != reason.ArtifactIncomplete || !a.Zero() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKindDefault(t *testing.T) {
	if s := Kind(0).String(); s != "invalid" {
		t.Errorf("the zero kind is %q", s)
	}
}

// FuzzParse: what is read is written in one form, and that form is read back the same.
// It is not the text that was read: a reference is normalised.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"alpine", "a.b:5/c:d@sha256:" + hex, "oci-layout:./d:t", "docker-daemon:x", "[::1]:5/a", "model:/m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if !r.Zero() {
				t.Fatal("a reference and an error")
			}
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Fatalf("%q -> %q -> %v, %v", s, r, again, err)
		}
	})
}
