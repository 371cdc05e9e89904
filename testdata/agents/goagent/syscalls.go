package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// absent is a path that no image has.
var absent = []byte("/ztlaunch-absent\x00")

func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// plain is a call with numbers for arguments.
func plain(nr uintptr, args ...uintptr) func() error {
	return func() error { return raw(nr, args...) }
}

const (
	none = ^uintptr(0)      // a descriptor or size that cannot be
	cwd  = ^uintptr(0) - 99 // AT_FDCWD, -100
)

// syscalls are what a task has no business with, and a few that it needs (the
// sockets inet, unix and netlink, and getpid), to show that the probe can tell.
var syscalls = join(map[string]func() error{
	"getpid": plain(unix.SYS_GETPID),

	"mount":           func() error { return unix.Mount("none", "/ztlaunch-absent", "tmpfs", 0, "") },
	"umount":          func() error { return unix.Unmount("/ztlaunch-absent", 0) },
	"pivot_root":      plain(unix.SYS_PIVOT_ROOT, 0, 0),
	"chroot":          func() error { return unix.Chroot("/ztlaunch-absent") },
	"fsopen":          plain(unix.SYS_FSOPEN, 0, 0),
	"fsmount":         plain(unix.SYS_FSMOUNT, none, 0, 0),
	"fspick":          plain(unix.SYS_FSPICK, cwd, 0, 0),
	"open_tree":       func() error { return raw(unix.SYS_OPEN_TREE, cwd, uintptr(unsafe.Pointer(&absent[0])), 1) },
	"move_mount":      plain(unix.SYS_MOVE_MOUNT, none, 0, none, 0, 0),
	"mount_setattr":   plain(unix.SYS_MOUNT_SETATTR, none, 0, 0, 0, 0),
	"swapon":          plain(unix.SYS_SWAPON, 0, 0),
	"quotactl":        plain(unix.SYS_QUOTACTL, none, 0, 0, 0),
	"mknod":           mknod,
	"name_to_handle":  plain(unix.SYS_NAME_TO_HANDLE_AT, cwd, uintptr(0), 0, 0, 0),
	"open_by_handle":  plain(unix.SYS_OPEN_BY_HANDLE_AT, none, 0, 0),
	"unshare":         plain(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	"unshare-user":    plain(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	"unshare-mount":   plain(unix.SYS_UNSHARE, unix.CLONE_NEWNS),
	"unshare-net":     plain(unix.SYS_UNSHARE, unix.CLONE_NEWNET),
	"setns":           plain(unix.SYS_SETNS, none, 0),
	"clone3":          plain(unix.SYS_CLONE3, 0, 0),
	"ptrace":          plain(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0),
	"process_vm_read": plain(unix.SYS_PROCESS_VM_READV, none, 0, 0, 0, 0, 0),
	"pidfd_getfd":     plain(unix.SYS_PIDFD_GETFD, none, 0, 0),
	"kcmp":            func() error { pid := uintptr(unix.Getpid()); return raw(unix.SYS_KCMP, pid, pid, 1, 0, 0) },

	"bpf":             plain(unix.SYS_BPF, none, 0, 0),
	"perf_event_open": plain(unix.SYS_PERF_EVENT_OPEN, 0, 0, none, none, 0),
	"userfaultfd":     plain(unix.SYS_USERFAULTFD, 0),
	"io_uring_setup":  plain(unix.SYS_IO_URING_SETUP, 1, 0),
	"io_uring_enter":  plain(unix.SYS_IO_URING_ENTER, none, 0, 0, 0, 0, 0),
	"keyctl":          plain(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, none, 0, 0, 0),
	"add_key":         plain(unix.SYS_ADD_KEY, 0, 0, 0, 0, 0),
	"request_key":     plain(unix.SYS_REQUEST_KEY, 0, 0, 0, 0),
	"personality":     plain(unix.SYS_PERSONALITY, 0x0400000), // READ_IMPLIES_EXEC

	"init_module":   plain(unix.SYS_INIT_MODULE, 0, 0, 0),
	"finit_module":  plain(unix.SYS_FINIT_MODULE, none, 0, 0),
	"delete_module": plain(unix.SYS_DELETE_MODULE, 0, 0),
	"kexec_load":    plain(unix.SYS_KEXEC_LOAD, 0, none, 0, 0),
	"reboot":        plain(unix.SYS_REBOOT, 0, 0, 0, 0), // wrong magic numbers
	"sethostname":   plain(unix.SYS_SETHOSTNAME, 0, none),
	"settimeofday":  plain(unix.SYS_SETTIMEOFDAY, 1, 0), // an address that cannot be
	"syslog":        plain(unix.SYS_SYSLOG, 10, 0, 0),   // size of the kernel's log
	"acct":          func() error { return raw(unix.SYS_ACCT, uintptr(unsafe.Pointer(&absent[0]))) },
	"tiocsti":       func() error { return unix.IoctlSetPointerInt(0, unix.TIOCSTI, 'x') },

	"socket-alg":       socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"socket-vsock":     socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"socket-packet":    socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
	"socket-raw":       socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"socket-xdp":       socket(unix.AF_XDP, unix.SOCK_RAW, 0),
	"socket-bluetooth": socket(unix.AF_BLUETOOTH, unix.SOCK_RAW, 0),
	"socket-inet":      socket(unix.AF_INET, unix.SOCK_STREAM, 0),
	"socket-unix":      socket(unix.AF_UNIX, unix.SOCK_STREAM, 0),
	"socket-netlink":   socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
}, native)

// mknod makes the null device in /tmp.
func mknod() error {
	const path = "/tmp/ztlaunch-device"
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		return err
	}
	return unix.Unlink(path)
}

func join(a, b map[string]func() error) map[string]func() error {
	for name, call := range b {
		a[name] = call
	}
	return a
}
