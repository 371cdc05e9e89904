package tree

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Decode reads what Encode wrote and nothing else: a text that Encode would have
// written differently is refused (tree-malformed), and so is one whose digest is not
// the one it says. The Tree reads raw as it is asked for entries: raw must not be
// written to afterwards.
func Decode(raw []byte) (Tree, error) {
	d := decoder{rest: unsafe.String(unsafe.SliceData(raw), len(raw))}
	l := lines{text: d.rest}
	want, ok := d.sum()
	if !ok {
		return Tree{}, d.refusal()
	}
	// No field holds a newline, so this is where the canonical text ends, if it does.
	begin, end := len(raw)-len(d.rest), strings.LastIndex(l.text, "\nblobs ")+1
	sum := make(chan digest.Digest, 1)
	go func() { sum <- digest.FromBytes(raw[begin:max(begin, end)]) }()
	sizes, ok := d.entries(&l)
	if !ok {
		return Tree{}, d.refusal()
	}
	if len(raw)-len(d.rest) != end {
		d.fail("no line \"blobs N\"")
		return Tree{}, d.refusal()
	}
	if !d.places(&l, sizes) {
		return Tree{}, d.refusal()
	}
	if found := <-sum; found != want {
		d.line = 1
		d.fail("the digest is " + string(found))
		return Tree{}, d.refusal()
	}
	return Tree{rows: &l, digest: want}, nil
}

// lines are the entries of an encoded Tree that Decode found nothing wrong with.
type lines struct {
	text   string
	starts []uint32        // of each entry's line
	files  []uint32        // how many files come before the entry
	places []uint32        // starts of each file's place
	blobs  []digest.Digest //
}

func (l *lines) len() int { return len(l.starts) }

func (l *lines) at(i int) Entry {
	var e Entry
	d := decoder{}
	d.entry(&e, l.line(l.starts[i]))
	if e.Type == File {
		d.place(&e, l.line(l.places[l.files[i]]), l.blobs)
	}
	return e
}

// line is the line that starts at a place of the text.
func (l *lines) line(start uint32) string {
	line, _, _ := strings.Cut(l.text[start:], "\n")
	return line
}

// decoder walks the text line by line; why and line describe the first fault.
type decoder struct {
	rest string
	line int
	why  string
}

func (d *decoder) refusal() error {
	return &reason.Error{Code: reason.TreeMalformed, What: fmt.Sprintf("read tree: line %d", d.line), Found: d.why}
}

func (d *decoder) fail(why string) bool {
	d.why = why
	return false
}

// next cuts one line off.
func (d *decoder) next() (string, bool) {
	d.line++
	i := strings.IndexByte(d.rest, '\n')
	if i < 0 {
		return "", d.fail("the text ends early")
	}
	line := d.rest[:i]
	d.rest = d.rest[i+1:]
	return line, true
}

// sum reads the first line, with the digest.
func (d *decoder) sum() (digest.Digest, bool) {
	line, ok := d.next()
	if !ok {
		return "", false
	}
	s, ok := strings.CutPrefix(line, sealed)
	if sum := digest.Digest(s); ok && validDigest(sum) {
		return sum, true
	}
	return "", d.fail("no digest")
}

// count reads a line of prefix and a number that the rest of the text has room for.
func (d *decoder) count(prefix string) (int, bool) {
	line, ok := d.next()
	if !ok {
		return 0, false
	}
	s, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return 0, d.fail("no line \"" + prefix + "N\"")
	}
	n, ok := number(s, int64(len(d.rest)))
	if !ok {
		return 0, d.fail("the count is wrong")
	}
	return int(n), true
}

// start is where the next line of l's text starts.
func (d *decoder) start(l *lines) uint32 { return uint32(len(l.text) - len(d.rest)) }

// entries checks every line of the canonical text, notes where it is, and gives
// the size of each file.
func (d *decoder) entries(l *lines) (sizes []int64, ok bool) {
	n, ok := d.count(header)
	if !ok || n == 0 || len(l.text) > math.MaxUint32 {
		return nil, d.fail("no header")
	}
	sizes = make([]int64, 0, n)
	l.starts, l.files = make([]uint32, n), make([]uint32, n)
	var prev Entry
	for i := range n {
		l.starts[i], l.files[i] = d.start(l), uint32(len(sizes))
		line, ok := d.next()
		var e Entry
		if !ok || !d.entry(&e, line) {
			return nil, false
		}
		if i == 0 {
			if e.Path != "." || e.Type != Dir {
				return nil, d.fail("the first entry is not the root directory")
			}
		} else if why := follows(&prev, &e); why != "" {
			return nil, d.fail(why)
		}
		if e.Type == File {
			sizes = append(sizes, e.Size)
		}
		prev = e
	}
	l.places = make([]uint32, len(sizes))
	return sizes, true
}

// follows reports why e cannot stand directly behind prev in a Tree, or "".
func follows(prev, e *Entry) string {
	if code := validPath(e.Path); code != "" {
		return "the path is refused: " + string(code)
	}
	if prev.Path != "." && comparePaths(prev.Path, e.Path) >= 0 {
		return "paths are out of order"
	}
	up := parent(e.Path)
	switch {
	case up == ".":
	case up == prev.Path && prev.Type == Dir:
	case len(prev.Path) > len(up) && prev.Path[len(up)] == '/' && prev.Path[:len(up)] == up:
	default:
		return "the path's parent is not a directory of the tree"
	}
	return ""
}

// entry parses one line into e; the caller checks its place.
func (d *decoder) entry(e *Entry, line string) bool {
	cut := func() string {
		f, rest, _ := strings.Cut(line, " ")
		line = rest
		return f
	}
	ends := line == "" || line[len(line)-1] == ' '
	kind, mode := cut(), cut()
	if ends || len(kind) != 1 || len(mode) != 4 {
		return d.fail("the line is not an entry")
	}
	e.Type = Type(kind[0])
	for i := range 4 {
		c := mode[i]
		if c < '0' || c > '7' {
			return d.fail("the mode is wrong")
		}
		e.Mode = e.Mode<<3 | uint32(c-'0')
	}
	uid, ok1 := number(cut(), math.MaxUint16)
	gid, ok2 := number(cut(), math.MaxUint16)
	e.UID, e.GID = uint32(uid), uint32(gid)
	time := cut()
	digits, negative := strings.CutPrefix(time, "-")
	var ok3, ok4 bool
	e.MTime, ok3 = number(digits, math.MaxInt64)
	switch {
	case time == "-9223372036854775808": // has no positive
		e.MTime, ok3 = math.MinInt64, true
	case negative:
		ok3 = ok3 && e.MTime != 0
		e.MTime = -e.MTime
	}
	e.Path, ok4 = field(cut(), &plain)
	if !ok1 || !ok2 || !ok3 || !ok4 || e.Path == "" {
		return d.fail("the owner, time or path is wrong")
	}
	switch e.Type {
	case File:
		var ok bool
		e.Size, ok = number(cut(), math.MaxInt64)
		e.Digest = digest.Digest(cut())
		if !ok || !sizedDigest(e) {
			return d.fail("the size or digest is wrong")
		}
	case Symlink:
		var ok bool
		e.Link, ok = field(cut(), &plain)
		if !ok || !validLink(e.Link) || e.Mode != 0o777 {
			return d.fail("the symlink is wrong")
		}
	case Dir, FIFO:
	default:
		return d.fail("the type is wrong")
	}
	if line == "" {
		return true
	}
	return d.extras(e, line)
}

// extras parses the optional fields at the end of a line.
func (d *decoder) extras(e *Entry, line string) bool {
	f, line, more := strings.Cut(line, " ")
	next := func() { f, line, more = strings.Cut(line, " ") }
	if f == "hardlink" {
		if e.Type != File {
			return d.fail("a hard link that is not a file")
		}
		e.HardLink = true
		if !more {
			return true
		}
		next()
	}
	if s, ok := strings.CutPrefix(f, "origin="); ok {
		if s != Ours {
			return d.fail("the origin is unknown")
		}
		e.Origin = Ours
		if !more {
			return true
		}
		next()
	}
	last, size := "", 0
	for {
		s, ok := strings.CutPrefix(f, "xattr:")
		k, v, ok2 := strings.Cut(s, "=")
		name, ok3 := field(k, &key)
		val, ok4 := field(v, &value)
		size += len(name) + len(val)
		if !ok || !ok2 || !ok3 || !ok4 || name <= last || !keptXattr(name) || size > maxXattrs {
			return d.fail("an extended attribute or an unknown field is wrong")
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name], last = val, name
		if !more {
			return true
		}
		next()
	}
}

// places checks the part behind the canonical text and notes where its lines are.
func (d *decoder) places(l *lines, sizes []int64) bool {
	n, ok := d.count("blobs ")
	if !ok {
		return false
	}
	l.blobs = make([]digest.Digest, n)
	seen := make(map[digest.Digest]bool, n)
	for i := range l.blobs {
		line, ok := d.next()
		if !ok {
			return false
		}
		l.blobs[i] = digest.Digest(line)
		if !validDigest(l.blobs[i]) || seen[l.blobs[i]] {
			return d.fail("the blob is wrong")
		}
		seen[l.blobs[i]] = true
	}
	used := 0
	file := 0
	for _, start := range l.starts {
		if Type(l.text[start]) != File {
			continue
		}
		l.places[file] = d.start(l)
		line, ok := d.next()
		if !ok {
			return false
		}
		e := Entry{Size: sizes[file]}
		file++
		if !d.place(&e, line, l.blobs[:min(used+1, n)]) {
			return false
		}
		if e.Blob != "" && used < n && e.Blob == l.blobs[used] {
			used++
		}
	}
	d.line++
	if used != n {
		return d.fail("a blob is not used")
	}
	if d.rest != "" {
		return d.fail("data behind the end")
	}
	return true
}

// place parses a file's place in one of the blobs.
func (d *decoder) place(e *Entry, line string, blobs []digest.Digest) bool {
	if line == "-" {
		return true
	}
	blob, offset, _ := strings.Cut(line, " ")
	b, ok1 := number(blob, int64(len(blobs))-1)
	at, ok2 := number(offset, math.MaxInt64-e.Size)
	if !ok1 || !ok2 {
		return d.fail("the place is wrong")
	}
	e.Blob, e.Offset = blobs[b], at
	return true
}

// number parses a decimal without sign or leading zeros, at most limit.
func number(s string, limit int64) (int64, bool) {
	if s == "" || len(s) > 19 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	if n > math.MaxInt64 || int64(n) > limit {
		return 0, false
	}
	return int64(n), true
}

// validDigest is digest.Digest's own rule for sha256, without its regular expression.
func validDigest(d digest.Digest) bool {
	const prefix = "sha256:"
	return len(d) == len(prefix)+64 && d[:len(prefix)] == prefix && hex.spells(string(d[len(prefix):]))
}

// sizedDigest reports whether e's digest is one, and is that of no bytes when, and only
// when, e has none.
func sizedDigest(e *Entry) bool {
	return validDigest(e.Digest) && (e.Size == 0) == (e.Digest == empty)
}

// validLink reports whether s can be a symlink's target.
func validLink(s string) bool {
	return s != "" && len(s) <= maxPath && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}
