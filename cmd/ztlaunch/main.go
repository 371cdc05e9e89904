// Command ztlaunch decides whether an AI agent's parts may run, runs exactly the
// bytes it decided on in a box cut to one task, and keeps checking those bytes
// while they run.
//
// This file only dispatches. Each verb has a file of its own; run.go is the one
// place where verification and launch meet; ui.go holds every sentence.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func main() {
	// A verification allocates little and is over soon: collecting less often is
	// a tenth of a launch's time, for some 30 MB.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(160 << 20) // from where on it collects as often as need be
	// A reader that went away is an error of the write, told with a status of its own,
	// and no silent death. Programs that are started do not inherit this.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	w := process()
	var err error
	if w.outer, err = entered(); err != nil {
		refusal(os.Stderr, "run", err)
		os.Exit(125)
	}
	os.Exit(dispatch(w, os.Args[1:]))
}

// world is everything outside the program that a verb may look at.
type world struct {
	in       *os.File
	out, err io.Writer
	env      func(string) (string, bool)
	now      func() time.Time
	root     string   // --root: where state and run folders lie; "" = the host's
	json     bool     // --json: refusals go to standard output too
	self     []string // the words after the program's name
	outer    bool     // in the namespaces of package outer: the user is the caller, and is 0 here
}

func process() world {
	return world{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv, now: time.Now, self: os.Args[1:]}
}

// verb is one word of the command line.
type verb struct {
	name  string
	usage string // what follows the name
	about string
	run   func(ctx context.Context, w world, args []string) int
}

func verbs() []verb {
	return []verb{
		{"run", "[flags] REF [CMD...]", "verify, admit, launch", runVerb},
		{"verify", "[--report FMT[=PATH]] [REF...]", "the same decision, without running", verifyVerb},
		{"tree", "[flags] REF", "what is attached to REF, trusting nothing", treeVerb},
		{"sign", "--key FILE REF | deny:FILE", "sign an image, a model or a deny feed", signVerb},
		{"attest", "--key FILE --type T --predicate FILE REF", "sign a statement about an image or a model", attestVerb},
		{"key", "generate", "make a key pair in cosign's format", keyVerb},
		{"policy", "init | check | explain | test | schema", "write, check, explain or test a policy", policyVerb},
		{"trust", "show | add FILE | update | diff FILE", "whose certificates and logs are believed", trustVerb},
		{"lock", "[--check | --update | --why NAME] [REF...]", "ztlaunch.lock: each digest that was admitted", lockVerb},
		{"adopt", "SRC --as NAME", "vouch for one exact digest with your own key", adoptVerb},
		{"sbom", "create SRC", "make an SBOM from the bytes of an image, model or folder", sbomVerb},
		{"copy", "SRC DST", "copy an image with its evidence", copyVerb},
		{"store", "ls | prune", "look after the store and the kept seals", storeVerb},
		{"audit", "show | verify", "the tamper-evident log", auditVerb},
		{"doctor", "", "what this host can enforce, tried, and what would fix the rest", doctorVerb},
		{"version", "", "which ztlaunch this is", versionVerb},
	}
}

// dispatch runs one verb and returns the exit status. A panic is status 5, or
// 125 for run: never success, whatever was printed before it.
func dispatch(w world, args []string) (status int) {
	name := ""
	defer func() {
		if fault := recover(); fault != nil {
			status = w.broke(name, args, fault)
		}
	}()
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch flag, value, joined := strings.Cut(args[0], "="); {
		case flag == "--root" && joined:
			w.root, args = value, args[1:]
		case flag == "--root" && len(args) > 1:
			w.root, args = args[1], args[2:]
		case flag == "-h" || flag == "--help":
			help(w.out)
			return 0
		case flag == "--version":
			args = []string{"version"}
		case flag == "--root":
			return w.unread(args, reason.FlagUnknown, "--root without a folder", "ztlaunch --root DIR VERB")
		case flag == "--json":
			return w.unread(args, reason.FlagUnknown, "unknown flag --json before the verb", "ztlaunch VERB --json")
		default:
			return w.unread(args, reason.FlagUnknown, "unknown flag "+flag, "ztlaunch help")
		}
	}
	if len(args) == 0 {
		help(w.err)
		return 2
	}
	if args[0] == "help" {
		if len(args) == 1 || args[1] == "-h" || args[1] == "--help" {
			help(w.out)
			return 0
		}
		args = about(args[1:])
	}
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == args[0] })
	if i < 0 {
		names := make([]string, len(all))
		for i, v := range all {
			names[i] = v.name
		}
		return w.unread(args, reason.UsageWrong, fmt.Sprintf("unknown verb %q%s", args[0], meant(args[0], names)), "ztlaunch help")
	}
	name = all[i].name
	return all[i].run(context.Background(), w, args[1:])
}

// about asks for the help of a verb, and of a verb's verb where it has a help of its
// own. Nothing else: a word more could be one that runs.
func about(words []string) []string {
	own := map[string][]string{"policy": {"init", "check", "explain", "test", "schema"}, "trust": {"show", "add", "update", "diff"}}
	if len(words) > 1 && slices.Contains(own[words[0]], words[1]) {
		return []string{words[0], words[1], "--help"}
	}
	return []string{words[0], "--help"}
}

// unread is a command line of which no verb was read.
func (w world) unread(args []string, code reason.Code, found, next string) int {
	if slices.Contains(args, "--json") {
		_ = writeJSON(w.out, asFailure(&reason.Error{Code: code, What: "read the command", Expected: "ztlaunch VERB", Found: found, Next: next}, 2)) // a closed output changes nothing
	}
	fmt.Fprintf(w.err, "ztlaunch: %s; see %s\n", found, next)
	return 2
}
