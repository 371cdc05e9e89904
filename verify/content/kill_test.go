package content

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestKilled kills a process in the middle of a Put, at several points, and
// then wants a store without half a blob and without leftovers.
func TestKilled(t *testing.T) {
	whole := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	d := digest.FromBytes(whole)
	if dir := os.Getenv("CONTENT_TEST_PUT"); dir != "" { // the child
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("CONTENT_TEST_NAMED") != "" {
			p, err := s.createNamed()
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(p.f, os.Stdin)
			return
		}
		s.Put(os.Stdin, d, int64(len(whole)))
		return
	}
	for _, named := range []string{"", "1"} {
		for _, cut := range []int{0, 1, 200 << 10, len(whole) - 1} {
			dir := filepath.Join(t.TempDir(), "store")
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), "CONTENT_TEST_PUT="+dir, "CONTENT_TEST_NAMED="+named)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Write(whole[:cut]); err != nil {
				t.Fatal(err)
			}
			cmd.Process.Kill()
			cmd.Wait()
			if s.Has(d) {
				t.Errorf("cut at %d: half a blob is in the store", cut)
			}
			if _, err := Open(dir); err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, "partial")); len(left) != 0 {
				t.Errorf("cut at %d: %v are left behind", cut, left)
			}
			if err := s.Put(bytes.NewReader(whole), d, int64(len(whole))); err != nil {
				t.Errorf("cut at %d: put after the kill: %v", cut, err)
			}
		}
	}
}
