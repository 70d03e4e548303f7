package app

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Users stand for the table of your database.
type Users struct {
	cost    int    // of bcrypt
	nobody  []byte // a hash, for names that there are not
	mu      sync.Mutex
	byName  map[string]user
	ordered []string // by their names
}

type user struct {
	hash  []byte // of the password
	admin bool
}

// NewUsers returns an empty table. cost is that of bcrypt: bcrypt.DefaultCost, or
// bcrypt.MinCost in tests.
func NewUsers(cost int) (*Users, error) {
	nobody, err := bcrypt.GenerateFromPassword([]byte("nobody has this password"), cost)
	return &Users{cost: cost, nobody: nobody, byName: make(map[string]user)}, err
}

// A Problem is what a visitor has to put right, in the words of the page.
type Problem string

// Error returns the words.
func (p Problem) Error() string { return string(p) }

// What is wrong with a name or a password.
const (
	ErrWrong    Problem = "The name or the password is wrong."
	ErrTaken    Problem = "This name is taken."
	ErrName     Problem = "A name has 2 to 32 letters, digits, dots, dashes or underscores."
	ErrPassword Problem = "A password has at least 10 characters and at most 72 bytes."
)

var names = regexp.MustCompile(`^[a-z0-9._-]{2,32}$`)

// Add adds somebody, and returns the name as it is written in the table.
func (u *Users) Add(name, password string, admin bool) (string, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if !names.MatchString(name) {
		return "", ErrName
	}
	hash, err := u.hash(password)
	if err != nil {
		return "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, taken := u.byName[name]; taken {
		return "", ErrTaken
	}
	u.byName[name] = user{hash, admin}
	at, _ := slices.BinarySearch(u.ordered, name)
	u.ordered = slices.Insert(u.ordered, at, name)
	return name, nil
}

// maxPassword is that of bcrypt, in bytes. It would ignore the rest.
const maxPassword = 72

func (u *Users) hash(password string) ([]byte, error) {
	if len([]rune(password)) < 10 || len(password) > maxPassword {
		return nil, ErrPassword
	}
	return bcrypt.GenerateFromPassword([]byte(password), u.cost)
}

// Check returns the name if the password is right, else ErrWrong. It takes as long for a name that there is not.
func (u *Users) Check(name, password string) (string, error) {
	found, ok := u.find(name)
	hash := u.nobody
	if ok = ok && len(password) <= maxPassword; ok {
		hash = found.hash
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || !ok {
		return "", ErrWrong
	}
	return name, nil
}

// SetPassword gives somebody another password.
func (u *Users) SetPassword(name, password string) error {
	hash, err := u.hash(password)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	found, ok := u.byName[name]
	if !ok {
		return ErrWrong
	}
	found.hash = hash
	u.byName[name] = found
	return nil
}

// IsAdmin reports whether somebody may end the sessions of others.
func (u *Users) IsAdmin(name string) bool {
	found, _ := u.find(name)
	return found.admin
}

// Has reports whether there is somebody of that name.
func (u *Users) Has(name string) bool {
	_, ok := u.find(name)
	return ok
}

// Names are all names, in order.
func (u *Users) Names() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.ordered)
}

func (u *Users) find(name string) (user, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, ok := u.byName[name]
	return found, ok
}
