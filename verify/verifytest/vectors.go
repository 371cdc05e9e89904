package verifytest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Vectors is a folder of test vectors that nobody here wrote, or "" where there is
// none and none is required. ZTLAUNCH_VECTORS names the folder of all of them, which
// is then required; the word "require" requires the one beside the project.
func Vectors(t testing.TB, name string) string {
	t.Helper()
	all, required := os.LookupEnv("ZTLAUNCH_VECTORS")
	if all == "" || all == "require" {
		all, required = filepath.Join("..", "..", "..", "shared", "vectors"), all == "require"
	}
	dir := filepath.Join(all, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !required {
		t.Log("vectors: absent")
		return ""
	} else if err != nil {
		t.Fatalf("vectors: %v", err)
	}
	return dir
}
