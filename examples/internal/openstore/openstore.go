// Package openstore opens the store that a URL names, for programs that let their user
// choose. Yours needs the case of its own store.
package openstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/gensession/gensession/core"
	memcachestore "github.com/gensession/gensession/stores/memcache"
	memorystore "github.com/gensession/gensession/stores/memory"
	redisstore "github.com/gensession/gensession/stores/redis"
	sqlstore "github.com/gensession/gensession/stores/sql"
	sqlitestore "github.com/gensession/gensession/stores/sqlite"
)

// Help says what there is.
const Help = "memory, redis://host:port/db, memcached://host:port[,host:port], sqlite:file, postgres://user@host/db or mysql://user@host:port/db"

// A Store is what all stores of this project are.
type Store interface {
	core.Store
	Close() error
}

// Check reports whether spec names a store: memory, or what the command gensession takes
// too. Its error has no part of spec, which may
// contain a password.
func Check(spec string) error {
	scheme, address, _ := strings.Cut(spec, ":")
	switch scheme {
	case "memory":
		if spec == scheme {
			return nil
		}
	case "sqlite":
		// With two slashes a name would be a file in the root directory.
		if address != "" && (!strings.HasPrefix(address, "//") || strings.HasPrefix(address, "///")) {
			return nil
		}
	case "redis", "rediss", "memcache", "memcached", "postgres", "postgresql", "mysql":
		if rest, ok := strings.CutPrefix(address, "//"); ok && rest != "" {
			return nil
		}
	}
	return errors.New("there are " + Help)
}

// Open opens the store that spec names. A server of Redis or memcached that is down is
// no error yet: requests wait for it. A database must be up, since its table is made
// now if it is missing.
func Open(spec string) (Store, error) {
	if err := Check(spec); err != nil {
		return nil, err
	}
	scheme, address, _ := strings.Cut(spec, ":")
	switch scheme {
	case "memory":
		return memorystore.New(nil), nil
	case "redis", "rediss":
		return redisstore.Open(spec, nil)
	case "memcache", "memcached":
		return memcachestore.Open(strings.Split(strings.TrimPrefix(address, "//"), ","), nil)
	case "sqlite":
		return sqlitestore.Open(address, nil)
	case "mysql":
		config, err := mysqlConfig(spec)
		if err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, err
		}
		return database(sql.OpenDB(connector), sqlstore.MySQL)
	default:
		config, err := pgx.ParseConfig(spec)
		if err != nil {
			return nil, err
		}
		return database(stdlib.OpenDB(*config), sqlstore.PostgreSQL)
	}
}

// mysqlConfig returns the settings for the driver, which has a notation of its own.
func mysqlConfig(spec string) (*mysql.Config, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, errors.New("-store is no URL") // the error would quote it
	}
	config, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, err
	}
	config.Net, config.Addr, config.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	if u.Port() == "" {
		config.Addr = u.Hostname() + ":3306"
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.InterpolateParams = true // one round trip for each statement, not two
	config.MaxAllowedPacket = 0     // that of the server, which it is asked for: what is larger is not sent
	return config, nil
}

// A databaseStore closes its pool too.
type databaseStore struct {
	*sqlstore.Store
	db *sql.DB
}

func (s databaseStore) Close() error { return errors.Join(s.Store.Close(), s.db.Close()) }

// begin database
func database(db *sql.DB, d sqlstore.Dialect) (Store, error) {
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20) // it keeps two by itself
	s, err := sqlstore.New(db, d, nil)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.CreateTable(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the table: %w", err), s.Close(), db.Close())
	}
	return databaseStore{s, db}, nil
}

// end database
