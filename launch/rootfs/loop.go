package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// backing names the file behind a loop device, and how the device treats it.
type backing struct {
	device, inode uint64
	flags         uint32
}

const loopFlags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR

// sealLoop is sealRAMFS for kernels that mount EROFS from block devices only.
func sealLoop(ctx context.Context, t tree.Tree, src Source, lim Limits) (_ *Sealed, image *os.File, err error) {
	fd, err := unix.MemfdCreate("ztlaunch-root", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, unsupported("seal root", os.NewSyscallError("memfd_create", err))
	}
	image = os.NewFile(uintptr(fd), imageName)
	s, err := func() (*Sealed, error) {
		size, err := Build(ctx, t, src, image, lim)
		if err != nil {
			return nil, err
		}
		const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			return nil, unsupported("seal root", os.NewSyscallError("fcntl F_ADD_SEALS", err))
		}
		loop, err := attach(image)
		if err != nil {
			return nil, unsupported("mount sealed root", err)
		}
		defer closeAll(loop) // the mount holds the device from here on
		mount, err := newFS("erofs", map[string]string{"source": loop.Name()}, []string{"ro"}, attrs|unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			return nil, unsupported("mount sealed root", err)
		}
		return newSealed(mount, InLoop, t.Digest(), size)
	}()
	if err != nil {
		closeAll(image)
		return nil, nil, err
	}
	return s, image, nil
}

// attach puts image behind a free loop device. The device lets go of it when its last
// user closes.
func attach(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(control)
	const tries = 64 // somebody else may take the free device first
	for range tries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("ioctl LOOP_CTL_GET_FREE", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(image.Fd()), Size: 4096, Info: unix.LoopInfo64{Flags: loopFlags}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		closeAll(loop)
		if !errors.Is(err, unix.EBUSY) {
			return nil, os.NewSyscallError("ioctl LOOP_CONFIGURE", err)
		}
	}
	return nil, fmt.Errorf("no loop device is free after %d tries", tries)
}

// backingOf asks which file is behind the loop device that mount is on.
func backingOf(mount *os.File) (backing, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(mount.Fd()), &st); err != nil {
		return backing{}, os.NewSyscallError("fstat", err)
	}
	const loopMajor = 7
	if unix.Major(st.Dev) != loopMajor {
		return backing{}, fmt.Errorf("device %d:%d is no loop device", unix.Major(st.Dev), unix.Minor(st.Dev))
	}
	loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", unix.Minor(st.Dev)), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return backing{}, err
	}
	defer closeAll(loop)
	var dev unix.Stat_t
	if err := unix.Fstat(int(loop.Fd()), &dev); err != nil {
		return backing{}, os.NewSyscallError("fstat", err)
	}
	if dev.Rdev != st.Dev {
		return backing{}, fmt.Errorf("%s is another device", loop.Name())
	}
	info, err := unix.IoctlLoopGetStatus64(int(loop.Fd()))
	if err != nil {
		return backing{}, os.NewSyscallError("ioctl LOOP_GET_STATUS64", err)
	}
	return backing{info.Device, info.Inode, info.Flags}, nil
}
