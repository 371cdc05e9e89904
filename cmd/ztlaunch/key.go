package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
)

// keyVerb makes key pairs in cosign's format.
func keyVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("key", true)
	prefix := fs.String("output-key-prefix", "cosign", "write PREFIX.key and PREFIX.pub")
	passfile := fs.String("passphrase-file", "", "read the passphrase from a file (default: COSIGN_PASSWORD)")
	if err := w.parse(fs, "generate [flags]", args); err != nil {
		return w.parsed("key", err)
	}
	if fs.NArg() != 1 || fs.Arg(0) != "generate" {
		return w.fail("key", strange("key", fs.Args(), "generate"))
	}
	pass, err := w.passphrase(*passfile, func() string { return w.unlocked() + ", for a key without one; or --passphrase-file FILE" })
	if err != nil {
		return w.fail("key", err)
	}
	pair, err := sign.Generate(pass)
	if err != nil {
		return w.fail("key", err)
	}
	if err := writePair(*prefix, pair); err != nil {
		return w.fail("key", err)
	}
	fmt.Fprintf(w.err, "wrote %s.key (keep it) and %s.pub (give it away)\n", *prefix, *prefix)
	return w.done("key", struct {
		header
		Private string `json:"private"`
		Public  string `json:"public"`
	}{header{"ztlaunch.key/v1", 0}, *prefix + ".key", *prefix + ".pub"}, "")
}

// writePair writes both halves; neither replaces a file that is there.
func writePair(prefix string, pair sign.Pair) error {
	for _, name := range []string{prefix + ".key", prefix + ".pub"} { // both or none
		if err := vacant(name, "--output-key-prefix PREFIX, another one"); err != nil {
			return err
		}
	}
	if err := writeNew(prefix+".key", pair.Private, 0o600); err != nil {
		return err
	}
	return writeNew(prefix+".pub", pair.Public, 0o644)
}

// vacant refuses to write a new file in place of one.
func vacant(name, next string) error {
	if _, err := os.Lstat(name); err != nil {
		return nil //nolint:nilerr // what else is wrong there, writing it tells
	}
	return &reason.Error{Code: reason.FileUnwritable, What: "write " + name, Expected: "no file of that name yet", Found: "one that is there", Next: next}
}

// writeNew writes a whole new file, synced, under its name in one step.
func writeNew(name string, content []byte, mode os.FileMode) error {
	unwritable := func(err error) error {
		return &reason.Error{Code: reason.FileUnwritable, What: "write " + name, Expected: "a new file in a writable folder", Err: err}
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".ztlaunch-*")
	if err != nil {
		return unwritable(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(f.Name(), name)
	}
	if errors.Is(err, fs.ErrExist) {
		return vacant(name, "rm "+reason.Word(name))
	}
	if err != nil {
		return unwritable(err)
	}
	return nil
}

// replaceFile writes a whole file in place of one that may be there.
func replaceFile(name string, content []byte, mode os.FileMode) error {
	temp := name + ".new"
	os.Remove(temp)
	if err := writeNew(temp, content, mode); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "write " + name, Err: err}
	}
	return nil
}

// passphrase is what unlocks a private key: from a file, or COSIGN_PASSWORD.
// Nobody is asked. next is what to do where it is nowhere.
func (w world) passphrase(file string, next func() string) ([]byte, error) {
	if file != "" {
		raw, err := readCapped(file, 64<<10)
		if err != nil {
			return nil, err
		}
		for len(raw) > 0 && (raw[len(raw)-1] == '\n' || raw[len(raw)-1] == '\r') {
			raw = raw[:len(raw)-1]
		}
		return raw, nil
	}
	if pass, ok := w.env("COSIGN_PASSWORD"); ok {
		return []byte(pass), nil
	}
	return nil, wrong("find the passphrase", "COSIGN_PASSWORD in the environment (it may be empty), or --passphrase-file FILE",
		next())
}

// unlocked is this command with an empty passphrase, as it is typed.
func (w world) unlocked() string {
	words := "COSIGN_PASSWORD= ztlaunch"
	for _, word := range w.self {
		words += " " + reason.Word(word)
	}
	return words
}

// privateKey opens a private key file.
func (w world) privateKey(file, passfile string) (sign.Key, error) {
	if file == "" {
		return sign.Key{}, wrong("find the key", "--key FILE with a private key", "ztlaunch key generate")
	}
	raw, err := readCapped(file, 64<<10)
	if err != nil {
		return sign.Key{}, err
	}
	pass, err := w.passphrase(passfile, func() string {
		if _, err := sign.Load(raw, nil); err == nil {
			return w.unlocked()
		}
		return "--passphrase-file FILE, which holds it"
	})
	if err != nil {
		return sign.Key{}, err
	}
	k, err := sign.Load(raw, pass)
	e, _ := reason.Of(err)
	switch {
	case e == nil:
	case e.Code == reason.SignKeyPassphrase && passfile != "":
		e.Next = "--passphrase-file FILE, the one with this key's passphrase"
	case e.Code == reason.SignKeyType && e.Found == "PUBLIC KEY":
		e.Next = otherHalf(file, ".pub", ".key")
	}
	return k, err
}

// otherHalf is --key with the other half of a pair, where it lies beside this one.
func otherHalf(file, from, to string) string {
	other := strings.TrimSuffix(file, from) + to
	if _, err := os.Stat(other); err != nil {
		other = "FILE"
	}
	if to == ".key" {
		return "--key " + reason.Word(other) + ": who signs needs the private key"
	}
	return "--key " + reason.Word(other) + ": whoever verifies needs the public key"
}

// parsed is the exit status after flags did not parse, or asked for help.
func (w world) parsed(verb string, err error) int {
	if errors.Is(err, errHelp) {
		return 0
	}
	return w.fail(verb, err)
}
