package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

func seccomp(string) (string, error) {
	const getActionAvail = 2
	for _, a := range []struct {
		name   string
		action uint32
	}{{"kill process", 0x80000000}, {"errno", 0x00050000}, {"allow", 0x7fff0000}} {
		action := a.action
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action)))
		if errno != 0 {
			return "", fmt.Errorf("action %s: %w", a.name, errno)
		}
	}
	return "filters can kill, refuse and allow", nil
}

func landlock(string) (string, error) {
	const createRulesetVersion = 1
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, createRulesetVersion)
	if errno != 0 {
		return "", fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	return "ABI " + strconv.Itoa(int(abi)), nil
}

// fanotify marks a file, opens it, and refuses the open from the group.
func fanotify(dir string) (string, error) {
	group, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("fanotify_init: %w", err)
	}
	g := os.NewFile(uintptr(group), "fanotify")
	defer g.Close()
	name := filepath.Join(dir, "watched")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return "", err
	}
	if err := unix.FanotifyMark(group, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, name); err != nil {
		return "", fmt.Errorf("fanotify_mark: %w", err)
	}
	opened := make(chan error, 1)
	go func() {
		f, err := os.Open(name)
		if err == nil {
			f.Close()
		}
		opened <- err
	}()
	var event unix.FanotifyEventMetadata
	b := make([]byte, 4096)
	n, err := unix.Read(group, b)
	if err == nil {
		err = binary.Read(bytes.NewReader(b[:n]), binary.NativeEndian, &event)
	}
	if err != nil {
		return "", fmt.Errorf("read a fanotify event: %w", err)
	}
	defer unix.Close(int(event.Fd))
	var answer bytes.Buffer
	_ = binary.Write(&answer, binary.NativeEndian, unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_DENY}) // memory
	if _, err := unix.Write(group, answer.Bytes()); err != nil {
		return "", fmt.Errorf("answer a fanotify event: %w", err)
	}
	if err := <-opened; !errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("an open that was refused gave %w", err)
	}
	return "an open was refused", nil
}

// memfdNoexec looks for the switch: setting it would hold for this process's
// pid namespace.
func memfdNoexec(string) (string, error) {
	b, err := os.ReadFile("/proc/sys/vm/memfd_noexec")
	if err != nil {
		return "", err
	}
	return "vm.memfd_noexec exists, " + string(bytes.TrimSpace(b)) + " here", nil
}

func pidfd(string) (string, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), unix.O_NONBLOCK)
	if err != nil {
		return "", fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return "", fmt.Errorf("pidfd_send_signal: %w", err)
	}
	return "opened and signalled", nil
}
