#!/usr/bin/env bash
# All benchmarks, and bench/RESULTS.md with its charts from what they printed.
# It takes ten minutes, with QUICK=1 two.
#
# PARTS="peers load" measures only these anew and leaves the sections of others in
# RESULTS.md as they were. ROUNDS is how often each part is measured, one round of all parts after
# the other; what counts is the median.
#
# BENCH=regexp runs the benchmarks that it matches and writes nothing; COUNT and
# BENCHTIME are those of go test.
source "$(dirname "$0")/lib.sh"

if [ -n "${BENCH-}" ]; then
	for p in ./bench ./bench/load ./stores/memory ./stores/redis ./stores/memcache ./core/...; do
		go test -run='^$' -bench="$BENCH" -benchmem -count="${COUNT:-1}" -benchtime="${BENCHTIME:-1s}" -timeout=2h "$p"
	done
	cd bench/peers
	exec go test -run='^$' -bench="$BENCH" -benchmem -count="${COUNT:-1}" -benchtime="${BENCHTIME:-1s}" -timeout=2h .
fi

all='stores databases requests peers scale load'
: "${PARTS:=$all}"
for part in $PARTS; do
	case " $all " in
	*" $part "*) ;;
	*)
		echo "no part $part, there are: $all" >&2
		exit 1
		;;
	esac
done
if [ "${QUICK-}" = 1 ]; then
	: "${ROUNDS:=1}"
	micro=100ms servers=1s
else
	: "${ROUNDS:=5}"
	micro=100ms servers=1s
fi

out=$PWD/bench/tmp
mkdir -p "$out"
began=$SECONDS

# build NAME FOLDER: the benchmarks of a folder as a program, so that compiling
# takes no time from them.
build() { (cd "$2" && go test -c -o "$out/$1.test" .); }
# measure PART FOLDER PROGRAM REGEXP BENCHTIME
measure() {
	(cd "$2" && "$out/$3.test" -test.run='^$' -test.bench="$4" -test.benchtime="$5" -test.benchmem -test.timeout=20m) |
		tee -a "$out/$1.txt.part" | sed -E 's/^Benchmark//'
}

say 'building'
for part in $PARTS; do
	case $part in
	stores | requests) build bench bench ;;
	scale) build memory stores/memory ;;
	*) build "$part" "bench/$part" ;;
	esac
done
for part in $PARTS; do
	rm -f "$out/$part.txt.part"
done

for ((round = 1; round <= ROUNDS; round++)); do
	for part in $PARTS; do
		say "round $round of $ROUNDS: $part, after $((SECONDS - began)) seconds"
		case $part in
		stores) measure stores bench bench '^BenchmarkStore$' "$micro" ;;
		databases)
			measure databases bench/databases databases '^BenchmarkDatabase$' "$micro"
			measure databases bench/databases databases '^BenchmarkBeside$' 500ms
			measure databases bench/databases databases '^BenchmarkRows$' "$micro"
			measure databases bench/databases databases '^BenchmarkDay$' 1x
			;;
		requests) measure requests bench bench '^Benchmark(Request|Size|Observed)$' "$micro" ;;
		peers)
			measure peers bench/peers peers . "$micro"
			# Their goals are some per cent, which wants more rounds.
			for _ in 1 2 3; do
				measure peers bench/peers peers '^BenchmarkClient$' "$micro"
			done
			;;
		scale)
			measure scale stores/memory memory '^BenchmarkSessions$' "$micro"
			measure scale stores/memory memory '^BenchmarkSweep$/^sessions=1000000$' 5x
			;;
		load) measure load bench/load load . "$servers" ;;
		esac
	done
done
for part in $PARTS; do
	mv "$out/$part.txt.part" "$out/$part.txt"
done

say 'bench/RESULTS.md'
(cd bench/report && go run . ../tmp ..)
echo "done after $((SECONDS - began)) seconds"
