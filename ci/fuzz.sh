#!/usr/bin/env bash
# Runs every fuzz target that FUZZ matches for FUZZTIME, one after the other. A
# failure is kept under testdata/fuzz: commit it with the fix. FUZZWORKERS is how many
# work on it at a time, by default as many as there are processors.
source "$(dirname "$0")/lib.sh"
: "${FUZZTIME:=5m}" "${FUZZ:=.}"

failed=()

# go test sometimes fails at the end of FUZZTIME on a busy machine, without a
# failing input, since a worker was late. Then, and only then, the target has
# another try.
fuzz() {
	local out
	for _ in 1 2 3; do
		if out=$(go test -run='^$' -fuzz="^$1\$" -fuzztime="$FUZZTIME" ${FUZZWORKERS:+-parallel=$FUZZWORKERS} "$2" 2>&1); then
			tail -n 3 <<<"$out"
			return
		fi
		if grep -q 'Failing input written' <<<"$out" || ! grep -q 'context deadline exceeded' <<<"$out"; then
			break
		fi
		echo 'it was only late, again'
	done
	echo "$out"
	return 1
}

export GOWORK=off
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
			fuzz "$target" "$p" || failed+=("$p $target")
		done
	done
	cd - >/dev/null
done
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
