package tree

import (
	"archive/tar"
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	paxXattr  = "SCHILY.xattr."
	paxSparse = "GNU.sparse."
)

// textSize is what a header makes a Tree hold in memory, roughly.
func textSize(h *tar.Header) int64 {
	n := len(h.Name) + len(h.Linkname)
	for k, v := range h.PAXRecords {
		n += len(k) + len(v)
	}
	return int64(n)
}

// headerEntry is the Entry that a header describes, without a file's content. A
// device that is skipped comes out with no Type. On refusal it returns the code
// and what was found.
func headerEntry(h *tar.Header) (Entry, reason.Code, string) {
	var e Entry
	refuse := func(code reason.Code, format string, args ...any) (Entry, reason.Code, string) {
		return Entry{}, code, fmt.Sprintf(format, args...)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, paxSparse) {
			return refuse(reason.TarSparse, "%s", k)
		}
	}
	path, code := cleanName(h.Name)
	if code != "" {
		return refuse(code, "%q", h.Name)
	}
	e.Path = path
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeLink:
		e.Type = File
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type, e.Link = Symlink, h.Linkname
		if !validLink(e.Link) {
			return refuse(reason.TarPath, "target %q", h.Linkname)
		}
	case tar.TypeFifo:
		e.Type = FIFO
	case tar.TypeChar, tar.TypeBlock:
		if !strings.HasPrefix(path, "dev/") || h.Devmajor == 0 && h.Devminor == 0 {
			return refuse(reason.TarDevice, "device %d:%d", h.Devmajor, h.Devminor)
		}
		return Entry{}, "", ""
	case tar.TypeGNUSparse:
		return refuse(reason.TarSparse, "type %q", h.Typeflag)
	default:
		return refuse(reason.TarType, "type %q", h.Typeflag)
	}
	if e.Type != Dir && (path == "." || strings.HasSuffix(h.Name, "/")) {
		return refuse(reason.TarPath, "a %s with a directory's name", e.Type)
	}
	if h.Uid < 0 || h.Uid > 0xffff || h.Gid < 0 || h.Gid > 0xffff {
		return refuse(reason.TarIDRange, "owner %d:%d", h.Uid, h.Gid)
	}
	e.UID, e.GID = uint32(h.Uid), uint32(h.Gid)
	e.Mode = uint32(h.Mode) & 0o7777
	if e.Type == Symlink {
		e.Mode = 0o777
	}
	e.MTime = h.ModTime.Unix()
	size := 0
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok {
			continue
		}
		if strings.HasPrefix(name, "trusted.overlay.") {
			return refuse(reason.TarXattr, "%s", name)
		}
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		size += len(name) + len(v)
		if !keptXattr(name) || size > maxXattrs {
			return refuse(reason.TarXattr, "%q of %d bytes", name, len(v))
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = v
	}
	if e.Type != File && e.Type != Dir {
		e.Xattrs = nil // Linux has user.* on files and directories only
	}
	return e, "", ""
}

// keptXattr reports whether a Tree can hold an attribute of this name.
func keptXattr(name string) bool {
	return len(name) > len("user.") && len(name) <= 255 && strings.HasPrefix(name, "user.") &&
		!strings.HasPrefix(name, "user.overlay.") && strings.IndexByte(name, 0) < 0
}
