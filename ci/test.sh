#!/usr/bin/env bash
# The one command: everything that must hold, on a machine with Go, git and
# make. Where the servers can't be had, REQUIRE_BACKENDS=0 lets the tests that
# need them skip.
source "$(dirname "$0")/lib.sh"
export REQUIRE_BACKENDS=${REQUIRE_BACKENDS-1}
[ "$REQUIRE_BACKENDS" != 0 ] || unset REQUIRE_BACKENDS

ci/install.sh

race=-race
can_race || race=
without_race() {
	[ -n "$race" ] || say 'WITHOUT the race detector: it needs cgo and a C compiler (apt-get install gcc libc6-dev)'
}
without_race

say 'formatting'
formatted

say 'vet of all modules together, and what the README runs from the top'
go vet work
go run ./examples/demo -h >/dev/null 2>&1
go test -run='^$' -bench='^BenchmarkStore$/^store=memory$' -benchtime=1x ./bench/... >/dev/null

# Two modules at a time, since most of their tests wait for a server or a
# deadline. Each shows its output when it is done.
module() {
	local out status=0
	out=$(cd "$1" && GOWORK=off go test $race -shuffle=on -count=1 -timeout=10m ./... 2>&1) || status=$?
	say "tests of $1, as its users have it"
	printf '%s\n' "$out"
	return "$status"
}
export race
export -f module say
modules | xargs -n1 -P2 bash -c 'module "$1"' module

say 'allocations, which the race detector would add to'
go test -run=Allocs -count=1 ./bench

say 'every fuzz target for some seconds'
FUZZTIME=${FUZZTIME-3s} ci/fuzz.sh

say 'coverage of core'
ci/cover.sh 90 ./core

without_race
say 'all passed'
