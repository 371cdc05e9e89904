package steps_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// TestReadLinks: links are found by their names, those of sublayouts below, and
// nothing else is opened.
func TestReadLinks(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"root.layout", "build.link", ".01234567.link", "build.0123456z.link", "node_modules/build.01234567.link", "build.012345678.link"} {
		put(name, "no")
	}
	const deep = "a.01234567/a.01234567/a.01234567/a.01234567/"
	want := []string{"build.01234567.link", "build.01234567/fetch.89abcdef.link", deep + "a.01234567.link"}
	for _, name := range want {
		put(name, name)
	}
	put(deep+"a.01234567/a.01234567.link", "no")
	links, err := steps.ReadLinks(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(links)); !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	for name, raw := range links {
		if string(raw) != name {
			t.Errorf("%s: %s", name, raw)
		}
	}
	unreadable := func(what string) {
		t.Helper()
		links, err := steps.ReadLinks(os.DirFS(dir))
		if e, ok := reason.Of(err); !ok || e.Code != reason.FileUnreadable || links != nil {
			t.Errorf("%s: %v, %d links", what, err, len(links))
		}
	}
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "null.01234567.link")); err != nil {
		t.Fatal(err)
	}
	unreadable("a device")
	if err := os.Remove(filepath.Join(dir, "null.01234567.link")); err != nil {
		t.Fatal(err)
	}
	put("large.01234567.link", strings.Repeat(" ", 4<<20+1))
	unreadable("a large link")
	dir = filepath.Join(dir, "absent")
	unreadable("no folder")
}
