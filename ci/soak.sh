#!/usr/bin/env bash
# The tests that take long, and the others once more beside them, in parts that
# are bounded in time: a test that would find something to do for hours stops when
# SOAKTIME is over (internal/soak). With two minutes, which is the default, all of it
# takes about two hours on two processors. A part that fails keeps none of the others
# from running; its output is shown, and its name again at the end. PARTS=regexp
# chooses.
source "$(dirname "$0")/lib.sh"
: "${SOAKTIME:=2m}"
[[ $SOAKTIME =~ ^([0-9]+)([smh])$ ]] || { echo "SOAKTIME is $SOAKTIME, and should be a time like 30m" >&2; exit 2; }
declare -A unit=([s]=1 [m]=60 [h]=3600)
seconds=$((BASH_REMATCH[1] * unit[${BASH_REMATCH[2]}]))
# The longest tests have eight parts of SOAKTIME. A busy machine gets half an hour more
# before a part that hangs is ended with all its goroutines shown.
limit=$((10 * seconds + 1800))
ci/install.sh
export SOAKTIME SOAK=1 REQUIRE_BACKENDS=${REQUIRE_BACKENDS-1}
[ "$REQUIRE_BACKENDS" != 0 ] || unset REQUIRE_BACKENDS
race=-race
can_race || race=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()
passed=0

# part NAME COMMAND... runs one part.
part() {
	local name=$1 begun=$SECONDS
	shift
	[[ $name =~ ${PARTS:-.} ]] || return 0
	printf '%s %s ... ' "$(date +%H:%M:%S)" "$name"
	if timeout --kill-after=30s $((limit + 60)) "$@" >"$work/log" 2>&1; then
		echo "ok, $((SECONDS - begun)) s"
		passed=$((passed + 1))
	else
		echo "FAILED, $((SECONDS - begun)) s"
		cat "$work/log"
		failed+=("$name")
	fi
}

# Some don't get through in time with the race detector: the promise about an
# outage under load, and those whose requests take turns, so that there is
# nothing to detect, in their millions.
unraced='^(TestAnOutage|TestModel$|TestOrders|TestSchedules|TestHandlers)'

# tests PACKAGE runs its tests one by one. The two programs are built once.
tests() {
	local p=$1 t program
	rm -f "$work/raced" "$work/unraced"
	for t in $(go test -list '^Test' "$p" | grep '^Test'); do
		[[ "$p $t" =~ ${PARTS:-.} ]] || continue
		program=$work/raced
		[[ ! $t =~ $unraced ]] || program=$work/unraced
		if [ ! -e "$program" ]; then
			go test -c $([ "$program" = "$work/unraced" ] || echo $race) -o "$program" "$p"
		fi
		part "$p $t" env -C "$(go list -f '{{.Dir}}' "$p")" "$program" -test.count=1 -test.timeout="${limit}s" -test.run "^$t\$"
	done
}

export GOWORK=off
root=$PWD
for m in $(modules | grep -vx ./internal/e2e); do # a browser: make e2e
	say "long tests of $m"
	cd "$root/$m"
	for p in $(go list ./...); do
		case $p in
		*/internal/faults | */internal/concurrency | */internal/browsers) tests "$p" ;;
		*) part "$p" go test $race -shuffle=on -count=1 -timeout="${limit}s" "$p" ;;
		esac
	done
done
say "$passed parts passed, ${#failed[@]} failed, in $((SECONDS / 60)) minutes"
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
[ $passed -gt 0 ] # else PARTS has chosen none
