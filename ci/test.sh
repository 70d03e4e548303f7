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
# With -trimpath, so that internal/release, which installs programs from a module
# cache of its own, finds compiled what is compiled here.
(
	export GOFLAGS=-trimpath
	go vet work
	go run ./examples/demo -h >/dev/null 2>&1
	go test -run='^$' -bench='^BenchmarkStore$/^store=memory$' -benchtime=1x ./bench/... >/dev/null
)

# Two parts at a time, since most tests wait for a server or a deadline. A part is
# a module, or all fuzz targets for some seconds each. It shows its output when it
# is done.
part() {
	local out what status=0
	if [ "$1" = fuzz ]; then
		what='every fuzz target for some seconds'
		out=$(FUZZTIME=${FUZZTIME-3s} FUZZWORKERS=1 ci/fuzz.sh 2>&1) || status=$?
	else
		what="tests of $1, as its users have it"
		out=$(cd "$1" && GOWORK=off go test $race -shuffle=on -count=1 -timeout=25m ./... 2>&1) || status=$?
	fi
	say "$what"
	printf '%s\n' "$out"
	return "$status"
}
export race
export -f part say
{
	echo fuzz
	modules | grep -vx ./internal/e2e # a browser: make e2e
} | xargs -n1 -P2 bash -c 'part "$1"' part

say 'allocations, which the race detector would add to'
go test -run=Allocs -count=1 ./bench

say 'coverage of core'
ci/cover.sh 90 ./core

without_race
say 'all passed'
