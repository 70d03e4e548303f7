// Package sqlite has errors like those of the drivers of SQLite. An error is taken for one
// by the name of its package.
package sqlite

// Method is like that of modernc.org/sqlite.
type Method int

func (e *Method) Error() string { return "key secret-value" }

// Code returns the code.
func (e *Method) Code() int { return int(*e) }

// Small is like that of ncruces/go-sqlite3, which wraps one of the system.
type Small struct {
	Value  uint8
	System error
}

func (e *Small) Error() string { return "key secret-value" }

// Unwrap returns the error of the system.
func (e *Small) Unwrap() error { return e.System }

// Code returns the code.
func (e *Small) Code() uint8 { return e.Value }

// A Number is a code.
type Number int

// Field is like that of mattn/go-sqlite3.
type Field struct{ Code Number }

func (e Field) Error() string { return "key secret-value" }
