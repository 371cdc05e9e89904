package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Box is the ceiling of what a run may be given, whoever asks:
//
//	box:
//	  integrity: sealed | loop | extracted   # the weakest root form that is good enough
//	  egress: [HOST:PORT]
//	  exec: {mounts: [NAME]}
//	  devices: [/dev/NAME]
//	  privateAddresses: [ADDRESS | PREFIX]
//	  caps: [CHOWN]
//	  limits: {memory: 2GiB, cpus: 2, pids: 256, time: 1h}
//
// A list that is absent (nil) caps nothing: an operator's own flag may still
// grant such a thing for one run. A list that is there, empty or not, is the
// whole of what may be granted. Executable mounts, devices, capabilities and
// private addresses are granted by their list alone, so there absent and empty
// mean the same. A limit that is zero is not capped.
type Box struct {
	Integrity        string // "", "sealed", "loop" or "extracted"
	Egress           []string
	Exec             Exec
	Devices          []string
	PrivateAddresses []netip.Prefix
	Caps             []string // without CAP_
	Limits           Limits
}

// Exec lists the work mounts, by target or its last component, from which a
// task may execute.
type Exec struct{ Mounts []string }

// Limits bound a task; zero means not capped.
type Limits struct {
	Memory int64 // bytes
	CPUs   float64
	Pids   int64
	Time   time.Duration
}

func (b Box) clone() Box {
	b.Egress = slices.Clone(b.Egress)
	b.Exec.Mounts = slices.Clone(b.Exec.Mounts)
	b.Devices = slices.Clone(b.Devices)
	b.PrivateAddresses = slices.Clone(b.PrivateAddresses)
	b.Caps = slices.Clone(b.Caps)
	return b
}

// ReadBox reads the value of a box: key; what it refuses is the document's error.
func ReadBox(n form.Node) (b Box) {
	n.Fields(map[string]func(form.Node){
		"integrity": func(v form.Node) { b.Integrity = v.OneOf("sealed", "loop", "extracted") },
		"egress":    func(v form.Node) { b.Egress = checked(v, "host:port, in lower case", Endpoint) },
		"exec": func(v form.Node) {
			v.Fields(map[string]func(form.Node){
				"mounts": func(v form.Node) { b.Exec.Mounts = checked(v, "a mount's target or its last component", mountName) },
			})
		},
		"devices": func(v form.Node) { b.Devices = checked(v, "a path such as /dev/kvm", device) },
		"privateAddresses": func(v form.Node) {
			v.List(func(_ int, v form.Node) {
				p, err := prefix(v.Text())
				if err != nil {
					v.Fail(reason.FormValue, "an address or prefix such as 10.0.0.7 or 10.0.0.0/24", err.Error(), "")
				}
				b.PrivateAddresses = append(b.PrivateAddresses, p)
			})
		},
		"caps": func(v form.Node) { b.Caps = checked(v, "one of "+strings.Join(Capabilities, ", "), capability) },
		"limits": func(v form.Node) {
			v.Fields(map[string]func(form.Node){
				"memory": func(v form.Node) { b.Limits.Memory = v.Bytes() },
				"cpus":   func(v form.Node) { b.Limits.CPUs = v.Number(4096) },
				"pids":   func(v form.Node) { b.Limits.Pids = v.Int(1, 4<<20) },
				"time":   func(v form.Node) { b.Limits.Time = v.Duration() },
			})
		},
	})
	return b
}

func checked(n form.Node, expected string, ok func(string) bool) []string {
	out := n.Texts()
	n.List(func(_ int, v form.Node) {
		if t := v.Text(); !ok(t) {
			v.Fail(reason.FormValue, expected, fmt.Sprintf("%.60q", t), "")
		}
	})
	return out
}

// Endpoint reports whether a text is host:port as box.egress lists it: a DNS
// name in lower case or an IP address, and a port in plain decimal. There are
// no patterns: an entry is a grant, not a filter.
func Endpoint(s string) bool {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return false
	}
	host, port := s[:colon], s[colon+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && "["+addr.String()+"]" == host
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Is4()
	}
	return dnsName(host)
}

func dnsName(s string) bool {
	if len(s) > 253 {
		return false
	}
	digits := true
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
		digits = strings.Trim(label, "0123456789") == ""
	}
	return !digits // a last label of digits is an address written oddly
}

func mountName(s string) bool {
	return s != "" && s != "/" && !strings.Contains(s, "..") && strings.TrimRight(s, "/") == s && !strings.ContainsAny(s, "*?\x00\n")
}

func device(s string) bool {
	rest, ok := strings.CutPrefix(s, "/dev/")
	return ok && mountName(rest) && !strings.Contains(rest, "//")
}

// Capabilities are those that a policy may grant: they act on the task's own
// files, users and processes alone, inside its own user namespace.
var Capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}

func capability(s string) bool { return slices.Contains(Capabilities, s) }

func prefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%.60q", s)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%.60q", s)
	}
	return p, nil
}
