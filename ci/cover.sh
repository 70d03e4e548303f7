#!/usr/bin/env bash
# cover.sh PERCENT PACKAGE fails if the package's own tests reach less of its
# statements.
source "$(dirname "$0")/lib.sh"
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT
go test -count=1 -timeout=5m -coverprofile="$profile" "$2"
go tool cover -func="$profile" | awk -v least="$1" '
	$1 == "total:" { total = $3 + 0; found = 1 }
	END {
		if (!found || total < least) { printf "%s%% of statements are tested, at least %s%% must be\n", total, least; exit 1 }
	}'
