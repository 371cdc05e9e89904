package program

import (
	"testing"

	"github.com/ztlaunch/ztlaunch/launch/runc/runctest"
)

// BenchmarkFind compares the forms: what one launch pays to know one program.
func BenchmarkFind(b *testing.B) {
	path, pin := runctest.Need(b)
	keep := runctest.Keep(b)
	for _, c := range []struct{ name, keep string }{{"memfd", ""}, {"kept", keep}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r, err := Find(c.keep, pin, path)
				if err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
