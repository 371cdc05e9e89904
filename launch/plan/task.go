package plan

import (
	"net/netip"
	"time"
)

// Task is what one run asks for, after flags or a task file were read and every
// host path was opened. It grants nothing: Build holds it against the
// admission's box.
type Task struct {
	ID         string   // 64 lower-case hex digits, unique per run
	Name       string   // the operator's name for it, or ""
	Labels     []string // "key=value"
	Entrypoint *string  // --entrypoint; a pointer to "" clears the image's
	Command    []string // the words after REF
	Env        []string // NAME=VALUE: env files first, then -e, in order
	WorkDir    string   // -w, or ""
	User       string   // -u user[:group], or ""
	Groups     []string // --group-add: supplementary groups, by number or by the image's names
	Hosts      []Name   // --add-host: more lines of /etc/hosts
	Hostname   string   // --hostname, or "" for the first 12 digits of ID
	Terminal   bool     // -t: a pseudo-terminal instead of three pipes
	Console    Size     // of the caller's terminal, zero when unknown
	Mounts     []Mount  // -v, --mount, --tmpfs, and the task file's mounts
	Models     []Model  // verified model trees
	Servers    []string // names of MCP servers bridged into the task
	Caps       []string // capabilities, without CAP_
	Limits     Limits   // zero fields mean the default
	Own        []string // the launcher's own folders: never a source
	Unsafe     []string // the weaker modes that the operator typed for this run: NoLimits
	Typed      bool     // the operator typed the grants; a task file's need box entries
}

// NoLimits is the word for a run whose memory and processors nothing bounds, where
// nothing can. What can be bounded still is.
const NoLimits = "no-limits"

// Size is a terminal's size in characters.
type Size struct{ Rows, Columns uint16 }

// Name is a line of /etc/hosts that the operator typed. It says where a name would be,
// and opens no way there.
type Name struct {
	Name string
	Addr netip.Addr
}

// Limits bound what a task may take from the host.
type Limits struct {
	Memory int64         // bytes
	CPUs   float64       // processors
	Pids   int64         // tasks
	Time   time.Duration // wall clock from start to kill; 0 = none
}

// Defaults are the limits of a task that names none.
var defaults = Limits{Memory: 2 << 30, CPUs: 2, Pids: 512}

// Class says what a mount is for.
type Class string

// The mount classes. Every one is nosuid and nodev; only Work and Scratch are
// writable, and none may be executed from unless the box grants it.
const (
	Work    Class = "work"    // a host folder the task changes
	Input   Class = "input"   // a host folder or file the task only reads
	Scratch Class = "scratch" // memory that vanishes with the task
)

// Mount is one path that the task asks to see.
type Mount struct {
	Class  Class
	Source Source // for Work and Input
	Target string // absolute, inside the task
	Exec   bool   // asked to be executable; needs a box entry
	Size   int64  // bytes, for Scratch; 0 = the default
	Mode   uint32 // for Scratch; 0 = 01777
}

// Source is a host path that the launcher has opened without following it any
// further: the mount is made from that descriptor, so a later rename or symlink
// changes nothing.
type Source struct {
	Asked    string // as the operator wrote it
	Real     string // where the descriptor is, resolved by the kernel
	Handle   int    // the launcher's descriptor, O_PATH
	Dir      bool
	Socket   bool
	UID, GID uint32   // of the source itself
	Homes    []string // the home folders of the host's people
}

// Model is one verified model tree that the task sees at /models/NAME.
type Model struct {
	Name   string
	Target string
}
