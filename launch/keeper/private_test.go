package keeper

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestPrivate refuses run folders that somebody else could write, or put another
// in the place of, and touches nothing there.
func TestPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	for _, c := range []struct {
		name string
		make func(run string) error
		want reason.Code
	}{
		{"good", func(run string) error { return os.MkdirAll(filepath.Join(run, "tasks"), 0o700) }, ""},
		{"absent", func(string) error { return nil }, ""},
		{"others-read", func(run string) error { return os.Mkdir(filepath.Join(run, "tasks"), 0o755) }, reason.KeeperFailed},
		{"others-own", func(run string) error {
			tasks := filepath.Join(run, "tasks")
			if err := os.Mkdir(tasks, 0o700); err != nil {
				return err
			}
			return os.Chown(tasks, 4242, 4242)
		}, reason.KeeperFailed},
		{"others-own-above", func(run string) error { return os.Chown(run, 4242, 4242) }, reason.KeeperFailed},
		{"others-write-above", func(run string) error { return os.Chmod(run, 0o777) }, reason.KeeperFailed},
		{"sticky-above", func(run string) error { return os.Chmod(run, 0o777|os.ModeSticky) }, ""},
		{"a-link", func(run string) error { return os.Symlink("/tmp", filepath.Join(run, "tasks")) }, reason.KeeperFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			run, precious := t.TempDir(), filepath.Join(t.TempDir(), "a", "b")
			if err := os.MkdirAll(precious, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.make(run); err != nil {
				t.Fatal(err)
			}
			if c.want != "" && c.name != "others-own-above" && c.name != "others-write-above" && c.name != "a-link" {
				planted := filepath.Join(run, "tasks", "aaaaaaaaaaaaaaaa")
				if err := os.Mkdir(planted, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(planted, recordName), []byte(`{"folder":"`+precious+"\"}\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := Sweep(run); code(err) != c.want {
					t.Errorf("sweep: %v", err)
				}
			}
			k, err := Start(run, self(t))
			if code(err) != c.want || (err == nil) != (c.want == "") {
				t.Errorf("start: %v, want %q", err, c.want)
			}
			if err == nil {
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := os.Stat(precious); err != nil {
				t.Errorf("somebody's folder: %v", err)
			}
		})
	}
}
