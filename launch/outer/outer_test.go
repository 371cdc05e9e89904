package outer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestRanges(t *testing.T) {
	who := []string{"4242", "zt"}
	for _, c := range []struct {
		name, file, words string
		count             uint64
		bad               bool
	}{
		{"none", "", "", 0, false},
		{"by-name", "a:1:2\nzt:300000:65536\n", " 1 300000 65536", 65536, false},
		{"by-id", "4242:300000:10\n", " 1 300000 10", 10, false},
		{"several", "# zt:1:1\n\nzt:300000:10\nother:5:5\n4242:500000:7\n", " 1 300000 10 11 500000 7", 17, false},
		{"prefix", "zt2:300000:10\nz:300000:10\n", "", 0, false},
		{"no-count", "zt:300000:\n", "", 0, true},
		{"two-fields", "zt:300000\n", "", 0, true},
		{"negative", "zt:-1:10\n", "", 0, true},
		{"root", "zt:0:10\n", "", 0, true},
		{"overflow", "zt:4294967290:10\n", "", 0, true},
		{"words", "zt:1 2:10\n", "", 0, true},
	} {
		words, count, err := ranges(strings.NewReader(c.file), who)
		if c.bad != (err != nil) || err == nil && (words != c.words || count != c.count) {
			t.Errorf("%s: %q, %d, %v", c.name, words, count, err)
		}
	}
}

// TestFind names what is missing and what would help.
func TestFind(t *testing.T) {
	root, own := t.TempDir(), strconv.Itoa(os.Getuid())
	put := func(name, text string) {
		t.Helper()
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(next string) {
		t.Helper()
		_, err := find(root)
		if e, ok := reason.Of(err); !ok || e.Code != reason.HostCannotLaunch || !strings.Contains(e.Next, next) {
			t.Errorf("%+v, want %s", err, next)
		}
	}
	refused("apt-get install uidmap")
	put("usr/bin/newuidmap", "")
	refused("apt-get install uidmap")
	put("usr/sbin/newgidmap", "")
	refused("--add-subuids")
	put("etc/subuid", own+":300000:65536\n")
	refused("--add-subgids")
	put("etc/subgid", own+":300000:65534\n")
	refused("--add-subgids")
	put("etc/subgid", own+":300000:65535\n")
	got, err := find(root)
	if err != nil || got.uids != "0 "+own+" 1 1 300000 65536" || !strings.HasSuffix(got.gids, " 1 1 300000 65535") || got.newgidmap != root+"/usr/sbin/newgidmap" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzRanges(f *testing.F) {
	f.Add("zt:300000:65536\n4242:1:2\n")
	f.Fuzz(func(t *testing.T, s string) {
		words, count, err := ranges(strings.NewReader(s), []string{"4242", "zt"})
		if n := len(strings.Fields(words)); err == nil && (n%3 != 0 || (count == 0) != (n == 0)) {
			t.Fatalf("%q: %q, %d", s, words, count)
		}
	})
}
