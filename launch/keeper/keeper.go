// Package keeper cleans up after a launch, also when the launcher was killed.
//
// Each launch has a folder RUN/tasks/NAME (0700, on a tmpfs) and one small
// process, the keeper: a program of its own (cmd/ztlaunch-keeper), because the
// launcher's libraries would cost its start ten times what it does itself. It has
// a session of its own and is started before anything of the task exists, even
// the folder. The
// folder is locked (flock on the folder itself) by launcher and keeper together,
// so it is locked exactly while one of them lives.
//
// The file RUN/tasks/NAME/record names everything that will have to go: one
// JSON object a line with one of the keys
//
//	cgroup  "/ztlaunch/ID"   in every hierarchy that is mounted
//	folder  absolute path    removed with all that is in it
//	mount   absolute path    unmounted, detached
//	init    a process id     with "start", its start time in clock ticks
//	userns  an inode number  of a user namespace: every process in it is killed
//
// A line is written before its thing exists (init: as soon as it is known), so
// a name without a thing is usual and a thing without a name impossible. A last
// line without its newline was never finished and does not count. The folder
// itself needs no line.
//
// Launcher and keeper share a socket (AF_UNIX, SOCK_SEQPACKET). The launcher
// sends "h" with a descriptor for the keeper to hold open, and "d" when all is
// clean. It sends "n" and the maps in JSON to be given a user namespace, which a
// small process makes for less than a large one: the answer is "n" with its
// descriptor, or "e" and the error's text. The end of the file without "d" means that the launcher died. The
// launcher's end is inherited by the runtime's process while that runs, so the
// keeper begins only when nobody is left who could make anything new.
//
// Cleaning goes: kill everything in the cgroups (cgroup.kill where there is a
// cgroup2 hierarchy; else freeze, kill each process by pidfd, thaw), kill init by
// its pidfd, and whatever is in the task's user namespace, remove the cgroups deepest first, unmount, remove folders, remove
// the task's folder. It trusts names that the launcher chose, never the runtime's
// state: a create that was killed leaves that unusable. What fails is said in
// RUN/tasks/NAME/failed, stays recorded, and is tried again by Sweep.
//
// If the keeper is killed, the launcher is told (Lost) and ends the task; if both
// are, the next Sweep finds the folder unlocked.
//
// The package does not know what a task is, keeps no logs, and never removes
// the cgroup /ztlaunch itself: another launcher may be about to use it.
package keeper

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/launch/userns"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Name is the keeper's file and argv[0] of its process.
const Name = "ztlaunch-keeper"

// pin is the sha256 of the keeper's program, in hex, set by the linker
// (-X .../launch/keeper.pin=). Empty means that this build pins none.
var pin string

// Pin is the sha256, in hex, of the keeper that this build accepts; "" when it
// was built without one.
func Pin() string { return pin }

const recordName = "record"

// The messages from launcher to keeper, and its answers.
const (
	hold  = 'h'
	done  = 'd'
	space = 'n' // a user namespace; answered with its descriptor, or
	fault = 'e' // with why there is none
)

// nextPrivate is what helps against a run folder that others could write.
const nextPrivate = "--root DIR in a folder that only you can write to; ztlaunch doctor"

// requestMax bounds a message, in bytes.
const requestMax = 4096

// Keeper is the launcher's hold on its keeper. Its methods may be called from
// several goroutines.
type Keeper struct {
	dir     string
	lock    *os.File // the task's folder
	line    *os.File // the launcher's end of the socket
	process *os.Process
	lost    chan struct{}
	answers chan answer

	ask     sync.Mutex // held from a request to its answer
	mu      sync.Mutex
	record  *os.File
	entries []Entry
	clean   bool
}

// Start makes a task's folder under run, locks it, and starts its keeper from
// the program p, which also inherits the files in held. The keeper lives in the calling thread's
// mount namespace: call Start before entering a private one, or the keeper would
// keep that alive.
//
// Code: keeper-failed.
func Start(run string, p program.Program, held ...*os.File) (*Keeper, error) {
	k, err := start(run, p, held)
	if err != nil {
		return nil, &reason.Error{Code: reason.KeeperFailed, What: "start the keeper", Err: err, Next: nextPrivate}
	}
	return k, nil
}

func start(run string, p program.Program, held []*os.File) (*Keeper, error) {
	if p.Zero() {
		return nil, errors.New("no program")
	}
	tasks, err := open(run)
	if err != nil {
		return nil, err
	}
	var name [8]byte
	_, _ = rand.Read(name[:]) // never fails
	k := &Keeper{dir: filepath.Join(tasks, hex.EncodeToString(name[:])), lost: make(chan struct{}), answers: make(chan answer)}
	// The process comes before the folder: whenever the launcher dies, somebody
	// knows the folder's name.
	if err := k.launch(p, held); err != nil {
		return nil, err
	}
	go k.watch()
	if err := k.settle(); err != nil {
		k.line.Close() // the keeper takes it for a death, and cleans up
		if k.lock != nil {
			k.lock.Close()
		}
		return nil, err
	}
	return k, nil
}

// settle makes and locks the folder, begins the record, and shares the lock.
func (k *Keeper) settle() error {
	for first := true; k.lock == nil; first = false {
		err := os.Mkdir(k.dir, 0o700)
		if err != nil && (first || !errors.Is(err, os.ErrExist)) {
			return err
		}
		// Nil when a sweep came between: it takes the empty folder for a dead
		// one, and is about to remove it.
		if k.lock, err = lockFolder(k.dir); err != nil {
			return err
		}
	}
	var err error
	k.record, err = os.OpenFile(filepath.Join(k.dir, recordName), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err == nil {
		err = k.send(hold, nil, k.lock)
	}
	return err
}

// lockFolder locks the folder dir, and gives nil when somebody else has it or
// has removed it.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		mine, err1 := f.Stat()
		there, err2 := os.Lstat(dir)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		err = unix.EWOULDBLOCK
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
}

// launch starts the keeper's process.
func (k *Keeper) launch(p program.Program, held []*os.File) error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(ends[1]), "keeper")
	defer theirs.Close()
	if err := unix.SetNonblock(ends[0], true); err != nil {
		unix.Close(ends[0])
		return os.NewSyscallError("fcntl", err)
	}
	k.line = os.NewFile(uintptr(ends[0]), "launcher")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// One thread to run Go on: the keeper does one thing at a time.
	k.process, err = os.StartProcess(p.File(), []string{Name, k.dir}, &os.ProcAttr{
		Dir: "/", Env: []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, Files: append([]*os.File{null, null, null, theirs}, held...),
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		k.line.Close()
	}
	return err
}

// answer is what the keeper said to a request.
type answer struct {
	file *os.File // of space
	why  string   // of fault
}

// watch passes answers on, and learns when the keeper is gone.
func (k *Keeper) watch() {
	defer close(k.lost)
	for {
		a, err := k.receive()
		if err != nil {
			return
		}
		k.answers <- a
	}
}

// receive waits for one answer.
func (k *Keeper) receive() (answer, error) {
	raw, err := k.line.SyscallConn()
	if err != nil {
		return answer{}, err
	}
	b, rights := make([]byte, requestMax), make([]byte, unix.CmsgSpace(4))
	var n, control int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, control, _, _, got = unix.Recvmsg(int(fd), b, rights, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(got, unix.EAGAIN) && !errors.Is(got, unix.EINTR)
	})
	if err := errors.Join(err, got); err != nil {
		return answer{}, err
	}
	if n == 0 {
		return answer{}, io.EOF
	}
	if b[0] == fault {
		return answer{why: string(b[1:n])}, nil
	}
	file, err := received(rights[:control])
	return answer{file: file}, err
}

// received is the one descriptor that came with a message.
func received(rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("no descriptor came along")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(err, errors.New("no descriptor came along"))
	}
	return os.NewFile(uintptr(fds[0]), "userns"), nil
}

// Userns gives a new user namespace with these maps.
//
// Codes: keeper-failed; seal-unsupported, where the host allows none.
func (k *Keeper) Userns(uids, gids []userns.Map) (*os.File, error) {
	const what = "make user namespace"
	k.ask.Lock()
	defer k.ask.Unlock()
	b, err := json.Marshal(maps{uids, gids})
	if err == nil {
		err = k.send(space, b, nil)
	}
	if err != nil {
		return nil, &reason.Error{Code: reason.KeeperFailed, What: what, Err: err}
	}
	select {
	case a := <-k.answers:
		if a.file == nil {
			return nil, &reason.Error{Code: reason.SealUnsupported, What: what, Expected: "a host that allows it", Found: a.why}
		}
		return a.file, nil
	case <-k.lost:
		return nil, &reason.Error{Code: reason.KeeperFailed, What: what, Expected: "a living keeper", Found: "none"}
	}
}

// maps is what a request for a user namespace says.
type maps struct {
	UIDs []userns.Map `json:"uids"`
	GIDs []userns.Map `json:"gids"`
}

// Dir is the task's own folder, empty but for the record. It goes when the task
// does, with everything in it, but nothing that is mounted in it.
func (k *Keeper) Dir() string { return k.dir }

// Line is the launcher's end of the socket, for runc.Container.Life.
func (k *Keeper) Line() *os.File { return k.line }

// Lost is closed when the keeper's process is gone. Before Clean that means that
// nobody would clean up after a crash: end the task.
func (k *Keeper) Lost() <-chan struct{} { return k.lost }

// Will records what is about to be made.
//
// Code: keeper-failed; then do not make it.
func (k *Keeper) Will(entries ...Entry) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range entries {
		err := e.check()
		if k.clean {
			err = errors.New("the task was cleaned up")
		}
		if err == nil {
			var line []byte
			line, err = json.Marshal(e)
			if err == nil {
				_, err = k.record.Write(append(line, '\n'))
			}
		}
		if err != nil {
			return &reason.Error{Code: reason.KeeperFailed, What: "record " + e.String(), Err: err}
		}
		k.entries = append(k.entries, e)
	}
	return nil
}

// Hold gives the keeper a descriptor of f, to keep open until the task is
// cleaned up: a lock that must outlive the launcher, or a fanotify group whose
// end would let pending opens through. It is held from the moment Hold returns.
//
// Code: keeper-failed.
func (k *Keeper) Hold(f *os.File) error {
	if err := k.send(hold, nil, f); err != nil {
		return &reason.Error{Code: reason.KeeperFailed, What: "hand " + f.Name() + " to the keeper", Err: err}
	}
	return nil
}

func (k *Keeper) send(message byte, words []byte, f *os.File) error {
	var rights []byte
	if f != nil {
		rights = unix.UnixRights(int(f.Fd()))
	}
	raw, err := k.line.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), append([]byte{message}, words...), rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, os.NewSyscallError("sendmsg", sent))
}

// Clean kills what is left of the task and removes everything recorded, the
// task's folder too, and lets the keeper go. It does nothing the second time.
//
// Code: keeper-unclean, when something could not be removed; the next Sweep
// tries again.
func (k *Keeper) Clean() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clean {
		return nil
	}
	if err := clean(k.dir, k.entries); err != nil {
		return err
	}
	k.clean = true
	_ = k.send(done, nil, nil) // lost to a keeper that is gone: there is nobody to tell
	return nil
}

// Close cleans, if Clean did not, and returns when the keeper's process has ended.
func (k *Keeper) Close() error {
	err := k.Clean()
	if err != nil {
		// As after a death: the keeper tries once more.
		_ = unix.Shutdown(int(k.line.Fd()), unix.SHUT_WR)
	}
	_, waited := k.process.Wait()
	<-k.lost
	if err == nil && waited != nil {
		err = fmt.Errorf("wait for the keeper: %w", waited)
	}
	k.line.Close()
	k.record.Close()
	k.lock.Close()
	return err
}
