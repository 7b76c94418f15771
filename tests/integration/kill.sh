#!/bin/bash
# Interrupted or killed at any moment: no file under its final name unless whole, nothing left behind.
. "$(dirname "$0")/../support/lib.sh"

dir=$tmp/data text=$tmp/data/bucket/text uri=s3://bucket/text
mkdir -p "$dir/bucket"
seq -f 'line %09.0f of a text that is long enough to be interrupted' 400000 >"$text"
size=$(stat -c %s "$text")
RANDOM=20
export S3STREAM_PART_SIZE=300000 S3STREAM_CONNECTIONS=4

# Our own child gets the signal; bash would have it ignore SIGINT.
start() { # CMD...: sets pid
    env --default-signal=INT "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
}
pause() { sleep "$(awk "BEGIN { printf \"%.3f\", $1 * $RANDOM / 32768 }")"; } # SECONDS at most
ended() { # sets status; within 5 s after the signal
    local i
    for ((i = 0; i < 500; i++)); do
        case $(cut -d ' ' -f 3 "/proc/$pid/stat") in '' | Z) break ;; esac
        sleep 0.01
    done
    ticks=$i
    [ $i -lt 500 ] || kill -KILL "$pid"
    wait "$pid"
    status=$?
} 2>/dev/null # without the shell's own words about signals

# ---- get -----------------------------------------------------------------------------------------
# Some rounds come before the first answer, and with the faster server some after the last.

serve_start "$dir" --rate 10
slow=$ENDPOINT
serve_start "$dir"
fast=$ENDPOINT

for signal in INT TERM KILL; do
    case $signal in INT) want=130 ;; TERM) want=143 ;; KILL) want=137 ;; esac
    wrong='' whole=0 cut=0 latest=0
    for round in {1..30}; do
        rm -rf "$tmp/target"
        mkdir "$tmp/target"
        endpoint=$slow most=0.7
        [ $((round % 5)) -ne 0 ] || endpoint=$fast
        program=$S3STREAM_FAST
        [ $((round % 3)) -ne 0 ] || program=$S3STREAM
        start "$program" get --endpoint "$endpoint" "$uri" "$tmp/target/file"
        pause $most
        kill -$signal "$pid" 2>/dev/null
        ended
        [ "$ticks" -le "$latest" ] || latest=$ticks
        if [ -e "$tmp/target/file" ]; then
            whole=$((whole + 1))
            cmp "$tmp/target/file" "$text" >&2 || wrong+=" round $round: a file that is not whole;"
        fi
        if [ "$status" -eq 0 ]; then
            [ -e "$tmp/target/file" ] || wrong+=" round $round: 0 without a file;"
        elif [ $status -eq "$want" ]; then
            cut=$((cut + 1))
        else
            wrong+=" round $round: exit status $status: $(head -c 300 "$tmp/err");"
        fi
        if [ $signal != KILL ]; then
            left=$(find "$tmp/target" -mindepth 1 ! -name file)
            [ -z "$left" ] || wrong+=" round $round: left $left;"
            [ "$(wc -l <"$tmp/err")" -le 1 ] || wrong+=" round $round: more than a line: $(head -c 300 "$tmp/err");"
        fi
    done
    is "$wrong" "" "get, 30 x SIG$signal: whole or not at all$([ $signal = KILL ] || echo ', and nothing else is left')"
    note "SIG$signal: $cut rounds interrupted, $whole whole, the slowest end after $((latest * 10)) ms or so"
    ok "... most rounds were interrupted" test $cut -ge 15
    [ $signal = KILL ] || ok "... and within a second each" test "$latest" -lt 100
done

# What a killed one left does not disturb the next.
"$S3STREAM" get --endpoint "$fast" "$uri" "$tmp/target/file" >"$tmp/out" 2>&1
ok "after the kills, get gets it" cmp "$tmp/target/file" "$text"

# An old file stays until the new one is whole.
for signal in INT TERM KILL; do
    echo old >"$tmp/target/file"
    start "$S3STREAM_FAST" get --endpoint "$slow" "$uri" "$tmp/target/file"
    sleep 0.3
    kill -$signal "$pid"
    ended
    is "$(cat "$tmp/target/file")" old "SIG$signal leaves an old file as it was"
done

# ---- cat -----------------------------------------------------------------------------------------

for signal in INT TERM; do
    case $signal in INT) want=130 ;; TERM) want=143 ;; esac
    start "$S3STREAM" cat --endpoint "$slow" "$uri"
    sleep 0.4
    kill -$signal "$pid"
    ended
    is "$status" "$want" "cat: SIG$signal, exit status $want"
    n=$(stat -c %s "$tmp/out")
    ok "... and what came is the beginning, $n of $size bytes" cmp -n "$n" "$tmp/out" "$text"
done

# While it waits for a consumer, and while it waits for a server.
mkfifo "$tmp/fifo"
exec 5<>"$tmp/fifo" # opened, never read
env --default-signal=INT "$S3STREAM" cat --endpoint "$fast" "$uri" >"$tmp/fifo" 2>"$tmp/err" &
pid=$!
sleep 0.7
kill -INT $pid
ended
is "$status" 130 "cat: SIGINT while the consumer does not read: exit status 130"
ok "... within a second" test "$ticks" -lt 100
exec 5>&-

for fault in accept-stall status=503 delay=20000 stall=1000; do
    serve_start "$dir" --fault $fault
    start "$S3STREAM" cat "$uri"
    sleep 0.7
    kill -INT $pid
    ended
    is "$status" 130 "cat: SIGINT while the server does $fault: exit status 130"
    ok "... within a second" test "$ticks" -lt 100
    serve_stop
done

# ---- stdout --------------------------------------------------------------------------------------

for verb in cat run; do
    command=()
    [ $verb = cat ] || command=(-n 4 -- cat)
    got=$("$S3STREAM" $verb --endpoint "$fast" "$uri" "${command[@]}" 2>"$tmp/err" | head -c 10; echo "${PIPESTATUS[0]}")
    is "$got $(cat "$tmp/err")" "$(head -c 10 "$text")0 " "$verb | head -c 10: 0, quietly"
    "$S3STREAM" $verb --endpoint "$fast" "$uri" "${command[@]}" >/dev/full 2>"$tmp/err"
    is "$? $(wc -l <"$tmp/err")" "1 1" "$verb >/dev/full: 1, with one line"
    like "$(cat "$tmp/err")" 'No space' "... that says why"
    "$S3STREAM" $verb --endpoint "$fast" "$uri" "${command[@]}" >&- 2>"$tmp/err"
    is "$?" 1 "$verb with stdout closed from the start: 1"
done
"$S3STREAM" get --endpoint "$fast" "$uri" /dev/full 2>"$tmp/err"
is "$?" 1 "get into /dev/full: 1"

# ---- run -----------------------------------------------------------------------------------------

mkdir "$tmp/private"
for signal in INT TERM; do
    case $signal in INT) want=130 ;; TERM) want=143 ;; esac
    wrong=
    for round in {1..8}; do
        rm -f "$tmp"/child.*
        TMPDIR=$tmp/private start "$S3STREAM" run --endpoint "$slow" "$uri" -n 6 -j 6 \
            -- sh -c 'echo $$ >"$0/child.$S3S_SHARD_INDEX"; cat; exec sleep 60' "$tmp"
        [ "$round" -le 2 ] || sleep 0.4
        pause 0.4
        kill -$signal "$pid"
        ended
        [ "$status" -eq "$want" ] || wrong+=" round $round: exit status $status;"
        [ "$ticks" -lt 300 ] || wrong+=" round $round: after $((ticks * 10)) ms;"
        left=$(ls -A "$tmp/private")
        [ -z "$left" ] || wrong+=" round $round: left $left;"
        sleep 0.1
        for file in "$tmp"/child.*; do
            [ -s "$file" ] || continue
            child=$(cat "$file")
            [ ! -d "/proc/$child" ] || [[ $(tr '\0' ' ' <"/proc/$child/cmdline") != *sleep* ]] || {
                wrong+=" round $round: child $child lives;"
                kill "$child"
            }
        done
        n=$(stat -c %s "$tmp/out")
        [ "$n" -eq 0 ] || cmp -n "$n" "$tmp/out" "$text" >&2 || wrong+=" round $round: wrong bytes;"
    done
    is "$wrong" "" "run, 8 x SIG$signal: exit status $want, its commands gone, no temporary file left"
done

# A command that fails stops the others, and is named.
attempt_start=$SECONDS
TMPDIR=$tmp/private "$S3STREAM" run --endpoint "$fast" "$uri" -n 4 \
    -- sh -c 'cat >/dev/null; [ $S3S_SHARD_INDEX -ne 2 ] && exec sleep 60; exit 7' >"$tmp/out" 2>"$tmp/err"
is "$? $(wc -l <"$tmp/err")" "1 1" "run: a command that fails: 1, with one line"
like "$(cat "$tmp/err")" '2.*7' "... that names shard and status"
ok "... and the others are not waited for" test $((SECONDS - attempt_start)) -lt 10
is "$(ls -A "$tmp/private")" "" "... and no temporary file is left"

# A command that is killed has failed.
"$S3STREAM" run --endpoint "$fast" "$uri" -n 4 -- sh -c 'cat >/dev/null; [ $S3S_SHARD_INDEX -ne 3 ] || kill -9 $$' >"$tmp/out" 2>"$tmp/err"
is "$? $(wc -l <"$tmp/err")" "1 1" "run: a command that is killed: 1, with one line"
"$S3STREAM" run --endpoint "$fast" "$uri" -n 4 -- "$tmp/no-such-program" >"$tmp/out" 2>"$tmp/err"
is "$? $(wc -l <"$tmp/err")" "1 1" "run: a command that does not exist: 1, with one line"
# One that reads only a little has not.
got=$("$S3STREAM" run --endpoint "$fast" "$uri" -n 4 -- head -n 1 2>"$tmp/err" | wc -l; echo "${PIPESTATUS[0]}")
is "${got//$'\n'/ } $(cat "$tmp/err")" "4 0 " "run -- head -n 1: a command that reads only a little is well"

# ---- put -----------------------------------------------------------------------------------------

for signal in INT TERM; do
    case $signal in INT) want=130 ;; TERM) want=143 ;; esac
    serve_start "$dir" --fault delay=3000,method=PUT
    TMPDIR=$tmp/private start "$S3STREAM" put "$text" s3://bucket/new-$signal
    sleep 0.5
    kill -$signal "$pid"
    ended
    is "$status" "$want" "put: SIG$signal, exit status $want"
    ok "... within a second" test "$ticks" -lt 100
    [ ! -e "$dir/bucket/new-$signal" ] || ok "... the object whole or not there" cmp "$text" "$dir/bucket/new-$signal"
    serve_stop
done

plan_end
