#!/usr/bin/env bash
# Installs what the tests use besides Go, as far as it is missing and this
# machine lets us: the servers that they start, a C compiler for the race
# detector, and npm if Koa is required; with the argument chromium that alone, for
# make e2e. It says first what it installs, and with
# NO_INSTALL=1 it installs nothing. It never fails: a test that misses its server
# says so itself.
source "$(dirname "$0")/lib.sh"

missing=()
if [ "${1-}" = chromium ]; then
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium fonts-dejavu-core)
else
	command -v redis-server >/dev/null || missing+=(redis-server)
	command -v memcached >/dev/null || missing+=(memcached)
	command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
	command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
	command -v "$(go env CC | cut -d' ' -f1)" >/dev/null || missing+=(gcc libc6-dev)
	if ! command -v npm >/dev/null; then
		if [ "${REQUIRE_KOA-}" = 1 ]; then
			missing+=(nodejs npm)
		else
			echo 'npm is missing: the tests that run a real Koa app beside us will skip'
		fi
	fi
fi
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "${NO_INSTALL-}" = 1 ]; then
	echo "missing: ${missing[*]}. NO_INSTALL=1: nothing is installed."
	exit 0
fi

root=()
if [ "$(id -u)" != 0 ]; then
	root=(sudo)
	[ -t 0 ] || root+=(-n) # nobody there to type a password
fi
if ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}. Install them with the package manager of this system."
	exit 0
fi
if ! "${root[@]+"${root[@]}"}" true 2>/dev/null; then
	echo "missing: ${missing[*]}. Install them as root: apt-get install ${missing[*]}"
	exit 0
fi
say "installing ${missing[*]} with apt-get (NO_INSTALL=1 leaves this machine alone)"

# The tests start their own servers. Debian would start one of each besides.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${root[@]+"${root[@]}"}" tee $policy >/dev/null
	"${root[@]+"${root[@]}"}" chmod +x $policy
	trap '"${root[@]+"${root[@]}"}" rm -f $policy' EXIT
fi
apt() { "${root[@]+"${root[@]}"}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@"; }
apt update >/dev/null && apt install -y --no-install-recommends "${missing[@]}" >/dev/null ||
	echo "could not install ${missing[*]}: the tests that need them will say so"
