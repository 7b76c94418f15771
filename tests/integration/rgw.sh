#!/bin/bash
# The main job on a real S3 server: the text of Debian's package index, in shards.
. "$(dirname "$0")/../support/lib.sh"

rgw_start
bucket=shards-$$-$RANDOM
rgw_mkbucket "$bucket" >/dev/null || { tap "not ok" "a bucket is made"; exit 1; }
small=$tmp/small

# A gibibyte: where there is room in memory, rather there.
big=$tmp/big
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ]; then
    big=$(mktemp /dev/shm/s3s.XXXXXX)
fi
trap 'on_exit; rm -f "$big"' EXIT

apt-cache dumpavail >"$small" 2>/dev/null
if [ "$(stat -c %s "$small")" -lt 10000000 ]; then
    note "no package lists here: a text like them"
    python3 - "$small" <<'PY'
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
size=$(stat -c %s "$small")
python3 - "$small" "$big" <<'PY'
import sys
data = open(sys.argv[1], 'rb').read()
with open(sys.argv[2], 'wb') as f:
    left = 1 << 30
    while left:
        left -= f.write(data[:left])
PY
big_size=$(stat -c %s "$big")
uri=s3://$bucket/small
note "small: $size bytes, $(wc -l <"$small") lines; big: $big_size bytes"
ok "put stores the small one" "$S3STREAM_FAST" put "$small" "$uri"
ok "put stores the big one" "$S3STREAM_FAST" put "$big" "s3://$bucket/big"
like "$("$S3STREAM" stat "s3://$bucket/big")" "size +$big_size" "stat tells its size"
is "$("$S3STREAM_FAST" stat --json "$uri" | grep -o "$(md5sum <"$small" | cut -c 1-32)")" "$(md5sum <"$small" | cut -c 1-32)" "the store's ETag is the content's MD5"

# The definition: a(p) is 0 for 0, else the first q >= p behind a newline, else the size.
cat >"$tmp/bounds.py" <<'PY'
import mmap, sys
n = int(sys.argv[2])
f = open(sys.argv[1], 'rb')
t = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
size = len(t)
def a(p):
    if p == 0: return 0
    if p >= size: return size
    q = t.find(b'\n', p - 1)
    return size if q < 0 else q + 1
for i in range(n):
    begin, end = a(i * size // n), a((i + 1) * size // n)
    print(i, begin, end - begin)
PY
piece() { # FILE BEGIN LENGTH
    tail -c +$(($2 + 1)) "$1" | head -c "$3"
}

# ---- Shards are what the definition says ---------------------------------------------------------

for n in 1 2 3 7 16 64; do
    : >"$tmp/all"
    wrong=
    while read -r i begin length; do
        "$S3STREAM_FAST" cat "$uri" --shard "$i/$n" --size "$size" >"$tmp/shard" 2>"$tmp/err" || wrong+=" shard $i: $(cat "$tmp/err")"
        cmp "$tmp/shard" <(piece "$small" "$begin" "$length") >&2 || wrong+=" shard $i differs"
        cat "$tmp/shard" >>"$tmp/all"
    done < <(python3 "$tmp/bounds.py" "$small" $n)
    is "$wrong" "" "cat --shard I/$n: each is what the definition says"
    ok "... and together they are the object" cmp "$tmp/all" "$small"
done
rm "$tmp/all" "$tmp/shard"

# The sizes and sums of all 1000 shards, and the whole.
python3 "$tmp/bounds.py" "$small" 1000 | cut -d ' ' -f 1,3 >"$tmp/want"
"$S3STREAM_FAST" run "$uri" --size "$size" -n 1000 -j 8 -- sh -c 'echo $S3S_SHARD_INDEX $(wc -c)' >"$tmp/got" 2>"$tmp/err"
is "$? $(cat "$tmp/err")" "0 " "run -n 1000"
ok "... each shard is as long as the definition says" cmp "$tmp/got" "$tmp/want"
"$S3STREAM" run "$uri" --size "$size" -n 1000 -j 8 -- cat 2>"$tmp/err" | cmp - "$small" >"$tmp/out" 2>&1
is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "run -n 1000 -- cat: the object"

for n in 1 2 3 7 16 64 1000; do
    "$S3STREAM_FAST" run "s3://$bucket/big" -n $n -j 8 -- cat 2>"$tmp/err" | cmp - "$big" >"$tmp/out" 2>&1
    is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "1 GiB: run -n $n -- cat: the object"
done
for i in 0 3 8 15; do
    read -r _ begin length < <(python3 "$tmp/bounds.py" "$big" 16 | grep "^$i ")
    "$S3STREAM_FAST" cat "s3://$bucket/big" --shard "$i/16" 2>"$tmp/err" | cmp - <(piece "$big" "$begin" "$length") >"$tmp/out" 2>&1
    is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "1 GiB: shard $i/16 is what the definition says"
done
lines=$(wc -l <"$big")
is "$("$S3STREAM_FAST" run "s3://$bucket/big" -n 16 -- wc -l 2>&1 | awk '{ n += $1 } END { print n, NR }')" "$lines 16" "1 GiB: run -n 16 -- wc -l adds up to $lines"
is "$("$S3STREAM_FAST" run "s3://$bucket/big" -n 16 --merge 'cat "$@" | awk "{ n += \$1 } END { print n }"' -- wc -l 2>&1)" "$lines" "... and --merge does that by itself"

# ---- Strategies, windows and records deliver the same bytes --------------------------------------

for options in '--strategy smart-prealigned' '--window dynamic' '--window 100' '--window 1' '--strategy smart-prealigned --window 4096' \
    '--records delim:\n\n' '--records fixed:1000' '--records delim:Package:'; do
    # shellcheck disable=SC2086 # the options are words
    "$S3STREAM" run "$uri" -n 16 $options -- cat 2>"$tmp/err" | cmp - "$small" >"$tmp/out" 2>&1
    is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "run -n 16 $options: the object"
done
for i in 0 5 15; do
    read -r _ begin length < <(python3 "$tmp/bounds.py" "$small" 16 | grep "^$i ")
    for options in '--strategy smart-prealigned' '--window dynamic' '--window 100'; do
        # shellcheck disable=SC2086
        "$S3STREAM_FAST" cat "$uri" --shard "$i/16" $options 2>"$tmp/err" | cmp - <(piece "$small" "$begin" "$length") >"$tmp/out" 2>&1
        is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "shard $i/16 $options: what the definition says"
    done
done
"$S3STREAM_FAST" plan "$uri" -n 16 --json --strategy smart-prealigned >"$tmp/plan" 2>"$tmp/err"
is "$? $(cat "$tmp/err")" "0 " "plan --json"
for i in {0..15}; do "$S3STREAM_FAST" cat --plan "$tmp/plan" --shard "$i" || break; done 2>"$tmp/err" | cmp - "$small" >"$tmp/out" 2>&1
is "$(cat "$tmp/out" "$tmp/err")" "" "the plan's shards are the object"
"$S3STREAM_FAST" run --plan "$tmp/plan" -- cat 2>"$tmp/err" | cmp - "$small" >"$tmp/out" 2>&1
is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "run --plan: the object"
"$S3STREAM_TSAN" run "$uri" -n 16 -j 8 --part-size 1M -- cat 2>"$tmp/err" | cmp - "$small" >"$tmp/out" 2>&1
is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "run under the thread sanitizer: the object"
ok "cat without shards" cmp <("$S3STREAM" cat "$uri") "$small"
is "$("$S3STREAM" cat "$uri" --range 1000-1999 | md5sum)" "$(piece "$small" 1000 1000 | md5sum)" "cat --range A-B"
is "$("$S3STREAM" cat "$uri" --range -1000 | md5sum)" "$(tail -c 1000 "$small" | md5sum)" "cat --range -N"
ok "get" "$S3STREAM" get "$uri" "$tmp/got"
ok "... the object" cmp "$tmp/got" "$small"

# ---- Small and odd objects -----------------------------------------------------------------------

printf '' >"$tmp/o.empty"
printf 'a' >"$tmp/o.one"
printf '\n\n\n\n' >"$tmp/o.newlines"
printf 'a\r\nbb\r\n\r\nc' >"$tmp/o.crlf"
for name in empty one newlines crlf; do
    ok "put: $name" "$S3STREAM" put "$tmp/o.$name" "s3://$bucket/o.$name"
    n=$(($(stat -c %s "$tmp/o.$name") + 2))
    wrong=
    for ((k = 1; k <= n; k++)); do
        "$S3STREAM" run "s3://$bucket/o.$name" -n $k -- cat >"$tmp/out" 2>"$tmp/err" || wrong+=" n=$k: $(cat "$tmp/err")"
        cmp "$tmp/out" "$tmp/o.$name" >&2 || wrong+=" n=$k differs"
    done
    is "$wrong" "" "$name: in 1 to $n shards"
    "$S3STREAM" rm "s3://$bucket/o.$name" || tap "not ok" "rm $name"
done

# ---- Keys are literal ----------------------------------------------------------------------------

keys=('with space' ' lead and trail ' 'a+b' '100%' 'a%20b' '%2F' 'ünï/cödé/鍵/🗝' 'a//b' '/leading' 'trailing//x' '../up' 'a/../b' './here' 'a/./b'
    'q?x=y&z' 'hash#tag' "quote'\"\`" '<xml>&amp;' 'semi;colon,comma=eq@at:' 'star*[x]{y}|^~!$()' 'back\slash' $'new\nline' $'tab\tx' $'\x01ctl' 'a b+c%d' '.' '..x')
i=0
wrong=
for key in "${keys[@]}"; do
    i=$((i + 1))
    echo "content $i of $key" >"$tmp/content"
    name=$(printf '%q' "$key")
    object=s3://$bucket/keys/$key
    "$S3STREAM" put "$tmp/content" "$object" >"$tmp/out" 2>&1 || { tap "not ok" "key $name: put" "$(cat "$tmp/out")"; continue; }
    "$S3STREAM" cat "$object" >"$tmp/out" 2>&1
    is "$(cat "$tmp/out")" "$(cat "$tmp/content")" "key $name: cat"
    is "$("$S3STREAM" stat --json "$object" 2>&1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["size"])' 2>&1)" "$(stat -c %s "$tmp/content")" "key $name: stat --json"
done
# A key that begins with '/' right behind the bucket.
echo root >"$tmp/content"
ok "key /root: put" "$S3STREAM" put "$tmp/content" "s3://$bucket//root"
is "$("$S3STREAM" cat "s3://$bucket//root" 2>&1)" root "key /root: cat"
fails "... which is not root" "$S3STREAM" cat "s3://$bucket/root"

"$S3STREAM" ls -r --json "s3://$bucket/keys/" >"$tmp/list" 2>"$tmp/err"
cat >"$tmp/keys.py" <<'PY'
import json, sys
text, found = open(sys.argv[1]).read(), []
def walk(x):
    if isinstance(x, dict):
        if 'key' in x: found.append(x['key'])
        for v in x.values(): walk(v)
    if isinstance(x, list):
        for v in x: walk(v)
try:
    walk(json.loads(text))
except ValueError:
    for line in text.splitlines(): walk(json.loads(line))
want = ['keys/' + k for k in sys.argv[2:]]
for k in sorted(set(want) - set(found)): print('missing', ascii(k))
for k in sorted(set(found) - set(want)): print('surplus', ascii(k))
PY
is "$(python3 "$tmp/keys.py" "$tmp/list" "${keys[@]}" 2>&1)" "" "ls -r --json: every key as it was put"
"$S3STREAM" ls -r "s3://$bucket/keys/" >"$tmp/list" 2>"$tmp/err"
is "$(wc -l <"$tmp/list")" ${#keys[@]} "ls -r: one line a key, also with a newline in it"
wrong=
for key in "${keys[@]}"; do
    "$S3STREAM" rm "s3://$bucket/keys/$key" >"$tmp/out" 2>&1 || wrong+=" $(printf '%q' "$key"): $(cat "$tmp/out")"
done
is "$wrong" "" "rm: every key"
ok "rm: /root" "$S3STREAM" rm "s3://$bucket//root"
is "$("$S3STREAM" ls -r --json "s3://$bucket/keys/" 2>&1 | grep -c '"key"')" 0 "... and none is left"
like "$("$S3STREAM" ls s3:// 2>&1)" "$bucket" "ls: the bucket is listed"

# ---- Conditions, and refusals --------------------------------------------------------------------

one_line() { # NAME PATTERN CMD...
    local name=$1 pattern=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    is "$? $(wc -l <"$tmp/err") $(wc -c <"$tmp/out")" "1 1 0" "$name: 1, one line, nothing on stdout"
    like "$(cat "$tmp/err")" "$pattern" "... that says why"
}

echo first >"$tmp/first"
echo second >"$tmp/second"
ok "put --if-none-match '*' where nothing is" "$S3STREAM" put "$tmp/first" "s3://$bucket/cond" --if-none-match '*'
one_line "put --if-none-match '*' a second time" '412' "$S3STREAM" put "$tmp/second" "s3://$bucket/cond" --if-none-match '*'
is "$("$S3STREAM" cat "s3://$bucket/cond")" first "... and the first one stays"
one_line "put --if-match with another ETag" '412' "$S3STREAM" put "$tmp/second" "s3://$bucket/cond" --if-match '"0123456789abcdef0123456789abcdef"'
etag=$(md5sum <"$tmp/first" | cut -c 1-32)
# (With its own ETag it is s3serve's to show: this gateway compares a PUT's If-Match with the quotes on.)
ok "put without a condition" "$S3STREAM" put "$tmp/second" "s3://$bucket/cond"
is "$("$S3STREAM" cat "s3://$bucket/cond")" second "... replaces it"
one_line "cat --etag of another version" '[Cc]hanged|412' "$S3STREAM" cat "s3://$bucket/cond" --etag "\"$etag\""
ok "rm" "$S3STREAM" rm "s3://$bucket/cond"

one_line "a wrong secret" 'SignatureDoesNotMatch|403' env AWS_SECRET_ACCESS_KEY=wrong "$S3STREAM" cat "$uri"
one_line "an unknown key" 'InvalidAccessKeyId|403' env AWS_ACCESS_KEY_ID=nobody "$S3STREAM" cat "$uri"
one_line "--anonymous on a private object" 'AccessDenied|403' "$S3STREAM" cat --anonymous "$uri"
one_line "a missing key" '404' "$S3STREAM" cat "s3://$bucket/missing"
one_line "a missing bucket" '404' "$S3STREAM" cat "s3://$bucket-missing/x"
one_line "a range beyond the end" '416|[Rr]ange' "$S3STREAM" cat "$uri" --range "$((size + 10))-"
ok "rm: the two texts" "$S3STREAM" rm "$uri" "s3://$bucket/big"

plan_end
