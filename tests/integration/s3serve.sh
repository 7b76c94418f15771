#!/bin/bash
# s3serve itself: its operations with curl, its signatures with one made by other code, and each of its
# faults on the wire: that it does there what it says.
. "$(dirname "$0")/../support/lib.sh"

data=$tmp/data
mkdir -p "$data/bucket"
seq 100000 >"$data/bucket/file.txt"
: >"$data/bucket/empty"
size=$(stat -c %s "$data/bucket/file.txt")

get() { curl -q -sS --noproxy '*' --path-as-is "$@"; }
status() { get -o /dev/null -w '%{http_code}' "$@"; }
header() { # NAME CURL-ARGS...
    local name=$1
    shift
    get -D - -o /dev/null "$@" | tr -d '\r' | sed -n "s/^$name: //Ip"
}

# ---- Command line --------------------------------------------------------------------------------

exits 2 "no DIR is a usage error" "$S3SERVE"
exits 2 "an unknown option is a usage error" "$S3SERVE" "$data" --nothing
exits 2 "an option without its value is a usage error" "$S3SERVE" "$data" --port
exits 2 "a key without a secret is a usage error" "$S3SERVE" "$data" --access-key k
exits 1 "a DIR that is not there is an error" "$S3SERVE" "$tmp/nothing"
for spec in nothing cut cut= cut=x cut=1/2 cut=-1 close-after=1 stall=1/x drip=1 wrong-range=left \
    length= skew=x redirect=301 redirect=301/ wrong-region= status=500@0 status=500@4-3 status=500@p2 \
    status=500@%0 status=500,what status=500,key= status=500,from=x; do
    exits 2 "--fault $spec is refused" "$S3SERVE" "$data" --fault "$spec"
done
ok "--help" "$S3SERVE" --help
help=$(output)
like "$help" "development and tests" "--help says what it is for"
for kind in $(sed -n 's/^ *X([A-Z0-9_]*, "\([a-z0-9-]*\)", .*/\1/p' "$root/tools/s3serve.c"); do
    case $help in *"  $kind"*) ;; *) tap "not ok" "--help has $kind" ;; esac
done

# ---- Operations, without keys --------------------------------------------------------------------

serve_start "$data" --no-keys --log "$tmp/log"
B=$ENDPOINT/bucket

get "$B/file.txt" | cmp - "$data/bucket/file.txt"
is "${PIPESTATUS[*]}" "0 0" "GET"
is "$(get -r 5-9 "$B/file.txt" | cksum)" "$(tail -c +6 "$data/bucket/file.txt" | head -c 5 | cksum)" "a range"
is "$(header content-range -r 5-9 "$B/file.txt")" "bytes 5-9/$size" "its Content-Range"
is "$(header content-range -r "$((size - 3))-" "$B/file.txt")" "bytes $((size - 3))-$((size - 1))/$size" "an open range"
is "$(header content-range -r -3 "$B/file.txt")" "bytes $((size - 3))-$((size - 1))/$size" "a suffix"
is "$(header content-range -r "0-$((size * 2))" "$B/file.txt")" "bytes 0-$((size - 1))/$size" "an end beyond the size is clipped"
is "$(status -r "$size-" "$B/file.txt") $(header content-range -r "$size-" "$B/file.txt")" "416 bytes */$size" \
    "a range behind the end"
like "$(get -r "$size-" "$B/file.txt")" "<ActualObjectSize>$size<" "416 tells the size"
is "$(status -r 0- "$B/empty") $(status "$B/empty")" "416 200" "an empty object has no range"
is "$(status -r 5-1 "$B/file.txt") $(status -H 'Range: lines=1-2' "$B/file.txt")" "200 200" "malformed ranges are ignored"
is "$(get -I "$B/file.txt" | tr -d '\r' | sed -n 's/^Content-Length: //p')" "$size" "HEAD"
like "$(header etag "$B/file.txt")" '^"[0-9a-f]{32}"$' "an ETag"
like "$(header last-modified "$B/file.txt")" ' GMT$' "Last-Modified"
like "$(header x-amz-request-id "$B/file.txt")" '^[0-9A-F]{16}$' "a request id"
is "$(status "$B/nothing") $(status "$ENDPOINT/nothing/key")" "404 404" "what is not there"
like "$(get "$B/nothing")" '<Code>NoSuchKey</Code>.*<Key>nothing</Key>.*<RequestId>' "NoSuchKey"
like "$(get "$ENDPOINT/nothing/key")" '<Code>NoSuchBucket</Code>' "NoSuchBucket"

etag=$(header etag "$B/file.txt") modified=$(header last-modified "$B/file.txt")
is "$(status -H "If-Match: $etag" "$B/file.txt") $(status -H 'If-Match: "x"' "$B/file.txt")" "200 412" "If-Match"
is "$(status -H "If-None-Match: $etag" "$B/file.txt") $(status -H 'If-None-Match: "x"' "$B/file.txt")" "304 200" \
    "If-None-Match"
is "$(status -H "If-Modified-Since: $modified" "$B/file.txt") $(status -H "If-Unmodified-Since: $modified" "$B/file.txt")" \
    "304 200" "If-Modified-Since and If-Unmodified-Since"
is "$(status -H "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT" "$B/file.txt")" 412 "If-Unmodified-Since of old"
is "$(status -H "If-Match: W/$etag" "$B/file.txt")" 412 "a weak ETag never matches"

seq 5000 >"$tmp/put"
md5=$(md5sum <"$tmp/put" | cut -c1-32)
is "$(header etag -T "$tmp/put" "$B/dir/put.txt")" "\"$md5\"" "PUT answers with the MD5"
is "$(header etag "$B/dir/put.txt")" "\"$md5\"" "GET has it too"
ok "the file is whole and has its own name" cmp "$tmp/put" "$data/bucket/dir/put.txt"
is "$(header etag -H 'Transfer-Encoding: chunked' -T "$tmp/put" "$B/dir/chunked")" "\"$md5\"" "PUT in chunks"
is "$(status -T "$tmp/put" -H 'If-None-Match: *' "$B/dir/put.txt") $(status -T "$tmp/put" -H 'If-None-Match: *' "$B/new")" \
    "412 200" "PUT with If-None-Match: *"
is "$(status -T "$tmp/put" -H 'If-Match: "x"' "$B/new") $(status -T "$tmp/put" -H "If-Match: \"$md5\"" "$B/new")" "412 200" \
    "PUT with If-Match"
is "$(status -T "$tmp/put" -H "Content-MD5: $(openssl md5 -binary "$tmp/put" | base64)" "$B/new")" 200 "PUT with Content-MD5"
like "$(get -T "$tmp/put" -H "Content-MD5: $(openssl md5 -binary /dev/null | base64)" "$B/new")" BadDigest "PUT with a wrong one"
get -T "$tmp/put" -H 'Content-Type: text/x' -H 'x-amz-meta-one: 1 2' "$B/typed"
is "$(header content-type "$B/typed") $(header x-amz-meta-one "$B/typed")" "text/x 1 2" "headers of a PUT come back"
echo other >"$data/bucket/dir/put.txt"
fails "a file that was changed by hand has another ETag" [ "$(header etag "$B/dir/put.txt")" = "\"$md5\"" ]
is "$(status -X DELETE "$B/new") $(status -X DELETE "$B/new") $(status "$B/new")" "204 204 404" "DELETE"
is "$(status -X POST "$B/file.txt?uploads") $(status "$B?acl")" "501 501" "what is not implemented says so"
is "$(ls -A "$data/bucket/.s3serve" 2>/dev/null)" "" "no temporary file is left"

odd=(a a/b a/ a//b /lead //lead2 %2E%2E/x ../y ./z . .. dir/. nl%0Ax '%00' .s3serve/x '%FF%FE' 'a%26%3C%3E%22b'
    'sp%20ace%2B' "$(printf 'L%.0s' {1..300})" "$(printf 'd/%.0s' {1..500})e" '-' '%25' 'a%2Bb')
find "$data" | sort >"$tmp/before"
for key in "${odd[@]}"; do
    is "$(status -X PUT --data-binary "$key" "$B/$key") $(get "$B/$key")" "200 $key" "the key ${key:0:40}"
done
is "$(get "$B?list-type=2&encoding-type=url" | grep -o '<Key>' | wc -l)" "$((${#odd[@]} + 5))" "all of them are listed"
is "$(get "$B?list-type=2&encoding-type=url&prefix=..%2F" | grep -o '<Key>[^<]*' | tr '\n' ' ')" "<Key>../x <Key>../y " \
    "with a prefix too"
is "$(find "$tmp" -newer "$tmp/before" -type f | grep -v "^$data/bucket/\|^$tmp/log\$")" "" "none left the bucket"
for key in "${odd[@]}"; do status -X DELETE "$B/$key" >/dev/null; done
find "$data" -type f | sort >"$tmp/after"
is "$(diff <(grep -v '\.s3serve' "$tmp/after") <(while read -r f; do [ -f "$f" ] && echo "$f"; done <"$tmp/before"))" "" \
    "deleted again, nothing is left"
is "$(status -T "$tmp/put" "$B/$(printf 'k%.0s' {1..1025})")" 400 "a key of 1025 bytes is too long"

is "$(status -X PUT "$ENDPOINT/made") $(status -X PUT "$ENDPOINT/made") $(status -I "$ENDPOINT/made")" "200 409 200" \
    "a bucket is made once"
is "$(status -T "$tmp/put" "$ENDPOINT/made/a//b") $(status -X DELETE "$ENDPOINT/made")" "200 409" "a bucket with objects stays"
is "$(status -X DELETE "$ENDPOINT/made/a//b") $(status -X DELETE "$ENDPOINT/made") $(status -I "$ENDPOINT/made")" \
    "204 204 404" "an empty one can go"
is "$(status -X PUT "$ENDPOINT/..") $(status -X PUT "$ENDPOINT/%2E%2E%2Fx") $(status "$ENDPOINT/../etc")" "400 400 404" \
    "no bucket leads out"
like "$(get "$ENDPOINT/")" '<Bucket><Name>bucket</Name>' "ListBuckets"
like "$(get "$B?location")" '<LocationConstraint' "GET ?location"
is "$(get --resolve "bucket.localhost:$PORT:127.0.0.1" "http://bucket.localhost:$PORT/file.txt" | cksum)" \
    "$(cksum <"$data/bucket/file.txt")" "virtual-host style"
is "$(get --proxy "$ENDPOINT" --noproxy '' http://bucket.localhost/file.txt | cksum)" "$(cksum <"$data/bucket/file.txt")" \
    "asked as a proxy is"

mkdir -p "$data/lists/p" "$data/lists/q/r"
for i in 1 2 3 4 5; do : >"$data/lists/p/$i"; : >"$data/lists/q/r/$i"; : >"$data/lists/k$i"; done
L="$ENDPOINT/lists?list-type=2"
names() { grep -oE '<(Key|Prefix)>[^<]+' | sed 's/.*>//' | tr '\n' ' '; }
is "$(get "$L" | names)" "k1 k2 k3 k4 k5 p/1 p/2 p/3 p/4 p/5 q/r/1 q/r/2 q/r/3 q/r/4 q/r/5 " "a listing in order"
is "$(get "$L&delimiter=%2F" | names)" "k1 k2 k3 k4 k5 p/ q/ " "with a delimiter"
is "$(get "$L&prefix=q%2F&delimiter=%2F" | names)" "q/ q/r/ " "below a prefix"
is "$(get "$L&start-after=p%2F4" | names)" "p/5 q/r/1 q/r/2 q/r/3 q/r/4 q/r/5 " "start-after"
is "$(get "$ENDPOINT/lists?marker=q%2Fr%2F4" | names)" "q/r/5 " "the first version of it"
pages() { # QUERY: all names, page by page
    local page token=
    while :; do
        page=$(get "$L$1${token:+&continuation-token=$token}")
        names <<<"${page//<Prefix><\/Prefix>/}"
        token=$(sed -n 's/.*<NextContinuationToken>\([^<]*\)<.*/\1/p' <<<"$page")
        [ -n "$token" ] || break
    done
}
for n in 1 2 4 7 15; do
    is "$(pages "&max-keys=$n")" "$(get "$L" | names)" "in pages of $n"
    is "$(pages "&max-keys=$n&delimiter=%2F")" "k1 k2 k3 k4 k5 p/ q/ " "with a delimiter, in pages of $n"
done
is "$(get "$L&max-keys=0" | grep -o 'IsTruncated>[a-z]\+')" "IsTruncated>false" "no keys asked for"
is "$(status "$L&max-keys=x") $(status "$L&continuation-token=x")" "400 400" "bad parameters"

# A file of 6 GiB that takes no space; its last bytes, and the server's memory.
truncate -s 6G "$data/bucket/sparse"
printf 'the end' >>"$data/bucket/sparse"
is "$(get -r -7 "$B/sparse")" "the end" "the end of a large file"
is "$(get -r 4G- "$B/sparse" -r "$((6 << 30))-")" "the end" "an offset beyond 4 GiB"
rm "$data/bucket/sparse"

is "$(get "$ENDPOINT/-/stats" | python3 -c 'import json, sys; print(json.load(sys.stdin)["requests"] > 100)')" True "/-/stats"
grep -q '^CONNECT - - - - [0-9]* - - -$' "$tmp/log"
is $? 0 "the log has connections"
is "$(awk 'NF != 9' "$tmp/log" | head -n 3)" "" "each line of the log has nine fields"
is "$(grep -m 1 ' 206 ' "$tmp/log" | cut -d ' ' -f 1-5)" "GET /bucket/file.txt 206 5-9 5" "a line of the log"
get "$B/file.txt?X-Amz-Signature=secret&x=y" -o "$tmp/junk"
is "$(tail -n 1 "$tmp/log" | cut -d ' ' -f 2)" "/bucket/file.txt?X-Amz-Signature=REDACTED&x=y" "signatures are not logged"
start=$(date +%s%N)
serve_stop
[ $(($(date +%s%N) - start)) -lt 5000000000 ]
is $? 0 "it ends at once"

for kind in content weak none; do
    serve_start "$data" --no-keys --etag $kind
    case $kind in
    content) want="\"$(md5sum <"$data/bucket/file.txt" | cut -c1-32)\"" ;;
    weak) want='W/"' ;;
    none) want= ;;
    esac
    etag=$(header etag "$ENDPOINT/bucket/file.txt")
    [ $kind = weak ] && etag=${etag:0:3}
    is "$etag" "$want" "--etag $kind"
    serve_stop
done

serve_start "$data" --no-keys --latency 100 --rate 1
elapsed=$(get -o /dev/null -w '%{time_starttransfer} %{time_total}' -r 0-299999 "$ENDPOINT/bucket/file.txt")
is "$(awk '{ print ($1 >= 0.1), ($2 >= 0.38) }' <<<"$elapsed")" "1 1" "--latency and --rate"
serve_stop

# ---- Signatures and the wire ---------------------------------------------------------------------

results() { # of the Python tests: "ok NAME" and "not ok NAME<tab>DETAILS"
    local line name
    while IFS= read -r line; do
        case $line in
        "ok "*) tap ok "${line#ok }" ;;
        "not ok "*)
            name=${line#not ok }
            tap "not ok" "${name%%$'\t'*}" "${name#*$'\t'}"
            ;;
        esac
    done
}

wire_tests() { # python3
    cat <<'PYTHON'
import datetime, hashlib, hmac, json, os, re, socket, struct, subprocess, sys, threading, time, urllib.parse

program, data = sys.argv[1:]
KEY, SECRET = "test-key", "test-secret"
TEXT = open(data + "/bucket/file.txt", "rb").read()[:100000]
SIZE = len(TEXT)
servers = []

class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([program, data, "--port", "0", *options], stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline().decode().rsplit(":", 1)[1])
        servers.append(self)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(5)
        return s

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

class Answer:
    """What came on a socket: status, headers (a list), the bytes behind the head, how it ended."""
    def __init__(self, raw, end):
        self.raw, self.end = raw, end
        self.interim = 0
        while raw.startswith(b"HTTP/1.1 100"):
            raw = raw.partition(b"\r\n\r\n")[2]
            self.interim += 1
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"(HTTP/1\.[01]) (\d+) ", lines[0])
        self.version, self.status = (match.group(1), int(match.group(2))) if match else (None, None)
        self.headers = [(n.lower(), v.strip()) for n, _, v in (l.partition(":") for l in lines[1:])]

    def all(self, name): return [v for n, v in self.headers if n == name]
    def __getitem__(self, name): return (self.all(name) or [None])[0]
    @property
    def code(self):
        match = re.search(rb"<Code>(\w+)</Code>", self.body)
        return match and match.group(1).decode()

def read(s, seconds=1.0, until=None):
    """All that comes until the end ("fin", "rst"), or until nothing comes any more ("open")."""
    raw = b""
    s.settimeout(seconds)
    try:
        while True:
            piece = s.recv(1 << 20)
            if not piece:
                return Answer(raw, "fin")
            raw += piece
            if until and until(raw):
                return Answer(raw, "open")
    except ConnectionResetError:
        return Answer(raw, "rst")
    except TimeoutError:
        return Answer(raw, "open")

def whole(raw):
    """A head and, if it promises one, its whole body."""
    answer = Answer(raw, "open")
    if b"\r\n\r\n" not in raw or answer.status is None:
        return False
    lengths = answer.all("content-length")
    return answer.status in (204, 304) or (len(lengths) == 1 and lengths[0].isdigit() and
                                           len(answer.body) >= int(lengths[0]))

def text_of(method, target, headers=None, body=b""):
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: localhost"]
    lines += ["%s: %s" % h for h in (headers or {}).items()]
    if body and "Content-Length" not in (headers or {}):
        lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

def ask(server, target, headers=None, method="GET", body=b"", wait=False, s=None):
    """wait: for the end of the connection, or a second of silence, rather than for the answer only."""
    own = s is None
    s = s or server.connect()
    s.sendall(text_of(method, target, headers, body))
    answer = read(s, 1, None) if wait else read(s, 10, whole)
    if own:
        s.close()
    return answer

def dechunk(body):
    """The data of a valid chunked body, its extensions and its trailers."""
    out, extensions = b"", []
    while True:
        line, _, body = body.partition(b"\r\n")
        size, _, extension = line.partition(b";")
        extensions.append(extension)
        size = int(size, 16)
        if not size:
            return out, extensions, body
        out += body[:size]
        assert body[size:size + 2] == b"\r\n", "a chunk's end"
        body = body[size + 2:]

tests = []
def test(name):
    def add(function):
        tests.append((name, function))
        return function
    return add

def equal(got, want, what=""):
    assert got == want, "%s: got %r, want %r" % (what, got if len(repr(got)) < 300 else "...", want
                                                 if len(repr(want)) < 300 else "...")

# ---- Faults: one server has them all, each for a key of its own ------------------------------------

specs, faulty = [], None

def fault(spec, key=None, **filters):
    """Registers the test of a fault that befalls the object x.NAME."""
    kind = spec.split("=")[0].split("@")[0]
    name = "x.%s%d." % (kind, len(specs))
    specs.append("%s,key=%s" % (spec, name))
    open("%s/bucket/%s" % (data, name), "wb").write(TEXT)
    def add(function):
        tests.append(("--fault " + spec, lambda: function(faulty, "/bucket/" + name)))
        return function
    return add

@fault("cut=1000")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.status, a["content-length"], a.body, a.end), (200, str(SIZE), TEXT[:1000], "fin"))

@fault("cut=0")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.status, a.body, a.end), (200, b"", "fin"))

@fault("reset=1000")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.status, a.body, a.end), (200, TEXT[:1000], "rst"))

@fault("stall=1000")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.status, a.body, a.end), (200, TEXT[:1000], "open"))

@fault("stall=1K/0.3")
def _(s, k):
    start = time.time()
    a = ask(s, k)
    equal(a.body, TEXT)
    assert time.time() - start > 0.29, "it was too fast"

@fault("drip=100/50")
def _(s, k):
    start = time.time()
    a = ask(s, k, {"Range": "bytes=0-449"})
    equal(a.body, TEXT[:450])
    assert time.time() - start > 0.19, "it was too fast"

@fault("kill-stalled=200")
def _(s, k):
    path = data + "/bucket/" + k.rsplit("/", 1)[1]
    os.truncate(path, 64 << 20)
    c = s.connect()
    c.sendall(text_of("GET", k))
    time.sleep(1)
    a = read(c)
    os.truncate(path, 0)
    assert a.end != "open" and len(a.body) < 64 << 20, "it should have been closed"

for code, name, more in ((500, "InternalError", ""), (503, "SlowDown", "/7"), (429, "TooManyRequests", "/1"),
                         (403, "AccessDenied", ""), (404, "NoSuchKey", ""), (408, "RequestTimeout", ""),
                         (400, "InvalidRequest", ""), (409, "ConditionalRequestConflict", ""),
                         (412, "PreconditionFailed", "")):
    @fault("status=%d%s" % (code, more))
    def _(s, k, code=code, name=name, more=more):
        with s.connect() as c:
            for _ in range(2):
                a = ask(s, k, s=c)
                equal((a.status, a.code, a["retry-after"]), (code, name, more[1:] or None))
        a = ask(s, k, method="HEAD", wait=True)
        equal((a.status, a.body), (code, b""), "HEAD")

@fault("html=503")
def _(s, k):
    a = ask(s, k)
    equal((a.status, a["content-type"], a.body[:6]), (503, "text/html", b"<html>"))

@fault("emptyerr=500")
def _(s, k):
    a = ask(s, k)
    equal((a.status, a["content-length"]), (500, "0"))

@fault("bigerr=500/1000000")
def _(s, k):
    a = ask(s, k)
    equal((a.status, a["content-length"], len(a.body), a.code), (500, "1000000", 1000000, "InternalError"))

@fault("noresponse")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.raw, a.end), (b"", "fin"))

@fault("noresponse-reset")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.raw, a.end), (b"", "rst"))

@fault("close-idle=200")
def _(s, k):
    with s.connect() as c:
        a = ask(s, k, s=c)
        equal((a.body, a["connection"]), (TEXT, None))
        equal(ask(s, k, s=c).body, TEXT, "at once")
        start = time.time()
        equal(read(c, 10).end, "fin")
        assert time.time() - start > 0.1, "too early"

@fault("close-after")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.body, a["connection"], a.end), (TEXT, "close", "fin"))

@fault("close-silent")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.body, a["connection"], a.end), (TEXT, None, "fin"))

@fault("ignore-range")
def _(s, k):
    a = ask(s, k, {"Range": "bytes=5-9"})
    equal((a.status, a["content-range"], a.body), (200, None, TEXT))

for word, sent, text in (("shift", (101, 201), "bytes 101-200/%d"), ("short", (100, 150), "bytes 100-149/%d"),
                         ("long", (100, 210), "bytes 100-209/%d"), ("total", (100, 200), "bytes 100-199/1%d"),
                         ("missing", (100, 200), None), ("garbage", (100, 200), "bytes of some kind/many")):
    @fault("wrong-range=" + word)
    def _(s, k, word=word, sent=sent, text=text):
        a = ask(s, k, {"Range": "bytes=100-199"})
        want = text and text.replace("/1%d", "/%d" % (SIZE + 1000)).replace("%d", str(SIZE))
        equal((a.status, a["content-range"], a.body), (206, want, TEXT[sent[0]:sent[1]]))
        equal(ask(s, k).status, 200, "without a range")

@fault("no-length")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a["content-length"], a["transfer-encoding"], a["connection"], a.body, a.end),
          (None, None, "close", TEXT, "fin"))

@fault("chunked")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a["content-length"], a["transfer-encoding"], a.end), (None, "chunked", "open"))
    body, extensions, rest = dechunk(a.body)
    equal(body, TEXT)
    assert any(extensions) and rest == b"X-Trailer: end\r\n\r\n", "extensions and trailers"
    a = ask(s, k, {"Range": "bytes=0-0"}, wait=True)
    equal((a["content-range"], dechunk(a.body)[0]), ("bytes 0-0/%d" % SIZE, TEXT[:1]))

@fault("chunked-bad")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.body[-6:], a.end), (b"\r\nzz\r\n", "fin"))

@fault("chunked-huge")
def _(s, k):
    a = ask(s, k, wait=True)
    assert a.body.endswith(b"\r\n1000000000000000f\r\nhuge") and a.end == "fin"

@fault("chunked-cut")
def _(s, k):
    a = ask(s, k, wait=True)
    body, _, _ = dechunk(a.body + b"0\r\n\r\n")
    equal((body, a.end), (TEXT[:SIZE // 2], "fin"))

@fault("two-lengths")
def _(s, k):
    equal(ask(s, k, wait=True).all("content-length"), [str(SIZE), str(SIZE + 1)])

@fault("length-and-chunked")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a["content-length"], a["transfer-encoding"], dechunk(a.body)[0]), (str(SIZE), "chunked", TEXT))

for word, length in (("junk", "%dbytes" % SIZE), ("huge", "9999999999999999999999%d" % SIZE),
                     ("short", str(SIZE - 10)), ("long", str(SIZE + 10)), ("negative", "-%d" % SIZE)):
    @fault("length=" + word)
    def _(s, k, word=word, length=length):
        a = ask(s, k, wait=True)
        equal((a["content-length"], a.body, a.end), (length, TEXT, "open" if word == "short" else "fin"))

@fault("etag-change@2")
def _(s, k):
    first = ask(s, k)["etag"]
    a = ask(s, k, {"If-Match": first, "Range": "bytes=0-4"})
    equal((a.status, a.body), (206, TEXT[:5]))
    assert a["etag"] != first, "the ETag should have changed"
    equal(ask(s, k)["etag"], a["etag"], "it stays so")

@fault("etag-change-412@2")
def _(s, k):
    first = ask(s, k)["etag"]
    equal(ask(s, k, {"If-Match": first}).status, 412)
    second = ask(s, k)["etag"]
    equal((second != first, ask(s, k, {"If-Match": second}).status), (True, 200))

@fault("etag-missing")
def _(s, k): equal(ask(s, k)["etag"], None)

@fault("etag-weak")
def _(s, k):
    etag = ask(s, k)["etag"]
    equal((etag[:3], ask(s, k, {"If-Match": etag}).status), ('W/"', 412))

@fault("total-change@2")
def _(s, k):
    totals = [ask(s, k, {"Range": "bytes=0-4"})["content-range"] for _ in range(3)]
    equal(totals, ["bytes 0-4/%d" % n for n in (SIZE, SIZE + 1, SIZE + 1)])

@fault("ignore-if-match")
def _(s, k): equal(ask(s, k, {"If-Match": '"x"'}).status, 200)

@fault("continue=3")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.interim, a.status, a.body), (3, 200, TEXT))

@fault("http10")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.version, a.body, a.end), ("HTTP/1.0", TEXT, "fin"))

@fault("head-huge")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.status, len(a["x-huge"]), a.body), (200, 100000, TEXT))

@fault("head-many")
def _(s, k):
    a = ask(s, k)
    assert len(a.headers) > 1000 and a.body == TEXT

@fault("head-garbage")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a.version, len(a.raw) > 10, a.end), (None, True, "fin"))

@fault("head-slow=1")
def _(s, k):
    start = time.time()
    equal(ask(s, k).body, TEXT)
    assert time.time() - start > 0.2, "it was too fast"

@fault("redirect=307/http://other.example:81")
def _(s, k):
    a = ask(s, k + "?a=b")
    equal((a.status, a["location"], a.code), (307, "http://other.example:81%s?a=b" % k, "TemporaryRedirect"))

@fault("redirect=301/http://127.0.0.1/there")
def _(s, k):
    a = ask(s, k)
    equal((a.status, a["location"]), (301, "http://127.0.0.1/there"))

@fault("skew=-3600")
def _(s, k):
    date = datetime.datetime.strptime(ask(s, k)["date"], "%a, %d %b %Y %H:%M:%S GMT")
    behind = datetime.datetime.utcnow() - date
    assert 3590 < behind.total_seconds() < 3610, "behind by %s" % behind

@fault("expired-token@1")
def _(s, k):
    a = ask(s, k)
    equal((a.status, a.code, ask(s, k).status), (400, "ExpiredToken", 200))

@fault("early=503")
def _(s, k):
    with s.connect() as c:
        c.sendall(text_of("PUT", k, {"Content-Length": str(1 << 30)}) + b"x" * 1000)
        a = read(c)
    equal((a.status, a.code, a["connection"]), (503, "SlowDown", "close"))
    assert a.end != "open"
    equal(ask(s, k).body, TEXT, "nothing was put")

@fault("extra=5")
def _(s, k):
    a = ask(s, k, wait=True)
    equal((a["content-length"], a.body, a.end), (str(SIZE), TEXT + b"XXXXX", "open"))

@fault("put-lost")
def _(s, k):
    with s.connect() as c:
        c.sendall(text_of("PUT", k, {}, b"lost"))
        a = read(c)
    equal((a.raw, a.end, ask(s, k).body), (b"", "fin", b"lost"))

@fault("delay=200")
def _(s, k):
    start = time.time()
    equal(ask(s, k).body, TEXT)
    assert time.time() - start > 0.19, "it was too fast"

# ---- When, and for which requests

def statuses(s, k, n, headers=None): return "".join("x." [ask(s, k, headers).status < 300] for _ in range(n))

for when, want in (("3", "..x..."), ("2-3", ".xx..."), ("4-", "...xxx"), ("%2", ".x.x.x"), ("*", "xxxxxx"),
                   ("p0", "......"), ("p1", "xxxxxx")):
    @fault("status=500@" + when)
    def _(s, k, want=want): equal(statuses(s, k, 6), want)

@fault("emptyerr=500,method=HEAD")
def _(s, k): equal((ask(s, k, method="HEAD", wait=True).status, ask(s, k).status), (500, 200))

@fault("emptyerr=500,range")
def _(s, k): equal((ask(s, k).status, ask(s, k, {"Range": "bytes=1-"}).status), (200, 500))

@fault("emptyerr=500,from=1K")
def _(s, k):
    equal([ask(s, k, {"Range": "bytes=%d-" % n}).status for n in (0, 1023, 1024, 1025)], [206, 206, 500, 206])

@fault("emptyerr=500@2,from=100-")
def _(s, k):
    equal([ask(s, k, {"Range": "bytes=%d-" % n}).status for n in (100, 99, 5000)], [206, 206, 500])

@test("@p0.5 with a seed is the same each time")
def _():
    seen = []
    for seed in ("1", "1", "2"):
        s = Server("--fault", "emptyerr=500@p0.5", "--seed", seed)
        seen.append(statuses(s, "/bucket/file.txt", 40))
        s.stop()
    equal(seen[0], seen[1])
    assert seen[0] != seen[2] and 5 < seen[0].count("x") < 35, seen

@test("--fault list-no-token")
def _():
    s = Server("--fault", "list-no-token")
    a = ask(s, "/lists?list-type=2&max-keys=2")
    assert b"<IsTruncated>true<" in a.body and b"NextContinuationToken" not in a.body
    s.stop()

@test("--fault list-same-token")
def _():
    s = Server("--fault", "list-same-token")
    token = lambda a: re.search(rb"<NextContinuationToken>(.*?)<", a.body).group(1).decode()
    first = token(ask(s, "/lists?list-type=2&max-keys=2"))
    equal(token(ask(s, "/lists?list-type=2&max-keys=2&continuation-token=" + first)), first)
    s.stop()

@test("--fault accept-stall@1")
def _():
    s = Server("--fault", "accept-stall@1")
    equal((ask(s, "/bucket/empty", wait=True).raw, ask(s, "/bucket/empty").status), (b"", 200))
    s.stop()

# ---- Signatures, by code that is not the library's

def sign(method, target, headers, when=None, region="us-east-1", key=KEY, secret=SECRET, payload=None,
         presign=None, service="s3"):
    """The headers, or with presign=SECONDS the target, of a signed request."""
    when = when or datetime.datetime.utcnow()
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    path, _, query = target.partition("?")
    scope = "%s/%s/%s/aws4_request" % (day, region, service)
    headers = dict(headers, Host="localhost")
    if presign is None:
        headers["x-amz-date"] = stamp
        headers["x-amz-content-sha256"] = payload or hashlib.sha256(b"").hexdigest()
    names = ";".join(sorted(n.lower() for n in headers))
    pairs = [tuple(p.partition("=")[::2]) for p in query.split("&") if p]
    if presign is not None:
        quote = lambda v: urllib.parse.quote(v, safe="-._~")
        pairs += [("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", quote(key + "/" + scope)),
                  ("X-Amz-Date", stamp), ("X-Amz-Expires", str(presign)), ("X-Amz-SignedHeaders", quote(names))]
    canonical = "\n".join([
        method, path, "&".join("%s=%s" % p for p in sorted(pairs)),
        "".join("%s:%s\n" % (n.lower(), headers[n]) for n in sorted(headers, key=str.lower)), names,
        headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    k = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request", to_sign):
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    del headers["Host"]
    if presign is not None:
        return path + "?" + "&".join("%s=%s" % p for p in pairs) + "&X-Amz-Signature=" + k.hex()
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        key, scope, names, k.hex())
    return headers

strict = None

def signed(target, method="GET", headers=None, body=b"", tamper=None, **options):
    headers = sign(method, target, headers or {}, **options)
    headers.update(tamper or {})
    a = ask(strict, target, headers, method, body)
    return a.status, a.code

F = "/bucket/file.txt"
now = datetime.datetime.utcnow
minutes = lambda n: datetime.timedelta(minutes=n)

@test("a signed request")
def _():
    equal(signed(F)[0], 200)
    equal(signed(F + "?b=%2F%20y&a&c=")[0], 200, "a query")
    equal(signed(F, headers={"Range": "bytes=0-4", "x-amz-meta-a": "b c"})[0], 206)
    equal(signed("/bucket/%2E%2E/a%2Bb%20c")[0], 404, "an odd path")

@test("nothing is open to the unsigned")
def _():
    for target in (F, "/", "/bucket?list-type=2"):
        a = ask(strict, target)
        equal((a.status, a.code), (403, "AccessDenied"))

@test("wrong signatures")
def _():
    equal(signed(F, secret="other"), (403, "SignatureDoesNotMatch"))
    equal(signed(F, key="other"), (403, "InvalidAccessKeyId"))
    equal(signed(F, region="eu-west-1"), (400, "AuthorizationHeaderMalformed"))
    equal(signed(F, service="ec2")[0], 400)
    equal(signed(F, tamper={"x-amz-meta-new": "1"})[0], 403, "a header that was not signed")
    equal(signed(F, tamper={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})[0], 400)
    equal(signed(F, tamper={"Authorization": "Basic eA=="})[0], 400)
    headers = sign("GET", F, {})
    equal(ask(strict, "/bucket/empty", headers).code, "SignatureDoesNotMatch", "another path")
    a = ask(strict, "/bucket/empty", headers)
    assert b"<CanonicalRequest>GET\n/bucket/empty\n" in a.body and b"<StringToSign>AWS4-HMAC-SHA256\n" in a.body
    del headers["x-amz-content-sha256"]
    equal(ask(strict, F, headers).status, 403, "a signed header that is missing")

@test("the clock")
def _():
    equal(signed(F, when=now() - minutes(14))[0], 200)
    for n in (-16, 16):
        equal(signed(F, when=now() + minutes(n)), (403, "RequestTimeTooSkewed"))

@test("presigned")
def _():
    get = lambda **o: ask(strict, sign("GET", F, {}, **o))
    equal(get(presign=60).status, 200)
    equal(ask(strict, sign("GET", "/bucket?list-type=2&prefix=a%2F", {}, presign=60)).status, 200)
    late = get(presign=60, when=now() - minutes(2))
    equal((late.status, late.code, b"expired" in late.body), (403, "AccessDenied", True))
    equal(get(presign=3600, when=now() - minutes(30)).status, 200, "within its time")
    equal(get(presign=3600, when=now() + minutes(30)).status, 403, "before its time")
    equal(get(presign=604801).status, 400)
    equal(get(presign=60, secret="other").code, "SignatureDoesNotMatch")
    equal(ask(strict, sign("GET", F, {}, presign=60) + "&x=y").code, "SignatureDoesNotMatch")

@test("signed bodies")
def _():
    digest = hashlib.sha256(b"body").hexdigest()
    equal(signed("/bucket/signed", "PUT", body=b"body", payload=digest)[0], 200)
    equal(signed("/bucket/signed", "PUT", body=b"BODY", payload=digest), (400, "XAmzContentSHA256Mismatch"))
    equal(signed("/bucket/signed", "PUT", body=b"other", payload="UNSIGNED-PAYLOAD")[0], 200)
    equal(signed("/bucket/signed", "PUT", body=b"x", payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")[0], 501)
    equal(signed("/bucket/signed", "PUT", body=b"x", payload="junk")[0], 400)
    equal(signed("/bucket/signed", "DELETE")[0], 204)

@test("--fault wrong-region, skew with keys")
def _():
    s = Server("--access-key", KEY, "--secret-key", SECRET, "--fault", "wrong-region=eu-x,key=empty",
               "--fault", "wrong-region=eu-x/400,key=file", "--fault", "skew=3600,key=skewed")
    a = ask(s, "/bucket/empty", sign("GET", "/bucket/empty", {}))
    equal((a.status, a.code, a["x-amz-bucket-region"]), (301, "PermanentRedirect", "eu-x"))
    equal(ask(s, "/bucket/empty", sign("GET", "/bucket/empty", {}, region="eu-x")).status, 200)
    a = ask(s, F, sign("GET", F, {}))
    equal((a.status, a.code, b"<Region>eu-x</Region>" in a.body), (400, "AuthorizationHeaderMalformed", True))
    equal(ask(s, F, sign("GET", F, {}, region="eu-x")).status, 200)
    a = ask(s, "/bucket/skewed", sign("GET", "/bucket/skewed", {}))
    equal((a.status, a.code), (403, "RequestTimeTooSkewed"))
    equal(ask(s, "/bucket/skewed", sign("GET", "/bucket/skewed", {}, when=now() + minutes(60))).code, "NoSuchKey")
    s.stop()

# ---- Requests as they may come

@test("requests in pieces, and two at once")
def _():
    with faulty.connect() as c:
        for byte in text_of("GET", "/bucket/file.txt", {"Range": "bytes=0-4"}):
            c.sendall(bytes([byte]))
        equal(read(c, until=whole).body, TEXT[:5])
        c.sendall(text_of("GET", "/bucket/file.txt", {"Range": "bytes=0-4"}) * 2)
        a = read(c, 0.3)
        equal((a.raw.count(b"HTTP/1.1 206"), a.body[:5], a.raw[-5:]), (2, TEXT[:5], TEXT[:5]))

@test("what is no request is refused, and closes")
def _():
    for raw in (b"GET\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET x HTTP/1.1\r\n\r\n", b"\x16\x03\x01\n\n",
                b"PUT /bucket/x HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
                b"PUT /bucket/x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"GET / HTTP/1.1\r\nX: " + b"y" * 100000 + b"\r\n\r\n"):
        with faulty.connect() as c:
            c.sendall(raw)
            a = read(c)
            equal((a.status, a.end != "open"), (400, True), raw[:40])

@test("a body that breaks off, or that is not chunked as it says")
def _():
    for raw in (b"Content-Length: 10\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
                b"Transfer-Encoding: chunked\r\n\r\nx\r\n"):
        with faulty.connect() as c:
            c.sendall(b"PUT /bucket/broken HTTP/1.1\r\nHost: localhost\r\n" + raw)
            c.shutdown(socket.SHUT_WR)
            read(c)
        equal(ask(faulty, "/bucket/broken").status, 404)

@test("Expect: 100-continue; the body of a refused request is read")
def _():
    with faulty.connect() as c:
        c.sendall(text_of("PUT", "/bucket/expect", {"Expect": "100-continue", "Content-Length": "4"}))
        equal(read(c, 1, lambda raw: raw.endswith(b"\r\n\r\n")).raw, b"HTTP/1.1 100 Continue\r\n\r\n")
        c.sendall(b"body")
        equal(read(c, 1, whole).status, 200)
        equal(ask(faulty, "/nothing/x", method="PUT", body=b"x" * 1000, s=c).status, 404)
        equal(ask(faulty, "/bucket/expect", s=c).body, b"body")

@test("many connections at once")
def _():
    wrong = []
    def work(n):
        with faulty.connect() as c:
            for i in range(20):
                at = (n * 997 + i * 31) % (SIZE - 100)
                a = ask(faulty, "/bucket/file.txt", {"Range": "bytes=%d-%d" % (at, at + 99)}, s=c)
                name = "/bucket/many/%d/%d" % (n, i)
                b = ask(faulty, name, method="PUT", body=b"%d" % n, s=c)
                d = ask(faulty, name, method="DELETE", s=c)
                if (a.body, b.status, d.status) != (TEXT[at:at + 100], 200, 204):
                    wrong.append((n, i, a.status, b.status, d.status))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
    for t in threads: t.start()
    for t in threads: t.join()
    equal(wrong, [])

@test("the faults are counted, and logged")
def _():
    stats = json.loads(ask(faulty, "/-/stats").body)
    unfired = [f["spec"] for f in stats["faults"] if not f["fired"] and "@p0," not in f["spec"]]
    equal(unfired, [])
    log = open(data + "/../wire.log").read().split("\n")
    assert any(l.startswith("GET ") and l.endswith(" cut") for l in log), "cut in the log"
    equal([l for l in log if l and len(l.split(" ")) != 9][:3], [], "nine fields")

def main():
    global faulty, strict
    options = [o for spec in specs for o in ("--fault", spec)]
    faulty = Server("--log", data + "/../wire.log", *options)
    strict = Server("--access-key", KEY, "--secret-key", SECRET)
    for name, function in tests:
        try:
            function()
            print("ok " + name)
        except Exception as e:
            print("not ok %s\t%s: %s" % (name, type(e).__name__, str(e).replace("\n", "\\n")[:2000]))
        sys.stdout.flush()
    for s in (faulty, strict):
        status = s.stop()
        print("ok a server ends with 0" if status == 0 else "not ok a server ends with 0\tstatus %d" % status)

try:
    main()
finally:
    for server in servers:
        server.process.kill()
PYTHON
}

wire_tests >"$tmp/wire.py"
python3 "$tmp/wire.py" "$S3SERVE" "$data" >"$tmp/python" 2>"$tmp/python.err"
is $? 0 "the tests of the wire reach their end" || note "$(tail -n 5 "$tmp/python.err")"
results <"$tmp/python"

plan_end
