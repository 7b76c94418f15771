/* s3serve - an S3 server for development and tests. SPDX-License-Identifier: MIT OR Unlicense
 *
 *     s3serve DIR [OPTION]...        serves the files of DIR; `s3serve --help` has all options
 *
 * The directories in DIR are buckets, the files below them objects. It answers GET, HEAD, PUT and
 * DELETE of objects (ranges, conditions), lists, makes and removes buckets, verifies SigV4 when it
 * has a key, and does wrong what it is told to: --fault makes it cut, stall, lie about lengths, and
 * so on, on the first, the n-th or every matching request. It is no server for production: one
 * thread a connection, no TLS, no users, no replication, and what it remembers of objects beyond
 * their bytes ends with the process.
 *
 * Contents: >>base >>faults >>connection >>request >>store >>memory >>answer >>body >>auth >>object
 *           >>listing >>dispatch >>options
 */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <dirent.h>
#if defined(__linux__)
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#endif

#ifndef MSG_MORE
#define MSG_MORE 0
#endif
#ifndef POLLRDHUP
#define POLLRDHUP 0
#endif

/* >>base
 * The server's settings and what its threads share. `serve.shared` is under serve.lock; names in
 * the file system change under serve.names; all else is written before the first connection. */
enum {
    SERVE_HEAD_MAX = 64 * 1024,       /* a request's head */
    SERVE_BLOCK = 64 * 1024,          /* bytes moved at once where they pass through memory */
    SERVE_PIECE = 4 * 1024 * 1024,    /* bytes asked of one sendfile() */
    SERVE_DRAIN_MAX = 1024 * 1024,    /* an unread body up to this is read to keep the connection */
    SERVE_KEY_MAX = 1024,
    SERVE_SKEW_MAX = 15 * 60,
    SERVE_FAULTS_MAX = 256,
    SERVE_MEMORY_SLOTS = 4096
};

enum { ETAG_STAT = 0, ETAG_CONTENT, ETAG_WEAK, ETAG_NONE };

struct memory;
struct fault;
static struct {
    const char *dir, *bind, *port, *access_key, *secret_key, *region, *log;
    int etag, log_fd, wake_fd;
    int64_t latency_us;
    double rate; /* body bytes per second and connection; 0: as fast as it goes */
    uint64_t seed;
    s3si_mem mem;
    struct fault *faults;
    size_t fault_count;
    s3si_mutex names;
    s3si_mutex lock;
    struct {
        uint64_t connections, requests, bytes, temps;
        struct memory *memory[SERVE_MEMORY_SLOTS];
    } shared;
} serve;

S3SI_PRINTF(2, 3)
static void buf_addf(s3si_buf *out, const char *format, ...) {
    va_list args;
    int n;
    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !s3si_buf_reserve(out, (size_t)n)) return;
    va_start(args, format);
    (void)vsnprintf(out->p + out->n, (size_t)n + 1, format, args);
    va_end(args);
    out->n += (size_t)n;
}

static s3si_str str_head(s3si_str s, size_t n) { return s3si_str_make(s.p, n < s.n ? n : s.n); }

static void serve_sleep_us(int64_t us) {
    struct timespec t;
    if (us <= 0) return;
    t.tv_sec = (time_t)(us / 1000000);
    t.tv_nsec = (long)(us % 1000000) * 1000;
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

static void serve_log(s3si_buf *line) {
    ssize_t ignored;
    if (serve.log_fd < 0 || !s3si_buf_ok(line)) return;
    s3si_buf_addc(line, '\n');
    ignored = write(serve.log_fd, line->p, line->n);
    (void)ignored;
}

/* >>faults
 * The one table of what can go wrong on purpose: parser, --help and statistics are made from it.
 * `on` says which requests a kind can befall: '*' all, 'o' GET and HEAD of an object, 'r' those
 * with a Range, 'p' PUT of an object, 'b' requests with a body, 'l' listings, 'c' connections. Only
 * those are counted by @WHEN. In `arg`, words divided by '|' are the choices; else up to two parts
 * divided by '/', the second optional in brackets: TEXT-like parts are URL and REGION, all others
 * numbers. */
#define FAULT_KINDS(X) \
    X(CUT, "cut", "K", '*', "FIN after K body bytes") \
    X(RESET, "reset", "K", '*', "RST after K body bytes") \
    X(STALL, "stall", "K[/SECONDS]", '*', "no more after K body bytes; goes on after SECONDS") \
    X(DRIP, "drip", "BYTES/MS", '*', "the body in pieces of BYTES, one every MS") \
    X(KILL_STALLED, "kill-stalled", "MS", '*', "closes when the client takes nothing for MS") \
    X(STATUS, "status", "CODE[/SECONDS]", '*', "an S3 error document; Retry-After: SECONDS") \
    X(HTML, "html", "CODE", '*', "an error with an HTML page, as proxies have it") \
    X(EMPTYERR, "emptyerr", "CODE", '*', "an error without a body") \
    X(BIGERR, "bigerr", "CODE/BYTES", '*', "an error with a document of BYTES") \
    X(NORESPONSE, "noresponse", "", '*', "FIN instead of an answer") \
    X(NORESPONSE_RESET, "noresponse-reset", "", '*', "RST instead of an answer") \
    X(CLOSE_IDLE, "close-idle", "MS", '*', "closes when no other request comes within MS") \
    X(CLOSE_AFTER, "close-after", "", '*', "announces Connection: close, and closes") \
    X(CLOSE_SILENT, "close-silent", "", '*', "closes after the answer without announcing it") \
    X(IGNORE_RANGE, "ignore-range", "", 'r', "200 with the whole object") \
    X(WRONG_RANGE, "wrong-range", "shift|short|long|total|missing|garbage", 'r', \
      "206 with another range, another total, or a useless Content-Range") \
    X(NO_LENGTH, "no-length", "", '*', "neither Content-Length nor chunks: until it closes") \
    X(CHUNKED, "chunked", "", '*', "chunks, with extensions and trailers") \
    X(CHUNKED_BAD, "chunked-bad", "", '*', "a chunk size that is no number, midway") \
    X(CHUNKED_HUGE, "chunked-huge", "", '*', "a chunk size of more than 64 bits, midway") \
    X(CHUNKED_CUT, "chunked-cut", "", '*', "FIN midway in the chunks") \
    X(TWO_LENGTHS, "two-lengths", "", '*', "two different Content-Lengths") \
    X(LENGTH_AND_CHUNKED, "length-and-chunked", "", '*', "Content-Length beside chunks") \
    X(LENGTH, "length", "junk|huge|short|long|negative", '*', "a wrong Content-Length") \
    X(ETAG_CHANGE, "etag-change", "", 'o', "from now on another ETag, and If-Match is ignored") \
    X(ETAG_CHANGE_412, "etag-change-412", "", 'o', "from now on another ETag, and If-Match fails") \
    X(ETAG_MISSING, "etag-missing", "", 'o', "no ETag") \
    X(ETAG_WEAK, "etag-weak", "", 'o', "a weak ETag") \
    X(TOTAL_CHANGE, "total-change", "", 'o', "from now on another size in Content-Range") \
    X(IGNORE_IF_MATCH, "ignore-if-match", "", 'o', "answers as if If-Match held") \
    X(CONTINUE, "continue", "N", '*', "N times 100 Continue before the answer") \
    X(HTTP10, "http10", "", '*', "HTTP/1.0, and closes") \
    X(HEAD_HUGE, "head-huge", "", '*', "a header line of 100 KB") \
    X(HEAD_MANY, "head-many", "", '*', "1000 header lines") \
    X(HEAD_GARBAGE, "head-garbage", "", '*', "bytes that are not HTTP instead of an answer") \
    X(HEAD_SLOW, "head-slow", "MS", '*', "one byte of the head every MS") \
    X(REDIRECT, "redirect", "CODE/URL", '*', "Location: URL, and path and query if it has none") \
    X(WRONG_REGION, "wrong-region", "REGION[/CODE]", '*', \
      "301 (or 307 or 400) until the request is signed for REGION") \
    X(SKEW, "skew", "[-]SECONDS", '*', "the server's clock is wrong by SECONDS") \
    X(EXPIRED_TOKEN, "expired-token", "", '*', "400 ExpiredToken") \
    X(EARLY, "early", "CODE", 'b', "an error before the request's body is read, then closes") \
    X(ACCEPT_STALL, "accept-stall", "", 'c', "reads and answers nothing") \
    X(EXTRA, "extra", "N", '*', "N bytes of junk behind the body") \
    X(LIST_NO_TOKEN, "list-no-token", "", 'l', "truncated, without a token") \
    X(LIST_SAME_TOKEN, "list-same-token", "", 'l', "truncated, with the same token always") \
    X(PUT_LOST, "put-lost", "", 'p', "performs the PUT, then closes without an answer") \
    X(DELAY, "delay", "MS", '*', "MS before the answer's head")

enum {
#define FAULT_X(id, name, arg, on, help) FAULT_##id,
    FAULT_KINDS(FAULT_X)
#undef FAULT_X
    FAULT_COUNT
};

typedef struct fault_kind {
    const char *name, *arg;
    char on;
    const char *help;
} fault_kind;

static const fault_kind fault_kinds[] = {
#define FAULT_X(id, name, arg, on, help) {name, arg, on, help},
    FAULT_KINDS(FAULT_X)
#undef FAULT_X
};

enum { WHEN_ALWAYS = 0, WHEN_SPAN, WHEN_EVERY, WHEN_CHANCE };

typedef struct fault {
    int id;
    const char *spec;   /* as it was given */
    uint64_t a;         /* the argument's first number */
    double b;           /* its second, -1 when absent */
    int negative;       /* a is */
    int word;           /* index of the choice */
    char text[512];
    int when;
    uint64_t first, last; /* of WHEN_SPAN; WHEN_EVERY: first */
    double chance;
    char method[16], key[256];
    int range, from;                /* filters given */
    uint64_t from_first, from_last;
    uint64_t seen, fired;           /* under serve.lock */
} fault;

/* A number with an optional suffix of 1024s. */
static int fault_number(s3si_str s, uint64_t *out) {
    static const char suffixes[] = "KMGT";
    const char *hit = s.n ? strchr(suffixes, s.p[s.n - 1]) : NULL;
    int shift = hit && *hit ? 10 * (int)(hit - suffixes + 1) : 0;
    if (shift) s.n--;
    if (!s3si_str_u64(s, out) || *out > UINT64_MAX >> shift) return 0;
    *out <<= shift;
    return 1;
}

static int fault_decimal(s3si_str s, double *out) {
    char text[32];
    char *end;
    if (!s.n || !s3si_str_copy(s, text, sizeof text) || !isdigit((unsigned char)text[0])) return 0;
    *out = strtod(text, &end);
    return *end == 0 && *out < 1e15;
}

/* One of "a|b|c": its index, or -1. */
static int fault_choice(s3si_str choices, s3si_str word) {
    int i;
    for (i = 0; choices.n; i++)
        if (s3si_str_eq(s3si_str_cut(choices, '|', &choices), word)) return i;
    return -1;
}

static int fault_parse_arg(fault *f, s3si_str given, s3si_str arg) {
    s3si_str grammar = s3si_str_of(fault_kinds[f->id].arg), second, first, rest;
    int optional;
    f->b = -1;
    if (given.n == arg.n) return grammar.n == 0; /* no '=' */
    if (s3si_str_find(grammar, '|') < grammar.n) return (f->word = fault_choice(grammar, arg)) >= 0;
    f->negative = s3si_str_starts(grammar, "[-]");
    if (f->negative) grammar = s3si_str_from(grammar, 3);
    f->negative = f->negative && s3si_str_starts(arg, "-");
    if (f->negative) arg = s3si_str_from(arg, 1);
    first = s3si_str_cut(grammar, '/', &second);
    optional = first.n && first.p[first.n - 1] == '[';
    if (optional) first.n--;
    if (!first.n) return 0;
    given = s3si_str_cut(arg, '/', &rest);
    if (s3si_str_is(first, "REGION") ? !given.n || !s3si_str_copy(given, f->text, sizeof f->text)
                                     : !fault_number(given, &f->a))
        return 0;
    if (given.n == arg.n) return optional || !second.n;
    if (s3si_str_is(second, "URL")) return rest.n && s3si_str_copy(rest, f->text, sizeof f->text);
    return second.n && fault_decimal(rest, &f->b);
}

static int fault_parse_span(s3si_str s, uint64_t *first, uint64_t *last) {
    s3si_str end, begin = s3si_str_cut(s, '-', &end);
    if (!fault_number(begin, first)) return 0;
    *last = *first;
    if (begin.n == s.n) return 1;
    *last = UINT64_MAX;
    return !end.n || (fault_number(end, last) && *last >= *first);
}

static int fault_parse_when(fault *f, s3si_str s) {
    if (s3si_str_is(s, "*")) return 1;
    if (s3si_str_starts(s, "%")) {
        f->when = WHEN_EVERY;
        return s3si_str_u64(s3si_str_from(s, 1), &f->first) && f->first;
    }
    if (s3si_str_starts(s, "p")) {
        f->when = WHEN_CHANCE;
        return fault_decimal(s3si_str_from(s, 1), &f->chance) && f->chance <= 1;
    }
    f->when = WHEN_SPAN;
    return fault_parse_span(s, &f->first, &f->last) && f->first;
}

static int fault_parse_filter(fault *f, s3si_str s) {
    s3si_str value, name = s3si_str_cut(s, '=', &value);
    if (s3si_str_is(s, "range")) return f->range = 1;
    if (s3si_str_is(name, "method"))
        return value.n && s3si_str_copy(value, f->method, sizeof f->method);
    if (s3si_str_is(name, "key")) return value.n && s3si_str_copy(value, f->key, sizeof f->key);
    if (!s3si_str_is(name, "from")) return 0;
    f->from = 1;
    return fault_parse_span(value, &f->from_first, &f->from_last);
}

/* KIND[=ARG][@WHEN][,FILTER]...; 0 with what is wrong in *why. */
static int fault_parse(const char *spec, fault *f, const char **why) {
    s3si_str filters, main = s3si_str_cut(s3si_str_of(spec), ',', &filters), arg, name;
    size_t at = main.n;
    memset(f, 0, sizeof *f);
    f->spec = spec;
    while (at && main.p[at - 1] != '@') at--;
    if (at) {
        if (!fault_parse_when(f, s3si_str_from(main, at)))
            return *why = "@WHEN is *, N, A-B, %M or p0.1", 0;
        main.n = at - 1;
    }
    name = s3si_str_cut(main, '=', &arg);
    while (f->id < FAULT_COUNT && !s3si_str_is(name, fault_kinds[f->id].name)) f->id++;
    if (f->id == FAULT_COUNT) return *why = "no such fault; s3serve --help lists them", 0;
    if (name.n == main.n) arg = main; /* says: none */
    if (!fault_parse_arg(f, main, arg)) return *why = "this is not the argument it takes", 0;
    while (filters.n)
        if (!fault_parse_filter(f, s3si_str_cut(filters, ',', &filters)))
            return *why = "filters are method=M, key=SUBSTR, range, from=BYTE, from=A-B", 0;
    return 1;
}

/* splitmix64 of seed, fault and count: the same run meets the same chances. */
static double fault_dice(const fault *f) {
    uint64_t z = serve.seed + (uint64_t)(f - serve.faults) * 0x9e3779b97f4a7c15u + f->seen;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) / 9007199254740992.0;
}

/* Counts one matching request; 1 when the fault is due. */
static int fault_due_locked(fault *f) {
    int due = 1;
    f->seen++;
    if (f->when == WHEN_SPAN) due = f->seen >= f->first && f->seen <= f->last;
    else if (f->when == WHEN_EVERY) due = f->seen % f->first == 0;
    else if (f->when == WHEN_CHANCE) due = fault_dice(f) < f->chance;
    f->fired += (uint64_t)due;
    return due;
}

/* >>connection
 * A blocking socket with its thread. A failed send or an end of input sets `dead`; what follows
 * then does nothing, so nobody has to look at each result. */
typedef struct conn {
    int fd;
    uint64_t id;
    int dead, impatient;   /* impatient: a send timeout is set */
    int64_t paid_us;       /* when the bytes sent so far are paid for, at the rate */
    size_t have, used;     /* received bytes in `in`, and how many of them are done with */
    char in[SERVE_HEAD_MAX + 4096];
    char block[SERVE_BLOCK];
} conn;

static void conn_send(conn *c, const char *p, size_t n) {
    while (n && !c->dead) {
        long put = s3si_sock_send(c->fd, p, n);
        if (put < 0) c->dead = 1;
        else p += put, n -= (size_t)put;
    }
}

/* Receives into c->in, behind what is there. 0 at the end of input, or when `in` is full. */
static int conn_receive(conn *c) {
    long got;
    if (c->used) {
        memmove(c->in, c->in + c->used, c->have - c->used);
        c->have -= c->used;
        c->used = 0;
    }
    if (c->dead || c->have == sizeof c->in) return 0;
    got = s3si_sock_recv(c->fd, c->in + c->have, sizeof c->in - c->have);
    if (got <= 0) {
        c->dead = 1;
        return 0;
    }
    c->have += (size_t)got;
    return 1;
}

/* Waits, at most us (for ever when negative), for the client to go away: 1 when it did. */
static int conn_gone(conn *c, int64_t us) {
    struct pollfd p;
    int ms = us < 0 ? -1 : us > 1000000000000 ? 1000000000 : (int)(us / 1000);
    p.fd = c->fd;
    p.events = POLLRDHUP;
    p.revents = 0;
    while (poll(&p, 1, ms) < 0 && errno == EINTR) continue;
    return p.revents != 0;
}

/* Waits, at most us, for input that was not asked for yet: 1 when there is some, or the end. */
static int conn_readable(conn *c, int64_t us) {
    struct pollfd p;
    if (c->have > c->used) return 1;
    p.fd = c->fd;
    p.events = POLLIN;
    p.revents = 0;
    while (poll(&p, 1, (int)(us / 1000)) < 0 && errno == EINTR) continue;
    return p.revents != 0;
}

/* Ends the connection with RST, once what was sent before has arrived. */
static void conn_reset(conn *c) {
    struct linger hard;
#if defined(TIOCOUTQ)
    int i, queued = 0;
    for (i = 0; i < 1000 && ioctl(c->fd, TIOCOUTQ, &queued) == 0 && queued > 0; i++)
        serve_sleep_us(1000);
#endif
    hard.l_onoff = 1;
    hard.l_linger = 0;
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    c->dead = 1;
}

/* Ends the connection in such a way that the last answer is read although the request was not. */
static void conn_finish(conn *c, int64_t linger_us) {
    int64_t until = s3si_time_mono_us() + linger_us;
    if (c->dead) return;
    (void)shutdown(c->fd, SHUT_WR);
    while (s3si_time_mono_us() < until && conn_readable(c, until - s3si_time_mono_us())) {
        c->used = c->have;
        if (!conn_receive(c)) break;
    }
    c->dead = 1;
}

/* Holds the connection to the rate. */
static void conn_pay(conn *c, uint64_t bytes) {
    int64_t now;
    if (serve.rate <= 0) return;
    now = s3si_time_mono_us();
    if (c->paid_us < now) c->paid_us = now;
    c->paid_us += (int64_t)((double)bytes * 1e6 / serve.rate);
    if (c->paid_us - now > 1000) serve_sleep_us(c->paid_us - now);
}

/* >>request
 * A parsed request, what the answer needs, and what the log will say. Slices point into conn.in
 * until the body is read, so the head is copied first. */
enum { BODY_NONE = 0, BODY_LENGTH, BODY_CHUNKED };
typedef struct request {
    conn *c;
    uint64_t id;
    int64_t start_us, now; /* now: seconds since 1970 on the server's clock, which may be skewed */
    s3si_buf head;
    s3si_str method, target, path, query, lines, host;
    int minor, keep_alive, http_bad;
    s3si_buf bucket, key;
    int has_range;               /* the Range header is one that counts */
    s3si_str range;
    int framing;                 /* of the request's body */
    uint64_t left;
    s3si_chunked chunked;
    int continued, body_bad;
    char payload[65];            /* the body's SHA-256 as it was signed; "" when it was not */
    int faulty;
    const fault *fault[FAULT_COUNT]; /* those that befall this request */
    uint64_t etag_salt, total_salt;  /* how often the object "changed" */
    int status;                  /* and on: for the log */
    int sent_range;
    uint64_t range_first, range_last, sent;
} request;

static int request_header(const request *q, const char *name, s3si_str *value) {
    s3si_head h;
    h.lines = q->lines;
    return s3si_head_find(&h, name, value);
}

/* A query parameter, still encoded; 1 when it is there, with or without '='. */
static int request_raw_param(const request *q, const char *name, s3si_str *value) {
    s3si_str rest = q->query;
    while (rest.n) {
        s3si_str key = s3si_str_cut(s3si_str_cut(rest, '&', &rest), '=', value);
        if (s3si_str_is(key, name)) return 1;
    }
    *value = s3si_str_of("");
    return 0;
}

static int request_param(const request *q, const char *name, s3si_buf *out) {
    s3si_str value;
    int there = request_raw_param(q, name, &value);
    s3si_buf_clear(out);
    s3si_percent_decode(out, value);
    return there;
}

static int request_is(const request *q, const char *name) { return s3si_str_is(q->method, name); }
static int request_is_head(const request *q) { return request_is(q, "HEAD"); }

/* The length of a whole head at the front of (p, n), 0 when more is needed. */
static size_t request_head_length(const char *p, size_t n) {
    size_t i;
    for (i = 0; i + 1 < n; i++) {
        if (p[i] != '\n') continue;
        if (p[i + 1] == '\n') return i + 2;
        if (i + 2 < n && p[i + 1] == '\r' && p[i + 2] == '\n') return i + 3;
    }
    return 0;
}

static void request_framing(request *q) {
    s3si_str v;
    if (request_header(q, "transfer-encoding", &v)) {
        q->framing = BODY_CHUNKED;
        if (!s3si_str_ieq(v, s3si_str_of("chunked"))) q->http_bad = 1;
    }
    if (request_header(q, "content-length", &v)) {
        if (q->framing == BODY_CHUNKED || !s3si_str_u64(v, &q->left)) q->http_bad = 1;
        else if (q->left) q->framing = BODY_LENGTH;
    }
    q->keep_alive = q->minor == 1;
    if (request_header(q, "connection", &v) && s3si_http_has_token(v, "close")) q->keep_alive = 0;
}

/* "http://host/path", as a proxy is asked: the authority is the host, the rest the path. */
static void request_absolute(request *q) {
    size_t slash;
    if (!s3si_str_starts(q->path, "http://")) return;
    q->path = s3si_str_from(q->path, 7);
    slash = s3si_str_find(q->path, '/');
    q->host = str_head(q->path, slash);
    q->path = slash < q->path.n ? s3si_str_from(q->path, slash) : s3si_str_of("/");
}

/* Bucket and key from host and path: bucket.localhost, or the path's first component. */
static void request_aim(request *q) {
    s3si_str host = q->host, rest = s3si_str_from(q->path, 1), bucket;
    size_t colon = s3si_str_find(host, ':');
    static const char domain[] = ".localhost";
    size_t n = sizeof domain - 1;
    host = str_head(host, colon);
    if (host.n > n && s3si_str_ieq(s3si_str_from(host, host.n - n), s3si_str_of(domain))) {
        bucket = str_head(host, host.n - n);
    } else {
        bucket = s3si_str_cut(rest, '/', &rest);
    }
    s3si_percent_decode(&q->bucket, bucket);
    s3si_percent_decode(&q->key, rest);
}

static void request_parse(request *q) {
    s3si_str head = s3si_buf_str(&q->head), line, version;
    line = s3si_str_cut(head, '\n', &head);
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    q->method = s3si_str_cut(line, ' ', &line);
    q->target = s3si_str_cut(line, ' ', &version);
    q->lines = str_head(head, head.n - (head.n >= 2 && head.p[head.n - 2] == '\r' ? 2 : 1));
    q->path = s3si_str_cut(q->target, '?', &q->query);
    (void)request_header(q, "host", &q->host);
    request_absolute(q);
    if (s3si_str_is(version, "HTTP/1.1")) q->minor = 1;
    else if (!s3si_str_is(version, "HTTP/1.0")) q->http_bad = 1;
    if (!s3si_str_starts(q->path, "/") || !s3si_http_is_token(q->method)) q->http_bad = 1;
    if (q->http_bad) return;
    request_framing(q);
    request_aim(q);
    q->has_range = request_header(q, "range", &q->range) && s3si_str_starts(q->range, "bytes=");
}

/* Reads the next request's head. 0 when the connection ended. */
static int request_read(request *q, conn *c) {
    size_t n;
    q->c = c;
    while ((n = request_head_length(c->in + c->used, c->have - c->used)) == 0) {
        if (!conn_receive(c)) {
            if (c->have < sizeof c->in) return 0;
            q->http_bad = 1; /* a head that is too long */
            n = c->have;
            break;
        }
        while (c->used < c->have && strchr("\r\n", c->in[c->used])) c->used++; /* stray line ends */
    }
    s3si_buf_add(&q->head, s3si_str_make(c->in + c->used, n));
    c->used += n;
    q->start_us = s3si_time_mono_us();
    q->now = s3si_time_wall();
    request_parse(q);
    return s3si_buf_ok(&q->head);
}

static void request_init(request *q) {
    memset(q, 0, sizeof *q);
    s3si_buf_init(&q->head, &serve.mem);
    s3si_buf_init(&q->bucket, &serve.mem);
    s3si_buf_init(&q->key, &serve.mem);
}

static void request_deinit(request *q) {
    s3si_buf_deinit(&q->head);
    s3si_buf_deinit(&q->bucket);
    s3si_buf_deinit(&q->key);
}

static void request_continue(request *q) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    conn_send(q->c, go_on, sizeof go_on - 1);
}

/* The next bytes of the request's body, within conn.in; 0 at its end, or when it broke off
 * (body_bad). */
static int request_body(request *q, s3si_str *data) {
    conn *c = q->c;
    s3si_str v;
    if (!q->continued && q->framing && request_header(q, "expect", &v)) request_continue(q);
    q->continued = 1;
    for (;;) {
        if (q->framing == BODY_NONE || (q->framing == BODY_LENGTH && !q->left)) return 0;
        if (q->framing == BODY_CHUNKED && q->chunked.state >= S3SI_CHUNK_DONE) break;
        if (c->have == c->used && !conn_receive(c)) return q->body_bad = 1, 0;
        *data = s3si_str_make(c->in + c->used, c->have - c->used);
        if (q->framing == BODY_LENGTH) {
            *data = str_head(*data, q->left < data->n ? (size_t)q->left : data->n);
            q->left -= data->n;
            c->used += data->n;
            return 1;
        }
        c->used += s3si_chunked_feed(&q->chunked, data->p, data->n, data);
        if (data->n) return 1;
    }
    q->body_bad = q->chunked.state == S3SI_CHUNK_BAD;
    q->framing = BODY_NONE;
    return 0;
}

/* Reads what is left of a body so that the next request can follow, or gives the connection up. */
static void request_drain(request *q) {
    s3si_str data;
    uint64_t n = 0;
    if (q->framing == BODY_LENGTH && q->left > SERVE_DRAIN_MAX) q->keep_alive = 0;
    while (q->keep_alive && request_body(q, &data))
        if ((n += data.n) > SERVE_DRAIN_MAX) q->keep_alive = 0;
    if (q->body_bad) q->keep_alive = 0;
}

/* >>store
 * Keys to file names and back. An ordinary key is its own path below the bucket. A key that cannot
 * be a path (empty, "." or ".." components, control characters, more than 255 bytes a component),
 * or that is in the way of another ("a" beside "a/b"), lies flat: below BUCKET/.s3serve,
 * percent-encoded whole, in pieces of 250 characters that begin with '=' and, but for the last, end
 * with '+'. Neither occurs in the encoding, so the mapping can be read backwards, and no key leads
 * out of its bucket. */
#define STORE_OWN ".s3serve"
enum { STORE_PIECE = 240 };

static int store_bucket_ok(s3si_str b) {
    return b.n && b.n < 256 && b.p[0] != '.' && s3si_str_find(b, '/') == b.n &&
           s3si_str_find(b, 0) == b.n;
}

static void store_bucket_path(s3si_buf *out, s3si_str bucket) {
    s3si_buf_clear(out);
    s3si_buf_addz(out, serve.dir);
    s3si_buf_addc(out, '/');
    s3si_buf_add(out, bucket);
}

static int store_bucket_exists(s3si_str bucket) {
    s3si_buf path;
    struct stat st;
    int there;
    if (!store_bucket_ok(bucket)) return 0;
    s3si_buf_init(&path, &serve.mem);
    store_bucket_path(&path, bucket);
    there = s3si_buf_ok(&path) && stat(path.p, &st) == 0 && S_ISDIR(st.st_mode);
    s3si_buf_deinit(&path);
    return there;
}

static int store_is_plain(s3si_str key) {
    s3si_str component, rest = key;
    size_t i;
    if (!key.n || key.p[key.n - 1] == '/') return 0;
    for (i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] < 0x20 || key.p[i] == 0x7f) return 0;
    component = s3si_str_cut(key, '/', &rest);
    if (s3si_str_is(component, STORE_OWN)) return 0;
    for (;; component = s3si_str_cut(rest, '/', &rest)) {
        if (!component.n || component.n > 255 || s3si_str_is(component, ".") ||
            s3si_str_is(component, ".."))
            return 0;
        if (!rest.n) return 1;
    }
}

static void store_plain_path(s3si_buf *out, s3si_str bucket, s3si_str key) {
    store_bucket_path(out, bucket);
    s3si_buf_addc(out, '/');
    s3si_buf_add(out, key);
}

static void store_flat_path(s3si_buf *out, s3si_str bucket, s3si_str key) {
    s3si_buf encoded;
    s3si_str rest;
    store_bucket_path(out, bucket);
    s3si_buf_addz(out, "/" STORE_OWN);
    s3si_buf_init(&encoded, &serve.mem);
    s3si_percent_encode(&encoded, key, 0);
    if (!s3si_buf_ok(&encoded)) out->failed = 1;
    for (rest = s3si_buf_str(&encoded);; rest = s3si_str_from(rest, STORE_PIECE)) {
        s3si_buf_addz(out, "/=");
        s3si_buf_add(out, str_head(rest, STORE_PIECE));
        if (rest.n <= STORE_PIECE) break;
        s3si_buf_addc(out, '+');
    }
    s3si_buf_deinit(&encoded);
}

/* Opens an object; the descriptor or -1. Its path stays in *path. */
static int store_open(s3si_str bucket, s3si_str key, s3si_file_info *info, s3si_buf *path) {
    int fd = -1;
    if (store_is_plain(key)) {
        store_plain_path(path, bucket, key);
        if (s3si_buf_ok(path)) fd = s3si_file_open(path->p, info);
    }
    if (fd < 0) {
        store_flat_path(path, bucket, key);
        if (s3si_buf_ok(path)) fd = s3si_file_open(path->p, info);
    }
    return fd;
}

/* Where in a path what lies below the bucket begins. */
static size_t store_below(const s3si_buf *path) {
    size_t base = strlen(serve.dir) + 1;
    return base + s3si_str_find(s3si_str_of(path->p + base), '/') + 1;
}

static int store_make_parents(s3si_buf *path) {
    size_t i;
    int rc = 0;
    for (i = store_below(path); i < path->n; i++) {
        if (path->p[i] != '/') continue;
        path->p[i] = 0;
        rc = mkdir(path->p, 0777);
        path->p[i] = '/';
        if (rc != 0 && errno != EEXIST) return 0;
    }
    return 1;
}

static void store_remove_parents(s3si_buf *path) {
    size_t base = store_below(path), i = path->n;
    while (i-- > base) {
        if (path->p[i] != '/') continue;
        path->p[i] = 0;
        if (rmdir(path->p) != 0) return;
    }
}

/* A new file beside the bucket's objects, for an object's bytes until it is whole. */
static int store_temp(s3si_str bucket, s3si_buf *temp) {
    uint64_t n;
    int fd;
    s3si_mutex_lock(&serve.lock);
    n = ++serve.shared.temps;
    s3si_mutex_unlock(&serve.lock);
    store_bucket_path(temp, bucket);
    buf_addf(temp, "/" STORE_OWN "/temp-%ld-%llu", s3si_sys_pid(), (unsigned long long)n);
    if (!s3si_buf_ok(temp)) return -1;
    s3si_mutex_lock(&serve.names);
    (void)store_make_parents(temp);
    fd = open(temp->p, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    s3si_mutex_unlock(&serve.names);
    return fd;
}

/* Gives the temporary file its name: plain if that is possible, flat otherwise. */
static int store_rename_locked(s3si_str temp, s3si_str bucket, s3si_str key, s3si_buf *path) {
    struct stat st;
    store_flat_path(path, bucket, key);
    if (!s3si_buf_ok(path)) return 0;
    if (store_is_plain(key) && stat(path->p, &st) != 0) {
        store_plain_path(path, bucket, key);
        if (s3si_buf_ok(path) && store_make_parents(path) && rename(temp.p, path->p) == 0) return 1;
        store_flat_path(path, bucket, key);
    }
    return s3si_buf_ok(path) && store_make_parents(path) && rename(temp.p, path->p) == 0;
}

static void store_remove(s3si_str bucket, s3si_str key) {
    s3si_buf path;
    struct stat st;
    s3si_buf_init(&path, &serve.mem);
    s3si_mutex_lock(&serve.names);
    if (store_is_plain(key)) store_plain_path(&path, bucket, key);
    if (path.n && stat(path.p, &st) == 0 && S_ISREG(st.st_mode) && unlink(path.p) == 0) {
        store_remove_parents(&path);
    } else {
        store_flat_path(&path, bucket, key);
        if (s3si_buf_ok(&path) && unlink(path.p) == 0) store_remove_parents(&path);
    }
    s3si_mutex_unlock(&serve.names);
    s3si_buf_deinit(&path);
}

/* All keys of a bucket that begin with a prefix, in byte order. Directories wait in a list of their
 * own, NUL-ended, instead of in a recursion. */
typedef struct store_keys {
    s3si_buf text, found; /* the bytes; the keys, as offsets in `text` until all are known */
    s3si_buf dirs;
    s3si_str prefix;
} store_keys;

static void store_keys_add(store_keys *k, s3si_str key) {
    struct { size_t at, n; } e;
    if (!s3si_str_eq(str_head(key, k->prefix.n), k->prefix)) return;
    e.at = k->text.n;
    e.n = key.n;
    s3si_buf_add(&k->text, key);
    s3si_buf_add(&k->found, s3si_str_make((const char *)&e, sizeof e));
}

/* One entry below the bucket: `name` is its path there, "" or ending with '/' in front. */
static void store_keys_entry(store_keys *k, s3si_str bucket, s3si_str name, s3si_buf *scratch) {
    struct stat st;
    int flat = s3si_str_starts(name, STORE_OWN "/");
    size_t n = name.n < k->prefix.n ? name.n : k->prefix.n;
    store_plain_path(scratch, bucket, name);
    if (!s3si_buf_ok(scratch) || stat(scratch->p, &st) != 0) return;
    if (S_ISDIR(st.st_mode)) {
        if (!flat && memcmp(name.p, k->prefix.p, n) != 0 && !s3si_str_is(name, STORE_OWN)) return;
        s3si_buf_add(&k->dirs, name);
        s3si_buf_add(&k->dirs, s3si_str_make("/", 2)); /* with its NUL */
    } else if (S_ISREG(st.st_mode) && flat) {
        s3si_str rest = s3si_str_from(name, sizeof STORE_OWN), piece;
        s3si_buf encoded;
        s3si_buf_init(&encoded, &serve.mem);
        s3si_buf_clear(scratch);
        while (rest.n) {
            piece = s3si_str_cut(rest, '/', &rest);
            if (!s3si_str_starts(piece, "=")) break;
            piece = s3si_str_from(piece, 1);
            if (piece.n && piece.p[piece.n - 1] == '+') piece.n--;
            s3si_buf_add(&encoded, piece);
        }
        s3si_percent_decode(scratch, s3si_buf_str(&encoded));
        if (encoded.n) store_keys_add(k, s3si_buf_str(scratch));
        s3si_buf_deinit(&encoded);
    } else if (S_ISREG(st.st_mode)) {
        store_keys_add(k, name);
    }
}

static void store_keys_directory(store_keys *k, s3si_str bucket, s3si_str dir, s3si_buf *scratch) {
    s3si_buf name;
    struct dirent *e;
    DIR *d;
    store_plain_path(scratch, bucket, dir);
    d = s3si_buf_ok(scratch) ? opendir(scratch->p) : NULL;
    if (!d) return;
    s3si_buf_init(&name, &serve.mem);
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        s3si_buf_clear(&name);
        s3si_buf_add(&name, dir);
        s3si_buf_addz(&name, e->d_name);
        if (s3si_buf_ok(&name)) store_keys_entry(k, bucket, s3si_buf_str(&name), scratch);
    }
    (void)closedir(d);
    s3si_buf_deinit(&name);
}

static int store_keys_order(const void *a, const void *b) {
    return s3si_sigv4_order(*(const s3si_str *)a, *(const s3si_str *)b);
}

/* Fills *k; the keys are *list, which lives as long as *k does. Returns how many, or SIZE_MAX. */
static size_t store_keys_collect(store_keys *k, s3si_str bucket, s3si_str prefix, s3si_str **list) {
    s3si_buf scratch, dir;
    size_t at = 0, i, n;
    s3si_buf_init(&k->text, &serve.mem);
    s3si_buf_init(&k->found, &serve.mem);
    s3si_buf_init(&k->dirs, &serve.mem);
    s3si_buf_init(&scratch, &serve.mem);
    s3si_buf_init(&dir, &serve.mem);
    k->prefix = prefix;
    store_keys_directory(k, bucket, s3si_str_of(""), &scratch);
    while (at < k->dirs.n) {
        s3si_buf_clear(&dir);
        s3si_buf_addz(&dir, k->dirs.p + at);
        at += dir.n + 1;
        store_keys_directory(k, bucket, s3si_buf_str(&dir), &scratch);
    }
    s3si_buf_deinit(&scratch);
    s3si_buf_deinit(&dir);
    if (!s3si_buf_ok(&k->text) || !s3si_buf_ok(&k->found) || !s3si_buf_ok(&k->dirs))
        return SIZE_MAX;
    n = k->found.n / sizeof(s3si_str);
    *list = (s3si_str *)(void *)k->found.p;
    for (i = 0; i < n; i++) {
        struct { size_t at, n; } e;
        memcpy(&e, k->found.p + i * sizeof e, sizeof e);
        (*list)[i] = s3si_str_make(k->text.p + e.at, e.n);
    }
    if (n) qsort(*list, n, sizeof **list, store_keys_order);
    return n;
}

static void store_keys_deinit(store_keys *k) {
    s3si_buf_deinit(&k->text);
    s3si_buf_deinit(&k->found);
    s3si_buf_deinit(&k->dirs);
}

/* >>memory
 * What a file cannot hold: an object's MD5, and the Content-Type and x-amz-meta-* it was put with.
 * Kept for as long as the file's size and time are what they were. */
typedef struct memory {
    struct memory *next;
    char *name, *head; /* "bucket/key"; header lines */
    size_t name_len;
    s3si_file_info info;
    char md5[33];
} memory;

static size_t memory_slot(s3si_str name) {
    uint64_t h = 0xcbf29ce484222325u;
    size_t i;
    for (i = 0; i < name.n; i++) h = (h ^ (unsigned char)name.p[i]) * 0x100000001b3u;
    return (size_t)(h % SERVE_MEMORY_SLOTS);
}

static memory **memory_find_locked(s3si_str name) {
    memory **at = &serve.shared.memory[memory_slot(name)];
    while (*at && !s3si_str_eq(s3si_str_make((*at)->name, (*at)->name_len), name))
        at = &(*at)->next;
    return at;
}

static void memory_name(s3si_buf *out, s3si_str bucket, s3si_str key) {
    s3si_buf_add(out, bucket);
    s3si_buf_addc(out, '/');
    s3si_buf_add(out, key);
}

/* Remembers; head "" adds nothing to what is known. */
static void memory_set(s3si_str name, const s3si_file_info *info, const char *md5, s3si_str head) {
    memory **at, *m;
    s3si_mutex_lock(&serve.lock);
    at = memory_find_locked(name);
    if (!*at) {
        m = (memory *)s3si_mem_zalloc(&serve.mem, sizeof *m);
        if (m) m->name = s3si_str_dup(&serve.mem, name);
        if (m) m->name_len = name.n;
        if (m && m->name) *at = m;
        else s3si_mem_free(&serve.mem, m);
    }
    if ((m = *at) != NULL) {
        m->info = *info;
        memcpy(m->md5, md5, sizeof m->md5);
        s3si_mem_free(&serve.mem, m->head);
        m->head = s3si_str_dup(&serve.mem, head);
    }
    s3si_mutex_unlock(&serve.lock);
}

static void memory_drop(s3si_str name) {
    memory **at, *m;
    s3si_mutex_lock(&serve.lock);
    at = memory_find_locked(name);
    m = *at;
    if (m) {
        *at = m->next;
        s3si_mem_free(&serve.mem, m->name);
        s3si_mem_free(&serve.mem, m->head);
        s3si_mem_free(&serve.mem, m);
    }
    s3si_mutex_unlock(&serve.lock);
}

/* 1 with the MD5 (33 bytes), and the header lines appended to *head, when the file is still the
 * same. */
static int memory_get(s3si_str name, const s3si_file_info *info, char *md5, s3si_buf *head) {
    const memory *m;
    int same;
    s3si_mutex_lock(&serve.lock);
    m = *memory_find_locked(name);
    same = m && m->info.size == info->size && m->info.mtime == info->mtime &&
           m->info.mtime_ns == info->mtime_ns && m->info.inode == info->inode;
    if (same) {
        memcpy(md5, m->md5, sizeof m->md5);
        if (head) s3si_buf_addz(head, m->head ? m->head : "");
    }
    s3si_mutex_unlock(&serve.lock);
    return same;
}

/* >>answer
 * An answer is a status, header lines, and a body that is either a document in memory or a part of
 * a file. Everything that can be said wrongly about a body is said in answer_framing. */
typedef struct answer {
    int status;
    s3si_buf head, text;
    int fd; /* -1: the body is `text` */
    uint64_t offset, n;
} answer;

static void answer_init(answer *a) {
    memset(a, 0, sizeof *a);
    s3si_buf_init(&a->head, &serve.mem);
    s3si_buf_init(&a->text, &serve.mem);
    a->fd = -1;
}

static void answer_deinit(answer *a) {
    s3si_buf_deinit(&a->head);
    s3si_buf_deinit(&a->text);
    s3si_file_close(a->fd);
}

static void answer_set(answer *a, int status) {
    a->status = status;
    s3si_buf_clear(&a->head);
    s3si_buf_clear(&a->text);
    s3si_file_close(a->fd);
    a->fd = -1;
    a->n = 0;
}

static void answer_header(answer *a, const char *name, s3si_str value) {
    s3si_http_add_header(&a->head, s3si_str_of(name), value);
}

/* Text in XML. Control characters are written as references, as S3 does, though XML 1.0 has no
 * such. */
static void xml_text(s3si_buf *out, s3si_str s) {
    size_t i;
    for (i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '&') s3si_buf_addz(out, "&amp;");
        else if (c == '<') s3si_buf_addz(out, "&lt;");
        else if (c == '>') s3si_buf_addz(out, "&gt;");
        else if (c == '"') s3si_buf_addz(out, "&quot;");
        else if (c < 0x20 && c != '\n' && c != '\t') buf_addf(out, "&#x%X;", c);
        else s3si_buf_addc(out, (char)c);
    }
}

static void xml_element(s3si_buf *out, const char *name, s3si_str text) {
    buf_addf(out, "<%s>", name);
    xml_text(out, text);
    buf_addf(out, "</%s>", name);
}

static const char xml_declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
#define XML_NAMESPACE " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static const struct answer_code {
    int status;
    const char *code, *message;
} answer_codes[] = {
    {400, "InvalidRequest", "The request is not valid."},
    {403, "AccessDenied", "Access Denied"},
    {404, "NoSuchKey", "The specified key does not exist."},
    {405, "MethodNotAllowed", "The specified method is not allowed against this resource."},
    {408, "RequestTimeout", "Your socket connection to the server was not read from or written to "
                            "within the timeout period."},
    {409, "ConditionalRequestConflict", "A conflicting operation occurred during this request."},
    {411, "MissingContentLength", "You must provide the Content-Length HTTP header."},
    {412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"},
    {416, "InvalidRange", "The requested range is not satisfiable"},
    {429, "TooManyRequests", "Please reduce your request rate."},
    {500, "InternalError", "We encountered an internal error. Please try again."},
    {501, "NotImplemented", "A header or parameter you provided implies functionality that is not "
                            "implemented."},
    {503, "SlowDown", "Please reduce your request rate."}};

/* An S3 error document. code and message NULL: those that fit the status; more: further elements.
 * */
static void answer_error(const request *q, answer *a, int status, const char *code,
                         const char *message, s3si_str more) {
    size_t i;
    answer_set(a, status);
    for (i = 0; i < sizeof answer_codes / sizeof answer_codes[0]; i++) {
        if (answer_codes[i].status != status) continue;
        if (!code) code = answer_codes[i].code;
        if (!message) message = answer_codes[i].message;
    }
    if (!code) code = status >= 500 ? "InternalError" : "InvalidRequest";
    if (!message) message = code;
    answer_header(a, "Content-Type", s3si_str_of("application/xml"));
    s3si_buf_addz(&a->text, xml_declaration);
    s3si_buf_addz(&a->text, "<Error>");
    xml_element(&a->text, "Code", s3si_str_of(code));
    xml_element(&a->text, "Message", s3si_str_of(message));
    s3si_buf_add(&a->text, more);
    xml_element(&a->text, "Resource", q->path);
    buf_addf(&a->text, "<RequestId>%016llX</RequestId><HostId>s3serve</HostId></Error>",
             (unsigned long long)q->id);
}

static void answer_fail(const request *q, answer *a, int status, const char *code,
                        const char *message) {
    answer_error(q, a, status, code, message, s3si_str_of(""));
}

static const char *answer_reason(int status) {
    static const struct { int status; const char *text; } reasons[] = {
        {200, "OK"}, {204, "No Content"}, {206, "Partial Content"}, {301, "Moved Permanently"},
        {302, "Found"}, {304, "Not Modified"}, {307, "Temporary Redirect"}, {400, "Bad Request"},
        {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {408, "Request Timeout"}, {409, "Conflict"}, {411, "Length Required"},
        {412, "Precondition Failed"}, {416, "Requested Range Not Satisfiable"},
        {429, "Too Many Requests"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
        {502, "Bad Gateway"}, {503, "Slow Down"}, {504, "Gateway Timeout"}};
    size_t i;
    for (i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Status";
}

static uint64_t answer_length(const answer *a) { return a->fd >= 0 ? a->n : a->text.n; }

static int answer_has_body(const request *q, const answer *a) {
    return !request_is_head(q) && a->status != 204 && a->status != 304;
}

static int answer_is_chunked(const request *q) {
    return q->fault[FAULT_CHUNKED] || q->fault[FAULT_CHUNKED_BAD] || q->fault[FAULT_CHUNKED_HUGE] ||
           q->fault[FAULT_CHUNKED_CUT] || q->fault[FAULT_LENGTH_AND_CHUNKED];
}

static void answer_framing(const request *q, const answer *a, s3si_buf *head) {
    static const char *const before[] = {"", "9999999999999999999999", "", "", "-"};
    unsigned long long n = answer_length(a);
    const fault *length = q->fault[FAULT_LENGTH];
    if (a->status == 204 || a->status == 304 || q->fault[FAULT_NO_LENGTH]) return;
    if (answer_is_chunked(q)) {
        s3si_buf_addz(head, "Transfer-Encoding: chunked\r\n");
        if (q->fault[FAULT_CHUNKED]) s3si_buf_addz(head, "Trailer: X-Trailer\r\n");
        if (!q->fault[FAULT_LENGTH_AND_CHUNKED]) return;
    }
    if (length) {
        if (length->word == 2) n = n > 10 ? n - 10 : 0;
        if (length->word == 3) n += 10;
        buf_addf(head, "Content-Length: %s%llu%s\r\n", before[length->word], n,
                 length->word ? "" : "bytes");
        return;
    }
    buf_addf(head, "Content-Length: %llu\r\n", n);
    if (q->fault[FAULT_TWO_LENGTHS]) buf_addf(head, "Content-Length: %llu\r\n", n + 1);
}

/* Whether the connection can go on after this answer. */
static int answer_keeps_alive(const request *q, const answer *a) {
    const fault *length = q->fault[FAULT_LENGTH];
    if (q->fault[FAULT_CLOSE_AFTER] || q->fault[FAULT_HTTP10]) return 0;
    if (answer_has_body(q, a) && (q->fault[FAULT_NO_LENGTH] || q->fault[FAULT_LENGTH_AND_CHUNKED]))
        return 0;
    if (q->fault[FAULT_TWO_LENGTHS] || (length && length->word != 2) || q->fault[FAULT_EARLY])
        return 0;
    if (q->framing == BODY_LENGTH && q->left > SERVE_DRAIN_MAX) return 0;
    return q->keep_alive;
}

static void answer_head(request *q, const answer *a, s3si_buf *head) {
    char date[32];
    int i;
    s3si_date_format_http(q->now, date);
    buf_addf(head, "HTTP/1.%d %d %s\r\n", q->fault[FAULT_HTTP10] ? 0 : 1, a->status,
             answer_reason(a->status));
    buf_addf(head, "x-amz-request-id: %016llX\r\n", (unsigned long long)q->id);
    buf_addf(head, "x-amz-id-2: s3serve\r\nDate: %s\r\nServer: s3serve\r\n", date);
    s3si_buf_add(head, s3si_buf_str(&a->head));
    if (!s3si_buf_ok(&a->head)) head->failed = 1;
    answer_framing(q, a, head);
    if (q->fault[FAULT_HEAD_HUGE]) buf_addf(head, "X-Huge: %0100000d\r\n", 0);
    for (i = 0; q->fault[FAULT_HEAD_MANY] && i < 1000; i++)
        buf_addf(head, "X-Many-%d: %d\r\n", i, i);
    q->keep_alive = answer_keeps_alive(q, a);
    if (!q->keep_alive) s3si_buf_addz(head, "Connection: close\r\n");
    s3si_buf_addz(head, "\r\n");
}

/* Sends a head; `more`: a body follows at once. */
static void answer_send_head(request *q, s3si_buf *head, int more) {
    conn *c = q->c;
    const fault *slow = q->fault[FAULT_HEAD_SLOW];
    size_t i;
    if (!s3si_buf_ok(head)) {
        c->dead = 1;
    } else if (slow) {
        for (i = 0; i < head->n && !c->dead; i++) {
            conn_send(c, head->p + i, 1);
            serve_sleep_us((int64_t)slow->a * 1000);
        }
    } else if (more) { /* one packet with the beginning of the body */
        ssize_t put = send(c->fd, head->p, head->n, MSG_NOSIGNAL | MSG_MORE);
        size_t done = put > 0 ? (size_t)put : 0;
        conn_send(c, head->p + done, head->n - done);
    } else {
        conn_send(c, head->p, head->n);
    }
}

/* >>body
 * Sends bodies: as fast as the kernel copies, or in the pieces, the chunks and with the accidents
 * that were asked for. */

/* Bytes [at, at + n) of the body. */
static void body_bytes(request *q, const answer *a, uint64_t at, uint64_t n) {
    conn *c = q->c;
    if (a->fd < 0) {
        conn_send(c, a->text.p + at, (size_t)n);
        q->sent += c->dead ? 0 : n;
        return;
    }
    while (n && !c->dead) {
        long put;
#if defined(__linux__)
        off_t offset = (off_t)(a->offset + at);
        do put = (long)sendfile(c->fd, a->fd, &offset, n < SERVE_PIECE ? (size_t)n : SERVE_PIECE);
        while (put < 0 && errno == EINTR);
#else
        put = s3si_file_read(a->fd, c->block, n < sizeof c->block ? (size_t)n : sizeof c->block,
                             a->offset + at);
        if (put > 0) conn_send(c, c->block, (size_t)put);
#endif
        if (put <= 0 || c->dead) { /* the client went, or the file became shorter */
            c->dead = 1;
            return;
        }
        q->sent += (uint64_t)put;
        at += (uint64_t)put;
        n -= (uint64_t)put;
    }
}

static int body_breaks_midway(const request *q) {
    return q->fault[FAULT_CHUNKED_BAD] || q->fault[FAULT_CHUNKED_HUGE] ||
           q->fault[FAULT_CHUNKED_CUT];
}

/* The next byte behind `at` where something happens, or n. */
static uint64_t body_stop(const request *q, uint64_t at, uint64_t n) {
    static const int kinds[] = {FAULT_CUT, FAULT_RESET, FAULT_STALL};
    uint64_t stop = n;
    size_t i;
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const fault *f = q->fault[kinds[i]];
        if (f && f->a > at && f->a < stop) stop = f->a;
    }
    if (body_breaks_midway(q) && n / 2 > at && n / 2 < stop) stop = n / 2;
    return stop;
}

/* What happens at byte `at` of n. */
static void body_event(request *q, uint64_t at, uint64_t n) {
    static const char bad[] = "zz\r\n", huge[] = "1000000000000000f\r\nhuge";
    conn *c = q->c;
    const fault *stall = q->fault[FAULT_STALL];
    if (q->fault[FAULT_CUT] && q->fault[FAULT_CUT]->a == at) conn_finish(c, 0);
    if (q->fault[FAULT_RESET] && q->fault[FAULT_RESET]->a == at) conn_reset(c);
    if (stall && stall->a == at && conn_gone(c, stall->b < 0 ? -1 : (int64_t)(stall->b * 1e6)))
        c->dead = 1;
    if (at != n / 2 || !body_breaks_midway(q)) return;
    if (q->fault[FAULT_CHUNKED_BAD]) conn_send(c, bad, sizeof bad - 1);
    if (q->fault[FAULT_CHUNKED_HUGE]) conn_send(c, huge, sizeof huge - 1);
    conn_finish(c, 0);
}

/* How much is sent at once. Chunks begin with one of a single byte. */
static uint64_t body_piece(const request *q, uint64_t at) {
    if (q->fault[FAULT_DRIP]) return q->fault[FAULT_DRIP]->a ? q->fault[FAULT_DRIP]->a : 1;
    if (answer_is_chunked(q)) return at == 0 ? 1 : 50000;
    if (serve.rate > 0) {
        double piece = serve.rate / 100;
        return piece < 1024 ? 1024 : piece < SERVE_BLOCK ? (uint64_t)piece : SERVE_BLOCK;
    }
    return UINT64_MAX;
}

static void body_send_piece(request *q, const answer *a, uint64_t at, uint64_t n) {
    conn *c = q->c;
    char size[64];
    int chunked = answer_is_chunked(q), len;
    if (chunked) {
        len = snprintf(size, sizeof size, "%llx%s\r\n", (unsigned long long)n,
                       at % 2 ? ";name=value;flag" : "");
        conn_send(c, size, (size_t)len);
    }
    body_bytes(q, a, at, n);
    if (chunked) conn_send(c, "\r\n", 2);
    conn_pay(c, n);
    if (q->fault[FAULT_DRIP]) serve_sleep_us((int64_t)(q->fault[FAULT_DRIP]->b * 1000));
}

static void body_send(request *q, const answer *a) {
    conn *c = q->c;
    const fault *extra = q->fault[FAULT_EXTRA];
    uint64_t at = 0, n = answer_length(a), junk = extra ? extra->a : 0;
    for (;;) {
        uint64_t piece = body_piece(q, at), stop;
        body_event(q, at, n);
        if (c->dead || at == n) break;
        stop = body_stop(q, at, n);
        if (piece > stop - at) piece = stop - at;
        body_send_piece(q, a, at, piece);
        at += piece;
    }
    if (answer_is_chunked(q)) {
        static const char plain[] = "0\r\n\r\n", trailer[] = "0;last\r\nX-Trailer: end\r\n\r\n";
        if (q->fault[FAULT_CHUNKED]) conn_send(c, trailer, sizeof trailer - 1);
        else conn_send(c, plain, sizeof plain - 1);
    }
    memset(c->block, 'X', sizeof c->block);
    for (; junk && !c->dead; junk -= n) {
        n = junk < sizeof c->block ? junk : sizeof c->block;
        conn_send(c, c->block, (size_t)n);
    }
}

static void body_patience(const request *q) {
    struct timeval t;
    uint64_t ms = q->fault[FAULT_KILL_STALLED] ? q->fault[FAULT_KILL_STALLED]->a : 0;
    if (!ms && !q->c->impatient) return;
    q->c->impatient = ms > 0;
    t.tv_sec = (time_t)(ms / 1000);
    t.tv_usec = (suseconds_t)(ms % 1000 * 1000);
    (void)setsockopt(q->c->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

/* The whole answer. */
static void answer_send(request *q, const answer *a) {
    static const char garbage[] = "\x16\x03\x01 this is not HTTP\r\n\r\n";
    conn *c = q->c;
    s3si_buf head;
    uint64_t i, ms = q->fault[FAULT_DELAY] ? q->fault[FAULT_DELAY]->a : 0;
    int body = answer_has_body(q, a) && s3si_buf_ok(&a->text);
    serve_sleep_us(serve.latency_us + (int64_t)ms * 1000);
    q->status = a->status;
    for (i = 0; q->fault[FAULT_CONTINUE] && i < q->fault[FAULT_CONTINUE]->a; i++)
        request_continue(q);
    if (q->fault[FAULT_HEAD_GARBAGE]) {
        conn_send(c, garbage, sizeof garbage - 1);
        conn_finish(c, 0);
        return;
    }
    body_patience(q);
    s3si_buf_init(&head, &serve.mem);
    answer_head(q, a, &head);
    answer_send_head(q, &head, body && answer_length(a) && !q->faulty);
    s3si_buf_deinit(&head);
    if (body) body_send(q, a);
    if (q->fault[FAULT_CLOSE_SILENT]) conn_finish(c, 0);
}

/* >>auth
 * Verifies SigV4 as S3 does: in the Authorization header or in the query. The signature is computed
 * with the library's own pure functions from the request as it was received; when that fails, once
 * more from the path encoded anew, since clients may send a path in another encoding than they
 * sign. */
typedef struct auth {
    int presigned;
    s3si_str algorithm, credential, names, signature;
    s3si_buf text[5]; /* what the slices above point to when it was in the query */
    s3si_str access_key, day, region, service;
    char time[17];
    int64_t at;
    s3si_header headers[64];
    size_t header_count;
    s3si_sigv4 sign;
} auth;

static void auth_init(auth *u) {
    size_t i;
    memset(u, 0, sizeof *u);
    for (i = 0; i < 5; i++) s3si_buf_init(&u->text[i], &serve.mem);
}

static void auth_deinit(auth *u) {
    size_t i;
    for (i = 0; i < 5; i++) s3si_buf_deinit(&u->text[i]);
}

/* 20150830T123600Z */
static int auth_parse_time(s3si_str s, int64_t *out) {
    s3si_date d;
    char text[20];
    if (s.n != 16 || !s3si_str_copy(s, text, sizeof text) ||
        sscanf(text, "%4d%2d%2dT%2d%2d%2d", &d.year, &d.month, &d.day, &d.hour, &d.minute,
               &d.second) != 6 || text[15] != 'Z' || d.month < 1 || d.month > 12)
        return 0;
    *out = s3si_date_seconds(&d);
    return 1;
}

static int auth_parse_header(auth *u, s3si_str value) {
    s3si_str part, name;
    u->algorithm = s3si_str_cut(value, ' ', &value);
    while (value.n) {
        part = s3si_str_trim(s3si_str_cut(value, ',', &value));
        name = s3si_str_cut(part, '=', &part);
        if (s3si_str_is(name, "Credential")) u->credential = part;
        else if (s3si_str_is(name, "SignedHeaders")) u->names = part;
        else if (s3si_str_is(name, "Signature")) u->signature = part;
        else return 0;
    }
    return 1;
}

/* Fills in what the request says about its signature. 0: it is not signed; -1: it is malformed. */
static int auth_parse(auth *u, const request *q) {
    s3si_str value, rest;
    if (request_header(q, "authorization", &value)) {
        if (!auth_parse_header(u, value)) return -1;
        if (!request_header(q, "x-amz-date", &value)) return -1;
    } else if (request_raw_param(q, "X-Amz-Algorithm", &value)) {
        static const char *const names[] = {"X-Amz-Algorithm", "X-Amz-Credential",
                                            "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date"};
        size_t i;
        u->presigned = 1;
        for (i = 0; i < 5; i++)
            if (!request_param(q, names[i], &u->text[i]) || !s3si_buf_ok(&u->text[i])) return -1;
        u->algorithm = s3si_buf_str(&u->text[0]);
        u->credential = s3si_buf_str(&u->text[1]);
        u->names = s3si_buf_str(&u->text[2]);
        u->signature = s3si_buf_str(&u->text[3]);
        value = s3si_buf_str(&u->text[4]);
    } else {
        return 0;
    }
    if (!s3si_str_is(u->algorithm, "AWS4-HMAC-SHA256") || !auth_parse_time(value, &u->at))
        return -1;
    (void)s3si_str_copy(value, u->time, sizeof u->time);
    u->access_key = s3si_str_cut(u->credential, '/', &rest);
    u->day = s3si_str_cut(rest, '/', &rest);
    u->region = s3si_str_cut(rest, '/', &rest);
    u->service = s3si_str_cut(rest, '/', &rest);
    return s3si_str_is(rest, "aws4_request") && s3si_str_eq(u->day, s3si_str_make(u->time, 8)) &&
                   u->names.n && u->signature.n == 64
               ? 1
               : -1;
}

static int auth_signs(const auth *u, s3si_str name) {
    s3si_str rest = u->names;
    while (rest.n)
        if (s3si_str_ieq(s3si_str_cut(rest, ';', &rest), name)) return 1;
    return 0;
}

/* Gathers the signed headers. NULL, or what is wrong with the choice of them. */
static const char *auth_headers(auth *u, const request *q) {
    s3si_str lines = q->lines, name, value, rest = u->names;
    if (!auth_signs(u, s3si_str_of("host"))) return "The host header must be signed";
    while (s3si_head_step(&lines, &name, &value)) {
        if (!auth_signs(u, name)) {
            if (s3si_str_ieq(str_head(name, 6), s3si_str_of("x-amz-")))
                return "There were headers present in the request which were not signed";
            continue;
        }
        if (u->header_count == sizeof u->headers / sizeof u->headers[0])
            return "There are too many signed headers";
        u->headers[u->header_count].name = name;
        u->headers[u->header_count++].value = value;
    }
    while (rest.n) {
        char z[128];
        name = s3si_str_cut(rest, ';', &rest);
        if (!s3si_str_copy(name, z, sizeof z) || !request_header(q, z, &value))
            return "A signed header is missing in the request";
    }
    return NULL;
}

/* 403 with all that is needed to see where the two sides differ. */
static void auth_mismatch(const auth *u, const request *q, answer *a, s3si_str canonical,
                          s3si_str to_sign) {
    s3si_buf more;
    s3si_buf_init(&more, &serve.mem);
    xml_element(&more, "AWSAccessKeyId", u->access_key);
    xml_element(&more, "StringToSign", to_sign);
    xml_element(&more, "SignatureProvided", u->signature);
    xml_element(&more, "CanonicalRequest", canonical);
    answer_error(q, a, 403, "SignatureDoesNotMatch",
                 "The request signature we calculated does not match the signature you provided. "
                 "Check your key and signing method.",
                 s3si_buf_str(&more));
    s3si_buf_deinit(&more);
}

static int auth_signature(auth *u, const request *q, answer *a) {
    s3si_buf canonical, to_sign, path, plain;
    uint8_t key[32];
    char signature[65], again[65] = "";
    int ok;
    s3si_buf_init(&canonical, &serve.mem);
    s3si_buf_init(&to_sign, &serve.mem);
    s3si_buf_init(&path, &serve.mem);
    s3si_buf_init(&plain, &serve.mem);
    s3si_sigv4_key(&u->sign, serve.secret_key, key);
    ok = s3si_sigv4_sign(&u->sign, key, &serve.mem, signature);
    if (!ok || !s3si_str_is(u->signature, signature)) {
        s3si_percent_decode(&plain, q->path);
        s3si_percent_encode(&path, s3si_buf_str(&plain), 1);
        u->sign.path = s3si_buf_str(&path);
        ok = s3si_buf_ok(&path) && s3si_sigv4_sign(&u->sign, key, &serve.mem, again);
        u->sign.path = q->path;
        s3si_sigv4_canonical(&u->sign, &canonical);
        s3si_sigv4_string_to_sign(&u->sign, s3si_buf_str(&canonical), &to_sign);
        ok = ok && s3si_str_is(u->signature, again);
        if (!ok) auth_mismatch(u, q, a, s3si_buf_str(&canonical), s3si_buf_str(&to_sign));
    }
    s3si_mem_wipe(key, sizeof key);
    s3si_buf_deinit(&canonical);
    s3si_buf_deinit(&to_sign);
    s3si_buf_deinit(&path);
    s3si_buf_deinit(&plain);
    return ok;
}

/* The body's hash as it was signed, and whether S3 would take it. */
static int auth_payload(auth *u, request *q, answer *a) {
    s3si_str v;
    u->sign.payload_hash = s3si_str_of(S3SI_SIGV4_UNSIGNED);
    if (request_header(q, "x-amz-content-sha256", &v)) u->sign.payload_hash = v;
    else if (u->presigned) return 1;
    else return answer_fail(q, a, 400, "InvalidRequest",
                            "Missing required header for this request: x-amz-content-sha256"), 0;
    if (s3si_str_is(v, S3SI_SIGV4_UNSIGNED)) return 1;
    if (s3si_str_starts(v, "STREAMING-")) return answer_fail(q, a, 501, NULL, NULL), 0;
    if (v.n != 64)
        return answer_fail(q, a, 400, "InvalidArgument",
                           "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a SHA-256 in hex"), 0;
    return s3si_str_copy(v, q->payload, sizeof q->payload);
}

/* The clock: 15 minutes for signed requests, the lifetime for presigned ones. */
static int auth_clock(const auth *u, const request *q, answer *a) {
    s3si_str v;
    uint64_t expires;
    int64_t off = q->now - u->at;
    if (!u->presigned) {
        char text[17];
        s3si_buf more;
        if (off <= SERVE_SKEW_MAX && off >= -SERVE_SKEW_MAX) return 1;
        s3si_date_amz(q->now, text);
        s3si_buf_init(&more, &serve.mem);
        xml_element(&more, "RequestTime", s3si_str_of(u->time));
        xml_element(&more, "ServerTime", s3si_str_of(text));
        answer_error(q, a, 403, "RequestTimeTooSkewed",
                     "The difference between the request time and the current time is too large.",
                     s3si_buf_str(&more));
        s3si_buf_deinit(&more);
        return 0;
    }
    if (!request_raw_param(q, "X-Amz-Expires", &v) || !s3si_str_u64(v, &expires) || !expires ||
        expires > 604800)
        return answer_fail(q, a, 400, "AuthorizationQueryParametersError",
                           "X-Amz-Expires must be between 1 and 604800 seconds"), 0;
    if (off < -SERVE_SKEW_MAX) return answer_fail(q, a, 403, NULL, "Request is not valid yet"), 0;
    if (off > (int64_t)expires) return answer_fail(q, a, 403, NULL, "Request has expired"), 0;
    return 1;
}

/* The region, which is another one while wrong-region befalls. */
static int auth_region(const auth *u, const request *q, answer *a) {
    const fault *f = q->fault[FAULT_WRONG_REGION];
    const char *region = f ? f->text : serve.region;
    int status = f && f->b > 0 ? (int)f->b : f ? 301 : 400;
    s3si_buf more;
    if (s3si_str_is(u->region, region) || (!f && !serve.access_key)) return 1;
    s3si_buf_init(&more, &serve.mem);
    if (status == 400) {
        xml_element(&more, "Region", s3si_str_of(region));
        answer_error(q, a, status, "AuthorizationHeaderMalformed",
                     "The authorization header is malformed; the region is wrong",
                     s3si_buf_str(&more));
    } else {
        xml_element(&more, "Endpoint", q->host);
        xml_element(&more, "Bucket", s3si_buf_str(&q->bucket));
        answer_error(q, a, status, status == 307 ? "TemporaryRedirect" : "PermanentRedirect",
                     "The bucket you are attempting to access must be addressed using the "
                     "specified endpoint.", s3si_buf_str(&more));
        answer_header(a, "x-amz-bucket-region", s3si_str_of(region));
    }
    s3si_buf_deinit(&more);
    return 0;
}

static int auth_verify(auth *u, request *q, answer *a) {
    const char *wrong = auth_headers(u, q);
    if (wrong) return answer_fail(q, a, 403, NULL, wrong), 0;
    if (!s3si_str_is(u->access_key, serve.access_key))
        return answer_fail(q, a, 403, "InvalidAccessKeyId",
                           "The AWS Access Key Id you provided does not exist in our records."), 0;
    if (!s3si_str_is(u->service, "s3"))
        return answer_fail(q, a, 400, "AuthorizationHeaderMalformed", "The service must be s3"), 0;
    u->sign.method = q->method;
    u->sign.path = q->path;
    u->sign.query = q->query;
    u->sign.headers = u->headers;
    u->sign.header_count = u->header_count;
    u->sign.region = u->region;
    u->sign.service = u->service;
    u->sign.time = u->time;
    return auth_payload(u, q, a) && auth_signature(u, q, a);
}

/* 1 when the request may go on; else the answer says why not. */
static int auth_check(request *q, answer *a) {
    auth u;
    int there, ok;
    if (!serve.access_key && !q->fault[FAULT_WRONG_REGION] && !q->fault[FAULT_SKEW]) return 1;
    auth_init(&u);
    there = auth_parse(&u, q);
    if (there < 0) {
        answer_fail(q, a, 400, "AuthorizationHeaderMalformed", "The authorization is malformed");
        ok = 0;
    } else if (there == 0 && serve.access_key) {
        answer_fail(q, a, 403, NULL, NULL);
        ok = 0;
    } else {
        ok = (!there || auth_clock(&u, q, a)) && auth_region(&u, q, a) &&
             (!serve.access_key || auth_verify(&u, q, a));
    }
    auth_deinit(&u);
    return ok;
}

/* >>object
 * GET, HEAD, PUT and DELETE of one object. */
typedef struct object {
    int fd;
    s3si_file_info info;
    s3si_buf path, head; /* head: header lines remembered from its PUT */
    char etag[64];       /* with its quotes; "" for none */
} object;

static void object_init(object *o) {
    memset(o, 0, sizeof *o);
    o->fd = -1;
    s3si_buf_init(&o->path, &serve.mem);
    s3si_buf_init(&o->head, &serve.mem);
}

static void object_deinit(object *o) {
    s3si_file_close(o->fd);
    s3si_buf_deinit(&o->path);
    s3si_buf_deinit(&o->head);
}

static void object_md5_text(s3si_md5 *md5, char out[33]) {
    uint8_t digest[16];
    s3si_md5_final(md5, digest);
    s3si_hex_encode(digest, sizeof digest, out);
}

/* The MD5 of the file's bytes. */
static int object_md5(int fd, char out[33]) {
    s3si_md5 md5;
    char *block = (char *)s3si_mem_alloc(&serve.mem, SERVE_BLOCK);
    uint64_t at = 0;
    long got = -1;
    s3si_md5_init(&md5);
    while (block && (got = s3si_file_read(fd, block, SERVE_BLOCK, at)) > 0) {
        s3si_md5_update(&md5, block, (size_t)got);
        at += (uint64_t)got;
    }
    s3si_mem_free(&serve.mem, block);
    object_md5_text(&md5, out);
    return got == 0;
}

/* The ETag, without quotes: the MD5 of what was put here, of the content, or of the file's facts.
 * */
static void object_etag(object *o, s3si_str name, uint64_t salt, char *out) {
    s3si_md5 md5;
    char facts[128];
    if (!memory_get(name, &o->info, out, &o->head) || serve.etag == ETAG_WEAK) {
        if (serve.etag == ETAG_CONTENT && object_md5(o->fd, out)) {
            memory_set(name, &o->info, out, s3si_str_of(""));
        } else {
            (void)snprintf(facts, sizeof facts, "%llu %llu %lld %lld",
                           (unsigned long long)o->info.inode, (unsigned long long)o->info.size,
                           (long long)o->info.mtime, (long long)o->info.mtime_ns);
            s3si_md5_init(&md5);
            s3si_md5_update(&md5, facts, strlen(facts));
            object_md5_text(&md5, out);
        }
    }
    if (!salt) return;
    (void)snprintf(facts, sizeof facts, "%s %llu", out, (unsigned long long)salt);
    s3si_md5_init(&md5);
    s3si_md5_update(&md5, facts, strlen(facts));
    object_md5_text(&md5, out);
}

static int object_open(object *o, s3si_str bucket, s3si_str key, const request *q) {
    char md5[33];
    s3si_buf name;
    int weak = serve.etag == ETAG_WEAK || q->fault[FAULT_ETAG_WEAK];
    o->fd = store_open(bucket, key, &o->info, &o->path);
    if (o->fd < 0) return 0;
    s3si_buf_init(&name, &serve.mem);
    memory_name(&name, bucket, key);
    object_etag(o, s3si_buf_str(&name), q->etag_salt, md5);
    s3si_buf_deinit(&name);
    if (serve.etag != ETAG_NONE && !q->fault[FAULT_ETAG_MISSING])
        (void)snprintf(o->etag, sizeof o->etag, "%s\"%s\"", weak ? "W/" : "", md5);
    return 1;
}

/* Whether a list of ETags has this one; a weak one only where that is allowed. */
static int object_etag_in(const object *o, s3si_str list, int weak_ok) {
    s3si_str etag = s3si_str_of(o->etag), item;
    int weak = s3si_str_starts(etag, "W/");
    if (s3si_str_is(s3si_str_trim(list), "*")) return 1;
    if (!etag.n || (weak && !weak_ok)) return 0;
    if (weak) etag = s3si_str_from(etag, 2);
    while (list.n) {
        item = s3si_str_trim(s3si_str_cut(list, ',', &list));
        if (weak_ok && s3si_str_starts(item, "W/")) item = s3si_str_from(item, 2);
        if (s3si_str_eq(item, etag)) return 1;
        if (s3si_str_eq(item, s3si_str_make(etag.p + 1, etag.n - 2))) return 1; /* unquoted */
    }
    return 0;
}

/* RFC 9110 section 13.2.2: 0 to go on, or 304 or 412. */
static int object_conditions(const object *o, const request *q) {
    s3si_str v;
    int64_t t;
    if (request_header(q, "if-match", &v)) {
        int ignored = q->fault[FAULT_IGNORE_IF_MATCH] || q->fault[FAULT_ETAG_CHANGE];
        if (!ignored && !object_etag_in(o, v, 0)) return 412;
    } else if (request_header(q, "if-unmodified-since", &v)) {
        if (s3si_date_parse_http(v, &t) && o->info.mtime > t) return 412;
    }
    if (request_header(q, "if-none-match", &v)) return object_etag_in(o, v, 1) ? 304 : 0;
    if (!request_header(q, "if-modified-since", &v) || !s3si_date_parse_http(v, &t)) return 0;
    return o->info.mtime <= t ? 304 : 0;
}

/* bytes=A-B, A-, -N: 1 with [*first, *end), 0 when it is to be ignored, -1 when it is not
 * satisfiable. */
static int object_range(const request *q, const object *o, uint64_t *first, uint64_t *end) {
    s3si_str last, spec = s3si_str_from(q->range, 6), v;
    uint64_t size = o->info.size, n;
    *first = 0;
    *end = size;
    if (!q->has_range || s3si_str_find(spec, ',') < spec.n) return 0;
    if (request_header(q, "if-range", &v) && !s3si_str_is(v, o->etag)) return 0;
    spec = s3si_str_cut(spec, '-', &last);
    if (!spec.n) {
        if (!s3si_str_u64(last, &n)) return 0;
        if (!n || !size) return -1;
        *first = n < size ? size - n : 0;
        return 1;
    }
    if (!s3si_str_u64(spec, first)) return 0;
    if (last.n) {
        if (!s3si_str_u64(last, &n) || n < *first) return 0;
        if (n < size) *end = n + 1;
    }
    return *first < size ? 1 : -1;
}

static void object_unsatisfiable(const request *q, const object *o, answer *a) {
    s3si_buf more;
    s3si_buf_init(&more, &serve.mem);
    xml_element(&more, "RangeRequested", q->range);
    buf_addf(&more, "<ActualObjectSize>%llu</ActualObjectSize>", (unsigned long long)o->info.size);
    answer_error(q, a, 416, NULL, NULL, s3si_buf_str(&more));
    buf_addf(&a->head, "Content-Range: bytes */%llu\r\n", (unsigned long long)o->info.size);
    s3si_buf_deinit(&more);
}

/* Content-Range for [first, end), or what wrong-range makes of both. */
static void object_content_range(const request *q, const object *o, answer *a, uint64_t *first,
                                 uint64_t *end) {
    const fault *f = q->fault[FAULT_WRONG_RANGE];
    uint64_t total = o->info.size + q->total_salt, size = o->info.size, n = *end - *first;
    int kind = f ? f->word : -1;
    if (kind == 0) { /* shift */
        if (*end < size) ++*first, ++*end;
        else if (*first) --*first, --*end;
    } else if (kind == 1) { /* short */
        *end = *first + (n + 1) / 2;
    } else if (kind == 2) { /* long: at the back, else at the front */
        if (*end < size) *end = size - *end > 10 ? *end + 10 : size;
        else *first = *first > 10 ? *first - 10 : 0;
    } else if (kind == 3) { /* total */
        total += 1000;
    } else if (kind == 4) { /* missing */
        return;
    } else if (kind == 5) { /* garbage */
        answer_header(a, "Content-Range", s3si_str_of("bytes of some kind/many"));
        return;
    }
    buf_addf(&a->head, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)*first,
             (unsigned long long)*end - 1, (unsigned long long)total);
}

static void object_headers(const object *o, answer *a) {
    char date[32];
    s3si_date_format_http(o->info.mtime, date);
    if (o->etag[0]) answer_header(a, "ETag", s3si_str_of(o->etag));
    answer_header(a, "Last-Modified", s3si_str_of(date));
    answer_header(a, "Accept-Ranges", s3si_str_of("bytes"));
}

static void object_missing(const request *q, answer *a) {
    s3si_buf more;
    s3si_buf_init(&more, &serve.mem);
    xml_element(&more, "Key", s3si_buf_str(&q->key));
    answer_error(q, a, 404, "NoSuchKey", NULL, s3si_buf_str(&more));
    s3si_buf_deinit(&more);
}

static void object_answer(request *q, object *o, answer *a) {
    uint64_t first, end;
    int condition = object_conditions(o, q), range = object_range(q, o, &first, &end);
    if (condition == 304) {
        answer_set(a, 304);
        object_headers(o, a);
        return;
    }
    if (condition) {
        answer_fail(q, a, condition, NULL, NULL);
        return;
    }
    if (q->fault[FAULT_IGNORE_RANGE]) range = 0, first = 0, end = o->info.size;
    if (range < 0) {
        object_unsatisfiable(q, o, a);
        return;
    }
    answer_set(a, range ? 206 : 200);
    object_headers(o, a);
    s3si_buf_add(&a->head, s3si_buf_str(&o->head));
    if (s3si_str_find(s3si_buf_str(&o->head), ':') == o->head.n)
        answer_header(a, "Content-Type", s3si_str_of("binary/octet-stream"));
    if (range) {
        object_content_range(q, o, a, &first, &end);
        q->sent_range = 1;
        q->range_first = first;
        q->range_last = end - 1;
    }
    a->offset = first;
    a->n = end - first + (!range && request_is_head(q) ? q->total_salt : 0);
    a->fd = o->fd;
    o->fd = -1;
}

static void object_get(request *q, answer *a) {
    object o;
    object_init(&o);
    if (!object_open(&o, s3si_buf_str(&q->bucket), s3si_buf_str(&q->key), q)) object_missing(q, a);
    else object_answer(q, &o, a);
    object_deinit(&o);
}

/* ---- PUT */

/* Receives the body into a file, with its digests. 0 when it broke off or the disk did. */
static int object_receive(request *q, int fd, s3si_md5 *md5, char sha256[65]) {
    s3si_sha256 sha;
    s3si_str data;
    uint8_t digest[32];
    s3si_sha256_init(&sha);
    s3si_md5_init(md5);
    while (request_body(q, &data)) {
        if (q->payload[0]) s3si_sha256_update(&sha, data.p, data.n);
        s3si_md5_update(md5, data.p, data.n);
        while (data.n) {
            ssize_t put = write(fd, data.p, data.n);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) return 0;
            data = s3si_str_from(data, (size_t)put);
        }
    }
    s3si_sha256_final(&sha, digest);
    s3si_hex_encode(digest, sizeof digest, sha256);
    return !q->body_bad;
}

/* Compares the digests with what the request promised. */
static int object_digests(const request *q, answer *a, const s3si_md5 *md5, const char *sha256) {
    s3si_md5 copy = *md5;
    s3si_buf text;
    s3si_str v;
    uint8_t digest[16];
    int same;
    if (q->payload[0] && strcmp(q->payload, sha256) != 0)
        return answer_fail(q, a, 400, "XAmzContentSHA256Mismatch",
                           "The provided 'x-amz-content-sha256' header does not match what was "
                           "computed."), 0;
    if (!request_header(q, "content-md5", &v)) return 1;
    s3si_md5_final(&copy, digest);
    s3si_buf_init(&text, &serve.mem);
    s3si_base64_encode(&text, digest, sizeof digest);
    same = s3si_str_eq(s3si_buf_str(&text), v);
    s3si_buf_deinit(&text);
    if (!same)
        answer_fail(q, a, 400, "BadDigest",
                    "The Content-MD5 you specified did not match what we received.");
    return same;
}

/* If-None-Match: * and If-Match of a PUT, under serve.names: what is there must still be there. */
static int object_put_condition(const request *q, answer *a) {
    s3si_str none, match;
    object o;
    int wants_none = request_header(q, "if-none-match", &none), there, ok = 0;
    int wants_match = request_header(q, "if-match", &match);
    if (!wants_none && !wants_match) return 1;
    object_init(&o);
    there = object_open(&o, s3si_buf_str(&q->bucket), s3si_buf_str(&q->key), q);
    if (wants_match && !there) object_missing(q, a);
    else if (wants_match && !object_etag_in(&o, match, 0)) answer_fail(q, a, 412, NULL, NULL);
    else if (wants_none && there && object_etag_in(&o, none, 1)) answer_fail(q, a, 412, NULL, NULL);
    else ok = 1;
    object_deinit(&o);
    return ok;
}

/* The header lines of a PUT that come back with GET. */
static void object_keep_headers(const request *q, s3si_buf *out) {
    static const char *const kept[] = {"content-type", "content-encoding", "content-language",
                                       "content-disposition", "cache-control"};
    s3si_str lines = q->lines, name, value;
    size_t i;
    while (s3si_head_step(&lines, &name, &value)) {
        int keep = name.n > 11 && s3si_str_ieq(str_head(name, 11), s3si_str_of("x-amz-meta-"));
        for (i = 0; i < sizeof kept / sizeof kept[0]; i++)
            keep = keep || s3si_str_ieq(name, s3si_str_of(kept[i]));
        if (keep) s3si_http_add_header(out, name, value);
    }
}

/* The received file becomes the object. */
static void object_commit(request *q, answer *a, int fd, s3si_str temp, const char *md5) {
    s3si_buf path, name, head;
    struct stat st;
    int ok;
    s3si_buf_init(&path, &serve.mem);
    s3si_buf_init(&name, &serve.mem);
    s3si_buf_init(&head, &serve.mem);
    s3si_mutex_lock(&serve.names);
    ok = object_put_condition(q, a);
    if (ok && !store_rename_locked(temp, s3si_buf_str(&q->bucket), s3si_buf_str(&q->key), &path)) {
        answer_fail(q, a, 500, NULL, strerror(errno));
        ok = 0;
    }
    if (ok && fstat(fd, &st) == 0) {
        s3si_file_info info;
        s3si_file_facts(&st, &info);
        memory_name(&name, s3si_buf_str(&q->bucket), s3si_buf_str(&q->key));
        object_keep_headers(q, &head);
        memory_set(s3si_buf_str(&name), &info, md5, s3si_buf_str(&head));
    }
    s3si_mutex_unlock(&serve.names);
    if (ok) {
        answer_set(a, 200);
        if (serve.etag != ETAG_NONE) buf_addf(&a->head, "ETag: \"%s\"\r\n", md5);
    }
    s3si_buf_deinit(&path);
    s3si_buf_deinit(&name);
    s3si_buf_deinit(&head);
}

/* What can be refused before the body is read. */
static int object_put_possible(const request *q, answer *a) {
    s3si_str v;
    if (!q->framing && !request_header(q, "content-length", &v))
        return answer_fail(q, a, 411, NULL, NULL), 0;
    if (request_header(q, "x-amz-copy-source", &v)) return answer_fail(q, a, 501, NULL, NULL), 0;
    if (q->key.n > SERVE_KEY_MAX)
        return answer_fail(q, a, 400, "KeyTooLongError", "Your key is too long"), 0;
    return object_put_condition(q, a);
}

static void object_put(request *q, answer *a) {
    s3si_buf temp;
    s3si_md5 md5;
    char sha256[65], text[33];
    int fd;
    if (!object_put_possible(q, a)) return;
    s3si_buf_init(&temp, &serve.mem);
    fd = store_temp(s3si_buf_str(&q->bucket), &temp);
    if (fd < 0) {
        answer_fail(q, a, 500, NULL, strerror(errno));
    } else if (!object_receive(q, fd, &md5, sha256)) {
        answer_fail(q, a, 400, "IncompleteBody",
                    "You did not provide the number of bytes specified by the Content-Length HTTP "
                    "header");
    } else if (object_digests(q, a, &md5, sha256)) {
        object_md5_text(&md5, text);
        object_commit(q, a, fd, s3si_buf_str(&temp), text);
    }
    if (fd >= 0 && a->status != 200) (void)unlink(temp.p);
    s3si_file_close(fd);
    s3si_buf_deinit(&temp);
}

static void object_delete(const request *q, answer *a) {
    s3si_buf name;
    s3si_buf_init(&name, &serve.mem);
    memory_name(&name, s3si_buf_str(&q->bucket), s3si_buf_str(&q->key));
    memory_drop(s3si_buf_str(&name));
    s3si_buf_deinit(&name);
    store_remove(s3si_buf_str(&q->bucket), s3si_buf_str(&q->key));
    answer_set(a, 204);
}

/* >>listing
 * ListObjectsV2 (and the first version, whose marker is start-after), ListBuckets. A page is made
 * from all keys with the prefix, sorted: simple, and fast enough for tests. A token is 'k' or 'p'
 * (of a key, of a common prefix) and the last name of the page in hex. */
typedef struct listing {
    s3si_buf prefix, delimiter, after, token, encoding; /* parameters, decoded */
    uint64_t max;
    int v2, url, after_prefix;  /* after_prefix: `after` is a common prefix that was listed */
    s3si_buf entries, last;
    int last_is_prefix, truncated;
    uint64_t count;
} listing;

static void listing_name(const listing *l, s3si_buf *out, const char *element, s3si_str name) {
    s3si_buf text;
    s3si_buf_init(&text, &serve.mem);
    if (l->url) s3si_percent_encode(&text, name, 1);
    else s3si_buf_add(&text, name);
    xml_element(out, element, s3si_buf_str(&text));
    s3si_buf_deinit(&text);
}

static void listing_time(int64_t t, s3si_buf *out) {
    s3si_date d = s3si_date_of(t);
    buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.000Z", d.year, d.month, d.day, d.hour, d.minute,
             d.second);
}

static void listing_entry(listing *l, const request *q, s3si_str key) {
    s3si_buf *out = &l->entries;
    object o;
    object_init(&o);
    if (object_open(&o, s3si_buf_str(&q->bucket), key, q)) {
        s3si_buf_addz(out, "<Contents>");
        listing_name(l, out, "Key", key);
        s3si_buf_addz(out, "<LastModified>");
        listing_time(o.info.mtime, out);
        s3si_buf_addz(out, "</LastModified>");
        if (o.etag[0]) xml_element(out, "ETag", s3si_str_of(o.etag));
        buf_addf(out, "<Size>%llu</Size><StorageClass>STANDARD</StorageClass></Contents>",
                 (unsigned long long)o.info.size);
    }
    object_deinit(&o);
}

/* The common prefix that a key falls under; empty when there is none. */
static s3si_str listing_common(const listing *l, s3si_str key) {
    size_t i, n = l->delimiter.n;
    for (i = l->prefix.n; n && i + n <= key.n; i++)
        if (memcmp(key.p + i, l->delimiter.p, n) == 0) return str_head(key, i + n);
    return s3si_str_of("");
}

/* One key after the other; 0 when the page is full. */
static int listing_step(listing *l, const request *q, s3si_str key) {
    s3si_str after = s3si_buf_str(&l->after), common = listing_common(l, key);
    s3si_str name = common.n ? common : key;
    if (after.n && s3si_sigv4_order(key, after) <= 0) return 1;
    if (l->after_prefix && s3si_str_eq(common, after)) return 1;
    if (common.n && l->last_is_prefix && s3si_str_eq(s3si_buf_str(&l->last), common)) return 1;
    if (l->count == l->max) {
        l->truncated = l->max > 0;
        return 0;
    }
    l->count++;
    s3si_buf_clear(&l->last);
    s3si_buf_add(&l->last, name);
    l->last_is_prefix = common.n > 0;
    if (common.n) {
        s3si_buf_addz(&l->entries, "<CommonPrefixes>");
        listing_name(l, &l->entries, "Prefix", common);
        s3si_buf_addz(&l->entries, "</CommonPrefixes>");
    } else {
        listing_entry(l, q, key);
    }
    return 1;
}

static int listing_parse_token(listing *l) {
    s3si_str t = s3si_buf_str(&l->token);
    size_t i;
    if (!t.n) return 1;
    if (t.n % 2 == 0 || (t.p[0] != 'k' && t.p[0] != 'p')) return 0;
    l->after_prefix = t.p[0] == 'p';
    s3si_buf_clear(&l->after);
    for (i = 1; i < t.n; i += 2) {
        int hi = s3si_hex_digit(t.p[i]), lo = s3si_hex_digit(t.p[i + 1]);
        if (hi < 0 || lo < 0) return 0;
        s3si_buf_addc(&l->after, (char)(hi << 4 | lo));
    }
    return 1;
}

static int listing_parse(listing *l, const request *q, answer *a) {
    s3si_str v, after, end;
    s3si_buf *const texts[] = {&l->prefix, &l->delimiter, &l->after, &l->token, &l->encoding,
                               &l->entries, &l->last};
    size_t i;
    memset(l, 0, sizeof *l);
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) s3si_buf_init(texts[i], &serve.mem);
    l->v2 = request_raw_param(q, "list-type", &v);
    (void)request_param(q, "prefix", &l->prefix);
    (void)request_param(q, "delimiter", &l->delimiter);
    (void)request_param(q, l->v2 ? "start-after" : "marker", &l->after);
    if (l->v2) (void)request_param(q, "continuation-token", &l->token);
    l->url = request_param(q, "encoding-type", &l->encoding) &&
             s3si_str_is(s3si_buf_str(&l->encoding), "url");
    l->max = 1000;
    if (request_raw_param(q, "max-keys", &v) && !s3si_str_u64(v, &l->max))
        return answer_fail(q, a, 400, "InvalidArgument", "max-keys must be a number"), 0;
    if (l->max > 1000) l->max = 1000;
    after = s3si_buf_str(&l->after);
    end = s3si_str_from(after, after.n > l->delimiter.n ? after.n - l->delimiter.n : 0);
    /* A first-version marker that ends with the delimiter is a common prefix that was listed. */
    l->after_prefix = !l->v2 && end.n && s3si_str_eq(end, s3si_buf_str(&l->delimiter));
    if (!listing_parse_token(l))
        return answer_fail(q, a, 400, "InvalidArgument",
                           "The continuation token provided is incorrect"), 0;
    return 1;
}

static void listing_deinit(listing *l) {
    s3si_buf_deinit(&l->prefix);
    s3si_buf_deinit(&l->delimiter);
    s3si_buf_deinit(&l->after);
    s3si_buf_deinit(&l->token);
    s3si_buf_deinit(&l->encoding);
    s3si_buf_deinit(&l->entries);
    s3si_buf_deinit(&l->last);
}

/* How the listing goes on, if it does, and the two ways in which it may not end. */
static void listing_next(const listing *l, const request *q, s3si_buf *out) {
    size_t i;
    if (q->fault[FAULT_LIST_NO_TOKEN]) return;
    if (!l->v2) {
        if (l->truncated) listing_name(l, out, "NextMarker", s3si_buf_str(&l->last));
        return;
    }
    if (l->token.n) xml_element(out, "ContinuationToken", s3si_buf_str(&l->token));
    if (q->fault[FAULT_LIST_SAME_TOKEN]) {
        xml_element(out, "NextContinuationToken",
                    l->token.n ? s3si_buf_str(&l->token) : s3si_str_of("k"));
    } else if (l->truncated) {
        buf_addf(out, "<NextContinuationToken>%c", l->last_is_prefix ? 'p' : 'k');
        for (i = 0; i < l->last.n; i++) buf_addf(out, "%02x", (unsigned char)l->last.p[i]);
        s3si_buf_addz(out, "</NextContinuationToken>");
    }
}

static void listing_answer(const listing *l, const request *q, answer *a) {
    s3si_buf *out = &a->text;
    int truncated = l->truncated || q->fault[FAULT_LIST_NO_TOKEN] ||
                    q->fault[FAULT_LIST_SAME_TOKEN];
    answer_set(a, 200);
    answer_header(a, "Content-Type", s3si_str_of("application/xml"));
    buf_addf(out, "%s<ListBucketResult" XML_NAMESPACE ">", xml_declaration);
    xml_element(out, "Name", s3si_buf_str(&q->bucket));
    listing_name(l, out, "Prefix", s3si_buf_str(&l->prefix));
    if (l->delimiter.n) listing_name(l, out, "Delimiter", s3si_buf_str(&l->delimiter));
    if (!l->token.n && l->after.n)
        listing_name(l, out, l->v2 ? "StartAfter" : "Marker", s3si_buf_str(&l->after));
    buf_addf(out, "<MaxKeys>%llu</MaxKeys>", (unsigned long long)l->max);
    if (l->url) s3si_buf_addz(out, "<EncodingType>url</EncodingType>");
    if (l->v2) buf_addf(out, "<KeyCount>%llu</KeyCount>", (unsigned long long)l->count);
    buf_addf(out, "<IsTruncated>%s</IsTruncated>", truncated ? "true" : "false");
    listing_next(l, q, out);
    s3si_buf_add(out, s3si_buf_str(&l->entries));
    s3si_buf_addz(out, "</ListBucketResult>");
    if (!s3si_buf_ok(&l->entries)) out->failed = 1;
}

static void listing_get(const request *q, answer *a) {
    listing l;
    store_keys keys;
    s3si_str *list;
    size_t i, n;
    if (listing_parse(&l, q, a)) {
        n = store_keys_collect(&keys, s3si_buf_str(&q->bucket), s3si_buf_str(&l.prefix), &list);
        for (i = 0; n != SIZE_MAX && i < n && listing_step(&l, q, list[i]); i++) continue;
        if (n == SIZE_MAX) answer_fail(q, a, 500, NULL, NULL);
        else listing_answer(&l, q, a);
        store_keys_deinit(&keys);
    }
    listing_deinit(&l);
}

static int listing_bucket_order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all buckets, NUL-ended, one after the other. */
static void listing_bucket_names(s3si_buf *names, s3si_buf *index) {
    struct dirent *e;
    DIR *d = opendir(serve.dir);
    size_t at;
    while (d && (e = readdir(d)) != NULL)
        if (store_bucket_exists(s3si_str_of(e->d_name)))
            s3si_buf_add(names, s3si_str_make(e->d_name, strlen(e->d_name) + 1));
    if (d) (void)closedir(d);
    for (at = 0; s3si_buf_ok(names) && at < names->n; at += strlen(names->p + at) + 1) {
        const char *name = names->p + at;
        s3si_buf_add(index, s3si_str_make((const char *)&name, sizeof name));
    }
}

static void listing_buckets(const request *q, answer *a) {
    s3si_buf names, index, path;
    size_t i, n;
    (void)q;
    s3si_buf_init(&names, &serve.mem);
    s3si_buf_init(&index, &serve.mem);
    s3si_buf_init(&path, &serve.mem);
    listing_bucket_names(&names, &index);
    n = index.n / sizeof(char *);
    if (n) qsort(index.p, n, sizeof(char *), listing_bucket_order);
    answer_set(a, 200);
    answer_header(a, "Content-Type", s3si_str_of("application/xml"));
    buf_addf(&a->text, "%s<ListAllMyBucketsResult" XML_NAMESPACE ">", xml_declaration);
    s3si_buf_addz(&a->text, "<Owner><ID>s3serve</ID></Owner><Buckets>");
    for (i = 0; i < n; i++) {
        struct stat st;
        const char *name;
        memcpy(&name, index.p + i * sizeof name, sizeof name);
        store_bucket_path(&path, s3si_str_of(name));
        if (!s3si_buf_ok(&path) || stat(path.p, &st) != 0) continue;
        s3si_buf_addz(&a->text, "<Bucket>");
        xml_element(&a->text, "Name", s3si_str_of(name));
        s3si_buf_addz(&a->text, "<CreationDate>");
        listing_time((int64_t)st.st_mtime, &a->text);
        s3si_buf_addz(&a->text, "</CreationDate></Bucket>");
    }
    s3si_buf_addz(&a->text, "</Buckets></ListAllMyBucketsResult>");
    s3si_buf_deinit(&names);
    s3si_buf_deinit(&index);
    s3si_buf_deinit(&path);
}

/* >>dispatch
 * From a request to its answer: the faults that befall it, what they answer by themselves, the
 * signature, the operation, the log. */

static int fault_applies(const fault *f, const request *q) {
    char on = fault_kinds[f->id].on;
    int get = request_is(q, "GET") || request_is_head(q);
    s3si_str v;
    if (on == 'o') return get && q->key.n;
    if (on == 'r') return get && q->key.n && q->has_range;
    if (on == 'p') return request_is(q, "PUT") && q->key.n;
    if (on == 'b') return q->framing != BODY_NONE;
    if (on == 'l') return get && q->bucket.n && !q->key.n && !request_raw_param(q, "location", &v);
    return on == '*';
}

static int fault_contains(s3si_str text, const char *part) {
    size_t i, n = strlen(part);
    for (i = 0; i + n <= text.n; i++)
        if (memcmp(text.p + i, part, n) == 0) return 1;
    return 0;
}

static int fault_matches(const fault *f, const request *q) {
    uint64_t from = 0;
    s3si_str first, rest;
    if (!fault_applies(f, q)) return 0;
    if (f->method[0] && !request_is(q, f->method)) return 0;
    if (f->key[0] && !fault_contains(s3si_buf_str(&q->key), f->key)) return 0;
    if (f->range && !q->has_range) return 0;
    if (!f->from) return 1;
    first = s3si_str_cut(s3si_str_from(q->range, 6), '-', &rest);
    if (q->has_range && !s3si_str_u64(first, &from)) return 0;
    return from >= f->from_first && from <= f->from_last;
}

/* Counts the request, and settles which faults befall it. What once has changed stays so. */
static void request_faults(request *q) {
    size_t i;
    s3si_mutex_lock(&serve.lock);
    q->id = ++serve.shared.requests;
    for (i = 0; i < serve.fault_count; i++) {
        fault *f = &serve.faults[i];
        int lasting = f->id == FAULT_ETAG_CHANGE || f->id == FAULT_ETAG_CHANGE_412 ||
                      f->id == FAULT_TOTAL_CHANGE;
        if (q->http_bad || !fault_matches(f, q)) continue;
        if (!fault_due_locked(f) && !(lasting && f->fired)) continue;
        if (!q->fault[f->id]) q->fault[f->id] = f;
        if (f->id == FAULT_TOTAL_CHANGE) q->total_salt += f->fired;
        else if (lasting) q->etag_salt += f->fired;
        q->faulty = 1;
    }
    s3si_mutex_unlock(&serve.lock);
    if (q->fault[FAULT_SKEW])
        q->now += q->fault[FAULT_SKEW]->negative ? -(int64_t)q->fault[FAULT_SKEW]->a
                                                 : (int64_t)q->fault[FAULT_SKEW]->a;
}

/* The target as it was received, but for what would let others use it. */
static void request_log_target(const request *q, s3si_buf *line) {
    s3si_str rest = q->target, part, name;
    s3si_buf_add(line, q->path);
    if (q->query.n || (rest.n && rest.p[rest.n - 1] == '?')) s3si_buf_addc(line, '?');
    for (rest = q->query; rest.n;) {
        part = str_head(rest, s3si_str_find(rest, '&') + 1);
        rest = s3si_str_from(rest, part.n);
        name = str_head(part, s3si_str_find(part, '=') + 1);
        if (!s3si_str_is(name, "X-Amz-Signature=")) name = part;
        s3si_buf_add(line, name);
        if (name.n < part.n) s3si_buf_addz(line, rest.n ? "REDACTED&" : "REDACTED");
    }
    if (!q->path.n) s3si_buf_addc(line, '-');
}

static void request_log(const request *q) {
    s3si_buf line;
    uint64_t us = (uint64_t)(s3si_time_mono_us() - q->start_us);
    int i, any = 0;
    s3si_buf_init(&line, &serve.mem);
    s3si_buf_add(&line, q->method.n ? q->method : s3si_str_of("-"));
    s3si_buf_addc(&line, ' ');
    request_log_target(q, &line);
    if (q->status) buf_addf(&line, " %d ", q->status);
    else s3si_buf_addz(&line, " - ");
    if (q->sent_range) {
        buf_addf(&line, "%llu-", (unsigned long long)q->range_first);
        s3si_buf_addu(&line, q->range_last);
    } else {
        s3si_buf_add(&line, q->has_range ? s3si_str_from(q->range, 6) : s3si_str_of("-"));
    }
    buf_addf(&line, " %llu %llu %016llX ", (unsigned long long)q->sent,
             (unsigned long long)q->c->id, (unsigned long long)q->id);
    buf_addf(&line, "%llu.%06u ", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
    for (i = 0; i < FAULT_COUNT; i++)
        if (q->fault[i]) buf_addf(&line, "%s%s", any++ ? "+" : "", fault_kinds[i].name);
    if (!any) s3si_buf_addc(&line, '-');
    if (s3si_buf_ok(&line)) s3si_error_one_line(line.p);
    serve_log(&line);
    s3si_buf_deinit(&line);
    s3si_mutex_lock(&serve.lock);
    serve.shared.bytes += q->sent;
    s3si_mutex_unlock(&serve.lock);
}

/* Location of a redirect: a URL that is only scheme and authority gets the request's path and
 * query. */
static void request_redirect(const request *q, answer *a) {
    const fault *f = q->fault[FAULT_REDIRECT];
    s3si_buf url;
    s3si_str text = s3si_str_of(f->text), rest = text;
    size_t colon = s3si_str_find(text, ':');
    if (s3si_str_starts(s3si_str_from(text, colon), "://")) rest = s3si_str_from(text, colon + 3);
    s3si_buf_init(&url, &serve.mem);
    s3si_buf_add(&url, text);
    if (s3si_str_find(rest, '/') == rest.n) s3si_buf_add(&url, q->target);
    answer_fail(q, a, (int)f->a, f->a == 307 ? "TemporaryRedirect" : "PermanentRedirect", NULL);
    answer_header(a, "Location", s3si_buf_str(&url));
    s3si_buf_deinit(&url);
}

/* The faults that are an answer of their own: 1 when there was one. */
static int request_fault_answer(request *q, answer *a) {
    const fault *f;
    uint64_t i;
    if (q->fault[FAULT_REDIRECT]) {
        request_redirect(q, a);
    } else if ((f = q->fault[FAULT_STATUS]) != NULL) {
        answer_fail(q, a, (int)f->a, NULL, NULL);
        if (f->b >= 0) buf_addf(&a->head, "Retry-After: %.0f\r\n", f->b);
    } else if ((f = q->fault[FAULT_EARLY]) != NULL) {
        answer_fail(q, a, (int)f->a, NULL, NULL);
    } else if ((f = q->fault[FAULT_HTML]) != NULL) {
        answer_set(a, (int)f->a);
        answer_header(a, "Content-Type", s3si_str_of("text/html"));
        buf_addf(&a->text, "<html><head><title>%d %s</title></head><body><hr>proxy</body></html>\n",
                 a->status, answer_reason(a->status));
    } else if ((f = q->fault[FAULT_EMPTYERR]) != NULL) {
        answer_set(a, (int)f->a);
    } else if ((f = q->fault[FAULT_BIGERR]) != NULL) {
        answer_fail(q, a, (int)f->a, NULL, NULL);
        for (i = a->text.n; i < (uint64_t)f->b && s3si_buf_ok(&a->text); i++)
            s3si_buf_addc(&a->text, ' ');
    } else if (q->fault[FAULT_EXPIRED_TOKEN]) {
        answer_fail(q, a, 400, "ExpiredToken", "The provided token has expired.");
    } else {
        return 0;
    }
    return 1;
}

static void serve_stats(answer *a) {
    s3si_buf *out = &a->text;
    size_t i;
    answer_set(a, 200);
    answer_header(a, "Content-Type", s3si_str_of("application/json"));
    s3si_mutex_lock(&serve.lock);
    buf_addf(out, "{\"requests\":%llu,\"bytes\":%llu,\"connections\":%llu,\"faults\":[",
             (unsigned long long)serve.shared.requests, (unsigned long long)serve.shared.bytes,
             (unsigned long long)serve.shared.connections);
    for (i = 0; i < serve.fault_count; i++) {
        const fault *f = &serve.faults[i];
        buf_addf(out, "%s{\"spec\":", i ? "," : "");
        s3si_json_encode(out, s3si_str_of(f->spec));
        buf_addf(out, ",\"kind\":\"%s\",\"seen\":%llu,\"fired\":%llu}", fault_kinds[f->id].name,
                 (unsigned long long)f->seen, (unsigned long long)f->fired);
    }
    s3si_mutex_unlock(&serve.lock);
    s3si_buf_addz(out, "]}\n");
}

static void bucket_missing(const request *q, answer *a) {
    s3si_buf more;
    s3si_buf_init(&more, &serve.mem);
    xml_element(&more, "BucketName", s3si_buf_str(&q->bucket));
    answer_error(q, a, 404, "NoSuchBucket", "The specified bucket does not exist",
                 s3si_buf_str(&more));
    s3si_buf_deinit(&more);
}

static void bucket_create(const request *q, answer *a) {
    s3si_str name = s3si_buf_str(&q->bucket);
    s3si_buf path;
    if (!store_bucket_ok(name) || name.n < 3 || name.n > 63) {
        answer_fail(q, a, 400, "InvalidBucketName", "The specified bucket is not valid.");
        return;
    }
    s3si_buf_init(&path, &serve.mem);
    store_bucket_path(&path, name);
    if (s3si_buf_ok(&path) && mkdir(path.p, 0777) == 0) {
        answer_set(a, 200);
        answer_header(a, "Location", q->path);
    } else if (errno == EEXIST) {
        answer_fail(q, a, 409, "BucketAlreadyOwnedByYou", "You own a bucket of this name already");
    } else {
        answer_fail(q, a, 500, NULL, strerror(errno));
    }
    s3si_buf_deinit(&path);
}

/* Removes a bucket without objects, and what the server itself keeps in it. */
static void bucket_remove(const request *q, answer *a) {
    s3si_buf path;
    size_t n;
    int gone;
    s3si_buf_init(&path, &serve.mem);
    s3si_mutex_lock(&serve.names);
    store_bucket_path(&path, s3si_buf_str(&q->bucket));
    n = path.n;
    s3si_buf_addz(&path, "/" STORE_OWN);
    gone = s3si_buf_ok(&path);
    if (gone) {
        (void)rmdir(path.p);
        path.p[n] = 0;
        gone = rmdir(path.p) == 0;
    }
    s3si_mutex_unlock(&serve.names);
    s3si_buf_deinit(&path);
    if (gone) answer_set(a, 204);
    else answer_fail(q, a, 409, "BucketNotEmpty", "The bucket you tried to delete is not empty");
}

static void bucket_location(answer *a) {
    answer_set(a, 200);
    answer_header(a, "Content-Type", s3si_str_of("application/xml"));
    buf_addf(&a->text, "%s<LocationConstraint" XML_NAMESPACE ">", xml_declaration);
    if (strcmp(serve.region, "us-east-1") != 0) xml_text(&a->text, s3si_str_of(serve.region));
    s3si_buf_addz(&a->text, "</LocationConstraint>");
}

/* Parameters that ask for something else than the object or the list. */
static int request_is_beyond(const request *q) {
    static const char *const names[] = {
        "uploads",      "uploadId", "partNumber", "acl",         "tagging",   "attributes",
        "versions",     "policy",   "versionId",  "cors",        "lifecycle", "versioning",
        "notification", "website",  "encryption", "logging",     "retention", "legal-hold",
        "torrent",      "restore",  "select",     "object-lock", "delete",    "replication"};
    s3si_str v;
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++)
        if (request_raw_param(q, names[i], &v)) return 1;
    return request_is(q, "POST");
}

static void request_bucket(request *q, answer *a) {
    int get = request_is(q, "GET");
    s3si_str v;
    if (request_is(q, "PUT")) {
        bucket_create(q, a);
    } else if (!store_bucket_exists(s3si_buf_str(&q->bucket))) {
        bucket_missing(q, a);
    } else if (request_is_head(q)) {
        answer_set(a, 200);
        answer_header(a, "x-amz-bucket-region", s3si_str_of(serve.region));
    } else if (request_is(q, "DELETE")) {
        bucket_remove(q, a);
    } else if (get && request_raw_param(q, "location", &v)) {
        bucket_location(a);
    } else if (get) {
        listing_get(q, a);
    } else {
        answer_fail(q, a, 405, NULL, NULL);
    }
}

static void request_object(request *q, answer *a) {
    if (!store_bucket_exists(s3si_buf_str(&q->bucket))) bucket_missing(q, a);
    else if (request_is(q, "GET") || request_is_head(q)) object_get(q, a);
    else if (request_is(q, "PUT")) object_put(q, a);
    else if (request_is(q, "DELETE")) object_delete(q, a);
    else answer_fail(q, a, 405, NULL, NULL);
}

static void request_perform(request *q, answer *a) {
    if (!s3si_buf_ok(&q->bucket) || !s3si_buf_ok(&q->key)) answer_fail(q, a, 500, NULL, NULL);
    else if (request_is_beyond(q)) answer_fail(q, a, 501, NULL, NULL);
    else if (q->key.n) request_object(q, a);
    else if (q->bucket.n) request_bucket(q, a);
    else if (request_is(q, "GET")) listing_buckets(q, a);
    else answer_fail(q, a, 405, NULL, NULL);
}

static void request_answer(request *q, answer *a) {
    conn *c = q->c;
    if (q->http_bad) {
        q->keep_alive = 0;
        answer_fail(q, a, 400, "BadRequest", "This is not a request of HTTP/1.1");
    } else if (q->fault[FAULT_NORESPONSE]) {
        conn_finish(c, 0);
        return;
    } else if (q->fault[FAULT_NORESPONSE_RESET]) {
        conn_reset(c);
        return;
    } else if (!request_fault_answer(q, a) && auth_check(q, a)) {
        request_perform(q, a);
    }
    if (q->fault[FAULT_PUT_LOST]) conn_finish(c, 0);
    else answer_send(q, a);
}

/* What becomes of the connection behind an answer. */
static void request_after(request *q) {
    conn *c = q->c;
    const fault *idle = q->fault[FAULT_CLOSE_IDLE];
    if (!q->fault[FAULT_EARLY]) request_drain(q);
    if (q->fault[FAULT_EARLY]) conn_finish(c, 0);
    else if (!q->keep_alive) conn_finish(c, q->framing == BODY_NONE || !q->left ? 0 : 500000);
    else if (idle && !conn_readable(c, (int64_t)idle->a * 1000)) conn_finish(c, 0);
}

static int request_serve(conn *c) {
    request q;
    answer a;
    int go_on, stats;
    request_init(&q);
    answer_init(&a);
    go_on = request_read(&q, c);
    stats = go_on && s3si_str_is(q.path, "/-/stats");
    if (stats) {
        serve_stats(&a);
        answer_send(&q, &a);
        request_after(&q);
    } else if (go_on) {
        request_faults(&q);
        request_answer(&q, &a);
        request_log(&q);
        request_after(&q);
    }
    answer_deinit(&a);
    request_deinit(&q);
    return go_on && !c->dead;
}

/* ---- Connections */

static int conn_stalls(void) {
    size_t i;
    int stalls = 0;
    s3si_mutex_lock(&serve.lock);
    for (i = 0; i < serve.fault_count; i++)
        if (serve.faults[i].id == FAULT_ACCEPT_STALL) stalls |= fault_due_locked(&serve.faults[i]);
    s3si_mutex_unlock(&serve.lock);
    return stalls;
}

static void *conn_main(void *arg) {
    conn *c = (conn *)arg;
    s3si_buf line;
    s3si_buf_init(&line, &serve.mem);
    buf_addf(&line, "CONNECT - - - - %llu - - -", (unsigned long long)c->id);
    serve_log(&line);
    s3si_buf_deinit(&line);
    if (conn_stalls()) (void)conn_gone(c, -1);
    else while (request_serve(c)) continue;
    s3si_sock_close(c->fd);
    s3si_mem_free(&serve.mem, c);
    return NULL;
}

static void conn_accept(int listener) {
    int one = 1, fd = accept(listener, NULL, NULL);
    s3si_thread thread;
    conn *c;
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) serve_sleep_us(10000);
        return;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c = (conn *)s3si_mem_alloc(&serve.mem, sizeof *c);
    if (c) {
        c->fd = fd;
        c->dead = c->impatient = 0;
        c->paid_us = 0;
        c->have = c->used = 0;
        s3si_mutex_lock(&serve.lock);
        c->id = ++serve.shared.connections;
        s3si_mutex_unlock(&serve.lock);
        if (s3si_thread_start(&thread, conn_main, c, 1)) return;
    }
    s3si_mem_free(&serve.mem, c);
    s3si_sock_close(fd);
}

/* >>options
 * The command line, and main. */
#define SERVE_OPTIONS(X) \
    X(PORT, "--port", "P", "port to listen on; 0 (the default): any free one") \
    X(BIND, "--bind", "ADDR", "address to listen on (127.0.0.1)") \
    X(ACCESS_KEY, "--access-key", "K", "verify signatures: the access key id, and") \
    X(SECRET_KEY, "--secret-key", "S", "its secret; without them, nothing is verified") \
    X(REGION, "--region", "R", "the region signed for (us-east-1)") \
    X(ETAG, "--etag", "KIND", "content (MD5), weak, none, or stat (of the file's facts, default)") \
    X(LATENCY, "--latency", "MS", "before each answer's head") \
    X(RATE, "--rate", "MB/S", "bytes of bodies per connection, in 1000000 a second") \
    X(LOG, "--log", "FILE", "one line a request; - is stderr") \
    X(SEED, "--seed", "N", "of the chances of @p0.1 (1)") \
    X(FAULT, "--fault", "SPEC", "go wrong on purpose; may be repeated") \
    X(HELP, "--help", "", "this text")

enum {
#define OPTION_X(id, name, arg, help) OPTION_##id,
    SERVE_OPTIONS(OPTION_X)
#undef OPTION_X
    OPTION_COUNT
};

static const struct {
    const char *name, *arg, *help;
} serve_options[] = {
#define OPTION_X(id, name, arg, help) {name, arg, help},
    SERVE_OPTIONS(OPTION_X)
#undef OPTION_X
};

static const char serve_warning[] = "s3serve is for development and tests, not for production";

static void serve_help(void) {
    char left[64];
    int i;
    (void)printf("usage: s3serve DIR [OPTION]...\n\n"
                 "Serves the directories of DIR as buckets, the files below them as objects.\n"
                 "%s.\n\n",
                 serve_warning);
    for (i = 0; i < OPTION_COUNT; i++) {
        (void)snprintf(left, sizeof left, "%s %s", serve_options[i].name, serve_options[i].arg);
        (void)printf("  %-20s %s\n", left, serve_options[i].help);
    }
    (void)printf(
        "\nSPEC is KIND[=ARG][@WHEN][,FILTER]...\n"
        "  WHEN    of the matching requests: * every one (default), N the n-th only, A-B a span,\n"
        "          A- all from then on, %%M every m-th, p0.1 each with this probability\n"
        "  FILTER  method=GET, key=SUBSTRING, range (there is one), from=BYTE or from=A-B (where\n"
        "          it begins; without a range at 0)\n"
        "Numbers may end with K, M, G or T (1024). Only requests that a fault can befall count\n"
        "for it. GET /-/stats tells what happened.\n\n");
    for (i = 0; i < FAULT_COUNT; i++) {
        const fault_kind *k = &fault_kinds[i];
        (void)snprintf(left, sizeof left, "%s%s%s", k->name, *k->arg ? "=" : "", k->arg);
        if (strlen(left) > 30) (void)printf("  %s\n  %-30s %s\n", left, "", k->help);
        else (void)printf("  %-30s %s\n", left, k->help);
    }
}

static int serve_usage(const char *what, const char *why) {
    (void)fprintf(stderr, "s3serve: %s: %s (s3serve --help)\n", what, why);
    return 2;
}

static const char *serve_add_fault(const char *spec) {
    const char *why = "too many faults";
    if (serve.fault_count == SERVE_FAULTS_MAX) return why;
    if (!fault_parse(spec, &serve.faults[serve.fault_count], &why)) return why;
    serve.fault_count++;
    return NULL;
}

/* NULL, or what is wrong with the value. */
static const char *serve_option(int id, const char *value) {
    s3si_str v = s3si_str_of(value);
    uint64_t n = 0;
    double d = 0;
    int etag;
    switch (id) {
    case OPTION_PORT:
        serve.port = value;
        return s3si_str_u64(v, &n) && n < 65536 ? NULL : "a port is a number below 65536";
    case OPTION_BIND: serve.bind = value; return NULL;
    case OPTION_ACCESS_KEY: serve.access_key = value; return NULL;
    case OPTION_SECRET_KEY: serve.secret_key = value; return NULL;
    case OPTION_REGION: serve.region = value; return NULL;
    case OPTION_LOG: serve.log = value; return NULL;
    case OPTION_FAULT: return serve_add_fault(value);
    case OPTION_SEED: return s3si_str_u64(v, &serve.seed) ? NULL : "a seed is a number";
    case OPTION_LATENCY:
        if (!fault_decimal(v, &d)) return "a latency is a number of milliseconds";
        serve.latency_us = (int64_t)(d * 1000);
        return NULL;
    case OPTION_RATE:
        if (!fault_decimal(v, &d) || d <= 0) return "a rate is a number of MB/s above 0";
        serve.rate = d * 1e6;
        return NULL;
    default:
        etag = fault_choice(s3si_str_of("stat|content|weak|none"), v);
        if (etag < 0) return "use content, weak, none or stat";
        serve.etag = etag;
        return NULL;
    }
}

/* -1, or the status to exit with. */
static int serve_parse(int argc, char **argv) {
    int i, id;
    for (i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = NULL, *why;
        size_t n = strcspn(arg, "=");
        if (arg[0] != '-') {
            if (serve.dir) return serve_usage(arg, "there is one DIR");
            serve.dir = arg;
            continue;
        }
        for (id = 0; id < OPTION_COUNT; id++)
            if (s3si_str_is(s3si_str_make(arg, n), serve_options[id].name)) break;
        if (id == OPTION_HELP || strcmp(arg, "-h") == 0) return serve_help(), 0;
        if (id == OPTION_COUNT) return serve_usage(arg, "there is no such option");
        value = arg[n] ? arg + n + 1 : i + 1 < argc ? argv[++i] : NULL;
        why = value ? serve_option(id, value) : "it takes a value";
        if (why) return serve_usage(value ? value : arg, why);
    }
    if (!serve.dir) return serve_usage("DIR", "is missing");
    if (!serve.access_key != !serve.secret_key)
        return serve_usage("--access-key", "goes with --secret-key");
    return -1;
}

/* A listening socket, or -1 with a message. */
static int serve_listen(char *port, size_t port_size) {
    s3si_addr addr;
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    const char *why = NULL;
    int one = 1, fd = -1;
    if (s3si_sock_resolve(serve.bind, serve.port, 1, &addr, 1, &why)) {
        fd = socket(addr.family, SOCK_STREAM, 0);
        if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, (struct sockaddr *)&addr.sa, addr.len) != 0 ||
            listen(fd, 1024) != 0 || !s3si_sock_prepare(fd) ||
            getsockname(fd, (struct sockaddr *)&own, &len) != 0 ||
            getnameinfo((struct sockaddr *)&own, len, NULL, 0, port, (socklen_t)port_size,
                        NI_NUMERICSERV) != 0)
            why = strerror(errno);
    }
    if (!why) return fd;
    (void)fprintf(stderr, "s3serve: %s:%s: %s\n", serve.bind, serve.port, why);
    s3si_sock_close(fd);
    return -1;
}

static void serve_on_signal(int sig) {
    (void)sig;
    s3si_wake_raise(serve.wake_fd);
}

static int serve_open(void) {
    struct stat st;
    if (stat(serve.dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        (void)fprintf(stderr, "s3serve: %s: not a directory\n", serve.dir);
        return 0;
    }
    serve.log_fd = -1;
    if (serve.log && strcmp(serve.log, "-") == 0) serve.log_fd = 2;
    else if (serve.log)
        serve.log_fd = open(serve.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (serve.log && serve.log_fd < 0) {
        (void)fprintf(stderr, "s3serve: %s: %s\n", serve.log, strerror(errno));
        return 0;
    }
    return s3si_mutex_init(&serve.lock) && s3si_mutex_init(&serve.names);
}

static void serve_run(int listener, s3si_wake *wake) {
    struct sigaction action;
    struct pollfd fds[2];
    memset(&action, 0, sizeof action);
    serve.wake_fd = wake->fd[1];
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    action.sa_handler = serve_on_signal;
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    fds[0].fd = listener;
    fds[1].fd = wake->fd[0];
    fds[0].events = fds[1].events = POLLIN;
    do {
        fds[0].revents = fds[1].revents = 0;
        if (poll(fds, 2, -1) > 0 && fds[0].revents) conn_accept(listener);
    } while (!fds[1].revents);
}

int main(int argc, char **argv) {
    static fault faults[SERVE_FAULTS_MAX];
    s3si_wake wake;
    char port[16];
    int status, listener;
    s3si_mem_init(&serve.mem, NULL);
    serve.faults = faults;
    serve.bind = "127.0.0.1";
    serve.port = "0";
    serve.region = "us-east-1";
    serve.seed = 1;
    status = serve_parse(argc, argv);
    if (status >= 0) return status;
    if (!serve_open() || !s3si_wake_open(&wake)) return 1;
    listener = serve_listen(port, sizeof port);
    if (listener < 0) return 1;
    (void)fprintf(stderr, "%s\n", serve_warning);
    (void)printf(strchr(serve.bind, ':') ? "listening on http://[%s]:%s\n"
                                         : "listening on http://%s:%s\n", serve.bind, port);
    (void)fflush(stdout);
    serve_run(listener, &wake);
    return 0;
}
