//go:build !race

package browsers_test

const raced = false
