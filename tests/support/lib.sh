# shellcheck shell=bash
# For integration tests: TAP output, a temporary directory, and the two S3 servers.
#
#     #!/bin/bash
#     . "$(dirname "$0")/../support/lib.sh"
#     mkdir -p "$tmp/data/bucket" && seq 1000 >"$tmp/data/bucket/key"
#     serve_start "$tmp/data"
#     is "$("$S3STREAM" cat s3://bucket/key | wc -l)" 1000 "cat delivers every line"
#     fails "a missing key is an error" "$S3STREAM" cat s3://bucket/nothing
#     plan_end
#
# tests/run gives the programs' paths; without it they are those of build/. Where a test ends, in
# whatever way, its servers end and $tmp is removed. Standard output is for TAP: what else a test
# prints goes to standard error.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${S3STREAM:=$root/build/s3stream}"           # sanitized under tests/run
: "${S3STREAM_FAST:=$root/build/s3stream}"      # optimised
: "${S3STREAM_TSAN:=$root/build/tsan/s3stream}" # for races
: "${S3SERVE:=$root/build/s3serve}"             # sanitized under tests/run
: "${S3SERVE_FAST:=$root/build/s3serve}"        # optimised
# The programs under test shall see neither these variables nor the settings of whoever runs the tests.
for variable in "${!S3STREAM_@}"; do
    case $variable in
    S3STREAM_FAST | S3STREAM_TSAN) export -n "${variable?}" ;;
    *) unset "$variable" ;;
    esac
done
unset "${!AWS_@}" http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY

tmp=$(mktemp -d "${TMPDIR:-/tmp}/s3s.XXXXXX") || exit 1

# ---- TAP -----------------------------------------------------------------------------------------

tap_count=0 tap_failed=0 tap_planned=no

tap() { # ok|not ok NAME [DETAILS]: one result; the first lines of the details, when it failed
    tap_count=$((tap_count + 1))
    echo "$1 $tap_count - $2"
    [ "$1" = ok ] && return 0
    tap_failed=$((tap_failed + 1))
    [ -z "${3:-}" ] || head -c 4000 <<<"$3" | head -n 20 | sed 's/^/# /'
    return 1
}

command_text() { printf '%q ' "$@"; }

ok() { # NAME CMD...: CMD succeeds
    local name=$1 status
    shift
    "$@" >"$tmp/.output" 2>&1
    status=$?
    [ $status -eq 0 ] && { tap ok "$name"; return; }
    tap "not ok" "$name" "exit status $status: $(command_text "$@")"$'\n'"$(tail -n 12 "$tmp/.output")"
}

is() { # GOT WANT NAME: two texts are equal
    [ "$1" = "$2" ] && { tap ok "$3"; return; }
    tap "not ok" "$3" "got:  $1"$'\n'"want: $2"
}

like() { # GOT REGEX NAME: an extended regular expression matches
    [[ $1 =~ $2 ]] && { tap ok "$3"; return; }
    tap "not ok" "$3" "got:  $1"$'\n'"want: /$2/"
}

# A refusal is an exit status that the program chose: neither a signal nor a sanitizer's finding (99).
fails() { # NAME CMD...: CMD refuses, with one of its own exit statuses
    local name=$1 status
    shift
    "$@" >"$tmp/.output" 2>&1
    status=$?
    [ $status -gt 0 ] && [ $status -lt 99 ] && { tap ok "$name"; return; }
    tap "not ok" "$name" "exit status $status: $(command_text "$@")"$'\n'"$(tail -n 12 "$tmp/.output")"
}

exits() { # STATUS NAME CMD...: CMD ends with just this exit status
    local want=$1 name=$2 status
    shift 2
    "$@" >"$tmp/.output" 2>&1
    status=$?
    [ $status -eq "$want" ] && { tap ok "$name"; return; }
    tap "not ok" "$name" \
        "exit status $status, not $want: $(command_text "$@")"$'\n'"$(tail -n 12 "$tmp/.output")"
}

skip() { # NAME REASON: where CI=true this counts as a failure, unless tests/allowed-skips has NAME
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

note() { printf '%s\n' "$*" | sed 's/^/# /'; } # TEXT...: figures that the log shall keep

# The output of the last command that ok, fails or exits ran.
output() { cat "$tmp/.output"; }

plan_end() { # ends the test
    tap_planned=yes
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
    exit
}

end() { # PID: of a child; it may end in its own way within 5 s, so that leaks are looked for
    local i
    kill -TERM "$1" 2>/dev/null || return
    for ((i = 0; i < 100; i++)); do
        kill -0 "$1" 2>/dev/null || return
        sleep 0.05
    done
    kill -KILL "$1"
}

on_exit() {
    local status=$? pid
    [ $tap_planned = yes ] || tap "not ok" "the test reached its end" "exit status $status"
    for pid in "${serve_pids[@]}"; do end "$pid"; done
    [ -z "$rgw_own" ] || "$root/tests/servers/rgw" wipe "$rgw_own"
    rm -rf "$tmp"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- s3serve -------------------------------------------------------------------------------------

serve_pids=() serve_count=0

# Serves DIR: its first-level directories are buckets, the files below them objects. Sets PORT, ENDPOINT
# and SERVE_PID, and exports what clients need. --no-keys: anybody may come, signatures are not verified.
# SERVER names another program than $S3SERVE.
serve_start() { # DIR [s3serve options]
    local dir=$1 log=$tmp/serve.$((++serve_count)) line='' i
    local keys=(--access-key s3stream --secret-key s3stream-secret)
    shift
    if [ "${1:-}" = --no-keys ]; then
        keys=()
        shift
    fi
    "${SERVER:-$S3SERVE}" "$dir" --port 0 "${keys[@]}" "$@" >"$log" 2>"$log.err" </dev/null &
    SERVE_PID=$!
    serve_pids+=("$SERVE_PID")
    for ((i = 0; i < 200; i++)); do
        read -r line 2>/dev/null <"$log" && break
        kill -0 "$SERVE_PID" 2>/dev/null || break
        sleep 0.05
    done
    PORT=${line##*:}
    if [ "$line" != "listening on http://127.0.0.1:$PORT" ]; then
        tap "not ok" "s3serve starts" "its first line: $line"$'\n'"$(head -n 12 "$log.err")"
        exit 1
    fi
    ENDPOINT=http://127.0.0.1:$PORT
    export AWS_ENDPOINT_URL=$ENDPOINT AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=s3stream AWS_SECRET_ACCESS_KEY=s3stream-secret
}

# Ends a server; it must still be there, and end without a finding of its sanitizers.
serve_stop() { # [PID]: the last one started
    local pid=${1:-$SERVE_PID} status i
    end "$pid"
    wait "$pid"
    status=$?
    for i in "${!serve_pids[@]}"; do
        [ "${serve_pids[i]}" != "$pid" ] || unset "serve_pids[i]"
    done
    [ $status -eq 0 ] || [ $status -eq 143 ] || tap "not ok" "s3serve ends well" "exit status $status"
}

# ---- The RADOS Gateway ---------------------------------------------------------------------------

rgw_own=

# A real S3 server: the one that tests/run started in S3S_RGW_DIR for all tests, else one of our own.
# Tests share it, so each makes buckets of its own. Exports what clients need, and sets ENDPOINT.
rgw_start() {
    local variables
    if [ -n "${S3S_RGW_DIR:-}" ]; then
        variables=$("$root/tests/servers/rgw" env "$S3S_RGW_DIR" 2>&1)
    else
        rgw_own=$tmp/rgw
        variables=$("$root/tests/servers/rgw" start "$rgw_own" 0 --tls 2>&1)
    fi || { tap "not ok" "the RADOS Gateway starts" "$variables"; exit 1; }
    eval "$variables"
    ENDPOINT=$AWS_ENDPOINT_URL
}

# curl with a signature, for whichever server was started last. The payload is left unsigned, as curl
# cannot sign a file that it streams; its own signatures are wrong for queries with empty values.
s3curl() { # CURL-ARGS...
    curl -q -sS --noproxy '*' --fail-with-body --aws-sigv4 "aws:amz:$AWS_REGION:s3" \
        --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"
}

rgw_mkbucket() { s3curl -X PUT "$ENDPOINT/$1"; } # NAME: of at least 3 characters
rgw_put() { s3curl -T "$1" "$ENDPOINT/$2"; }      # FILE BUCKET/KEY
