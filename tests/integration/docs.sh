#!/bin/bash
# What the README, the manual and examples/ say is compiled and run: it must not go stale.
. "$(dirname "$0")/../support/lib.sh"

mkdir -p "$tmp/data/bucket" "$tmp/bin"
seq 1 100000 >"$tmp/data/bucket/key"
serve_start "$tmp/data"
compile() { ${CC:-cc} -std=c99 -Wall -Wextra -Werror -I"$root" -o "$1" "$2" -pthread; }
worker_3_of_16() { python3 -c '
import sys
text = open(sys.argv[1], "rb").read()
n = len(text)
def a(p): return 0 if p == 0 else n if p >= n else text.find(b"\n", p - 1) + 1 or n
print(text[a(3 * n // 16):a(4 * n // 16)].count(b"\n"), "lines")' "$tmp/data/bucket/key"; }
want=$(worker_3_of_16)

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$root/README.md" >"$tmp/readme.c"
ok "the README's program compiles" compile "$tmp/bin/readme" "$tmp/readme.c"
is "$("$tmp/bin/readme" s3://bucket/key)" "$want" "and counts the lines of shard 3 of 16"

awk '/^ \*     #define S3STREAM_IMPLEMENTATION/ { n++ } n == 2 { if (!/^ \*     /) exit; print substr($0, 8) }' \
    "$root/s3stream.h" >"$tmp/manual.c"
ok "the manual's program compiles" compile "$tmp/bin/manual" "$tmp/manual.c"
is "$("$tmp/bin/manual" s3://bucket/key)" "$want" "and counts the same"
is "$(wc -l <"$tmp/manual.c")" "$(wc -l <"$tmp/readme.c")" "the two programs are one"

for example in "$root"/examples/*.c; do
    name=$(basename "$example" .c)
    ok "examples/$name.c compiles" compile "$tmp/bin/$name" "$example"
done
like "$("$tmp/bin/01_get" s3://bucket/key)" "^588895 bytes, ETag \"" "01_get reads the object"
is "$("$tmp/bin/02_stream_lines" s3://bucket/key)" \
    "100000 lines, the longest is line 100000 with 7 bytes" "02_stream_lines finds the longest line"
is "$(for i in 0 1 2 3; do "$tmp/bin/03_shard_wordcount" s3://bucket/key $i 4; done |
    awk '{ l += $1; w += $2; b += $3 } END { print l, w, b }')" "100000 100000 588895" \
    "03_shard_wordcount's workers add up"
"$tmp/bin/cat_only" s3://bucket/key >"$tmp/copy"
ok "cat_only copies the object" cmp "$tmp/copy" "$tmp/data/bucket/key"
fails "01_get of nothing fails" "$tmp/bin/01_get" s3://bucket/nothing
is "$(output | wc -l)" 1 "with one line"

is "$("$S3STREAM" run s3://bucket/key -n 16 -- wc -l | awk '{ n += $1 } END { print n }')" 100000 \
    "the README's run command adds up"
is "$("$S3STREAM" cat s3://bucket/key --shard 3/16 | wc -l)" "${want% lines}" \
    "the README's cat command is shard 3"

# Every long option that README names is one that the program knows.
for option in $(grep -o -- '--[a-z][a-z-]*' "$root/README.md" | sort -u); do
    "$S3STREAM" help cat >"$tmp/help" 2>&1
    "$S3STREAM" help run >>"$tmp/help" 2>&1
    "$S3STREAM" help plan >>"$tmp/help" 2>&1
    ok "README's $option exists" grep -q -- "$option" "$tmp/help"
done
plan_end
