#!/bin/sh
# The main job on one page: eight workers count the lines of one big object, each reading only its own
# slice of it, and their counts add up to what `wc -l` says of the whole file.
#
# `make demo` runs this. It needs sh, a C compiler, make, coreutils and awk, and some 256 MB below
# TMPDIR (/tmp) for as long as it runs.
set -eu
cd "$(dirname "$0")/.."

megabytes=256
shards=8

# Whatever happens, our server ends and our files go. Long commands run beside the shell, so that an
# interruption is heeded at once and not when they are through.
server='' child=''
work=$(mktemp -d "${TMPDIR:-/tmp}/s3stream-demo.XXXXXX")
cleanup() {
    for pid in $child $server; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

run() { # CMD...
    "$@" &
    child=$!
    wait "$child"
    child=''
}

now() { date +%s.%N; }
seconds() { echo "$1 $(now)" | awk '{ printf "%.1f s", $2 - $1 }'; } # START

# Lines of every length, the same ones on every machine: most are short, one in 50 has up to 4 KB, one
# in 20,000 up to 256 KB, some are empty.
text='
    function random(n) { seed = seed * 16807 % 2147483647; return seed % n }
    BEGIN {
        seed = 42
        words = "the quick brown fox, 0123456789;"
        for (i = 0; i < 8192; i++) text = text substr(words, random(32) + 1, 1)
        for (large = text; length(large) < 512000;) large = large large
        while (written < bytes) {
            kind = random(20000)
            n = random(kind == 0 ? 256000 : kind < 400 ? 4000 : 200)
            if (kind == 0) print substr(large, random(256000) + 1, n)
            else print substr(text, random(4096) + 1, n)
            written += n + 1
        }
    }'

${MAKE:-make} -s build/s3stream build/s3serve

start=$(now)
mkdir -p "$work/data/demo"
run env LC_ALL=C awk -v bytes=${megabytes}000000 "$text" >"$work/data/demo/text.txt"
echo "a text of $(wc -c <"$work/data/demo/text.txt") bytes, made in $(seconds "$start")"

# The server and the client share a key, so every request is signed and verified.
export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo-secret AWS_REGION=us-east-1
unset AWS_SESSION_TOKEN
: >"$work/server"
build/s3serve "$work/data" --port 0 --access-key demo --secret-key demo-secret \
    >"$work/server" 2>"$work/server.err" &
server=$!
tries=0
until grep -q listening "$work/server"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 $server 2>/dev/null; then
        echo "demo: s3serve does not start: $(cat "$work/server.err")" >&2
        exit 1
    fi
    sleep 0.1
done
endpoint=$(sed -n 's/^listening on //p' "$work/server")

set -- build/s3stream run -n $shards --endpoint "$endpoint" s3://demo/text.txt -- wc -l
echo "$*"
start=$(now)
run "$@" >"$work/counts"
elapsed=$(seconds "$start")

awk -v file="$(wc -l <"$work/data/demo/text.txt")" -v shards=$shards -v elapsed="$elapsed" '
    function row(name, lines) { printf "%8s %10s\n", name, lines }
    BEGIN { row("shard", "lines") }
    { row(NR - 1, $1); sum += $1 }
    END {
        equal = sum == file && NR == shards
        row("sum", sum)
        row("file", file)
        print (equal ? "match" : "MISMATCH") ", " shards " shards in " elapsed
        exit !equal
    }' "$work/counts"
