package main

import (
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
)

// progress shows the transfer of layers on a terminal, and nothing elsewhere.
// The function it returns takes the bars away again.
func progress() (show func(fetch.Event), done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	all := mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40))
	bars := map[digest.Digest]*mpb.Bar{}
	show = func(e fetch.Event) {
		if e.Cached {
			return
		}
		bar := bars[e.Digest]
		if bar == nil {
			bar = all.AddBar(e.Total, mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.Name(e.Digest.Encoded()[:12]+" ")),
				mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f")))
			bars[e.Digest] = bar
		}
		bar.SetCurrent(e.Done)
	}
	return show, all.Shutdown
}
