package rootfs

import (
	"testing"
)

func TestSeal(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s := sealed(t, tr, src)
	t.Log(s)
	if err := s.Prove(); err != nil {
		t.Fatal(err)
	}
	id, _ := uniqueID(s.mount)
	st, err := statmount(id)
	t.Log(id, st, err)
}
