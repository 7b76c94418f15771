#!/bin/bash
# What shards cost, counted in the server's log: no request for a boundary, next to no byte twice.
. "$(dirname "$0")/../support/lib.sh"

dir=$tmp/data log=$tmp/log
mkdir -p "$dir/bucket"
text=$dir/bucket/text packages=$dir/bucket/packages
python3 - "$text" "$dir/bucket/one-line" <<'PY'
import random, sys
r = random.Random(1)
pool = bytes(r.choice(b'abcdefghijklmnopqrstuvwxyz ,.') for _ in range(1 << 16))
out, n = [], 0
while n < 64 << 20:
    k = r.randrange(200)
    a = r.randrange(len(pool) - 200)
    line = pool[a:a + k] + b'\n'
    out.append(line)
    n += len(line)
open(sys.argv[1], 'wb').write(b''.join(out)[:64 << 20])
open(sys.argv[2], 'wb').write(b'x' * (8 << 20))
PY
size=$(stat -c %s "$text")

serve_start "$dir" --log "$log"

# The log's lines since the last call: method, status, bytes of the body.
fresh() {
    local seen
    sleep 0.2 # a line is written when its answer is over
    seen=$(cat "$tmp/seen" 2>/dev/null || echo 0)
    grep -v '^CONNECT' "$log" | tail -n +$((seen + 1))
    grep -vc '^CONNECT' "$log" >"$tmp/seen"
}
gets() { awk '$1 == "GET"' | wc -l; }
bytes() { awk '{ n += $5 } END { printf "%d\n", n }'; }
parts() { # SIZE N PART: what N shards must cost: the sum of ceil(shard / part)
    awk -v s="$1" -v n="$2" -v p="$3" 'BEGIN { for (i = 0; i < n; i++) {
        k = int((i + 1) * s / n) - int(i * s / n); t += int((k + p - 1) / p) } print t }'
}

# ---- An ordinary text ----------------------------------------------------------------------------

for part in 1M 4M 5M; do
    n=$((${part%M} << 20))
    want=$(parts "$size" 16 "$n")
    for verb in cat run; do
        if [ $verb = cat ]; then
            every=
            for i in {0..15}; do
                "$S3STREAM" cat s3://bucket/text --size "$size" --part-size $part --shard "$i/16" --no-hedge
                fresh >"$tmp/shard"
                every+=" $(gets <"$tmp/shard")"
                cat "$tmp/shard" >>"$tmp/requests"
            done >"$tmp/out"
            is "$(tr ' ' '\n' <<<"${every# }" | sort -u)" "$((want / 16))" "cat --shard, parts of $part: $((want / 16)) GETs by each shard"
        else
            "$S3STREAM" run s3://bucket/text --size "$size" --part-size $part -n 16 --no-hedge -- cat >"$tmp/out"
            fresh >"$tmp/requests"
        fi
        ok "$verb, parts of $part: the bytes" cmp "$tmp/out" "$text"
        is "$(gets <"$tmp/requests")" "$want" "$verb, parts of $part: ceil(shard / part) GETs a shard, $want in all"
        is "$(grep -vc '^GET' "$tmp/requests")" 0 "... and no other request"
        over=$(($(bytes <"$tmp/requests") - size))
        ok "... $over bytes beyond the object, less than 0.5 %" test $((over * 200)) -lt "$size"
        ok "... and none missing" test "$over" -ge 0
        rm "$tmp/requests"
    done
done

# Without --size: one small request more by every shard but the first, and still the same bytes.
"$S3STREAM" cat s3://bucket/text --part-size 1M --shard 0/16 --no-hedge >"$tmp/out"
is "$(fresh | wc -l)" 4 "shard 0 needs no request to learn the size"
"$S3STREAM" cat s3://bucket/text --part-size 1M --shard 7/16 --no-hedge >"$tmp/out"
is "$(fresh | wc -l)" 5 "shard 7 needs one to learn the size"

"$S3STREAM" cat s3://bucket/text --part-size 1M --no-hedge >"$tmp/out"
fresh >"$tmp/requests"
is "$(gets <"$tmp/requests") $(bytes <"$tmp/requests") $(wc -l <"$tmp/requests")" "64 $size 64" "the whole text in parts of 1M: 64 GETs, every byte once, and no other request"

# ---- Not one newline -----------------------------------------------------------------------------

one=$((8 << 20))
limit=$((2 * one + 16 * 64 * 1024))
for verb in cat run; do
    if [ $verb = cat ]; then
        for i in {0..15}; do
            "$S3STREAM" cat s3://bucket/one-line --size $one --shard "$i/16" --no-hedge >"$tmp/shard.$i"
        done
        cat "$tmp"/shard.{0..15} >"$tmp/out"
        is "$(cat "$tmp"/shard.{1..15} | wc -c)" 0 "no newline: shards 1 to 15 are empty"
    else
        "$S3STREAM" run s3://bucket/one-line --size $one -n 16 --no-hedge -- cat >"$tmp/out"
    fi
    ok "no newline, $verb: the bytes" cmp "$tmp/out" "$dir/bucket/one-line"
    fresh >"$tmp/requests"
    sent=$(bytes <"$tmp/requests")
    note "no newline, 16 shards, $verb: $(wc -l <"$tmp/requests") requests, $sent bytes, $(awk "BEGIN { printf \"%.2f\", $sent / $one }") x the object"
    ok "... each slice once by its shard, and once all by shard 0" test "$sent" -le $limit
done

# ---- The text of Debian's package index ----------------------------------------------------------

apt-cache dumpavail >"$packages" 2>/dev/null
if [ "$(stat -c %s "$packages")" -lt 10000000 ]; then
    note "no package lists here: a text like them"
    python3 - "$packages" <<'PY'
import random, sys
r = random.Random(2)
with open(sys.argv[1], 'wb') as f:
    n = 0
    while n < 40 << 20:
        k = min(8000, int(20 * (1 - r.random()) ** -0.9)) # most short, some of thousands
        f.write(b'd' * k + b'\n')
        n += k + 1
PY
fi
size=$(stat -c %s "$packages")
note "package index: $size bytes, $(wc -l <"$packages") lines, the longest of $(wc -L <"$packages")"
note "$(printf '%-8s %5s %9s %6s %12s' window N requests extra 'bytes over')"
declare -A over extra
for n in 16 64 1000; do
    want=$(parts "$size" $n $((1 << 20)))
    for window in learned dynamic 4096; do
        "$S3STREAM" run s3://bucket/packages --size "$size" --part-size 1M --window $window -n $n -j 4 --no-hedge -- cat >"$tmp/out"
        cmp "$tmp/out" "$packages" >&2 || tap "not ok" "package index, window $window, N = $n: the bytes"
        fresh >"$tmp/requests"
        extra[$window.$n]=$(($(wc -l <"$tmp/requests") - want))
        over[$window.$n]=$(($(bytes <"$tmp/requests") - size))
        note "$(printf '%-8s %5d %9d %6d %12d' $window $n "$(wc -l <"$tmp/requests")" "${extra[$window.$n]}" "${over[$window.$n]}")"
    done
    ok "N = $n: learned costs no more bytes than dynamic" test "${over[learned.$n]}" -le "${over[dynamic.$n]}"
    ok "N = $n: learned, extra requests for at most one shard of 12" test "${extra[learned.$n]}" -le $((n / 12 + 1))
    ok "N = $n: dynamic, 64 KiB a shard, and next to no extra request" \
        test "${over[dynamic.$n]}" -le $((n * 66000 + 200000)) -a "${extra[dynamic.$n]}" -le $((n / 50 + 1))
done
ok "N = 64: learned, less than 0.6 MB over" test "${over[learned.64]}" -lt 600000

serve_stop
plan_end
