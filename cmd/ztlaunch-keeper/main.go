// Command ztlaunch-keeper waits beside one launch and cleans up after it when the
// launcher was killed. Only ztlaunch starts it; package keeper says how.
package main

import (
	"os"

	"github.com/ztlaunch/ztlaunch/launch/keeper"
)

func main() { os.Exit(keeper.Main(os.Args[1:])) }
