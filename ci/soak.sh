#!/usr/bin/env bash
# The tests that take long, and the others once more beside them.
source "$(dirname "$0")/lib.sh"
ci/install.sh
export SOAK=1 REQUIRE_BACKENDS=${REQUIRE_BACKENDS-1}
race=-race
can_race || race=
for m in $(modules); do
	say "long tests of $m"
	(cd "$m" && go test $race -shuffle=on -count=1 -timeout=3h ./...)
done
say 'all passed'
