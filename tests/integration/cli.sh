#!/bin/bash
# The command line: what it accepts and refuses, what each verb does, and how it ends.
. "$(dirname "$0")/../support/lib.sh"

dir=$tmp/data
mkdir -p "$dir/bucket/sub" "$dir/other" "$tmp/work" "$tmp/spool"
export TMPDIR=$tmp/spool
awk 'BEGIN { srand(3); for (i = 0; i < 40000; i++) {
    printf "%d ", i; n = int(rand() * 20); for (k = 0; k < n; k++) printf "%04d", rand() * 9999; print "" } }' \
    >"$dir/bucket/text"
head -c 10240 "$dir/bucket/text" >"$dir/bucket/ten-kib"
printf 'a\nb\nc' >"$dir/bucket/small"
: >"$dir/bucket/empty"
echo deep >"$dir/bucket/sub/deep"
text=$dir/bucket/text uri=s3://bucket/text small=s3://bucket/small
size=$(stat -c %s "$text") lines=$(wc -l <"$text")
serve_start "$dir"
cd "$tmp/work" || exit 1

s3() { timeout 60 "$S3STREAM" "$@" </dev/null; }
field() { # NAME: of the JSON on stdin, the last line that has it
    python3 -c '
import json, sys
text = sys.stdin.read()
value = json.loads(text[text.index("{"):])
for name in sys.argv[1].split("."):
    value = value[int(name) if name.isdigit() else name]
print(json.dumps(value) if isinstance(value, (bool, list, dict)) else value)' "$1"
}

# STATUS NAME PATTERN CMD...: ends so, with one line on stderr like PATTERN, and nothing on stdout
refuses() {
    local want=$1 name=$2 pattern=$3 status
    shift 3
    timeout 60 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    status=$?
    if [ $status -eq "$want" ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && [ ! -s "$tmp/out" ] &&
        grep -qE -- "^s3stream: $pattern" "$tmp/err"; then
        tap ok "$name"
    else
        tap "not ok" "$name" "exit status $status of $(command_text "$@")"$'\n'"$(cat "$tmp/err" "$tmp/out")"
    fi
}

# ---- Usage ---------------------------------------------------------------------------------------
# Each line: what is wrong | the message | arguments

while IFS='|' read -r name pattern args; do
    eval "set -- $args"
    refuses 2 "$name" "$pattern" "$S3STREAM" "$@"
done <<'END'
no verb|give a verb|
an unknown verb|'dog' is no verb|dog s3://bucket/text
an unknown verb's help|help: 'dog' is no verb|help dog
an unknown option|'--frobnicate' is no option|cat s3://bucket/text --frobnicate
an unknown letter|'-q' is no option|cat -q s3://bucket/text
an abbreviated option|'--part' is no option|cat s3://bucket/text --part 1M
a value for a flag|'--json=yes' is no option|ls --json=yes
a missing value|'--range' needs a value|cat s3://bucket/text --range
another verb's option|cat: --merge is not an option|cat s3://bucket/text --merge wc
no operand|cat: give URI|cat
an operand too many|stat: 's3://b/k' is one operand too many|stat s3://bucket/text s3://b/k
a scheme that is none|cat foo:bar: not a usable URI|cat foo:bar
a size with a wrong unit|cat: --part-size '8X': give bytes|cat s3://bucket/text --part-size 8X
a size with a sign|cat: --part-size '-8': give bytes|cat s3://bucket/text --part-size=-8
a size with rubbish|cat: --part-size '8Kx': give bytes|cat s3://bucket/text --part-size 8Kx
an empty size|cat: --memory '': give bytes|cat s3://bucket/text --memory ''
a size beyond 64 bits|cat: --size '18446744073709551616': give|cat s3://bucket/text --size 18446744073709551616
a size that overflows by its unit|cat: --size '99999999T': give bytes|cat s3://bucket/text --size 99999999T
a part size of nothing|cat: --part-size '0': give at least|cat s3://bucket/text --part-size 0
no connections|cat: --connections '0': give a number|cat s3://bucket/text --connections 0
a range backwards|cat: --range '5-3': it ends before|cat s3://bucket/text --range 5-3
a range of words|cat: --range 'all': give A-B|cat s3://bucket/text --range all
the last none|cat: --range '-0': give A-B|cat s3://bucket/text --range -0
a shard beyond the last|cat: --shard '3/3': shards count from 0|cat s3://bucket/text --shard 3/3
a shard of none|cat: --shard '0/0': give I/N|cat s3://bucket/text --shard 0/0
a shard of how many|cat: --shard 3: of how many|cat s3://bucket/text --shard 3
a shard that an engine knows|cat: --shard 'auto': give I/N|cat s3://bucket/text --shard auto
an unknown strategy|cat: --strategy 'luck': give|cat s3://bucket/text --strategy luck
an unknown window|cat: --window '0': give learned|cat s3://bucket/text --window 0
records that are none|cat s3://bucket/text: records 'rows'|cat s3://bucket/text --shard 0/2 --records rows
an endpoint that is none|cat: the endpoint 'ftp://x'|cat --endpoint ftp://x s3://bucket/text
a header that is none|cat: the header 'rubbish'|cat -H rubbish s3://bucket/text
run without a command|run: give the command after --|run s3://bucket/text -n 2
run without a command behind --|run: give the command after --|run s3://bucket/text -n 2 --
run without -n|run: give -n N|run s3://bucket/text -- wc
run -n 0|run: --shards '0': give a number|run s3://bucket/text -n 0 -- wc
parts that do not fit|run: --part-size 134217728 does not fit --memory 67108864|run s3://bucket/text -n 2 --part-size 128M -- wc
plan without -n|plan: give -n N|plan s3://bucket/text
get of a bucket|get: 's3://bucket' ends in no name|get s3://bucket
get of a directory|get: 's3://bucket/sub/' ends in no name|get s3://bucket/sub/
get of ..|get: 's3://bucket/..' ends in no name|get s3://bucket/..
put of stdin without a name|put: 's3://bucket/' lacks|put - s3://bucket/
rm of a bucket|rm: 's3://bucket' names a bucket|rm s3://bucket
rm of a bucket with a slash|rm: 's3://bucket/' names a bucket|rm s3://bucket/
rm of a directory|rm: 's3://bucket/sub/' ends in '/'|rm s3://bucket/sub/
rm of a file|rm: 'file:///tmp/x' is not an s3://|rm file:///tmp/x
END
is "$(ls -A)" "" "bad usage leaves nothing behind"
ok "rm that refuses one deletes none" test -e "$dir/bucket/sub/deep"

is "$(s3 version)" "s3stream 0.1.0" "version"
is "$(s3 --version)" "s3stream 0.1.0" "--version"
for verb in cat run plan get put ls stat rm version help; do
    like "$(s3 help $verb)" "^s3stream $verb .*--help" "help $verb"
    like "$(s3 help)" "s3stream $verb " "help names $verb"
done
is "$(s3 run --help)" "$(s3 help run)" "run --help is help run"
refuses 2 "a wrong variable is bad usage" "cat: S3STREAM_PART_SIZE 'x': give bytes" \
    env S3STREAM_PART_SIZE=x "$S3STREAM" cat "$small"

# ---- Options -------------------------------------------------------------------------------------

requests() { s3 cat s3://bucket/ten-kib --stats - "$@" 2>&1 >/dev/null | field requests; }
is "$(requests --part-size 1K)" 10 "1K is 1024"
is "$(requests --part-size 1KiB)" 10 "1KiB is 1024"
is "$(requests --part-size 1KB)" 11 "1KB is 1000"
is "$(S3STREAM_PART_SIZE=5K requests)" 2 "a variable is an option"
is "$(S3STREAM_PART_SIZE=5K requests --part-size 1K)" 10 "but an option goes before it"
is "$(S3STREAM_PART_SIZE='' requests)" 1 "an empty variable is unset"
is "$(s3 --range 2-3 cat "$small" --connections=2)" "b" "options stand anywhere"
is "$(s3 cat --range 2-2 -- "$small")" "b" "-- ends the options"
s3 cat "$small" >/dev/null 2>"$tmp/err"
is "$(cat "$tmp/err")" "" "no word is said when all is well"
S3STREAM_PART_SIZ=1 s3 cat "$small" >/dev/null 2>"$tmp/err"
like "$(cat "$tmp/err")" "S3STREAM_PART_SIZ is no option" "an unknown variable is warned about"
AWS_SECRET_ACCESS_KEY=s3stream-secret S3STREAM_WINDOW=dynamic \
    s3 -v cat "$small" --memory 16M >/dev/null 2>"$tmp/err"
ok "-v tells an option" grep -qx "s3stream: memory = 16M (option)" "$tmp/err"
ok "-v tells a variable" grep -qx "s3stream: window = dynamic (S3STREAM_WINDOW)" "$tmp/err"
ok "-v tells a default" grep -qx "s3stream: retries = 9 (default)" "$tmp/err"
ok "-v tells what the library finds" grep -qx "s3stream: endpoint = $ENDPOINT (AWS_ENDPOINT_URL)" "$tmp/err"
fails "-v tells no secret" grep -q s3stream-secret "$tmp/err"
s3 cat --trace "$small" >/dev/null 2>"$tmp/err"
like "$(cat "$tmp/err")" "GET " "--trace tells requests"
fails "--trace tells no signature" grep -qi signature "$tmp/err"
refuses 1 "--anonymous signs nothing" "stat $small: .*403" "$S3STREAM" stat --anonymous "$small"
refuses 1 "a query is not shown" "cat http://127.0.0.1:$PORT/bucket/none: [^?]*\$" \
    "$S3STREAM" cat "http://127.0.0.1:$PORT/bucket/none?X-Amz-Signature=abc"

# ---- cat -----------------------------------------------------------------------------------------

s3 cat "$uri" >"$tmp/out"
ok "cat copies" cmp "$tmp/out" "$text"
is "$(s3 cat "$small" s3://bucket/empty "$small" | tr '\n' ,)" "a,b,ca,b,c" "cat copies several in order"
is "$(s3 cat --range 1-2 "$small" | tr '\n' ,)" ",b" "--range A-B includes both"
is "$(s3 cat --range 3- "$small" | tr '\n' ,)" ",c" "--range A-"
is "$(s3 cat --range -3 "$small" | tr '\n' ,)" "b,c" "--range -N"
is "$(s3 cat --range -99 "$small" | tr '\n' ,)" "a,b,c" "--range -N of more than there is"
is "$(s3 cat --range -3 s3://bucket/empty 2>&1)" "" "--range -N of nothing"
is "$(s3 cat --range 2-99 "$small" | tr '\n' ,)" "b,c" "a range is cut at the end"
refuses 1 "a range behind the end" "cat $small: .*416" "$S3STREAM" cat --range 9- "$small"
refuses 1 "no object" "cat s3://bucket/none: NoSuchKey \(404\): .*request id" "$S3STREAM" cat s3://bucket/none
refuses 1 "https without TLS" "cat https://x.example/y: .*TLS" "$S3STREAM" cat https://x.example/y
for n in 1 2 3 7; do
    for ((i = 0; i < n; i++)); do s3 cat "$uri" --shard $i/$n; done >"$tmp/out"
    ok "$n shards are the object" cmp "$tmp/out" "$text"
done
refuses 1 "another ETag" "cat $uri: .*changed" "$S3STREAM" cat "$uri" --etag '"abc"'
refuses 1 "a full disk is an error" "cat: cannot write to stdout: No space left" \
    bash -c '"$0" cat "$1" >/dev/full' "$S3STREAM" "$uri"
refuses 1 "so it is where little is written" "version: cannot write to stdout: No space" \
    bash -c '"$0" version >/dev/full' "$S3STREAM"
refuses 1 "no stdout is an error" "cat: cannot write to stdout: Bad file" bash -c '"$0" cat "$1" >&-' "$S3STREAM" "$uri"
s3 cat "$uri" 2>"$tmp/err" | head -n 1 >/dev/null
is "${PIPESTATUS[0]} $(cat "$tmp/err")" "0 " "a closed stdout ends cat quietly"
s3 ls -r s3://bucket 2>"$tmp/err" | true
is "${PIPESTATUS[0]} $(cat "$tmp/err")" "0 " "and ls"
is "$(s3 cat "file://$dir/bucket/small" | tr '\n' ,)" "a,b,c" "file:// is read, too"

# ---- plan ----------------------------------------------------------------------------------------

s3 plan "$uri" -n 5 --json >"$tmp/plan"
is "$(field size <"$tmp/plan") $(field slices.4.end <"$tmp/plan")" "$size $size" "a plan is JSON"
s3 plan "$uri" -n 5 --json --strategy smart-prealigned >"$tmp/exact"
is "$(field slices.3.exact <"$tmp/exact")" true "smart-prealigned makes it exact"
for plan in "$tmp/plan" "$tmp/exact"; do
    for i in 0 1 2 3 4; do s3 cat --plan "$plan" --shard $i "$uri"; done >"$tmp/out"
    ok "a plan's shards are the object" cmp "$tmp/out" "$text"
    is "$(s3 run --plan "$plan" -- wc -l | awk '{ n += $1 } END { print n, NR }')" "$lines 5" "run by plan"
done
is "$(s3 plan "$uri" -n 5 | wc -l)" 6 "plan prints a table"
is "$(s3 plan "$uri" -n 2 --json | timeout 60 "$S3STREAM" run --plan - -- wc -l | wc -l)" 2 "a plan from stdin"
refuses 2 "a plan of another object" "cat: --plan .* is of $uri, not of $small" \
    "$S3STREAM" cat --plan "$tmp/plan" --shard 0 "$small"
refuses 2 "a plan without --shard" "cat: --plan needs --shard" "$S3STREAM" cat --plan "$tmp/plan"
refuses 2 "a plan has fewer shards" "cat: --plan .* has 5 shards" "$S3STREAM" cat --plan "$tmp/plan" --shard 5
refuses 2 "a plan of another count" "cat: --plan .* has 5 shards" "$S3STREAM" cat --plan "$tmp/plan" --shard 1/4
refuses 2 "a plan holds the size" "cat: --plan holds what --size" \
    "$S3STREAM" cat --plan "$tmp/plan" --shard 1 --size 5
refuses 1 "a plan that is none" "cat $small: .*" "$S3STREAM" cat --plan "$small" --shard 1
echo '{"version":1}' >"$tmp/bad"
refuses 1 "a plan that lacks everything" "cat $tmp/bad: the plan cannot be used" \
    "$S3STREAM" cat --plan "$tmp/bad" --shard 1

# ---- run -----------------------------------------------------------------------------------------

for n in 1 3 16 200; do
    s3 run "$uri" -n $n -- cat >"$tmp/out"
    ok "run -n $n -- cat is the object" cmp "$tmp/out" "$text"
done
is "$(s3 run "$uri" -n 16 -- wc -l | awk '{ n += $1 } END { print n, NR }')" "$lines 16" "the counts add up"
is "$(s3 run "$small" -n 3 -j 1 -- sh -c 'echo $S3S_SHARD_INDEX/$S3S_SHARD_COUNT' | xargs)" "0/3 1/3 2/3" \
    "a command knows its shard"
is "$(s3 run s3://bucket/empty -n 3 -- wc -c | xargs)" "0 0 0" "an empty object has empty shards"
is "$(s3 run "$small" -n 9 -- wc -c | awk '{ n += $1 } END { print n, NR }')" "5 9" "more shards than bytes"
is "$(s3 run "$uri" -n 4 --strategy smart-prealigned -- cat | cksum)" "$(cksum <"$text")" "smart-prealigned"
is "$(s3 run "$uri" -n 4 --range 100- -- cat | cksum)" "$(tail -c +101 "$text" | cksum)" "run --range"
s3 run "$uri" -n 60 -j 8 -- sh -c '[ $S3S_SHARD_INDEX != 0 ] || sleep 1; cat' >"$tmp/out"
ok "outputs come in order when the first is last" cmp "$tmp/out" "$text"
(ulimit -n 128 && s3 run "$uri" -n 300 -j 4 -- cat >"$tmp/out")
ok "300 shards with 128 descriptors" cmp "$tmp/out" "$text"
is "$(s3 run "$uri" -n 4 -- true; echo $?)" 0 "a command may leave its input unread"
is "$(s3 run "$uri" -n 4 -- head -n 1 | wc -l)" 4 "or read a part of it"
s3 run "$uri" -n 4 -- cat 2>"$tmp/err" | head -n 1 >/dev/null
is "${PIPESTATUS[0]} $(cat "$tmp/err")" "0 " "a closed stdout ends run quietly"
is "$(trap '' PIPE; s3 run "$small" -n 1 -- sh -c 'kill -PIPE $$; echo survived' 2>&1)" \
    "s3stream: run $small: shard 0 of 1: 'sh -c kill -PIPE \$\$; echo survived' was killed by signal 13" \
    "commands start with clean signals"
is "$(s3 run "$small" -n 1 -- ls /proc/self/fd)" "$(timeout 9 ls /proc/self/fd </dev/null)" \
    "and inherit no descriptors of ours"

refuses 1 "a command that fails" "run $small: shard 0 of 1: 'sh -c exit 7' exited with status 7\$" \
    "$S3STREAM" run "$small" -n 1 -- sh -c 'exit 7'
refuses 1 "a command that is killed" "run $small: shard 0 of 1: .* was killed by signal 9\$" \
    "$S3STREAM" run "$small" -n 1 -- sh -c 'kill -9 $$'
refuses 1 "a command that is none" "run $small: shard [01] of 2: cannot start '/none/such': No such file" \
    "$S3STREAM" run "$small" -n 2 -- /none/such
refuses 1 "an object that is none" "run s3://bucket/none: NoSuchKey" "$S3STREAM" run s3://bucket/none -n 4 -- cat
refuses 1 "a spool that cannot be" "run $uri: cannot write a spool in /none" \
    env TMPDIR=/none "$S3STREAM" run "$uri" -n 4 -- sh -c '[ $S3S_SHARD_INDEX = 0 ] && exec sleep 5; cat'
refuses 1 "a full disk" "run $uri: cannot write to stdout: No space" \
    bash -c '"$0" run "$1" -n 4 -- cat >/dev/full' "$S3STREAM" "$uri"
start=$SECONDS
refuses 1 "the first failure" "run $uri: shard 2 of 4: .* exited with status 3\$" \
    "$S3STREAM" run "$uri" -n 4 -j 4 -- sh -c '[ $S3S_SHARD_INDEX = 2 ] && exit 3; exec sleep 33'
is "$((SECONDS - start < 10))" 1 "ends the others"
s3 run "$small" -n 5 --keep-going -- sh -c 'cat; exit $((S3S_SHARD_INDEX % 2))' >"$tmp/out" 2>"$tmp/err"
is "$? $(cmp "$tmp/out" "$dir/bucket/small" && cat "$tmp/err")" \
    "1 s3stream: run $small: 2 of 5 shards failed; the first: $(grep -o 'shard [0-9] of 5.*' "$tmp/err")" \
    "--keep-going runs all"

is "$(s3 run "$uri" -n 5 --merge 'sort -rn' -- wc -l | awk '{ n += $1 } END { print n, NR }')" "$lines 5" \
    "--merge gets the outputs"
is "$(s3 run "$uri" -n 5 --merge 'cat "$@" | cksum' -- cat)" "$(cksum <"$text")" "as \"\$@\", in order"
is "$(s3 run "$uri" -n 5 --merge cat -- cat | cksum)" "$(cksum <"$text")" "--merge cat is the default"
is "$(s3 run "$small" -n 3 --merge 'echo $#;:' -- cat)" 3 "all of them"
refuses 1 "--merge that fails" "run $small: --merge 'exit 4;:' exited with status 4\$" \
    "$S3STREAM" run "$small" -n 3 --merge 'exit 4;:' -- cat
refuses 1 "no --merge after a failure" "run $small: shard 0 of 1: .* status 1\$" \
    "$S3STREAM" run "$small" -n 1 --keep-going --merge 'echo merged;:' -- false

# ---- get -----------------------------------------------------------------------------------------

s3 get "$uri"
ok "get takes the key's name" cmp text "$text"
chmod 640 text
s3 get "$small" text
is "$(cat text) $(stat -c %a text)" "$(cat "$dir/bucket/small") 640" "get replaces, and keeps the mode"
mkdir there
s3 get "$uri" there && s3 get s3://bucket/small there/
ok "get into a directory" cmp there/text "$text"
ok "or one with a slash" cmp there/small "$dir/bucket/small"
is "$(s3 get "$small" - | tr '\n' ,)" "a,b,c" "get to stdout"
ok "get to a device" s3 get "$small" /dev/null
mkfifo pipe
cat pipe >fifo-out &
s3 get "$uri" pipe
wait $!
ok "get to a FIFO" cmp fifo-out "$text"
ok "which is still one" test -p pipe
s3 get "$uri" part --range 10-19 && s3 get "$uri" shard --shard 1/3
is "$(cat part)" "$(tail -c +11 "$text" | head -c 10)" "get --range"
is "$(cksum <shard)" "$(s3 cat "$uri" --shard 1/3 | cksum)" "get --shard"
name=$(printf 'n%.0s' {1..250})
s3 get "$small" "$name"
ok "a name of 250 bytes" test -s "$name"
refuses 1 "get into nowhere" "get $small: cannot create '/none/x': No such file" "$S3STREAM" get "$small" /none/x
refuses 1 "get of nothing" "get s3://bucket/none: NoSuchKey" "$S3STREAM" get s3://bucket/none none
is "$(find . -name '*none*' -o -name '.*s3stream*')" "" "leaves nothing"

# ---- put, rm -------------------------------------------------------------------------------------

s3 put "$text" s3://other/copy
ok "put stores a file" cmp "$dir/other/copy" "$text"
"$S3STREAM" put - s3://other/stdin <"$text"
ok "put stores stdin, a file" cmp "$dir/other/stdin" "$text"
tail -c +11 "$text" | "$S3STREAM" put - s3://other/pipe
is "$(cksum <"$dir/other/pipe")" "$(tail -c +11 "$text" | cksum)" "put stores stdin, a pipe"
{ head -c 10 >/dev/null && "$S3STREAM" put - s3://other/middle; } < <(cat "$text") && ok "stdin begun" true
s3 put "$dir/bucket/empty" s3://other/sub/
ok "a URI with a slash takes the name" test -e "$dir/other/sub/empty"
refuses 1 "--if-none-match" "put s3://other/copy: PreconditionFailed" \
    "$S3STREAM" put "$dir/bucket/small" s3://other/copy --if-none-match '*'
refuses 1 "--if-match" "put s3://other/copy: PreconditionFailed" \
    "$S3STREAM" put "$dir/bucket/small" s3://other/copy --if-match abc
for when in always never; do
    ok "--payload-signing $when" s3 put "$dir/bucket/small" s3://other/signed --payload-signing $when
done
s3 put "$text" s3://other/typed --content-type text/plain -H 'x-amz-meta-colour: blue green'
is "$(s3 stat --json s3://other/typed | field content_type)" text/plain "--content-type"
is "$(s3 stat --json s3://other/typed | field metadata.colour)" "blue green" "-H"
refuses 1 "put of a directory" "put $dir: it is a directory" "$S3STREAM" put "$dir" s3://other/x
refuses 1 "put of nothing" "put nothing: No such file" "$S3STREAM" put nothing s3://other/x
s3 rm s3://other/copy s3://other/stdin
fails "rm deletes" ls "$dir/other/copy" "$dir/other/stdin"
ok "rm of nothing is no error" s3 rm s3://other/copy

# What s3serve does not do: it takes its time for a body, touching FILE when that begins; and it lists
# a key that no file can have there.
cat >"$tmp/fake.py" <<'END'
import socket, sys, time
page = b"""<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents>
<Key>sub/new%0Aline%1B%5B31m-%C2%9B-%C3%A4</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified>
<ETag>&quot;e&quot;</ETag><Size>7</Size></Contents></ListBucketResult>"""
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        piece = c.recv(4096)
        head += piece
        if not piece: break
    if head.startswith(b"PUT"):
        open(sys.argv[1], "w").close()
        time.sleep(1)
        c.settimeout(2)
        try:
            while c.recv(1 << 20): pass
        except OSError: pass
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"x\"\r\nConnection: close\r\n\r\n" % len(page) + page)
    c.close()
END
python3 "$tmp/fake.py" "$tmp/begun" >"$tmp/fake.port" &
fake=$!
until [ -s "$tmp/fake.port" ]; do sleep 0.05; done
FAKE=http://127.0.0.1:$(cat "$tmp/fake.port")

change() { # HOW...: puts a file of 64 MB while HOW happens to it
    truncate -s 64M changing
    rm -f "$tmp/begun"
    (until [ -e "$tmp/begun" ]; do sleep 0.05; done; "$@") &
    refuses 1 "put of a file that meets $1 $2" "put .*changing.* was (changed|cut short) while it was sent" \
        "$S3STREAM" put changing s3://b/k --endpoint "$FAKE" --retries 0
    wait $!
}
change truncate -s 0 changing
change truncate -s 65M changing
# ---- ls, stat ------------------------------------------------------------------------------------

is "$(s3 ls | awk '{ print $3 }' | xargs)" "bucket other" "ls lists buckets"
is "$(s3 ls s3://bucket/ | awk '{ print $NF }' | LC_ALL=C sort | xargs)" "empty small sub/ ten-kib text" \
    "ls lists a level"
is "$(s3 ls -r s3://bucket/s | awk '{ print $NF }' | xargs)" "small sub/deep" "ls -r lists all"
is "$(s3 ls s3://bucket/sub/ | awk '{ print $3, $4 }')" "5 deep" "names are shown from their level on"
like "$(s3 ls s3://bucket/small)" "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} +5 small$" "with date, time and size"
is "$(s3 ls s3://b/sub/ --endpoint "$FAKE")" \
    "2024-01-02 03:04:05          7 new\\x0aline\\x1b[31m-\\xc2\\x9b-"$'\xc3\xa4' "control characters are escaped"
is "$(s3 ls s3://b/sub/ --endpoint "$FAKE" --json | field key)" $'sub/new\nline\e[31m-\xc2\x9b-\xc3\xa4' \
    "--json says them exactly"
kill $fake
is "$(s3 ls -r --json s3://bucket | wc -l)" "$(find "$dir/bucket" -type f -printf . | wc -c)" "a line each"
refuses 1 "ls of no bucket" "ls s3://nobucket: NoSuchBucket" "$S3STREAM" ls s3://nobucket
is "$(s3 stat "$small" | awk '$1 == "size" { print $2 }')" 5 "stat tells the size"
is "$(s3 stat --json "$small" | field size)" 5 "stat --json"
refuses 1 "stat of nothing" "stat s3://bucket/none: .*404" "$S3STREAM" stat s3://bucket/none

# ---- statistics ----------------------------------------------------------------------------------

s3 cat "$uri" --stats - --part-size 100K >/dev/null 2>"$tmp/err"
is "$(field requests <"$tmp/err") $(field bytes_delivered <"$tmp/err")" "$(((size + 102399) / 102400)) $size" \
    "--stats - is stderr where stdout has data"
is "$(field pinned <"$tmp/err") $(field wasted_bytes <"$tmp/err")" "true 0" "pinned, and nothing wasted"
is "$(field etag <"$tmp/err")" "$(s3 stat --json "$uri" | field etag)" "the ETag is told"
is "$(s3 put "$text" s3://other/x --stats - | field bytes_sent)" "$size" "and stdout where it has none"
s3 get "$uri" got --stats stats.json
is "$(field bytes_delivered <stats.json)" "$size" "--stats FILE"
s3 cat s3://bucket/none --stats stats.json 2>/dev/null
is "$(field error.code <stats.json)" S3S_E_NOT_FOUND "a failure is told"
s3 run "$uri" -n 4 --stats stats.json -- wc -l >/dev/null
is "$(field shards.3.end <stats.json) $(field shards.0.start <stats.json)" "$size 0" "run tells its shards"
is "$(field pinned <stats.json)" true "which are of one version"
refuses 1 "--stats into nowhere" "cat: cannot write --stats '/none/x'" "$S3STREAM" cat "$small" --stats /none/x

# ---- one version ---------------------------------------------------------------------------------

note "an object that is overwritten while shards are read"
serve_stop
serve_start "$dir" --fault 'etag-change@12-'
s3 run "$uri" -n 4 --part-size 100K -- sh -c 'wc -l; echo $S3S_SHARD_INDEX >>whole' >"$tmp/out" 2>"$tmp/err"
is "$? $(grep -c 'shard [0-3] of 4: .*changed' "$tmp/err")" "1 1" "ends run"
ok "no command took a cut input for a whole one" test "$(awk '{ n += $1 } END { print n + 0 }' "$tmp/out")" -lt "$lines"
serve_stop
serve_start "$dir" --fault etag-weak
s3 run "$uri" -n 4 --stats - -- true 2>"$tmp/err"
is "$(field pinned <"$tmp/err")" false "shards that cannot be pinned are told"

# ---- progress ------------------------------------------------------------------------------------

serve_stop
serve_start "$dir" --rate 0.3
on_terminal() { # COMMAND: as a terminal shows it
    TERM=xterm timeout 60 script -qec "$1" /dev/null </dev/null
}
s3 cat "$uri" --no-hedge 2>"$tmp/err" >/dev/null
is "$(cat "$tmp/err")" "" "no progress off a terminal"
s3 cat "$uri" --progress --no-hedge 2>"$tmp/err" >/dev/null
like "$(cat "$tmp/err")" "s3stream: +[0-9.]+ .iB of .* left.*s3stream: .* in " "but where it is asked for"
fails "without escapes" grep -q $'\e' "$tmp/err"
on_terminal "$S3STREAM cat $uri --no-hedge >/dev/null" >"$tmp/out"
like "$(cat "$tmp/out")" $'iB of .*left\e\\[K.*\e\\[1A\e\\[J$' "a live line, cleaned at the end"
on_terminal "$S3STREAM run $uri -n 4 --no-hedge -- wc -l" >"$tmp/out"
like "$(cat "$tmp/out")" $'shard 0 .*shard 3 .*\nall .*' "a line per running shard"
is "$(sed 's/\x1b\[[0-9]*[AJK]//g' "$tmp/out" | tr -d '\r' | grep -cE '^[0-9]+$')" 4 "beside the output"
on_terminal "$S3STREAM cat $uri --no-progress >/dev/null" >"$tmp/out"
is "$(cat "$tmp/out")" "" "--no-progress"

# ---- signals -------------------------------------------------------------------------------------
# tests/integration/kill.sh interrupts at every moment; here, whom it concerns.

interrupt() { # SIGNAL CMD...: sends it once the command has written "ready"; prints the exit status
    local sig=$1 pid i
    shift
    rm -f ready
    env --default-signal=INT "$@" >/dev/null 2>"$tmp/err" </dev/null &
    pid=$!
    for ((i = 0; i < 200; i++)); do
        [ -e ready ] && break
        sleep 0.05
    done
    kill "-$sig" $pid
    wait $pid
    echo $?
}
is "$(interrupt INT "$S3STREAM" run "$small" -n 2 -- sh -c 'echo $$ >ready; sleep 61 & wait')" 130 \
    "SIGINT ends run"
is "$(interrupt TERM "$S3STREAM" run "$small" -n 2 -- sh -c 'trap "" TERM; echo $$ >ready; sleep 62; sleep 62')" \
    143 "SIGTERM ends commands that ignore it"
is "$(interrupt HUP "$S3STREAM" run "$small" -n 2 --merge 'touch ready; sleep 63;:' -- cat)" 129 "SIGHUP ends --merge"
is "$(pgrep -fx 'sleep 6[123]'; cat "$tmp/err")" "" "nobody is left, and nothing is said"
is "$(ls -A "$tmp/spool")" "" "nor are files"

# ---- races ---------------------------------------------------------------------------------------

serve_stop
serve_start "$dir"
if [ -x "$S3STREAM_TSAN" ]; then
    "$S3STREAM_TSAN" run "$uri" -n 40 -j 6 --part-size 20K --progress --stats "$tmp/s" -- cat >"$tmp/out" 2>"$tmp/err"
    is "$? $(cmp "$tmp/out" "$text") $(grep -c ThreadSanitizer "$tmp/err")" "0  0" "run has no data race"
    "$S3STREAM_TSAN" run "$uri" -n 40 -j 6 -- sh -c '[ $S3S_SHARD_INDEX != 9 ]; ' >"$tmp/out" 2>"$tmp/err"
    is "$? $(grep -c ThreadSanitizer "$tmp/err")" "1 0" "nor has one that fails"
    "$S3STREAM_TSAN" run "$uri" -n 40 -j 6 --merge cat -- cat 2>"$tmp/err" | head -n 1 >/dev/null
    is "${PIPESTATUS[0]} $(grep -c ThreadSanitizer "$tmp/err")" "0 0" "nor one whose reader leaves"
else
    skip "run has no data race" "no build with the thread sanitizer"
fi
serve_stop
plan_end
