package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program and attach types of bpf(2).
const (
	progCgroupDevice    = 15
	progRawTracepoint   = 17
	progTracing         = 26
	progLSM             = 29
	attachRawTracepoint = 23
	attachLSM           = 27
)

// load loads a program that returns 0 and drops it. A program that attaches to
// something typed names it: its id is looked up in the kernel's BTF.
func load(typ, attach uint32, target string) (string, error) {
	var id uint32
	if target != "" {
		raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
		if err != nil {
			return "", err
		}
		if id, err = typeID(raw, target); err != nil {
			return "", err
		}
	}
	code := &[2]uint64{0xb7, 0x95} // r0 = 0; exit
	license := &[4]byte{'G', 'P', 'L'}
	var pin runtime.Pinner // the structure holds them as numbers
	defer pin.Unpin()
	pin.Pin(code)
	pin.Pin(license)
	attr := struct {
		typ, count    uint32
		code, license uint64
		logLevel      uint32
		logSize       uint32
		log           uint64
		kernel, flags uint32
		name          [16]byte
		ifindex       uint32
		attach        uint32
		_             [36]byte // BTF of the program
		target        uint32
		_             uint32
	}{typ: typ, count: 2, code: uint64(uintptr(unsafe.Pointer(code))), license: uint64(uintptr(unsafe.Pointer(license))),
		attach: attach, target: id}
	const progLoad = 5
	fd, _, errno := unix.Syscall(unix.SYS_BPF, progLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return "", fmt.Errorf("load: %w", errno)
	}
	unix.Close(int(fd))
	return "loads", nil
}

// BTF as in the kernel's Documentation/bpf/btf.rst.
const (
	btfMagic    = 0xeb9f
	kindInt     = 1
	kindArray   = 3
	kindStruct  = 4
	kindUnion   = 5
	kindEnum    = 6
	kindTypedef = 8
	kindFunc    = 12
	kindProto   = 13
	kindVar     = 14
	kindDatasec = 15
	kindDeclTag = 17
	kindEnum64  = 19
)

var errBTF = errors.New("malformed BTF")

// typeID finds a typedef or function by name.
func typeID(raw []byte, name string) (uint32, error) {
	order := binary.NativeEndian
	if len(raw) < 24 || order.Uint16(raw) != btfMagic {
		return 0, errBTF
	}
	head := uint64(order.Uint32(raw[4:]))
	typeOff, typeLen := uint64(order.Uint32(raw[8:])), uint64(order.Uint32(raw[12:]))
	strOff, strLen := uint64(order.Uint32(raw[16:])), uint64(order.Uint32(raw[20:]))
	size := uint64(len(raw))
	if head+typeOff+typeLen > size || head+strOff+strLen > size {
		return 0, errBTF
	}
	types, names := raw[head+typeOff:][:typeLen], raw[head+strOff:][:strLen]
	at := bytes.Index(names, append(append([]byte{0}, name...), 0))
	if at < 0 {
		return 0, fmt.Errorf("the kernel has no %s", name)
	}
	want := uint32(at + 1)
	for id := uint32(1); len(types) >= 12; id++ {
		info := order.Uint32(types[4:])
		kind, n := info>>24&0x1f, uint64(info&0xffff)
		if order.Uint32(types) == want && (kind == kindTypedef || kind == kindFunc) {
			return id, nil
		}
		skip := uint64(12)
		switch kind {
		case kindInt, kindVar, kindDeclTag:
			skip += 4
		case kindArray:
			skip += 12
		case kindStruct, kindUnion, kindDatasec, kindEnum64:
			skip += 12 * n
		case kindEnum, kindProto:
			skip += 8 * n
		}
		if skip > uint64(len(types)) {
			return 0, errBTF
		}
		types = types[skip:]
	}
	return 0, fmt.Errorf("the kernel has no type %s", name)
}
