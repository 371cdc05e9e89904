package plan

import (
	"bufio"
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Accounts are the verified bytes of the image's /etc/passwd and /etc/group,
// nil where the image has none. They are data of the image: only names are
// looked up in them, never anything that grants.
type Accounts struct{ Passwd, Group []byte }

// user is who the task runs as, inside its user namespace.
type user struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// maxID is the last id of a task's block.
const maxID = 65535

// find resolves docker's user syntax: "", user, uid, user:group, uid:gid and the
// mixtures. A name that the image does not know is an error; a number need not
// be known. Supplementary groups come from the image's group file, unless the
// group was named.
func (a Accounts) find(spec string) (user, error) {
	who, group, named := strings.Cut(spec, ":")
	named = named && group != ""
	if who == "" {
		who = "0"
	}
	u := user{Home: "/"}
	name, found := "", false
	uid, isNumber := number(who)
	for f := range fields(a.Passwd, 7) {
		id, ok := number(f[2])
		if !ok {
			continue
		}
		if f[0] == who || (isNumber && id == uid) {
			gid, ok := number(f[3])
			if !ok {
				continue
			}
			name, found = f[0], true
			u.UID, u.GID, u.Home = id, gid, f[5]
			break
		}
	}
	switch {
	case !found && !isNumber:
		return user{}, &reason.Error{Code: reason.UserUnknown, What: "find user " + strconv.Quote(who),
			Expected: "a name in the image's /etc/passwd, or a number up to 65535", Found: "no such name",
			Next: "-u UID:GID"}
	case !found:
		u.UID = uid
	}
	if u.Home == "" || u.Home[0] != '/' {
		u.Home = "/"
	}
	if !named {
		if found {
			for f := range fields(a.Group, 4) {
				for m := range strings.SplitSeq(f[3], ",") {
					if gid, ok := number(f[2]); ok && m == name && gid != u.GID {
						u.Groups = append(u.Groups, gid)
					}
				}
			}
		}
		return u, nil
	}
	gid, err := a.group(group, "-u UID:GID")
	if err != nil {
		return user{}, err
	}
	u.GID = gid
	return u, nil
}

// group is a group's id, by number or by the image's name for it.
func (a Accounts) group(word, next string) (uint32, error) {
	if gid, ok := number(word); ok {
		return gid, nil
	}
	for f := range fields(a.Group, 4) {
		if gid, ok := number(f[2]); ok && f[0] == word {
			return gid, nil
		}
	}
	return 0, &reason.Error{Code: reason.UserUnknown, What: "find group " + strconv.Quote(word),
		Expected: "a name in the image's /etc/group, or a number up to 65535", Found: "no such name", Next: next}
}

// join adds supplementary groups to those that a user has.
func (a Accounts) join(u user, groups []string) (user, error) {
	for _, word := range groups {
		gid, err := a.group(word, "--group-add GID")
		if err != nil {
			return user{}, err
		}
		if !slices.Contains(u.Groups, gid) {
			u.Groups = append(u.Groups, gid)
		}
	}
	return u, nil
}

// number reads an id of a task's block. Larger ones have no owner outside.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > math.MaxUint32 || n > maxID {
		return 0, false
	}
	return uint32(n), true
}

// fields yields the well-formed lines of a colon-separated account file; a line
// with fewer than n fields is skipped, as the C library does.
func fields(raw []byte, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		lines := bufio.NewScanner(bytes.NewReader(raw))
		for lines.Scan() {
			if f := strings.Split(lines.Text(), ":"); len(f) >= n && !yield(f) {
				return
			}
		}
	}
}
