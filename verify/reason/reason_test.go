package reason

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
)

func TestTable(t *testing.T) {
	rows := Table()
	if len(rows) == 0 {
		t.Fatal("the table is empty")
	}
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[Code]bool{}
	for _, r := range rows {
		if seen[r.Code] {
			t.Errorf("%s is listed twice", r.Code)
		}
		seen[r.Code] = true
		if !kebab.MatchString(string(r.Code)) {
			t.Errorf("%s is not kebab-case", r.Code)
		}
		if r.Class < Denied || r.Class > Host {
			t.Errorf("%s has no class", r.Code)
		}
		if r.Means == "" || r.Test == "" {
			t.Errorf("%s has no meaning or no test", r.Code)
		}
		if got := r.Code.Class(); got != r.Class {
			t.Errorf("%s: class %v, looked up as %v", r.Code, r.Class, got)
		}
	}
}

func TestUnlistedIsInternal(t *testing.T) {
	if c := Code("no-such-code"); c.Class() != Internal || c.Class().Exit() != 5 {
		t.Errorf("an unlisted code exits %d, want 5", c.Class().Exit())
	}
	if got := Class(0).Exit(); got == 0 {
		t.Error("the zero class exits 0")
	}
}

func TestWorst(t *testing.T) {
	order := []int{5, 2, 1, 4, 3, 0}
	for i, a := range order {
		for j, b := range order {
			want := order[min(i, j)]
			if got := Worst(a, b); got != want {
				t.Errorf("Worst(%d, %d) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestOf(t *testing.T) {
	e := &Error{Code: "x", What: "read", Expected: "1", Found: "2"}
	got, ok := Of(fmt.Errorf("outer: %w", e))
	if !ok || got != e {
		t.Fatal("a wrapped refusal is not found")
	}
	if s := e.Error(); s != "read: x (expected 1, found 2)" {
		t.Errorf("reads %q", s)
	}
	if _, ok := Of(errors.New("plain")); ok {
		t.Error("a plain error is taken for a refusal")
	}
}
