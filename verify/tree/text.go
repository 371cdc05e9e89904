package tree

import (
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// The canonical text of a Tree, whose sha256 is the Tree's digest, is the line
//
//	ztlaunch tree 1 COUNT
//
// and one line for each of the COUNT entries, in depth-first order:
//
//	TYPE MODE UID GID MTIME PATH [SIZE DIGEST] [TARGET] [hardlink] [origin=ORIGIN] [xattr:NAME=VALUE]...
//
// Fields are separated by one space and lines end with a newline. TYPE is f, d, l
// or p; MODE is four octal digits, the other numbers are decimal without leading
// zeros. SIZE and DIGEST ("sha256:" and 64 lower-case hex digits) stand for files
// only, TARGET for symlinks only. Attributes are in order of NAME. In PATH,
// TARGET, ORIGIN, NAME and VALUE the bytes 0x00-0x20, 0x7f, '%' and, in NAME only,
// '=' are written as '%' and two upper-case hex digits; VALUE writes bytes over
// 0x7e in the same way.
//
// Encode writes the line
//
//	tree DIGEST
//
// with the Tree's digest, the canonical text, then
//
//	blobs N
//
// with N lines of one diffID each, in the order of their first use, and one line
//
//	BLOB OFFSET
//
// per file entry, in order: the number of its blob from 0 on and the offset of its
// first byte there, or "-" for a file that lies in no blob.
const (
	header  = "ztlaunch tree 1 "
	sealed  = "tree "
	hexCaps = "0123456789ABCDEF"
)

// Encode is the Tree as text, for keeping under a name that is derived from the
// digests of all its inputs. The zero Tree encodes as nothing.
func (t Tree) Encode() []byte {
	if t.Zero() {
		return nil
	}
	b := append(make([]byte, 0, 176*t.Len()), sealed+string(t.digest)+"\n"...)
	b = appendText(b, t.rows)
	index := map[digest.Digest]int{}
	var blobs []digest.Digest
	for e := range t.Entries() {
		if _, ok := index[e.Blob]; ok || e.Blob == "" {
			continue
		}
		index[e.Blob] = len(blobs)
		blobs = append(blobs, e.Blob)
	}
	b = append(b, "blobs "...)
	b = strconv.AppendInt(b, int64(len(blobs)), 10)
	b = append(b, '\n')
	for _, d := range blobs {
		b = append(b, d...)
		b = append(b, '\n')
	}
	for e := range t.Entries() {
		switch {
		case e.Type != File:
		case e.Blob == "":
			b = append(b, "-\n"...)
		default:
			b = strconv.AppendInt(b, int64(index[e.Blob]), 10)
			b = append(b, ' ')
			b = strconv.AppendInt(b, e.Offset, 10)
			b = append(b, '\n')
		}
	}
	return b
}

// appendText appends the canonical text.
func appendText(b []byte, r rows) []byte {
	b = append(b, header...)
	b = strconv.AppendInt(b, int64(r.len()), 10)
	b = append(b, '\n')
	for i := range r.len() {
		e := r.at(i)
		b = appendLine(b, &e)
	}
	return b
}

func appendLine(b []byte, e *Entry) []byte {
	b = append(b, byte(e.Type), ' ',
		'0'+byte(e.Mode>>9&7), '0'+byte(e.Mode>>6&7), '0'+byte(e.Mode>>3&7), '0'+byte(e.Mode&7), ' ')
	b = strconv.AppendUint(b, uint64(e.UID), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(e.GID), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.MTime, 10)
	b = append(b, ' ')
	b = appendField(b, e.Path, &plain)
	switch e.Type {
	case File:
		b = append(b, ' ')
		b = strconv.AppendInt(b, e.Size, 10)
		b = append(b, ' ')
		b = append(b, e.Digest...)
	case Symlink:
		b = append(b, ' ')
		b = appendField(b, e.Link, &plain)
	case Dir, FIFO:
	}
	if e.HardLink {
		b = append(b, " hardlink"...)
	}
	if e.Origin != "" {
		b = append(b, " origin="...)
		b = appendField(b, e.Origin, &plain)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		b = append(b, " xattr:"...)
		b = appendField(b, name, &key)
		b = append(b, '=')
		b = appendField(b, e.Xattrs[name], &value)
	}
	return append(b, '\n')
}

// An alphabet is the bytes that stand for themselves in a field, as a set: one look
// for each byte, since a launch reads a million of them.
type alphabet [4]uint64

var (
	plain = alphabet{^uint64(1<<'!'-1) &^ (1 << '%'), ^uint64(1 << (0x7f - 64)), ^uint64(0), ^uint64(0)} // PATH, TARGET, ORIGIN
	key   = alphabet{plain[0] &^ (1 << '='), plain[1], plain[2], plain[3]}                               // NAME: not '='
	value = alphabet{plain[0], plain[1]}                                                                 // VALUE: nothing over 0x7e
	hex   = alphabet{(1<<10 - 1) << '0', (1<<6 - 1) << ('a' - 64)}                                       // a digest's digits
)

// bare reports whether c stands for itself in a field of alphabet a.
func (a *alphabet) bare(c byte) bool { return a[c>>6]>>(c&63)&1 != 0 }

// spells reports whether all of s stands for itself.
func (a *alphabet) spells(s string) bool {
	all := uint64(1)
	for i := range len(s) {
		all &= a[s[i]>>6] >> (s[i] & 63)
	}
	return all&1 != 0
}

func appendField(b []byte, s string, a *alphabet) []byte {
	for i := range len(s) {
		if c := s[i]; a.bare(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexCaps[c>>4], hexCaps[c&15])
		}
	}
	return b
}

// field undoes appendField and accepts nothing that appendField would not write.
func field(s string, a *alphabet) (string, bool) {
	if a.spells(s) {
		return s, true
	}
	i := 0
	for a.bare(s[i]) {
		i++
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := nibble(s[i+1]), nibble(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			if a.bare(c) {
				return "", false
			}
			i += 2
		} else if !a.bare(c) {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), true
}

func nibble(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
