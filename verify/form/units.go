package form

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Int is an integer between low and high, inclusive, written in decimal.
func (n Node) Int(low, high int64) int64 {
	if !n.is(integer) {
		return 0
	}
	v, err := strconv.ParseInt(n.value, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != n.value || v < low || v > high {
		n.Fail(reason.FormValue, fmt.Sprintf("an integer from %d to %d", low, high), n.shown(), "")
		return 0
	}
	return v
}

// Number is a positive decimal number up to high, such as 2 or 0.5.
func (n Node) Number(high float64) float64 {
	if n.kind != integer && !n.is(decimal) {
		return 0
	}
	v, err := strconv.ParseFloat(n.value, 64)
	if err != nil || strings.Trim(n.value, "0123456789.") != "" || !(v > 0) || v > high {
		n.Fail(reason.FormValue, fmt.Sprintf("a number above 0, at most %v", high), n.shown(), "")
		return 0
	}
	return v
}

// Bool is true or false, in this spelling.
func (n Node) Bool() bool {
	if n.is(boolean) && n.value != "true" && n.value != "false" {
		n.Fail(reason.FormValue, kinds[boolean], n.shown(), "")
	}
	return n.value == "true"
}

var (
	bytes = map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	spans = map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
)

// Bytes is a size such as 512MiB: a whole number of B, KiB, MiB, GiB or TiB.
func (n Node) Bytes() int64 {
	return n.measured(bytes, math.MaxInt64, "a size such as 512MiB or 2GiB")
}

// Duration is a time span such as 72h or 30d: a whole number of s, m, h, d
// (24 h) or w (7 d).
func (n Node) Duration() time.Duration {
	return time.Duration(n.measured(spans, int64(math.MaxInt64/time.Second), "a time span such as 90m, 72h or 30d")) * time.Second
}

func (n Node) measured(units map[string]int64, high int64, expected string) int64 {
	t := n.Text()
	if n.dead() {
		return 0
	}
	digits := strings.TrimLeft(t, "0123456789")
	unit, ok := units[digits]
	v, err := strconv.ParseInt(t[:len(t)-len(digits)], 10, 64)
	if !ok || err != nil || v < 1 || v > high/unit || strings.HasPrefix(t, "0") {
		n.Fail(reason.FormValue, expected, n.shown(), "")
		return 0
	}
	return v * unit
}

// Time is an instant as RFC 3339 writes it (2026-12-31T00:00:00Z), or a day,
// which means its first second in UTC.
func (n Node) Time() time.Time {
	t := n.Text()
	if n.dead() {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, t); err == nil {
			return at.UTC()
		}
	}
	n.Fail(reason.FormValue, "a time such as 2026-12-31 or 2026-12-31T00:00:00Z", n.shown(), "")
	return time.Time{}
}
