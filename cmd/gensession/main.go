// Command gensession looks after the sessions of a store: it lists, shows, counts and
// ends them, and tells what is wrong with the store's server.
//
//	go install github.com/gensession/gensession/cmd/gensession@latest
//	GENSESSION_STORE=redis://127.0.0.1:6379/0 gensession doctor
//
// See -h, and docs/operating.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gensession/gensession/core"
)

// The exit codes.
const (
	exitDone    = 0
	exitFailed  = 1 // the store can't be reached, or has refused
	exitUsage   = 2
	exitNone    = 3 // no session is meant
	exitFinding = 4 // doctor has found a fault
)

const usage = `gensession looks after the sessions of a store.

	gensession COMMAND [flags] [id:FINGERPRINT]

Commands:

	list      all sessions, or with -owner those of an owner
	show      one session: id:FINGERPRINT as a log has it, or -handle
	end       log a session out: id:FINGERPRINT, -handle, or -owner for all of an owner
	count     how many sessions there are, and what else
	sweep     remove expired rows from a table
	schema    print the statements that make the table, or with -create make it
	doctor    tell what is wrong with the server of the store

All but list -owner, end -owner and doctor read every key of the store.

Flags:

%s
Environment:

	GENSESSION_STORE        the store, for an URL that has a password
	GENSESSION_SEAL_KEYS    the keys of Options.Seal, separated by blanks
	GENSESSION_OWNER_KEYS   Options.OwnerKeys or, if it has none, Options.Keys

Exit codes:

	0   done, and nothing is wrong
	1   the store can't be reached, or has refused
	2   the command makes no sense
	3   there is no such session
	4   doctor has found a fault
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// A command is what the arguments and the environment say.
type command struct {
	name string

	store    string
	prefix   string
	cookie   string
	table    string
	koa      bool
	sealKeys core.Keyring
	ownKeys  core.Keyring
	timeout  time.Duration

	print  string // the fingerprint
	owner  string
	handle string
	values bool
	create bool

	out output
}

// A mistake is an error of the command line.
type mistake string

func (m mistake) Error() string { return string(m) }

// errNone is that nothing is there that the command means.
var errNone = errors.New("there is no such session")

// noneOf is errNone of an owner. The lists of another application look the same as
// none, so it says which ones were looked at.
func (c *command) noneOf() error {
	return fmt.Errorf("%w of this owner, in the lists of -name %q and -prefix %q under these keys: they have to be those of the application", errNone, c.cookie, c.prefix)
}

func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	c, err := parse(args, env, stdout)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, usage, flagHelp())
		return exitDone
	}
	if err == nil {
		err = c.run(ctx)
	}
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFault):
		return exitFinding // it has been said what
	}
	fmt.Fprintf(stderr, "gensession: %v\n", err)
	if _, ok := errors.AsType[mistake](err); ok {
		return exitUsage
	}
	if errors.Is(err, errNone) {
		return exitNone
	}
	return exitFailed
}

func (c *command) run(ctx context.Context) error {
	switch c.name {
	case "list":
		return c.list(ctx)
	case "show":
		return c.show(ctx)
	case "end":
		return c.end(ctx)
	case "count":
		return c.count(ctx)
	case "sweep":
		return c.sweep(ctx)
	case "schema":
		return c.schema(ctx)
	default:
		return c.doctor(ctx)
	}
}

// flags binds the flags to c.
func (c *command) flags(sealFile, ownerFile *string) *flag.FlagSet {
	fs := flag.NewFlagSet("gensession", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.store, "store", "", "`URL`: redis://host:port/db, rediss://…, memcached://host:port[,host:port], sqlite:FILE, postgres://…, mysql://user@host:port/db. A command line can be seen by others: put one with a password into GENSESSION_STORE")
	fs.StringVar(&c.prefix, "prefix", "koa:sess:", "Options.`Prefix` of the application; \"\" is NoPrefix")
	fs.StringVar(&c.cookie, "name", "koa.sid", "Options.`Name` of the application, for -owner")
	fs.StringVar(&c.table, "table", "", "the `table`, of a database (default gensession)")
	fs.BoolVar(&c.koa, "koa", false, "the sessions are those of KoaCompat")
	fs.StringVar(sealFile, "seal-keys", "", "`file` with the keys of Options.Seal, one a line")
	fs.StringVar(ownerFile, "owner-keys", "", "`file` with Options.OwnerKeys or, if it has none, Options.Keys, one a line; for -owner")
	fs.StringVar(&c.owner, "owner", "", "list, end: the sessions of this `owner`")
	fs.StringVar(&c.handle, "handle", "", "show, end: the session of this `handle`, as list and Manager.ListByOwner have it")
	fs.BoolVar(&c.values, "values", false, "show: the values too")
	fs.BoolVar(&c.create, "create", false, "schema: make the table")
	fs.BoolVar(&c.out.json, "json", false, "print JSON: an object for each line")
	fs.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long a `call` of the store may take")
	return fs
}

// flagHelp is the part of the usage that the flags are in.
func flagHelp() string {
	var text strings.Builder
	var file string
	fs := new(command).flags(&file, &file)
	fs.VisitAll(func(f *flag.Flag) {
		name, help := flag.UnquoteUsage(f)
		if name != "" {
			name = " " + name
		}
		fmt.Fprintf(&text, "\t-%s%s\n\t\t%s", f.Name, name, help)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(&text, " (default %s)", f.DefValue)
		}
		text.WriteByte('\n')
	})
	return text.String()
}

var commands = []string{"list", "show", "end", "count", "sweep", "schema", "doctor"}

// parse reads the command line.
func parse(args []string, env func(string) string, stdout io.Writer) (*command, error) {
	c := &command{out: output{w: stdout}}
	var sealFile, ownerFile string
	fs := c.flags(&sealFile, &ownerFile)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c.name, args = args[0], args[1:]
	}
	// Flags may stand before and after the fingerprint.
	for {
		switch err := fs.Parse(args); {
		case errors.Is(err, flag.ErrHelp), err == nil && c.name == "help":
			return nil, flag.ErrHelp
		case err != nil:
			return nil, mistake(err.Error() + ": see gensession -h")
		case fs.NArg() == 0:
			return c, c.check(env, sealFile, ownerFile)
		case c.print != "":
			return nil, mistake("one session at a time: see gensession -h")
		}
		c.print, args = fs.Arg(0), fs.Args()[1:]
	}
}

// check looks whether the command makes sense, and reads the keys.
func (c *command) check(env func(string) string, sealFile, ownerFile string) (err error) {
	which := 0
	for _, is := range []bool{c.print != "", c.owner != "", c.handle != ""} {
		if is {
			which++
		}
	}
	names := func(name string, can ...string) bool {
		for _, n := range can {
			if n == c.name {
				return false
			}
		}
		return name != ""
	}
	if c.store == "" {
		c.store = env("GENSESSION_STORE")
	}
	switch {
	case c.name == "":
		return mistake("say what to do, before all flags: " + strings.Join(commands, ", ") + ". See gensession -h")
	case names(c.name, commands...):
		return mistake("there is no such command: " + strings.Join(commands, ", ") + ". See gensession -h")
	case c.print != "" && !fingerprint(c.print):
		return mistake("that is no fingerprint: it is id: and eight digits, as in a log. An id itself does not belong on a command line, which others can see")
	case names(c.print, "show", "end"), names(c.handle, "show", "end"), names(c.owner, "list", "end"):
		return mistake(c.name + " takes no session: see gensession -h")
	case c.values && c.name != "show":
		return mistake("-values is for show")
	case c.create && c.name != "schema":
		return mistake("-create is for schema")
	case c.name == "show" && which != 1:
		return mistake("say which session: id:FINGERPRINT or -handle")
	case c.name == "end" && (which == 0 || c.print != "" && which > 1):
		return mistake("say which session: id:FINGERPRINT, -handle or -owner")
	case c.timeout <= 0:
		return mistake("-timeout must be positive")
	case c.store == "":
		return mistake("say which store: -store or GENSESSION_STORE")
	}
	if c.sealKeys, err = keys(sealFile, env("GENSESSION_SEAL_KEYS")); err != nil {
		return err
	}
	c.ownKeys, err = keys(ownerFile, env("GENSESSION_OWNER_KEYS"))
	return err
}

// fingerprint reports whether s looks like one.
func fingerprint(s string) bool {
	digits, ok := strings.CutPrefix(s, "id:")
	return ok && len(digits) == 8 && strings.Trim(digits, "0123456789abcdef") == ""
}

// keys reads them from a file or else from what the environment has.
func keys(file, environment string) (all core.Keyring, err error) {
	if file != "" {
		text, err := os.ReadFile(file) // #nosec G304 -- the operator's own
		if err != nil {
			return nil, mistake("the keys can't be read: " + err.Error())
		}
		environment = string(text)
	}
	for _, key := range strings.Fields(environment) {
		all = append(all, []byte(key))
	}
	return all, nil
}
