package launch

import "testing"

// TestCovered says which paths of a tree other mounts hide.
func TestCovered(t *testing.T) {
	mounts := map[string]bool{"/proc": true, "/models/main": true, "/models/main/sub": true, "/home/agent": true, "/etc/hosts": true}
	for _, c := range []struct {
		path, root string
		want       bool
	}{
		{"/", "/", false}, {"/etc", "/", false}, {"/etc/hosts", "/", true}, {"/etc/hosts2", "/", false}, {"/proc", "/", true},
		{"/home", "/", false}, {"/home/agent/.x/y", "/", true}, {"/models/main", "/", true}, {"/models", "/", false},
		{"/models/main", "/models/main", false}, {"/models/main/w", "/models/main", false}, {"/models/main/sub/w", "/models/main", true},
	} {
		if got := covered(c.path, c.root, mounts); got != c.want {
			t.Errorf("%s of the tree at %s: %v", c.path, c.root, got)
		}
	}
}
