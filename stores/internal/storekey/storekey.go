// Package storekey holds callers of all stores to the same keys, although some
// would take any: what runs with one store shall run with the others.
package storekey

// Rule says what a key is, for errors.
const Rule = "a key is 1 to 250 bytes of printable ASCII without blanks"

// Valid reports whether the contract of a store allows the key.
func Valid(key string) bool {
	if key == "" || len(key) > 250 {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
