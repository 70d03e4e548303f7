// Package databases measures stores/sql: what it adds to a statement of the bare
// driver, what a million rows cost, and what requests notice of the sweeper.
package databases
