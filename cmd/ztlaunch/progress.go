package main

import (
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
)

// progress shows the transfer of layers on a terminal, as one bar over all that
// are known so far, and nothing elsewhere. The function it returns takes the bar
// away again.
func progress() (show func(fetch.Event), done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	total, moved := map[digest.Digest]int64{}, map[digest.Digest]int64{}
	bar := progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetWidth(40),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(50*time.Millisecond))
	show = func(e fetch.Event) {
		if e.Cached {
			return
		}
		total[e.Digest], moved[e.Digest] = e.Total, e.Done
		bar.Describe(fmt.Sprintf("%d layers", len(total)))
		bar.ChangeMax64(sum(total) + 1) // never full before the end
		_ = bar.Set64(sum(moved))       // a terminal that is gone has nobody to tell
	}
	return show, func() { _ = bar.Clear() } // likewise
}

func sum(of map[digest.Digest]int64) (n int64) {
	for _, v := range of {
		n += v
	}
	return n
}
