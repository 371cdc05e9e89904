package outer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// need is how many ids one task has.
const need = 1 << 16

// ids are the programs that map ids, and the words that they are given.
type ids struct{ newuidmap, newgidmap, uids, gids string }

// find looks for all that is needed below root.
func find(root string) (ids, error) {
	var found ids
	for name, to := range map[string]*string{"newuidmap": &found.newuidmap, "newgidmap": &found.newgidmap} {
		for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "usr/local/bin"} {
			if st, err := os.Stat(filepath.Join(root, dir, name)); err == nil && st.Mode().IsRegular() {
				*to = filepath.Join(root, dir, name)
				break
			}
		}
		if *to == "" {
			return ids{}, refused(name+", which maps subordinate ids", "no such program", "as root: apt-get install uidmap", nil)
		}
	}
	who := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.LookupId(who[0]); err == nil {
		who = append(who, u.Username)
	}
	for _, file := range []string{"subuid", "subgid"} { // in this order: the same answer each time
		to := &found.uids
		if file == "subgid" {
			to = &found.gids
		}
		own := os.Getuid()
		if file == "subgid" {
			own = os.Getgid()
		}
		f, err := os.Open(filepath.Join(root, "etc", file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return ids{}, refused("/etc/"+file, err.Error(), "as root: chmod 644 /etc/"+file, nil)
		}
		words, count := "", uint64(0)
		if err == nil {
			words, count, err = ranges(f, who)
			f.Close()
			if err != nil {
				return ids{}, refused("lines of name:start:count in /etc/"+file, err.Error(), "as root: mend /etc/"+file, nil)
			}
		}
		if count < need-1 {
			name := who[len(who)-1]
			return ids{}, refused(fmt.Sprintf("%d subordinate ids of %s in /etc/%s, as in %s:100000:65536", need, name, file, name),
				fmt.Sprintf("%d", count), "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "+name, nil)
		}
		*to = fmt.Sprintf("0 %d 1%s", own, words)
	}
	return found, nil
}

// ranges are the words that map every range of who from 1 on, and how many ids they
// are.
func ranges(r io.Reader, who []string) (words string, count uint64, err error) {
	in := bufio.NewScanner(io.LimitReader(r, 16<<20))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		name, rest, ok := strings.Cut(line, ":")
		if line == "" || line[0] == '#' || name != who[0] && name != who[len(who)-1] {
			continue
		}
		first, many, ok2 := strings.Cut(rest, ":")
		start, err1 := strconv.ParseUint(first, 10, 32)
		size, err2 := strconv.ParseUint(many, 10, 32)
		if !ok || !ok2 || err1 != nil || err2 != nil || start == 0 || size == 0 || start+size > 1<<32-1 {
			return "", 0, fmt.Errorf("line %d is %q", n, line)
		}
		words += fmt.Sprintf(" %d %d %d", 1+count, start, size)
		count += size
	}
	return words, count, in.Err()
}
