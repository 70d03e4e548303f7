package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/sessiontest"
	"github.com/gensession/gensession/internal/servers"
)

// The command is tested as a binary, which is built once.
var binary string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(built{servers.Main(m)})
}

type built struct{ m interface{ Run() int } }

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "gensession-command-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gensession.exe") // a name that every system runs
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return b.m.Run()
}

// A result is what a run of the command has left.
type result struct {
	t        *testing.T
	args     []string
	code     int
	out, err string
}

// command runs the binary on a store. The store is in the environment; pairs of more
// variables are those arguments that begin with GENSESSION_.
func gensession(t *testing.T, store string, args ...string) result {
	t.Helper()
	env := []string{"GENSESSION_STORE=" + store}
	rest := slices.DeleteFunc(slices.Clone(args), func(a string) bool {
		is := strings.HasPrefix(a, "GENSESSION_")
		if is {
			env = append(env, a)
		}
		return is
	})
	cmd := exec.CommandContext(t.Context(), binary, rest...)
	cmd.Env = append(os.Environ(), env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok || ok && !exit.Exited() {
		t.Fatal(err)
	}
	return result{t, args, cmd.ProcessState.ExitCode(), out.String(), complaints.String()}
}

// want fails the test unless the command ended so, and has complained in words or not
// at all.
func (r result) want(code int, complaint string) result {
	r.t.Helper()
	if r.code != code || (r.err == "") != (complaint == "") || !strings.Contains(r.err, complaint) {
		r.t.Errorf("%q ends with %d, want %d; it says %q, want %q\n%s", r.args, r.code, code, r.err, complaint, r.out)
	}
	return r
}

// lines are the objects that the command has printed, one a line.
func (r result) lines() (all []map[string]any) {
	r.t.Helper()
	for line := range strings.Lines(r.out) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			r.t.Fatalf("%q prints %q: %v", r.args, line, err)
		}
		all = append(all, one)
	}
	return all
}

// An application keeps sessions in the store that the command looks after.
type application struct {
	t        *testing.T
	url      string
	sessions *core.Manager
	secrets  []string // in no output
}

var (
	signing = []byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")
	sealing = []byte("pL4sD6fG0yAZk3v9QwX1rT7mB5nH2cJ8")
)

const canary = "what-nobody-asked-for"

var secret = core.Key[string]("secret")

func newApplication(t *testing.T, url string, o *core.Options) *application {
	t.Helper()
	c := &command{store: url}
	s, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o.Keys = core.Keyring{signing}
	m, err := core.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return &application{t, url, m, nil}
}

// login makes a session, of an owner if that is not empty, and returns its fingerprint
// and a function that tells whether it lives.
func (a *application) login(o core.LoginOptions) (print string, lives func() bool) {
	a.t.Helper()
	var id core.ID
	h := sessiontest.New(a.t, a.sessions, func(s *core.Session) error {
		if err := secret.Set(s, canary); err != nil {
			return err
		}
		if o.Owner != "" {
			if err := s.Login(o); err != nil {
				return err
			}
		}
		return nil
	})
	if s := sessiontest.Look(a.t, a.sessions, h); s == nil {
		a.t.Fatal("no session was made")
	} else {
		id = s.ID()
	}
	a.secrets = append(a.secrets, string(id), h.Get("Cookie"))
	return id.String(), func() bool { s := sessiontest.Look(a.t, a.sessions, h); return s != nil && secret.Get(s) == canary }
}

// run runs the command, and looks for secrets in what it prints.
func (a *application) run(args ...string) result {
	a.t.Helper()
	r := gensession(a.t, a.url, args...)
	for _, s := range a.secrets {
		if strings.Contains(r.out, s) || strings.Contains(r.err, s) {
			a.t.Errorf("%q prints an id or a cookie", args)
		}
	}
	if !slices.Contains(args, "-values") && strings.Contains(r.out+r.err, canary) {
		a.t.Errorf("%q prints a value", args)
	}
	return r
}

// testSessions is all that the command does with sessions, on one store.
func testSessions(t *testing.T, url string) {
	a := newApplication(t, url, &core.Options{Owners: true})
	ownerKeys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(ownerKeys, append(signing, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	a.run("list").want(exitDone, "")
	a.run("count", "-json").want(exitDone, "")

	first, firstLives := a.login(core.LoginOptions{})
	second, secondLives := a.login(core.LoginOptions{})
	phone, phoneLives := a.login(core.LoginOptions{Owner: "ada", Label: "phone"})
	desk, deskLives := a.login(core.LoginOptions{Owner: "ada", Label: "de\u202esk"})
	_, bobLives := a.login(core.LoginOptions{Owner: "bob"})
	for _, lives := range []func() bool{firstLives, secondLives, phoneLives, deskLives, bobLives} {
		if !lives() {
			t.Fatal("a new session does not live")
		}
	}

	r := a.run("list").want(exitDone, "")
	if lines := strings.Split(strings.TrimSpace(r.out), "\n"); len(lines) != 6 || !strings.HasPrefix(lines[0], "FINGERPRINT  HANDLE ") || !strings.Contains(r.out, first) || !strings.Contains(r.out, "  ada\n") {
		t.Errorf("list prints\n%s", r.out)
	}
	listed := map[string]map[string]any{}
	for _, s := range a.run("list", "-json").want(exitDone, "").lines() {
		listed[s["fingerprint"].(string)] = s
	}
	if len(listed) != 5 || listed[second] == nil {
		t.Errorf("list has %v", listed)
	}
	if got, want := slices.Sorted(maps.Keys(listed[phone])), []string{"created", "fingerprint", "handle", "label", "lastUsed", "loggedIn", "owner", "size"}; !slices.Equal(got, want) {
		t.Errorf("a session has %v, want %v", got, want)
	}
	if at, err := time.Parse(time.RFC3339, fmt.Sprint(listed[phone]["loggedIn"])); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("it logged in at %v, %v", at, err)
	}
	handle := listed[phone]["handle"].(string)

	if r := a.run("show", first).want(exitDone, ""); !strings.Contains(r.out, first) || strings.Contains(r.out, second) {
		t.Errorf("show prints\n%s", r.out)
	}
	if r := a.run("show", "-values", first).want(exitDone, ""); !strings.Contains(r.out, `{"secret":"`+canary+`"}`) {
		t.Errorf("show -values prints\n%s", r.out)
	}
	if all := a.run("show", "-handle", handle, "-values", "-json").want(exitDone, "").lines(); len(all) != 1 || all[0]["fingerprint"] != phone || all[0]["label"] != "phone" || all[0]["values"].(map[string]any)["secret"] != canary {
		t.Errorf("show -handle has %v", all)
	}
	a.run("show", "id:00000000").want(exitNone, "there is no such session")
	a.run("show", "-handle", "NONE").want(exitNone, "there is no such session")

	if all := a.run("count", "-json").want(exitDone, "").lines(); len(all) != 1 || all[0]["sessions"] != 5.0 || all[0]["owned"] != 3.0 || all[0]["unreadable"] != 0.0 || all[0]["bytes"].(float64) < 500 {
		t.Errorf("count has %v", all)
	}

	a.run("end", first).want(exitDone, "")
	a.run("end", first).want(exitNone, "there is no such session")
	if firstLives() || !secondLives() {
		t.Error("end has not ended the one, or has ended another")
	}
	labels := map[any]bool{listed[desk]["label"]: true}
	for _, s := range a.run("list", "-owner", "ada", "-owner-keys", ownerKeys, "-json").want(exitDone, "").lines() {
		labels[s["label"]] = true
	}
	if !labels["de\u202esk"] || len(labels) != 2 { // escaped once
		t.Errorf("the labels are %v", labels)
	}
	a.run("list", "-owner", "ada").want(exitUsage, "needs the keys of the lists")
	if r := a.run("list", "-owner", "ada", "-owner-keys", ownerKeys).want(exitDone, ""); strings.Count(r.out, "\n") != 3 || !strings.Contains(r.out, "  phone\n") {
		t.Errorf("list -owner prints\n%s", r.out)
	}
	if all := a.run("list", "-json", "-owner", "ada", "GENSESSION_OWNER_KEYS="+string(signing)).want(exitDone, "").lines(); len(all) != 2 || all[0]["label"] == all[1]["label"] || all[0]["owner"] != "ada" {
		t.Errorf("list -owner has %v", all)
	}
	if all := a.run("list", "-owner", "ada", "-name", "other", "-owner-keys", ownerKeys).want(exitNone, `in the lists of -name "other"`); all.out != "" {
		t.Errorf("the list of another application is\n%s", all.out)
	}
	a.run("end", "-owner", "ada", "-handle", handle, "-owner-keys", ownerKeys).want(exitDone, "")
	a.run("end", "-owner", "ada", "-handle", handle, "-owner-keys", ownerKeys).want(exitNone, "there is no such session")
	if phoneLives() || !deskLives() {
		t.Error("end -handle has not ended the one, or has ended another")
	}
	_, tabletLives := a.login(core.LoginOptions{Owner: "ada"})
	if all := a.run("end", "-owner", "ada", "-owner-keys", ownerKeys, "-json").want(exitDone, "").lines(); len(all) != 1 || all[0]["ended"] != 2.0 {
		t.Errorf("end -owner has %v", all)
	}
	if deskLives() || tabletLives() || !bobLives() {
		t.Error("end -owner has not ended all of the owner, or others")
	}
	a.run("end", "-owner", "ada", "-owner-keys", ownerKeys).want(exitNone, "there is no such session")
	a.run("end", desk).want(exitNone, "there is no such session")
}

// testSealed is what sealing changes.
func testSealed(t *testing.T, url string) {
	a := newApplication(t, url, &core.Options{Prefix: "sealed:", Seal: core.Sealing{Keys: core.Keyring{sealing}}})
	one, oneLives := a.login(core.LoginOptions{})
	two, twoLives := a.login(core.LoginOptions{})
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("another key, of another time\n"+string(sealing)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.run("list", "-prefix", "sealed:").want(exitDone, ""); strings.Count(r.out, "unreadable: ") != 2 || !strings.Contains(r.out, one) {
		t.Errorf("list prints\n%s", r.out)
	}
	if r := a.run("show", "-prefix", "sealed:", "-values", one).want(exitDone, ""); strings.Contains(r.out, canary) || !strings.Contains(r.out, "unreadable") {
		t.Errorf("show prints\n%s", r.out)
	}
	if r := a.run("show", "-prefix", "sealed:", "-values", "-seal-keys", file, one).want(exitDone, ""); !strings.Contains(r.out, canary) {
		t.Errorf("show with the keys prints\n%s", r.out)
	}
	if r := a.run("list", "-prefix", "sealed:", "GENSESSION_SEAL_KEYS="+string(sealing)).want(exitDone, ""); strings.Contains(r.out, "unreadable") {
		t.Errorf("list with the keys prints\n%s", r.out)
	}
	a.run("end", "-prefix", "sealed:", one).want(exitDone, "") // which needs no key
	if oneLives() || !twoLives() {
		t.Error("end has not ended the one, or has ended another")
	}
	a.run("end", "-prefix", "sealed:", two).want(exitDone, "")
}

// testKoa is on the bare keys of KoaCompat.
func testKoa(t *testing.T, url string) {
	o := core.KoaCompat()
	o.Prefix = "koa:"
	a := newApplication(t, url, o)
	one, oneLives := a.login(core.LoginOptions{})
	if r := a.run("list", "-koa", "-prefix", "koa:").want(exitDone, ""); !strings.Contains(r.out, one) {
		t.Errorf("list prints\n%s", r.out)
	}
	if r := a.run("show", "-koa", "-prefix", "koa:", "-values", one).want(exitDone, ""); !strings.Contains(r.out, canary) {
		t.Errorf("show prints\n%s", r.out)
	}
	a.run("end", "-koa", "-prefix", "koa:", one).want(exitDone, "")
	if oneLives() {
		t.Error("end has not ended it")
	}
}

// made makes the table.
func made(t *testing.T, url string) string {
	gensession(t, url, "schema", "-create").want(exitDone, "")
	return url
}

func TestSessions(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"redis":     func(t *testing.T) string { return servers.Redis(t).URL() },
		"memcached": func(t *testing.T) string { return "memcached://" + servers.Memcached(t).Addr() },
		"memcached, two servers": func(t *testing.T) string {
			return "memcache://" + servers.Memcached(t).Addr() + "," + servers.Memcached(t).Addr()
		},
		"sqlite":   func(t *testing.T) string { return made(t, "sqlite:"+filepath.Join(t.TempDir(), "sessions.db")) },
		"postgres": func(t *testing.T) string { return made(t, servers.SharedPostgres(t).URL()) },
		"mariadb":  func(t *testing.T) string { return made(t, servers.SharedMariaDB(t).URL()) },
		"cluster":  func(t *testing.T) string { return "redis://" + servers.RedisCluster(t, 3, 0).Addrs()[0] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			testSessions(t, url)
			testSealed(t, url)
			testKoa(t, url)
		})
	}
}
