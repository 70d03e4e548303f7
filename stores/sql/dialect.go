package sqlstore

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gensession/gensession/core"
)

// A Dialect is the kind of SQL that a database speaks.
type Dialect uint8

// The dialects.
const (
	PostgreSQL Dialect = iota + 1 // PostgreSQL is that of version 12 or newer
	MySQL                         // MySQL is that of MariaDB 10.6 or MySQL 8, or newer
	SQLite                        // SQLite is that of version 3.42 or newer
)

// String returns the name, as "postgresql".
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "postgresql"
	case MySQL:
		return "mysql"
	case SQLite:
		return "sqlite"
	}
	return "unknown"
}

// Schema returns the statements, one an element and without a semicolon, that
// create the table and its indexes where they are missing. They are for a tool for
// migrations; [Store.CreateTable] executes them. An empty table is that of
// [Options].
func (d Dialect) Schema(table string) ([]string, error) {
	t, err := d.table(table)
	if err != nil {
		return nil, err
	}
	return t.schema(), nil
}

const defaultTable = "gensession"

var (
	plainName     = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`) // an index has a longer one, and PostgreSQL cuts at 63
	qualifiedName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}\.[a-z_][a-z0-9_]{0,47}$`)
)

// A tableName is a checked name. It is quoted, so that it may be a word of SQL.
type tableName struct {
	d               Dialect
	schemaName, own string // schemaName is "" without one
}

func (d Dialect) table(name string) (tableName, error) {
	if name == "" {
		name = defaultTable
	}
	switch {
	case d < PostgreSQL || d > SQLite:
		return tableName{}, fmt.Errorf("sqlstore: there is no dialect %d", d)
	case plainName.MatchString(name):
		return tableName{d, "", name}, nil
	case d != SQLite && qualifiedName.MatchString(name):
		schema, own, _ := strings.Cut(name, ".")
		return tableName{d, schema, own}, nil
	}
	return tableName{}, fmt.Errorf("sqlstore: Options.Table must be 1 to 48 of a-z, 0-9 and _, not beginning with a digit, perhaps after the name of a schema and a dot")
}

func (t tableName) quote(name string) string {
	if t.d == MySQL {
		return "`" + name + "`"
	}
	return `"` + name + `"`
}

func (t tableName) String() string {
	if t.schemaName == "" {
		return t.quote(t.own)
	}
	return t.quote(t.schemaName) + "." + t.quote(t.own)
}

// database returns the name of the schema as a value, on MariaDB and MySQL.
func (t tableName) database() string {
	if t.schemaName == "" {
		return "DATABASE()"
	}
	return "'" + t.schemaName + "'"
}

// placeholder returns that of the n-th argument, beginning with 1.
func (t tableName) placeholder(n int) string {
	if t.d == PostgreSQL {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

// Times are milliseconds since 1970 in UTC, in every dialect: no zone of a session
// changes their meaning, and no server has an end of its dates before ours.
const noEnd = "9223372036854775807"

// schema. What a touch changes has no index: expires_at has none. sweep_at, which
// has one, is never later than the end of the session, and it is changed only if it
// has to become earlier. So PostgreSQL writes the new version of a row into the same
// page and no index (HOT), for which fillfactor leaves room.
func (t tableName) schema() []string {
	index := func(column, where string) string {
		return fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (%s)%s", t.quote(t.own+"_"+column), t, column, where)
	}
	switch t.d {
	case PostgreSQL:
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + t.String() + ` (
	session_key text COLLATE "C" PRIMARY KEY,
	data        bytea  NOT NULL,
	version     bigint NOT NULL,
	expires_at  bigint NOT NULL,
	sweep_at    bigint NOT NULL,
	owner       text COLLATE "C"
) WITH (fillfactor = 70)`,
			index("sweep_at", ""),
			index("owner", " WHERE owner IS NOT NULL"),
		}
	case MySQL:
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + t.String() + ` (
	session_key varbinary(250) NOT NULL PRIMARY KEY,
	data        longblob NOT NULL,
	version     bigint   NOT NULL,
	expires_at  bigint   NOT NULL,
	sweep_at    bigint   NOT NULL,
	owner       varbinary(250),
	INDEX ` + t.quote(t.own+"_sweep_at") + ` (sweep_at),
	INDEX ` + t.quote(t.own+"_owner") + ` (owner)
) ENGINE=InnoDB`,
		}
	default:
		return []string{
			`CREATE TABLE IF NOT EXISTS ` + t.String() + ` (
	session_key TEXT    NOT NULL PRIMARY KEY,
	data        BLOB    NOT NULL,
	version     INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL,
	sweep_at    INTEGER NOT NULL,
	owner       TEXT
) STRICT`,
			index("sweep_at", ""),
			index("owner", " WHERE owner IS NOT NULL"),
		}
	}
}

// params are what a statement may have as arguments.
type params struct {
	key     string
	data    []byte
	version core.Version // the new one
	ttl     time.Duration
	old     core.Version // the one that the row must have
	limit   int
	from    int64 // milliseconds: what the sweeper has visited lies before it
	owner   any   // a list, "" for none, nil for the one that is there

	key2     string // those of the session that a batch creates
	data2    []byte
	version2 core.Version
	ttl2     time.Duration
	owner2   any
}

// The numbers of the arguments in a template.
const (
	pKey = 1 + iota
	pData
	pVersion
	pTTL
	pOld
	pLimit
	pOwner
	pKey2
	pData2
	pVersion2
	pTTL2
	pOwner2
	pFrom
)

func (p *params) arg(n int) any {
	switch n {
	case pKey:
		return p.key
	case pData:
		return blob(p.data)
	case pVersion:
		return int64(p.version) // #nosec G115 -- the same bits
	case pTTL:
		return millis(p.ttl)
	case pOld:
		return int64(p.old) // #nosec G115 -- the same bits
	case pLimit:
		return p.limit
	case pOwner:
		return p.owner
	case pKey2:
		return p.key2
	case pData2:
		return blob(p.data2)
	case pVersion2:
		return int64(p.version2) // #nosec G115 -- the same bits
	case pTTL2:
		return millis(p.ttl2)
	case pFrom:
		return p.from
	default:
		return p.owner2
	}
}

// blob is data as an argument, which is never NULL.
func blob(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// millis returns ttl in milliseconds, or nil for no end. It is rounded up, and one
// more since the clock of the server is cut to the millisecond: no session ends
// early.
func millis(ttl time.Duration) any {
	if ttl == 0 {
		return nil
	}
	return int64((ttl-1)/time.Millisecond) + 2
}

// A statement is SQL with the numbers of its arguments in their order.
type statement struct {
	text   string
	params []int
	end    string // what follows the keys, if keys follow
}

func (s *statement) args(p *params) []any {
	args := make([]any, len(s.params))
	for i, n := range s.params {
		args[i] = p.arg(n)
	}
	return args
}

// statements are those of a table.
type statements struct {
	get, getVersion, alive       statement
	set, create, takeOver        statement
	swap, touch, destroy, remove statement
	owned, own, disown           statement // disown: the keys follow
	getMany, keys                statement // getMany: the keys follow
	append                       statement // it returns the payload and the version on PostgreSQL only
	swapInto, removeInto         statement // PostgreSQL: one session moves to another key
	due, sweep                   statement // sweep: PostgreSQL
	sweepOver, sweepAlive        statement // others; the keys follow
	begin, commit, rollback      string
	probe, columns, compares     string    // compares: how the column of the keys does
	unfit                        statement // how many columns and indexes are not as in the schema, where that matters
	dueUnnamed                   statement // due without the name of the index
}

var placeholder = regexp.MustCompile(`\$[0-9]+`)

// statementsOf returns the statements of a table. In the templates $n is an
// argument of params, and words in capitals in braces are what dialects say
// differently.
func statementsOf(t tableName) *statements {
	words := map[string]string{
		"TABLE": t.String(),
		// The clock of the server, never that of this process. That of MySQL and
		// MariaDB is read when a statement begins; others read it for each row, also
		// for a row that they had to wait for.
		"NOW": map[Dialect]string{
			PostgreSQL: "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
			MySQL:      "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) DIV 1000)",
			SQLite:     "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
		}[t.d],
		"DIV":   map[Dialect]string{PostgreSQL: "/", MySQL: "DIV", SQLite: "/"}[t.d],
		"LEAST": map[Dialect]string{PostgreSQL: "LEAST", MySQL: "LEAST", SQLite: "min"}[t.d],
		"CONCAT": map[Dialect]string{
			PostgreSQL: "data || $2::bytea", MySQL: "CONCAT(data, $2)", SQLite: "CAST(data || $2 AS BLOB)",
		}[t.d],
		"BIGINT": map[Dialect]string{PostgreSQL: "::bigint"}[t.d],
		"TEXT":   map[Dialect]string{PostgreSQL: "::text"}[t.d],
		"NOEND":  noEnd,
	}
	of := func(template string) statement {
		// A minute is coarse enough for a session that is saved again and again
		// until the same end to stay where it is in the index.
		for range 3 { // words in words
			template = braces.ReplaceAllStringFunc(template, func(s string) string {
				word, argument, _ := strings.Cut(s[1:len(s)-1], " ")
				switch word {
				case "END":
					return "COALESCE({NOW} + " + argument + "{BIGINT}, {NOEND})"
				case "DUE":
					return "COALESCE((({NOW} + " + argument + "{BIGINT}) {DIV} 60000 + 1) * 60000, {NOEND})"
				}
				return words[word]
			})
		}
		s := statement{}
		s.text = placeholder.ReplaceAllStringFunc(template, func(p string) string {
			n, _ := strconv.Atoi(p[1:])
			if t.d != PostgreSQL {
				s.params = append(s.params, n)
				return t.placeholder(0)
			}
			i := slices.Index(s.params, n)
			if i < 0 {
				i, s.params = len(s.params), append(s.params, n)
			}
			return t.placeholder(i + 1)
		})
		return s
	}

	const (
		mine    = ` WHERE session_key = $1 AND expires_at > {NOW}`
		columns = ` (session_key, data, version, expires_at, sweep_at, owner) `
		values  = columns + `VALUES ($1, $2, $3, {END $4}, {DUE $4}, NULLIF($7{TEXT}, ''))`
		renew   = `expires_at = {END $4}, sweep_at = {LEAST}(sweep_at, {DUE $4})`
		replace = `UPDATE {TABLE} SET data = $2, version = $3, owner = CASE WHEN $7{TEXT} IS NULL THEN owner ELSE NULLIF($7{TEXT}, '') END, ` + renew + mine + ` AND version = $5`
		take    = `UPDATE {TABLE} SET data = $2, version = $3, owner = NULLIF($7, ''), expires_at = {END $4}, sweep_at = {DUE $4}`
		remove  = `DELETE FROM {TABLE}` + mine + ` AND version = $5`
	)
	s := &statements{
		get:        of(`SELECT data FROM {TABLE}` + mine),
		getVersion: of(`SELECT data, version FROM {TABLE}` + mine),
		alive:      of(`SELECT 1 FROM {TABLE}` + mine),
		swap:       of(replace),
		touch:      of(`UPDATE {TABLE} SET ` + renew + mine),
		destroy:    of(`DELETE FROM {TABLE} WHERE session_key = $1`),
		remove:     of(remove),
		append:     of(`UPDATE {TABLE} SET data = {CONCAT}, version = $3` + mine + ` AND length(data) <= $6`),
		due:        of(`SELECT session_key, sweep_at, expires_at <= {NOW} FROM {TABLE} WHERE sweep_at >= $13 AND sweep_at <= {NOW} ORDER BY sweep_at LIMIT $6`),
		owned:      of(`SELECT session_key FROM {TABLE} WHERE owner = $7 AND expires_at > {NOW}`),
		own:        of(`UPDATE {TABLE} SET owner = $7` + mine),
		disown:     of(`UPDATE {TABLE} SET owner = NULL WHERE owner = $7`),
		getMany:    of(`SELECT session_key, data, version FROM {TABLE} WHERE expires_at > {NOW}`),
		keys:       of(`SELECT session_key FROM {TABLE} WHERE session_key >= $1 AND session_key < $8 AND expires_at > {NOW} ORDER BY session_key LIMIT $6`),
		sweepOver:  of(`DELETE FROM {TABLE} WHERE expires_at <= {NOW}`),
		sweepAlive: of(`UPDATE {TABLE} SET sweep_at = ` + later + ` WHERE expires_at > {NOW}`),
		begin:      "START TRANSACTION",
		commit:     "COMMIT",
		rollback:   "ROLLBACK",
		columns:    "SELECT session_key, data, version, expires_at, sweep_at, owner FROM " + t.String() + " WHERE 1 = 0",
		compares: "SELECT count(DISTINCT session_key), min(session_key) FROM (SELECT session_key FROM " + t.String() +
			" WHERE 1 = 0 UNION ALL SELECT 'a' UNION ALL SELECT 'B' UNION ALL SELECT 'b') AS t",
	}
	const (
		conflict = ` ON CONFLICT (session_key) DO UPDATE SET data = excluded.data, version = excluded.version, expires_at = excluded.expires_at, sweep_at = `
		into     = `INSERT INTO {TABLE}` + columns + `SELECT $8, $9::bytea, $10::bigint, {END $11}, {DUE $11}, NULLIF($12::text, '') FROM old`
	)
	if t.d == MySQL {
		s.set = of(`INSERT INTO {TABLE}` + values + ` ON DUPLICATE KEY UPDATE data = VALUES(data), version = VALUES(version), expires_at = VALUES(expires_at), sweep_at = LEAST(sweep_at, VALUES(sweep_at))`)
		// IGNORE would also ignore that a column can't hold all of a payload.
		s.create = of(`INSERT INTO {TABLE}` + values)
		s.takeOver = of(take + ` WHERE session_key = $1 AND expires_at <= {NOW}`)
		// Without the hints it may look at all rows, and wait for those that others lock.
		const primary = ` FORCE INDEX (PRIMARY)`
		due := func(hint string) statement {
			return of(`SELECT session_key, sweep_at, expires_at <= {NOW} FROM {TABLE}` + hint + ` WHERE sweep_at >= $13 AND sweep_at <= {NOW} ORDER BY sweep_at LIMIT $6 FOR UPDATE SKIP LOCKED`)
		}
		// Without a limit of its own a SELECT has that of the session (sql_select_limit),
		// and returns some of the rows as if they were all.
		const all = ` LIMIT 18446744073709551615`
		s.owned.text += all
		s.getMany.end = all
		s.due, s.dueUnnamed = due(` FORCE INDEX (`+t.quote(t.own+"_sweep_at")+`)`), due("")
		s.sweepOver = of(`DELETE {TABLE} FROM {TABLE}` + primary + ` WHERE expires_at <= {NOW}`)
		s.sweepAlive = of(`UPDATE {TABLE}` + primary + ` SET sweep_at = ` + later + ` WHERE expires_at > {NOW}`)
		const notBigint = "data_type <> 'bigint' OR column_type LIKE '%unsigned%'"
		// Where completion_type of the server says otherwise, another transaction would begin.
		s.commit, s.rollback = "COMMIT AND NO CHAIN NO RELEASE", "ROLLBACK AND NO CHAIN NO RELEASE"
		// Without a strict sql_mode a key is cut that has no room, and a fixed length pads it.
		// By another unique index ON DUPLICATE KEY would meet the row of somebody else.
		in := " WHERE table_schema = " + t.database() + " AND table_name = '" + t.own + "' AND "
		s.unfit = of("SELECT (SELECT count(*) FROM information_schema.columns" + in + `CASE column_name
			WHEN 'session_key' THEN data_type NOT IN ('varbinary', 'varchar') OR character_maximum_length < 250 OR column_key <> 'PRI'
			WHEN 'data' THEN data_type NOT LIKE '%blob' OR character_octet_length < $6
			WHEN 'owner' THEN data_type NOT IN ('varbinary', 'varchar') OR character_maximum_length < 250 OR is_nullable = 'NO'
			WHEN 'version' THEN ` + notBigint + ` WHEN 'expires_at' THEN ` + notBigint + ` WHEN 'sweep_at' THEN ` + notBigint + `
			ELSE is_nullable = 'NO' AND column_default IS NULL AND extra = '' END)
			+ (SELECT count(*) FROM information_schema.statistics` + in + `non_unique = 0 AND (index_name <> 'PRIMARY' OR column_name <> 'session_key' OR sub_part IS NOT NULL))
			+ (SELECT count(*) FROM information_schema.tables JOIN information_schema.engines USING (engine)` + in + `transactions <> 'YES')`)
		s.probe = "SELECT @@global.read_only"
		return s
	}
	s.set = of(`INSERT INTO {TABLE}` + values + conflict + `{LEAST}({TABLE}.sweep_at, excluded.sweep_at)`)
	s.create = of(`INSERT INTO {TABLE}` + values + conflict + `excluded.sweep_at, owner = excluded.owner WHERE {TABLE}.expires_at <= {NOW}`)
	if t.d == SQLite {
		s.begin = "BEGIN IMMEDIATE"
		s.probe = "SELECT 0 * count(*) FROM sqlite_schema"
		// A column converts what it is given, unless the table is STRICT. Text is larger
		// than any number: a time that becomes text is never over.
		const number = `upper(type) NOT LIKE '%INT%'`
		const text = `type <> '' AND (upper(type) LIKE '%INT%' OR upper(type) NOT LIKE '%CHAR%' AND upper(type) NOT LIKE '%TEXT%' AND upper(type) NOT LIKE '%CLOB%' AND upper(type) NOT LIKE '%BLOB%')`
		s.unfit = of(`SELECT count(*) FROM pragma_table_info('` + t.own + `') WHERE (pk > 0) <> (name = 'session_key') OR CASE name
			WHEN 'session_key' THEN ` + text + ` WHEN 'data' THEN 0 WHEN 'owner' THEN ` + text + ` OR "notnull"
			WHEN 'version' THEN ` + number + ` WHEN 'expires_at' THEN ` + number + ` WHEN 'sweep_at' THEN ` + number + `
			ELSE "notnull" AND dflt_value IS NULL END`)
		return s
	}
	s.append.text += " RETURNING data, version"
	// If the key of the new session is taken, the whole statement fails.
	s.swapInto = of(`WITH old AS (` + replace + ` RETURNING 1) ` + into)
	s.removeInto = of(`WITH old AS (` + remove + ` RETURNING 1) ` + into)
	// The clock of the statement, so that no row is both. Its commit does not wait for the
	// disk, nor for a standby: a request that waits for one of its rows would wait, too.
	// What is lost in a crash is swept again; any later commit that waits comes after it.
	const now = `floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint`
	s.sweep = of(`WITH due AS MATERIALIZED (
	SELECT session_key, sweep_at, expires_at <= ` + now + ` AS over FROM {TABLE} WHERE sweep_at >= $13 AND sweep_at <= ` + now + ` ORDER BY sweep_at LIMIT $6 FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM {TABLE} t USING due WHERE t.session_key = due.session_key AND due.over RETURNING 1
), kept AS (
	UPDATE {TABLE} t SET sweep_at = ` + later + ` FROM due WHERE t.session_key = due.session_key AND NOT due.over RETURNING 1
) SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM gone) + (SELECT count(*) FROM kept), (SELECT COALESCE(max(sweep_at), 0) FROM due)
WHERE set_config('synchronous_commit', 'off', true) <> ''`)
	// A type of fixed length pads a key or cuts it, and double precision rounds a version.
	const notText = `atttypid NOT IN ('text'::regtype, 'varchar'::regtype) OR atttypmod BETWEEN 0 AND 253`
	const notBigint = `atttypid <> 'bigint'::regtype`
	s.unfit = of(`SELECT (SELECT count(*) FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass AND attnum > 0 AND NOT attisdropped AND CASE attname
		WHEN 'session_key' THEN ` + notText + ` WHEN 'data' THEN atttypid <> 'bytea'::regtype WHEN 'owner' THEN attnotnull OR ` + notText + `
		WHEN 'version' THEN ` + notBigint + ` WHEN 'expires_at' THEN ` + notBigint + ` WHEN 'sweep_at' THEN ` + notBigint + `
		ELSE attnotnull AND NOT atthasdef AND attidentity = '' END)
		+ (SELECT CASE count(*) WHEN 0 THEN 1 ELSE 0 END FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
		WHERE indrelid = '{TABLE}'::regclass AND attname = 'session_key' AND indnkeyatts = 1 AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL)`)
	s.probe = "SELECT CASE current_setting('transaction_read_only') WHEN 'on' THEN 1 ELSE 0 END"
	return s
}

var braces = regexp.MustCompile(`\{[^{}]+\}`)

// later is when the sweeper looks at a living session again.
const later = `CASE WHEN expires_at = {NOEND} THEN {NOEND} ELSE (expires_at {DIV} 60000 + 1) * 60000 END`
