package profiles

// never says why a call is one that a task never gets from Default, and that
// Lint refuses to see allowed; "" for all others. Most are denied by moby's
// profile already; listing them keeps a later version from opening one.
func never(name string) string {
	switch name {
	case "io_uring_setup", "io_uring_enter", "io_uring_register":
		return "its operations bypass seccomp"
	case "bpf":
		return "loads programs into the kernel"
	case "perf_event_open":
		return "observes other processes and the kernel"
	case "userfaultfd":
		return "stops the kernel inside copies, for exploits"
	case "ptrace":
		return "controls other processes and their system calls"
	case "process_vm_readv":
		return "reads other processes' memory"
	case "process_vm_writev":
		return "writes other processes' memory"
	case "process_madvise":
		return "acts on other processes' memory"
	case "pidfd_getfd":
		return "takes descriptors from other processes"
	case "kcmp":
		return "compares kernel pointers of processes"
	case "keyctl", "add_key", "request_key":
		return "keyrings are not in a namespace"
	case "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick":
		return "changes mounts"
	case "pivot_root", "chroot":
		return "changes the root"
	case "unshare":
		return "makes namespaces"
	case "setns":
		return "enters namespaces"
	case "open_by_handle_at":
		return "opens files past every mount"
	case "name_to_handle_at":
		return "only serves open_by_handle_at"
	case "fanotify_init", "fanotify_mark":
		return "watches and stalls other processes"
	case "kexec_load", "kexec_file_load":
		return "replaces the kernel"
	case "init_module", "finit_module", "create_module":
		return "loads kernel modules"
	case "delete_module":
		return "unloads kernel modules"
	case "modify_ldt":
		return "16-bit segments: kernel attack surface that no agent uses"
	case "iopl", "ioperm":
		return "gives access to hardware ports"
	case "memfd_secret":
		return "hides memory from inspection"
	case "vmsplice":
		return "maps pages into pipes, for exploits"
	case "socketcall":
		return "hides socket's arguments behind a pointer"
	case "ipc":
		return "hides its calls' arguments behind a pointer"
	case "reboot":
		return "stops the host"
	case "swapon", "swapoff":
		return "changes the host's memory"
	case "acct":
		return "writes host accounting"
	case "syslog":
		return "reads the kernel's log"
	case "quotactl", "quotactl_fd":
		return "changes quotas"
	case "settimeofday", "clock_settime":
		return "changes the host's clock"
	case "lookup_dcookie":
		return "names the kernel's cached paths"
	case "uselib":
		return "obsolete kernel attack surface"
	case "vhangup":
		return "hangs up terminals"
	case "set_mempolicy_home_node":
		return "places memory on the host's nodes"
	case "lsm_set_self_attr":
		return "changes security labels"
	case "statmount", "listmount":
		return "tells about mounts"
	}
	return ""
}
