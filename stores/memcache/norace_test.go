//go:build !race

package memcachestore_test

const crowdSlack = slack
