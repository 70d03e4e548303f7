// Package databases measures stores/sql: what it adds to a statement of the bare
// driver, what the stores of scs take beside it, what a million rows cost, and what
// requests notice of the sweeper.
package databases
