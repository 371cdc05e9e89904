package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	slotSize = 4096
	headTag  = "ztlaunch/audit-head/v1\n"
)

// Head is how far a chain has come. Keep one elsewhere to anchor the chain.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
	Size int64  `json:"size"` // bytes of the log after record Seq
}

// slot is the text of one head, without the padding.
func (h Head) slot(key []byte) []byte {
	text, _ := canonical(h) // a struct of numbers and hex always encodes
	text = text[:len(text)-1]
	m := hmac.New(sha256.New, key)
	m.Write([]byte(headTag))
	m.Write(text)
	text = append(text, `,"mac":"`...)
	text = append(text, hex.EncodeToString(m.Sum(nil))...)
	return append(text, "\"}\n"...)
}

// parseSlot reads one slot. The zero Head and no error: never written.
func parseSlot(raw, key []byte) (Head, error) {
	text, pad, _ := bytes.Cut(raw, []byte("\n"))
	if len(bytes.Trim(raw, "\x00")) == 0 {
		return Head{}, nil
	}
	var h struct {
		Head
		MAC string `json:"mac"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return Head{}, err
	}
	want := h.Head.slot(key)
	if !hmac.Equal(want[:len(want)-1], text) || len(bytes.Trim(pad, "\x00")) != 0 || h.Seq == 0 {
		return Head{}, errors.New("the mac is not the host's")
	}
	return h.Head, nil
}

// readHead returns the newest head, and whether the slot that an append would
// be writing is damaged.
func readHead(path string, key []byte) (h Head, torn bool, err error) {
	f, err := file.Plain(path, os.O_RDONLY)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return Head{}, false, &reason.Error{Code: reason.AuditHeadAbsent, What: "read " + path,
				Expected: "the head of the audit log", Found: "no such file", Next: next}
		}
		return Head{}, false, unwritable("read "+path, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 2*slotSize+1))
	if err != nil {
		return Head{}, false, unwritable("read "+path, err)
	}
	edited := &reason.Error{Code: reason.AuditHeadEdited, What: "read " + path,
		Expected: "a head written with this host's key", Found: "something else", Next: next}
	if len(raw) != 2*slotSize {
		return Head{}, false, edited
	}
	a, errA := parseSlot(raw[:slotSize], key)
	b, errB := parseSlot(raw[slotSize:], key)
	switch {
	case errA == nil && errB == nil:
		h = a
		if b.Seq > a.Seq {
			h, b = b, a
		}
		if h.Seq == 0 || h.Seq != b.Seq+1 {
			return Head{}, false, edited
		}
	case errA == nil && a.Seq > 0:
		h, torn = a, true
	case errB == nil && b.Seq > 0:
		h, torn = b, true
	default:
		return Head{}, false, edited
	}
	if !isHex(h.Hash) || h.Size <= 0 {
		return Head{}, false, edited
	}
	return h, torn, nil
}

// writeHead overwrites the older slot and syncs it.
func writeHead(path string, key []byte, h Head) error {
	f, err := file.Plain(path, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, slotSize)
	copy(page, h.slot(key))
	if _, err := f.WriteAt(page, int64(h.Seq%2)*slotSize); err != nil {
		return err
	}
	return file.SyncData(f)
}

// readKey reads the host's key; os.ErrNotExist when there is none.
func readKey(path string) ([]byte, error) {
	f, err := file.Plain(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, mode, err := file.Owner(f)
	if err != nil {
		return nil, err
	}
	if mode&0o077 != 0 {
		return nil, &reason.Error{Code: reason.AuditKeyExposed, What: "read " + path, Expected: "mode 0600",
			Found: mode.String(), Next: "chmod 600 " + path + ", if nobody else could have read it"}
	}
	raw, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(bytes.TrimSuffix(raw, []byte("\n"))))
	if err != nil || len(key) != 32 {
		return nil, &reason.Error{Code: reason.AuditKeyAbsent, What: "read " + path,
			Expected: "32 bytes as hex", Found: "something else", Next: next}
	}
	return key, nil
}

// replace writes a whole new file: a temporary name, synced, then renamed.
func replace(dir, name string, data []byte) error {
	tmp := dir + "/." + name + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, dir+"/"+name)
	}
	if err == nil {
		err = file.SyncFolder(dir)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}
