#!/bin/bash
# Whatever a server does wrong: the exact bytes and 0, or one line of an error, 1, and no byte that is
# not the object's. Every fault of `s3serve --help` is in one of the tables.
. "$(dirname "$0")/../support/lib.sh"

dir=$tmp/data text=$tmp/data/bucket/text
mkdir -p "$dir/bucket" "$tmp/target" "$tmp/other"
awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) {
    printf "%d ", i; n = int(rand() * 30); for (k = 0; k < n; k++) printf "%05d", rand() * 99999; print "" } }' \
    | head -c 5000000 >"$text"
size=$(stat -c %s "$text")
uri=s3://bucket/text
many=$tmp/many # a bucket of more than one page
mkdir -p "$many/bucket"
(cd "$many/bucket" && seq -f 'key%05g' 1200 | xargs touch)

# ---- What has to hold ----------------------------------------------------------------------------

attempt() { # CMD...: sets status and seconds; leaves $tmp/out and $tmp/err
    local start=$EPOCHREALTIME
    timeout 60 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    status=$?
    seconds=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }")
}

# What is wrong with the outcome of the last attempt, or nothing.
wrong_with() { # same|error PATTERN [FILE]: where the bytes went
    local out=${3:-$tmp/out} n
    n=$(stat -c %s "$out" 2>/dev/null || echo 0)
    if [ "$1" = same ]; then
        [ "$status" -eq 0 ] || echo "exit status $status after $seconds s: $(head -c 600 "$tmp/err")"
        [ ! -s "$tmp/err" ] || echo "words on stderr: $(head -c 600 "$tmp/err")"
        cmp "$out" "$text" 2>&1
        return
    fi
    [ "$status" -eq 1 ] || echo "exit status $status, not 1 ($n bytes of $size)"
    [ "$n" -eq 0 ] || cmp -n "$n" "$out" "$text" 2>&1
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || echo "not one line on stderr"
    grep -qE -- "$2" "$tmp/err" || echo "the message is not like /$2/: $(head -c 600 "$tmp/err")"
    grep -q '^s3stream: ' "$tmp/err" || echo "the message does not begin with the program's name"
}

verdict() { # NAME WRONG
    if [ -z "$2" ]; then tap ok "$1"; else tap "not ok" "$1" "$2"; fi
}

fault_args() { # SPEC[+SPEC...]: several faults at once
    local spec
    args=()
    for spec in ${1//+/ }; do args+=(--fault "$spec"); done
}


few=(--part-size 300000 --connections 4 --retries 2)

# ---- cat -----------------------------------------------------------------------------------------

table_of() { # OPTIONS...: cat against lines of outcome, fault and, for an error, what it says
    local want spec pattern
    while read -r want spec pattern; do
        case $want in same | error) ;; *) continue ;; esac
        fault_args "$spec"
        serve_start "$dir" "${args[@]}"
        attempt "$S3STREAM" cat "$uri" --part-size 300000 --connections 4 "$@"
        verdict "cat $spec: $want" "$(wrong_with "$want" "$pattern")"
        serve_stop
    done
}

# What goes on for a while, or what a client must put up with.
table_of <<'TABLE'
same cut=1@1
same cut=1@%2
same cut=1000@2
same cut=299999@3-6
same cut=150000@*
same cut=70000@p0.5
same reset=1@1
same reset=1000@%3
same reset=150000@p0.5
same stall=1000/1@2
same stall=0/1@1
same drip=20000/10@3
same drip=1000/1@1
same kill-stalled=2000
same status=500@1
same status=500@2-4
same status=503@1
same status=503@%3
same status=503/1@2
same status=429@2
same status=408@3
same status=503@p0.2
same html=503@2
same emptyerr=503@1
same emptyerr=500@2
same bigerr=503/1000000@2
same noresponse@1
same noresponse@%2
same noresponse-reset@1
same noresponse-reset@%3
same close-idle=1
same close-after
same close-after@%2
same close-silent
same close-silent@%2
same no-length@1
same no-length
same chunked
same chunked@%2
same chunked-cut@1
same chunked-cut@2
same etag-missing
same etag-weak
same ignore-if-match
same continue=1
same continue=3
same continue=10@2
same http10
same http10@2
same head-slow=1@2
same skew=3600
same skew=-3600
same extra=1@2
same extra=1000@%3
same delay=50
same delay=300@2
same wrong-region=eu-central-1
same wrong-region=eu-central-1/307
same wrong-region=eu-central-1/400
same cut=1000@%4+status=503@%5+noresponse@%7
same chunked+close-silent@%2+delay=5
TABLE

# What does not end, or what no retry can help against.
table_of --retries 2 <<'TABLE'
error cut=0 .
error reset=0 .
error cut=0@4- .
error noresponse .
error noresponse-reset .
error status=500 500
error status=503 503
error status=503@5- 503
error status=429 429
error html=502 502
error emptyerr=503 503
error bigerr=500/1000000 500
error status=403@3 403
error status=404@1 404
error status=404@3 404
error status=412@3 412
error status=400@2 400
error status=405@2 405
error html=403@2 403
error emptyerr=404@1 404
error bigerr=403/200000@1 403
error ignore-range range|Range|200
error ignore-range@3 range|Range|200
error wrong-range=shift .
error wrong-range=shift@3 .
error wrong-range=short@3 .
error wrong-range=long@3 .
error wrong-range=total@3 .
error wrong-range=missing@3 .
error wrong-range=garbage@3 .
error wrong-range=short .
error wrong-range=long .
error wrong-range=missing .
error wrong-range=garbage .
error chunked-bad .
error chunked-huge .
error chunked-cut@4- .
error two-lengths .
error two-lengths@3- .
error length-and-chunked .
error length-and-chunked@3- .
error length=junk .
error length=huge .
error length=short .
error length=long .
error length=negative .
error etag-change@3- [Cc]hanged
error etag-change@3 [Cc]hanged
error etag-change-412@3- [Cc]hanged
error etag-missing@3 .
error total-change@3- .
error continue=12 .
error head-huge .
error head-many .
error head-garbage .
error expired-token ExpiredToken
error expired-token@4- ExpiredToken
TABLE

# A server that reads and never answers: only a deadline ends that. Nothing was ever said to be fast here.
serve_start "$dir" --fault accept-stall@2
attempt "$S3STREAM" cat "$uri" --part-size 300000 --connections 4
verdict "cat accept-stall@2: a second request, or a deadline, gets the bytes" "$(wrong_with same)"
note "accept-stall@2 took $seconds s"
serve_stop

# ---- Redirects -----------------------------------------------------------------------------------

for host in 127.0.0.1 localhost; do
    for code in 301 302 307 308; do
        serve_start "$tmp/other" --log "$tmp/other.log" # the same keys: it would know the signature
        other=$SERVE_PID other_port=$PORT
        serve_start "$dir" --fault "redirect=$code/http://$host:$other_port"
        attempt "$S3STREAM" cat "$uri" "${few[@]}"
        verdict "cat redirect=$code to another server, $host: error" "$(wrong_with error .)"
        serve_stop
        serve_stop "$other"
        is "$(grep -vc '^CONNECT' "$tmp/other.log" || true)" 0 "... and not one request reached it"
        rm -f "$tmp/other.log"
    done
done

# ---- run -----------------------------------------------------------------------------------------

while read -r want spec pattern; do
    fault_args "$spec"
    serve_start "$dir" "${args[@]}"
    attempt "$S3STREAM" run "$uri" -n 4 --part-size 300000 --connections 4 --retries 5 -- cat
    verdict "run $spec: $want" "$(wrong_with "$want" "$pattern")"
    attempt "$S3STREAM" run "$uri" -n 4 --part-size 300000 --connections 4 --retries 5 --merge 'cat "$@" >/dev/null; echo merged' -- cat
    case $want in
    same) is "$status $(cat "$tmp/out")" "0 merged" "run --merge $spec: merged" ;;
    error) [[ $spec =~ @[0-9]+$ ]] || is "$status $(cat "$tmp/out")" "1 " "run --merge $spec: an error, and nothing merged" ;;
    esac
    serve_stop
done <<'TABLE'
same cut=150000
same reset=1000@%3
same status=503@%4
same noresponse@%3
same close-silent
same chunked
same etag-weak
error cut=0 .
error status=403 403
error status=404@4 404
error status=500 500
error ignore-range .
error wrong-range=shift .
error etag-change@5- [Cc]hanged
error etag-change-412@5- [Cc]hanged
error total-change@5- .
error length=short .
error head-garbage .
TABLE

# ---- get -----------------------------------------------------------------------------------------

while read -r want spec pattern; do
    fault_args "$spec"
    serve_start "$dir" "${args[@]}"
    rm -rf "$tmp/target"
    mkdir "$tmp/target"
    attempt "$S3STREAM" get "$uri" "$tmp/target/file" "${few[@]}"
    if [ "$want" = same ]; then
        verdict "get $spec: same" "$(wrong_with same '' "$tmp/target/file")"
        is "$(ls -A "$tmp/target")" file "... and nothing beside it"
    else
        verdict "get $spec: error" "$(wrong_with error "$pattern")"
        is "$(ls -A "$tmp/target")" "" "... and no file, whole or partial, is left"
    fi
    serve_stop
done <<'TABLE'
same cut=150000
same reset=1000@%3
same status=503@2
same chunked
error cut=0@4- .
error status=403@6 403
error ignore-range@4 .
error etag-change@5- [Cc]hanged
error total-change@5- .
error status=404@1 404
error head-garbage@3- .
TABLE

echo precious >"$tmp/target/old"
serve_start "$dir" --fault etag-change@5-
fails "get: a failed download is an error also over an old file" "$S3STREAM" get "$uri" "$tmp/target/old" "${few[@]}"
is "$(cat "$tmp/target/old")" precious "... and leaves the old file as it was"
serve_stop

# ---- stat ----------------------------------------------------------------------------------------

while read -r want spec pattern; do
    fault_args "$spec"
    serve_start "$dir" "${args[@]}"
    attempt "$S3STREAM" stat "$uri" --retries 2
    if [ "$want" = same ]; then
        like "$status $(cat "$tmp/out")" "^0 .*size +$size" "stat $spec: the size"
    else
        verdict "stat $spec: error" "$(wrong_with error "$pattern")"
        is "$(cat "$tmp/out")" "" "... and nothing on stdout"
    fi
    serve_stop
done <<'TABLE'
same status=503@1
same noresponse@1
same noresponse-reset@1
same emptyerr=500@1
same skew=3600
same close-silent
same continue=3
same http10
same wrong-region=eu-central-1
error status=403 403
error status=404 404
error status=503 503
error noresponse .
error head-garbage .
error head-huge .
error head-many .
error length=junk .
error length=negative .
error two-lengths .
TABLE

# ---- put -----------------------------------------------------------------------------------------

put() { # NAME WANT PATTERN FAULT OPTIONS...: one put into an empty bucket, where it shall arrive, or not
    local name=$1 want=$2 pattern=$3 fault=$4 wrong=
    shift 4
    rm -rf "$tmp/store"
    mkdir -p "$tmp/store/bucket"
    fault_args "$fault"
    serve_start "$tmp/store" --etag content "${args[@]}"
    attempt "$S3STREAM" put "$text" s3://bucket/new --retries 2 "$@"
    if [ "$want" = same ]; then
        wrong=$(wrong_with same '' "$tmp/store/bucket/new")
    else
        wrong=$(wrong_with error "$pattern")
        [ ! -s "$tmp/out" ] || wrong+=" words on stdout"
        # It is there whole, or it is not there.
        [ ! -e "$tmp/store/bucket/new" ] || wrong+=$(cmp "$tmp/store/bucket/new" "$text" 2>&1)
    fi
    verdict "$name" "$wrong"
    serve_stop
}

put "put: no fault" same '' delay=1
put "put early=403: the early answer is what is told" error 403 early=403
put "put early=503@1: tried again" same '' early=503@1
put "put early=503: error" error 503 early=503
put "put status=500@1: tried again" same '' status=500@1
put "put status=503@1-2: tried again" same '' status=503@1-2
put "put status=403: error" error 403 status=403
put "put noresponse@1: tried again" same '' noresponse@1
put "put noresponse-reset@1: tried again" same '' noresponse-reset@1
put "put noresponse: error" error . noresponse
put "put put-lost@1: tried again" same '' put-lost@1
put "put put-lost@1 --if-none-match: its own success is seen" same '' put-lost@1 --if-none-match '*'
put "put status=500@1 --if-none-match: tried again" same '' status=500@1 --if-none-match '*'
put "put head-garbage: error" error . head-garbage
put "put expired-token: error" error ExpiredToken expired-token
put "put skew=3600: signed for the server's clock" same '' skew=3600
put "put continue=3" same '' continue=3
put "put close-silent" same '' close-silent
put "put html=502@1: tried again" same '' html=502@1
put "put wrong-region: signed for the right one" same '' wrong-region=eu-central-1

# Somebody else's object under the name is not our success, also after an answer that was lost.
rm -rf "$tmp/store"
mkdir -p "$tmp/store/bucket"
echo other >"$tmp/store/bucket/new"
serve_start "$tmp/store" --etag content --fault noresponse@1
attempt "$S3STREAM" put "$text" s3://bucket/new --if-none-match '*'
verdict "put --if-none-match over another's object, first answer lost: error" "$(wrong_with error 412)"
is "$(cat "$tmp/store/bucket/new")" other "... and it is untouched"
serve_stop

# Conditions, without and with a fault on the way.
echo other >"$tmp/other.txt"
for spec in delay=1 put-lost@1; do
    rm -rf "$tmp/store"
    mkdir -p "$tmp/store/bucket"
    echo first >"$tmp/store/bucket/new"
    etag=$(md5sum <"$tmp/store/bucket/new" | cut -c 1-32)
    serve_start "$tmp/store" --etag content --fault $spec
    attempt "$S3STREAM" put "$text" s3://bucket/new --if-match "\"$etag\""
    verdict "put --if-match with its ETag, $spec: replaced" "$(wrong_with same '' "$tmp/store/bucket/new")"
    attempt "$S3STREAM" put "$tmp/other.txt" s3://bucket/new --if-match "\"$etag\""
    is "$status $(wc -l <"$tmp/err")" "1 1" "... and with the old ETag not"
    ok "... and it is untouched" cmp "$tmp/store/bucket/new" "$text"
    serve_stop
done

# ---- ls ------------------------------------------------------------------------------------------

serve_start "$many"
attempt "$S3STREAM" ls -r s3://bucket/
is "$status $(wc -l <"$tmp/out")" "0 1200" "ls: 1200 keys in two pages"
serve_stop
for spec in list-no-token list-same-token; do
    serve_start "$many" --fault $spec --log "$tmp/list.log"
    attempt "$S3STREAM" ls -r s3://bucket/
    is "$status $(wc -l <"$tmp/err")" "1 1" "ls $spec: one line of an error"
    requests=$(grep -c '^GET' "$tmp/list.log")
    ok "... and no loop: $requests requests" test "$requests" -le 3
    serve_stop
    rm -f "$tmp/list.log"
done
for spec in status=503@2 noresponse@1 cut=100@1 chunked no-length; do
    serve_start "$many" --fault $spec
    attempt "$S3STREAM" ls -r s3://bucket/
    is "$status $(wc -l <"$tmp/out") $(grep -o 'key[0-9]*' "$tmp/out" | sort -u | wc -l)" "0 1200 1200" "ls $spec: every key once"
    serve_stop
done
for spec in status=403 html=403 head-garbage; do
    serve_start "$many" --fault $spec
    attempt "$S3STREAM" ls -r s3://bucket/ --retries 1
    is "$status $(wc -l <"$tmp/err") $(wc -c <"$tmp/out")" "1 1 0" "ls $spec: one line of an error"
    serve_stop
done

# ---- Before there is an answer -------------------------------------------------------------------

quick() { # NAME PATTERN SECONDS CMD...: one line, status 1 or 2, soon
    local name=$1 pattern=$2 limit=$3 wrong=
    shift 3
    attempt "$@"
    [ "$status" -eq 1 ] || [ "$status" -eq 2 ] || wrong+=" exit status $status"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || wrong+=" not one line: $(head -c 600 "$tmp/err")"
    [ ! -s "$tmp/out" ] || wrong+=" bytes on stdout"
    grep -qE -- "$pattern" "$tmp/err" || wrong+=" not like /$pattern/: $(head -c 600 "$tmp/err")"
    [ "${seconds%.*}" -lt "$limit" ] || wrong+=" $seconds s"
    verdict "$name ($limit s at most)" "$wrong"
}

serve_start "$dir" --log "$tmp/log"
for verb in cat stat; do
    quick "$verb: a wrong secret" 'SignatureDoesNotMatch|403' 5 env AWS_SECRET_ACCESS_KEY=wrong "$S3STREAM" $verb "$uri"
    quick "$verb: an unknown key" 'InvalidAccessKeyId|403' 5 env AWS_ACCESS_KEY_ID=nobody "$S3STREAM" $verb "$uri"
    quick "$verb: --anonymous where that is not enough" 'AccessDenied|403' 5 "$S3STREAM" $verb --anonymous "$uri"
    quick "$verb: no credentials" 'credentials' 10 env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY HOME="$tmp" "$S3STREAM" $verb "$uri"
    quick "$verb: a missing key" '404' 5 "$S3STREAM" $verb s3://bucket/missing
    quick "$verb: a missing bucket" '404' 5 "$S3STREAM" $verb s3://nobucket/missing
    quick "$verb: a refused connection" 'refused' 5 "$S3STREAM" $verb --endpoint http://127.0.0.1:1 "$uri"
    quick "$verb: an unknown host" 'no-such-host' 30 "$S3STREAM" $verb --endpoint http://no-such-host.invalid "$uri"
    quick "$verb: https without TLS" 'TLS' 5 "$S3STREAM" $verb --endpoint "https://127.0.0.1:$PORT" "$uri"
done
grep -c . "$tmp/log" >"$tmp/before"
quick "cat: a header with a newline" 'header|newline|-H' 5 "$S3STREAM" cat -H $'a: b\nc: d' "$uri"
quick "cat: a header with a carriage return" 'header|return|-H' 5 "$S3STREAM" cat -H $'a: b\rc: d' "$uri"
quick "cat: a header without a name" 'header|-H' 5 "$S3STREAM" cat -H ': b' "$uri"
quick "cat: an ETag with a newline" . 5 "$S3STREAM" cat --etag $'"a"\r\nx: y' "$uri"
quick "cat: an endpoint with a newline" . 5 "$S3STREAM" cat --endpoint "$ENDPOINT"$'\r\nx: y' "$uri"
quick "put: a type with a newline" . 5 "$S3STREAM" put --content-type $'a\nx: y' "$text" s3://bucket/x
is "$(grep -c . "$tmp/log")" "$(cat "$tmp/before")" "... none of which reached the server"
quick "cat: a key with a newline is a key like others" '404' 5 "$S3STREAM" cat $'s3://bucket/a\nb: c'
serve_stop

plan_end
