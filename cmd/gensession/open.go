package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/gensession/gensession/core"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// A store is what all stores of this project are.
type store interface {
	core.Store
	Close() error
}

// An address is a store's URL, taken apart.
type address struct {
	scheme string
	rest   string
	whole  string
}

// Errors have no part of a URL, which may have a password.
var errURL = mistake("-store names no store: see gensession -h")

func (c *command) address() (address, error) {
	a := address{whole: c.store}
	a.scheme, a.rest, _ = strings.Cut(c.store, ":")
	rest, slashes := strings.CutPrefix(a.rest, "//")
	switch a.scheme {
	case "redis", "rediss":
	case "memcache", "memcached":
		a.scheme = "memcached"
	case "postgres", "postgresql":
		a.scheme = "postgres"
	case "mysql":
	case "sqlite":
		// With two slashes a name would be a file in the root directory.
		if a.rest == "" || slashes && !strings.HasPrefix(rest, "/") {
			return a, errURL
		}
		return a, nil
	default:
		return a, errURL
	}
	if a.rest = rest; !slashes || rest == "" {
		return a, errURL
	}
	return a, nil
}

// dialect returns that of a database, and 0 of another store.
func (a address) dialect() sqlstore.Dialect {
	return map[string]sqlstore.Dialect{"postgres": sqlstore.PostgreSQL, "mysql": sqlstore.MySQL, "sqlite": sqlstore.SQLite}[a.scheme]
}

// open opens the store. A server that is down is no error yet.
func (c *command) open() (store, error) {
	a, err := c.address()
	if err != nil {
		return nil, err
	}
	o := &sqlstore.Options{Table: c.table, NoSweep: true}
	var s store
	switch {
	case c.table != "" && a.dialect() == 0:
		err = mistake("-table is for a database")
	case a.scheme == "memcached":
		servers := strings.Split(a.rest, ",")
		var m *memcachestore.Store
		if m, err = memcachestore.Open(servers, nil); err != nil {
			return nil, mistake(err.Error())
		}
		s = &dumped{m, servers}
	case a.dialect() != 0:
		s, err = c.openDatabase(a, o)
	default:
		s, err = redisstore.Open(a.whole, nil)
		if err != nil && !errors.Is(err, core.ErrRefused) { // not a password that the server refuses
			err = mistake(err.Error())
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// A databaseStore closes its pool too.
type databaseStore struct {
	*sqlstore.Store
	db *sql.DB
}

func (s databaseStore) Close() error { return errors.Join(s.Store.Close(), s.db.Close()) }

func (c *command) openDatabase(a address, o *sqlstore.Options) (store, error) {
	db, err := a.pool()
	if err != nil {
		return nil, err
	}
	s, err := sqlstore.New(db, a.dialect(), o)
	if err != nil {
		return nil, errors.Join(mistake(err.Error()), db.Close())
	}
	return databaseStore{s, db}, nil
}

// pool is that of a database. It makes no file.
func (a address) pool() (*sql.DB, error) {
	if a.scheme == "sqlite" {
		file, err := filepath.Abs(a.rest)
		if err == nil {
			_, err = os.Stat(file)
		}
		if err != nil {
			return nil, err
		}
		return sql.Open("sqlite", fileURL(file, "rw"))
	}
	if a.scheme == "postgres" {
		config, err := pgx.ParseConfig(a.whole)
		if err != nil {
			return nil, errURL
		}
		return stdlib.OpenDB(*config), nil
	}
	u, err := url.Parse(a.whole)
	if err != nil {
		return nil, errURL
	}
	config, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, errURL
	}
	config.Net, config.Addr, config.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	if u.Port() == "" {
		config.Addr = u.Hostname() + ":3306"
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.InterpolateParams = true
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	// The doctor reads whole tables, and small ones of the server.
	config.Params["sql_big_selects"], config.Params["sql_select_limit"] = "1", "18446744073709551615"
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errURL
	}
	return sql.OpenDB(connector), nil
}

// manager returns one on the store that reads and ends sessions, and makes none.
func (c *command) manager() (*core.Manager, func(), error) {
	if c.koa && (len(c.sealKeys) > 0 || c.owner != "") {
		return nil, nil, mistake("-koa goes neither with keys of Options.Seal nor with -owner")
	}
	if c.owner != "" && len(c.ownKeys) == 0 {
		return nil, nil, mistake("-owner needs the keys of the lists: -owner-keys or GENSESSION_OWNER_KEYS")
	}
	s, err := c.open()
	if err != nil {
		return nil, nil, err
	}
	o := &core.Options{}
	if c.koa {
		o = core.KoaCompat()
	}
	o.Carrier = core.Header("Gensession-Id") // there are no requests
	o.Prefix, o.NoPrefix = c.prefix, c.prefix == ""
	o.OpTimeout, o.FailFast = c.timeout, true
	o.MaxSize = 64 << 20 // whatever the application allows
	o.Seal.Keys = c.sealKeys
	o.InsecureShortKeys = true // that is for the application to find out
	if c.owner != "" {
		o.Name, o.Owners, o.OwnerKeys = c.cookie, true, c.ownKeys
	}
	m, err := core.New(s, o)
	if err != nil {
		return nil, nil, errors.Join(mistake(err.Error()), s.Close())
	}
	return m, func() { _ = m.Close(); _ = s.Close() }, nil
}

// sweep removes expired rows.
func (c *command) sweep(ctx context.Context) error {
	a, err := c.address()
	if err != nil {
		return err
	}
	if a.dialect() == 0 {
		return mistake("sweep is for a database: other servers remove expired sessions themselves")
	}
	s, err := c.open()
	if err != nil {
		return err
	}
	defer s.Close()
	sweeper, _ := s.(interface {
		Sweep(ctx context.Context) (int, error)
	})
	n, err := sweeper.Sweep(ctx)
	if err != nil {
		return err
	}
	return c.out.say(swept{n}, "removed: %d", n)
}

// A swept says what sweep has done.
type swept struct {
	Removed int `json:"removed"`
}

// schema prints the statements that make the table, or makes it.
func (c *command) schema(ctx context.Context) error {
	a, err := c.address()
	if err != nil {
		return err
	}
	if a.dialect() == 0 {
		return mistake("schema is for a database")
	}
	statements, err := a.dialect().Schema(c.table)
	if err != nil {
		return mistake(err.Error())
	}
	if !c.create {
		if c.out.json {
			return c.out.say(struct {
				Statements []string `json:"statements"`
			}{statements}, "")
		}
		for _, s := range statements {
			if err := c.out.line("%s;", s); err != nil {
				return err
			}
		}
		return nil
	}
	if a.scheme == "sqlite" {
		s, err := sqlitestore.Open(a.rest, &sqlstore.Options{Table: c.table, NoSweep: true}) // which makes it
		if err != nil {
			return err
		}
		defer s.Close()
	} else {
		s, err := c.open()
		if err != nil {
			return err
		}
		defer s.Close()
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		if err := s.(databaseStore).CreateTable(ctx); err != nil {
			return err
		}
	}
	return c.out.say(struct {
		Created bool `json:"created"`
	}{true}, "the table is there")
}
