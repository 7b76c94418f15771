#!/bin/bash
# Memory is bounded whatever the consumer does, and no answer waits for it.
. "$(dirname "$0")/../support/lib.sh"

# Gigabytes: where there is room in memory, rather there.
big=$tmp/data
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 2000000 ]; then
    big=$(mktemp -d /dev/shm/s3s.XXXXXX)
fi
trap 'on_exit; rm -rf "$big"' EXIT
mkdir -p "$big/bucket"
truncate -s 4G "$big/bucket/sparse"
limit=$((40 * 1024)) # KiB: the 32 MiB that were allowed, and 8 for the program

# Peak resident memory in KiB, of one process without its children.
cat >"$tmp/peak.py" <<'PY'
import os, sys
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], 'w').write('%d\n' % usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
PY
# wait4 of s3stream would count the commands that s3stream itself waited for, so VmHWM is what is read there.
cat >"$tmp/watch.py" <<'PY'
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
peak = 0
while child.poll() is None:
    try:
        for line in open('/proc/%d/status' % child.pid):
            if line.startswith('VmHWM'):
                peak = max(peak, int(line.split()[1]))
    except OSError:
        pass
    time.sleep(0.01)
open(sys.argv[1], 'w').write('%d\n' % peak)
sys.exit(child.returncode & 255)
PY
cat >"$tmp/sleeper.py" <<'PY'
import sys, time
n, naps = 0, [256 << 20, 2 << 30]
while True:
    data = sys.stdin.buffer.raw.read(1 << 20)
    if not data:
        break
    n += len(data)
    if naps and n >= naps[0]:
        naps.pop(0)
        time.sleep(3)
print(n)
PY

# ---- cat -----------------------------------------------------------------------------------------

SERVER=$S3SERVE_FAST serve_start "$big" --fault kill-stalled=2000
python3 "$tmp/peak.py" "$tmp/peak" "$S3STREAM_FAST" cat --memory 32M s3://bucket/sparse --stats "$tmp/stats" 2>"$tmp/err" |
    python3 "$tmp/sleeper.py" >"$tmp/count"
status=${PIPESTATUS[0]}
is "$status $(cat "$tmp/err")" "0 " "cat of 4 GiB through 32M into a consumer that sleeps: succeeds, quietly"
is "$(cat "$tmp/count")" $((4 << 30)) "... and all of it arrives"
peak=$(cat "$tmp/peak")
ok "... with $peak KiB at its peak, less than $limit" test "$peak" -lt $limit
note "$(cat "$tmp/stats")"
received=$(grep -o '"bytes_received":[0-9]*' "$tmp/stats" | cut -d : -f 2)
ok "... and next to nothing was sent twice: $received bytes" test "$received" -lt $(((4 << 30) + (64 << 20)))

# ---- cat of less: a smaller bound holds just as well ---------------------------------------------

for memory in 4M 8M 16M; do
    python3 "$tmp/peak.py" "$tmp/peak" "$S3STREAM_FAST" cat --memory $memory --range 0-536870911 s3://bucket/sparse 2>"$tmp/err" |
        wc -c >"$tmp/count"
    status=${PIPESTATUS[0]}
    is "$status $(cat "$tmp/count")" "0 536870912" "cat --memory $memory: 512 MiB arrive"
    peak=$(cat "$tmp/peak")
    ok "... with $peak KiB at its peak, less than $memory and 8 MiB" test "$peak" -lt $(((${memory%M} + 8) * 1024))
done
serve_stop

# ---- run -----------------------------------------------------------------------------------------

rm "$big/bucket/sparse"
python3 - "$big/bucket/text" <<'PY'
import random, sys
r = random.Random(3)
lines = b''.join(b'%07d ' % i + b'w' * r.randrange(160) + b'\n' for i in range(180000))
with open(sys.argv[1], 'wb') as f:
    n = 0
    while n < 512 << 20:
        n += f.write(lines)
PY
lines=$(wc -l <"$big/bucket/text")
SERVER=$S3SERVE_FAST serve_start "$big"
python3 "$tmp/watch.py" "$tmp/peak" "$S3STREAM_FAST" run -n 64 -j 8 --memory 32M s3://bucket/text --merge 'cat "$@" | paste -sd+ | bc' \
    -- sh -c 'sleep 0.2; wc -l' >"$tmp/out" 2>"$tmp/err"
status=$?
is "$status $(cat "$tmp/out") $(cat "$tmp/err")" "0 $lines " "run -n 64 -j 8 through 32M: every line once"
peak=$(cat "$tmp/peak")
ok "... with $peak KiB at its peak, less than $limit" test "$peak" -lt $limit

# Commands that do not read: their shards wait, and the others go on.
python3 "$tmp/watch.py" "$tmp/peak" "$S3STREAM_FAST" run -n 16 -j 16 --memory 32M s3://bucket/text \
    -- sh -c '[ $((S3S_SHARD_INDEX % 4)) -ne 1 ] || sleep 2; wc -c' >"$tmp/out" 2>"$tmp/err"
status=$?
is "$status $(paste -sd+ "$tmp/out" | bc) $(cat "$tmp/err")" "0 $(stat -c %s "$big/bucket/text") " "run -n 16 -j 16, every fourth command late: every byte"
peak=$(cat "$tmp/peak")
ok "... with $peak KiB at its peak, less than $limit" test "$peak" -lt $limit

# Output that has to wait does so in files.
python3 "$tmp/watch.py" "$tmp/peak" "$S3STREAM_FAST" run -n 8 -j 8 --memory 32M s3://bucket/text \
    -- sh -c '[ $S3S_SHARD_INDEX -ne 0 ] || sleep 1; exec cat' 2>"$tmp/err" | cmp - "$big/bucket/text" >"$tmp/out" 2>&1
is "${PIPESTATUS[*]} $(cat "$tmp/out" "$tmp/err")" "0 0 " "run -n 8 -- cat, the first shard late: the object"
peak=$(cat "$tmp/peak")
ok "... with $peak KiB at its peak, less than $limit" test "$peak" -lt $limit
serve_stop

plan_end
