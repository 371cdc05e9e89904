//go:build linux

package main

import (
	"net/netip"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// hostNames reads --add-host as docker does: NAME:ADDRESS or NAME=ADDRESS, an IPv6
// address with or without brackets. What a server's listener is called stays its name.
func hostNames(words []string) (all []plan.Name, err error) {
	for _, word := range words {
		name, addr, ok := strings.Cut(word, "=")
		if !ok {
			name, addr, ok = strings.Cut(word, ":")
		}
		if addr == "host-gateway" {
			return nil, &reason.Error{Code: reason.FlagRefused, What: "--add-host " + word, Expected: "an address",
				Found: "the host's own, which a task has no way to", Next: "drop it"}
		}
		at, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"))
		if !ok || err != nil || at.Zone() != "" || !hostName(name) {
			return nil, wrong("read --add-host "+word, "NAME:ADDRESS", "--add-host db:10.0.0.7")
		}
		if strings.HasSuffix(strings.ToLower(name), ".mcp") {
			return nil, &reason.Error{Code: reason.FlagRefused, What: "--add-host " + word, Expected: "a name of another domain",
				Found: "one of .mcp, which are the task's servers", Next: "drop it"}
		}
		all = append(all, plan.Name{Name: name, Addr: at})
	}
	return all, nil
}

// hostName says whether a word is one name in a line of /etc/hosts.
func hostName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' })
}
