#!/usr/bin/env bash
# Runs every fuzz target that FUZZ matches for FUZZTIME, one after the other. A
# failure is kept under testdata/fuzz: commit it with the fix.
source "$(dirname "$0")/lib.sh"
: "${FUZZTIME:=5m}" "${FUZZ:=.}"

for m in $(modules); do
	cd "$m"
	# Only the packages that have some: listing builds their tests.
	packages=$(go list -f '{{.Dir}} {{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}' ./... | while read -r dir files; do
		for f in $files; do
			! grep -q '^func Fuzz' "$dir/$f" || { echo "$dir"; break; }
		done
	done)
	for p in $packages; do
		targets=$(go test -list '^Fuzz' "$p")
		for target in $(grep '^Fuzz' <<<"$targets" | grep -E "$FUZZ" || true); do
			echo "$target, $FUZZTIME"
			go test -run='^$' -fuzz="^$target\$" -fuzztime="$FUZZTIME" "$p"
		done
	done
	cd - >/dev/null
done
