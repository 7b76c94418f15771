/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * s3stream.h - v0.1.0 - read, split and write big S3 objects at the speed of the wire. C99.
 *
 * Do this in ONE source file, before any other include:
 *
 *     #define S3STREAM_IMPLEMENTATION
 *     #include "s3stream.h"
 *
 * and include "s3stream.h" plainly wherever else you need it. Link with -pthread.
 * A whole program, worker 3 of 16, which counts its own lines of one big object:
 *
 *     #define S3STREAM_IMPLEMENTATION
 *     #include "s3stream.h"
 *     #include <stdio.h>
 *     int main(int argc, char **argv) {
 *         s3s_client *client = NULL; s3s_reader *reader = NULL; s3s_error err;
 *         s3s_read_options opt = {0};
 *         const void *line; size_t n; unsigned long lines = 0; s3s_result r;
 *         opt.shard_index = 3; opt.shard_count = 16;
 *         if ((r = s3s_client_create(NULL, &client, &err)) == S3S_OK &&
 *             (r = s3s_reader_open(client, argv[argc - 1], &opt, &reader, &err)) == S3S_OK)
 *             while ((r = s3s_reader_record(reader, &line, &n, &err)) == S3S_OK) lines++;
 *         if (r == S3S_END) printf("%lu lines\n", lines);
 *         else fprintf(stderr, "%s\n", err.message);
 *         s3s_reader_close(reader); s3s_client_destroy(client);
 *         return r != S3S_END;
 *     }
 *
 * The sixteen workers need not know of each other: no coordinator, no sampling, no extra request.
 * Every record is whole and is delivered by exactly one of them. How: chapter 3.
 *
 * CONTENTS (grep '>>' leads to a section)
 *
 *   the manual     1 Building   2 Using   3 Shards   4 Errors   5 How to extend
 *   the interface  everything public, documented where it is declared
 *   ground
 *     >>config     compile-time switches made 0 or 1, system headers, the limits of the wire
 *     >>error      result codes and how an s3s_error is filled
 *     >>memory     the caller's allocator, checked sizes, wiping
 *     >>text       slices, growing buffers, numbers, hex, base64, percent-encoding, dates
 *     >>platform   what every system must offer to the sections below
 *     >>posix      that, for POSIX: clocks, random, files, threads, sockets, poll, wake-up
 *     >>hash       SHA-256, HMAC-SHA-256, MD5
 *   formats (pure: no I/O, no clock)
 *     >>xml        the little XML that S3 answers with
 *     >>json       the little JSON that plans and statistics need
 *     >>uri        s3://, http(s)://, file://, endpoints, addressing
 *     >>sigv4      AWS Signature Version 4: headers and presigned queries
 *     >>http       HTTP/1.1 requests, response heads, body framing
 *     >>records    record formats, the cutter, the learned window
 *   wire
 *     >>transport  a connected byte stream: plain socket or TLS
 *     >>tls        the adapter's vtable driven over a socket
 *     >>conn       connecting, with a second address after 250 ms; one response at a time
 *     >>pool       name resolution, address rotation, idle connections of one event loop
 *   service
 *     >>exchange   one request as a step machine: send, receive, retry, resume
 *     >>creds      where the keys come from
 *     >>s3         signed requests, error documents, regions and redirects, skew
 *   engine
 *     >>source     an object as ranges: s3, http, file
 *     >>loop       event loops that drive exchanges, on threads or inside the caller
 *     >>fetch      parts in flight under a memory cap, in-order delivery, hedges
 *     >>plan       slices, boundaries found ahead, plans as JSON
 *     >>reader     what a consumer sees: bytes, pieces, records
 *     >>list       listing a prefix page by page
 *   face
 *     >>public     the interface's functions, thin, in the order of their declaration
 *
 * 1 BUILDING
 *
 * libc, POSIX threads and sockets, nothing else. The implementing file includes this header first
 * (or is compiled with -D_GNU_SOURCE or -std=gnu99), because strict C hides sockets and clocks
 * otherwise. Compile-time switches; all but S3STREAM_STATIC matter in the implementing file only:
 *
 *     S3STREAM_IMPLEMENTATION   define in one file: compiles the implementation there
 *     S3STREAM_STATIC           every function is static, for a program of one file; set it there
 *     S3STREAM_NO_THREADS       event loops run inside the caller's calls; no thread is started
 *     S3STREAM_NO_TLS           the TLS adapter interface is compiled out; https is always an error
 *     S3STREAM_NO_WRITE         no s3s_put, no s3s_delete
 *     S3STREAM_NO_CREDENTIALS   credentials from config or callback only, not from the environment
 *     S3STREAM_ASSERT(x)        replaces assert() for our own bugs; input is never checked by it
 *
 * Everything else is set at run time in s3s_config. A plain `#define S3STREAM_NO_TLS` works, as
 * does =1. A client checks at creation that the header it was compiled with is the one it is
 * linked with.
 *
 * 2 USING
 *
 * A client owns the threads, connections and credentials; make one and share it. Every fallible
 * function returns an s3s_result, writes its result through an out parameter and its details to an
 * s3s_error that the caller owns (or NULL). Zeroed options are right everywhere: `s3s_read_options
 * opt = {0};`. Strings passed in are copied. The library prints nothing, exits never, and raises
 * no signal.
 *
 * A client may be used by many threads. A reader, list or plan is used by one thread at a time,
 * except s3s_reader_cancel, which any thread may call. In a child after fork(), a client answers
 * S3S_E_FORKED.
 *
 * URIs: s3://bucket/key (the key is literal: never percent-decoded, never normalised),
 * http(s)://host/path (any web server that serves ranges, unsigned), file:///path.
 *
 * Reading is bounded: a reader holds at most `memory` bytes (64 MiB by default) however slow its
 * consumer is, and no response is held open for the consumer: a part of the object is requested
 * once there is room for all of it, and is then taken off the wire at full speed. So a server that
 * drops stalled responses never sees one.
 *
 * One version or an error: the first response's ETag and total size are sent with, and compared
 * against, all later ones. An object overwritten during a read is S3S_E_CHANGED, never a mixture.
 * Workers in separate processes see an overwrite between them only when they are given the same
 * expected_etag.
 *
 * Names ending in _ms are milliseconds, in _seconds seconds; sizes and offsets are bytes.
 *
 * 3 SHARDS
 *
 * An object of `size` bytes is cut for `n` workers at s(i) = floor(i * size / n). A record belongs
 * to the shard in whose nominal range [s(i), s(i+1)) its FIRST byte lies. For records ended by a
 * delimiter of m bytes, let a(p) be the smallest q >= p such that the m bytes before q are the
 * delimiter, a(0) = 0, and a(p) = size where there is none; for records of B bytes, a(p) =
 * min(size, ceil(p / B) * B). Shard i is exactly [a(s(i)), a(s(i+1))). Hence the shards
 * concatenated are the object, every record is whole and in one shard, a record longer than a
 * shard leaves later shards empty, and a last record without its delimiter is kept.
 *
 * A worker finds both ends inside the reads that it does anyway: its first part begins m bytes
 * early, its last part reaches a little past s(i+1). How far is the `window`: learned from the
 * lengths of the records seen so far (4 KiB at first), or 64 KiB (dynamic), or a given number.
 * When the window holds no delimiter, the next request begins where it ended and is twice as long,
 * without end. A shard in which no record begins stops at s(i+1), so an object without any
 * delimiter is not read n times.
 *
 * A byte range, when given, stands in for the object: s() divides that range, and records begin
 * and end within it. The size is needed to divide: give it, or the pair costs one HEAD request per
 * worker but the first, which learns it from its first answer.
 *
 * 4 ERRORS
 *
 * S3S_OK is 0. S3S_END ends a stream and is not an error. Every other code says what the caller
 * can do; s3s_error.message is one line that names the object, the value and the remedy, and the
 * fields beside it carry the HTTP status, the store's own code and request id. What is worth
 * retrying was retried before you see it. A reader's error is sticky: it answers the same to every
 * later call.
 *
 * 5 HOW TO EXTEND
 *
 *     a result code         S3S_RESULTS in the interface; nothing else
 *     a TLS adapter         an s3s_tls vtable; >>tls drives it and needs no change
 *     a credential source   >>creds: one function in s3si_creds_get's order
 *     an operation          >>s3 builds the request, >>public exposes it
 *     a source              >>source: an s3si_source_ops
 *     a record format       >>records: s3si_records_parse and s3si_cut_
 *     another system        a sibling of >>posix with the same function names
 */
#ifndef S3STREAM_H
#define S3STREAM_H

#if defined(S3STREAM_IMPLEMENTATION) && !defined(_GNU_SOURCE) && !defined(_WIN32)
#define _GNU_SOURCE 1 /* before the first system header: sockets, clocks and threads in strict C */
#endif

#include <stddef.h>
#include <stdint.h>

#define S3STREAM_VERSION 100 /* major * 10000 + minor * 100 + patch */
#define S3STREAM_VERSION_TEXT "0.1.0"

#if defined(S3STREAM_STATIC) && defined(__GNUC__)
#define S3SDEF __attribute__((unused)) static
#elif defined(S3STREAM_STATIC)
#define S3SDEF static
#elif defined(__cplusplus)
#define S3SDEF extern "C"
#else
#define S3SDEF extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Results --------------------------------------------------------------------------------
 * X(name, may a new attempt help, text). What is retried automatically has been retried already. */
#define S3S_RESULTS(X) \
    X(S3S_OK, 0, "done") \
    X(S3S_END, 0, "end of the stream") \
    X(S3S_E_ARGUMENT, 0, "an argument is wrong") \
    X(S3S_E_VERSION, 0, "the header compiled with is not the one linked with") \
    X(S3S_E_MEMORY, 0, "out of memory") \
    X(S3S_E_FORKED, 0, "the client was made by the parent of this process") \
    X(S3S_E_CANCELLED, 0, "cancelled") \
    X(S3S_E_UNSUPPORTED, 0, "not supported by this build") \
    X(S3S_E_CREDENTIALS, 0, "no usable credentials") \
    X(S3S_E_RESOLVE, 1, "the host name cannot be resolved") \
    X(S3S_E_NETWORK, 1, "the connection failed") \
    X(S3S_E_TIMEOUT, 1, "no progress in time") \
    X(S3S_E_TLS, 0, "the TLS handshake or stream failed") \
    X(S3S_E_PROTOCOL, 0, "the server broke the protocol") \
    X(S3S_E_THROTTLED, 1, "the server asks to slow down") \
    X(S3S_E_SERVER, 1, "the server failed") \
    X(S3S_E_ACCESS, 0, "access denied") \
    X(S3S_E_NOT_FOUND, 0, "no such object or bucket") \
    X(S3S_E_PRECONDITION, 0, "a precondition of the request does not hold") \
    X(S3S_E_CHANGED, 0, "the object changed while it was read") \
    X(S3S_E_RANGE, 0, "the range cannot be served") \
    X(S3S_E_HTTP, 0, "the server refused the request") \
    X(S3S_E_TOO_LARGE, 0, "larger than the limit given") \
    X(S3S_E_FILE, 0, "a local file failed") \
    X(S3S_E_PLAN, 0, "the plan cannot be used")

typedef enum s3s_result {
#define S3SI_X(name, retry, text) name,
    S3S_RESULTS(S3SI_X)
#undef S3SI_X
    S3S_RESULT_COUNT
} s3s_result;

/* What went wrong, in a struct the caller owns; it holds no pointers and needs no freeing. Every
 * public function that takes one clears it first and fills it when it returns an error. */
typedef struct s3s_error {
    char message[640];    /* one line: object, value, remedy; never a secret */
    s3s_result code;      /* the same as the function's result */
    int http_status;      /* 0 when there was no response */
    int os_error;         /* errno, 0 when none */
    int attempts;         /* requests sent for this, the first included */
    uint64_t offset;      /* byte of the object at which a read failed */
    /* "resolve", "connect", "send", "head", "body", ...: a literal, or NULL */
    const char *phase;
    char s3_code[64];     /* the store's error code, e.g. "NoSuchKey" */
    char request_id[96];  /* x-amz-request-id */
} s3s_error;

/* Name ("S3S_E_RANGE") and English text of a result; literals, never NULL. Any thread. */
S3SDEF const char *s3s_result_name(s3s_result r);
S3SDEF const char *s3s_result_text(s3s_result r);

/* The version of the implementation linked, e.g. "0.1.0"; a literal. Any thread. */
S3SDEF const char *s3s_version(void);

/* ---- Configuration --------------------------------------------------------------------------
 * A zeroed s3s_config, or NULL for it, is right: endpoint, region and keys then come from the usual
 * AWS_ environment variables. All strings are copied by s3s_client_create. */
typedef struct s3s_credentials {
    char access_key[128];
    char secret_key[256];
    char session_token[4096]; /* "" when there is none */
    int64_t expires;          /* seconds since 1970, 0 = never */
} s3s_credentials;

/* Own allocator: all three functions or none. Called on any thread; `alloc` need not be aligned
 * beyond malloc's promise. */
typedef struct s3s_allocator {
    void *(*alloc)(void *user, size_t n);
    void *(*realloc)(void *user, void *p, size_t n);
    void (*free)(void *user, void *p);
    void *user;
} s3s_allocator;

/* Own log sink. Lines carry no secret and no newline. Called on any thread, also with the
 * library's locks held: do not call back into the library. Level 1 = one line per retry or
 * surprise, 2 = one per request. */
typedef struct s3s_log {
    void (*fn)(void *user, int level, const char *line);
    void *user;
    int level;
} s3s_log;

/* A TLS adapter. Non-blocking: each function answers the count of bytes done (handshake, shutdown:
 * 1 when complete) or one of the S3S_TLS_ codes. The session calls io->read and io->write, which
 * have the same answers. One context may serve several threads; a session belongs to one. */
enum { S3S_TLS_ERROR = -1, S3S_TLS_WANT_READ = -2, S3S_TLS_WANT_WRITE = -3, S3S_TLS_CLOSED = -4 };
typedef struct s3s_tls_io {
    long (*read)(void *user, void *buf, size_t n);
    long (*write)(void *user, const void *buf, size_t n);
    void *user;
} s3s_tls_io;
typedef struct s3s_tls {
    void *ctx;
    /* `host` is the name to verify and to send as SNI; `io` lives as long as the session. NULL on
     * failure, with a one-line reason in text. */
    void *(*session_create)(void *ctx, const char *host, const s3s_tls_io *io, char *text,
                            size_t text_cap);
    long (*handshake)(void *session, char *text, size_t text_cap);
    /* CLOSED: close_notify */
    long (*read)(void *session, void *buf, size_t n, char *text, size_t text_cap);
    long (*write)(void *session, const void *buf, size_t n, char *text, size_t text_cap);
    long (*shutdown)(void *session);
    void (*session_destroy)(void *session);
} s3s_tls;

enum { S3S_ADDRESSING_AUTO = 0, S3S_ADDRESSING_PATH, S3S_ADDRESSING_VIRTUAL };
enum { S3S_SIGN_PAYLOAD_AUTO = 0, S3S_SIGN_PAYLOAD_ALWAYS, S3S_SIGN_PAYLOAD_NEVER };

typedef struct s3s_config {
    /* "http://127.0.0.1:9000"; NULL: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS */
    const char *endpoint;
    const char *region;        /* NULL: AWS_REGION, AWS_DEFAULT_REGION, "us-east-1" */
    const char *access_key;    /* NULL: the callback, then AWS_ACCESS_KEY_ID and its siblings */
    const char *secret_key;
    const char *session_token;
    /* Own credentials: fill *out; called on any thread, again when `expires` is near. */
    s3s_result (*credentials)(void *user, s3s_credentials *out, s3s_error *err);
    void *credentials_user;
    int anonymous;             /* 1: requests are not signed */
    int no_environment;        /* 1: no AWS_ variable is read */
    /* S3S_ADDRESSING_AUTO: virtual-host style on AWS, path style elsewhere */
    int addressing;
    const s3s_tls *tls;        /* adapter for https; copied; its ctx must outlive the client */
    int connections;           /* requests in flight at once, client-wide; 0 = 16 */
    int threads;               /* event loops; 0 = the number of cores, at most 4 */
    uint64_t memory;           /* default of s3s_read_options.memory; 0 = 64 MiB */
    int retries;               /* attempts after the first without progress; 0 = 9, -1 = none */
    int connect_timeout_ms;    /* 0 = 5000, per address */
    int response_timeout_ms;   /* until the response head is complete; 0 = 30000, -1 = none */
    int stall_timeout_ms;      /* at least 1 KiB/s of body over this time; 0 = 30000, -1 = none */
    /* an unused connection older than this is not used again; 0 = 4000 */
    int idle_timeout_ms;
    s3s_allocator allocator;
    s3s_log log;
    /* wall clock for signatures, seconds since 1970; NULL: the system's */
    int64_t (*clock)(void *user);
    void *clock_user;
    const char *user_agent;    /* appended to "s3stream/0.1.0" */
    /* extra "Name: value" lines sent with every request to the store, NULL-ended */
    const char *const *headers;
} s3s_config;

typedef struct s3s_client s3s_client;

/* Makes a client. config: NULL or zeroed for defaults. *client: owned by the caller, freed by
 * s3s_client_destroy; no connection is made yet. Errors: S3S_E_ARGUMENT (a field names itself),
 * S3S_E_MEMORY, S3S_E_VERSION. Any thread. (A macro, so that a mismatch of headers is seen.) */
#define s3s_client_create(config, client, err) \
    s3s_client_create_versioned((config), S3STREAM_VERSION, sizeof(s3s_config), (client), (err))
S3SDEF s3s_result s3s_client_create_versioned(const s3s_config *config, int version,
                                              size_t config_size, s3s_client **client,
                                              s3s_error *err);

/* Ends a client: its readers and lists must have been closed. NULL is allowed. One thread. */
S3SDEF void s3s_client_destroy(s3s_client *client);

/* ---- Statistics -----------------------------------------------------------------------------
 */
typedef struct s3s_stats {
    uint64_t requests;            /* sent, attempts included */
    uint64_t retries;             /* of these, attempts after the first */
    uint64_t hedges;              /* second requests for a slow part */
    uint64_t throttled;           /* 503 and 429 answers */
    uint64_t bytes_received;      /* body bytes off the wire */
    uint64_t bytes_delivered;     /* bytes handed to the consumer */
    /* received and not delivered: look-behind, windows, lost hedges, prefixes */
    uint64_t wasted_bytes;
    uint64_t records;             /* delivered by s3s_reader_record */
    uint64_t connections_opened;
    uint64_t window_misses;       /* requests because a record ran past the window */
    double first_byte_seconds;    /* from open to the first byte delivered; 0 when none was */
    double seconds;               /* from open until now, or until the end */
    int pinned;                   /* 1: all parts are known to be of one version of the object */
} s3s_stats;

/* Sums over all of a client's work, closed readers included (first_byte_seconds: of the fastest).
 * Any thread. */
S3SDEF void s3s_client_stats(s3s_client *client, s3s_stats *stats);

/* ---- Objects --------------------------------------------------------------------------------
 */
typedef struct s3s_object {
    uint64_t size;
    /* with its quotes, as sent: "\"9a03...\"" or "W/\"...\""; "" when unknown */
    char etag[128];
    char last_modified[40];   /* as sent: HTTP date */
    char version_id[128];
    char content_type[128];
    char storage_class[32];
    char metadata[2560];      /* "name: value\n" per x-amz-meta- header, names without the prefix */
} s3s_object;

typedef struct s3s_buffer { /* bytes owned by the caller, from the client's allocator */
    void *data;
    size_t size;
    s3s_allocator allocator;
} s3s_buffer;

S3SDEF void s3s_buffer_free(s3s_buffer *buffer); /* a zeroed or freed one is allowed */

/* The object's size, ETag, date and metadata, into *object. HeadObject, HTTP HEAD, or stat() for
 * file://. Errors: S3S_E_NOT_FOUND, S3S_E_ACCESS, the wire's. Any thread. */
S3SDEF s3s_result s3s_head(s3s_client *client, const char *uri, s3s_object *object, s3s_error *err);

/* ---- Reading --------------------------------------------------------------------------------
 */
enum { S3S_STRATEGY_APPROX_CORRECTION = 0, S3S_STRATEGY_SMART_PREALIGNED };
#define S3S_WINDOW_LEARNED 0
#define S3S_WINDOW_DYNAMIC (-1)

typedef struct s3s_slice {
    uint64_t start, end; /* [start, end) */
    /* 1: both ends are record boundaries already; 0: nominal, to be corrected */
    int exact;
    int64_t window;      /* initial window for this slice's end; 0 = as the options say */
} s3s_slice;

typedef struct s3s_plan s3s_plan;

typedef struct s3s_read_options {
    uint64_t offset;          /* first byte */
    uint64_t length;          /* bytes; 0 = to the end of the object */
    /* the object's size where it is known: saves a shard's HEAD; 0 = unknown */
    uint64_t size;
    uint32_t shard_index;     /* from 0 */
    uint32_t shard_count;     /* 0 = not sharded: the range as it is */
    const s3s_slice *slice;   /* a slice instead of index and count; copied */
    /* with shard_index: that slice of the plan; size and ETag come from it */
    const s3s_plan *plan;
    /* "lines" (NULL), "delim:TEXT" (escapes \n \r \t \0 \\ \xHH), "fixed:BYTES" */
    const char *records;
    int strategy;             /* S3S_STRATEGY_... */
    int64_t window;           /* S3S_WINDOW_LEARNED, S3S_WINDOW_DYNAMIC (64 KiB) or bytes */
    /* bytes a request; then requests = ceil(length / part_size); 0 = chosen */
    uint64_t part_size;
    int connections;          /* requests of this reader in flight; 0 = the client's */
    uint64_t memory;          /* most bytes of parts held; 0 = the client's */
    const char *expected_etag; /* read this version or fail with S3S_E_CHANGED */
    const char *version_id;
    int no_hedge;             /* 1: never ask twice for a slow part */
    /* s3s_get: refuse more than this with S3S_E_TOO_LARGE; 0 = no limit */
    uint64_t max_size;
    uint64_t max_record;      /* s3s_reader_record: longest record joined; 0 = `memory` */
    /* on the consumer's thread; total 0 = unknown */
    void (*progress)(void *user, uint64_t delivered, uint64_t total);
    void *progress_user;
} s3s_read_options;

/* Reads a range (default: all) into fresh memory, with parallel requests. *buffer: owned by the
 * caller, s3s_buffer_free. Errors: as s3s_reader_open, S3S_E_TOO_LARGE. GetObject. Any thread. */
S3SDEF s3s_result s3s_get(s3s_client *client, const char *uri, const s3s_read_options *options,
                          s3s_buffer *buffer, s3s_error *err);

/* The same into the caller's memory; *got: bytes written. S3S_E_TOO_LARGE when the range does not
 * fit cap. */
S3SDEF s3s_result s3s_get_into(s3s_client *client, const char *uri, const s3s_read_options *options,
                               void *dst, size_t cap, size_t *got, s3s_error *err);

typedef struct s3s_reader s3s_reader;

/* Opens a reader over an object, a range or a shard; requests start at once. *reader: owned by the
 * caller, s3s_reader_close, before its client ends. Only arguments are checked here: what the
 * server says comes with the first read. Errors: S3S_E_ARGUMENT, S3S_E_MEMORY, S3S_E_PLAN,
 * S3S_E_UNSUPPORTED. Any thread. GetObject with Range and If-Match; HeadObject where a shard must
 * learn the size. */
S3SDEF s3s_result s3s_reader_open(s3s_client *client, const char *uri,
                                  const s3s_read_options *options, s3s_reader **reader,
                                  s3s_error *err);

/* Copies at most n bytes to buf; *got: how many, at least 1 with S3S_OK. S3S_END at the end.
 * Blocks until there are some. Errors: the wire's; S3S_E_CHANGED; S3S_E_CANCELLED; sticky. */
S3SDEF s3s_result s3s_reader_read(s3s_reader *reader, void *buf, size_t n, size_t *got,
                                  s3s_error *err);

/* Lends the next piece, as large as there is; *data is valid until the next call on this reader. */
S3SDEF s3s_result s3s_reader_next(s3s_reader *reader, const void **data, size_t *n, s3s_error *err);

/* Lends one whole record with its delimiter (only the object's last may lack it), joined where it
 * spans parts; valid until the next call on this reader. S3S_E_TOO_LARGE beyond max_record. Calls
 * of read, next and record may be mixed: each goes on where the last one ended. */
S3SDEF s3s_result s3s_reader_record(s3s_reader *reader, const void **data, size_t *n,
                                    s3s_error *err);

/* Object and slice: blocks until the first response has told them. Either pointer may be NULL.
 * slice: the nominal range, or the exact one once both ends are known (slice->exact). */
S3SDEF s3s_result s3s_reader_info(s3s_reader *reader, s3s_object *object, s3s_slice *slice,
                                  s3s_error *err);

/* The object's offset of the next byte to be delivered (of the shard's nominal start, until it is
 * known). */
S3SDEF uint64_t s3s_reader_position(s3s_reader *reader);

S3SDEF void s3s_reader_stats(s3s_reader *reader, s3s_stats *stats);

/* Makes the reader's pending and later calls answer S3S_E_CANCELLED within 100 ms and closes its
 * connections. Any thread, while the reader is open. */
S3SDEF void s3s_reader_cancel(s3s_reader *reader);

S3SDEF void s3s_reader_close(s3s_reader *reader); /* NULL is allowed */

/* ---- Plans ----------------------------------------------------------------------------------
 * A plan fixes size, version and slices once, so that workers need neither ask for the size nor,
 * where the boundaries were found ahead (smart-prealigned), look for them. */
typedef struct s3s_plan_options {
    uint64_t offset, length; /* the range to divide; 0, 0 = all */
    uint64_t size;           /* known size; 0 = a HEAD request asks */
    uint32_t shard_count;    /* at least 1 */
    const char *records;     /* as in s3s_read_options */
    int strategy;            /* SMART_PREALIGNED: all boundaries are found now, in parallel */
    int64_t window;
    const char *expected_etag, *version_id;
} s3s_plan_options;

/* Makes a plan; *plan: owned by the caller, s3s_plan_destroy. HeadObject, and for smart-prealigned
 * one small ranged GetObject per inner boundary. Any thread. */
S3SDEF s3s_result s3s_plan_create(s3s_client *client, const char *uri,
                                  const s3s_plan_options *options, s3s_plan **plan, s3s_error *err);
S3SDEF uint32_t s3s_plan_count(const s3s_plan *plan);
S3SDEF s3s_result s3s_plan_slice(const s3s_plan *plan, uint32_t index, s3s_slice *slice);

/* What the plan is of; pointers live as long as the plan. */
S3SDEF const char *s3s_plan_uri(const s3s_plan *plan);
S3SDEF const s3s_object *s3s_plan_object(const s3s_plan *plan);

/* A plan from JSON text, and JSON text from a plan (*text: NUL-ended, s3s_buffer_free). Any
 * thread. S3S_E_PLAN names what is wrong with the text. The version is not checked here: a reader
 * opened with the plan refuses an object with another ETag. */
S3SDEF s3s_result s3s_plan_parse(s3s_client *client, const char *json, size_t n, s3s_plan **plan,
                                 s3s_error *err);
S3SDEF s3s_result s3s_plan_format(const s3s_plan *plan, s3s_buffer *text, s3s_error *err);
S3SDEF void s3s_plan_destroy(s3s_plan *plan);

/* ---- Writing --------------------------------------------------------------------------------
 */
typedef struct s3s_write_options {
    const char *content_type;    /* NULL: application/octet-stream */
    const char *if_match;        /* an ETag, sent as given: with or without quotes */
    const char *if_none_match;   /* "*": only if there is no such object */
    const char *const *headers;  /* more "Name: value" lines, NULL-ended */
    int sign_payload;            /* S3S_SIGN_PAYLOAD_AUTO: signed over plain HTTP, not over TLS */
    void (*progress)(void *user, uint64_t sent, uint64_t total); /* on a library thread */
    void *progress_user;
} s3s_write_options;

/* Stores n bytes (at most 5 GiB) as one object; *object (may be NULL): its ETag, version, size.
 * file:// goes to a temporary name and is renamed. Errors: S3S_E_PRECONDITION, S3S_E_ACCESS,
 * S3S_E_TOO_LARGE, the wire's. PutObject. Any thread; data must stay unchanged until it returns. */
S3SDEF s3s_result s3s_put(s3s_client *client, const char *uri, const void *data, size_t n,
                          const s3s_write_options *options, s3s_object *object, s3s_error *err);

/* Deletes an object; S3 answers success for one that is not there. DeleteObject. Any thread. */
S3SDEF s3s_result s3s_delete(s3s_client *client, const char *uri, s3s_error *err);

/* ---- Listing --------------------------------------------------------------------------------
 */
typedef struct s3s_list_options {
    const char *delimiter;   /* "/": one level, deeper keys as prefixes; NULL: every key */
    const char *start_after; /* only keys behind this one */
    uint32_t page_size;      /* keys a request; 0 = the store's 1000 */
} s3s_list_options;

typedef struct s3s_entry {
    /* literal; the whole prefix when is_prefix; NULL-ended, may hold any byte but NUL */
    const char *key;
    uint64_t size;
    const char *etag;
    const char *last_modified; /* ISO 8601, as sent */
    int is_prefix;
} s3s_entry;

typedef struct s3s_list s3s_list;

/* Lists s3://bucket/prefix in the store's order; s3:// alone lists the buckets. *list: owned by the
 * caller.
 * ListObjectsV2, ListBuckets. A list is used by one thread at a time. */
S3SDEF s3s_result s3s_list_open(s3s_client *client, const char *uri,
                                const s3s_list_options *options, s3s_list **list, s3s_error *err);
/* Lends the next entry until the next call; S3S_END after the last. */
S3SDEF s3s_result s3s_list_next(s3s_list *list, const s3s_entry **entry, s3s_error *err);
S3SDEF void s3s_list_close(s3s_list *list);

/* ---- Any request ----------------------------------------------------------------------------
 */
typedef struct s3s_http_request {
    const char *method;          /* NULL: GET */
    /* http(s)://host[:port]/path?query, percent-encoded as it shall be sent */
    const char *url;
    const char *const *headers;  /* "Name: value" lines, NULL-ended */
    const void *body;
    size_t body_size;
    /* NULL: unsigned; "s3", "lambda", "dynamodb", "sts", ...: SigV4 for it */
    const char *service;
    const char *region;          /* NULL: the client's */
    int response_timeout_ms;     /* 0: the client's, -1: none */
    int no_retry;                /* 1: one attempt */
    size_t max_response;         /* 0 = 16 MiB */
} s3s_http_request;

typedef struct s3s_http_response {
    int status;
    s3s_buffer head; /* header lines as received, each ended by CR LF, then a NUL */
    s3s_buffer body; /* a NUL follows the last byte */
} s3s_http_response;

/* Sends one request and takes its answer, whatever its status (2xx to 5xx: S3S_OK; see status).
 * *response: s3s_http_response_free. Errors: the wire's. Any thread. */
S3SDEF s3s_result s3s_request(s3s_client *client, const s3s_http_request *request,
                              s3s_http_response *response, s3s_error *err);
/* A header's value copied to out (cap bytes, NUL-ended); 1 if there is one that fits. Names match
 * without case. */
S3SDEF int s3s_http_response_header(const s3s_http_response *response, const char *name, char *out,
                                    size_t cap);
S3SDEF void s3s_http_response_free(s3s_http_response *response);

#ifdef __cplusplus
}
#endif
#endif /* S3STREAM_H */

#ifdef S3STREAM_IMPLEMENTATION
#ifndef S3STREAM_IMPLEMENTED
#define S3STREAM_IMPLEMENTED

/* >>config
 * Compile-time switches become 0 or 1 here and are tested with #if below, so that a misspelt one
 * is an error (-Wundef) rather than silently off. The limits are of two kinds: what the wire may
 * make us hold, and the sizes at which the machine is fast; both are named once, here. */
#ifdef S3STREAM_NO_THREADS
#define S3SI_THREADS 0
#else
#define S3SI_THREADS 1
#endif
#ifdef S3STREAM_NO_TLS
#define S3SI_TLS 0
#else
#define S3SI_TLS 1
#endif
#ifdef S3STREAM_NO_WRITE
#define S3SI_WRITE 0
#else
#define S3SI_WRITE 1
#endif
#ifdef S3STREAM_NO_CREDENTIALS
#define S3SI_ENVIRONMENT 0
#else
#define S3SI_ENVIRONMENT 1
#endif

#if defined(_WIN32)
#error \
    "s3stream.h: only POSIX systems so far; another system is one more section beside >>posix"
#endif

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef S3STREAM_ASSERT
#define S3STREAM_ASSERT(x) assert(x)
#endif

#ifdef __cplusplus
#define S3SI_ZERO {}
#else
#define S3SI_ZERO {0}
#endif

#if defined(__GNUC__) || defined(__clang__)
#define S3SI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define S3SI_UNUSED __attribute__((unused))
#else
#define S3SI_PRINTF(f, a)
#define S3SI_UNUSED
#endif

enum {
    S3SI_HEAD_MAX = 64 * 1024,      /* a response head, all lines */
    S3SI_HEAD_LINES = 256,          /* its header lines */
    S3SI_INTERIM_MAX = 10,          /* 1xx responses before the final one */
    S3SI_ERROR_BODY_MAX = 64 * 1024, /* an error document; the rest is not read */
    S3SI_CHUNK_LINE_MAX = 4096,     /* a chunk-size line with its extensions, or a trailer line */
    S3SI_REDIRECTS_MAX = 5,
    S3SI_ATTEMPTS_MAX = 100,        /* attempts at one exchange, progress or not */
    S3SI_RECV_MAX = 1024 * 1024,    /* bytes asked of one recv() */
    S3SI_PROGRESS = 64 * 1024,      /* bytes that count as progress between two attempts */
    S3SI_DELIM_MAX = 64,            /* longest record delimiter */
    S3SI_WINDOW_FIRST = 4096,       /* learned window when nothing was seen */
    S3SI_WINDOW_DYNAMIC = 65536,
    S3SI_WINDOW_MIN = 1024,
    S3SI_WINDOW_MAX = 1024 * 1024,
    S3SI_PART_MIN = 256 * 1024,     /* parts chosen by us */
    S3SI_PART_MAX = 8 * 1024 * 1024
};

/* >>error
 * One X-macro in the interface makes codes, names and texts. An s3s_error is filled once: the
 * first error sticks, because what follows from it only hides it. Nothing is both logged and
 * returned. */
S3SDEF const char *s3s_result_name(s3s_result r) {
    static const char *const names[] = {
#define S3SI_X(name, retry, text) #name,
        S3S_RESULTS(S3SI_X)
#undef S3SI_X
    };
    return (unsigned)r < (unsigned)S3S_RESULT_COUNT ? names[r] : "S3S_E_?";
}

S3SDEF const char *s3s_result_text(s3s_result r) {
    static const char *const texts[] = {
#define S3SI_X(name, retry, text) text,
        S3S_RESULTS(S3SI_X)
#undef S3SI_X
    };
    return (unsigned)r < (unsigned)S3S_RESULT_COUNT ? texts[r] : "unknown result";
}

static int s3si_error_retryable(s3s_result r) {
    static const char retry[] = {
#define S3SI_X(name, again, text) again,
        S3S_RESULTS(S3SI_X)
#undef S3SI_X
    };
    return (unsigned)r < (unsigned)S3S_RESULT_COUNT && retry[r];
}

static void s3si_error_clear(s3s_error *err) {
    if (err) memset(err, 0, sizeof *err);
}

/* A message is one printable line whatever a server or a key put into it. */
static void s3si_error_one_line(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

S3SI_PRINTF(3, 4)
static s3s_result s3si_error_set(s3s_error *err, s3s_result code, const char *format, ...) {
    va_list args;
    if (!err || err->code != S3S_OK) return code;
    err->code = code;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    s3si_error_one_line(err->message);
    return code;
}

/* Copies an error out to a caller who may not want it. */
static s3s_result s3si_error_give(s3s_error *to, const s3s_error *from) {
    if (to) *to = *from;
    return from->code;
}

/* >>memory
 * Everything is allocated through the client's allocator. Sizes are added and multiplied with a
 * check; secrets are wiped by a call that the compiler may not drop. */
typedef s3s_allocator s3si_mem;

static void *s3si_mem_libc_alloc(void *user, size_t n) {
    (void)user;
    return malloc(n);
}
static void *s3si_mem_libc_realloc(void *user, void *p, size_t n) {
    (void)user;
    return realloc(p, n);
}
static void s3si_mem_libc_free(void *user, void *p) {
    (void)user;
    free(p);
}

static void s3si_mem_init(s3si_mem *mem, const s3s_allocator *own) {
    if (own && own->alloc) {
        *mem = *own;
        return;
    }
    mem->alloc = s3si_mem_libc_alloc;
    mem->realloc = s3si_mem_libc_realloc;
    mem->free = s3si_mem_libc_free;
    mem->user = NULL;
}

static void *s3si_mem_alloc(const s3si_mem *mem, size_t n) {
    return mem->alloc(mem->user, n ? n : 1);
}

static void *s3si_mem_zalloc(const s3si_mem *mem, size_t n) {
    void *p = s3si_mem_alloc(mem, n);
    if (p) memset(p, 0, n);
    return p;
}

static void s3si_mem_free(const s3si_mem *mem, void *p) {
    if (p) mem->free(mem->user, p);
}

static int s3si_mem_is_libc(const s3si_mem *mem) { return mem->alloc == s3si_mem_libc_alloc; }

static int s3si_mem_add(size_t a, size_t b, size_t *sum) {
    if (a > SIZE_MAX - b) return 0;
    *sum = a + b;
    return 1;
}

static int s3si_mem_mul(size_t a, size_t b, size_t *product) {
    if (b && a > SIZE_MAX / b) return 0;
    *product = a * b;
    return 1;
}

static void s3si_mem_wipe(void *p, size_t n) {
    volatile unsigned char *v = (volatile unsigned char *)p;
    while (n--) *v++ = 0;
}

/* >>text
 * A slice is (pointer, length) and owns nothing; a buffer owns its bytes, grows geometrically, and
 * remembers a failed growth instead of reporting it at each append (test s3si_buf_ok once at the
 * end). One strict integer parser serves headers, options and formats: no sign, no space, no
 * overflow, no rest. */
typedef struct s3si_str {
    const char *p;
    size_t n;
} s3si_str;

static s3si_str s3si_str_make(const char *p, size_t n) {
    s3si_str s;
    s.p = p;
    s.n = n;
    return s;
}

static s3si_str s3si_str_of(const char *z) { return s3si_str_make(z ? z : "", z ? strlen(z) : 0); }

static int s3si_str_eq(s3si_str a, s3si_str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static char s3si_char_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static int s3si_str_ieq(s3si_str a, s3si_str b) {
    size_t i;
    if (a.n != b.n) return 0;
    for (i = 0; i < a.n; i++)
        if (s3si_char_lower(a.p[i]) != s3si_char_lower(b.p[i])) return 0;
    return 1;
}

static int s3si_str_is(s3si_str a, const char *z) { return s3si_str_eq(a, s3si_str_of(z)); }
static int s3si_str_starts(s3si_str a, const char *z) {
    size_t n = strlen(z);
    return a.n >= n && memcmp(a.p, z, n) == 0;
}

static s3si_str s3si_str_from(s3si_str a, size_t i) {
    return i >= a.n ? s3si_str_make(a.p + a.n, 0) : s3si_str_make(a.p + i, a.n - i);
}

/* Index of the first c, or a.n. */
static size_t s3si_str_find(s3si_str a, char c) {
    const char *hit = a.n ? (const char *)memchr(a.p, c, a.n) : NULL;
    return hit ? (size_t)(hit - a.p) : a.n;
}

static s3si_str s3si_str_trim(s3si_str a) {
    while (a.n && (a.p[0] == ' ' || a.p[0] == '\t')) a.p++, a.n--;
    while (a.n && (a.p[a.n - 1] == ' ' || a.p[a.n - 1] == '\t')) a.n--;
    return a;
}

/* Splits at the first c: returns what stands before, *rest what stands behind. */
static s3si_str s3si_str_cut(s3si_str a, char c, s3si_str *rest) {
    size_t i = s3si_str_find(a, c);
    *rest = s3si_str_from(a, i + (i < a.n));
    return s3si_str_make(a.p, i);
}

/* Copies to a NUL-ended array; 0 when it does not fit (then the array is ""). */
static int s3si_str_copy(s3si_str a, char *out, size_t cap) {
    if (a.n >= cap) {
        out[0] = 0;
        return 0;
    }
    if (a.n) memcpy(out, a.p, a.n);
    out[a.n] = 0;
    return 1;
}

static int s3si_str_u64(s3si_str a, uint64_t *out) {
    uint64_t v = 0;
    size_t i;
    if (a.n == 0) return 0;
    for (i = 0; i < a.n; i++) {
        unsigned d = (unsigned)(unsigned char)a.p[i] - '0';
        if (d > 9 || v > (UINT64_MAX - d) / 10) return 0;
        v = v * 10 + d;
    }
    *out = v;
    return 1;
}

static int s3si_hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = s3si_char_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int s3si_str_hex64(s3si_str a, uint64_t *out) {
    uint64_t v = 0;
    size_t i;
    if (a.n == 0) return 0;
    for (i = 0; i < a.n; i++) {
        int d = s3si_hex_digit(a.p[i]);
        if (d < 0 || v > UINT64_MAX >> 4) return 0;
        v = v << 4 | (unsigned)d;
    }
    *out = v;
    return 1;
}

typedef struct s3si_buf {
    const s3si_mem *mem;
    char *p;
    size_t n, cap;
    int failed;
} s3si_buf;

static void s3si_buf_init(s3si_buf *b, const s3si_mem *mem) {
    memset(b, 0, sizeof *b);
    b->mem = mem;
}

static void s3si_buf_deinit(s3si_buf *b) {
    s3si_mem_free(b->mem, b->p);
    b->p = NULL;
    b->n = b->cap = 0;
    b->failed = 0;
}

static void s3si_buf_clear(s3si_buf *b) {
    if (b->p) b->p[0] = 0;
    b->n = 0;
    b->failed = 0;
}

/* failed is 1 for want of memory, 2 for bytes that must not be sent. */
enum { S3SI_BUF_MEMORY = 1, S3SI_BUF_UNSAFE = 2 };
static void s3si_buf_inherit(s3si_buf *to, const s3si_buf *from) {
    if (from->failed > to->failed) to->failed = from->failed;
}
static int s3si_buf_ok(const s3si_buf *b) { return !b->failed; }

/* Room for n more bytes (and a NUL); 0 and the failure remembered when there is none. */
static int s3si_buf_reserve(s3si_buf *b, size_t n) {
    size_t need, cap = b->cap ? b->cap : 128;
    char *p;
    if (b->failed) return 0;
    if (!s3si_mem_add(b->n, n, &need) || !s3si_mem_add(need, 1, &need)) {
        b->failed = 1;
        return 0;
    }
    if (need <= b->cap) return 1;
    while (cap < need) {
        if (!s3si_mem_mul(cap, 2, &cap)) cap = need;
    }
    p = (char *)(b->p ? b->mem->realloc(b->mem->user, b->p, cap) : s3si_mem_alloc(b->mem, cap));
    if (!p) {
        b->failed = 1;
        return 0;
    }
    b->p = p;
    b->cap = cap;
    return 1;
}

static void s3si_buf_add(s3si_buf *b, s3si_str s) {
    if (!s3si_buf_reserve(b, s.n)) return;
    if (s.n) memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    b->p[b->n] = 0;
}

static void s3si_buf_addz(s3si_buf *b, const char *z) { s3si_buf_add(b, s3si_str_of(z)); }
static void s3si_buf_addc(s3si_buf *b, char c) { s3si_buf_add(b, s3si_str_make(&c, 1)); }

static void s3si_buf_addu(s3si_buf *b, uint64_t v) {
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    s3si_buf_add(b, s3si_str_make(digits + i, sizeof digits - i));
}

/* A NUL-ended view; "" when nothing was appended. */
static const char *s3si_buf_z(const s3si_buf *b) { return b->p ? b->p : ""; }
static s3si_str s3si_buf_str(const s3si_buf *b) { return s3si_str_make(b->p ? b->p : "", b->n); }

/* A NUL-ended copy owned by the caller; NULL when there is no memory. */
static char *s3si_str_dup(const s3si_mem *mem, s3si_str s) {
    char *p = (char *)s3si_mem_alloc(mem, s.n + 1);
    if (p) (void)s3si_str_copy(s, p, s.n + 1);
    return p;
}

static void s3si_hex_encode(const uint8_t *in, size_t n, char *out) {
    static const char digits[] = "0123456789abcdef";
    size_t i;
    for (i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = 0;
}

/* RFC 4648 section 4, with padding: what MD5 and checksum headers carry. */
S3SI_UNUSED static void s3si_base64_encode(s3si_buf *out, const uint8_t *in, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;
    for (i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        char q[4];
        if (i + 1 < n) v |= (uint32_t)in[i + 1] << 8;
        if (i + 2 < n) v |= in[i + 2];
        q[0] = digits[v >> 18];
        q[1] = digits[v >> 12 & 63];
        q[2] = i + 1 < n ? digits[v >> 6 & 63] : '=';
        q[3] = i + 2 < n ? digits[v & 63] : '=';
        s3si_buf_add(out, s3si_str_make(q, 4));
    }
}

/* RFC 3986: all but the unreserved characters, in upper-case hex; '/' stays where it separates. */
static void s3si_percent_encode(s3si_buf *out, s3si_str s, int keep_slash) {
    static const char digits[] = "0123456789ABCDEF";
    size_t i;
    for (i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        int plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
        if (plain) {
            s3si_buf_addc(out, (char)c);
        } else {
            char e[3];
            e[0] = '%';
            e[1] = digits[c >> 4];
            e[2] = digits[c & 15];
            s3si_buf_add(out, s3si_str_make(e, 3));
        }
    }
}

/* A '%' that two hex digits do not follow stands for itself, as servers have it. */
static void s3si_percent_decode(s3si_buf *out, s3si_str s) {
    size_t i;
    for (i = 0; i < s.n; i++) {
        int hi = -1, lo = -1;
        if (s.p[i] == '%' && i + 2 < s.n) {
            hi = s3si_hex_digit(s.p[i + 1]);
            lo = s3si_hex_digit(s.p[i + 2]);
        }
        if (hi >= 0 && lo >= 0) {
            s3si_buf_addc(out, (char)(hi << 4 | lo));
            i += 2;
        } else {
            s3si_buf_addc(out, s.p[i]);
        }
    }
}

/* Days since 1970-01-01 of a civil date, and back (the proleptic Gregorian calendar). */
static int64_t s3si_date_days(int y, int m, int d) {
    int64_t era, doe;
    int yoe, doy;
    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = (int)(y - era * 400);
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    doe = (int64_t)yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

typedef struct s3si_date {
    int year, month, day, hour, minute, second;
} s3si_date;

static s3si_date s3si_date_of(int64_t t) {
    s3si_date r;
    int64_t days = t / 86400, secs = t % 86400, z, era, doe, yoe, doy, mp;
    if (secs < 0) secs += 86400, days--;
    z = days + 719468;
    era = (z >= 0 ? z : z - 146096) / 146097;
    doe = z - era * 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    r.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    r.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    r.year = (int)(yoe + era * 400 + (r.month <= 2));
    r.hour = (int)(secs / 3600);
    r.minute = (int)(secs / 60 % 60);
    r.second = (int)(secs % 60);
    return r;
}

static int64_t s3si_date_seconds(const s3si_date *d) {
    return s3si_date_days(d->year, d->month, d->day) * 86400 + d->hour * 3600 + d->minute * 60 +
           d->second;
}

/* "20150830T123600Z", 17 bytes with its NUL. */
static void s3si_date_amz(int64_t t, char out[17]) {
    s3si_date d = s3si_date_of(t);
    char wide[80];
    (void)snprintf(wide, sizeof wide, "%04d%02d%02dT%02d%02d%02dZ", d.year, d.month, d.day, d.hour,
                   d.minute, d.second);
    memcpy(out, wide, 16);
    out[16] = 0;
}

static const char s3si_date_months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7, the one form that is sent today). */
static int s3si_date_field(s3si_str s, size_t at, size_t n, unsigned low, unsigned high, int *out) {
    uint64_t v;
    if (!s3si_str_u64(s3si_str_make(s.p + at, n), &v) || v < low || v > high) return 0;
    *out = (int)v;
    return 1;
}

static int s3si_date_parse_http(s3si_str s, int64_t *out) {
    static const char form[] = "???, ?? ??? ???? ??:??:?? GMT";
    s3si_date d;
    size_t i;
    if (s.n != sizeof form - 1) return 0;
    for (i = 0; i < s.n; i++)
        if (form[i] != '?' && form[i] != s.p[i]) return 0;
    for (i = 0; i < 12 && memcmp(s.p + 8, s3si_date_months + 3 * i, 3) != 0; i++) continue;
    d.month = (int)i + 1;
    if (i == 12 || !s3si_date_field(s, 5, 2, 1, 31, &d.day) ||
        !s3si_date_field(s, 12, 4, 0, 9999, &d.year) ||
        !s3si_date_field(s, 17, 2, 0, 23, &d.hour) ||
        !s3si_date_field(s, 20, 2, 0, 59, &d.minute) ||
        !s3si_date_field(s, 23, 2, 0, 60, &d.second))
        return 0;
    *out = s3si_date_seconds(&d);
    return 1;
}

S3SI_UNUSED static void s3si_date_format_http(int64_t t, char out[32]) {
    static const char days[] = "ThuFriSatSunMonTueWed";
    s3si_date d = s3si_date_of(t);
    int64_t day = (t >= 0 ? t / 86400 : (t - 86399) / 86400) % 7;
    char wide[96];
    (void)snprintf(wide, sizeof wide, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                   days + 3 * (day < 0 ? day + 7 : day), d.day,
                   s3si_date_months + 3 * (d.month - 1), d.year, d.hour, d.minute, d.second);
    memcpy(out, wide, 29);
    out[29] = 0;
}

/* >>platform
 * What a system offers, by names that are the same on all; a section per system defines them, and
 * no other section holds an #if about systems:
 *
 *     s3si_time_mono_us, _wall          a clock that never goes back; seconds since 1970
 *     s3si_sys_random, _pid, _cores, _env
 *     s3si_mutex_, s3si_cond_, s3si_thread_   nothing at all under S3STREAM_NO_THREADS
 *     s3si_wake_                         a pollable event another thread may raise
 *     s3si_sock_                         non-blocking sockets, poll
 *     s3si_file_                         reading, and writing through a temporary name */

/* >>posix
 * Sockets are non-blocking and close-on-exec from birth, and raise no SIGPIPE. EINTR is handled
 * here and is seen nowhere else. Library threads block all signals: a program's handlers run on
 * its own threads. */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef CLOCK_MONOTONIC
#error \
    "s3stream.h: include it before every other header, or compile with -D_GNU_SOURCE"
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static int64_t s3si_time_mono_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t s3si_time_wall(void) { return (int64_t)time(NULL); }

static uint64_t s3si_sys_random(void) {
    uint64_t v = 0;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, &v, sizeof v);
        (void)close(fd);
        if (got == (ssize_t)sizeof v) return v;
    }
    return (uint64_t)s3si_time_mono_us() * 6364136223846793005u + (uint64_t)getpid();
}

static long s3si_sys_pid(void) { return (long)getpid(); }
static int s3si_sys_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 4096 ? (int)n : 1;
}
S3SI_UNUSED static const char *s3si_sys_env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* Large blocks come from the system page by page and go back to it when they are freed, whichever thread
 * frees them: a heap would keep them, an arena per thread, and hold several times what is in use. */
static void *s3si_sys_pages(const s3si_mem *mem, size_t n) {
    void *p;
    if (!s3si_mem_is_libc(mem)) return s3si_mem_alloc(mem, n);
    p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static void s3si_sys_pages_free(const s3si_mem *mem, void *p, size_t n) {
    if (!s3si_mem_is_libc(mem)) s3si_mem_free(mem, p);
    else if (p) (void)munmap(p, n);
}

#if S3SI_THREADS
typedef struct s3si_mutex {
    pthread_mutex_t m;
} s3si_mutex;
typedef struct s3si_cond {
    pthread_cond_t c;
} s3si_cond;
typedef pthread_t s3si_thread;

static int s3si_mutex_init(s3si_mutex *m) { return pthread_mutex_init(&m->m, NULL) == 0; }
static void s3si_mutex_deinit(s3si_mutex *m) { (void)pthread_mutex_destroy(&m->m); }
static void s3si_mutex_lock(s3si_mutex *m) { (void)pthread_mutex_lock(&m->m); }
static void s3si_mutex_unlock(s3si_mutex *m) { (void)pthread_mutex_unlock(&m->m); }

static int s3si_cond_init(s3si_cond *c) {
    int ok = 0;
#if defined(__APPLE__)
    ok = pthread_cond_init(&c->c, NULL) == 0;
#else
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) return 0;
    ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
         pthread_cond_init(&c->c, &attr) == 0;
    (void)pthread_condattr_destroy(&attr);
#endif
    return ok;
}
static void s3si_cond_deinit(s3si_cond *c) { (void)pthread_cond_destroy(&c->c); }
static void s3si_cond_broadcast(s3si_cond *c) { (void)pthread_cond_broadcast(&c->c); }

/* Waits until signalled or until the monotonic time deadline_us. */
static void s3si_cond_wait(s3si_cond *c, s3si_mutex *m, int64_t deadline_us) {
    struct timespec t;
#if defined(__APPLE__)
    int64_t left = deadline_us - s3si_time_mono_us();
    if (left < 0) left = 0;
    t.tv_sec = (time_t)(left / 1000000);
    t.tv_nsec = (long)(left % 1000000 * 1000);
    (void)pthread_cond_timedwait_relative_np(&c->c, &m->m, &t);
#else
    if (deadline_us == INT64_MAX) {
        (void)pthread_cond_wait(&c->c, &m->m);
        return;
    }
    t.tv_sec = (time_t)(deadline_us / 1000000);
    t.tv_nsec = (long)(deadline_us % 1000000 * 1000);
    (void)pthread_cond_timedwait(&c->c, &m->m, &t);
#endif
}

/* Starts a thread that blocks every signal; stacks are small, since an embedded system pays for
 * them. */
static int s3si_thread_start(s3si_thread *t, void *(*fn)(void *), void *arg, int detached) {
    sigset_t all, old;
    pthread_attr_t attr;
    int rc;
    if (pthread_attr_init(&attr) != 0) return 0;
    (void)pthread_attr_setstacksize(&attr, 256 * 1024);
    if (detached) (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS); /* these are a thread's own doing: blocked, they kill unseen */
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(t, &attr, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return rc == 0;
}
static void s3si_thread_join(s3si_thread t) { (void)pthread_join(t, NULL); }
#else
typedef struct s3si_mutex {
    char none;
} s3si_mutex;
static int s3si_mutex_init(s3si_mutex *m) {
    m->none = 0;
    return 1;
}
static void s3si_mutex_deinit(s3si_mutex *m) { (void)m; }
static void s3si_mutex_lock(s3si_mutex *m) { (void)m; }
static void s3si_mutex_unlock(s3si_mutex *m) { (void)m; }

typedef struct s3si_cond {
    char none;
} s3si_cond;
static int s3si_cond_init(s3si_cond *c) {
    c->none = 0;
    return 1;
}
static void s3si_cond_deinit(s3si_cond *c) { (void)c; }
static void s3si_cond_broadcast(s3si_cond *c) { (void)c; }
#endif

static int s3si_sock_prepare(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
           fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/* A wake-up: write end for any thread, read end for poll. */
typedef struct s3si_wake {
    int fd[2];
} s3si_wake;

static int s3si_wake_open(s3si_wake *w) {
    w->fd[0] = w->fd[1] = -1;
    if (pipe(w->fd) != 0) return 0;
    if (s3si_sock_prepare(w->fd[0]) && s3si_sock_prepare(w->fd[1])) return 1;
    (void)close(w->fd[0]);
    (void)close(w->fd[1]);
    w->fd[0] = w->fd[1] = -1;
    return 0;
}
static void s3si_wake_close(s3si_wake *w) {
    if (w->fd[0] >= 0) (void)close(w->fd[0]);
    if (w->fd[1] >= 0) (void)close(w->fd[1]);
    w->fd[0] = w->fd[1] = -1;
}
S3SI_UNUSED static void s3si_wake_raise(int write_end) {
    char c = 1;
    while (write(write_end, &c, 1) < 0 && errno == EINTR) continue; /* a full pipe wakes as well */
}
static void s3si_wake_drain(s3si_wake *w) {
    char c[64];
    while (read(w->fd[0], c, sizeof c) > 0) continue;
}
S3SI_UNUSED static int s3si_wake_dup(const s3si_wake *w) {
    return fcntl(w->fd[1], F_DUPFD_CLOEXEC, 3);
}

typedef struct s3si_addr {
    struct sockaddr_storage sa;
    socklen_t len;
    int family;
} s3si_addr;

/* beside a count; errno tells why it failed */
enum { S3SI_SOCK_AGAIN = -1, S3SI_SOCK_FAILED = -2 };

/* Starts connecting. The descriptor, or -1 with errno. */
static int s3si_sock_connect(const s3si_addr *a) {
    int one = 1, fd = socket(a->family, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    if (!s3si_sock_prepare(fd)) {
        (void)close(fd);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef SO_NOSIGPIPE
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len) != 0 && errno != EINPROGRESS &&
        errno != EINTR) {
        int e = errno;
        (void)close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* The outcome of a connect that poll reported ready: 0, or an errno. */
static int s3si_sock_connected(int fd) {
    int e = 0;
    socklen_t n = sizeof e;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0) return errno;
    return e;
}

static long s3si_sock_recv(int fd, void *p, size_t n) {
    ssize_t got;
    do got = recv(fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got >= 0) return (long)got;
    return errno == EAGAIN || errno == EWOULDBLOCK ? (long)S3SI_SOCK_AGAIN : (long)S3SI_SOCK_FAILED;
}

static long s3si_sock_send(int fd, const void *p, size_t n) {
    ssize_t put;
    do put = send(fd, p, n, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put >= 0) return (long)put;
    return errno == EAGAIN || errno == EWOULDBLOCK ? (long)S3SI_SOCK_AGAIN : (long)S3SI_SOCK_FAILED;
}

/* 1 when nothing has arrived on an idle connection and the peer has not closed it. */
static int s3si_sock_quiet(int fd) {
    char c;
    ssize_t got = recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static void s3si_sock_close(int fd) {
    if (fd >= 0) (void)close(fd);
}

/* Resolves host and port into at most cap addresses; returns how many, 0 with a text on failure.
 * numeric_only: no name service is asked, so it cannot block. */
static size_t s3si_sock_resolve(const char *host, const char *port, int numeric_only,
                                s3si_addr *out, size_t cap, const char **text) {
    struct addrinfo hints, *list = NULL, *at;
    size_t n = 0;
    int rc;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (numeric_only ? AI_NUMERICHOST : 0);
    rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        *text = gai_strerror(rc);
        return 0;
    }
    for (at = list; at && n < cap; at = at->ai_next) {
        if (at->ai_addrlen > sizeof out[n].sa) continue;
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n].sa, at->ai_addr, at->ai_addrlen);
        out[n].len = (socklen_t)at->ai_addrlen;
        out[n].family = at->ai_family;
        n++;
    }
    freeaddrinfo(list);
    *text = n ? NULL : "no usable address";
    return n;
}

enum { S3SI_POLL_IN = POLLIN, S3SI_POLL_OUT = POLLOUT };
typedef struct pollfd s3si_pollfd;

static int s3si_sock_poll(s3si_pollfd *fds, size_t n, int64_t timeout_us) {
    int ms = timeout_us < 0 ? -1
             : timeout_us > 3600000000 ? 3600000
                                       : (int)((timeout_us + 999) / 1000);
    return poll(fds, (nfds_t)n, ms);
}

typedef struct s3si_file_info {
    uint64_t size;
    int64_t mtime, mtime_ns;
    uint64_t inode;
} s3si_file_info;

static void s3si_file_facts(const struct stat *st, s3si_file_info *info) {
    info->size = (uint64_t)st->st_size;
    info->mtime = (int64_t)st->st_mtime;
#if defined(__APPLE__)
    info->mtime_ns = (int64_t)st->st_mtimespec.tv_nsec;
#else
    info->mtime_ns = (int64_t)st->st_mtim.tv_nsec;
#endif
    info->inode = (uint64_t)st->st_ino;
}

/* Opens a regular file for reading; the descriptor, or -1 with errno. */
static int s3si_file_open(const char *path, s3si_file_info *info) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        int e = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        (void)close(fd);
        errno = e;
        return -1;
    }
    s3si_file_facts(&st, info);
    return fd;
}

static long s3si_file_read(int fd, void *p, size_t n, uint64_t offset) {
    ssize_t got;
    do got = pread(fd, p, n, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return (long)got;
}

/* 1 while the open file has the facts it was opened with. */
static int s3si_file_same(int fd, const s3si_file_info *then) {
    s3si_file_info now;
    struct stat st;
    if (fstat(fd, &st) != 0) return 0;
    s3si_file_facts(&st, &now);
    return now.size == then->size && now.mtime == then->mtime && now.mtime_ns == then->mtime_ns;
}

static void s3si_file_close(int fd) {
    if (fd >= 0) (void)close(fd);
}

#if S3SI_WRITE
/* Writes a whole file under a temporary name beside its own, then renames it. 0, or an errno; on
 * failure nothing is left under either name. temp: room for the temporary name. */
static int s3si_file_put(const char *path, const void *data, size_t n, char *temp,
                         size_t temp_cap) {
    const char *p = (const char *)data;
    int e = 0, fd;
    int len = snprintf(temp, temp_cap, "%s.s3stream-%ld-%llx", path, (long)getpid(),
                       (unsigned long long)s3si_sys_random());
    if (len < 0 || (size_t)len >= temp_cap) return ENAMETOOLONG;
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return errno;
    while (n && !e) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno != EINTR) e = errno;
        if (put > 0) p += put, n -= (size_t)put;
    }
    if (!e && fsync(fd) != 0) e = errno;
    if (close(fd) != 0 && !e) e = errno;
    if (!e && rename(temp, path) != 0) e = errno;
    if (e) (void)unlink(temp);
    return e;
}

static int s3si_file_remove(const char *path) { return unlink(path) == 0 ? 0 : errno; }
#endif

/* >>hash
 * Digests are init / update / final over structs of the caller's without interior pointers, so
 * that they may be copied midway. FIPS 180-4, RFC 2104, RFC 1321. */
typedef struct s3si_sha256 {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
} s3si_sha256;

static const uint32_t s3si_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t s3si_ror32(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void s3si_sha256_blocks(uint32_t h[8], const uint8_t *p, size_t blocks) {
    uint32_t w[64];
    for (; blocks; blocks--, p += 64) {
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
        int t;
        for (t = 0; t < 16; t++)
            w[t] = (uint32_t)p[4 * t] << 24 | (uint32_t)p[4 * t + 1] << 16 |
                   (uint32_t)p[4 * t + 2] << 8 | p[4 * t + 3];
        for (; t < 64; t++) {
            uint32_t x = w[t - 15], y = w[t - 2];
            w[t] = w[t - 16] + w[t - 7] + (s3si_ror32(x, 7) ^ s3si_ror32(x, 18) ^ x >> 3) +
                   (s3si_ror32(y, 17) ^ s3si_ror32(y, 19) ^ y >> 10);
        }
        for (t = 0; t < 64; t++) {
            uint32_t s1 = s3si_ror32(e, 6) ^ s3si_ror32(e, 11) ^ s3si_ror32(e, 25);
            uint32_t t1 = i + s1 + ((e & f) ^ (~e & g)) + s3si_sha256_k[t] + w[t];
            uint32_t s0 = s3si_ror32(a, 2) ^ s3si_ror32(a, 13) ^ s3si_ror32(a, 22);
            uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
            i = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += i;
    }
}

static void s3si_sha256_init(s3si_sha256 *s) {
    static const uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, h, sizeof h);
    s->n = 0;
}

static void s3si_sha256_update(s3si_sha256 *s, const void *data, size_t n) {
    const uint8_t *p = (const uint8_t *)data;
    size_t have = (size_t)(s->n % 64);
    if (!n) return; /* data may be NULL then */
    s->n += n;
    if (have) {
        size_t take = n < 64 - have ? n : 64 - have;
        if (take) memcpy(s->block + have, p, take);
        p += take, n -= take;
        if (have + take < 64) return;
        s3si_sha256_blocks(s->h, s->block, 1);
    }
    s3si_sha256_blocks(s->h, p, n / 64);
    p += n / 64 * 64;
    if (n % 64) memcpy(s->block, p, n % 64);
}

static void s3si_sha256_final(s3si_sha256 *s, uint8_t out[32]) {
    static const uint8_t pad[64] = {0x80};
    uint64_t bits = s->n * 8;
    uint8_t length[8];
    int i;
    s3si_sha256_update(s, pad, 1 + (size_t)((119 - s->n % 64) % 64));
    for (i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    s3si_sha256_update(s, length, 8);
    for (i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

static void s3si_sha256_hex(const void *data, size_t n, char out[65]) {
    s3si_sha256 s;
    uint8_t digest[32];
    s3si_sha256_init(&s);
    s3si_sha256_update(&s, data, n);
    s3si_sha256_final(&s, digest);
    s3si_hex_encode(digest, sizeof digest, out);
}

static void s3si_hmac_sha256(const void *key, size_t key_n, const void *data, size_t n,
                             uint8_t out[32]) {
    s3si_sha256 s;
    uint8_t k[64] = {0}, pad[64];
    int i;
    if (key_n > 64) {
        s3si_sha256_init(&s);
        s3si_sha256_update(&s, key, key_n);
        s3si_sha256_final(&s, k);
    } else if (key_n) {
        memcpy(k, key, key_n);
    }
    for (i = 0; i < 64; i++) pad[i] = k[i] ^ 0x36;
    s3si_sha256_init(&s);
    s3si_sha256_update(&s, pad, 64);
    s3si_sha256_update(&s, data, n);
    s3si_sha256_final(&s, out);
    for (i = 0; i < 64; i++) pad[i] = k[i] ^ 0x5c;
    s3si_sha256_init(&s);
    s3si_sha256_update(&s, pad, 64);
    s3si_sha256_update(&s, out, 32);
    s3si_sha256_final(&s, out);
    s3si_mem_wipe(k, sizeof k);
    s3si_mem_wipe(pad, sizeof pad);
    s3si_mem_wipe(&s, sizeof s);
}

#if S3SI_WRITE
/* MD5 is what an ETag of a single PUT is; it tells whether a retried PUT met its own success. */
typedef struct s3si_md5 {
    uint32_t h[4];
    uint64_t n;
    uint8_t block[64];
} s3si_md5;

static void s3si_md5_block(uint32_t h[4], const uint8_t *p) {
    static const uint8_t shift[16] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};
    static const uint32_t k[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
        0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
        0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
        0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
        0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
        0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
        0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
        0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
        0xeb86d391};
    uint32_t m[16], a = h[0], b = h[1], c = h[2], d = h[3];
    int i;
    for (i = 0; i < 16; i++)
        m[i] = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 | (uint32_t)p[4 * i + 2] << 16 |
               (uint32_t)p[4 * i + 3] << 24;
    for (i = 0; i < 64; i++) {
        uint32_t f;
        int g, s = shift[i / 16 * 4 + i % 4];
        if (i < 16) f = (b & c) | (~b & d), g = i;
        else if (i < 32) f = (d & b) | (~d & c), g = (5 * i + 1) % 16;
        else if (i < 48) f = b ^ c ^ d, g = (3 * i + 5) % 16;
        else f = c ^ (b | ~d), g = 7 * i % 16;
        f += a + k[i] + m[g];
        a = d, d = c, c = b;
        b += f << s | f >> (32 - s);
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d;
}

static void s3si_md5_init(s3si_md5 *s) {
    s->h[0] = 0x67452301, s->h[1] = 0xefcdab89, s->h[2] = 0x98badcfe, s->h[3] = 0x10325476;
    s->n = 0;
}

static void s3si_md5_update(s3si_md5 *s, const void *data, size_t n) {
    const uint8_t *p = (const uint8_t *)data;
    while (n) {
        size_t have = (size_t)(s->n % 64), take = n < 64 - have ? n : 64 - have;
        if (take == 64) {
            s3si_md5_block(s->h, p);
        } else {
            memcpy(s->block + have, p, take);
            if (have + take == 64) s3si_md5_block(s->h, s->block);
        }
        s->n += take, p += take, n -= take;
    }
}

static void s3si_md5_final(s3si_md5 *s, uint8_t out[16]) {
    static const uint8_t pad[64] = {0x80};
    uint64_t bits = s->n * 8;
    uint8_t length[8];
    int i;
    s3si_md5_update(s, pad, 1 + (size_t)((119 - s->n % 64) % 64));
    for (i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (8 * i));
    s3si_md5_update(s, length, 8);
    for (i = 0; i < 16; i++) out[i] = (uint8_t)(s->h[i / 4] >> (8 * (i % 4)));
}
#endif

/* >>xml
 * A pull scanner for the element-and-text XML of S3's answers: namespaces' prefixes and attributes
 * are passed over, comments and declarations skipped. It never allocates; text is decoded by the
 * caller's buffer. Anything that is not well-formed enough to go on ends the scan as S3SI_XML_BAD.
 */
enum { S3SI_XML_BAD = -1, S3SI_XML_END = 0, S3SI_XML_OPEN, S3SI_XML_CLOSE, S3SI_XML_TEXT };
typedef struct s3si_xml {
    s3si_str rest;
    s3si_str self_closed; /* a <name/> whose CLOSE is still owed */
} s3si_xml;

static void s3si_xml_init(s3si_xml *x, s3si_str doc) {
    x->rest = doc;
    x->self_closed = s3si_str_make("", 0);
}

/* The length of what a '<' at the front of s opens, up to and with its end mark; 0 when it never
 * ends. */
static size_t s3si_xml_until(s3si_str s, const char *mark) {
    size_t m = strlen(mark), i;
    for (i = 0; i + m <= s.n; i++)
        if (memcmp(s.p + i, mark, m) == 0) return i + m;
    return 0;
}

static s3si_str s3si_xml_name(s3si_str tag) {
    size_t i = 0, colon;
    while (i < tag.n && !strchr(" \t\r\n/", tag.p[i])) i++;
    tag.n = i;
    colon = s3si_str_find(tag, ':');
    return colon < tag.n ? s3si_str_from(tag, colon + 1) : tag;
}

static int s3si_xml_next(s3si_xml *x, s3si_str *out) {
    for (;;) {
        size_t n;
        s3si_str tag;
        if (x->self_closed.n) {
            *out = x->self_closed;
            x->self_closed.n = 0;
            return S3SI_XML_CLOSE;
        }
        if (x->rest.n == 0) return S3SI_XML_END;
        if (x->rest.p[0] != '<') {
            n = s3si_str_find(x->rest, '<');
            *out = s3si_str_make(x->rest.p, n);
            x->rest = s3si_str_from(x->rest, n);
            return S3SI_XML_TEXT;
        }
        if (s3si_str_starts(x->rest, "<!--")) n = s3si_xml_until(x->rest, "-->");
        else n = s3si_xml_until(x->rest, ">");
        if (n < 3) return S3SI_XML_BAD;
        tag = s3si_str_make(x->rest.p + 1, n - 2);
        x->rest = s3si_str_from(x->rest, n);
        if (tag.p[0] == '?' || tag.p[0] == '!') continue;
        if (s3si_str_find(tag, '<') < tag.n) return S3SI_XML_BAD;
        if (tag.p[0] == '/') {
            *out = s3si_xml_name(s3si_str_from(tag, 1));
            return S3SI_XML_CLOSE;
        }
        *out = s3si_xml_name(tag);
        if (out->n == 0) return S3SI_XML_BAD;
        if (tag.p[tag.n - 1] == '/') x->self_closed = *out;
        return S3SI_XML_OPEN;
    }
}

/* The raw text of the first element called name, at any depth; 0 when there is none. */
static int s3si_xml_find(s3si_str doc, const char *name, s3si_str *text) {
    s3si_xml x;
    s3si_str s;
    int event;
    s3si_xml_init(&x, doc);
    while ((event = s3si_xml_next(&x, &s)) > 0) {
        if (event != S3SI_XML_OPEN || !s3si_str_is(s, name)) continue;
        event = s3si_xml_next(&x, &s);
        *text = event == S3SI_XML_TEXT ? s : s3si_str_make("", 0);
        return event == S3SI_XML_TEXT || event == S3SI_XML_CLOSE;
    }
    return 0;
}

static void s3si_utf8_add(s3si_buf *out, uint32_t c) {
    if (c < 0x80) {
        s3si_buf_addc(out, (char)c);
    } else if (c < 0x800) {
        s3si_buf_addc(out, (char)(0xc0 | c >> 6));
        s3si_buf_addc(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        s3si_buf_addc(out, (char)(0xe0 | c >> 12));
        s3si_buf_addc(out, (char)(0x80 | (c >> 6 & 63)));
        s3si_buf_addc(out, (char)(0x80 | (c & 63)));
    } else {
        s3si_buf_addc(out, (char)(0xf0 | c >> 18));
        s3si_buf_addc(out, (char)(0x80 | (c >> 12 & 63)));
        s3si_buf_addc(out, (char)(0x80 | (c >> 6 & 63)));
        s3si_buf_addc(out, (char)(0x80 | (c & 63)));
    }
}

/* Decodes the five named entities and numeric references; an unknown one stays as it is. */
static void s3si_xml_decode(s3si_buf *out, s3si_str s) {
    static const char *const named[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    static const char plain[] = "&<>\"'";
    while (s.n) {
        size_t n = s3si_str_find(s, '&'), semi, i;
        uint64_t c = 0;
        s3si_buf_add(out, s3si_str_make(s.p, n));
        s = s3si_str_from(s, n);
        if (!s.n) return;
        for (i = 0; i < 5 && !s3si_str_starts(s, named[i]); i++) continue;
        if (i < 5) {
            s3si_buf_addc(out, plain[i]);
            s = s3si_str_from(s, strlen(named[i]));
            continue;
        }
        semi = s3si_str_find(s3si_str_make(s.p, s.n < 16 ? s.n : 16), ';'); /* none is longer */
        if (semi == 16) semi = s.n;
        if (semi < s.n && semi > 3 && s.p[1] == '#' && s3si_char_lower(s.p[2]) == 'x')
            (void)s3si_str_hex64(s3si_str_make(s.p + 3, semi - 3), &c);
        else if (semi < s.n && semi > 2 && s.p[1] == '#')
            (void)s3si_str_u64(s3si_str_make(s.p + 2, semi - 2), &c);
        if (c && c < 0x110000 && (c < 0xd800 || c > 0xdfff)) {
            s3si_utf8_add(out, (uint32_t)c);
            s = s3si_str_from(s, semi + 1);
        } else {
            s3si_buf_addc(out, '&');
            s = s3si_str_from(s, 1);
        }
    }
}

/* >>json
 * Values are slices of the text: a value is taken whole and checked once (s3si_json_take), then its
 * members and items are looked up in it. RFC 8259; nesting to a depth of 32. Writing needs only the
 * escaping of strings. */
static s3si_str s3si_json_skip_space(s3si_str s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
        s = s3si_str_from(s, 1);
    return s;
}

/* The length of the string at the front of s, quotes included; 0 when it is broken. */
static size_t s3si_json_string_length(s3si_str s) {
    size_t i;
    if (!s.n || s.p[0] != '"') return 0;
    for (i = 1; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20) return 0;
        if (s.p[i] == '"') return i + 1;
        if (s.p[i] == '\\') i++;
    }
    return 0;
}

static size_t s3si_json_digits(s3si_str s, size_t i) {
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
    return i;
}

/* The length of the number or word at the front of s; 0 when there is none. */
static size_t s3si_json_scalar_length(s3si_str s) {
    static const char *const words[] = {"true", "false", "null"};
    size_t i, from;
    for (i = 0; i < 3; i++)
        if (s3si_str_starts(s, words[i])) return strlen(words[i]);
    from = s.n && s.p[0] == '-';
    i = s3si_json_digits(s, from);
    if (i == from || (s.p[from] == '0' && i > from + 1)) return 0;
    if (i < s.n && s.p[i] == '.') {
        from = i + 1;
        if ((i = s3si_json_digits(s, from)) == from) return 0;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        from = i + 1;
        if (from < s.n && (s.p[from] == '+' || s.p[from] == '-')) from++;
        if ((i = s3si_json_digits(s, from)) == from) return 0;
    }
    return i;
}

/* Takes one value from the front of *in; 0 when the text is malformed. The nesting is kept on a
 * small stack of closing brackets, so that hostile depth costs an error and no recursion. */
static int s3si_json_take(s3si_str *in, s3si_str *value) {
    s3si_str s = s3si_json_skip_space(*in), start = s;
    char close[32];
    int depth = 0, want_value = 1; /* want_value: 1 a value, 0 a comma or a close */
    for (;;) {
        size_t n;
        s = s3si_json_skip_space(s);
        if (!s.n) return 0;
        if (!want_value) {
            if (s.p[0] == ',') {
                want_value = 1;
            } else if (s.p[0] == close[depth - 1]) {
                depth--;
            } else {
                return 0;
            }
            s = s3si_str_from(s, 1);
            if (depth == 0) break;
            if (!want_value) continue;
            s = s3si_json_skip_space(s);
        }
        if (depth && close[depth - 1] == '}') { /* a member's name */
            n = s3si_json_string_length(s);
            if (!n) return 0;
            s = s3si_json_skip_space(s3si_str_from(s, n));
            if (!s.n || s.p[0] != ':') return 0;
            s = s3si_json_skip_space(s3si_str_from(s, 1));
            if (!s.n) return 0;
        }
        want_value = 0;
        if (s.n && (s.p[0] == '{' || s.p[0] == '[')) {
            if (depth == (int)sizeof close) return 0;
            close[depth++] = s.p[0] == '{' ? '}' : ']';
            s = s3si_json_skip_space(s3si_str_from(s, 1));
            want_value = !(s.n && s.p[0] == close[depth - 1]);
            continue;
        }
        n = s.n && s.p[0] == '"' ? s3si_json_string_length(s) : s3si_json_scalar_length(s);
        if (!n) return 0;
        s = s3si_str_from(s, n);
        if (depth == 0) break;
    }
    *value = s3si_str_make(start.p, (size_t)(s.p - start.p));
    *in = s;
    return 1;
}

/* Steps through a taken array or object: *rest starts as the value's text. 0 at the end. */
static int s3si_json_step(s3si_str *rest, s3si_str *name, s3si_str *value) {
    s3si_str s = *rest;
    if (!s.n) return 0;
    s = s3si_json_skip_space(s3si_str_from(s, 1)); /* past the bracket or the comma */
    if (!s.n || s.p[0] == '}' || s.p[0] == ']') return 0;
    *name = s3si_str_make("", 0);
    if (s.p[0] == '"') {
        size_t n = s3si_json_string_length(s);
        s3si_str after = s3si_json_skip_space(s3si_str_from(s, n));
        if (after.n && after.p[0] == ':') {
            *name = s3si_str_make(s.p + 1, n - 2);
            s = s3si_str_from(after, 1);
        }
    }
    if (!s3si_json_take(&s, value)) return 0;
    *rest = s3si_json_skip_space(s);
    return 1;
}

static int s3si_json_member(s3si_str object, const char *name, s3si_str *value) {
    s3si_str key;
    if (!object.n || object.p[0] != '{') return 0;
    while (s3si_json_step(&object, &key, value))
        if (s3si_str_is(key, name)) return 1;
    return 0;
}

static int s3si_json_u64(s3si_str object, const char *name, uint64_t *out) {
    s3si_str v;
    return s3si_json_member(object, name, &v) && s3si_str_u64(v, out);
}

static uint32_t s3si_json_unit(s3si_str s) {
    uint64_t v = 0;
    return s.n >= 4 && s3si_str_hex64(s3si_str_make(s.p, 4), &v) ? (uint32_t)v : 0xfffd;
}

/* A string value, decoded; 0 when the value is not a string. */
static int s3si_json_decode(s3si_buf *out, s3si_str value) {
    static const char escapes[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    s3si_str s;
    if (value.n < 2 || value.p[0] != '"') return 0;
    s = s3si_str_make(value.p + 1, value.n - 2);
    while (s.n) {
        const char *hit;
        if (s.p[0] != '\\' || s.n < 2) {
            s3si_buf_addc(out, s.p[0]);
            s = s3si_str_from(s, 1);
            continue;
        }
        hit = s.p[1] ? strchr(escapes, s.p[1]) : NULL;
        if (hit) {
            s3si_buf_addc(out, plain[hit - escapes]);
            s = s3si_str_from(s, 2);
        } else if (s.p[1] == 'u') {
            uint32_t c = s3si_json_unit(s3si_str_from(s, 2));
            s = s3si_str_from(s, 6);
            if (c >= 0xd800 && c < 0xdc00 && s3si_str_starts(s, "\\u")) {
                uint32_t low = s3si_json_unit(s3si_str_from(s, 2));
                if (low >= 0xdc00 && low < 0xe000) {
                    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                    s = s3si_str_from(s, 6);
                }
            }
            s3si_utf8_add(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
        } else {
            return 0;
        }
    }
    return 1;
}

static void s3si_json_encode(s3si_buf *out, s3si_str s) {
    size_t i;
    s3si_buf_addc(out, '"');
    for (i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            s3si_buf_addc(out, '\\');
            s3si_buf_addc(out, (char)c);
        } else if (c < 0x20) {
            char e[8];
            (void)snprintf(e, sizeof e, "\\u%04x", (unsigned)c);
            s3si_buf_addz(out, e);
        } else {
            s3si_buf_addc(out, (char)c);
        }
    }
    s3si_buf_addc(out, '"');
}

/* >>uri
 * What a URI names, as slices of its text. Keys are literal: every byte behind "s3://bucket/" is
 * the key, also '%', '?', '#', "//" and "..". An http URI is percent-encoded by its author and is
 * sent as it is. An endpoint is scheme, host, port and an optional path in front of every key. */
enum { S3SI_URI_S3 = 1, S3SI_URI_HTTP, S3SI_URI_FILE };
typedef struct s3si_uri {
    int scheme;
    s3si_str bucket, key; /* s3 */
    s3si_str path;        /* file: the path; http: path and query, at least "/" */
    s3si_str host, port;  /* http: host without brackets */
    int tls;
} s3si_uri;

/* scheme://host[:port][/path] into tls, host, port, path; why: what is wrong with it. */
static int s3si_uri_authority(s3si_str s, s3si_uri *u, const char **why) {
    s3si_str authority;
    uint64_t port;
    size_t i, slash;
    if (s3si_str_starts(s, "https://")) u->tls = 1;
    else if (s3si_str_starts(s, "http://")) u->tls = 0;
    else return *why = "it must begin with http:// or https://", 0;
    s = s3si_str_from(s, u->tls ? 8 : 7);
    for (slash = 0; slash < s.n && !strchr("/?#", s.p[slash]); slash++) continue;
    authority = s3si_str_make(s.p, slash);
    u->path = s3si_str_from(s, slash);
    for (i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f)
            return *why = "it holds a space or control character; percent-encode it", 0;
    if (s3si_str_find(authority, '@') < authority.n)
        return *why = "user names in URLs are not supported", 0;
    if (authority.n && authority.p[0] == '[') {
        size_t close = s3si_str_find(authority, ']');
        if (close == authority.n) return *why = "the IPv6 address has no ']'", 0;
        u->host = s3si_str_make(authority.p + 1, close - 1);
        authority = s3si_str_from(authority, close + 1);
        if (authority.n && authority.p[0] != ':') return *why = "']' is followed by rubbish", 0;
    } else {
        size_t colon = s3si_str_find(authority, ':');
        u->host = s3si_str_make(authority.p, colon);
        authority = s3si_str_from(authority, colon);
    }
    if (u->host.n == 0 || u->host.n > 255) return *why = "it has no host name", 0;
    u->port = authority.n ? s3si_str_from(authority, 1) : s3si_str_of(u->tls ? "443" : "80");
    if (!s3si_str_u64(u->port, &port) || port == 0 || port > 65535 || u->port.n > 5)
        return *why = "the port is not a number from 1 to 65535", 0;
    return 1;
}

static int s3si_uri_parse(s3si_str s, s3si_uri *u, const char **why) {
    memset(u, 0, sizeof *u);
    if (memchr(s.p, 0, s.n)) return *why = "it holds a NUL", 0;
    if (s3si_str_starts(s, "s3://")) {
        size_t i;
        u->scheme = S3SI_URI_S3;
        u->bucket = s3si_str_cut(s3si_str_from(s, 5), '/', &u->key);
        for (i = 0; i < u->bucket.n; i++) {
            char c = u->bucket.p[i];
            if (!isalnum((unsigned char)c) && c != '-' && c != '.' && c != '_')
                return *why = "a bucket name has only letters, digits, '-', '.' and '_'", 0;
        }
        return 1;
    }
    if (s3si_str_starts(s, "file://")) {
        u->scheme = S3SI_URI_FILE;
        u->path = s3si_str_from(s, 7);
        if (!u->path.n || u->path.p[0] != '/')
            return *why = "file:// needs an absolute path: file:///path", 0;
        return 1;
    }
    if (s3si_str_starts(s, "http://") || s3si_str_starts(s, "https://")) {
        u->scheme = S3SI_URI_HTTP;
        if (!s3si_uri_authority(s, u, why)) return 0;
        u->path.n = s3si_str_find(u->path, '#'); /* a fragment is the reader's own */
        if (!u->path.n) u->path = s3si_str_of("/");
        if (u->path.p[0] != '/') return *why = "a '/' is missing before the '?'", 0;
        return 1;
    }
    return *why = "it must begin with s3://, http(s):// or file://", 0;
}

/* Where requests of one kind go. */
typedef struct s3si_origin {
    char host[256];
    char port[6];
    int tls;
} s3si_origin;

static void s3si_origin_set(s3si_origin *o, s3si_str host, s3si_str port, int tls) {
    memset(o, 0, sizeof *o);
    (void)s3si_str_copy(host, o->host, sizeof o->host);
    (void)s3si_str_copy(port, o->port, sizeof o->port);
    o->tls = tls;
}

static int s3si_origin_eq(const s3si_origin *a, const s3si_origin *b) {
    return a->tls == b->tls && strcmp(a->port, b->port) == 0 &&
           s3si_str_ieq(s3si_str_of(a->host), s3si_str_of(b->host));
}

/* The Host header's value: the port only where it is not the scheme's own. */
static void s3si_origin_authority(const s3si_origin *o, s3si_buf *out) {
    int v6 = strchr(o->host, ':') != NULL;
    if (v6) s3si_buf_addc(out, '[');
    s3si_buf_addz(out, o->host);
    if (v6) s3si_buf_addc(out, ']');
    if (strcmp(o->port, o->tls ? "443" : "80") != 0) {
        s3si_buf_addc(out, ':');
        s3si_buf_addz(out, o->port);
    }
}

/* 1 when host is domain or lies below it. */
static int s3si_uri_within(s3si_str host, s3si_str domain) {
    if (host.n > domain.n && host.p[host.n - domain.n - 1] == '.')
        host = s3si_str_from(host, host.n - domain.n);
    return s3si_str_ieq(host, domain);
}

static int s3si_uri_is_address(s3si_str host) {
    size_t i;
    for (i = 0; i < host.n; i++)
        if (host.p[i] != '.' && !isdigit((unsigned char)host.p[i]))
            return s3si_str_find(host, ':') < host.n;
    return 1;
}

/* Virtual-host style is possible for names that are DNS labels; a dot would break a wildcard
 * certificate, so https takes path style then. */
static int s3si_uri_virtual_ok(s3si_str bucket, s3si_str host, int tls) {
    size_t i;
    if (bucket.n < 3 || bucket.n > 63 || s3si_uri_is_address(host)) return 0;
    for (i = 0; i < bucket.n; i++) {
        char c = bucket.p[i];
        int edge = i == 0 || i + 1 == bucket.n || bucket.p[i - 1] == '.' || bucket.p[i + 1] == '.';
        if (!((c >= 'a' && c <= 'z') || isdigit((unsigned char)c) ||
              (!edge && (c == '-' || (c == '.' && !tls)))))
            return 0;
    }
    return 1;
}

/* >>sigv4
 * AWS Signature Version 4, pure: request in, canonical request, string to sign, signature out. The
 * path and query are given as they go on the wire; S3 signs that path as it is, other services
 * encode it once more after removing dot segments (the two flags). The query is decoded and
 * encoded again, so that it may be given in any form that means the same. Reference: "Create a
 * signed AWS API request", AWS. */
typedef struct s3si_header {
    s3si_str name, value;
} s3si_header;

typedef struct s3si_sigv4 {
    s3si_str method, path, query;
    const s3si_header *headers; /* just those that are signed, in any order */
    size_t header_count;
    s3si_str payload_hash;
    s3si_str region, service;
    const char *time; /* 20150830T123600Z */
    int normalize;    /* remove "." and ".." segments and empty ones */
    int double_encode;
} s3si_sigv4;

#define S3SI_SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define S3SI_SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum { S3SI_SIGV4_SORT_MAX = 128 };

/* Removes "//", "/./" and "/../" as RFC 3986 section 5.2.4 does; a trailing slash stays. */
static void s3si_sigv4_normalize(s3si_buf *out, s3si_str path) {
    size_t base = out->n;
    int slash = path.n && path.p[path.n - 1] == '/', dots;
    while (path.n) {
        s3si_str segment = s3si_str_cut(path, '/', &path);
        dots = s3si_str_is(segment, ".") || s3si_str_is(segment, "..");
        if (dots && path.n == 0) slash = 1;
        if (segment.n == 2 && dots) {
            while (out->n > base && out->p[out->n - 1] != '/') out->n--;
            if (out->n > base) out->n--;
        } else if (segment.n && !dots) {
            s3si_buf_addc(out, '/');
            s3si_buf_add(out, segment);
        }
    }
    if (out->n == base || slash) s3si_buf_addc(out, '/');
}

static void s3si_sigv4_path(s3si_buf *out, const s3si_sigv4 *r) {
    s3si_buf clean;
    s3si_str path = r->path.n ? r->path : s3si_str_of("/");
    if (!r->normalize && !r->double_encode) {
        s3si_buf_add(out, path);
        return;
    }
    s3si_buf_init(&clean, out->mem);
    if (r->normalize) {
        s3si_sigv4_normalize(&clean, path);
        path = s3si_buf_str(&clean);
    }
    if (r->double_encode) s3si_percent_encode(out, path, 1);
    else s3si_buf_add(out, path);
    if (!s3si_buf_ok(&clean)) out->failed = 1;
    s3si_buf_deinit(&clean);
}

typedef struct s3si_sigv4_pair {
    s3si_str name, value;
} s3si_sigv4_pair;

static int s3si_sigv4_order(s3si_str a, s3si_str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int s3si_sigv4_pair_order(const void *x, const void *y) {
    const s3si_sigv4_pair *a = (const s3si_sigv4_pair *)x, *b = (const s3si_sigv4_pair *)y;
    int c = s3si_sigv4_order(a->name, b->name);
    return c ? c : s3si_sigv4_order(a->value, b->value);
}

/* Encodes a decoded name or value anew at the end of `text`, which has room and does not move. */
static s3si_str s3si_sigv4_recode(s3si_buf *text, s3si_str s, s3si_buf *scratch) {
    size_t from = text->n;
    s3si_buf_clear(scratch);
    s3si_percent_decode(scratch, s);
    if (!s3si_buf_ok(scratch)) text->failed = 1;
    s3si_percent_encode(text, s3si_buf_str(scratch), 0);
    return s3si_buf_ok(text) ? s3si_str_make(text->p + from, text->n - from) : s3si_str_of("");
}

/* The canonical query string; `skip` names a parameter to leave out (X-Amz-Signature). */
static void s3si_sigv4_query(s3si_buf *out, s3si_str query, const char *skip) {
    s3si_sigv4_pair pairs[S3SI_SIGV4_SORT_MAX];
    s3si_buf text, scratch;
    size_t count = 0, i;
    s3si_buf_init(&text, out->mem);
    s3si_buf_init(&scratch, out->mem);
    if (query.n > SIZE_MAX / 4 || !s3si_buf_reserve(&text, 3 * query.n)) query.n = 0;
    while (query.n) {
        s3si_str value, name = s3si_str_cut(s3si_str_cut(query, '&', &query), '=', &value);
        if ((name.n == 0 && value.n == 0) || (skip && s3si_str_is(name, skip))) continue;
        if (count == S3SI_SIGV4_SORT_MAX) {
            out->failed = 1;
            break;
        }
        pairs[count].name = s3si_sigv4_recode(&text, name, &scratch);
        pairs[count++].value = s3si_sigv4_recode(&text, value, &scratch);
    }
    if (!s3si_buf_ok(&text) || !s3si_buf_ok(&scratch)) out->failed = 1;
    if (s3si_buf_ok(out)) {
        qsort(pairs, count, sizeof pairs[0], s3si_sigv4_pair_order);
        for (i = 0; i < count; i++) {
            if (i) s3si_buf_addc(out, '&');
            s3si_buf_add(out, pairs[i].name);
            s3si_buf_addc(out, '=');
            s3si_buf_add(out, pairs[i].value);
        }
    }
    s3si_buf_deinit(&text);
    s3si_buf_deinit(&scratch);
}

/* A header's value as it is signed: trimmed, runs of spaces made one, folded lines joined. */
static void s3si_sigv4_value(s3si_buf *out, s3si_str v) {
    size_t i, from = out->n;
    int space = 0;
    for (i = 0; i < v.n; i++) {
        int is_space = v.p[i] == ' ' || v.p[i] == '\t' || v.p[i] == '\r' || v.p[i] == '\n';
        if (!is_space) {
            if (space && out->n > from) s3si_buf_addc(out, ' ');
            s3si_buf_addc(out, v.p[i]);
        }
        space = is_space;
    }
}

static void s3si_sigv4_lower(s3si_buf *out, s3si_str s) {
    size_t i;
    for (i = 0; i < s.n; i++) s3si_buf_addc(out, s3si_char_lower(s.p[i]));
}

static int s3si_sigv4_header_order(const s3si_header *a, const s3si_header *b) {
    size_t i;
    for (i = 0; i < a->name.n && i < b->name.n; i++) {
        int d = s3si_char_lower(a->name.p[i]) - s3si_char_lower(b->name.p[i]);
        if (d) return d;
    }
    return (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

/* The header that follows `at` in the order of names, equal names in the order given; count at the
 * end. */
static size_t s3si_sigv4_header_after(const s3si_sigv4 *r, size_t at) {
    size_t i, best = r->header_count;
    for (i = 0; i < r->header_count; i++) {
        if (at < r->header_count) {
            int c = s3si_sigv4_header_order(&r->headers[i], &r->headers[at]);
            if (c < 0 || (c == 0 && i <= at)) continue;
        }
        if (best == r->header_count ||
            s3si_sigv4_header_order(&r->headers[i], &r->headers[best]) < 0)
            best = i;
    }
    return best;
}

/* Canonical headers to `lines` (may be NULL) and their names joined by ';' to `names`. */
static void s3si_sigv4_headers(const s3si_sigv4 *r, s3si_buf *lines, s3si_buf *names) {
    size_t at = r->header_count, next;
    while ((next = s3si_sigv4_header_after(r, at)) < r->header_count) {
        const s3si_header *h = &r->headers[next];
        int same = at < r->header_count && s3si_str_ieq(h->name, r->headers[at].name);
        if (!same && names) {
            if (at < r->header_count) s3si_buf_addc(names, ';');
            s3si_sigv4_lower(names, h->name);
        }
        if (lines) {
            if (same) {
                lines->n--; /* the newline: values of one name share a line */
                s3si_buf_addc(lines, ',');
            } else {
                s3si_sigv4_lower(lines, h->name);
                s3si_buf_addc(lines, ':');
            }
            s3si_sigv4_value(lines, h->value);
            s3si_buf_addc(lines, '\n');
        }
        at = next;
    }
}

static void s3si_sigv4_canonical(const s3si_sigv4 *r, s3si_buf *out) {
    s3si_buf_add(out, r->method);
    s3si_buf_addc(out, '\n');
    s3si_sigv4_path(out, r);
    s3si_buf_addc(out, '\n');
    s3si_sigv4_query(out, r->query, "X-Amz-Signature");
    s3si_buf_addc(out, '\n');
    s3si_sigv4_headers(r, out, NULL);
    s3si_buf_addc(out, '\n');
    s3si_sigv4_headers(r, NULL, out);
    s3si_buf_addc(out, '\n');
    s3si_buf_add(out, r->payload_hash);
}

static void s3si_sigv4_scope(const s3si_sigv4 *r, s3si_buf *out) {
    s3si_buf_add(out, s3si_str_make(r->time, 8));
    s3si_buf_addc(out, '/');
    s3si_buf_add(out, r->region);
    s3si_buf_addc(out, '/');
    s3si_buf_add(out, r->service);
    s3si_buf_addz(out, "/aws4_request");
}

static void s3si_sigv4_string_to_sign(const s3si_sigv4 *r, s3si_str canonical, s3si_buf *out) {
    char hash[65];
    s3si_buf_addz(out, "AWS4-HMAC-SHA256\n");
    s3si_buf_add(out, s3si_str_make(r->time, 16));
    s3si_buf_addc(out, '\n');
    s3si_sigv4_scope(r, out);
    s3si_buf_addc(out, '\n');
    s3si_sha256_hex(canonical.p, canonical.n, hash);
    s3si_buf_addz(out, hash);
}

static void s3si_sigv4_key(const s3si_sigv4 *r, const char *secret, uint8_t key[32]) {
    char first[4 + 256];
    size_t n = strlen(secret);
    if (n > 256) n = 256;
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret, n);
    s3si_hmac_sha256(first, 4 + n, r->time, 8, key);
    s3si_hmac_sha256(key, 32, r->region.p, r->region.n, key);
    s3si_hmac_sha256(key, 32, r->service.p, r->service.n, key);
    s3si_hmac_sha256(key, 32, "aws4_request", 12, key);
    s3si_mem_wipe(first, sizeof first);
}

/* The signature in hex; mem is for the texts in between. 0 when there was no memory. */
static int s3si_sigv4_sign(const s3si_sigv4 *r, const uint8_t key[32], const s3si_mem *mem,
                           char signature[65]) {
    s3si_buf canonical, to_sign;
    uint8_t mac[32];
    int ok;
    s3si_buf_init(&canonical, mem);
    s3si_buf_init(&to_sign, mem);
    s3si_sigv4_canonical(r, &canonical);
    s3si_sigv4_string_to_sign(r, s3si_buf_str(&canonical), &to_sign);
    ok = s3si_buf_ok(&canonical) && s3si_buf_ok(&to_sign);
    if (ok) {
        s3si_hmac_sha256(key, 32, to_sign.p, to_sign.n, mac);
        s3si_hex_encode(mac, sizeof mac, signature);
    }
    s3si_buf_deinit(&canonical);
    s3si_buf_deinit(&to_sign);
    return ok;
}

/* The value of the Authorization header. */
static void s3si_sigv4_authorization(const s3si_sigv4 *r, const char *access_key,
                                     const uint8_t key[32], s3si_buf *out) {
    char signature[65];
    if (!s3si_sigv4_sign(r, key, out->mem, signature)) {
        out->failed = 1;
        return;
    }
    s3si_buf_addz(out, "AWS4-HMAC-SHA256 Credential=");
    s3si_buf_addz(out, access_key);
    s3si_buf_addc(out, '/');
    s3si_sigv4_scope(r, out);
    s3si_buf_addz(out, ", SignedHeaders=");
    s3si_sigv4_headers(r, NULL, out);
    s3si_buf_addz(out, ", Signature=");
    s3si_buf_addz(out, signature);
}

/* The query parameters that presigning adds to r->query, all but the signature; token may be NULL.
 */
S3SI_UNUSED static void s3si_sigv4_presign_query(const s3si_sigv4 *r, const char *access_key,
                                                 const char *token, uint64_t expires,
                                                 s3si_buf *out) {
    s3si_buf plain;
    s3si_buf_add(out, r->query);
    if (r->query.n) s3si_buf_addc(out, '&');
    s3si_buf_init(&plain, out->mem);
    s3si_buf_addz(&plain, access_key);
    s3si_buf_addc(&plain, '/');
    s3si_sigv4_scope(r, &plain);
    s3si_buf_addz(out, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    s3si_percent_encode(out, s3si_buf_str(&plain), 0);
    s3si_buf_addz(out, "&X-Amz-Date=");
    s3si_buf_add(out, s3si_str_make(r->time, 16));
    s3si_buf_addz(out, "&X-Amz-Expires=");
    s3si_buf_addu(out, expires);
    if (token && *token) {
        s3si_buf_addz(out, "&X-Amz-Security-Token=");
        s3si_percent_encode(out, s3si_str_of(token), 0);
    }
    s3si_buf_addz(out, "&X-Amz-SignedHeaders=");
    if (!s3si_buf_ok(&plain)) out->failed = 1;
    if (!s3si_buf_ok(&plain)) out->failed = 1; /* clearing forgets it */
    s3si_buf_clear(&plain);
    s3si_sigv4_headers(r, NULL, &plain);
    s3si_percent_encode(out, s3si_buf_str(&plain), 0);
    if (!s3si_buf_ok(&plain)) out->failed = 1;
    s3si_buf_deinit(&plain);
}

/* >>http
 * HTTP/1.1 as text, pure (RFC 9112). Requests are written into a buffer and refuse what would end
 * a line early. A response head is parsed from a buffer that may still be short: it answers "more"
 * until the head is whole, and can be called again at any byte. Bodies are framed by length, by
 * chunks, or by the connection's end; two answers to how long a body is are a protocol error. */
static int s3si_http_safe(s3si_str s) {
    size_t i;
    for (i = 0; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == 0) return 0;
    return 1;
}

static int s3si_http_is_token(s3si_str s) {
    size_t i;
    for (i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) return 0;
    }
    return s.n > 0;
}

static void s3si_http_add_header(s3si_buf *out, s3si_str name, s3si_str value) {
    if (!s3si_http_is_token(name) || !s3si_http_safe(value)) {
        out->failed = S3SI_BUF_UNSAFE;
        return;
    }
    s3si_buf_add(out, name);
    s3si_buf_addz(out, ": ");
    s3si_buf_add(out, value);
    s3si_buf_addz(out, "\r\n");
}

/* Splits "Name: value"; 0 when it is not a header line that may be sent. */
static int s3si_http_split_header(s3si_str line, s3si_str *name, s3si_str *value) {
    *name = s3si_str_cut(line, ':', value);
    *value = s3si_str_trim(*value);
    return name->n < line.n && s3si_http_is_token(*name) && s3si_http_safe(*value);
}

enum { S3SI_BODY_NONE = 0, S3SI_BODY_LENGTH, S3SI_BODY_CHUNKED, S3SI_BODY_CLOSE };
typedef struct s3si_head {
    int minor, status;
    s3si_str lines; /* header lines, within the parsed buffer */
    int framing;
    uint64_t length; /* S3SI_BODY_LENGTH */
    int keep_alive;
    const char *why; /* malformed: what is wrong */
} s3si_head;

/* Steps through header lines: *lines shrinks from the front. */
static int s3si_head_step(s3si_str *lines, s3si_str *name, s3si_str *value) {
    s3si_str line;
    if (!lines->n) return 0;
    line = s3si_str_cut(*lines, '\n', lines);
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    *name = s3si_str_cut(line, ':', value);
    *value = s3si_str_trim(*value);
    return 1;
}

static int s3si_head_find(const s3si_head *h, const char *name, s3si_str *value) {
    s3si_str lines = h->lines, key;
    while (s3si_head_step(&lines, &key, value))
        if (s3si_str_ieq(key, s3si_str_of(name))) return 1;
    *value = s3si_str_make("", 0);
    return 0;
}

/* 1 when a comma-separated value has the token, without case. */
static int s3si_http_has_token(s3si_str list, const char *token) {
    while (list.n)
        if (s3si_str_ieq(s3si_str_trim(s3si_str_cut(list, ',', &list)), s3si_str_of(token)))
            return 1;
    return 0;
}

static int s3si_head_status_line(s3si_str line, s3si_head *h) {
    uint64_t status;
    if (line.n < 12 || !s3si_str_starts(line, "HTTP/1.") || line.p[8] != ' ')
        return h->why = "the answer is not HTTP/1", 0;
    if (line.p[7] != '0' && line.p[7] != '1') return h->why = "unknown HTTP version", 0;
    if (!s3si_http_safe(line) || !s3si_str_u64(s3si_str_make(line.p + 9, 3), &status) ||
        status < 100 ||
        (line.n > 12 && line.p[12] != ' '))
        return h->why = "the status line is malformed", 0;
    h->minor = line.p[7] - '0';
    h->status = (int)status;
    return 1;
}

/* What one header says about framing and the connection. */
static int s3si_head_framing(s3si_head *h, s3si_str name, s3si_str value, int *lengths) {
    uint64_t n;
    if (s3si_str_ieq(name, s3si_str_of("content-length"))) {
        if (!s3si_str_u64(value, &n)) return h->why = "Content-Length is not a number", 0;
        if (*lengths && n != h->length) return h->why = "two different Content-Lengths", 0;
        if (h->framing == S3SI_BODY_CHUNKED) return h->why = "Content-Length beside chunked", 0;
        h->length = n;
        *lengths = 1;
        h->framing = S3SI_BODY_LENGTH;
    } else if (s3si_str_ieq(name, s3si_str_of("transfer-encoding"))) {
        if (!s3si_str_ieq(value, s3si_str_of("chunked")))
            return h->why = "a Transfer-Encoding other than chunked", 0;
        if (*lengths) return h->why = "Content-Length beside chunked", 0;
        if (h->framing == S3SI_BODY_CHUNKED) return h->why = "chunked twice", 0;
        h->framing = S3SI_BODY_CHUNKED;
    } else if (s3si_str_ieq(name, s3si_str_of("connection"))) {
        if (s3si_http_has_token(value, "close")) h->keep_alive = -1; /* for good */
        else if (h->keep_alive == 0 && s3si_http_has_token(value, "keep-alive")) h->keep_alive = 1;
    }
    return 1;
}

/* Parses a response head. Returns its length, 0 when more bytes are needed, -1 when it is malformed
 * (h->why). no_body: the request was HEAD. */
static long s3si_head_parse(const char *p, size_t n, int no_body, s3si_head *h) {
    s3si_str rest = s3si_str_make(p, n < S3SI_HEAD_MAX ? n : (size_t)S3SI_HEAD_MAX), line;
    const char *lines;
    int count = 0, lengths = 0;
    memset(h, 0, sizeof *h);
    h->framing = S3SI_BODY_CLOSE;
    if (s3si_str_find(rest, '\n') == rest.n) {
        if (n >= 5 && !s3si_str_starts(rest, "HTTP/"))
            return h->why = "the answer is not HTTP/1", -1;
        return n > S3SI_HEAD_MAX ? (h->why = "the response head is too long", -1) : 0;
    }
    line = s3si_str_cut(rest, '\n', &rest);
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    if (!s3si_head_status_line(line, h)) return -1;
    h->keep_alive = h->minor == 1;
    lines = rest.p;
    for (;;) {
        s3si_str name, value;
        if (s3si_str_find(rest, '\n') == rest.n)
            return n > S3SI_HEAD_MAX ? (h->why = "the response head is too long", -1) : 0;
        h->lines = s3si_str_make(lines, (size_t)(rest.p - lines));
        line = s3si_str_cut(rest, '\n', &rest);
        if (line.n && line.p[line.n - 1] == '\r') line.n--;
        if (line.n == 0) break;
        if (++count > S3SI_HEAD_LINES) return h->why = "too many header lines", -1;
        name = s3si_str_cut(line, ':', &value);
        if (name.n == line.n || !s3si_http_is_token(name) || !s3si_http_safe(line))
            return h->why = "a header line is malformed", -1;
        if (!s3si_head_framing(h, name, s3si_str_trim(value), &lengths)) return -1;
    }
    if (h->status < 200 || h->status == 204 || h->status == 304 || no_body)
        h->framing = S3SI_BODY_NONE;
    if (h->framing == S3SI_BODY_CLOSE || h->keep_alive < 0) h->keep_alive = 0;
    return (long)(rest.p - p);
}

/* Chunked framing, a byte-restartable machine (RFC 9112 section 7.1):
 *
 *     SIZE -> (';' -> EXT) -> DATA -> DATA_END -> SIZE ...
 *     size 0: -> TRAILER* -> DONE; anything else: BAD
 */
enum {
    S3SI_CHUNK_SIZE = 0,
    S3SI_CHUNK_PAD,
    S3SI_CHUNK_SIZE_CR, S3SI_CHUNK_EXT, S3SI_CHUNK_DATA, S3SI_CHUNK_DATA_END, S3SI_CHUNK_TRAILER,
    S3SI_CHUNK_DONE, S3SI_CHUNK_BAD
};
typedef struct s3si_chunked {
    int state;
    uint64_t left; /* of this chunk; in SIZE, the number so far */
    unsigned line; /* bytes of the present line */
    unsigned digits;
} s3si_chunked;

static void s3si_chunked_line_end(s3si_chunked *c) {
    c->line = 0;
    if (c->state == S3SI_CHUNK_DATA_END) c->state = S3SI_CHUNK_SIZE;
    else c->state = c->left ? S3SI_CHUNK_DATA : S3SI_CHUNK_TRAILER;
    if (c->state == S3SI_CHUNK_SIZE) c->left = 0, c->digits = 0;
}

/* One byte outside of data. */
static void s3si_chunked_byte(s3si_chunked *c, char ch) {
    int digit = s3si_hex_digit(ch);
    if (++c->line > S3SI_CHUNK_LINE_MAX) {
        c->state = S3SI_CHUNK_BAD;
    } else if (c->state == S3SI_CHUNK_TRAILER) {
        if (ch != '\n') {
            if (ch != '\r') c->digits = 1; /* this trailer line is not empty */
        } else {
            if (!c->digits) c->state = S3SI_CHUNK_DONE;
            c->line = 0, c->digits = 0;
        }
    } else if (c->state == S3SI_CHUNK_DATA_END) {
        if (ch == '\n') s3si_chunked_line_end(c);
        else if (ch != '\r' || c->line > 1) c->state = S3SI_CHUNK_BAD;
    } else if (ch == '\n' && c->digits) {
        s3si_chunked_line_end(c);
        if (c->state == S3SI_CHUNK_TRAILER) c->digits = 0;
    } else if (c->state == S3SI_CHUNK_SIZE && digit >= 0) {
        if (c->left > UINT64_MAX >> 4) c->state = S3SI_CHUNK_BAD;
        c->left = c->left << 4 | (unsigned)digit;
        c->digits = 1;
    } else if ((c->state == S3SI_CHUNK_SIZE && c->digits) || c->state == S3SI_CHUNK_PAD) {
        c->state = ch == ';' ? S3SI_CHUNK_EXT
                   : ch == '\r' ? S3SI_CHUNK_SIZE_CR
                   : ch == ' ' || ch == '\t' ? S3SI_CHUNK_PAD
                   : S3SI_CHUNK_BAD;
    } else if (c->state != S3SI_CHUNK_EXT) {
        c->state = S3SI_CHUNK_BAD;
    }
}

/* Consumes from (p, n) until body bytes come, which *data then is (within p), or the input or the
 * body ends. Returns what was consumed. */
static size_t s3si_chunked_feed(s3si_chunked *c, const char *p, size_t n, s3si_str *data) {
    size_t i = 0;
    *data = s3si_str_make(p, 0);
    while (i < n && c->state < S3SI_CHUNK_DONE) {
        if (c->state == S3SI_CHUNK_DATA) {
            size_t take = c->left < n - i ? (size_t)c->left : n - i;
            *data = s3si_str_make(p + i, take);
            c->left -= take;
            if (c->left == 0) c->state = S3SI_CHUNK_DATA_END;
            return i + take;
        }
        s3si_chunked_byte(c, p[i++]);
    }
    return i;
}

/* "bytes a-b/total" (RFC 9110 section 14.4): [*start, *end) and *total, UINT64_MAX for '*'. An
 * unsatisfied range ("bytes * / total") gives start = end = UINT64_MAX. */
static int s3si_http_content_range(s3si_str v, uint64_t *start, uint64_t *end, uint64_t *total) {
    s3si_str range, size, last;
    if (v.n < 6 || !s3si_str_ieq(s3si_str_make(v.p, 6), s3si_str_of("bytes "))) return 0;
    range = s3si_str_cut(s3si_str_trim(s3si_str_from(v, 6)), '/', &size);
    if (s3si_str_is(size, "*")) *total = UINT64_MAX;
    else if (!s3si_str_u64(size, total)) return 0;
    if (s3si_str_is(range, "*")) {
        if (*total == UINT64_MAX) return 0;
        *start = *end = UINT64_MAX;
        return 1;
    }
    range = s3si_str_cut(range, '-', &last);
    if (!s3si_str_u64(range, start) || !s3si_str_u64(last, end) || *end < *start) return 0;
    if (*end == UINT64_MAX || (*total != UINT64_MAX && *end >= *total)) return 0;
    ++*end;
    return 1;
}

/* >>records
 * What a record is, where shards are cut, and how far past a cut to read; pure. The definition is
 * in chapter 3 of the manual. The cutter is a plain copyable struct that is fed bytes of the
 * object at their offsets, in any order that is sequential for each of its two scans (for the
 * shard's begin and for its end), and answers what is to be delivered and where the scans go on.
 * It assumes nothing about the delimiter's length: it matches by Knuth, Morris and Pratt, so it
 * never looks at a byte twice and overlapping occurrences count. */
enum { S3SI_RECORDS_DELIM = 0, S3SI_RECORDS_FIXED };
typedef struct s3si_records {
    int kind;
    unsigned m;                     /* the delimiter's length */
    uint8_t delim[S3SI_DELIM_MAX];
    uint8_t fail[S3SI_DELIM_MAX];   /* fail[i]: longest proper border of the first i + 1 bytes */
    uint64_t block;                 /* S3SI_RECORDS_FIXED */
} s3si_records;

static void s3si_records_set_delim(s3si_records *r, const uint8_t *delim, unsigned m) {
    unsigned i, k = 0;
    memset(r, 0, sizeof *r);
    r->m = m;
    memcpy(r->delim, delim, m);
    for (i = 1; i < m; i++) {
        while (k && delim[i] != delim[k]) k = r->fail[k - 1];
        if (delim[i] == delim[k]) k++;
        r->fail[i] = (uint8_t)k;
    }
}

/* \n \r \t \0 \\ \xHH */
static int s3si_records_unescape(s3si_str s, uint8_t *out, unsigned *m) {
    static const char names[] = "nrt0\\", values[] = "\n\r\t\0\\";
    unsigned n = 0;
    while (s.n) {
        uint8_t c = (uint8_t)s.p[0];
        size_t used = 1;
        if (n == S3SI_DELIM_MAX) return 0;
        if (c == '\\') {
            const char *hit = s.n > 1 && s.p[1] ? strchr(names, s.p[1]) : NULL;
            used = 2;
            if (hit) {
                c = (uint8_t)values[hit - names];
            } else {
                int hi = s.n > 3 && s.p[1] == 'x' ? s3si_hex_digit(s.p[2]) : -1;
                int lo = hi >= 0 ? s3si_hex_digit(s.p[3]) : -1;
                if (lo < 0) return 0;
                c = (uint8_t)(hi << 4 | lo);
                used = 4;
            }
        }
        out[n++] = c;
        s = s3si_str_from(s, used);
    }
    *m = n;
    return n > 0;
}

/* "lines", "delim:TEXT" or "fixed:BYTES"; NULL or "" is lines. 0 with a remedy in *why. */
static int s3si_records_parse(const char *text, s3si_records *r, const char **why) {
    s3si_str s = s3si_str_of(text);
    uint8_t delim[S3SI_DELIM_MAX];
    unsigned m;
    if (s.n == 0 || s3si_str_is(s, "lines")) {
        s3si_records_set_delim(r, (const uint8_t *)"\n", 1);
        return 1;
    }
    if (s3si_str_starts(s, "delim:")) {
        if (!s3si_records_unescape(s3si_str_from(s, 6), delim, &m))
            return *why = "the delimiter must have 1 to 64 bytes; escapes are \\n \\r \\t \\0 \\\\ "
                          "\\xHH",
                   0;
        s3si_records_set_delim(r, delim, m);
        return 1;
    }
    if (s3si_str_starts(s, "fixed:")) {
        memset(r, 0, sizeof *r);
        r->kind = S3SI_RECORDS_FIXED;
        if (!s3si_str_u64(s3si_str_from(s, 6), &r->block) || r->block == 0)
            return *why = "fixed: needs a number of bytes above 0", 0;
        return 1;
    }
    return *why = "use lines, delim:TEXT or fixed:BYTES", 0;
}

/* Bytes in front of a cut that must be seen to know whether a record begins there. */
static uint64_t s3si_records_look_behind(const s3si_records *r) { return r->m; }

/* Looks on for the delimiter in (p, n), *match bytes of it having matched before. The count of
 * bytes up to and with its end, or 0 when it does not end here. */
static size_t s3si_records_scan(const s3si_records *r, unsigned *match, const uint8_t *p,
                                size_t n) {
    unsigned k = *match;
    size_t i;
    if (r->m == 1) {
        const void *hit = n ? memchr(p, r->delim[0], n) : NULL;
        return hit ? (size_t)((const uint8_t *)hit - p) + 1 : 0;
    }
    for (i = 0; i < n; i++) {
        while (k && p[i] != r->delim[k]) k = r->fail[k - 1];
        if (p[i] == r->delim[k]) k++;
        if (k == r->m) {
            *match = r->fail[k - 1];
            return i + 1;
        }
    }
    *match = k;
    return 0;
}

/* s(i) = floor(i * size / n); i * (size % n) cannot overflow since i <= n < 2^32. */
static uint64_t s3si_shard_start(uint64_t size, uint32_t i, uint32_t n) {
    return (uint64_t)i * (size / n) + (uint64_t)i * (size % n) / n;
}

typedef struct s3si_cut {
    s3si_records format;
    uint64_t base, limit;      /* the text: [base, limit) of the object */
    uint64_t start, end;       /* the nominal range within it */
    uint64_t begin, finish;    /* the exact range, where known */
    int begin_known, finish_known;
    uint64_t head_at, tail_at; /* the byte that each scan needs next */
    unsigned head_match, tail_match;
} s3si_cut;

typedef struct s3si_cut_view {
    uint64_t take_begin, take_end; /* what may be delivered, as far as is known now */
    uint64_t want_offset;          /* the byte that the cutter must see next */
    int done;                      /* both ends are known */
} s3si_cut_view;

static uint64_t s3si_cut_fixed(const s3si_cut *c, uint64_t p) {
    uint64_t block = c->format.block, n = p - c->base, rest = n % block;
    uint64_t up = rest ? block - rest : 0;
    return up > c->limit - p ? c->limit : p + up;
}

static void s3si_cut_known(s3si_cut *c, uint64_t begin, uint64_t finish) {
    c->begin = begin, c->finish = finish;
    c->begin_known = c->finish_known = 1;
}

/* start and end are clipped to the text. */
static void s3si_cut_init(s3si_cut *c, const s3si_records *format, uint64_t base, uint64_t limit,
                          uint64_t start, uint64_t end) {
    uint64_t m = s3si_records_look_behind(format);
    memset(c, 0, sizeof *c);
    c->format = *format;
    c->base = base, c->limit = limit;
    c->start = start < base ? base : start > limit ? limit : start;
    c->end = end < c->start ? c->start : end > limit ? limit : end;
    c->head_at = c->start - base > m ? c->start - m : base;
    c->tail_at = c->end - base > m ? c->end - m : base;
    if (c->start >= c->end) {
        s3si_cut_known(c, c->start, c->start);
    } else if (format->kind == S3SI_RECORDS_FIXED) {
        uint64_t begin = s3si_cut_fixed(c, c->start), finish = s3si_cut_fixed(c, c->end);
        s3si_cut_known(c, begin, finish);
    } else {
        if (c->start == base) c->begin = base, c->begin_known = 1;
        if (c->end == limit) c->finish = limit, c->finish_known = 1;
    }
}

/* Past the nominal end, what the tail's scan has passed over is the last record's too: it can be taken
 * before that record's end is known, or one longer than the memory would never come to it. */
static s3si_cut_view s3si_cut_look(const s3si_cut *c) {
    s3si_cut_view v;
    uint64_t sure = c->tail_at > c->end ? c->tail_at : c->end;
    v.done = c->begin_known && c->finish_known;
    v.take_begin = c->begin_known ? c->begin : c->head_at;
    v.take_end = !c->begin_known ? c->head_at : c->finish_known ? c->finish : sure;
    v.want_offset = c->begin_known ? c->tail_at : c->head_at;
    return v;
}

/* The scan for the first record's begin. A begin at or behind `end` is another shard's, so the
 * last byte that matters is the one before end - 1, and a shard without a begin is empty. */
static void s3si_cut_head(s3si_cut *c, const uint8_t *p, size_t n) {
    uint64_t left = c->end - 1 - c->head_at;
    size_t look = left < n ? (size_t)left : n;
    size_t hit = s3si_records_scan(&c->format, &c->head_match, p, look);
    c->head_at += hit ? hit : look;
    if (hit) {
        c->begin = c->head_at, c->begin_known = 1;
    } else if (look == left) {
        s3si_cut_known(c, c->end, c->end);
    }
}

static void s3si_cut_tail(s3si_cut *c, const uint8_t *p, size_t n) {
    uint64_t left = c->limit - c->tail_at;
    size_t look = left < n ? (size_t)left : n;
    size_t hit = s3si_records_scan(&c->format, &c->tail_match, p, look);
    c->tail_at += hit ? hit : look;
    if (hit || look == left) c->finish = c->tail_at, c->finish_known = 1;
}

/* Feeds bytes [offset, offset + n) of the object; what a scan does not need next is passed over. */
static s3si_cut_view s3si_cut_feed(s3si_cut *c, uint64_t offset, const uint8_t *p, size_t n) {
    if (!c->begin_known && c->head_at >= offset && c->head_at - offset < n)
        s3si_cut_head(c, p + (c->head_at - offset), n - (size_t)(c->head_at - offset));
    if (!c->finish_known && c->tail_at >= offset && c->tail_at - offset < n)
        s3si_cut_tail(c, p + (c->tail_at - offset), n - (size_t)(c->tail_at - offset));
    return s3si_cut_look(c);
}

/* Record lengths in quarter octaves, and what a cut at a uniformly random byte leaves of its
 * record: a record of length l is hit with weight l, and leaves more than w with probability
 * max(0, l - w) / l. */
enum { S3SI_LENGTHS_BINS = 4 * 32 };
typedef struct s3si_lengths {
    uint64_t count[S3SI_LENGTHS_BINS], sum[S3SI_LENGTHS_BINS];
    uint64_t longest[S3SI_LENGTHS_BINS];
    uint64_t total; /* bytes */
} s3si_lengths;

static void s3si_lengths_add(s3si_lengths *h, uint64_t length) {
    unsigned octave = 0, quarter, bin;
    uint64_t l = length;
    if (!length) return;
    while (l >= 8) l >>= 1, octave++;
    quarter = (unsigned)(l & 3); /* 4..7 -> 0..3; 1..3 share the lowest bins */
    bin = l < 4 ? 0 : octave * 4 + quarter;
    if (bin >= S3SI_LENGTHS_BINS) bin = S3SI_LENGTHS_BINS - 1;
    h->count[bin]++;
    h->sum[bin] += length;
    if (length > h->longest[bin]) h->longest[bin] = length;
    h->total += length;
}

/* Adds the records of a sample. One that the sample's edge cuts off counts with what was seen of
 * it. */
static void s3si_lengths_sample(s3si_lengths *h, const s3si_records *format, const uint8_t *p,
                                size_t n) {
    unsigned match = 0;
    if (format->kind == S3SI_RECORDS_FIXED) return;
    while (n) {
        size_t hit = s3si_records_scan(format, &match, p, n);
        s3si_lengths_add(h, hit ? hit : n);
        if (!hit) return;
        p += hit, n -= hit;
    }
}

/* The probability that a cut leaves more than w. The lengths of a bin count as evenly
 * spread around their mean, up to the longest. */
static double s3si_lengths_beyond(const s3si_lengths *h, double w) {
    double beyond = 0;
    int i;
    for (i = 0; i < S3SI_LENGTHS_BINS; i++) {
        double count = (double)h->count[i], mean, longest = (double)h->longest[i], shortest;
        if (longest <= w) continue;
        mean = (double)h->sum[i] / count;
        shortest = 2 * mean - longest;
        if (w <= shortest) beyond += (mean - w) * count;
        else beyond += (longest - w) * (longest - w) / (2 * (longest - shortest)) * count;
    }
    return h->total ? beyond / (double)h->total : 0;
}

/* The window that minimises w + P(residual > w) * cost, in steps of a quarter octave. */
static uint64_t s3si_window_learned(const s3si_lengths *h, double cost) {
    double best = 0, w;
    uint64_t at = S3SI_WINDOW_FIRST;
    if (!h->total) return S3SI_WINDOW_FIRST;
    for (w = (double)S3SI_WINDOW_MIN; w <= (double)S3SI_WINDOW_MAX; w *= 1.189207115) {
        double price = w + s3si_lengths_beyond(h, w) * cost;
        if (best == 0 || price < best) best = price, at = (uint64_t)w;
    }
    return at;
}

/* >>transport
 * A connected, non-blocking byte stream: receive and send answer a count, 0 for the peer's orderly
 * end, S3SI_SOCK_AGAIN (then `want` says what to poll for), or S3SI_SOCK_FAILED (then `text` or
 * errno says why). The plain socket is here; >>tls puts itself in its place after the connection
 * stands. */
typedef struct s3si_transport {
    long (*recv)(struct s3si_transport *t, void *p, size_t n);
    long (*send)(struct s3si_transport *t, const void *p, size_t n);
    int fd;
    short want;
    int buffered; /* the stream may hold bytes that poll does not see */
    int os_error;
    char text[200];
    void *session; /* >>tls */
    const s3s_tls *tls;
    s3s_tls_io io;
} s3si_transport;

static long s3si_transport_result(s3si_transport *t, long n, short want) {
    if (n == S3SI_SOCK_AGAIN) t->want = want;
    if (n == S3SI_SOCK_FAILED) t->os_error = errno;
    return n;
}
static long s3si_transport_recv(s3si_transport *t, void *p, size_t n) {
    return s3si_transport_result(t, s3si_sock_recv(t->fd, p, n), S3SI_POLL_IN);
}
static long s3si_transport_send(s3si_transport *t, const void *p, size_t n) {
    return s3si_transport_result(t, s3si_sock_send(t->fd, p, n), S3SI_POLL_OUT);
}

static void s3si_transport_open(s3si_transport *t, int fd) {
    memset(t, 0, sizeof *t);
    t->fd = fd;
    t->recv = s3si_transport_recv;
    t->send = s3si_transport_send;
}

/* >>tls
 * Drives an s3s_tls adapter over the socket. The adapter calls back for bytes and never sees the
 * descriptor; its five answers are mapped onto the transport's four. A stream that ends without
 * close_notify is the adapter's error, so a truncated body is never taken for a whole one. */
#if S3SI_TLS
static long s3si_tls_io_read(void *user, void *p, size_t n) {
    s3si_transport *t = (s3si_transport *)user;
    long got = s3si_sock_recv(t->fd, p, n);
    if (got >= 0) return got;
    t->os_error = errno;
    return got == S3SI_SOCK_AGAIN ? (long)S3S_TLS_WANT_READ : (long)S3S_TLS_ERROR;
}

static long s3si_tls_io_write(void *user, const void *p, size_t n) {
    s3si_transport *t = (s3si_transport *)user;
    long put = s3si_sock_send(t->fd, p, n);
    if (put >= 0) return put;
    t->os_error = errno;
    return put == S3SI_SOCK_AGAIN ? (long)S3S_TLS_WANT_WRITE : (long)S3S_TLS_ERROR;
}

static long s3si_tls_result(s3si_transport *t, long n) {
    if (n > 0) return n;
    if (n == S3S_TLS_CLOSED) return 0;
    if (n != S3S_TLS_WANT_READ && n != S3S_TLS_WANT_WRITE) return S3SI_SOCK_FAILED;
    t->want = n == S3S_TLS_WANT_READ ? S3SI_POLL_IN : S3SI_POLL_OUT;
    return S3SI_SOCK_AGAIN;
}

static long s3si_tls_recv(s3si_transport *t, void *p, size_t n) {
    return s3si_tls_result(t, t->tls->read(t->session, p, n, t->text, sizeof t->text));
}
static long s3si_tls_send(s3si_transport *t, const void *p, size_t n) {
    return s3si_tls_result(t, t->tls->write(t->session, p, n, t->text, sizeof t->text));
}

/* Puts TLS on a connected transport: 1 when the handshake is complete, else the transport's
 * answers. */
static long s3si_tls_handshake(s3si_transport *t, const s3s_tls *tls, const char *host) {
    if (!t->session) {
        t->io.read = s3si_tls_io_read;
        t->io.write = s3si_tls_io_write;
        t->io.user = t;
        t->tls = tls;
        t->session = tls->session_create(tls->ctx, host, &t->io, t->text, sizeof t->text);
        if (!t->session) return S3SI_SOCK_FAILED;
        t->recv = s3si_tls_recv;
        t->send = s3si_tls_send;
        t->buffered = 1;
    }
    return s3si_tls_result(t, tls->handshake(t->session, t->text, sizeof t->text));
}
#endif

static void s3si_transport_close(s3si_transport *t) {
#if S3SI_TLS
    if (t->session) {
        (void)t->tls->shutdown(t->session);
        t->tls->session_destroy(t->session);
        t->session = NULL;
    }
#endif
    s3si_sock_close(t->fd);
    t->fd = -1;
}

/* >>conn
 * One connection to one origin, and the buffer in which response heads (and what came with them)
 * arrive.
 *
 *     CONNECTING --a socket connected--> HANDSHAKE (TLS only) --done--> READY --close--> CLOSED
 *         | 250 ms, or a refusal: the next address is tried as well, at most two at once
 *
 * In CONNECTING, try_fd holds the attempts under way; in the other states the transport owns the
 * socket. A connection belongs to one event loop and needs no lock. */
enum { S3SI_CONN_CLOSED = 0, S3SI_CONN_CONNECTING, S3SI_CONN_HANDSHAKE, S3SI_CONN_READY };
enum { S3SI_CONN_ADDRS = 8, S3SI_CONN_BUFFER = 16 * 1024, S3SI_CONN_EYEBALLS_US = 250000 };

typedef struct s3si_conn {
    struct s3si_conn *next; /* in the pool's idle list */
    s3si_origin origin;
    s3si_transport t;
    int state;
    int served;             /* responses taken: 0 = fresh */
    int64_t idle_since_us;
    s3si_addr addrs[S3SI_CONN_ADDRS];
    size_t addr_count, addr_next;
    int try_fd[2];
    size_t try_addr[2];
    int64_t next_try_us, deadline_us;
    size_t used_addr;       /* index of the address that connected, or failed last */
    char *buf;              /* bytes received and not yet consumed: [pos, n) */
    size_t pos, n, cap;
} s3si_conn;

/* What somebody waits for: up to two descriptors and a time. */
typedef struct s3si_wait {
    int fd[2];
    short events[2];
    int64_t wake_us;
} s3si_wait;

static void s3si_wait_set(s3si_wait *w, int fd, short events, int64_t wake_us) {
    w->fd[0] = fd;
    w->fd[1] = -1;
    w->events[0] = events;
    w->events[1] = 0;
    w->wake_us = wake_us;
}

static s3si_conn *s3si_conn_create(const s3si_mem *mem, const s3si_origin *origin) {
    s3si_conn *c = (s3si_conn *)s3si_mem_zalloc(mem, sizeof *c);
    if (!c) return NULL;
    c->origin = *origin;
    c->try_fd[0] = c->try_fd[1] = -1;
    s3si_transport_open(&c->t, -1);
    c->cap = S3SI_CONN_BUFFER;
    c->buf = (char *)s3si_mem_alloc(mem, c->cap);
    if (c->buf) return c;
    s3si_mem_free(mem, c);
    return NULL;
}

static void s3si_conn_destroy(const s3si_mem *mem, s3si_conn *c) {
    if (!c) return;
    s3si_sock_close(c->try_fd[0]);
    s3si_sock_close(c->try_fd[1]);
    s3si_transport_close(&c->t);
    s3si_mem_free(mem, c->buf);
    s3si_mem_free(mem, c);
}

static void s3si_conn_begin(s3si_conn *c, int64_t now, int64_t timeout_us) {
    c->state = S3SI_CONN_CONNECTING;
    c->next_try_us = now;
    c->deadline_us = now + timeout_us * (int64_t)c->addr_count;
}

/* A socket is connected: it becomes the transport's, its rival is closed. */
static void s3si_conn_won(s3si_conn *c, int which) {
    s3si_transport_open(&c->t, c->try_fd[which]);
    c->used_addr = c->try_addr[which];
    c->try_fd[which] = -1;
    s3si_sock_close(c->try_fd[1 - which]);
    c->try_fd[1 - which] = -1;
    c->state = c->origin.tls ? S3SI_CONN_HANDSHAKE : S3SI_CONN_READY;
}

/* Looks at the attempts under way; errno of the last failure in *os_error. */
static void s3si_conn_look(s3si_conn *c, int64_t now, int *os_error) {
    int i;
    for (i = 0; i < 2 && c->state == S3SI_CONN_CONNECTING; i++) {
        s3si_pollfd p;
        int e;
        if (c->try_fd[i] < 0) continue;
        p.fd = c->try_fd[i];
        p.events = S3SI_POLL_OUT;
        p.revents = 0;
        if (s3si_sock_poll(&p, 1, 0) <= 0) continue;
        e = s3si_sock_connected(c->try_fd[i]);
        if (e == 0) {
            s3si_conn_won(c, i);
        } else {
            *os_error = e;
            c->used_addr = c->try_addr[i];
            s3si_sock_close(c->try_fd[i]);
            c->try_fd[i] = -1;
            c->next_try_us = now;
        }
    }
}

static void s3si_conn_try_next(s3si_conn *c, int64_t now, int *os_error) {
    int slot = c->try_fd[0] < 0 ? 0 : 1;
    while (c->addr_next < c->addr_count && now >= c->next_try_us && c->try_fd[slot] < 0) {
        size_t at = c->addr_next++;
        c->try_fd[slot] = s3si_sock_connect(&c->addrs[at]);
        c->try_addr[slot] = at;
        if (c->try_fd[slot] >= 0) {
            c->next_try_us = now + S3SI_CONN_EYEBALLS_US;
        } else {
            *os_error = errno;
            c->used_addr = at;
        }
    }
}

/* 1 connected, 0 wait (*w), -1 failed with *os_error (0: timed out). */
static int s3si_conn_connect_step(s3si_conn *c, int64_t now, s3si_wait *w, int *os_error) {
    *os_error = 0;
    s3si_conn_look(c, now, os_error);
    if (c->state != S3SI_CONN_CONNECTING) return 1;
    s3si_conn_try_next(c, now, os_error);
    if (now >= c->deadline_us) {
        *os_error = 0;
        return -1;
    }
    if (c->try_fd[0] < 0 && c->try_fd[1] < 0) return -1;
    w->fd[0] = c->try_fd[0], w->fd[1] = c->try_fd[1];
    w->events[0] = w->events[1] = S3SI_POLL_OUT;
    w->wake_us = c->addr_next < c->addr_count && c->next_try_us < c->deadline_us ? c->next_try_us
                                                                                  : c->deadline_us;
    return 0;
}

/* Room at the end of the buffer; what was consumed is dropped. 0: the buffer is full of one head.
 */
static size_t s3si_conn_room(s3si_conn *c, const s3si_mem *mem) {
    if (c->pos == c->n) c->pos = c->n = 0;
    if (c->n == c->cap && c->pos) {
        memmove(c->buf, c->buf + c->pos, c->n - c->pos);
        c->n -= c->pos, c->pos = 0;
    }
    if (c->n == c->cap && c->cap < (size_t)S3SI_HEAD_MAX + (size_t)S3SI_CONN_BUFFER) {
        char *p = (char *)mem->realloc(mem->user, c->buf, c->cap * 2);
        if (p) c->buf = p, c->cap *= 2;
    }
    return c->cap - c->n;
}

/* Receives into the buffer: the transport's answers. */
static long s3si_conn_fill(s3si_conn *c, const s3si_mem *mem) {
    size_t room = s3si_conn_room(c, mem);
    long got;
    if (!room) return S3SI_SOCK_FAILED;
    got = c->t.recv(&c->t, c->buf + c->n, room);
    if (got > 0) c->n += (size_t)got;
    return got;
}

/* May this idle connection serve another request? */
static int s3si_conn_usable(const s3si_conn *c) {
    return c->state == S3SI_CONN_READY && c->pos == c->n && s3si_sock_quiet(c->t.fd);
}

/* >>pool
 * What the exchanges of one event loop share: resolved names, whose addresses are used in turn and
 * rest for 30 s after a failure, and idle connections. Belongs to its loop's thread; the one thing
 * that other threads touch is a resolver's job, which has a lock and a count of its own, since
 * name resolution can hang for longer than the client lives. For the same reason a job is libc's
 * memory, not the client's. */
enum { S3SI_POOL_ADDRS = 16, S3SI_POOL_NAMES = 32 };
static const int64_t s3si_pool_refresh_us = 60 * 1000000LL, s3si_pool_rest_us = 30 * 1000000LL;

typedef struct s3si_resolve_job {
    s3si_mutex lock;
    int refs, done;
    int wake_fd;
    char host[256], port[6];
    s3si_addr addrs[S3SI_POOL_ADDRS];
    size_t count;
    const char *text;
} s3si_resolve_job;

typedef struct s3si_name {
    s3si_origin origin;
    s3si_addr addrs[S3SI_POOL_ADDRS];
    int64_t rest_until_us[S3SI_POOL_ADDRS];
    size_t count, turn;
    int64_t fresh_until_us, used_us;
    s3si_resolve_job *job;
    const char *text; /* why the last resolution failed; NULL when it did not */
} s3si_name;

typedef struct s3si_pool {
    const s3si_mem *mem;
    const s3s_tls *tls;
    s3si_wake *wake;
    int64_t idle_us, connect_us;
    s3si_name names[S3SI_POOL_NAMES];
    size_t name_count;
    s3si_conn *idle;
    char scratch[64 * 1024]; /* where bytes go that nobody wants any more */
} s3si_pool;

static void s3si_resolve_release(s3si_resolve_job *job) {
    int last;
    s3si_mutex_lock(&job->lock);
    last = --job->refs == 0;
    s3si_mutex_unlock(&job->lock);
    if (!last) return;
    s3si_sock_close(job->wake_fd);
    s3si_mutex_deinit(&job->lock);
    free(job);
}

#if S3SI_THREADS
static void *s3si_resolve_main(void *arg) {
    s3si_resolve_job *job = (s3si_resolve_job *)arg;
    s3si_addr addrs[S3SI_POOL_ADDRS];
    const char *text = NULL;
    size_t n = s3si_sock_resolve(job->host, job->port, 0, addrs, S3SI_POOL_ADDRS, &text);
    s3si_mutex_lock(&job->lock);
    memcpy(job->addrs, addrs, n * sizeof addrs[0]);
    job->count = n;
    job->text = text;
    job->done = 1;
    s3si_mutex_unlock(&job->lock);
    s3si_wake_raise(job->wake_fd);
    s3si_resolve_release(job);
    return NULL;
}
#endif

static void s3si_pool_take_addrs(s3si_name *e, const s3si_addr *addrs, size_t n, const char *text,
                                 int64_t now) {
    e->text = n ? NULL : text;
    if (n) {
        memcpy(e->addrs, addrs, n * sizeof addrs[0]);
        memset(e->rest_until_us, 0, sizeof e->rest_until_us);
        e->count = n;
        e->turn = (size_t)(s3si_sys_random() % n);
    }
    e->fresh_until_us = now + (n ? s3si_pool_refresh_us : 0);
}

static void s3si_pool_resolve_start(s3si_pool *pool, s3si_name *e, int64_t now) {
    const char *text = NULL;
    s3si_addr addrs[S3SI_POOL_ADDRS];
    size_t n = s3si_sock_resolve(e->origin.host, e->origin.port, 1, addrs, S3SI_POOL_ADDRS, &text);
#if S3SI_THREADS
    s3si_thread thread;
    s3si_resolve_job *job;
    if (n) {
        s3si_pool_take_addrs(e, addrs, n, text, now);
        return;
    }
    job = (s3si_resolve_job *)calloc(1, sizeof *job);
    if (!job || !s3si_mutex_init(&job->lock)) {
        free(job);
        e->text = "out of memory";
        return;
    }
    memcpy(job->host, e->origin.host, sizeof job->host);
    memcpy(job->port, e->origin.port, sizeof job->port);
    job->refs = 2;
    job->wake_fd = s3si_wake_dup(pool->wake);
    e->job = job;
    if (job->wake_fd < 0 || !s3si_thread_start(&thread, s3si_resolve_main, job, 1)) {
        job->refs = 1;
        s3si_resolve_release(job);
        e->job = NULL;
        e->text = "no thread could be started";
    }
#else
    (void)pool;
    if (!n) n = s3si_sock_resolve(e->origin.host, e->origin.port, 0, addrs, S3SI_POOL_ADDRS, &text);
    s3si_pool_take_addrs(e, addrs, n, text, now);
#endif
}

static s3si_name *s3si_pool_name(s3si_pool *pool, const s3si_origin *origin, int64_t now) {
    size_t i, oldest = 0;
    s3si_name *e;
    for (i = 0; i < pool->name_count; i++) {
        e = &pool->names[i];
        if (s3si_origin_eq(&e->origin, origin)) {
            e->used_us = now;
            return e;
        }
        if (e->used_us < pool->names[oldest].used_us) oldest = i;
    }
    e = pool->name_count < S3SI_POOL_NAMES ? &pool->names[pool->name_count++]
                                           : &pool->names[oldest];
    if (e->job) s3si_resolve_release(e->job);
    memset(e, 0, sizeof *e);
    e->origin = *origin;
    e->used_us = now;
    return e;
}

/* The origin's addresses: 1 they are in *e, 0 they are being looked up (the loop is woken), -1
 * failed (e->text). Known ones are used on while they are refreshed. */
static int s3si_pool_resolve(s3si_pool *pool, const s3si_origin *origin, int64_t now,
                             s3si_name **out) {
    s3si_name *e = s3si_pool_name(pool, origin, now);
    *out = e;
    e->text = NULL;
    if (e->job) {
        int done;
        s3si_mutex_lock(&e->job->lock);
        done = e->job->done;
        s3si_mutex_unlock(&e->job->lock);
        if (done) {
            s3si_pool_take_addrs(e, e->job->addrs, e->job->count, e->job->text, now);
            s3si_resolve_release(e->job);
            e->job = NULL;
            if (e->text && !e->count) return -1;
        }
    } else if (now >= e->fresh_until_us) {
        s3si_pool_resolve_start(pool, e, now);
        if (e->text && !e->count) return -1;
    }
    return e->count ? 1 : 0;
}

/* Gives a connection its addresses, in turn, resting ones last. */
static void s3si_pool_assign(s3si_name *e, s3si_conn *c, int64_t now) {
    size_t i, pass, turn = e->turn++;
    c->addr_count = 0;
    for (pass = 0; pass < 2; pass++)
        for (i = 0; i < e->count && c->addr_count < S3SI_CONN_ADDRS; i++) {
            size_t at = (turn + i) % e->count;
            if ((e->rest_until_us[at] > now) == (pass == 1))
                c->addrs[c->addr_count++] = e->addrs[at];
        }
}

/* The connection's address failed: it rests, so that the next attempt meets another one first. */
static void s3si_pool_rest(s3si_pool *pool, const s3si_conn *c, int64_t now) {
    s3si_name *e = s3si_pool_name(pool, &c->origin, now);
    const s3si_addr *bad = &c->addrs[c->used_addr];
    size_t i;
    for (i = 0; i < e->count && c->used_addr < c->addr_count; i++)
        if (e->addrs[i].len == bad->len && memcmp(&e->addrs[i].sa, &bad->sa, bad->len) == 0)
            e->rest_until_us[i] = now + s3si_pool_rest_us;
}

/* Closes idle connections that are too old or that the peer has ended. */
static void s3si_pool_sweep(s3si_pool *pool, int64_t now) {
    s3si_conn **at = &pool->idle;
    while (*at) {
        s3si_conn *c = *at;
        if (now - c->idle_since_us < pool->idle_us) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        s3si_conn_destroy(pool->mem, c);
    }
}

/* An idle connection to the origin that is still good, or NULL. The most recent one comes first. */
static s3si_conn *s3si_pool_acquire(s3si_pool *pool, const s3si_origin *origin, int64_t now) {
    s3si_conn **at = &pool->idle;
    s3si_pool_sweep(pool, now);
    while (*at) {
        s3si_conn *c = *at;
        if (!s3si_origin_eq(&c->origin, origin)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        c->next = NULL;
        if (s3si_conn_usable(c)) return c;
        s3si_conn_destroy(pool->mem, c);
    }
    return NULL;
}

static void s3si_pool_release(s3si_pool *pool, s3si_conn *c, int64_t now) {
    c->idle_since_us = now;
    c->next = pool->idle;
    pool->idle = c;
}

static void s3si_pool_deinit(s3si_pool *pool) {
    size_t i;
    while (pool->idle) {
        s3si_conn *c = pool->idle;
        pool->idle = c->next;
        s3si_conn_destroy(pool->mem, c);
    }
    for (i = 0; i < pool->name_count; i++)
        if (pool->names[i].job) s3si_resolve_release(pool->names[i].job);
}

/* >>exchange
 * One request and its answer as a step machine that never blocks. It knows HTTP and when to try
 * again; what to send and what an answer means is told by its owner's s3si_exchange_ops.
 *
 *     START -> RESOLVE -> CONNECT -> SEND -> HEAD -> BODY -> DONE
 *       ^          a reused connection: straight to SEND    |
 *       +------------- BACKOFF <--- any failure worth another attempt
 *
 *     state     holds                                        waits for
 *     START     nothing; the next step prepares the request   -
 *     RESOLVE   the prepared request                          the resolver's wake-up
 *     CONNECT   a connection that is not ready                its socket, next address, deadline
 *     SEND      a ready connection, `sent` bytes are out      writing, and reading: an early answer
 *     HEAD      the request is out                            reading; deadline response_timeout
 *     BODY      head is parsed and judged                     reading, 1 KiB/s over stall_timeout
 *     BACKOFF   no connection                                 a time
 *     DONE      the result                                    its owner
 *
 * A broken attempt keeps what its owner has already taken: the owner's next prepare asks for the
 * rest. */
enum {
    S3SI_X_START = 0, S3SI_X_RESOLVE, S3SI_X_CONNECT, S3SI_X_SEND, S3SI_X_HEAD, S3SI_X_BODY,
    S3SI_X_BACKOFF, S3SI_X_DONE
};
/* What an owner says of a head (TAKE, KEEP, or a verdict) and of a finished body (a verdict). */
enum {
    S3SI_SAY_TAKE = 0, /* the body is the owner's: space() and commit() */
    S3SI_SAY_KEEP,     /* the body goes to x->kept, then verdict() is asked */
    S3SI_SAY_DONE,
    S3SI_SAY_AGAIN,    /* another attempt after a pause; x->err says why */
    S3SI_SAY_NOW,      /* another attempt at once (a redirect, a corrected clock) */
    S3SI_SAY_FAIL
};

/* Client-wide: how many retries may be spent, and how many requests may be in flight. */
typedef struct s3si_budget {
    s3si_mutex lock;
    int tokens;
    double limit;       /* present concurrency */
    int limit_max;
    int64_t halved_us;
    uint64_t requests, retries, throttled, opened;
} s3si_budget;
enum { S3SI_BUDGET_TOKENS = 500, S3SI_BUDGET_RETRY = 5, S3SI_BUDGET_TIMEOUT = 10 };

static int s3si_budget_take(s3si_budget *b, int cost) {
    int ok;
    s3si_mutex_lock(&b->lock);
    ok = b->tokens >= cost;
    if (ok) b->tokens -= cost, b->retries++;
    s3si_mutex_unlock(&b->lock);
    return ok;
}

/* A success, or an attempt that moved the work on, pays back and lets the concurrency grow again.
 */
static void s3si_budget_return(s3si_budget *b, int cost) {
    s3si_mutex_lock(&b->lock);
    b->tokens = b->tokens + cost < S3SI_BUDGET_TOKENS ? b->tokens + cost : S3SI_BUDGET_TOKENS;
    b->limit += 1 / b->limit;
    if (b->limit > b->limit_max) b->limit = b->limit_max;
    s3si_mutex_unlock(&b->lock);
}

/* Halves the concurrency, once for a burst of refusals. */
static void s3si_budget_throttled(s3si_budget *b, int64_t now) {
    s3si_mutex_lock(&b->lock);
    b->throttled++;
    if (now - b->halved_us > 100000) {
        b->halved_us = now;
        b->limit = b->limit / 2 > 1 ? b->limit / 2 : 1;
    }
    s3si_mutex_unlock(&b->lock);
}

/* What every exchange of a client obeys. */
typedef struct s3si_policy {
    int retries;
    int64_t response_us, stall_us; /* 0: none */
    s3s_log log;
} s3si_policy;

struct s3si_exchange;
typedef struct s3si_exchange_ops {
    /* Not a request at all but local work in small steps, 1 when done with x->err set; NULL for
     * the wire. */
    int (*local)(void *user, struct s3si_exchange *x);
    /* Fills x->origin, x->out and x->body for this attempt; an error here is final. */
    s3s_result (*prepare)(void *user, struct s3si_exchange *x);
    int (*head)(void *user, struct s3si_exchange *x);
    /* Where body bytes may go (*cap of them; 0: the owner has all it wants), and that n came. */
    void *(*space)(void *user, struct s3si_exchange *x, size_t *cap);
    void (*commit)(void *user, struct s3si_exchange *x, size_t n);
    int (*verdict)(void *user, struct s3si_exchange *x);
    void (*sent)(void *user, size_t body_bytes); /* progress of this attempt's body; may be NULL */
    /* The owner's turn: x is DONE, its result in x->err.code. Called by the loop, without locks. */
    void (*finished)(void *user, struct s3si_exchange *x);
} s3si_exchange_ops;

typedef struct s3si_exchange {
    struct s3si_exchange *next; /* in the loop's list */
    const s3si_exchange_ops *ops;
    void *user;
    const s3si_mem *mem;
    s3si_budget *budget;
    s3si_policy policy;
    int fresh;            /* take no idle connection */
    int one_attempt;
    int connect_only;     /* leave a ready connection in the pool and be done */
    /* the owner wants to be told of the end at once; guarded by the engine's lock */
    int abandoned;
    /* the loop's own: something it waits for has come; it has seen `abandoned` */
    int ready, let_go;
    /* the request, by prepare */
    s3si_origin origin;
    s3si_buf out;
    s3si_str body;
    int is_head;
    /* the response */
    s3si_head head;
    s3si_buf head_text;   /* the head's bytes; x->head.lines points into it */
    uint64_t left;        /* body bytes still to come, S3SI_BODY_LENGTH */
    s3si_chunked chunked;
    s3si_buf kept;
    size_t kept_max;
    int keeping, cut_short; /* cut_short: the owner wants only the body's beginning */
    int interim, early, whole; /* whole: the body came to its end */
    /* the machine */
    int state;
    s3si_conn *conn;
    size_t sent;
    int attempts, tries, redirects;
    uint64_t requests, opened; /* requests sent whole, connections opened: for the statistics */
    uint64_t taken, taken_before; /* body bytes given to the owner: in all, before this attempt */
    int64_t deadline_us, window_us;
    uint64_t window_bytes, moved; /* moved: bytes in either direction, for the stall watch */
    int64_t retry_after_us;
    s3s_error err;        /* of the last attempt; final when DONE */
    s3si_wait wait;
} s3si_exchange;

S3SI_PRINTF(3, 4)
static void s3si_log_line(const s3s_log *log, int level, const char *format, ...) {
    char line[600];
    va_list args;
    if (!log->fn || log->level < level) return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s3si_error_one_line(line);
    log->fn(log->user, level, line);
}

static void s3si_exchange_init(s3si_exchange *x, const s3si_exchange_ops *ops, void *user,
                               const s3si_mem *mem, s3si_budget *budget,
                               const s3si_policy *policy) {
    memset(x, 0, sizeof *x);
    x->ops = ops;
    x->user = user;
    x->mem = mem;
    x->budget = budget;
    x->policy = *policy;
    x->kept_max = S3SI_ERROR_BODY_MAX;
    s3si_buf_init(&x->out, mem);
    s3si_buf_init(&x->head_text, mem);
    s3si_buf_init(&x->kept, mem);
    s3si_wait_set(&x->wait, -1, 0, 0);
}

static void s3si_exchange_deinit(s3si_exchange *x) {
    S3STREAM_ASSERT(!x->conn);
    if (x->out.p) s3si_mem_wipe(x->out.p, x->out.cap);
    s3si_buf_deinit(&x->out);
    s3si_buf_deinit(&x->head_text);
    s3si_buf_deinit(&x->kept);
}

/* The connection goes back to the pool when its response was taken to the end, else it is closed.
 */
static void s3si_exchange_drop(s3si_exchange *x, s3si_pool *pool, int64_t now, int reusable) {
    if (!x->conn) return;
    if (reusable && x->conn->state == S3SI_CONN_READY && x->conn->pos == x->conn->n) {
        x->conn->served++;
        s3si_pool_release(pool, x->conn, now);
    } else {
        s3si_conn_destroy(x->mem, x->conn);
    }
    x->conn = NULL;
}

static void s3si_exchange_done(s3si_exchange *x, s3si_pool *pool, int64_t now, int reusable) {
    s3si_exchange_drop(x, pool, now, reusable);
    x->err.attempts = x->attempts;
    x->state = S3SI_X_DONE;
}

static int64_t s3si_exchange_pause_us(s3si_exchange *x) {
    int64_t cap = 100000, pause;
    int i;
    for (i = 1; i < x->tries && cap < 20000000; i++) cap *= 2;
    if (cap > 20000000) cap = 20000000;
    pause = (int64_t)(s3si_sys_random() % (uint64_t)cap);
    if (x->retry_after_us > pause)
        pause = x->retry_after_us < 20000000 ? x->retry_after_us : 20000000;
    return pause;
}

/* Where nothing was ever reached, a wrong endpoint is likelier than an outage: three retries tell.
 */
static int s3si_exchange_retries(s3si_exchange *x) {
    int reached;
    if (x->state > S3SI_X_CONNECT || x->policy.retries <= 3) return x->policy.retries;
    s3si_mutex_lock(&x->budget->lock);
    reached = x->budget->requests > 0;
    s3si_mutex_unlock(&x->budget->lock);
    return reached ? x->policy.retries : 3;
}

/* An attempt failed with x->err set: another one, or the end. */
static void s3si_exchange_again(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    int cost = x->err.code == S3S_E_TIMEOUT ? S3SI_BUDGET_TIMEOUT : S3SI_BUDGET_RETRY;
    uint64_t progress = x->taken - x->taken_before;
    int stale = x->conn && x->conn->served && x->state >= S3SI_X_SEND && x->state <= S3SI_X_HEAD &&
                x->conn->n == 0 && x->err.code == S3S_E_NETWORK && !x->fresh;
    if (x->conn && x->conn->served == 0 && x->state < S3SI_X_BODY)
        s3si_pool_rest(pool, x->conn, now);
    s3si_exchange_drop(x, pool, now, 0);
    x->taken_before = x->taken;
    if (progress >= S3SI_PROGRESS) {
        x->tries = 0;
        s3si_budget_return(x->budget, cost);
    }
    if (stale) { /* the server had closed an idle connection: one free attempt on a fresh one */
        x->fresh = 1;
        x->state = S3SI_X_START;
        return;
    }
    x->tries++;
    if (x->one_attempt || x->tries > s3si_exchange_retries(x) || x->attempts >= S3SI_ATTEMPTS_MAX ||
        !s3si_budget_take(x->budget, cost)) {
        s3si_exchange_done(x, pool, now, 0);
        return;
    }
    x->deadline_us = now + s3si_exchange_pause_us(x);
    x->state = S3SI_X_BACKOFF;
    s3si_log_line(&x->policy.log, 1, "attempt %d at %s failed (%s: %s); again in %d ms",
                  x->attempts, x->origin.host, s3s_result_name(x->err.code), x->err.message,
                  (int)((x->deadline_us - now) / 1000));
}

/* Ends an attempt with an error of the wire. */
static void s3si_exchange_fail(s3si_exchange *x, s3si_pool *pool, int64_t now, s3s_result code,
                               const char *phase, const char *text, int os_error) {
    s3si_error_clear(&x->err);
    x->err.os_error = os_error;
    x->err.phase = phase;
    x->err.http_status = x->state == S3SI_X_BODY ? x->head.status : 0;
    (void)s3si_error_set(&x->err, code, "%s%s%s", text, os_error ? ": " : "",
                         os_error ? strerror(os_error) : "");
    if (s3si_error_retryable(code)) s3si_exchange_again(x, pool, now);
    else s3si_exchange_done(x, pool, now, 0);
}

/* The transport failed or ended where it should not have. */
static void s3si_exchange_broken(s3si_exchange *x, s3si_pool *pool, int64_t now, const char *phase,
                                 long answer) {
    const s3si_transport *t = &x->conn->t;
    char text[280];
    if (answer == 0) {
        (void)snprintf(text, sizeof text, "the server closed the connection");
    } else {
        (void)snprintf(text, sizeof text, "%s", t->text[0] ? t->text : "the connection broke");
    }
    s3si_exchange_fail(x, pool, now, S3S_E_NETWORK, phase, text, answer == 0 ? 0 : t->os_error);
}

static void s3si_exchange_verdict(s3si_exchange *x, s3si_pool *pool, int64_t now, int say,
                                  int reusable) {
    if (say == S3SI_SAY_DONE) {
        s3si_budget_return(x->budget, 1);
        s3si_error_clear(&x->err);
        s3si_exchange_done(x, pool, now, reusable);
    } else if (say == S3SI_SAY_NOW && x->redirects++ < S3SI_REDIRECTS_MAX) {
        s3si_exchange_drop(x, pool, now, reusable);
        x->state = S3SI_X_START;
    } else if (say == S3SI_SAY_AGAIN) {
        if (reusable) s3si_exchange_drop(x, pool, now, 1);
        s3si_exchange_again(x, pool, now);
    } else {
        S3STREAM_ASSERT(x->err.code != S3S_OK);
        s3si_exchange_done(x, pool, now, reusable);
    }
}

static void s3si_exchange_start(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3s_result r;
    s3si_buf_clear(&x->out);
    s3si_buf_clear(&x->kept);
    s3si_buf_clear(&x->head_text);
    x->sent = 0, x->interim = 0, x->early = 0, x->keeping = 0, x->cut_short = 0, x->is_head = 0;
    x->body = s3si_str_make("", 0);
    x->retry_after_us = 0;
    s3si_error_clear(&x->err);
    r = x->ops->prepare(x->user, x);
    if (r == S3S_OK && !s3si_buf_ok(&x->out))
        r = x->out.failed == S3SI_BUF_UNSAFE
                ? s3si_error_set(&x->err, S3S_E_ARGUMENT,
                                 "a header or the URL holds a line break or NUL")
                : s3si_error_set(&x->err, S3S_E_MEMORY, "no memory for the request");
    if (r != S3S_OK) {
        x->err.code = r;
        s3si_exchange_done(x, pool, now, 0);
        return;
    }
    x->attempts++;
    x->conn = x->fresh || x->connect_only ? NULL : s3si_pool_acquire(pool, &x->origin, now);
    if (x->conn) x->conn->pos = x->conn->n = 0;
    x->state = x->conn ? S3SI_X_SEND : S3SI_X_RESOLVE;
    x->deadline_us = now + (x->policy.response_us ? x->policy.response_us : 30000000);
    x->window_us = now, x->window_bytes = x->moved = 0;
}

static void s3si_exchange_opened(s3si_exchange *x) {
    x->opened++;
    s3si_mutex_lock(&x->budget->lock);
    x->budget->opened++;
    s3si_mutex_unlock(&x->budget->lock);
}

static void s3si_exchange_resolve(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3si_name *name = NULL;
    int known = s3si_pool_resolve(pool, &x->origin, now, &name);
    char text[320];
    if (known < 0 || (known == 0 && now >= x->deadline_us)) {
        (void)snprintf(text, sizeof text, "cannot resolve %s: %s", x->origin.host,
                       known < 0 ? name->text : "the resolver does not answer");
        s3si_exchange_fail(x, pool, now, S3S_E_RESOLVE, "resolve", text, 0);
    } else if (known == 0) {
        s3si_wait_set(&x->wait, -1, 0, x->deadline_us);
    } else {
        x->conn = s3si_conn_create(x->mem, &x->origin);
        if (!x->conn) {
            s3si_exchange_fail(x, pool, now, S3S_E_MEMORY, "connect", "no memory for a connection",
                               0);
            return;
        }
        s3si_pool_assign(name, x->conn, now);
        s3si_conn_begin(x->conn, now, pool->connect_us);
        s3si_exchange_opened(x);
        x->state = S3SI_X_CONNECT;
    }
}

#if S3SI_TLS
static void s3si_exchange_handshake(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3si_conn *c = x->conn;
    long r;
    if (now >= x->deadline_us) {
        s3si_exchange_fail(x, pool, now, S3S_E_TIMEOUT, "tls", "the TLS handshake takes too long",
                           0);
        return;
    }
    r = s3si_tls_handshake(&c->t, pool->tls, x->origin.host);
    if (r == S3SI_SOCK_AGAIN) s3si_wait_set(&x->wait, c->t.fd, c->t.want, x->deadline_us);
    else if (r > 0) c->state = S3SI_CONN_READY;
    else s3si_exchange_fail(x, pool, now, c->t.os_error ? S3S_E_NETWORK : S3S_E_TLS, "tls",
                            c->t.text[0] ? c->t.text : "the TLS handshake failed", c->t.os_error);
}
#endif

static void s3si_exchange_connect(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    int os_error = 0, r;
    char text[320];
    if (x->conn->state == S3SI_CONN_CONNECTING) {
        r = s3si_conn_connect_step(x->conn, now, &x->wait, &os_error);
        if (r == 0) return;
        if (r < 0) {
            (void)snprintf(text, sizeof text, "cannot connect to %s:%s", x->origin.host,
                           x->origin.port);
            s3si_exchange_fail(x, pool, now, os_error ? S3S_E_NETWORK : S3S_E_TIMEOUT, "connect",
                               text, os_error ? os_error : ETIMEDOUT);
            return;
        }
    }
#if S3SI_TLS
    if (x->conn->state == S3SI_CONN_HANDSHAKE) {
        s3si_exchange_handshake(x, pool, now);
        if (x->state != S3SI_X_CONNECT || x->conn->state != S3SI_CONN_READY) return;
    }
#endif
    x->state = S3SI_X_SEND;
    x->window_us = now, x->window_bytes = x->moved = 0;
    if (x->connect_only) {
        s3si_error_clear(&x->err);
        s3si_exchange_drop(x, pool, now, 1);
        x->state = S3SI_X_DONE;
    }
}

/* At least 1 KiB/s over the stall time, or the attempt has failed. The time to look again, or -1.
 */
static int64_t s3si_exchange_stalled(s3si_exchange *x, int64_t now) {
    int64_t stall = x->policy.stall_us;
    if (!stall) return INT64_MAX;
    if (now - x->window_us >= stall) {
        if ((x->moved - x->window_bytes) < (uint64_t)stall * 1024 / 1000000) return -1;
        x->window_us = now;
        x->window_bytes = x->moved;
    }
    return x->window_us + stall;
}

/* Takes what arrived while sending; 1 when the final answer has begun, so that sending should stop.
 */
static int s3si_exchange_early(s3si_exchange *x) {
    s3si_conn *c = x->conn;
    long length, got = s3si_conn_fill(c, x->mem);
    if (got != S3SI_SOCK_AGAIN && got <= 0) return c->n > c->pos;
    while (c->n > c->pos) {
        length = s3si_head_parse(c->buf + c->pos, c->n - c->pos, 0, &x->head);
        if (length == 0) return 0;
        if (length < 0 || x->head.status >= 200 || ++x->interim > S3SI_INTERIM_MAX) return 1;
        c->pos += (size_t)length;
    }
    return 0;
}

static void s3si_exchange_sent(s3si_exchange *x) {
    x->requests++;
    s3si_mutex_lock(&x->budget->lock);
    x->budget->requests++;
    s3si_mutex_unlock(&x->budget->lock);
    s3si_log_line(&x->policy.log, 2, "%.*s (attempt %d)",
                  (int)s3si_str_find(s3si_buf_str(&x->out), ' '), x->out.p, x->attempts);
}

static void s3si_exchange_send(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    size_t total = x->out.n + x->body.n;
    s3si_conn *c = x->conn;
    int64_t look = s3si_exchange_stalled(x, now);
    long put = 0;
    short want = 0;
    while (x->sent < total) {
        int in_head = x->sent < x->out.n;
        const char *p = in_head ? x->out.p + x->sent : x->body.p + (x->sent - x->out.n);
        size_t n = in_head ? x->out.n - x->sent : total - x->sent;
        if (n > S3SI_RECV_MAX) n = S3SI_RECV_MAX;
        put = c->t.send(&c->t, p, n);
        want = c->t.want; /* before a look for an early answer sets its own */
        if (put <= 0) break;
        x->sent += (size_t)put;
        x->moved += (size_t)put;
        if (x->ops->sent && x->sent > x->out.n) x->ops->sent(x->user, x->sent - x->out.n);
    }
    if (x->sent < total && (x->body.n == 0 || !s3si_exchange_early(x))) {
        if (put != S3SI_SOCK_AGAIN) {
            s3si_exchange_broken(x, pool, now, "send", put);
        } else if (look < 0) {
            s3si_exchange_fail(x, pool, now, S3S_E_TIMEOUT, "send",
                               "the server takes no more bytes", 0);
        } else {
            s3si_wait_set(&x->wait, c->t.fd, (short)(want | S3SI_POLL_IN), look);
        }
        return;
    }
    /* what is not sent will not be: the connection ends with the answer */
    x->early = x->sent < total;
    s3si_exchange_sent(x);
    x->state = S3SI_X_HEAD;
    x->deadline_us = x->policy.response_us ? now + x->policy.response_us : INT64_MAX;
}

/* The final head is complete: keep its text (the buffer moves), and ask the owner. */
static void s3si_exchange_judge(s3si_exchange *x, s3si_pool *pool, int64_t now, size_t length) {
    s3si_conn *c = x->conn;
    size_t lines = (size_t)(x->head.lines.p - (c->buf + c->pos));
    s3si_str value;
    uint64_t seconds;
    int say;
    s3si_buf_clear(&x->head_text);
    s3si_buf_add(&x->head_text, s3si_str_make(c->buf + c->pos, length));
    if (!s3si_buf_ok(&x->head_text)) {
        s3si_exchange_fail(x, pool, now, S3S_E_MEMORY, "head", "no memory for the response head",
                           0);
        return;
    }
    x->head.lines.p = x->head_text.p + lines;
    c->pos += length;
    x->left = x->head.length;
    memset(&x->chunked, 0, sizeof x->chunked);
    x->err.http_status = x->head.status;
    if (s3si_head_find(&x->head, "retry-after", &value) && s3si_str_u64(value, &seconds))
        x->retry_after_us = seconds < 20 ? (int64_t)seconds * 1000000 : 20000000;
    x->state = S3SI_X_BODY;
    x->window_us = now, x->window_bytes = x->moved;
    say = x->ops->head(x->user, x);
    x->keeping = say == S3SI_SAY_KEEP;
    if (say > S3SI_SAY_KEEP) s3si_exchange_verdict(x, pool, now, say, 0);
}

static void s3si_exchange_head(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3si_conn *c = x->conn;
    for (;;) {
        long got, length = 0;
        if (c->n > c->pos)
            length = s3si_head_parse(c->buf + c->pos, c->n - c->pos, x->is_head, &x->head);
        if (length < 0) {
            s3si_exchange_fail(x, pool, now, S3S_E_PROTOCOL, "head", x->head.why, 0);
            return;
        }
        if (length > 0 && x->head.status >= 200) {
            s3si_exchange_judge(x, pool, now, (size_t)length);
            return;
        }
        if (length > 0) {
            c->pos += (size_t)length;
            if (++x->interim > S3SI_INTERIM_MAX || x->head.status == 101) {
                s3si_exchange_fail(x, pool, now, S3S_E_PROTOCOL, "head",
                                   "too many interim responses", 0);
                return;
            }
            continue;
        }
        if (now >= x->deadline_us) {
            s3si_exchange_fail(x, pool, now, S3S_E_TIMEOUT, "head", "no response in time", 0);
            return;
        }
        got = s3si_conn_fill(c, x->mem);
        if (got == S3SI_SOCK_AGAIN) {
            s3si_wait_set(&x->wait, c->t.fd, c->t.want, x->deadline_us);
            return;
        }
        if (got <= 0) {
            s3si_exchange_broken(x, pool, now, "head", got);
            return;
        }
    }
}

/* Where the next body bytes go: the owner's memory, the kept body, or, past what they want, the
 * scratch. */
static char *s3si_exchange_space(s3si_exchange *x, s3si_pool *pool, size_t *cap, int *surplus) {
    char *p = NULL;
    *surplus = 0;
    *cap = 0;
    if (!x->keeping) {
        p = (char *)x->ops->space(x->user, x, cap);
    } else if (x->kept.n < x->kept_max) {
        size_t want = x->kept_max - x->kept.n < 16384 ? x->kept_max - x->kept.n : 16384;
        if (s3si_buf_reserve(&x->kept, want)) p = x->kept.p + x->kept.n, *cap = want;
    }
    if (*cap == 0) {
        *surplus = 1;
        *cap = sizeof pool->scratch;
        p = pool->scratch;
    }
    return p;
}

static void s3si_exchange_took(s3si_exchange *x, size_t n) {
    x->moved += n;
    if (x->keeping) {
        x->kept.n += n;
        x->kept.p[x->kept.n] = 0;
    } else {
        x->taken += n;
        x->ops->commit(x->user, x, n);
    }
}

/* The body came to its end (or to where its owner stops): the owner's verdict. */
static void s3si_exchange_body_end(s3si_exchange *x, s3si_pool *pool, int64_t now, int whole) {
    int reusable = whole && x->head.keep_alive && !x->early;
    x->whole = whole;
    s3si_exchange_verdict(x, pool, now, x->ops->verdict(x->user, x), reusable);
}

enum { S3SI_MOVE_ON = 0, S3SI_MOVE_WAIT, S3SI_MOVE_END };

/* A body of known length, or until the connection's end: received straight into its place. */
static int s3si_exchange_body_plain(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3si_conn *c = x->conn;
    int by_length = x->head.framing == S3SI_BODY_LENGTH, surplus;
    size_t cap, asked;
    char *p;
    long got;
    if (x->head.framing == S3SI_BODY_NONE || (by_length && x->left == 0)) {
        s3si_exchange_body_end(x, pool, now, 1);
        return S3SI_MOVE_END;
    }
    p = s3si_exchange_space(x, pool, &cap, &surplus);
    if (surplus) { /* nobody wants the rest */
        s3si_exchange_body_end(x, pool, now, 0);
        return S3SI_MOVE_END;
    }
    if (cap > S3SI_RECV_MAX) cap = S3SI_RECV_MAX;
    if (by_length && cap > x->left) cap = (size_t)x->left;
    asked = cap;
    if (c->n > c->pos) {
        if (cap > c->n - c->pos) cap = c->n - c->pos;
        memcpy(p, c->buf + c->pos, cap);
        c->pos += cap;
        got = (long)cap;
        asked = cap;
    } else {
        got = c->t.recv(&c->t, p, cap);
    }
    if (got > 0) {
        if (by_length) x->left -= (size_t)got;
        s3si_exchange_took(x, (size_t)got);
        if (by_length && x->left == 0) return S3SI_MOVE_ON;
        return (size_t)got == asked || c->t.buffered ? S3SI_MOVE_ON : S3SI_MOVE_WAIT;
    }
    if (got == S3SI_SOCK_AGAIN) return S3SI_MOVE_WAIT;
    if (got == 0 && !by_length) s3si_exchange_body_end(x, pool, now, 1);
    else s3si_exchange_broken(x, pool, now, "body", got);
    return S3SI_MOVE_END;
}

/* A chunked body: through the connection's buffer. */
static int s3si_exchange_body_chunked(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    s3si_conn *c = x->conn;
    s3si_str data;
    while (c->n > c->pos && x->chunked.state < S3SI_CHUNK_DONE) {
        c->pos += s3si_chunked_feed(&x->chunked, c->buf + c->pos, c->n - c->pos, &data);
        while (data.n) {
            size_t cap;
            int surplus;
            char *p = s3si_exchange_space(x, pool, &cap, &surplus);
            if (surplus && (x->cut_short || x->keeping)) {
                s3si_exchange_body_end(x, pool, now, 0);
                return S3SI_MOVE_END;
            }
            if (surplus) {
                s3si_exchange_fail(x, pool, now, S3S_E_PROTOCOL, "body",
                                   "the body is longer than its head promised", 0);
                return S3SI_MOVE_END;
            }
            if (cap > data.n) cap = data.n;
            memcpy(p, data.p, cap);
            s3si_exchange_took(x, cap);
            data = s3si_str_from(data, cap);
        }
    }
    if (x->chunked.state == S3SI_CHUNK_BAD) {
        s3si_exchange_fail(x, pool, now, S3S_E_PROTOCOL, "body", "the chunked framing is malformed",
                           0);
    } else if (x->chunked.state == S3SI_CHUNK_DONE) {
        s3si_exchange_body_end(x, pool, now, 1);
    } else {
        long got = s3si_conn_fill(c, x->mem);
        if (got > 0) return S3SI_MOVE_ON;
        if (got == S3SI_SOCK_AGAIN) return S3SI_MOVE_WAIT;
        s3si_exchange_broken(x, pool, now, "body", got);
    }
    return S3SI_MOVE_END;
}

/* Moves body bytes, at most a few receives at a time so that the loop's other exchanges get their
 * turn. */
static void s3si_exchange_body(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    int turns, move = S3SI_MOVE_ON;
    int64_t look = s3si_exchange_stalled(x, now);
    if (look < 0) {
        s3si_exchange_fail(x, pool, now, S3S_E_TIMEOUT, "body", "the body stalled", 0);
        return;
    }
    for (turns = 0; turns < 4 && move == S3SI_MOVE_ON; turns++)
        move = x->head.framing == S3SI_BODY_CHUNKED ? s3si_exchange_body_chunked(x, pool, now)
                                                    : s3si_exchange_body_plain(x, pool, now);
    if (move == S3SI_MOVE_END) return;
    s3si_wait_set(&x->wait, x->conn->t.fd,
                  move == S3SI_MOVE_WAIT ? x->conn->t.want : (short)S3SI_POLL_IN,
                  move == S3SI_MOVE_ON ? now : look);
    if (!x->wait.events[0]) x->wait.events[0] = S3SI_POLL_IN;
}

/* Goes as far as it can without waiting; then x->wait says for what. */
static void s3si_exchange_step(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    int before;
    if (x->ops->local) {
        if (x->ops->local(x->user, x)) x->state = S3SI_X_DONE;
        else s3si_wait_set(&x->wait, -1, 0, now);
        return;
    }
    do {
        before = x->state;
        switch (x->state) {
        case S3SI_X_START: s3si_exchange_start(x, pool, now); break;
        case S3SI_X_RESOLVE: s3si_exchange_resolve(x, pool, now); break;
        case S3SI_X_CONNECT: s3si_exchange_connect(x, pool, now); break;
        case S3SI_X_SEND: s3si_exchange_send(x, pool, now); break;
        case S3SI_X_HEAD: s3si_exchange_head(x, pool, now); break;
        case S3SI_X_BODY: s3si_exchange_body(x, pool, now); break;
        case S3SI_X_BACKOFF:
            if (now >= x->deadline_us) x->state = S3SI_X_START;
            else s3si_wait_set(&x->wait, -1, 0, x->deadline_us);
            break;
        default: return;
        }
    } while (x->state != before);
}

/* Takes bytes off the wire that nobody wants, so that the connection can serve again. */
static void *s3si_discard_space(void *user, s3si_exchange *x, size_t *cap) {
    s3si_pool *pool = (s3si_pool *)user;
    (void)x;
    *cap = sizeof pool->scratch;
    return pool->scratch;
}
static void s3si_discard_commit(void *user, s3si_exchange *x, size_t n) {
    (void)user, (void)x, (void)n;
}
static int s3si_discard_verdict(void *user, s3si_exchange *x) {
    (void)user, (void)x;
    return S3SI_SAY_DONE;
}
static const s3si_exchange_ops s3si_discard_ops = {
    NULL, NULL, NULL, s3si_discard_space, s3si_discard_commit, s3si_discard_verdict, NULL, NULL};

/* The owner has lost interest and is told that it ended. A small rest of a body is taken off the
 * wire for the connection's sake, with no other attempt; anything else is closed at once. */
static void s3si_exchange_abandon(s3si_exchange *x, s3si_pool *pool, int64_t now) {
    int worth = x->state == S3SI_X_BODY && !x->keeping && x->head.keep_alive && !x->early &&
                x->head.framing == S3SI_BODY_LENGTH && x->left <= 256 * 1024;
    s3si_error_clear(&x->err);
    x->err.code = S3S_E_CANCELLED;
    x->err.attempts = x->attempts;
    x->ops->finished(x->user, x);
    x->ops = &s3si_discard_ops;
    x->user = pool;
    x->one_attempt = 1;
    x->policy.stall_us = 2000000;
    if (!worth) s3si_exchange_done(x, pool, now, 0);
}

/* >>creds
 * Where the keys come from: the configuration, the caller's callback, the environment, in this
 * order. One cached set and one cached signing key, under a lock of their own; both are wiped at
 * the end. */
typedef struct s3si_creds {
    s3si_mutex lock;
    int anonymous, use_environment, has_explicit;
    s3s_credentials given; /* explicit */
    s3s_result (*callback)(void *user, s3s_credentials *out, s3s_error *err);
    void *callback_user;
    s3s_credentials cached; /* the callback's last answer */
    int cached_valid;
    struct {
        char secret[256], scope[160];
        uint8_t key[32];
    } signing;
} s3si_creds;

static void s3si_creds_deinit(s3si_creds *c) {
    s3si_mutex_deinit(&c->lock);
    s3si_mem_wipe(c, sizeof *c);
}

static int s3si_creds_set(s3s_credentials *out, const char *access, const char *secret,
                          const char *token) {
    memset(out, 0, sizeof *out);
    return s3si_str_copy(s3si_str_of(access), out->access_key, sizeof out->access_key) &&
           s3si_str_copy(s3si_str_of(secret), out->secret_key, sizeof out->secret_key) &&
           s3si_str_copy(s3si_str_of(token), out->session_token, sizeof out->session_token);
}

static s3s_result s3si_creds_environment(s3s_credentials *out, s3s_error *err) {
#if S3SI_ENVIRONMENT
    const char *access = s3si_sys_env("AWS_ACCESS_KEY_ID");
    const char *secret = s3si_sys_env("AWS_SECRET_ACCESS_KEY");
    if (access && secret) {
        if (s3si_creds_set(out, access, secret, s3si_sys_env("AWS_SESSION_TOKEN"))) return S3S_OK;
        return s3si_error_set(err, S3S_E_CREDENTIALS,
                              "AWS_ACCESS_KEY_ID or its siblings are too long");
    }
    if (access || secret)
        return s3si_error_set(err, S3S_E_CREDENTIALS, "%s is set but %s is not",
                              access ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                              access ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
#else
    (void)out;
#endif
    return s3si_error_set(err, S3S_E_CREDENTIALS,
                          "no credentials: set access_key and secret_key, or AWS_ACCESS_KEY_ID and "
                          "AWS_SECRET_ACCESS_KEY, or read anonymously");
}

/* The present credentials, copied; an empty access_key means: do not sign. The caller wipes them.
 */
static s3s_result s3si_creds_get(s3si_creds *c, int64_t now, s3s_credentials *out, s3s_error *err) {
    s3s_result r = S3S_OK;
    memset(out, 0, sizeof *out);
    if (c->anonymous) return S3S_OK;
    if (c->has_explicit) {
        *out = c->given;
        return S3S_OK;
    }
    if (!c->callback && c->use_environment) return s3si_creds_environment(out, err);
    if (!c->callback) return s3si_error_set(err, S3S_E_CREDENTIALS, "no credentials were given");
    s3si_mutex_lock(&c->lock);
    if (!c->cached_valid || (c->cached.expires && now > c->cached.expires - 300)) {
        r = c->callback(c->callback_user, &c->cached, err);
        c->cached_valid = r == S3S_OK;
        if (r != S3S_OK)
            (void)s3si_error_set(err, r, "the credentials callback failed (%s)",
                                 s3s_result_name(r));
    }
    if (r == S3S_OK) *out = c->cached;
    s3si_mutex_unlock(&c->lock);
    return r;
}

/* After the store called them expired: 1 when asking again may give others. */
static int s3si_creds_renew(s3si_creds *c) {
    if (!c->callback || c->has_explicit || c->anonymous) return 0;
    s3si_mutex_lock(&c->lock);
    c->cached_valid = 0;
    s3si_mutex_unlock(&c->lock);
    return 1;
}

/* The signing key for a request's day, region and service; the last one is remembered. */
static void s3si_creds_key(s3si_creds *c, const s3s_credentials *cred, const s3si_sigv4 *r,
                           uint8_t key[32]) {
    char scope[160];
    (void)snprintf(scope, sizeof scope, "%.8s/%.*s/%.*s", r->time, (int)r->region.n, r->region.p,
                   (int)r->service.n, r->service.p);
    s3si_mutex_lock(&c->lock);
    if (strcmp(scope, c->signing.scope) != 0 || strcmp(cred->secret_key, c->signing.secret) != 0) {
        s3si_sigv4_key(r, cred->secret_key, c->signing.key);
        memcpy(c->signing.scope, scope, sizeof scope);
        memcpy(c->signing.secret, cred->secret_key, sizeof c->signing.secret);
    }
    memcpy(key, c->signing.key, 32);
    s3si_mutex_unlock(&c->lock);
}

/* >>s3
 * Requests to a store: built, signed and addressed anew for every attempt, and the answers'
 * meaning: what is worth another attempt, where a bucket lives, whose clock is wrong. An
 * s3si_request is what stays the same over attempts. s3si_service is the client's side of it; its
 * lock guards what requests teach each other (clock offset, regions of buckets). */
enum { S3SI_SERVICE_REGIONS = 32 };
typedef struct s3si_service {
    const s3si_mem *mem;
    s3si_creds creds;
    const s3s_tls *tls;
    char *endpoint; /* the text that the parsed form points into; NULL: AWS by region */
    s3si_uri parsed;
    char region[64];
    int addressing;
    s3si_buf agent;   /* User-Agent's value */
    s3si_buf headers; /* the configuration's own lines */
    int64_t (*clock)(void *user);
    void *clock_user;
    s3si_mutex lock;
    struct {
        int64_t skew;
        struct {
            char bucket[64], region[64];
        } regions[S3SI_SERVICE_REGIONS];
        size_t regions_used;
    } learned; /* guarded by lock */
} s3si_service;

static int64_t s3si_service_time(s3si_service *s) {
    int64_t now = s->clock ? s->clock(s->clock_user) : s3si_time_wall();
    s3si_mutex_lock(&s->lock);
    now += s->learned.skew;
    s3si_mutex_unlock(&s->lock);
    return now;
}

static void s3si_service_region(s3si_service *s, s3si_str bucket, char out[64]) {
    size_t i;
    s3si_mutex_lock(&s->lock);
    memcpy(out, s->region, 64);
    for (i = 0; i < S3SI_SERVICE_REGIONS; i++)
        if (bucket.n && s3si_str_is(bucket, s->learned.regions[i].bucket))
            memcpy(out, s->learned.regions[i].region, 64);
    s3si_mutex_unlock(&s->lock);
}

static void s3si_service_learn_region(s3si_service *s, s3si_str bucket, s3si_str region) {
    size_t i;
    s3si_mutex_lock(&s->lock);
    for (i = 0; i < S3SI_SERVICE_REGIONS; i++)
        if (s3si_str_is(bucket, s->learned.regions[i].bucket)) break;
    if (i == S3SI_SERVICE_REGIONS) i = s->learned.regions_used++ % S3SI_SERVICE_REGIONS;
    if (!s3si_str_copy(bucket, s->learned.regions[i].bucket, 64) ||
        !s3si_str_copy(region, s->learned.regions[i].region, 64))
        s->learned.regions[i].bucket[0] = 0;
    s3si_mutex_unlock(&s->lock);
}

typedef struct s3si_request {
    s3si_service *service;
    const char *method;
    int raw;             /* 1: origin and path are given (s3s_request, http sources) */
    const char *signs;   /* the service name to sign for; NULL: unsigned */
    s3si_buf bucket, key;
    s3si_origin origin;  /* raw, or where a redirect led */
    s3si_buf path;       /* raw: wire form, without query */
    s3si_buf query;      /* wire form */
    s3si_buf headers;    /* header lines of every attempt */
    s3si_str body;
    char payload_hash[65];
    char region[64];     /* raw: the region to sign for; "" = the client's */
    int redirected, region_fixed, skew_fixed, renewed, left_domain;
} s3si_request;

static void s3si_request_init(s3si_request *q, s3si_service *service, const char *method) {
    memset(q, 0, sizeof *q);
    q->service = service;
    q->method = method;
    q->signs = "s3";
    s3si_buf_init(&q->bucket, service->mem);
    s3si_buf_init(&q->key, service->mem);
    s3si_buf_init(&q->path, service->mem);
    s3si_buf_init(&q->query, service->mem);
    s3si_buf_init(&q->headers, service->mem);
    memcpy(q->payload_hash, S3SI_SIGV4_EMPTY_HASH, 65);
}

static void s3si_request_deinit(s3si_request *q) {
    s3si_buf_deinit(&q->bucket);
    s3si_buf_deinit(&q->key);
    s3si_buf_deinit(&q->path);
    s3si_buf_deinit(&q->query);
    s3si_buf_deinit(&q->headers);
}

static int s3si_request_ok(const s3si_request *q) {
    return s3si_buf_ok(&q->bucket) && s3si_buf_ok(&q->key) && s3si_buf_ok(&q->path) &&
           s3si_buf_ok(&q->query) && s3si_buf_ok(&q->headers);
}

static void s3si_request_query(s3si_request *q, const char *name, s3si_str value) {
    if (q->query.n) s3si_buf_addc(&q->query, '&');
    s3si_percent_encode(&q->query, s3si_str_of(name), 0);
    s3si_buf_addc(&q->query, '=');
    s3si_percent_encode(&q->query, value, 0);
}

/* Aims a request at what a URI names (s3 or http). */
static s3s_result s3si_request_aim(s3si_request *q, const s3si_uri *u, s3s_error *err) {
    if (u->scheme == S3SI_URI_HTTP) {
        s3si_str query, path = s3si_str_cut(u->path, '?', &query);
        q->raw = 1;
        q->signs = NULL;
        s3si_origin_set(&q->origin, u->host, u->port, u->tls);
        s3si_buf_addz(&q->path, path.n ? "" : "/");
        s3si_buf_add(&q->path, path);
        s3si_buf_add(&q->query, query);
    } else {
        s3si_buf_add(&q->bucket, u->bucket);
        s3si_buf_add(&q->key, u->key);
    }
    return s3si_request_ok(q) ? S3S_OK
                              : s3si_error_set(err, S3S_E_MEMORY, "no memory for the request");
}

/* Host and path of an S3 request: https://bucket.s3.region.amazonaws.com/key, or
 * endpoint/bucket/key. */
static void s3si_request_address(s3si_request *q, const char *region, s3si_origin *origin,
                                 s3si_buf *path) {
    s3si_service *s = q->service;
    s3si_str bucket = s3si_buf_str(&q->bucket), host = s->parsed.host, port = s->parsed.port,
             prefix;
    char aws[128], named[256 + 64];
    int tls = s->parsed.tls, style = s->addressing;
    prefix = s3si_str_make(s->parsed.path.p ? s->parsed.path.p : "", s->parsed.path.n);
    if (!s->endpoint) {
        (void)snprintf(aws, sizeof aws, "s3.%s.amazonaws.com", region);
        host = s3si_str_of(aws), port = s3si_str_of("443"), tls = 1;
        prefix = s3si_str_of("");
    }
    if (style == S3S_ADDRESSING_AUTO)
        style = s3si_uri_within(host, s3si_str_of("amazonaws.com")) &&
                        s3si_uri_virtual_ok(bucket, host, tls)
                    ? S3S_ADDRESSING_VIRTUAL
                    : S3S_ADDRESSING_PATH;
    while (prefix.n && prefix.p[prefix.n - 1] == '/') prefix.n--;
    s3si_buf_add(path, prefix);
    if (bucket.n && style == S3S_ADDRESSING_VIRTUAL && bucket.n < 64) {
        (void)snprintf(named, sizeof named, "%.*s.%.*s", (int)bucket.n, bucket.p, (int)host.n,
                       host.p);
        host = s3si_str_of(named);
    } else if (bucket.n) {
        s3si_buf_addc(path, '/');
        s3si_buf_add(path, bucket);
    }
    if (q->key.n || !bucket.n || style == S3S_ADDRESSING_VIRTUAL || !path->n)
        s3si_buf_addc(path, '/');
    s3si_percent_encode(path, s3si_buf_str(&q->key), 1);
    s3si_origin_set(origin, host, port, tls);
    if (q->redirected) *origin = q->origin;
}

enum { S3SI_REQUEST_SIGNED = 64 };

/* The header lines of `text` that a signature covers, appended to list. */
static size_t s3si_request_signed(s3si_str text, s3si_header *list, size_t n) {
    s3si_header h;
    while (s3si_head_step(&text, &h.name, &h.value)) {
        int amz = h.name.n >= 6 && s3si_str_ieq(s3si_str_make(h.name.p, 6), s3si_str_of("x-amz-"));
        if (!amz && !s3si_str_ieq(h.name, s3si_str_of("host")) &&
            !s3si_str_ieq(h.name, s3si_str_of("content-md5")) &&
            !s3si_str_ieq(h.name, s3si_str_of("content-type")))
            continue;
        if (n < S3SI_REQUEST_SIGNED) list[n++] = h;
    }
    return n;
}

/* Adds date, token, payload hash and Authorization to the header lines in `lines`. */
static s3s_result s3si_request_sign(s3si_request *q, s3si_str path, const char *region,
                                    s3si_buf *lines, s3s_error *err) {
    s3si_service *s = q->service;
    s3si_header signed_headers[S3SI_REQUEST_SIGNED];
    s3s_credentials cred;
    s3si_sigv4 r;
    s3si_buf authorization;
    uint8_t key[32];
    char date[17];
    int64_t now = s3si_service_time(s);
    s3s_result result = s3si_creds_get(&s->creds, now, &cred, err);
    if (result != S3S_OK || !cred.access_key[0]) return result;
    memset(&r, 0, sizeof r);
    s3si_date_amz(now, date);
    s3si_http_add_header(lines, s3si_str_of("x-amz-date"), s3si_str_of(date));
    if (strcmp(q->signs, "s3") == 0)
        s3si_http_add_header(lines, s3si_str_of("x-amz-content-sha256"),
                             s3si_str_of(q->payload_hash));
    if (cred.session_token[0])
        s3si_http_add_header(lines, s3si_str_of("x-amz-security-token"),
                             s3si_str_of(cred.session_token));
    r.method = s3si_str_of(q->method);
    r.path = path;
    r.query = s3si_buf_str(&q->query);
    r.headers = signed_headers;
    r.header_count = s3si_request_signed(s3si_buf_str(lines), signed_headers, 0);
    r.payload_hash = s3si_str_of(q->payload_hash);
    r.region = s3si_str_of(region);
    r.service = s3si_str_of(q->signs);
    r.time = date;
    r.normalize = r.double_encode = strcmp(q->signs, "s3") != 0;
    s3si_creds_key(&s->creds, &cred, &r, key);
    s3si_buf_init(&authorization, s->mem);
    s3si_sigv4_authorization(&r, cred.access_key, key, &authorization);
    s3si_buf_inherit(lines, &authorization);
    s3si_http_add_header(lines, s3si_str_of("Authorization"), s3si_buf_str(&authorization));
    s3si_buf_deinit(&authorization);
    s3si_mem_wipe(key, sizeof key);
    s3si_mem_wipe(&cred, sizeof cred);
    return S3S_OK;
}

/* Writes one attempt's request into x: `more` are header lines of this attempt (Range, If-Match).
 */
static s3s_result s3si_request_prepare(s3si_request *q, s3si_exchange *x, s3si_str more) {
    s3si_service *s = q->service;
    char region[64];
    s3si_buf path, lines, authority;
    s3s_result r = S3S_OK;
    int writes = strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0;
    s3si_buf_init(&path, s->mem);
    s3si_buf_init(&lines, s->mem);
    s3si_buf_init(&authority, s->mem);
    s3si_service_region(s, s3si_buf_str(&q->bucket), region);
    if (q->region[0]) memcpy(region, q->region, sizeof region);
    if (q->raw) {
        x->origin = q->origin;
        s3si_buf_add(&path, s3si_buf_str(&q->path));
    } else {
        s3si_request_address(q, region, &x->origin, &path);
    }
    if (x->origin.tls && !s->tls)
        r = s3si_error_set(
            &x->err, S3S_E_UNSUPPORTED,
            "https://%s needs TLS, and this program was built without a TLS adapter; use an "
            "http:// endpoint or set s3s_config.tls",
            x->origin.host);
    s3si_origin_authority(&x->origin, &authority);
    s3si_http_add_header(&lines, s3si_str_of("Host"), s3si_buf_str(&authority));
    s3si_http_add_header(&lines, s3si_str_of("User-Agent"), s3si_buf_str(&s->agent));
    s3si_buf_add(&lines, s3si_buf_str(&q->headers));
    s3si_buf_add(&lines, more);
    if (q->signs && !q->raw) s3si_buf_add(&lines, s3si_buf_str(&s->headers));
    if (r == S3S_OK && q->signs && !q->left_domain)
        r = s3si_request_sign(q, s3si_buf_str(&path), region, &lines, &x->err);
    if (writes || q->body.n) {
        s3si_buf_addz(&lines, "Content-Length: ");
        s3si_buf_addu(&lines, q->body.n);
        s3si_buf_addz(&lines, "\r\n");
    }
    if (!s3si_request_ok(q)) x->out.failed = S3SI_BUF_MEMORY;
    s3si_buf_inherit(&x->out, &q->headers);
    s3si_buf_addz(&x->out, q->method);
    s3si_buf_addc(&x->out, ' ');
    s3si_buf_add(&x->out, s3si_buf_str(&path));
    if (q->query.n) s3si_buf_addc(&x->out, '?');
    s3si_buf_add(&x->out, s3si_buf_str(&q->query));
    if (!s3si_http_safe(s3si_buf_str(&x->out))) x->out.failed = S3SI_BUF_UNSAFE;
    s3si_buf_addz(&x->out, " HTTP/1.1\r\n");
    s3si_buf_add(&x->out, s3si_buf_str(&lines));
    s3si_buf_addz(&x->out, "\r\n");
    s3si_buf_inherit(&x->out, &path);
    s3si_buf_inherit(&x->out, &lines);
    s3si_buf_inherit(&x->out, &authority);
    x->body = q->body;
    x->is_head = strcmp(q->method, "HEAD") == 0;
    if (lines.p) s3si_mem_wipe(lines.p, lines.cap);
    s3si_buf_deinit(&path);
    s3si_buf_deinit(&lines);
    s3si_buf_deinit(&authority);
    return r;
}

static const char *s3si_status_name(int status) {
    switch (status) {
    case 301: case 302: case 307: case 308: return "Redirect";
    case 304: return "NotModified";
    case 400: return "BadRequest";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "NotFound";
    case 405: return "MethodNotAllowed";
    case 408: return "RequestTimeout";
    case 409: return "Conflict";
    case 412: return "PreconditionFailed";
    case 416: return "InvalidRange";
    case 429: return "TooManyRequests";
    case 500: return "InternalError";
    case 501: return "NotImplemented";
    case 502: return "BadGateway";
    case 503: return "ServiceUnavailable";
    case 504: return "GatewayTimeout";
    default: return "HTTPError";
    }
}

static s3s_result s3si_status_result(int status, const char *code) {
    if (strcmp(code, "SlowDown") == 0 || strcmp(code, "RequestLimitExceeded") == 0)
        return S3S_E_THROTTLED;
    if (strcmp(code, "InternalError") == 0) return S3S_E_SERVER;
    if (strcmp(code, "RequestTimeout") == 0) return S3S_E_TIMEOUT;
    switch (status) {
    case 401: case 403: return S3S_E_ACCESS;
    case 404: return S3S_E_NOT_FOUND;
    case 408: return S3S_E_TIMEOUT;
    case 409: return strcmp(code, "ConditionalRequestConflict") == 0 ? S3S_E_SERVER : S3S_E_HTTP;
    case 412: return S3S_E_PRECONDITION;
    case 416: return S3S_E_RANGE;
    case 429: case 503: return S3S_E_THROTTLED;
    case 500: case 502: case 504: return S3S_E_SERVER;
    default: return S3S_E_HTTP;
    }
}

/* Fills x->err from an answer that is not a success: "NoSuchKey (404): text [request id ...]". */
static void s3si_request_error(s3si_exchange *x) {
    s3si_str doc = s3si_buf_str(&x->kept), code, text, id;
    s3si_buf readable;
    s3s_result r;
    s3si_error_clear(&x->err);
    x->err.http_status = x->head.status;
    x->err.phase = "answer";
    if (!s3si_xml_find(doc, "Code", &code) || code.n == 0 || code.n >= sizeof x->err.s3_code)
        code = s3si_str_of(s3si_status_name(x->head.status));
    (void)s3si_str_copy(code, x->err.s3_code, sizeof x->err.s3_code);
    s3si_error_one_line(x->err.s3_code);
    if (s3si_head_find(&x->head, "x-amz-request-id", &id) && id.n < sizeof x->err.request_id)
        (void)s3si_str_copy(id, x->err.request_id, sizeof x->err.request_id);
    if (!s3si_xml_find(doc, "Message", &text)) text = s3si_str_make("", 0);
    s3si_buf_init(&readable, x->mem);
    s3si_xml_decode(&readable, text);
    r = s3si_status_result(x->head.status, x->err.s3_code);
    (void)s3si_error_set(&x->err, r, "%s (%d)%s%.300s%s%s%s", x->err.s3_code, x->head.status,
                         readable.n ? ": " : "", s3si_buf_z(&readable),
                         x->err.request_id[0] ? " [request id " : "", x->err.request_id,
                         x->err.request_id[0] ? "]" : "");
    s3si_buf_deinit(&readable);
}

/* The store says in which region the bucket is: sign for that one, once. */
static int s3si_request_other_region(s3si_request *q, s3si_exchange *x) {
    s3si_str region;
    char now[64];
    if (q->raw || q->region_fixed || !q->bucket.n) return 0;
    if (!s3si_head_find(&x->head, "x-amz-bucket-region", &region) &&
        !s3si_xml_find(s3si_buf_str(&x->kept), "Region", &region))
        return 0;
    s3si_service_region(q->service, s3si_buf_str(&q->bucket), now);
    if (!region.n || region.n >= 64 || s3si_str_is(region, now) || !s3si_http_safe(region))
        return 0;
    q->region_fixed = 1;
    s3si_service_learn_region(q->service, s3si_buf_str(&q->bucket), region);
    return 1;
}

/* Signatures go only to the endpoint's own domain and port, and never from https to http. */
static int s3si_request_may_sign(s3si_request *q, const s3si_exchange *x, const s3si_origin *to) {
    s3si_str own = q->service->endpoint ? q->service->parsed.host : s3si_str_of("amazonaws.com");
    if (s3si_uri_within(own, s3si_str_of("amazonaws.com"))) own = s3si_str_of("amazonaws.com");
    return strcmp(x->origin.port, to->port) == 0 && s3si_uri_within(s3si_str_of(to->host), own);
}

/* Follows a Location: 1 another attempt, 0 refused with x->err set. */
static int s3si_request_redirect(s3si_request *q, s3si_exchange *x) {
    s3si_str location, query, path;
    s3si_uri u;
    s3si_origin to;
    const char *why = "it has no Location";
    if (!s3si_head_find(&x->head, "location", &location) || !location.n) goto refused;
    if (location.p[0] == '/' && !s3si_str_starts(location, "//")) {
        to = x->origin;
        u.path = location;
    } else {
        if (!s3si_uri_parse(location, &u, &why)) goto refused;
        s3si_origin_set(&to, u.host, u.port, u.tls);
    }
    why = "it leads from https to http";
    if (x->origin.tls && !to.tls) goto refused;
    why = "it leads to another host, and signed requests stay within the endpoint's domain and "
          "port; set "
          "the endpoint to that host if it is meant";
    if (q->signs && !s3si_request_may_sign(q, x, &to)) goto refused;
    path = s3si_str_cut(u.path, '?', &query);
    q->origin = to;
    if (q->raw) {
        s3si_buf_clear(&q->path);
        s3si_buf_addz(&q->path, path.n ? "" : "/");
        s3si_buf_add(&q->path, path);
        s3si_buf_clear(&q->query);
        s3si_buf_add(&q->query, query);
    }
    q->redirected = 1;
    return 1;
refused:
    s3si_error_clear(&x->err);
    x->err.http_status = x->head.status;
    (void)s3si_error_set(
        &x->err, S3S_E_HTTP, "the redirect (%d) to '%.*s' is not followed: %s", x->head.status,
        (int)(location.n < 200 ? s3si_str_find(location, '?') : 200), location.p, why);
    return 0;
}

/* The store finds our clock wrong: take its own, once. */
static int s3si_request_skewed(s3si_request *q, s3si_exchange *x) {
    s3si_str date;
    int64_t theirs, ours = s3si_service_time(q->service), off;
    int told = strcmp(x->err.s3_code, "RequestTimeTooSkewed") == 0;
    if (!q->signs || q->skew_fixed || !s3si_head_find(&x->head, "date", &date) ||
        !s3si_date_parse_http(date, &theirs))
        return 0;
    off = theirs - ours;
    if (!told && !(x->is_head && x->head.status == 403 && (off > 900 || off < -900))) return 0;
    q->skew_fixed = 1;
    s3si_mutex_lock(&q->service->lock);
    q->service->learned.skew += off;
    s3si_mutex_unlock(&q->service->lock);
    s3si_log_line(&x->policy.log, 1,
                  "the store's clock differs from ours by %ld s; signing by its clock", (long)off);
    return 1;
}

/* What an answer that is not a success is worth, its body in x->kept. */
static int s3si_request_verdict(s3si_request *q, s3si_exchange *x) {
    int status = x->head.status;
    s3si_request_error(x);
    if (status == 503 || status == 429) s3si_budget_throttled(x->budget, s3si_time_mono_us());
    if ((status == 301 || status == 302 || status == 307 || status == 308 || status == 400 ||
         status == 403) &&
        s3si_request_other_region(q, x))
        return S3SI_SAY_NOW;
    if (status == 301 || status == 302 || status == 307 || status == 308)
        return s3si_request_redirect(q, x) ? S3SI_SAY_NOW : S3SI_SAY_FAIL;
    if (s3si_request_skewed(q, x)) return S3SI_SAY_NOW;
    if ((strcmp(x->err.s3_code, "ExpiredToken") == 0 ||
         strcmp(x->err.s3_code, "InvalidToken") == 0) &&
        !q->renewed && s3si_creds_renew(&q->service->creds)) {
        q->renewed = 1;
        return S3SI_SAY_NOW;
    }
    return s3si_error_retryable(x->err.code) ? S3SI_SAY_AGAIN : S3SI_SAY_FAIL;
}

/* Object facts from a response's headers. */
static void s3si_head_text(const s3si_head *h, const char *name, char *out, size_t cap) {
    s3si_str v;
    out[0] = 0;
    if (s3si_head_find(h, name, &v)) (void)s3si_str_copy(v, out, cap);
}

static void s3si_head_object(const s3si_head *h, s3s_object *o) {
    s3si_str lines = h->lines, name, value;
    size_t used = 0;
    s3si_head_text(h, "etag", o->etag, sizeof o->etag);
    s3si_head_text(h, "last-modified", o->last_modified, sizeof o->last_modified);
    s3si_head_text(h, "x-amz-version-id", o->version_id, sizeof o->version_id);
    s3si_head_text(h, "content-type", o->content_type, sizeof o->content_type);
    s3si_head_text(h, "x-amz-storage-class", o->storage_class, sizeof o->storage_class);
    o->metadata[0] = 0;
    while (s3si_head_step(&lines, &name, &value)) {
        if (name.n <= 11 || !s3si_str_ieq(s3si_str_make(name.p, 11), s3si_str_of("x-amz-meta-")))
            continue;
        if (used + name.n - 11 + value.n + 4 > sizeof o->metadata) break;
        used += (size_t)snprintf(o->metadata + used, sizeof o->metadata - used, "%.*s: %.*s\n",
                                 (int)(name.n - 11), name.p + 11, (int)value.n, value.p);
    }
}

/* >>source
 * An object that can be read by ranges, whatever serves it: a store (s3), any web server (http) or
 * a file. What stands above does not know which. It names the requests (aim), judges the answers
 * to them, and says what pins a version. An answer is used only if it is exactly the range asked
 * for, of the version first seen. */
typedef struct s3si_source {
    s3si_service *service;
    char *text; /* the URI; `uri` points into it */
    s3si_uri uri;
    char version_id[128];
    int fd; /* file: open, else -1 */
    s3si_file_info file;
} s3si_source;

static void s3si_source_close(s3si_source *s) {
    s3si_file_close(s->fd);
    s->fd = -1;
    s3si_mem_free(s->service->mem, s->text);
    s->text = NULL;
}

static s3s_result s3si_source_open(s3si_source *s, s3si_service *service, const char *uri,
                                   const char *version_id, s3s_error *err) {
    const char *why = "";
    memset(s, 0, sizeof *s);
    s->service = service;
    s->fd = -1;
    if (!uri) return s3si_error_set(err, S3S_E_ARGUMENT, "the URI is NULL");
    s->text = s3si_str_dup(service->mem, s3si_str_of(uri));
    if (!s->text) return s3si_error_set(err, S3S_E_MEMORY, "no memory for the URI");
    if (!s3si_uri_parse(s3si_str_of(s->text), &s->uri, &why))
        return s3si_error_set(err, S3S_E_ARGUMENT, "not a usable URI: %s", why);
    if (s->uri.scheme == S3SI_URI_S3 && (!s->uri.bucket.n || !s->uri.key.n))
        return s3si_error_set(err, S3S_E_ARGUMENT, "it names no object: write s3://bucket/key");
    if (!s3si_str_copy(s3si_str_of(version_id), s->version_id, sizeof s->version_id))
        return s3si_error_set(err, S3S_E_ARGUMENT, "the version id is longer than 127 bytes");
    return S3S_OK;
}

/* A file:// path with its NUL; it ends where the URI's text does. */
static const char *s3si_source_path(const s3si_source *s) { return s->uri.path.p; }

/* file: opens it once and fills the object's facts; the ETag is made of what changes with the
 * content. */
static s3s_result s3si_source_stat(s3si_source *s, s3s_object *o, s3s_error *err) {
    if (s->fd < 0) s->fd = s3si_file_open(s3si_source_path(s), &s->file);
    if (s->fd < 0) {
        int e = errno;
        if (err) err->os_error = e;
        return s3si_error_set(err, e == ENOENT ? S3S_E_NOT_FOUND : S3S_E_FILE, "cannot open: %s",
                              e == EINVAL ? "not a regular file" : strerror(e));
    }
    memset(o, 0, sizeof *o);
    o->size = s->file.size;
    (void)snprintf(o->etag, sizeof o->etag, "\"%llx-%llx-%llx-%llx\"",
                   (unsigned long long)s->file.size, (unsigned long long)s->file.mtime,
                   (unsigned long long)s->file.mtime_ns, (unsigned long long)s->file.inode);
    s3si_date_format_http(s->file.mtime, o->last_modified);
    return S3S_OK;
}

static s3s_result s3si_source_aim(const s3si_source *s, s3si_request *q, const char *method,
                                  s3s_error *err) {
    s3s_result r;
    s3si_request_init(q, s->service, method);
    r = s3si_request_aim(q, &s->uri, err);
    if (r == S3S_OK && s->version_id[0] && s->uri.scheme == S3SI_URI_S3)
        s3si_request_query(q, "versionId", s3si_str_of(s->version_id));
    return r;
}

typedef struct s3si_answer {
    uint64_t end;   /* the body is [from, end) of the object; UINT64_MAX: until it ends */
    uint64_t total; /* the object's size; UINT64_MAX: not told */
    int cut_short;  /* the body goes on behind `end`, and is not read to its end */
} s3si_answer;

/* Judges a 200 or 206 to a request for [from, to): pure. 0 with a reason when it may not be used.
 */
static int s3si_source_judge(const s3si_head *h, uint64_t from, uint64_t to, s3si_answer *a,
                             const char **why) {
    s3si_str value;
    uint64_t start;
    a->cut_short = 0;
    if (h->status == 200) {
        a->total = h->framing == S3SI_BODY_LENGTH ? h->length : UINT64_MAX;
        a->end = a->total < to ? a->total : to;
        a->cut_short = a->total > to;
        if (from == 0) return 1;
        return *why = "the server ignores Range and sends the whole object; it can be read only in "
                      "one "
                      "part, so raise part_size and memory above its size",
               0;
    }
    if (!s3si_head_find(h, "content-range", &value)) return *why = "a 206 without Content-Range", 0;
    if (!s3si_http_content_range(value, &start, &a->end, &a->total) || start == UINT64_MAX)
        return *why = "the Content-Range is malformed", 0;
    if (start != from) return *why = "the Content-Range does not begin where the request did", 0;
    if (a->end > to || (a->end < to && a->end != a->total))
        return *why = "the Content-Range does not end where the request did", 0;
    if (h->framing == S3SI_BODY_LENGTH && h->length != a->end - from)
        return *why = "Content-Length and Content-Range disagree", 0;
    return 1;
}

static int s3si_etag_weak(const char *etag) { return etag[0] == 'W' && etag[1] == '/'; }

/* Is this answer of the same version as the first? `o` are the first's facts, `total` UINT64_MAX
 * unknown. */
static int s3si_source_same(const s3s_object *o, uint64_t size, const s3si_head *h, uint64_t total,
                            const char **why) {
    s3si_str etag, date;
    int has_etag = s3si_head_find(h, "etag", &etag);
    if (total != UINT64_MAX && size != UINT64_MAX && total != size)
        return *why = "its size is another now", 0;
    if (o->etag[0] && !has_etag) return *why = "a later answer has no ETag", 0;
    if (o->etag[0] && !s3si_str_is(etag, o->etag)) return *why = "its ETag is another now", 0;
    if (o->etag[0] && !s3si_etag_weak(o->etag)) return 1;
    if (o->last_modified[0] &&
        (!s3si_head_find(h, "last-modified", &date) || !s3si_str_is(date, o->last_modified)))
        return *why = "its Last-Modified is another now", 0;
    return 1;
}

/* A 416 means an empty object only when the request began at byte 0 and nothing contradicts. */
static int s3si_source_is_empty(const s3si_exchange *x, uint64_t from) {
    uint64_t start, end, total, actual;
    s3si_str v;
    if (x->head.status != 416 || from != 0) return 0;
    if (s3si_head_find(&x->head, "content-range", &v) &&
        (!s3si_http_content_range(v, &start, &end, &total) || (total != UINT64_MAX && total != 0)))
        return 0;
    if (s3si_xml_find(s3si_buf_str(&x->kept), "ActualObjectSize", &v) &&
        (!s3si_str_u64(v, &actual) || actual != 0))
        return 0;
    return 1;
}

/* The object's size as a 416 tells it; UINT64_MAX when it does not. */
static uint64_t s3si_source_unsatisfied(const s3si_exchange *x, uint64_t from) {
    uint64_t start, end, total;
    s3si_str v;
    if (s3si_source_is_empty(x, from)) return 0;
    if (x->head.status != 416 || !s3si_head_find(&x->head, "content-range", &v) ||
        !s3si_http_content_range(v, &start, &end, &total) || start != UINT64_MAX)
        return UINT64_MAX;
    return total;
}

/* >>loop
 * Event loops: each drives the exchanges given to it with poll, on a thread of its own that is
 * started with its first exchange, or, under S3STREAM_NO_THREADS, inside the caller's wait. One
 * lock, the engine's, guards everything that loops and callers share; it is never held across a
 * system call that moves data. An exchange is the loop's from submit to its finished(), after
 * which the loop frees it. */
struct s3si_engine;
typedef struct s3si_loop {
    struct s3si_engine *engine;
    s3si_pool pool;
    s3si_wake wake;
    s3si_exchange *list; /* the loop's thread's alone, as are fds and fd_cap */
    s3si_pollfd *fds;
    size_t fd_cap;
    struct { /* guarded by the engine's lock */
        s3si_exchange *inbox;
        size_t load;
        int started;
        int awake;     /* it will look here again before it waits */
        int attention; /* somebody wants it to */
    } shared;
#if S3SI_THREADS
    s3si_thread thread;
#endif
} s3si_loop;

enum { S3SI_ENGINE_LOOPS = 64, S3SI_ENGINE_OBJECTS = 16 };

/* What reading an object has taught about its records, for all readers of the client. */
typedef struct s3si_knowledge {
    uint64_t id; /* hash of URI and record format; 0 = free */
    uint64_t used;
    s3si_lengths lengths;
    double round_trip, bandwidth; /* seconds, bytes a second; 0 = not measured */
} s3si_knowledge;

struct s3si_fetch;
typedef struct s3si_engine {
    s3si_mem mem;
    s3si_mutex lock;
    s3si_loop *loops[S3SI_ENGINE_LOOPS];
    int loop_count;
    size_t loop_fill; /* exchanges on a loop before the next one is used: decryption wants all cores */
    int connections;
    s3si_budget budget;
    s3si_policy policy;
    long pid;
    /* guarded by lock */
    int stopping;
    int active;               /* part exchanges in flight */
    struct s3si_fetch *turn;  /* the ring of fetches, from the one whose turn is next */
    void (*pump_locked)(struct s3si_engine *e); /* >>fetch: gives out connections that came free */
    s3si_knowledge known[S3SI_ENGINE_OBJECTS];
    uint64_t clock;           /* counts uses of `known` */
    s3s_stats closed;         /* sums of what has ended */
} s3si_engine;

/* Takes in what was submitted, and lets go of what was abandoned. */
static void s3si_loop_inbox(s3si_loop *l, int64_t now) {
    s3si_exchange *x;
    s3si_mutex_lock(&l->engine->lock);
    while ((x = l->shared.inbox) != NULL) {
        l->shared.inbox = x->next;
        x->next = l->list;
        x->ready = 1;
        l->list = x;
    }
    l->shared.awake = 1;
    l->shared.attention = 0;
    for (x = l->list; x; x = x->next)
        if (x->abandoned && !x->let_go) x->let_go = 1;
    s3si_mutex_unlock(&l->engine->lock);
    for (x = l->list; x; x = x->next) {
        if (x->let_go != 1) continue;
        x->let_go = 2;
        s3si_exchange_abandon(x, &l->pool, now);
        x->ready = 1;
    }
}

/* Steps what is ready or due; what is done goes to its owner and is freed. How many were stepped. */
static int s3si_loop_step(s3si_loop *l, int64_t now) {
    s3si_exchange **at = &l->list, *x;
    int stepped = 0;
    while ((x = *at) != NULL) {
        if (x->ready || now >= x->wait.wake_us) {
            x->ready = 0;
            stepped++;
            if (x->state != S3SI_X_DONE) s3si_exchange_step(x, &l->pool, now);
        }
        if (x->state != S3SI_X_DONE) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        if (x->ops->finished) x->ops->finished(x->user, x);
        s3si_mutex_lock(&l->engine->lock);
        l->shared.load--;
        s3si_mutex_unlock(&l->engine->lock);
        s3si_exchange_deinit(x);
        s3si_mem_free(&l->engine->mem, x);
    }
    return stepped;
}

static int s3si_loop_room(s3si_loop *l, size_t need) {
    s3si_pollfd *p;
    if (need <= l->fd_cap) return 1;
    p = (s3si_pollfd *)s3si_mem_alloc(&l->engine->mem, 2 * need * sizeof *p);
    if (!p) return 0;
    s3si_mem_free(&l->engine->mem, l->fds);
    l->fds = p;
    l->fd_cap = 2 * need;
    return 1;
}

/* Collects what the exchanges wait for. Returns how many descriptors; *wake_us the earliest time.
 */
static size_t s3si_loop_gather(s3si_loop *l, int64_t *wake_us) {
    s3si_exchange *x;
    size_t n = 1, i;
    l->fds[0].fd = l->wake.fd[0];
    l->fds[0].events = S3SI_POLL_IN;
    l->fds[0].revents = 0;
    for (x = l->list; x; x = x->next) {
        if (x->wait.wake_us < *wake_us) *wake_us = x->wait.wake_us;
        if (x->ready) *wake_us = 0;
        for (i = 0; i < 2; i++) {
            if (n >= l->fd_cap) return n;
            l->fds[n].fd = x->wait.fd[i]; /* -1 is passed over by poll */
            l->fds[n].events = x->wait.events[i];
            l->fds[n++].revents = 0;
        }
    }
    return n;
}

/* One turn: take in, step, wait (not beyond until_us), see what is ready. */
static void s3si_loop_turn(s3si_loop *l, int64_t until_us) {
    int64_t now = s3si_time_mono_us(), wake_us = until_us;
    s3si_exchange *x;
    size_t n = 1;
    int woken, stepped;
    s3si_loop_inbox(l, now);
    stepped = s3si_loop_step(l, now);
    for (x = l->list; x; x = x->next) n += 2;
    /* as many as there is room for, and soon again */
    if (!s3si_loop_room(l, n)) wake_us = now + 10000;
    n = l->fd_cap ? s3si_loop_gather(l, &wake_us) : 0;
    if (l->pool.idle && wake_us > now + 1000000) wake_us = now + 1000000;
    s3si_mutex_lock(&l->engine->lock);
    l->shared.awake = l->shared.inbox != NULL || l->shared.attention || l->engine->stopping;
    if (l->shared.awake || (!S3SI_THREADS && stepped)) wake_us = now;
    s3si_mutex_unlock(&l->engine->lock);
    now = s3si_time_mono_us();
    (void)s3si_sock_poll(l->fds, n, wake_us == INT64_MAX ? -1 : wake_us > now ? wake_us - now : 0);
    woken = n && l->fds[0].revents != 0;
    if (woken) s3si_wake_drain(&l->wake);
    s3si_pool_sweep(&l->pool, s3si_time_mono_us());
    for (x = l->list, n = 1; x; x = x->next, n += 2)
        if (n + 1 >= l->fd_cap) x->ready = 1; /* no room to watch it: it looks itself */
        else if (l->fds[n].revents || l->fds[n + 1].revents) x->ready = 1;
        else if (woken && x->state == S3SI_X_RESOLVE) x->ready = 1;
}

#if S3SI_THREADS
static void *s3si_loop_main(void *arg) {
    s3si_loop *l = (s3si_loop *)arg;
    int stop = 0;
    while (!stop) {
        s3si_loop_turn(l, INT64_MAX);
        s3si_mutex_lock(&l->engine->lock);
        stop = l->engine->stopping;
        s3si_mutex_unlock(&l->engine->lock);
    }
    return NULL;
}
#endif

/* Wakes a loop that may be in poll. Lock held. */
static void s3si_loop_wake_locked(s3si_loop *l) {
#if S3SI_THREADS
    if (l->shared.awake) {
        l->shared.attention = 1;
    } else {
        l->shared.awake = 1;
        s3si_wake_raise(l->wake.fd[1]);
    }
#else
    (void)l;
#endif
}

/* Gives an exchange to the first loop with room, or to the one with the least to do: a loop serves a few
 * plain connections at the speed of a core, and every thread more costs switches between them. Lock
 * held. 0: no thread could be started. */
static int s3si_engine_submit_locked(s3si_engine *e, s3si_exchange *x) {
    s3si_loop *l = e->loops[0];
    int i;
    for (i = 1; i < e->loop_count && l->shared.load >= e->loop_fill; i++)
        if (e->loops[i]->shared.load < l->shared.load) l = e->loops[i];
#if S3SI_THREADS
    if (!l->shared.started && !s3si_thread_start(&l->thread, s3si_loop_main, l, 0)) {
        for (i = 0; i < e->loop_count && !e->loops[i]->shared.started; i++) continue;
        if (i == e->loop_count) return 0;
        l = e->loops[i];
    }
#endif
    l->shared.started = 1;
    x->next = l->shared.inbox;
    l->shared.inbox = x;
    l->shared.load++;
    s3si_loop_wake_locked(l);
    return 1;
}

/* The owner of x no longer wants it: its finished() is called soon. Lock held. */
static void s3si_engine_abandon_locked(s3si_engine *e, s3si_exchange *x) {
    int i;
    if (x->abandoned) return;
    x->abandoned = 1;
    for (i = 0; i < e->loop_count; i++)
        if (e->loops[i]->shared.started) s3si_loop_wake_locked(e->loops[i]);
}

/* Waits for cond, or lets the loop run meanwhile. Lock held, before and after. */
static void s3si_engine_wait_locked(s3si_engine *e, s3si_cond *cond, int64_t until_us) {
#if S3SI_THREADS
    s3si_cond_wait(cond, &e->lock, until_us);
#else
    (void)cond;
    s3si_mutex_unlock(&e->lock);
    s3si_loop_turn(e->loops[0], until_us);
    s3si_mutex_lock(&e->lock);
#endif
}

static void s3si_loop_destroy(s3si_engine *e, s3si_loop *l) {
    if (!l) return;
    while (l->list || l->shared.inbox) { /* connections ahead, rests of bodies: nobody's any more */
        s3si_exchange *x = l->list ? l->list : l->shared.inbox;
        if (l->list) l->list = x->next;
        else l->shared.inbox = x->next;
        s3si_exchange_drop(x, &l->pool, 0, 0);
        if (x->ops->finished) x->ops->finished(x->user, x);
        s3si_exchange_deinit(x);
        s3si_mem_free(&e->mem, x);
    }
    s3si_pool_deinit(&l->pool);
    s3si_wake_close(&l->wake);
    s3si_mem_free(&e->mem, l->fds);
    s3si_mem_free(&e->mem, l);
}

static s3si_loop *s3si_loop_create(s3si_engine *e, const s3s_tls *tls, int64_t idle_us,
                                   int64_t connect_us) {
    s3si_loop *l = (s3si_loop *)s3si_mem_zalloc(&e->mem, sizeof *l);
    if (!l) return NULL;
    l->engine = e;
    if (!s3si_wake_open(&l->wake)) {
        s3si_mem_free(&e->mem, l);
        return NULL;
    }
    l->pool.mem = &e->mem;
    l->pool.tls = tls;
    l->pool.wake = &l->wake;
    l->pool.idle_us = idle_us;
    l->pool.connect_us = connect_us;
    return l;
}

/* Ends the loops: what is in flight is abandoned. In a forked child the threads are not there to
 * join. */
static void s3si_engine_deinit(s3si_engine *e) {
    int i, forked = e->pid != s3si_sys_pid();
    if (!forked) {
        s3si_mutex_lock(&e->lock);
        e->stopping = 1;
        for (i = 0; i < e->loop_count; i++) {
            e->loops[i]->shared.awake = 0;
            if (e->loops[i]->shared.started) s3si_loop_wake_locked(e->loops[i]);
        }
        s3si_mutex_unlock(&e->lock);
    }
    for (i = 0; i < e->loop_count; i++) {
        s3si_loop *l = e->loops[i];
#if S3SI_THREADS
        if (l->shared.started && !forked) s3si_thread_join(l->thread);
#endif
        if (!forked) s3si_loop_destroy(e, l);
    }
    if (forked) return;
    s3si_mutex_deinit(&e->lock);
    s3si_mutex_deinit(&e->budget.lock);
}

/* A request whose whole answer is wanted, and waited for. */
typedef struct s3si_call {
    s3si_engine *engine;
    s3si_request q;
    s3si_buf more; /* header lines beside the request's own */
    size_t max;    /* most body bytes taken */
    int any_status; /* an answer is an answer, whatever it says */
    int one_attempt;
    int64_t response_us; /* 0: as the policy says, -1: none */
    void (*sent)(void *user, uint64_t sent, uint64_t total);
    void *sent_user;
    int attempts_before_success;
    /* the outcome */
    s3si_head head;
    s3si_buf head_text, body;
    s3s_error err;
    s3si_cond cond;
    int done; /* guarded by the engine's lock */
} s3si_call;

static s3s_result s3si_call_prepare(void *user, s3si_exchange *x) {
    s3si_call *c = (s3si_call *)user;
    return s3si_request_prepare(&c->q, x, s3si_buf_str(&c->more));
}

static int s3si_call_head(void *user, s3si_exchange *x) {
    s3si_call *c = (s3si_call *)user;
    x->kept_max = x->head.status < 300 || c->any_status ? c->max : (size_t)S3SI_ERROR_BODY_MAX;
    return S3SI_SAY_KEEP;
}

static int s3si_call_verdict(void *user, s3si_exchange *x) {
    s3si_call *c = (s3si_call *)user;
    int status = x->head.status, say;
    if ((status >= 200 && status < 300) || status == 304) {
        if (x->whole) return S3SI_SAY_DONE;
        if (!s3si_buf_ok(&x->kept)) {
            (void)s3si_error_set(&x->err, S3S_E_MEMORY, "no memory for the answer");
            return S3SI_SAY_FAIL;
        }
        (void)s3si_error_set(&x->err, S3S_E_TOO_LARGE, "the answer is longer than %lu bytes",
                             (unsigned long)c->max);
        return S3SI_SAY_FAIL;
    }
    say = s3si_request_verdict(&c->q, x);
    return say == S3SI_SAY_FAIL && c->any_status ? S3SI_SAY_DONE : say;
}

static void s3si_call_sent(void *user, size_t n) {
    s3si_call *c = (s3si_call *)user;
    if (c->sent) c->sent(c->sent_user, n, c->q.body.n);
}

static void s3si_call_finished(void *user, s3si_exchange *x) {
    s3si_call *c = (s3si_call *)user;
    s3si_mutex_lock(&c->engine->lock);
    c->err = x->err;
    c->head = x->head;
    c->head_text = x->head_text;
    c->body = x->kept;
    s3si_buf_init(&x->head_text, x->mem);
    s3si_buf_init(&x->kept, x->mem);
    c->engine->closed.bytes_received += c->body.n;
    c->done = 1;
    s3si_cond_broadcast(&c->cond);
    s3si_mutex_unlock(&c->engine->lock);
}

static const s3si_exchange_ops s3si_call_ops = {
    NULL, s3si_call_prepare, s3si_call_head, NULL,
    NULL, s3si_call_verdict, s3si_call_sent, s3si_call_finished};

static void s3si_call_init(s3si_call *c, s3si_engine *e) {
    memset(c, 0, sizeof *c);
    c->engine = e;
    c->max = 16 * 1024 * 1024;
    s3si_buf_init(&c->more, &e->mem);
    s3si_buf_init(&c->head_text, &e->mem);
    s3si_buf_init(&c->body, &e->mem);
}

static void s3si_call_deinit(s3si_call *c) {
    s3si_request_deinit(&c->q);
    s3si_buf_deinit(&c->more);
    s3si_buf_deinit(&c->head_text);
    s3si_buf_deinit(&c->body);
}

/* Sends it and waits. With any_status an answer with an error status is S3S_OK. */
static s3s_result s3si_call_run(s3si_call *c) {
    s3si_engine *e = c->engine;
    s3si_exchange *x = (s3si_exchange *)s3si_mem_alloc(&e->mem, sizeof *x);
    int submitted;
    if (!x || !s3si_request_ok(&c->q) || !s3si_buf_ok(&c->more) || !s3si_cond_init(&c->cond)) {
        s3si_mem_free(&e->mem, x);
        return s3si_error_set(&c->err, S3S_E_MEMORY, "no memory for the request");
    }
    s3si_exchange_init(x, &s3si_call_ops, c, &e->mem, &e->budget, &e->policy);
    if (c->response_us) x->policy.response_us = c->response_us < 0 ? 0 : c->response_us;
    x->one_attempt = c->one_attempt;
    s3si_mutex_lock(&e->lock);
    submitted = s3si_engine_submit_locked(e, x);
    while (submitted && !c->done) s3si_engine_wait_locked(e, &c->cond, INT64_MAX);
    s3si_mutex_unlock(&e->lock);
    s3si_cond_deinit(&c->cond);
    if (!submitted) {
        s3si_exchange_deinit(x);
        s3si_mem_free(&e->mem, x);
        return s3si_error_set(&c->err, S3S_E_MEMORY, "no thread could be started");
    }
    if (c->any_status && c->err.http_status && c->head.status >= 200 &&
        c->err.code != S3S_E_TOO_LARGE)
        s3si_error_clear(&c->err);
    return c->err.code;
}

/* HEAD of a source: the object's facts. */
static s3s_result s3si_source_head(s3si_source *s, s3si_engine *e, s3s_object *o, s3s_error *err) {
    s3si_call c;
    s3s_result r;
    if (s->uri.scheme == S3SI_URI_FILE) return s3si_source_stat(s, o, err);
    s3si_call_init(&c, e);
    r = s3si_source_aim(s, &c.q, "HEAD", err);
    if (r == S3S_OK) r = s3si_call_run(&c);
    if (r == S3S_OK) {
        s3si_str length;
        memset(o, 0, sizeof *o);
        s3si_head_object(&c.head, o);
        if (!s3si_head_find(&c.head, "content-length", &length) || !s3si_str_u64(length, &o->size))
            r = s3si_error_set(&c.err, S3S_E_PROTOCOL,
                               "the answer to HEAD has no Content-Length; give the size");
    }
    if (r != S3S_OK && c.err.code != S3S_OK) (void)s3si_error_give(err, &c.err);
    s3si_call_deinit(&c);
    return r;
}

/* >>fetch
 * A range of an object, fetched in parts and handed out in order under a hard cap of memory.
 *
 *     object  ..|--part--|--part--|--part--|--last part + window--|--twice as much--|..
 *                    ^cursor                                        only if no delimiter was seen
 *
 *     state      holds                                           leaves when
 *     ASKING     only the HEAD is out: the size is not known      its answer: settled
 *     FIRST      one part is out; its head pins the version       the head has come: settled
 *     RUNNING    size, version and nominal range are known; as many parts are out as connections,
 *                slots and the plan allow
 *     FAILED     err is set and stays; what is out was abandoned
 *
 * A part is requested only when its slot is free, and is then received to its end whatever the
 * consumer does. Parts stand in a list in the object's order. Bytes [offset, offset + filled) of a
 * part are never written again, so the consumer reads them without a lock. A slot goes back when
 * the consumer is past it and no exchange writes into it any more. The cutter sees bytes as they
 * arrive, not as they are consumed.
 *
 * Hedging: the part at the cursor, when slower than three times its peers' median, gets a rival
 * for its missing bytes. The one to finish first stays in the list (the slower is cut off at what
 * it had), the other is abandoned. */
enum { S3SI_FETCH_ASKING = 0, S3SI_FETCH_FIRST, S3SI_FETCH_RUNNING, S3SI_FETCH_FAILED };
enum { S3SI_FETCH_PEERS = 8, S3SI_FETCH_AHEAD = 2 };
enum { S3SI_WAIT_NONE = 0, S3SI_WAIT_BYTES, S3SI_WAIT_ANY };
/* A consumer that was served less than so long ago is woken for a worthwhile piece only: each
 * wake-up costs two context switches. It looks by itself when the time is over. */
enum { S3SI_FETCH_PIECE = 2 * 1024 * 1024 };
static const int64_t s3si_fetch_piece_us = 5000;
static const int64_t s3si_fetch_hedge_min_us = 50000;

typedef struct s3si_slot {
    struct s3si_slot *next;
    size_t cap;
    int borrowed; /* the data is the caller's memory */
    uint8_t *data;
} s3si_slot;

typedef struct s3si_part {
    struct s3si_part *next;
    struct s3si_fetch *fetch;
    uint64_t offset, len; /* the range asked for, clipped to the object */
    uint64_t filled;
    s3si_slot *slot;
    s3si_exchange *x;         /* non-NULL while an exchange may write into the slot */
    s3si_request q;
    struct s3si_part *rival;  /* hedging: each knows the other */
    int is_rival;             /* not in the list */
    int frozen;               /* cut off at `filled`: its rival goes on from there */
    int broken;               /* its exchange failed while a rival runs */
    int64_t sent_us;
    uint64_t counted;         /* of its requests, those that are in the statistics */
} s3si_part;

typedef struct s3si_fetch_plan {
    uint64_t offset, length; /* the text: a range of the object; length 0 = to its end */
    uint64_t size;           /* 0 = unknown */
    uint32_t shard_index, shard_count;
    int has_slice;
    s3s_slice slice;
    s3si_records records;
    int64_t window;
    uint64_t part_size;      /* 0 = chosen */
    int connections;
    uint64_t memory;
    char etag[128];
    int hedge;
    /* only the begin of the nominal range is looked for, in growing windows */
    int seek;
    /* the caller's memory for the whole range, instead of slots; not sharded */
    uint8_t *direct;
    size_t direct_cap;
} s3si_fetch_plan;

typedef struct s3si_fetch {
    s3si_engine *engine;
    s3si_source source;
    s3si_fetch_plan plan;
    struct s3si_fetch *next, *prev; /* the engine's ring */
    s3si_cond cond;
    uint64_t part_max;  /* part size once there is no ramp */
    uint64_t look_behind;
    uint64_t knowledge; /* id */
    /* all below: guarded by the engine's lock */
    int state;
    s3s_object object;
    int object_known;    /* the first answer has come */
    uint64_t total;      /* the object's size; UINT64_MAX = not known */
    int sharded;         /* `cut` is in force */
    s3si_cut cut;
    uint64_t begin, end; /* not sharded: what is delivered; end UINT64_MAX = not known */
    uint64_t core;       /* how far the nominal range is planned */
    uint64_t next_offset; /* first byte not requested */
    uint64_t window;     /* of the last part; then of the last extension */
    int ended;           /* nothing more is to be requested */
    unsigned parts_sent;
    s3si_part *first, *last;
    s3si_part *strays;   /* not in the list any more, but their exchange still runs */
    s3si_exchange *asking;
    s3si_request ask;
    s3si_slot *spare;
    uint64_t held;       /* bytes of all slots */
    int in_flight;
    uint64_t cursor;     /* the consumer's next byte */
    int waiting, cancelled; /* waiting: S3SI_WAIT_ */
    int64_t lent_us;     /* when the consumer last got bytes */
    double peers[S3SI_FETCH_PEERS]; /* seconds per byte of parts done */
    unsigned peer_count;
    s3s_stats stats;
    int64_t opened_us, first_us, ended_us;
    s3s_error err;
} s3si_fetch;

static s3si_knowledge *s3si_knowledge_locked(s3si_engine *e, uint64_t id) {
    s3si_knowledge *k, *oldest = &e->known[0];
    int i;
    for (i = 0; i < S3SI_ENGINE_OBJECTS; i++) {
        k = &e->known[i];
        if (k->id == id) break;
        if (k->used < oldest->used) oldest = k;
    }
    if (i == S3SI_ENGINE_OBJECTS) {
        k = oldest;
        memset(k, 0, sizeof *k);
        k->id = id;
    }
    k->used = ++e->clock;
    return k;
}

/* FNV-1a, 64 bits. */
static uint64_t s3si_knowledge_id(const char *uri, const s3si_records *records) {
    uint64_t h = 14695981039346656037u;
    unsigned i;
    for (; *uri; uri++) h = (h ^ (uint8_t)*uri) * 1099511628211u;
    for (i = 0; i < records->m; i++) h = (h ^ records->delim[i]) * 1099511628211u;
    return (h ^ records->block) * 1099511628211u | 1;
}

static int s3si_fetch_learns(const s3si_fetch *f) {
    return f->sharded && f->plan.window == S3S_WINDOW_LEARNED &&
           f->plan.records.kind == S3SI_RECORDS_DELIM;
}

/* Something happened that every waiter wants to know. */
static void s3si_fetch_signal_locked(s3si_fetch *f) {
    if (f->waiting) s3si_cond_broadcast(&f->cond);
}

/* ---- slots and parts */

/* Memory for n bytes within the cap; NULL when there is none now. The first slot is always
 * granted, since open has checked that one fits. */
static s3si_slot *s3si_slot_acquire_locked(s3si_fetch *f, uint64_t n) {
    const s3si_mem *mem = &f->engine->mem;
    s3si_slot **at, *s;
    if (f->plan.direct) {
        s = (s3si_slot *)s3si_mem_zalloc(mem, sizeof *s);
        if (!s) return NULL;
        s->data = f->plan.direct + (f->next_offset - f->begin);
        s->cap = (size_t)n;
        s->borrowed = 1;
        return s;
    }
    for (at = &f->spare; (s = *at) != NULL; at = &s->next)
        if (s->cap >= n) {
            *at = s->next;
            return s;
        }
    while (f->spare && f->held + n > f->plan.memory) {
        s = f->spare;
        f->spare = s->next;
        f->held -= s->cap;
        s3si_sys_pages_free(mem, s->data, s->cap);
        s3si_mem_free(mem, s);
    }
    if (f->held + n > f->plan.memory && f->held > 0) return NULL;
    s = (s3si_slot *)s3si_mem_zalloc(mem, sizeof *s);
    if (s) s->data = (uint8_t *)s3si_sys_pages(mem, (size_t)n);
    if (!s || !s->data) {
        s3si_mem_free(mem, s);
        return NULL;
    }
    s->cap = (size_t)n;
    f->held += n;
    return s;
}

static void s3si_slot_release_locked(s3si_fetch *f, s3si_slot *s) {
    if (!s) return;
    if (s->borrowed) {
        s3si_mem_free(&f->engine->mem, s);
        return;
    }
    s->next = f->spare;
    f->spare = s;
}

static void s3si_part_free_locked(s3si_fetch *f, s3si_part *p) {
    s3si_slot_release_locked(f, p->slot);
    s3si_request_deinit(&p->q);
    s3si_mem_free(&f->engine->mem, p);
}

/* Takes a part out of use; it is freed now, or when its exchange has let go. */
static void s3si_part_retire_locked(s3si_fetch *f, s3si_part *p) {
    if (p->rival) {
        p->rival->rival = NULL;
        if (!p->is_rival && p->rival->x) s3si_engine_abandon_locked(f->engine, p->rival->x);
        p->rival = NULL;
    }
    if (!p->x) {
        s3si_part_free_locked(f, p);
        return;
    }
    p->frozen = 1;
    p->next = f->strays;
    f->strays = p;
}

static void s3si_fetch_unstray_locked(s3si_fetch *f, s3si_part *p) {
    s3si_part **at = &f->strays;
    while (*at && *at != p) at = &(*at)->next;
    if (*at) *at = p->next;
    s3si_part_free_locked(f, p);
}

/* Lets go of parts that the consumer is past. */
static void s3si_fetch_retire_locked(s3si_fetch *f) {
    while (f->first && f->first->offset + f->first->len <= f->cursor) {
        s3si_part *p = f->first;
        f->first = p->next;
        if (!f->first) f->last = NULL;
        s3si_part_retire_locked(f, p);
    }
}

static void s3si_fetch_abandon_all_locked(s3si_fetch *f) {
    s3si_part *p;
    for (p = f->first; p; p = p->next) {
        if (p->x) s3si_engine_abandon_locked(f->engine, p->x);
        if (p->rival && p->rival->x) s3si_engine_abandon_locked(f->engine, p->rival->x);
    }
    for (p = f->strays; p; p = p->next)
        if (p->x) s3si_engine_abandon_locked(f->engine, p->x);
    if (f->asking) s3si_engine_abandon_locked(f->engine, f->asking);
}

static void s3si_fetch_fail_locked(s3si_fetch *f, const s3s_error *err) {
    if (f->state == S3SI_FETCH_FAILED) return;
    f->state = S3SI_FETCH_FAILED;
    f->err = *err;
    s3si_fetch_abandon_all_locked(f);
    s3si_fetch_signal_locked(f);
}

/* ---- what is known of the object */

/* Size and version are known: fixes the range, or fails. */
static s3s_result s3si_fetch_settle_locked(s3si_fetch *f, s3s_error *err) {
    const s3si_fetch_plan *p = &f->plan;
    uint64_t limit = f->total, start, end;
    if (p->offset > f->total)
        return s3si_error_set(err, S3S_E_RANGE,
                              "the range begins at byte %llu but the object has %llu",
                              (unsigned long long)p->offset, (unsigned long long)f->total);
    if (p->length && p->length < limit - p->offset) limit = p->offset + p->length;
    f->sharded = p->shard_count > 0 || (p->has_slice && !p->slice.exact);
    f->begin = p->offset, f->end = limit;
    if (p->has_slice) {
        start = p->slice.start, end = p->slice.end < limit ? p->slice.end : limit;
        if (start > limit || p->slice.end > limit)
            return s3si_error_set(err, S3S_E_RANGE,
                                  "the slice ends at byte %llu but the object has %llu",
                                  (unsigned long long)p->slice.end, (unsigned long long)f->total);
    } else if (p->shard_count) {
        start = p->offset + s3si_shard_start(limit - p->offset, p->shard_index, p->shard_count);
        end = p->offset + s3si_shard_start(limit - p->offset, p->shard_index + 1, p->shard_count);
    } else {
        start = p->offset, end = limit;
    }
    if (f->sharded) {
        s3si_cut_init(&f->cut, &p->records, p->offset, limit, start, end);
        f->look_behind = s3si_records_look_behind(&p->records);
        if (f->cut.begin_known && f->cut.finish_known) { /* fixed records, or nothing inside */
            f->sharded = 0;
            f->look_behind = 0;
            start = f->cut.begin, end = f->cut.finish;
        }
    }
    if (!f->sharded) f->begin = start, f->end = end;
    if (p->direct && f->end - f->begin > p->direct_cap)
        return s3si_error_set(
            err, S3S_E_TOO_LARGE, "there are %llu bytes to read and room for %llu",
            (unsigned long long)(f->end - f->begin), (unsigned long long)p->direct_cap);
    if (!f->parts_sent) {
        f->core = start;
        f->next_offset = start > p->offset + f->look_behind ? start - f->look_behind : p->offset;
        if (!f->sharded) f->next_offset = start;
        f->cursor = f->next_offset;
    } else {
        f->core = f->next_offset + f->look_behind;
    }
    if (!f->sharded && f->begin >= f->end) f->ended = 1;
    f->state = S3SI_FETCH_RUNNING;
    return S3S_OK;
}

/* The first answer's facts pin the version; every later one is compared. */
static s3s_result s3si_fetch_pin_locked(s3si_fetch *f, const s3si_head *h, uint64_t total,
                                        s3s_error *err) {
    const char *why = "";
    if (f->object_known || f->object.etag[0]) {
        if (!s3si_source_same(&f->object, f->total, h, total, &why)) {
            err->http_status = h->status;
            return s3si_error_set(
                err, S3S_E_CHANGED,
                "the object changed while it was read: %s; read it again from the start", why);
        }
    } else if (f->total != UINT64_MAX && total != UINT64_MAX && total != f->total) {
        return s3si_error_set(err, S3S_E_CHANGED,
                              "the object has %llu bytes, but the size given is %llu",
                              (unsigned long long)total, (unsigned long long)f->total);
    }
    if (!f->object_known) {
        s3si_head_object(h, &f->object);
        f->object_known = 1;
        if (f->total == UINT64_MAX) f->total = total;
        f->object.size = f->total == UINT64_MAX ? 0 : f->total;
        f->stats.pinned = (f->object.etag[0] && !s3si_etag_weak(f->object.etag)) ||
                          f->object.last_modified[0] || f->object.version_id[0];
    }
    return S3S_OK;
}

/* Shows the cutter what has arrived; what it finds may end the requests or ask for more. */
static void s3si_fetch_scan_locked(s3si_fetch *f) {
    s3si_part *p;
    s3si_cut_view v;
    if (!f->sharded || f->state != S3SI_FETCH_RUNNING) return;
    v = s3si_cut_look(&f->cut);
    for (p = f->first; p && !v.done; p = p->next)
        if (p->filled) v = s3si_cut_feed(&f->cut, p->offset, p->slot->data, (size_t)p->filled);
    if (f->cut.finish_known && (f->next_offset >= f->cut.finish || v.take_begin >= f->cut.finish))
        f->ended = 1;
    if (f->plan.seek && f->cut.begin_known) f->ended = 1;
}

/* ---- what to ask for next */

static uint64_t s3si_fetch_window_locked(s3si_fetch *f) {
    s3si_knowledge *k;
    double cost;
    if (f->plan.has_slice && f->plan.slice.window > 0) return (uint64_t)f->plan.slice.window;
    if (f->plan.window > 0) return (uint64_t)f->plan.window;
    if (f->plan.window == S3S_WINDOW_DYNAMIC) return S3SI_WINDOW_DYNAMIC;
    k = s3si_knowledge_locked(f->engine, f->knowledge);
    cost = k->round_trip * k->bandwidth;
    if (cost < 256 * 1024) cost = 256 * 1024;
    if (cost > 2 * 1024 * 1024) cost = 2 * 1024 * 1024;
    return s3si_window_learned(&k->lengths, cost);
}

static double s3si_fetch_median(const s3si_fetch *f) {
    double v[S3SI_FETCH_PEERS];
    unsigned n = f->peer_count, i, j;
    if (n > S3SI_FETCH_PEERS) n = S3SI_FETCH_PEERS;
    for (i = 0; i < n; i++) {
        for (j = i; j > 0 && v[j - 1] > f->peers[i]; j--) v[j] = v[j - 1];
        v[j] = f->peers[i];
    }
    return n ? v[n / 2] : 0;
}

/* Chosen parts begin small, so that the first bytes come early, and grow until a part takes eight
 * round trips: longer ones save no time and make memory cold. */
static uint64_t s3si_fetch_part_size(s3si_fetch *f) {
    uint64_t size = f->part_max;
    double pace;
    if (f->plan.seek) { /* a window, then twice as much */
        uint64_t window = (uint64_t)f->plan.window << (f->parts_sent < 20 ? f->parts_sent : 20);
        return window < size ? window : size;
    }
    if (f->plan.part_size) return size;
    pace = s3si_fetch_median(f); /* seconds a byte */
    if (pace > 0) {
        double paying = 8 * s3si_knowledge_locked(f->engine, f->knowledge)->round_trip / pace;
        if ((double)size > paying) size = (uint64_t)paying & ~(uint64_t)0xffff;
    } else if (f->parts_sent / 2 < 4 && size > (uint64_t)1 << (20 + f->parts_sent / 2)) {
        size = (uint64_t)1 << (20 + f->parts_sent / 2);
    }
    if (size < 1024 * 1024) size = f->part_max < 1024 * 1024 ? f->part_max : 1024 * 1024;
    return size;
}

/* What to ask for next; nothing is changed until it is taken. */
typedef struct s3si_want {
    uint64_t len;    /* from f->next_offset */
    uint64_t core;   /* how far the nominal range is planned then */
    uint64_t window;
    int miss;        /* a request that there is only because the window held no delimiter */
} s3si_want;

/* Past the nominal end without a delimiter: go on with a window twice as large, if the shard has
 * any record at all and all that was asked for has been looked at. */
static int s3si_fetch_extension_locked(s3si_fetch *f, s3si_want *w) {
    uint64_t most = f->part_max > f->window ? f->part_max : f->window;
    uint64_t twice = f->window ? f->window * 2 : (uint64_t)S3SI_WINDOW_FIRST, left;
    if (!f->sharded) return 0;
    if (f->cut.finish_known) { /* a first part, planned before the size was known, fell just short */
        left = f->cut.finish > f->next_offset ? f->cut.finish - f->next_offset : 0;
        w->len = left < f->part_max ? left : f->part_max;
        return w->len > 0;
    }
    if (!f->cut.begin_known || f->cut.tail_at < f->next_offset) return 0;
    left = f->cut.limit - f->next_offset;
    w->window = twice < most ? twice : most;
    w->len = w->window < left ? w->window : left;
    w->miss = 1;
    return w->len > 0;
}

/* The next range; 0 when there is none, now or for good. */
static int s3si_fetch_next_locked(s3si_fetch *f, s3si_want *w) {
    uint64_t size = s3si_fetch_part_size(f), end, stop;
    /* the version was pinned by the caller */
    int given = f->plan.etag[0] && f->total != UINT64_MAX;
    memset(w, 0, sizeof *w);
    w->core = f->core, w->window = f->window;
    if (f->ended || (f->parts_sent && !f->object_known && !given)) return 0;
    if (f->state == S3SI_FETCH_FIRST) { /* how much there is will be told by the answer */
        w->len = f->end - f->next_offset < size ? f->end - f->next_offset : size;
        if (f->plan.direct && w->len > f->plan.direct_cap) w->len = f->plan.direct_cap;
        w->core = f->next_offset + w->len + f->look_behind;
        return 1;
    }
    if (f->state != S3SI_FETCH_RUNNING) return 0;
    stop = f->sharded ? f->cut.end : f->end;
    if (f->core >= stop) return s3si_fetch_extension_locked(f, w);
    do {
        w->core = size < stop - w->core ? w->core + size : stop;
        end = w->core > f->look_behind ? w->core - f->look_behind : 0;
        if (w->core < stop) continue;
        end = stop;
        if (f->sharded && !f->cut.finish_known && !f->plan.seek) {
            w->window = s3si_fetch_window_locked(f);
            end = w->window < f->cut.limit - stop ? stop + w->window : f->cut.limit;
        }
    } while (end <= f->next_offset && w->core < stop);
    if (end <= f->next_offset) return 0;
    w->len = end - f->next_offset;
    if (w->len > f->plan.memory) w->len = f->plan.memory; /* a tight cap splits the window off */
    return 1;
}

/* ---- what the consumer may have */

/* Where the stream ends, as far as it is known: UINT64_MAX while it is not. */
static uint64_t s3si_fetch_finish_locked(const s3si_fetch *f) {
    if (f->state == S3SI_FETCH_ASKING || f->state == S3SI_FETCH_FIRST) return UINT64_MAX;
    if (!f->sharded) return f->end;
    return f->cut.begin_known && f->cut.finish_known ? f->cut.finish : UINT64_MAX;
}

/* Bytes that may be lent at the cursor, which is first moved past what is nobody's here. */
static size_t s3si_fetch_available_locked(s3si_fetch *f, const uint8_t **data) {
    uint64_t from = f->begin, to = f->end, upto;
    s3si_part *p;
    if (f->state == S3SI_FETCH_ASKING) return 0;
    if (f->sharded && f->state == S3SI_FETCH_RUNNING) {
        s3si_cut_view v = s3si_cut_look(&f->cut);
        from = v.take_begin, to = v.take_end;
    } else if (f->state == S3SI_FETCH_FIRST && (f->plan.shard_count || f->plan.has_slice)) {
        return 0; /* where the shard ends is not known yet */
    }
    if (f->cursor < from) {
        f->cursor = from;
        s3si_fetch_retire_locked(f);
    }
    for (p = f->first; p && f->cursor >= p->offset + p->len; p = p->next) continue;
    if (!p || f->cursor < p->offset) return 0;
    upto = p->offset + p->filled;
    if (upto > to) upto = to;
    if (upto <= f->cursor) return 0;
    *data = p->slot->data + (f->cursor - p->offset);
    return (size_t)(upto - f->cursor);
}

/* Is what lies ready from the cursor on enough to wake a consumer that reads as fast as it comes? Also
 * little is, when few requests are out: the consumer must free slots for more. */
static int s3si_fetch_is_worthwhile_locked(s3si_fetch *f) {
    const uint8_t *data;
    uint64_t ready = s3si_fetch_available_locked(f, &data);
    const s3si_part *p;
    if (!ready) return 0;
    if (f->in_flight * 2 <= f->plan.connections || f->plan.memory < 8 * S3SI_FETCH_PIECE) return 1;
    for (p = f->first; p && p->filled == p->len && ready < S3SI_FETCH_PIECE; p = p->next)
        ready += p->next ? p->next->filled : 0;
    return ready >= S3SI_FETCH_PIECE || s3si_time_mono_us() - f->lent_us >= s3si_fetch_piece_us;
}

/* Wakes the consumer if what has come is worth it, or if there is nothing to wait for any more. */
static void s3si_fetch_offer_locked(s3si_fetch *f) {
    if (!f->waiting) return;
    if (f->waiting == S3SI_WAIT_ANY || f->state == S3SI_FETCH_FAILED || f->cancelled ||
        f->cursor >= s3si_fetch_finish_locked(f) || s3si_fetch_is_worthwhile_locked(f))
        s3si_cond_broadcast(&f->cond);
}

/* ---- the exchanges of parts: called by loops, without the lock */

static s3s_result s3si_part_prepare(void *user, s3si_exchange *x) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    s3si_buf more;
    uint64_t from, to;
    char etag[128];
    s3s_result r;
    s3si_mutex_lock(&f->engine->lock);
    from = p->offset + p->filled;
    to = p->offset + p->len;
    memcpy(etag, f->object.etag, sizeof etag);
    p->sent_us = s3si_time_mono_us();
    s3si_mutex_unlock(&f->engine->lock);
    s3si_buf_init(&more, x->mem);
    s3si_buf_addz(&more, "Range: bytes=");
    s3si_buf_addu(&more, from);
    s3si_buf_addc(&more, '-');
    s3si_buf_addu(&more, to - 1);
    s3si_buf_addz(&more, "\r\n");
    if (etag[0] && !s3si_etag_weak(etag))
        s3si_http_add_header(&more, s3si_str_of("If-Match"), s3si_str_of(etag));
    s3si_buf_inherit(&x->out, &more);
    r = s3si_request_prepare(&p->q, x, s3si_buf_str(&more));
    s3si_buf_deinit(&more);
    return r;
}

/* A head whose body may be used: pins or compares, clips the part to the object, settles the range.
 */
static s3s_result s3si_part_accept_locked(s3si_part *p, s3si_exchange *x, const s3si_answer *a) {
    s3si_fetch *f = p->fetch;
    s3s_result r = s3si_fetch_pin_locked(f, &x->head, a->total, &x->err);
    if (r != S3S_OK) return r;
    if (a->end != UINT64_MAX && a->end < p->offset + p->len) p->len = a->end - p->offset;
    x->cut_short = a->cut_short;
    if (f->total != UINT64_MAX && f->state == S3SI_FETCH_FIRST) {
        if (f->next_offset > p->offset + p->len) f->next_offset = p->offset + p->len;
        r = s3si_fetch_settle_locked(f, &x->err);
    }
    return r;
}

/* Requests count when they are answered, and when they end without. */
static void s3si_part_count_locked(s3si_part *p, const s3si_exchange *x) {
    s3s_stats *s = &p->fetch->stats;
    s->requests += x->requests - p->counted;
    s->retries += x->requests - p->counted - (p->counted == 0 && x->requests > 0);
    p->counted = x->requests;
}

static int s3si_part_head(void *user, s3si_exchange *x) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    s3si_answer answer;
    const char *why = "";
    s3s_result r;
    if (x->head.status != 200 && x->head.status != 206) return S3SI_SAY_KEEP;
    if (!s3si_source_judge(&x->head, p->offset + p->filled, p->offset + p->len, &answer, &why)) {
        s3si_error_clear(&x->err);
        x->err.http_status = x->head.status;
        (void)s3si_error_set(&x->err, x->head.status == 200 ? S3S_E_RANGE : S3S_E_PROTOCOL, "%s",
                             why);
        return S3SI_SAY_FAIL;
    }
    s3si_mutex_lock(&f->engine->lock);
    s3si_part_count_locked(p, x);
    r = s3si_part_accept_locked(p, x, &answer);
    if (r == S3S_OK) {
        double trip = (double)(s3si_time_mono_us() - p->sent_us) / 1e6;
        s3si_knowledge *k = s3si_knowledge_locked(f->engine, f->knowledge);
        if (k->round_trip == 0 || trip < k->round_trip) k->round_trip = trip;
        if (f->waiting == S3SI_WAIT_ANY) s3si_fetch_signal_locked(f);
    }
    s3si_mutex_unlock(&f->engine->lock);
    return r == S3S_OK ? S3SI_SAY_TAKE : S3SI_SAY_FAIL;
}

static void *s3si_part_space(void *user, s3si_exchange *x, size_t *cap) {
    s3si_part *p = (s3si_part *)user;
    uint8_t *to;
    (void)x;
    s3si_mutex_lock(&p->fetch->engine->lock);
    *cap = (size_t)(p->len - p->filled); /* nothing, once a rival has won */
    to = p->slot->data + p->filled;
    s3si_mutex_unlock(&p->fetch->engine->lock);
    return to;
}

static void s3si_part_commit(void *user, s3si_exchange *x, size_t n) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    (void)x;
    s3si_mutex_lock(&f->engine->lock);
    f->stats.bytes_received += n;
    if (!p->frozen) {
        p->filled += n;
        if (!p->is_rival) {
            s3si_fetch_scan_locked(f);
            s3si_fetch_offer_locked(f);
        }
    }
    s3si_mutex_unlock(&f->engine->lock);
}

/* A body of unknown length came to its end: that is the object's size. */
static void s3si_part_learn_end(s3si_part *p, s3si_exchange *x) {
    s3si_fetch *f = p->fetch;
    s3si_mutex_lock(&f->engine->lock);
    if (f->total == UINT64_MAX && x->head.status == 200 && x->whole) {
        p->len = p->filled;
        f->total = f->object.size = p->filled;
        f->next_offset = p->len;
        (void)s3si_fetch_settle_locked(f, &x->err);
        s3si_fetch_scan_locked(f);
    }
    s3si_mutex_unlock(&f->engine->lock);
}

/* An answer that is not the range: an empty object, a changed one, or an error. */
static int s3si_part_refused(s3si_part *p, s3si_exchange *x) {
    s3si_fetch *f = p->fetch;
    uint64_t size;
    s3s_result r;
    if (x->head.status == 412) {
        char etag[128];
        s3si_mutex_lock(&f->engine->lock);
        memcpy(etag, f->object.etag, sizeof etag);
        s3si_mutex_unlock(&f->engine->lock);
        s3si_error_clear(&x->err);
        x->err.http_status = 412;
        (void)s3si_error_set(
            &x->err, S3S_E_CHANGED,
            "the object changed: it no longer has the ETag %s (412); read it again from the "
            "start",
            etag);
        return S3SI_SAY_FAIL;
    }
    size = s3si_source_unsatisfied(x, p->offset);
    s3si_mutex_lock(&f->engine->lock);
    r = S3S_OK; /* a 416 has no ETag to compare */
    if (size != UINT64_MAX && f->total != UINT64_MAX && f->total != size) {
        s3si_error_clear(&x->err);
        r = s3si_error_set(&x->err, S3S_E_CHANGED, "the object has %llu bytes, and not %llu",
                           (unsigned long long)size, (unsigned long long)f->total);
    }
    if (r == S3S_OK && size != p->offset) {
        s3si_mutex_unlock(&f->engine->lock);
        return s3si_request_verdict(&p->q, x);
    }
    f->object_known = 1;
    f->total = f->object.size = size;
    p->len = 0;
    f->next_offset = p->offset;
    if (r == S3S_OK && f->state == S3SI_FETCH_FIRST) r = s3si_fetch_settle_locked(f, &x->err);
    s3si_mutex_unlock(&f->engine->lock);
    return r == S3S_OK ? S3SI_SAY_DONE : S3SI_SAY_FAIL;
}

static int s3si_part_verdict(void *user, s3si_exchange *x) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    uint64_t filled, len;
    int known;
    if (x->keeping) return s3si_part_refused(p, x);
    s3si_part_learn_end(p, x);
    s3si_mutex_lock(&f->engine->lock);
    filled = p->filled, len = p->len, known = f->total != UINT64_MAX;
    s3si_mutex_unlock(&f->engine->lock);
    if (filled == len && known) return S3SI_SAY_DONE;
    s3si_error_clear(&x->err);
    if (filled == len) {
        (void)s3si_error_set(
            &x->err, S3S_E_RANGE,
            "the server ignores Range and tells no length; the object must fit one part of "
            "%llu bytes, so raise part_size",
            (unsigned long long)len);
        return S3SI_SAY_FAIL;
    }
    (void)s3si_error_set(&x->err, S3S_E_NETWORK, "the body ended after %llu of %llu bytes",
                         (unsigned long long)filled, (unsigned long long)len);
    return S3SI_SAY_AGAIN;
}

/* What a part that came whole teaches: its speed, and the lengths of its records. */
static void s3si_part_teach_locked(s3si_part *p) {
    s3si_fetch *f = p->fetch;
    double seconds = (double)(s3si_time_mono_us() - p->sent_us) / 1e6;
    s3si_knowledge *k = s3si_knowledge_locked(f->engine, f->knowledge);
    size_t n = p->filled < 65536 ? (size_t)p->filled : 65536, mid;
    unsigned match = 0;
    if (p->filled >= 65536 && seconds > 0) { /* less is all latency */
        f->peers[f->peer_count++ % S3SI_FETCH_PEERS] = seconds / (double)p->filled;
        k->bandwidth = 0.7 * k->bandwidth + 0.3 * (double)p->filled / seconds;
    }
    if (!s3si_fetch_learns(f)) return;
    /* a record that began earlier */
    mid = s3si_records_scan(&f->plan.records, &match, p->slot->data, n);
    s3si_lengths_sample(&k->lengths, &f->plan.records, p->slot->data + mid, n - mid);
}

/* The winner takes its rival's place behind what that one has published. */
static void s3si_part_won_locked(s3si_part *winner) {
    s3si_part *loser = winner->rival;
    s3si_fetch *f = winner->fetch;
    if (!winner->is_rival) {
        if (loser && loser->x) s3si_engine_abandon_locked(f->engine, loser->x);
        return;
    }
    winner->is_rival = 0;
    winner->rival = loser->rival = NULL;
    loser->len = loser->filled;
    loser->frozen = 1;
    winner->next = loser->next;
    loser->next = winner;
    if (f->last == loser) f->last = winner;
    if (loser->x) s3si_engine_abandon_locked(f->engine, loser->x);
}

/* A rival that did not win is of no use any more; a part that failed may still have one that wins.
 */
static void s3si_part_lost_locked(s3si_part *p, const s3s_error *err) {
    s3si_fetch *f = p->fetch;
    s3si_part *rival = p->rival;
    if (p->is_rival) {
        if (rival) {
            rival->rival = NULL;
            if (rival->broken) s3si_fetch_fail_locked(f, err);
        }
        s3si_part_free_locked(f, p);
    } else if (rival) {
        p->broken = 1;
    } else {
        s3si_fetch_fail_locked(f, err);
    }
}

static void s3si_part_finished(void *user, s3si_exchange *x) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    s3si_engine *e = f->engine;
    s3si_mutex_lock(&e->lock);
    s3si_part_count_locked(p, x);
    f->in_flight--;
    e->active--;
    p->x = NULL;
    f->stats.connections_opened += x->opened;
    if (x->err.code == S3S_OK && !p->frozen && (!p->is_rival || p->rival)) {
        s3si_part_teach_locked(p);
        s3si_part_won_locked(p);
        s3si_fetch_scan_locked(f);
    } else if (p->frozen && !p->is_rival) {
        s3si_part *q = f->first; /* still in the list, cut off; or a stray */
        while (q && q != p) q = q->next;
        if (!q) s3si_fetch_unstray_locked(f, p);
    } else {
        x->err.offset = p->offset + p->filled;
        s3si_part_lost_locked(p, &x->err);
    }
    s3si_fetch_retire_locked(f);
    e->pump_locked(e);
    s3si_fetch_offer_locked(f);
    s3si_mutex_unlock(&e->lock);
}

/* A part of a file: read in steps of 1 MiB on the loop's thread. */
static int s3si_part_local(void *user, s3si_exchange *x) {
    s3si_part *p = (s3si_part *)user;
    s3si_fetch *f = p->fetch;
    size_t cap, n;
    char *to = (char *)s3si_part_space(user, x, &cap);
    long got = 0;
    n = cap < S3SI_RECV_MAX ? cap : (size_t)S3SI_RECV_MAX;
    if (x->requests == 0) {
        x->requests = 1;
        p->sent_us = s3si_time_mono_us();
    }
    if (n) got = s3si_file_read(f->source.fd, to, n, p->offset + p->filled);
    if (n && got <= 0) {
        x->err.os_error = got < 0 ? errno : 0;
        (void)s3si_error_set(&x->err, got < 0 ? S3S_E_FILE : S3S_E_CHANGED, "%s",
                             got < 0 ? strerror(errno)
                                     : "the file became shorter while it was read");
        return 1;
    }
    s3si_part_commit(user, x, (size_t)got);
    if ((size_t)got < cap) return 0;
    if (!s3si_file_same(f->source.fd, &f->source.file))
        (void)s3si_error_set(&x->err, S3S_E_CHANGED, "the file was changed while it was read");
    return 1;
}

static const s3si_exchange_ops s3si_part_ops = {
    NULL, s3si_part_prepare, s3si_part_head, s3si_part_space, s3si_part_commit, s3si_part_verdict,
    NULL, s3si_part_finished};
static const s3si_exchange_ops s3si_part_file_ops = {
    s3si_part_local, NULL, NULL, s3si_part_space, s3si_part_commit, NULL, NULL, s3si_part_finished};

/* ---- the HEAD that asks for the size */

static s3s_result s3si_ask_prepare(void *user, s3si_exchange *x) {
    return s3si_request_prepare(&((s3si_fetch *)user)->ask, x, s3si_str_make("", 0));
}
static int s3si_ask_head(void *user, s3si_exchange *x) {
    (void)user, (void)x;
    return S3SI_SAY_KEEP;
}

static int s3si_ask_verdict(void *user, s3si_exchange *x) {
    s3si_fetch *f = (s3si_fetch *)user;
    s3si_str length;
    uint64_t size;
    s3s_result r;
    if (x->head.status != 200) return s3si_request_verdict(&f->ask, x);
    s3si_error_clear(&x->err);
    if (!s3si_head_find(&x->head, "content-length", &length) || !s3si_str_u64(length, &size)) {
        (void)s3si_error_set(&x->err, S3S_E_PROTOCOL,
                             "the answer to HEAD has no Content-Length; give the size (--size)");
        return S3SI_SAY_FAIL;
    }
    s3si_mutex_lock(&f->engine->lock);
    r = s3si_fetch_pin_locked(f, &x->head, size, &x->err);
    if (r == S3S_OK) r = s3si_fetch_settle_locked(f, &x->err);
    s3si_mutex_unlock(&f->engine->lock);
    return r == S3S_OK ? S3SI_SAY_DONE : S3SI_SAY_FAIL;
}

static void s3si_ask_finished(void *user, s3si_exchange *x) {
    s3si_fetch *f = (s3si_fetch *)user;
    s3si_mutex_lock(&f->engine->lock);
    f->asking = NULL;
    f->stats.requests += x->requests;
    f->stats.retries += x->requests ? x->requests - 1 : 0;
    if (x->err.code != S3S_OK) s3si_fetch_fail_locked(f, &x->err);
    f->engine->pump_locked(f->engine);
    s3si_fetch_signal_locked(f);
    s3si_mutex_unlock(&f->engine->lock);
}

static const s3si_exchange_ops s3si_ask_ops = {NULL, s3si_ask_prepare, s3si_ask_head, NULL,
                                               NULL, s3si_ask_verdict, NULL, s3si_ask_finished};

/* ---- sending */

static s3si_exchange *s3si_fetch_exchange(s3si_fetch *f, const s3si_exchange_ops *ops, void *user) {
    s3si_engine *e = f->engine;
    s3si_exchange *x = (s3si_exchange *)s3si_mem_alloc(&e->mem, sizeof *x);
    if (x) s3si_exchange_init(x, ops, user, &e->mem, &e->budget, &e->policy);
    return x;
}

static void s3si_fetch_out_of_memory_locked(s3si_fetch *f) {
    s3s_error err;
    s3si_error_clear(&err);
    (void)s3si_error_set(&err, S3S_E_MEMORY,
                         "no memory for a request, or no thread could be started");
    s3si_fetch_fail_locked(f, &err);
}

/* Puts a part with its slot on the wire. The part, or NULL when something could not be had. */
static s3si_part *s3si_part_send_locked(s3si_fetch *f, s3si_slot *slot, uint64_t offset,
                                        uint64_t len, int fresh) {
    int file = f->source.uri.scheme == S3SI_URI_FILE;
    s3si_part *p = (s3si_part *)s3si_mem_zalloc(&f->engine->mem, sizeof *p);
    s3si_exchange *x =
        p ? s3si_fetch_exchange(f, file ? &s3si_part_file_ops : &s3si_part_ops, p) : NULL;
    if (!x) {
        s3si_mem_free(&f->engine->mem, p);
        s3si_slot_release_locked(f, slot);
        return NULL;
    }
    p->fetch = f;
    p->offset = offset;
    p->len = len;
    p->slot = slot;
    p->x = x;
    p->sent_us = s3si_time_mono_us();
    x->fresh = fresh;
    if (s3si_source_aim(&f->source, &p->q, "GET", NULL) != S3S_OK ||
        !s3si_engine_submit_locked(f->engine, x)) {
        s3si_exchange_deinit(x);
        s3si_mem_free(&f->engine->mem, x);
        s3si_part_free_locked(f, p);
        return NULL;
    }
    f->in_flight++;
    f->engine->active++;
    return p;
}

/* A connection opened ahead: while the first answer is awaited, those that will be needed are made. */
typedef struct s3si_warm {
    s3si_request q;
    const s3si_mem *mem;
} s3si_warm;

static s3s_result s3si_warm_prepare(void *user, s3si_exchange *x) {
    return s3si_request_prepare(&((s3si_warm *)user)->q, x, s3si_str_make("", 0));
}

static void s3si_warm_finished(void *user, s3si_exchange *x) {
    s3si_warm *w = (s3si_warm *)user;
    (void)x;
    s3si_request_deinit(&w->q);
    s3si_mem_free(w->mem, w);
}

static const s3si_exchange_ops s3si_warm_ops = {NULL, s3si_warm_prepare, NULL, NULL, NULL, NULL,
                                                NULL, s3si_warm_finished};

static int s3si_fetch_warm_one_locked(s3si_fetch *f) {
    s3si_warm *w = (s3si_warm *)s3si_mem_zalloc(&f->engine->mem, sizeof *w);
    s3si_exchange *x = w ? s3si_fetch_exchange(f, &s3si_warm_ops, w) : NULL;
    if (x) {
        w->mem = &f->engine->mem;
        x->connect_only = x->one_attempt = 1;
        if (s3si_source_aim(&f->source, &w->q, "GET", NULL) == S3S_OK &&
            s3si_engine_submit_locked(f->engine, x))
            return 1;
        s3si_request_deinit(&w->q);
        s3si_exchange_deinit(x);
    }
    s3si_mem_free(&f->engine->mem, x);
    s3si_mem_free(&f->engine->mem, w);
    return 0;
}

/* After the first part of several: failing is no matter, the parts make their own connections then. */
static void s3si_fetch_warm_locked(s3si_fetch *f) {
    uint64_t stop = f->sharded ? f->cut.end : f->end, left = stop > f->core ? stop - f->core : 0;
    uint64_t parts = left / s3si_fetch_part_size(f) + (left % s3si_fetch_part_size(f) > 0);
    int n = f->plan.connections - 1, limit = f->engine->connections - f->engine->active;
    if (f->parts_sent != 1 || f->object_known || f->state != S3SI_FETCH_RUNNING || f->plan.seek) return;
    if (f->source.uri.scheme == S3SI_URI_FILE) return;
    if ((uint64_t)n > parts) n = (int)parts;
    if (n > limit) n = limit;
    while (n-- > 0 && s3si_fetch_warm_one_locked(f)) continue;
}

/* Parts that lie done behind a slow one are of no use yet: a few keep the connections busy while
 * it comes, more only make memory cold. */
static int s3si_fetch_is_far_ahead_locked(const s3si_fetch *f) {
    const s3si_part *p;
    int n = 0;
    for (p = f->first; p; p = p->next) n++;
    return n >= S3SI_FETCH_AHEAD * f->plan.connections && !f->plan.direct;
}

/* Sends the fetch's next part if it has one, a slot, and a connection to spare. */
static int s3si_fetch_send_locked(s3si_fetch *f) {
    s3si_want w;
    s3si_slot *slot;
    s3si_part *p;
    uint64_t room;
    if (f->cancelled || f->in_flight >= f->plan.connections || s3si_fetch_is_far_ahead_locked(f))
        return 0;
    if (!s3si_fetch_next_locked(f, &w)) return 0;
    room = s3si_fetch_part_size(f);
    slot = s3si_slot_acquire_locked(f, w.len > room ? w.len : room < f->plan.memory ? room : w.len);
    if (!slot) slot = s3si_slot_acquire_locked(f, w.len);
    if (!slot) {
        if (f->held == 0) s3si_fetch_out_of_memory_locked(f);
        return 0;
    }
    p = s3si_part_send_locked(f, slot, f->next_offset, w.len, 0);
    if (!p) {
        s3si_fetch_out_of_memory_locked(f);
        return 0;
    }
    if (f->last) f->last->next = p;
    else f->first = p;
    f->last = p;
    f->next_offset += w.len;
    f->core = w.core;
    f->window = w.window;
    f->stats.window_misses += (uint64_t)w.miss;
    f->parts_sent++;
    if (!f->plan.etag[0]) s3si_fetch_warm_locked(f);
    return 1;
}

/* Gives out the client's connections: first to consumers that wait for a part nobody has asked
 * for, then in turn. Called whenever a connection, a slot or a want may have come free. */
static void s3si_engine_pump_locked(s3si_engine *e) {
    s3si_fetch *f = e->turn, *mark;
    int limit;
    if (!f) return;
    s3si_mutex_lock(&e->budget.lock);
    limit = (int)e->budget.limit;
    s3si_mutex_unlock(&e->budget.lock);
    do {
        if (e->active < limit && f->waiting && !f->first) (void)s3si_fetch_send_locked(f);
        f = f->next;
    } while (f != e->turn);
    mark = f;
    while (e->active < limit) {
        int sent = s3si_fetch_send_locked(f);
        f = f->next;
        if (sent) mark = f;
        else if (f == mark) break;
    }
    e->turn = f;
}

/* A rival for the awaited part when it is much slower than its peers: the time to look again. */
static int64_t s3si_fetch_hedge_locked(s3si_fetch *f, int64_t now) {
    s3si_part *p = f->first, *rival;
    s3si_slot *slot;
    double due;
    int64_t due_us;
    uint64_t rest;
    if (!f->plan.hedge || !p || !p->x || p->rival || f->peer_count < 3 || p->frozen)
        return INT64_MAX;
    if (f->plan.memory < 4 * f->part_max || f->source.uri.scheme == S3SI_URI_FILE || f->plan.direct)
        return INT64_MAX;
    if (f->stats.hedges >= 1 + f->stats.requests / 20) return INT64_MAX;
    due = 3 * s3si_fetch_median(f) * (double)p->len * 1e6;
    due_us = due < (double)s3si_fetch_hedge_min_us ? s3si_fetch_hedge_min_us
             : due > 1e12                          ? (int64_t)1e12
                                                   : (int64_t)due;
    if (now < p->sent_us + due_us) return p->sent_us + due_us;
    rest = p->len - p->filled;
    if (rest == 0) return INT64_MAX;
    slot = s3si_slot_acquire_locked(f, rest);
    if (!slot) return INT64_MAX;
    rival = s3si_part_send_locked(f, slot, p->offset + p->filled, rest, 1);
    if (!rival) return INT64_MAX;
    rival->is_rival = 1;
    rival->rival = p;
    p->rival = rival;
    f->stats.hedges++;
    return INT64_MAX;
}

/* ---- the consumer's side */

/* Blocks until bytes can be lent (S3S_OK), or there are no more (S3S_END), or it failed. */
static s3s_result s3si_fetch_peek(s3si_fetch *f, const uint8_t **data, size_t *n, s3s_error *err) {
    s3si_engine *e = f->engine;
    s3s_result r = S3S_OK;
    s3si_mutex_lock(&e->lock);
    for (;;) {
        int64_t now, look;
        if (f->cancelled) {
            r = s3si_error_set(err, S3S_E_CANCELLED, "cancelled");
            break;
        }
        *n = s3si_fetch_available_locked(f, data);
        if (*n) {
            f->lent_us = s3si_time_mono_us();
            if (!f->first_us) f->first_us = f->lent_us;
            break;
        }
        if (f->cursor >= s3si_fetch_finish_locked(f) && f->state != S3SI_FETCH_FAILED) {
            if (!f->ended_us) f->ended_us = s3si_time_mono_us();
            r = S3S_END;
            break;
        }
        if (f->state == S3SI_FETCH_FAILED) {
            r = err ? s3si_error_give(err, &f->err) : f->err.code;
            break;
        }
        f->waiting = S3SI_WAIT_BYTES;
        s3si_engine_pump_locked(e);
        now = s3si_time_mono_us();
        look = s3si_fetch_hedge_locked(f, now);
        if (now < f->lent_us + s3si_fetch_piece_us && look > f->lent_us + s3si_fetch_piece_us)
            look = f->lent_us + s3si_fetch_piece_us;
        if (f->state != S3SI_FETCH_FAILED) s3si_engine_wait_locked(e, &f->cond, look);
        f->waiting = S3SI_WAIT_NONE;
    }
    s3si_mutex_unlock(&e->lock);
    return r;
}

static void s3si_fetch_consume(s3si_fetch *f, size_t n) {
    s3si_mutex_lock(&f->engine->lock);
    f->cursor += n;
    f->stats.bytes_delivered += n;
    if (f->first && f->first->offset + f->first->len <= f->cursor) {
        s3si_fetch_retire_locked(f);
        s3si_engine_pump_locked(f->engine);
    }
    s3si_mutex_unlock(&f->engine->lock);
}

static void s3si_fetch_cancel(s3si_fetch *f) {
    s3si_mutex_lock(&f->engine->lock);
    f->cancelled = 1;
    s3si_fetch_abandon_all_locked(f);
    s3si_cond_broadcast(&f->cond);
    s3si_mutex_unlock(&f->engine->lock);
}

/* Waits until the object's facts are known; S3S_OK also for an empty range. */
static s3s_result s3si_fetch_facts(s3si_fetch *f, s3s_object *o, s3s_slice *slice, s3s_error *err) {
    s3si_engine *e = f->engine;
    s3s_result r = S3S_OK;
    s3si_mutex_lock(&e->lock);
    while (!f->object_known && !f->ended && f->state != S3SI_FETCH_FAILED && !f->cancelled) {
        f->waiting = S3SI_WAIT_ANY;
        s3si_engine_pump_locked(e);
        if (f->state != S3SI_FETCH_FAILED) s3si_engine_wait_locked(e, &f->cond, INT64_MAX);
        f->waiting = S3SI_WAIT_NONE;
    }
    if (f->cancelled) r = s3si_error_set(err, S3S_E_CANCELLED, "cancelled");
    else if (f->state == S3SI_FETCH_FAILED) r = err ? s3si_error_give(err, &f->err) : f->err.code;
    if (r == S3S_OK && o) *o = f->object;
    if (r == S3S_OK && slice) {
        memset(slice, 0, sizeof *slice);
        slice->exact = !f->sharded || (f->cut.begin_known && f->cut.finish_known);
        slice->start = !f->sharded ? f->begin : slice->exact ? f->cut.begin : f->cut.start;
        slice->end = !f->sharded ? f->end : slice->exact ? f->cut.finish : f->cut.end;
    }
    s3si_mutex_unlock(&e->lock);
    return r;
}

static void s3si_fetch_stats_locked(s3si_fetch *f, s3s_stats *s) {
    int64_t until = f->ended_us ? f->ended_us : s3si_time_mono_us();
    *s = f->stats;
    s->wasted_bytes =
        s->bytes_received > s->bytes_delivered ? s->bytes_received - s->bytes_delivered : 0;
    s->seconds = (double)(until - f->opened_us) / 1e6;
    s->first_byte_seconds = f->first_us ? (double)(f->first_us - f->opened_us) / 1e6 : 0;
}

/* Seeking: waits for the begin of the first record in the nominal range. *found = 0: none begins
 * there. */
static s3s_result s3si_fetch_seek(s3si_fetch *f, uint64_t *begin, int *found, s3s_error *err) {
    s3s_result r = S3S_OK;
    s3si_mutex_lock(&f->engine->lock);
    while (f->state != S3SI_FETCH_FAILED &&
           !(f->state == S3SI_FETCH_RUNNING && (!f->sharded || f->cut.begin_known))) {
        f->waiting = S3SI_WAIT_ANY;
        /* what was looked at is not needed any more */
        f->cursor = f->sharded ? f->cut.head_at : f->cursor;
        s3si_fetch_retire_locked(f);
        s3si_engine_pump_locked(f->engine);
        if (f->state != S3SI_FETCH_FAILED && !(f->sharded && f->cut.begin_known))
            s3si_engine_wait_locked(f->engine, &f->cond, INT64_MAX);
        f->waiting = S3SI_WAIT_NONE;
    }
    if (f->state == S3SI_FETCH_FAILED) r = err ? s3si_error_give(err, &f->err) : f->err.code;
    *begin = f->cut.begin;
    *found = f->cut.begin < f->cut.end || f->cut.start == f->cut.base;
    s3si_mutex_unlock(&f->engine->lock);
    return r;
}

/* Adds what a fetch did to the client's sums. */
static void s3si_engine_account_locked(s3si_engine *e, s3si_fetch *f) {
    s3s_stats s, *sum = &e->closed;
    s3si_fetch_stats_locked(f, &s);
    sum->hedges += s.hedges;
    sum->bytes_received += s.bytes_received;
    sum->bytes_delivered += s.bytes_delivered;
    sum->wasted_bytes += s.wasted_bytes;
    sum->records += s.records;
    sum->window_misses += s.window_misses;
    if (s.first_byte_seconds > 0 &&
        (sum->first_byte_seconds <= 0 || s.first_byte_seconds < sum->first_byte_seconds))
        sum->first_byte_seconds = s.first_byte_seconds;
}

/* Ends a fetch: everything in flight is let go, and its slots are free when this returns. */
static void s3si_fetch_close(s3si_fetch *f) {
    s3si_engine *e = f->engine;
    s3si_mutex_lock(&e->lock);
    f->ended = 1;
    f->cancelled = 1;
    f->waiting = S3SI_WAIT_ANY;
    s3si_fetch_abandon_all_locked(f);
    while (f->in_flight || f->asking) s3si_engine_wait_locked(e, &f->cond, INT64_MAX);
    s3si_engine_account_locked(e, f);
    while (f->first) {
        s3si_part *p = f->first;
        f->first = p->next;
        s3si_part_free_locked(f, p);
    }
    while (f->spare) {
        s3si_slot *s = f->spare;
        f->spare = s->next;
        s3si_sys_pages_free(&e->mem, s->data, s->cap);
        s3si_mem_free(&e->mem, s);
    }
    if (f->next == f) {
        e->turn = NULL;
    } else if (f->next) {
        f->next->prev = f->prev;
        f->prev->next = f->next;
        if (e->turn == f) e->turn = f->next;
    }
    s3si_mutex_unlock(&e->lock);
    s3si_request_deinit(&f->ask);
    s3si_source_close(&f->source);
    s3si_cond_deinit(&f->cond);
    s3si_mem_free(&e->mem, f);
}

/* Parts as large as memory allows, from 1 MiB (256 KiB when it is tight) to 8 MiB. */
static void s3si_fetch_sizes(s3si_fetch *f) {
    s3si_fetch_plan *p = &f->plan;
    uint64_t size = p->memory / (uint64_t)(p->connections + 2);
    if (size < S3SI_PART_MIN) size = S3SI_PART_MIN;
    if (size > S3SI_PART_MAX) size = S3SI_PART_MAX;
    if (size > p->memory) size = p->memory;
    f->part_max = p->part_size ? p->part_size : size;
}

/* Puts the first request on its way: a part where the range's begin is known, else the HEAD. */
static s3s_result s3si_fetch_start_locked(s3si_fetch *f, s3s_error *err) {
    const s3si_fetch_plan *p = &f->plan;
    s3s_result r = S3S_OK;
    int nominal = p->shard_count > 0 || (p->has_slice && !p->slice.exact);
    f->cursor = p->offset;
    f->begin = p->offset;
    f->end = p->length ? p->offset + p->length : UINT64_MAX;
    if (f->total != UINT64_MAX) return s3si_fetch_settle_locked(f, err);
    if (p->shard_index > 0 || (p->shard_count && (p->length || p->offset))) {
        f->state = S3SI_FETCH_ASKING;
        r = s3si_source_aim(&f->source, &f->ask, "HEAD", err);
        if (r == S3S_OK) f->asking = s3si_fetch_exchange(f, &s3si_ask_ops, f);
        if (f->asking && !s3si_engine_submit_locked(f->engine, f->asking)) {
            s3si_exchange_deinit(f->asking);
            s3si_mem_free(&f->engine->mem, f->asking);
            f->asking = NULL;
        }
        return f->asking ? S3S_OK : s3si_error_set(err, S3S_E_MEMORY, "no memory for a request");
    }
    f->state = S3SI_FETCH_FIRST;
    f->look_behind = nominal ? s3si_records_look_behind(&p->records) : 0;
    f->core = p->has_slice ? p->slice.start : p->offset;
    if (p->has_slice && p->slice.exact) f->begin = p->slice.start, f->end = p->slice.end;
    if (p->has_slice && p->slice.exact && f->begin >= f->end)
        f->ended = 1, f->state = S3SI_FETCH_RUNNING;
    f->next_offset = f->core > p->offset + f->look_behind ? f->core - f->look_behind : p->offset;
    if (!nominal) f->next_offset = f->core;
    f->cursor = f->next_offset;
    return S3S_OK;
}

/* Opens a fetch over what `uri` names and starts it. */
static s3s_result s3si_fetch_open(s3si_engine *e, s3si_service *service, const char *uri,
                                  const char *version_id, const s3si_fetch_plan *plan,
                                  s3si_fetch **out, s3s_error *err) {
    s3si_fetch *f = (s3si_fetch *)s3si_mem_zalloc(&e->mem, sizeof *f);
    s3s_result r;
    if (!f) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a reader");
    f->engine = e;
    f->plan = *plan;
    f->total = plan->size ? plan->size : UINT64_MAX;
    f->opened_us = s3si_time_mono_us();
    memcpy(f->object.etag, plan->etag, sizeof f->object.etag);
    s3si_request_init(&f->ask, service, "HEAD");
    s3si_fetch_sizes(f);
    if (!s3si_cond_init(&f->cond)) {
        s3si_mem_free(&e->mem, f);
        return s3si_error_set(err, S3S_E_MEMORY, "no condition variable to be had");
    }
    r = s3si_source_open(&f->source, service, uri, version_id, err);
    if (r == S3S_OK && f->source.uri.scheme == S3SI_URI_FILE) {
        s3s_object o;
        r = s3si_source_stat(&f->source, &o, err);
        if (r == S3S_OK && ((plan->etag[0] && strcmp(plan->etag, o.etag) != 0) ||
                            (f->total != UINT64_MAX && f->total != o.size)))
            r = s3si_error_set(err, S3S_E_CHANGED,
                               "the file is not the one expected: it has %llu bytes and ETag %s",
                               (unsigned long long)o.size, o.etag);
        if (r == S3S_OK) f->object = o, f->object_known = 1, f->total = o.size, f->stats.pinned = 1;
    }
    if (f->source.text) f->knowledge = s3si_knowledge_id(f->source.text, &plan->records);
    s3si_mutex_lock(&e->lock);
    if (r == S3S_OK) r = s3si_fetch_start_locked(f, err);
    if (e->turn) {
        f->next = e->turn, f->prev = e->turn->prev;
        f->prev->next = f, f->next->prev = f;
    } else {
        f->next = f->prev = f;
        e->turn = f;
    }
    if (r == S3S_OK) s3si_engine_pump_locked(e);
    s3si_mutex_unlock(&e->lock);
    *out = f;
    if (r != S3S_OK) {
        s3si_fetch_close(f);
        *out = NULL;
    }
    return r;
}

/* >>plan
 * Slices of an object, fixed once for many workers. Nominal slices cost one HEAD (or nothing,
 * where the size is given); prealigned ones also one small ranged GET per inner boundary, all
 * boundaries in parallel under the client's connections. A boundary is looked for only up to the
 * next nominal one: where no record begins in between, both have the same exact place, so a giant
 * record is scanned once. */
struct s3s_plan {
    s3si_mem mem;
    char *uri;
    char *records;
    s3s_object object;
    s3s_slice *slices;
    uint32_t count;
};

enum { S3SI_PLAN_WINDOW = 4096 };

static void s3si_plan_destroy(s3s_plan *p) {
    s3si_mem mem;
    if (!p) return;
    mem = p->mem;
    s3si_mem_free(&mem, p->uri);
    s3si_mem_free(&mem, p->records);
    s3si_mem_free(&mem, p->slices);
    s3si_mem_free(&mem, p);
}

static s3s_plan *s3si_plan_new(const s3si_mem *mem, const char *uri, const char *records,
                               uint64_t count) {
    s3s_plan *p = (s3s_plan *)s3si_mem_zalloc(mem, sizeof *p);
    size_t bytes;
    if (!p) return NULL;
    p->mem = *mem;
    p->uri = s3si_str_dup(mem, s3si_str_of(uri));
    p->records = s3si_str_dup(mem, s3si_str_of(records && *records ? records : "lines"));
    if (count <= UINT32_MAX && s3si_mem_mul((size_t)count, sizeof *p->slices, &bytes))
        p->slices = (s3s_slice *)s3si_mem_zalloc(mem, bytes);
    p->count = (uint32_t)count;
    if (p->uri && p->records && p->slices) return p;
    s3si_plan_destroy(p);
    return NULL;
}

/* Opens the search for a(start), among the records that begin in [start, end). */
static s3s_result s3si_plan_seek(s3si_engine *e, s3si_service *service, const char *version_id,
                                 const s3si_fetch_plan *base, const char *uri, uint64_t start,
                                 uint64_t end, s3si_fetch **out, s3s_error *err) {
    s3si_fetch_plan plan = *base;
    plan.seek = 1;
    plan.connections = 1;
    plan.has_slice = 1;
    plan.shard_count = plan.shard_index = 0;
    plan.slice.start = start;
    plan.slice.end = end;
    plan.slice.exact = 0;
    plan.window = base->window > 0                       ? base->window
                  : base->window == S3S_WINDOW_DYNAMIC   ? (int64_t)S3SI_WINDOW_DYNAMIC
                                                         : (int64_t)S3SI_PLAN_WINDOW;
    plan.part_size = plan.memory < S3SI_PART_MAX ? plan.memory : (uint64_t)S3SI_PART_MAX;
    return s3si_fetch_open(e, service, uri, version_id, &plan, out, err);
}

/* Finds all inner boundaries of a nominal plan, `width` searches at a time, and makes its slices
 * exact. */
static s3s_result s3si_plan_align(s3s_plan *p, s3si_engine *e, s3si_service *service,
                                  const char *version_id, const s3si_fetch_plan *base,
                                  s3s_error *err) {
    s3si_fetch *open[S3SI_ENGINE_LOOPS];
    uint32_t width = (uint32_t)base->connections, opened = 1, i;
    uint64_t begin = 0, limit = p->slices[p->count - 1].end;
    s3s_result r = S3S_OK;
    int found = 0;
    if (width > S3SI_ENGINE_LOOPS) width = S3SI_ENGINE_LOOPS;
    for (i = 1; i < p->count && r == S3S_OK; i++) {
        for (; r == S3S_OK && opened < p->count && opened < i + width; opened++)
            r = s3si_plan_seek(e, service, version_id, base, p->uri, p->slices[opened].start,
                               p->slices[opened].end, &open[opened % width], err);
        if (r != S3S_OK) {
            opened--;
            break;
        }
        r = s3si_fetch_seek(open[i % width], &begin, &found, err);
        s3si_fetch_close(open[i % width]);
        if (found) p->slices[i].start = begin;
        p->slices[i].exact = found;
    }
    if (r != S3S_OK)
        for (; i < opened; i++) s3si_fetch_close(open[i % width]);
    if (r != S3S_OK) return r;
    /* no record begins in the slice: its boundary is the next one's */
    for (i = p->count; i-- > 0;) {
        p->slices[i].end = i + 1 < p->count ? p->slices[i + 1].start : limit;
        if (i > 0 && !p->slices[i].exact) p->slices[i].start = p->slices[i].end;
        p->slices[i].exact = 1;
    }
    return S3S_OK;
}

static void s3si_plan_format(const s3s_plan *p, s3si_buf *out) {
    uint32_t i;
    s3si_buf_addz(out, "{\"version\":1,\"uri\":");
    s3si_json_encode(out, s3si_str_of(p->uri));
    s3si_buf_addz(out, ",\"etag\":");
    s3si_json_encode(out, s3si_str_of(p->object.etag));
    if (p->object.version_id[0]) {
        s3si_buf_addz(out, ",\"version_id\":");
        s3si_json_encode(out, s3si_str_of(p->object.version_id));
    }
    s3si_buf_addz(out, ",\"size\":");
    s3si_buf_addu(out, p->object.size);
    s3si_buf_addz(out, ",\"records\":");
    s3si_json_encode(out, s3si_str_of(p->records));
    s3si_buf_addz(out, ",\"slices\":[");
    for (i = 0; i < p->count; i++) {
        s3si_buf_addz(out, i ? ",\n{\"start\":" : "\n{\"start\":");
        s3si_buf_addu(out, p->slices[i].start);
        s3si_buf_addz(out, ",\"end\":");
        s3si_buf_addu(out, p->slices[i].end);
        s3si_buf_addz(out, p->slices[i].exact ? ",\"exact\":true" : ",\"exact\":false");
        if (p->slices[i].window > 0) {
            s3si_buf_addz(out, ",\"window\":");
            s3si_buf_addu(out, (uint64_t)p->slices[i].window);
        }
        s3si_buf_addc(out, '}');
    }
    s3si_buf_addz(out, "]}\n");
}

static int s3si_plan_text(const s3si_mem *mem, s3si_str doc, const char *name, s3si_buf *out) {
    s3si_str v;
    s3si_buf_init(out, mem);
    return s3si_json_member(doc, name, &v) && s3si_json_decode(out, v) && s3si_buf_ok(out);
}

static int s3si_plan_parse_slice(s3si_str item, uint64_t size, s3s_slice *slice) {
    s3si_str v;
    uint64_t window = 0;
    memset(slice, 0, sizeof *slice);
    if (!s3si_json_u64(item, "start", &slice->start) || !s3si_json_u64(item, "end", &slice->end))
        return 0;
    if (s3si_json_member(item, "exact", &v)) slice->exact = s3si_str_is(v, "true");
    if (s3si_json_member(item, "window", &v) && (!s3si_str_u64(v, &window) || window > INT64_MAX))
        return 0;
    slice->window = (int64_t)window;
    return slice->start <= slice->end && slice->end <= size;
}

/* The slices must follow each other without gap or overlap, or workers would lose or repeat bytes.
 */
static const char *s3si_plan_parse_slices(s3s_plan *p, s3si_str array) {
    s3si_str name, item;
    uint32_t i = 0;
    while (s3si_json_step(&array, &name, &item)) {
        if (!s3si_plan_parse_slice(item, p->object.size, &p->slices[i]))
            return "a slice lacks start or end, or lies outside of the object";
        if (i && p->slices[i].start != p->slices[i - 1].end)
            return "its slices leave a gap or overlap";
        i++;
    }
    return NULL;
}

static s3s_result s3si_plan_parse(const s3si_mem *mem, s3si_str text, s3s_plan **out,
                                  s3s_error *err) {
    s3si_str doc, slices, name, item, rest;
    s3si_buf uri, etag, records, version;
    s3si_records format;
    uint64_t count = 0, number = 0;
    s3s_plan *p = NULL;
    const char *why = NULL;
    int memory;
    int taken = s3si_json_take(&text, &doc) && s3si_json_skip_space(text).n == 0;
    int has_uri = s3si_plan_text(mem, taken ? doc : s3si_str_of(""), "uri", &uri);
    int has_etag = s3si_plan_text(mem, taken ? doc : s3si_str_of(""), "etag", &etag);
    int has_records = s3si_plan_text(mem, taken ? doc : s3si_str_of(""), "records", &records);
    (void)s3si_plan_text(mem, taken ? doc : s3si_str_of(""), "version_id", &version);
    if (!taken) why = "it is not whole JSON";
    else if (!s3si_json_u64(doc, "version", &number) || number != 1) why = "its version is not 1";
    else if (!has_uri || !has_etag || !has_records) why = "it lacks uri, etag or records";
    else if (!s3si_json_u64(doc, "size", &number)) why = "it lacks size";
    else if (!s3si_json_member(doc, "slices", &slices) || slices.p[0] != '[')
        why = "it lacks slices";
    if (!why) {
        for (rest = slices; s3si_json_step(&rest, &name, &item);) count++;
        p = count ? s3si_plan_new(mem, s3si_buf_z(&uri), s3si_buf_z(&records), count) : NULL;
        if (!count) why = "it has no slice";
        else if (!p) why = "there is no memory for it";
    }
    if (!why) {
        p->object.size = number;
        if (!s3si_str_copy(s3si_buf_str(&etag), p->object.etag, sizeof p->object.etag) ||
            !s3si_str_copy(s3si_buf_str(&version), p->object.version_id,
                           sizeof p->object.version_id))
            why = "its etag or version_id is too long";
        else if (!s3si_records_parse(p->records, &format, &why)) why = "its records are no format";
        else why = s3si_plan_parse_slices(p, slices);
    }
    memory = s3si_buf_ok(&uri) && s3si_buf_ok(&etag) && s3si_buf_ok(&records) &&
             s3si_buf_ok(&version) && (p || !count);
    s3si_buf_deinit(&uri);
    s3si_buf_deinit(&etag);
    s3si_buf_deinit(&records);
    s3si_buf_deinit(&version);
    if (!why) {
        *out = p;
        return S3S_OK;
    }
    s3si_plan_destroy(p);
    if (!memory) return s3si_error_set(err, S3S_E_MEMORY, "no memory for the plan");
    return s3si_error_set(err, S3S_E_PLAN, "the plan cannot be used: %s", why);
}

/* >>reader
 * What a consumer sees of a fetch: bytes, pieces, or records. A piece that was lent is given back
 * by the next call. Records are lent where they lie; one that spans two parts is joined in a
 * buffer. */
struct s3s_reader {
    s3s_client *client;
    s3si_fetch *fetch;
    s3si_records records;
    uint64_t text_begin; /* where the text begins that records are of */
    uint64_t max_record;
    uint64_t too_long_at; /* 1 + where a record longer than that begins: no record comes after it */
    size_t lent;         /* bytes of the fetch that the consumer holds */
    s3si_buf joined;
    unsigned match;      /* bytes of the delimiter matched so far */
    int begun;
    void (*progress)(void *user, uint64_t delivered, uint64_t total);
    void *progress_user;
    uint64_t delivered;
};

static void s3si_reader_settle(s3s_reader *r) {
    if (!r->lent) return;
    s3si_fetch_consume(r->fetch, r->lent);
    r->delivered += r->lent;
    r->lent = 0;
    if (r->progress) {
        s3si_fetch *f = r->fetch;
        uint64_t total;
        s3si_mutex_lock(&f->engine->lock);
        total = f->state != S3SI_FETCH_RUNNING ? 0
                : f->sharded                   ? f->cut.end - f->cut.start
                                               : f->end - f->begin;
        s3si_mutex_unlock(&f->engine->lock);
        r->progress(r->progress_user, r->delivered, total);
    }
}

/* The matcher's state when a text is entered behind a delimiter: overlapping occurrences count. */
static void s3si_reader_begin(s3s_reader *r) {
    if (r->begun) return;
    r->begun = 1;
    if (r->records.m > 1 && r->fetch->cursor > r->text_begin)
        r->match = r->records.fail[r->records.m - 1];
}

static s3s_result s3si_reader_peek(s3s_reader *r, const uint8_t **p, size_t *n, s3s_error *err) {
    s3s_result result = s3si_fetch_peek(r->fetch, p, n, err);
    if (result == S3S_OK) s3si_reader_begin(r);
    return result;
}

/* Bytes that were lent as bytes move the matcher on, for a later s3s_reader_record. */
static void s3si_reader_pass(s3s_reader *r, const uint8_t *p, size_t n) {
    unsigned m = r->records.m;
    if (m < 2) return;
    if (n >= m) r->match = 0, p += n - (m - 1), n = m - 1;
    (void)s3si_records_scan(&r->records, &r->match, p, n);
}

/* Length of the record part at the front of (p, n): up to its end (*whole = 1), or all of it. */
static size_t s3si_reader_measure(s3s_reader *r, const uint8_t *p, size_t n, int *whole) {
    size_t hit;
    if (r->records.kind == S3SI_RECORDS_FIXED) {
        uint64_t left = r->records.block - r->joined.n;
        *whole = left <= n;
        return *whole ? (size_t)left : n;
    }
    hit = s3si_records_scan(&r->records, &r->match, p, n);
    *whole = hit > 0;
    return hit ? hit : n;
}

static s3s_result s3si_reader_too_long(s3s_reader *r, s3s_error *err) {
    if (!r->too_long_at) r->too_long_at = r->fetch->cursor - r->joined.n + 1;
    return s3si_error_set(err, S3S_E_TOO_LARGE,
                          "the record at byte %llu is longer than %llu bytes; raise max_record",
                          (unsigned long long)(r->too_long_at - 1),
                          (unsigned long long)r->max_record);
}

static s3s_result s3si_reader_record(s3s_reader *r, const void **data, size_t *n, s3s_error *err) {
    s3s_result result;
    int whole = 0;
    if (r->too_long_at) return s3si_reader_too_long(r, err);
    s3si_reader_settle(r);
    s3si_buf_clear(&r->joined);
    for (;;) {
        const uint8_t *p;
        size_t have, take;
        result = s3si_reader_peek(r, &p, &have, err);
        if (result == S3S_END && r->joined.n) break;
        if (result != S3S_OK) return result;
        take = s3si_reader_measure(r, p, have, &whole);
        if (r->joined.n + take > r->max_record) return s3si_reader_too_long(r, err);
        r->lent = take;
        if (whole && r->joined.n == 0) {
            *data = p;
            *n = take;
            r->fetch->stats.records++;
            return S3S_OK;
        }
        s3si_buf_add(&r->joined, s3si_str_make((const char *)p, take));
        if (!s3si_buf_ok(&r->joined))
            return s3si_error_set(err, S3S_E_MEMORY, "no memory for a long record");
        s3si_reader_settle(r);
        if (whole) break;
    }
    *data = r->joined.p;
    *n = r->joined.n;
    r->fetch->stats.records++;
    return S3S_OK;
}

/* >>list
 * A prefix, page by page. A page is one answer, checked to be whole before its first entry is
 * lent; a page that says it is truncated and gives no new token is an error, not a loop. */
struct s3s_list {
    s3s_client *client;
    s3si_engine *engine;
    s3si_service *service;
    s3si_buf bucket, prefix, delimiter, start_after, token;
    uint32_t page_size;
    s3si_buf page;
    s3si_xml cursor;
    int have_page, more, encoded, buckets;
    s3si_buf key, etag, modified;
    s3s_entry entry;
};

static void s3si_list_close(s3s_list *l) {
    s3si_buf *all[9];
    size_t i;
    s3si_mem mem = l->engine->mem;
    all[0] = &l->bucket, all[1] = &l->prefix, all[2] = &l->delimiter, all[3] = &l->start_after;
    all[4] = &l->token, all[5] = &l->page, all[6] = &l->key, all[7] = &l->etag,
    all[8] = &l->modified;
    for (i = 0; i < 9; i++) s3si_buf_deinit(all[i]);
    s3si_mem_free(&mem, l);
}

/* Entities are decoded, and where the store encoded keys, that too ('+' is a space there). */
static void s3si_list_decode(const s3s_list *l, s3si_buf *out, s3si_str text, int is_key) {
    s3si_buf plain;
    size_t i;
    s3si_buf_clear(out);
    if (!is_key || !l->encoded) {
        s3si_xml_decode(out, text);
        return;
    }
    s3si_buf_init(&plain, out->mem);
    s3si_xml_decode(&plain, text);
    for (i = 0; i < plain.n; i++)
        if (plain.p[i] == '+') plain.p[i] = ' ';
    s3si_percent_decode(out, s3si_buf_str(&plain));
    if (!s3si_buf_ok(&plain)) out->failed = 1;
    s3si_buf_deinit(&plain);
}

/* Is the page a whole result document, from its root's opening to its closing? */
static int s3si_list_whole(s3si_str page, const char *root) {
    s3si_xml x;
    s3si_str s;
    int event, depth = 0, opened = 0;
    s3si_xml_init(&x, page);
    while ((event = s3si_xml_next(&x, &s)) > 0) {
        if (event == S3SI_XML_OPEN && depth++ == 0 && !(opened = s3si_str_is(s, root))) return 0;
        if (event == S3SI_XML_CLOSE && --depth == 0) return opened;
    }
    return 0;
}

/* What the page says of the next one. */
static s3s_result s3si_list_continue(s3s_list *l, s3s_error *err) {
    s3si_str v, page = s3si_buf_str(&l->page);
    s3si_buf token;
    s3s_result r = S3S_OK;
    l->encoded = s3si_xml_find(page, "EncodingType", &v) && s3si_str_is(v, "url");
    l->more = s3si_xml_find(page, "IsTruncated", &v) && s3si_str_is(v, "true");
    if (!l->more) return S3S_OK;
    s3si_buf_init(&token, &l->engine->mem);
    if (s3si_xml_find(page, "NextContinuationToken", &v)) s3si_xml_decode(&token, v);
    if (!token.n)
        r = s3si_error_set(err, S3S_E_PROTOCOL,
                           "the listing is truncated but has no NextContinuationToken");
    else if (s3si_str_eq(s3si_buf_str(&token), s3si_buf_str(&l->token)))
        r = s3si_error_set(err, S3S_E_PROTOCOL,
                           "the listing gives the same NextContinuationToken twice");
    s3si_buf_deinit(&l->token);
    l->token = token;
    return r;
}

static s3s_result s3si_list_fetch(s3s_list *l, s3s_error *err) {
    s3si_call c;
    s3s_result r;
    const char *root = l->buckets ? "ListAllMyBucketsResult" : "ListBucketResult";
    s3si_call_init(&c, l->engine);
    s3si_request_init(&c.q, l->service, "GET");
    if (!l->buckets) {
        s3si_buf_add(&c.q.bucket, s3si_buf_str(&l->bucket));
        s3si_request_query(&c.q, "list-type", s3si_str_of("2"));
        s3si_request_query(&c.q, "encoding-type", s3si_str_of("url"));
        s3si_request_query(&c.q, "prefix", s3si_buf_str(&l->prefix));
        if (l->delimiter.n) s3si_request_query(&c.q, "delimiter", s3si_buf_str(&l->delimiter));
        if (l->token.n) s3si_request_query(&c.q, "continuation-token", s3si_buf_str(&l->token));
        else if (l->start_after.n)
            s3si_request_query(&c.q, "start-after", s3si_buf_str(&l->start_after));
        if (l->page_size) {
            char digits[16];
            (void)snprintf(digits, sizeof digits, "%lu", (unsigned long)l->page_size);
            s3si_request_query(&c.q, "max-keys", s3si_str_of(digits));
        }
    }
    r = s3si_call_run(&c);
    if (r != S3S_OK) {
        (void)s3si_error_give(err, &c.err);
    } else {
        s3si_buf_deinit(&l->page);
        l->page = c.body;
        s3si_buf_init(&c.body, &l->engine->mem);
        if (!s3si_list_whole(s3si_buf_str(&l->page), root))
            r = s3si_error_set(err, S3S_E_PROTOCOL, "the answer is not a whole %s", root);
        else r = s3si_list_continue(l, err);
    }
    s3si_xml_init(&l->cursor, s3si_buf_str(&l->page));
    l->have_page = r == S3S_OK;
    s3si_call_deinit(&c);
    return r;
}

/* Reads one <Contents>, <CommonPrefixes> or <Bucket>, whose opening was just seen. */
static void s3si_list_entry(s3s_list *l, s3si_str element) {
    s3si_str s, text = s3si_str_make("", 0);
    int event, depth = 1;
    memset(&l->entry, 0, sizeof l->entry);
    s3si_buf_clear(&l->key);
    s3si_buf_clear(&l->etag);
    s3si_buf_clear(&l->modified);
    l->entry.is_prefix = s3si_str_is(element, "CommonPrefixes");
    while (depth && (event = s3si_xml_next(&l->cursor, &s)) > 0) {
        if (event == S3SI_XML_OPEN) depth++, text = s3si_str_make("", 0);
        if (event == S3SI_XML_TEXT) text = s;
        if (event != S3SI_XML_CLOSE) continue;
        if (depth-- != 2) continue;
        if (s3si_str_is(s, "Key") || s3si_str_is(s, "Prefix"))
            s3si_list_decode(l, &l->key, text, 1);
        else if (s3si_str_is(s, "Name")) s3si_list_decode(l, &l->key, text, 0);
        else if (s3si_str_is(s, "ETag")) s3si_list_decode(l, &l->etag, text, 0);
        else if (s3si_str_is(s, "Size")) (void)s3si_str_u64(text, &l->entry.size);
        else if (s3si_str_is(s, "LastModified") || s3si_str_is(s, "CreationDate"))
            s3si_list_decode(l, &l->modified, text, 0);
    }
    l->entry.key = s3si_buf_z(&l->key);
    l->entry.etag = s3si_buf_z(&l->etag);
    l->entry.last_modified = s3si_buf_z(&l->modified);
}

static s3s_result s3si_list_next(s3s_list *l, const s3s_entry **entry, s3s_error *err) {
    for (;;) {
        s3si_str s;
        int event;
        if (!l->have_page) {
            s3s_result r = s3si_list_fetch(l, err);
            if (r != S3S_OK) return r;
        }
        while ((event = s3si_xml_next(&l->cursor, &s)) > 0) {
            if (event != S3SI_XML_OPEN) continue;
            if (!s3si_str_is(s, l->buckets ? "Bucket" : "Contents") &&
                (l->buckets || !s3si_str_is(s, "CommonPrefixes")))
                continue;
            s3si_list_entry(l, s);
            if (!s3si_buf_ok(&l->key))
                return s3si_error_set(err, S3S_E_MEMORY, "no memory for a key");
            *entry = &l->entry;
            return S3S_OK;
        }
        if (!l->more) return S3S_END;
        l->have_page = 0;
    }
}

/* >>public
 * The interface's functions in the order of their declaration: they check arguments, name the
 * object in error messages, and call down. */
struct s3s_client {
    s3si_engine engine;
    s3si_service service;
    s3s_tls tls;
    uint64_t memory;
};

S3SDEF const char *s3s_version(void) { return S3STREAM_VERSION_TEXT; }

/* Clears what the caller's error held, and refuses a client that a fork carried over. */
static s3s_result s3si_public_enter(s3s_client *c, s3s_error *err) {
    s3si_error_clear(err);
    if (!c) return s3si_error_set(err, S3S_E_ARGUMENT, "the client is NULL");
    if (c->engine.pid != s3si_sys_pid())
        return s3si_error_set(err, S3S_E_FORKED,
                              "the client was made before fork(); make one in the child");
    return S3S_OK;
}

/* Puts the object's URI in front of the message; a query (it may hold a signature) is left out. */
static s3s_result s3si_public_leave(s3s_result r, const char *uri, s3s_error *err) {
    char text[sizeof err->message];
    s3si_str s = s3si_str_of(uri);
    if (!err || r == S3S_OK || r == S3S_END) return r;
    err->code = r;
    if (!s3si_str_starts(s, "s3://") && !s3si_str_starts(s, "file://")) s.n = s3si_str_find(s, '?');
    memcpy(text, err->message[0] ? err->message : s3s_result_text(r),
           err->message[0] ? sizeof text : strlen(s3s_result_text(r)) + 1);
    if (s.n > 300) s.n = 300;
    (void)snprintf(err->message, sizeof err->message, "%.*s: ", (int)s.n, s.p);
    (void)s3si_str_copy(s3si_str_make(text, strlen(text) < sizeof text - strlen(err->message)
                                                ? strlen(text)
                                                : sizeof text - strlen(err->message) - 1),
                        err->message + strlen(err->message),
                        sizeof err->message - strlen(err->message));
    s3si_error_one_line(err->message);
    return r;
}

static const char *s3si_public_setting(const s3s_config *c, const char *given, const char *a,
                                       const char *b, const char *otherwise) {
    const char *v = NULL;
    if (given) return given;
#if S3SI_ENVIRONMENT
    if (!c->no_environment) {
        v = a ? s3si_sys_env(a) : NULL;
        if (!v) v = b ? s3si_sys_env(b) : NULL;
    }
#else
    (void)c, (void)a, (void)b;
#endif
    return v ? v : otherwise;
}

static s3s_result s3si_public_service(s3s_client *c, const s3s_config *config, s3s_error *err) {
    s3si_service *s = &c->service;
    const char *endpoint, *region, *why = "", *const *line;
    s3si_str name, value;
    endpoint = s3si_public_setting(config, config->endpoint, "AWS_ENDPOINT_URL_S3",
                                   "AWS_ENDPOINT_URL", NULL);
    region = s3si_public_setting(config, config->region, "AWS_REGION", "AWS_DEFAULT_REGION",
                                 "us-east-1");
    if (endpoint) {
        s->endpoint = s3si_str_dup(s->mem, s3si_str_of(endpoint));
        if (!s->endpoint) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a client");
        if (!s3si_uri_authority(s3si_str_of(s->endpoint), &s->parsed, &why))
            return s3si_error_set(err, S3S_E_ARGUMENT, "the endpoint '%.200s' is not usable: %s",
                                  endpoint, why);
    }
    if (!s3si_str_copy(s3si_str_of(region), s->region, sizeof s->region) ||
        !s3si_http_safe(s3si_str_of(region)) || strpbrk(region, " /,"))
        return s3si_error_set(err, S3S_E_ARGUMENT, "the region '%.80s' is not usable", region);
    if (config->addressing < 0 || config->addressing > S3S_ADDRESSING_VIRTUAL)
        return s3si_error_set(err, S3S_E_ARGUMENT, "addressing is none of S3S_ADDRESSING_");
    s->addressing = config->addressing;
    s->clock = config->clock;
    s->clock_user = config->clock_user;
    s3si_buf_addz(&s->agent, "s3stream/" S3STREAM_VERSION_TEXT);
    if (config->user_agent) {
        s3si_buf_addc(&s->agent, ' ');
        s3si_buf_addz(&s->agent, config->user_agent);
    }
    if (!s3si_http_safe(s3si_buf_str(&s->agent)))
        return s3si_error_set(err, S3S_E_ARGUMENT, "user_agent holds a line break");
    for (line = config->headers; line && *line; line++) {
        if (!s3si_http_split_header(s3si_str_of(*line), &name, &value))
            return s3si_error_set(err, S3S_E_ARGUMENT,
                                  "the header '%.80s' is not 'Name: value' on one line", *line);
        s3si_http_add_header(&s->headers, name, value);
    }
    return s3si_buf_ok(&s->agent) && s3si_buf_ok(&s->headers)
               ? S3S_OK
               : s3si_error_set(err, S3S_E_MEMORY, "no memory");
}

static s3s_result s3si_public_creds(s3s_client *c, const s3s_config *config, s3s_error *err) {
    s3si_creds *k = &c->service.creds;
    k->anonymous = config->anonymous;
    k->use_environment = !config->no_environment;
    k->callback = config->credentials;
    k->callback_user = config->credentials_user;
    if (!config->access_key != !config->secret_key)
        return s3si_error_set(err, S3S_E_ARGUMENT, "access_key and secret_key go together");
    if (!config->access_key) return S3S_OK;
    k->has_explicit = 1;
    if (!*config->access_key ||
        !s3si_creds_set(&k->given, config->access_key, config->secret_key, config->session_token))
        return s3si_error_set(err, S3S_E_ARGUMENT, "access_key is empty, or a key is too long");
    return S3S_OK;
}

static int64_t s3si_public_ms(int given, int otherwise) {
    return given < 0 ? 0 : (int64_t)(given ? given : otherwise) * 1000;
}

static s3s_result s3si_public_engine(s3s_client *c, const s3s_config *config, s3s_error *err) {
    s3si_engine *e = &c->engine;
    int threads = config->threads        ? config->threads
                  : s3si_sys_cores() < 4 ? s3si_sys_cores()
                                         : 4,
        i;
    if (config->threads < 0 || config->threads > S3SI_ENGINE_LOOPS)
        return s3si_error_set(err, S3S_E_ARGUMENT, "threads is %d; 1 to %d, or 0", config->threads,
                              (int)S3SI_ENGINE_LOOPS);
    if (config->connections < 0 || config->connections > 10000)
        return s3si_error_set(err, S3S_E_ARGUMENT, "connections is %d; 1 to 10000, or 0",
                              config->connections);
    if (!S3SI_THREADS) threads = 1;
    e->connections = config->connections ? config->connections : 16;
    e->policy.retries = config->retries < 0 ? 0 : config->retries ? config->retries : 9;
    e->policy.response_us = s3si_public_ms(config->response_timeout_ms, 30000);
    e->policy.stall_us = s3si_public_ms(config->stall_timeout_ms, 30000);
    e->policy.log = config->log;
    e->budget.tokens = S3SI_BUDGET_TOKENS;
    e->budget.limit = e->budget.limit_max = e->connections;
    e->pump_locked = s3si_engine_pump_locked;
    e->loop_fill = (c->service.endpoint ? c->service.parsed.tls : 1) ? 1 : 4;
    for (i = 0; i < threads; i++) {
        e->loops[i] =
            s3si_loop_create(e, c->service.tls, s3si_public_ms(config->idle_timeout_ms, 4000),
                             s3si_public_ms(config->connect_timeout_ms, 5000));
        if (!e->loops[i])
            return s3si_error_set(err, S3S_E_MEMORY, "no memory or descriptors for an event loop");
        e->loop_count++;
    }
    return S3S_OK;
}

S3SDEF s3s_result s3s_client_create_versioned(const s3s_config *config, int version,
                                              size_t config_size, s3s_client **client,
                                              s3s_error *err) {
    static const s3s_config defaults = S3SI_ZERO;
    s3si_mem mem;
    s3s_client *c;
    s3s_result r;
    s3si_error_clear(err);
    if (!client) return s3si_error_set(err, S3S_E_ARGUMENT, "the client's out parameter is NULL");
    *client = NULL;
    if (version != S3STREAM_VERSION || config_size != sizeof *config)
        return s3si_error_set(err, S3S_E_VERSION,
                              "compiled with version %d of the header, linked with %d", version,
                              S3STREAM_VERSION);
    if (!config) config = &defaults;
    if (config->allocator.alloc && (!config->allocator.realloc || !config->allocator.free))
        return s3si_error_set(err, S3S_E_ARGUMENT, "the allocator needs alloc, realloc and free");
    s3si_mem_init(&mem, &config->allocator);
    c = (s3s_client *)s3si_mem_zalloc(&mem, sizeof *c);
    if (!c) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a client");
    c->engine.mem = mem;
    c->engine.pid = s3si_sys_pid();
    c->service.mem = &c->engine.mem;
    c->memory = config->memory ? config->memory : 64 * 1024 * 1024;
    if (config->tls) c->tls = *config->tls, c->service.tls = &c->tls;
    s3si_buf_init(&c->service.agent, &c->engine.mem);
    s3si_buf_init(&c->service.headers, &c->engine.mem);
    if (!s3si_mutex_init(&c->engine.lock) || !s3si_mutex_init(&c->engine.budget.lock) ||
        !s3si_mutex_init(&c->service.lock) || !s3si_mutex_init(&c->service.creds.lock)) {
        s3si_mem_free(&mem, c);
        return s3si_error_set(err, S3S_E_MEMORY, "no mutex to be had");
    }
    r = s3si_public_service(c, config, err);
    if (r == S3S_OK) r = s3si_public_creds(c, config, err);
    if (r == S3S_OK) r = s3si_public_engine(c, config, err);
    if (r == S3S_OK) *client = c;
    else s3s_client_destroy(c);
    return r;
}

S3SDEF void s3s_client_destroy(s3s_client *client) {
    s3si_mem mem;
    if (!client) return;
    mem = client->engine.mem;
    s3si_engine_deinit(&client->engine);
    /* a child has no threads to end: its copy is left alone */
    if (client->engine.pid != s3si_sys_pid()) return;
    s3si_creds_deinit(&client->service.creds);
    s3si_mutex_deinit(&client->service.lock);
    s3si_buf_deinit(&client->service.agent);
    if (client->service.headers.p)
        s3si_mem_wipe(client->service.headers.p, client->service.headers.cap);
    s3si_buf_deinit(&client->service.headers);
    s3si_mem_free(&mem, client->service.endpoint);
    s3si_mem_free(&mem, client);
}

S3SDEF void s3s_client_stats(s3s_client *client, s3s_stats *stats) {
    s3si_budget *b = &client->engine.budget;
    s3si_mutex_lock(&client->engine.lock);
    *stats = client->engine.closed;
    s3si_mutex_unlock(&client->engine.lock);
    s3si_mutex_lock(&b->lock);
    stats->requests = b->requests;
    stats->retries = b->retries;
    stats->throttled = b->throttled;
    stats->connections_opened = b->opened;
    s3si_mutex_unlock(&b->lock);
}

S3SDEF void s3s_buffer_free(s3s_buffer *buffer) {
    if (!buffer || !buffer->data) return;
    s3si_mem_free(&buffer->allocator, buffer->data);
    buffer->data = NULL;
    buffer->size = 0;
}

S3SDEF s3s_result s3s_head(s3s_client *client, const char *uri, s3s_object *object,
                           s3s_error *err) {
    s3si_source source;
    s3s_object facts;
    s3s_error own;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    r = s3si_source_open(&source, &client->service, uri, NULL, err);
    if (r == S3S_OK) r = s3si_source_head(&source, &client->engine, &facts, err);
    if (r == S3S_OK && object) *object = facts;
    s3si_source_close(&source);
    return s3si_public_leave(r, uri, err);
}

/* An ETag as it goes on the wire: with its quotes. */
static int s3si_public_etag(const char *given, char out[128]) {
    s3si_str s = s3si_str_of(given);
    if (!s3si_http_safe(s)) return 0;
    if (!s.n || s.p[0] == '"' || s3si_str_starts(s, "W/")) return s3si_str_copy(s, out, 128);
    return snprintf(out, 128, "\"%s\"", given) < 128;
}

/* Options of a reader into what a fetch is told. */
static s3s_result s3si_public_plan(s3s_client *c, const s3s_read_options *o, s3si_fetch_plan *p,
                                   s3s_error *err) {
    const char *why = "";
    const s3s_plan *plan = o->plan;
    memset(p, 0, sizeof *p);
    p->offset = o->offset, p->length = o->length, p->size = o->size;
    p->shard_index = o->shard_index, p->shard_count = o->shard_count;
    p->window = o->window;
    p->part_size = o->part_size;
    p->memory = o->memory ? o->memory : c->memory;
    p->connections = o->connections > 0 && o->connections < c->engine.connections
                         ? o->connections
                         : c->engine.connections;
    p->hedge = !o->no_hedge;
    if (!s3si_records_parse(plan ? plan->records : o->records, &p->records, &why))
        return s3si_error_set(err, S3S_E_ARGUMENT, "records '%.80s': %s",
                              plan ? plan->records : o->records ? o->records : "", why);
    if (!s3si_public_etag(plan ? plan->object.etag : o->expected_etag, p->etag))
        return s3si_error_set(err, S3S_E_ARGUMENT,
                              "the expected ETag is too long or holds a line break");
    if (o->length > UINT64_MAX - o->offset)
        return s3si_error_set(err, S3S_E_ARGUMENT, "offset + length is beyond 64 bits");
    if (p->part_size > p->memory)
        return s3si_error_set(err, S3S_E_ARGUMENT,
                              "part_size %llu does not fit memory %llu; lower it or raise memory",
                              (unsigned long long)p->part_size, (unsigned long long)p->memory);
    if (p->memory > SIZE_MAX / 2 || o->window < S3S_WINDOW_DYNAMIC)
        return s3si_error_set(err, S3S_E_ARGUMENT, "memory or window is out of range");
    if (o->strategy != S3S_STRATEGY_APPROX_CORRECTION &&
        o->strategy != S3S_STRATEGY_SMART_PREALIGNED)
        return s3si_error_set(err, S3S_E_ARGUMENT, "strategy is none of S3S_STRATEGY_");
    if (plan) {
        if (o->shard_index >= plan->count)
            return s3si_error_set(err, S3S_E_ARGUMENT,
                                  "shard %lu of a plan of %lu (they count from 0)",
                                  (unsigned long)o->shard_index, (unsigned long)plan->count);
        p->size = plan->object.size;
        p->offset = plan->slices[0].start;
        p->length = plan->slices[plan->count - 1].end - p->offset;
        p->shard_index = p->shard_count = 0;
        p->has_slice = 1;
        p->slice = plan->slices[o->shard_index];
    } else if (o->slice) {
        p->shard_index = p->shard_count = 0;
        p->has_slice = 1;
        p->slice = *o->slice;
        if (p->slice.start > p->slice.end || p->slice.start < p->offset)
            return s3si_error_set(err, S3S_E_ARGUMENT,
                                  "the slice ends before it starts, or starts before offset");
    } else if (o->shard_index && o->shard_index >= o->shard_count) {
        return s3si_error_set(err, S3S_E_ARGUMENT, "shard %lu of %lu: they count from 0",
                              (unsigned long)o->shard_index, (unsigned long)o->shard_count);
    }
    return S3S_OK;
}

/* smart-prealigned without a plan: this shard's own two boundaries are found first. */
static s3s_result s3si_public_align(s3s_client *c, const char *uri, const char *version_id,
                                    s3si_fetch_plan *p, s3s_error *err) {
    s3si_source source;
    s3s_object object;
    uint64_t limit, start, end, begin = 0, finish = 0;
    s3si_fetch *f = NULL;
    int found = 1, ended = 1;
    s3s_result r = S3S_OK;
    if (!p->size || !p->etag[0]) {
        r = s3si_source_open(&source, &c->service, uri, version_id, err);
        if (r == S3S_OK) r = s3si_source_head(&source, &c->engine, &object, err);
        s3si_source_close(&source);
        if (r != S3S_OK) return r;
        if (p->size && p->size != object.size)
            return s3si_error_set(err, S3S_E_CHANGED,
                                  "the object has %llu bytes, but the size given is %llu",
                                  (unsigned long long)object.size, (unsigned long long)p->size);
        p->size = object.size;
        if (!p->etag[0]) memcpy(p->etag, object.etag, sizeof p->etag);
    }
    limit = p->length && p->length < p->size - p->offset ? p->offset + p->length : p->size;
    start = p->has_slice
                ? p->slice.start
                : p->offset + s3si_shard_start(limit - p->offset, p->shard_index, p->shard_count);
    end = p->has_slice
              ? p->slice.end
              : p->offset + s3si_shard_start(limit - p->offset, p->shard_index + 1, p->shard_count);
    begin = finish = end;
    if (start < end) {
        r = s3si_plan_seek(&c->engine, &c->service, version_id, p, uri, start, end, &f, err);
        if (r == S3S_OK) r = s3si_fetch_seek(f, &begin, &found, err);
        if (f) s3si_fetch_close(f);
        f = NULL;
        if (r == S3S_OK && found && end < limit) {
            r = s3si_plan_seek(&c->engine, &c->service, version_id, p, uri, end, limit, &f, err);
            if (r == S3S_OK) r = s3si_fetch_seek(f, &finish, &ended, err);
            if (f) s3si_fetch_close(f);
            if (!ended) finish = limit;
        }
    }
    p->has_slice = 1;
    p->slice.start = found ? begin : end;
    p->slice.end = found ? finish : end;
    p->slice.exact = 1;
    p->shard_count = p->shard_index = 0;
    return r;
}

static s3s_result s3si_public_reader(s3s_client *client, const char *uri,
                                     const s3s_read_options *options, uint8_t *direct,
                                     size_t direct_cap, s3s_reader **reader, s3s_error *err) {
    static const s3s_read_options defaults = S3SI_ZERO;
    const char *version;
    s3si_fetch_plan plan;
    s3s_reader *r;
    s3s_result result;
    if (!options) options = &defaults;
    if (!uri) return s3si_error_set(err, S3S_E_ARGUMENT, "the URI is NULL");
    result = s3si_public_plan(client, options, &plan, err);
    if (result != S3S_OK) return result;
    version = options->plan && options->plan->object.version_id[0]
                  ? options->plan->object.version_id
                  : options->version_id;
    if (options->strategy == S3S_STRATEGY_SMART_PREALIGNED &&
        (plan.shard_count || (plan.has_slice && !plan.slice.exact)) &&
        plan.records.kind == S3SI_RECORDS_DELIM) {
        result = s3si_public_align(client, uri, version, &plan, err);
        if (result != S3S_OK) return result;
    }
    if (direct && !plan.shard_count && !plan.has_slice)
        plan.direct = direct, plan.direct_cap = direct_cap;
    r = (s3s_reader *)s3si_mem_zalloc(&client->engine.mem, sizeof *r);
    if (!r) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a reader");
    r->client = client;
    r->records = plan.records;
    r->text_begin = plan.offset;
    r->max_record = options->max_record ? options->max_record : plan.memory;
    r->progress = options->progress;
    r->progress_user = options->progress_user;
    s3si_buf_init(&r->joined, &client->engine.mem);
    result =
        s3si_fetch_open(&client->engine, &client->service, uri, version, &plan, &r->fetch, err);
    if (result == S3S_OK) *reader = r;
    else s3si_mem_free(&client->engine.mem, r);
    return result;
}

/* Reads all that a reader has into dst, or into a growing buffer where dst is NULL. */
static s3s_result s3si_public_drain(s3s_reader *r, s3si_buf *grow, uint8_t *dst, size_t cap,
                                    size_t *got, uint64_t max_size, s3s_error *err) {
    s3s_object object;
    s3s_slice slice;
    s3s_result result = s3si_fetch_facts(r->fetch, &object, &slice, err);
    int direct = dst && r->fetch->plan.direct != NULL;
    *got = 0;
    if (result == S3S_OK && slice.end != UINT64_MAX && slice.exact) {
        uint64_t all = slice.end - slice.start;
        if (max_size && all > max_size)
            result = s3si_error_set(err, S3S_E_TOO_LARGE,
                                    "there are %llu bytes, more than max_size %llu",
                                    (unsigned long long)all, (unsigned long long)max_size);
        else if (grow && (all > SIZE_MAX / 2 || !s3si_buf_reserve(grow, (size_t)all)))
            result = s3si_error_set(err, S3S_E_MEMORY, "no memory for %llu bytes",
                                    (unsigned long long)all);
    }
    while (result == S3S_OK) {
        const uint8_t *p;
        size_t n;
        s3si_reader_settle(r);
        result = s3si_fetch_peek(r->fetch, &p, &n, err);
        if (result != S3S_OK) break;
        r->lent = n;
        if (max_size && *got + n > max_size)
            result = s3si_error_set(err, S3S_E_TOO_LARGE, "there are more than max_size %llu bytes",
                                    (unsigned long long)max_size);
        else if (!grow && n > cap - *got)
            result =
                s3si_error_set(err, S3S_E_TOO_LARGE, "there are more than the %llu bytes of room",
                               (unsigned long long)cap);
        else if (grow) s3si_buf_add(grow, s3si_str_make((const char *)p, n));
        else if (!direct) memcpy(dst + *got, p, n);
        if (grow && !s3si_buf_ok(grow))
            result = s3si_error_set(err, S3S_E_MEMORY, "no memory for the object");
        *got += n;
    }
    return result == S3S_END ? S3S_OK : result;
}

S3SDEF s3s_result s3s_get(s3s_client *client, const char *uri, const s3s_read_options *options,
                          s3s_buffer *buffer, s3s_error *err) {
    s3s_error own;
    s3s_reader *reader = NULL;
    s3si_buf all;
    size_t got;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    if (!buffer) return s3si_error_set(err, S3S_E_ARGUMENT, "the buffer's out parameter is NULL");
    memset(buffer, 0, sizeof *buffer);
    s3si_buf_init(&all, &client->engine.mem);
    r = s3si_public_reader(client, uri, options, NULL, 0, &reader, err);
    if (r == S3S_OK)
        r = s3si_public_drain(reader, &all, NULL, 0, &got, options ? options->max_size : 0, err);
    s3s_reader_close(reader);
    if (r == S3S_OK && !all.p && !s3si_buf_reserve(&all, 0))
        r = s3si_error_set(err, S3S_E_MEMORY, "no memory for the object");
    if (r != S3S_OK) {
        s3si_buf_deinit(&all);
        return s3si_public_leave(r, uri, err);
    }
    buffer->data = all.p;
    buffer->size = all.n;
    buffer->allocator = client->engine.mem;
    return S3S_OK;
}

S3SDEF s3s_result s3s_get_into(s3s_client *client, const char *uri, const s3s_read_options *options,
                               void *dst, size_t cap, size_t *got, s3s_error *err) {
    static uint8_t nowhere[1];
    s3s_error own;
    s3s_reader *reader = NULL;
    size_t n = 0;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    if (!dst && cap) return s3si_error_set(err, S3S_E_ARGUMENT, "dst is NULL");
    r = s3si_public_reader(client, uri, options, cap ? (uint8_t *)dst : NULL, cap, &reader, err);
    if (r == S3S_OK)
        r = s3si_public_drain(reader, NULL, cap ? (uint8_t *)dst : nowhere, cap, &n,
                              options ? options->max_size : 0, err);
    s3s_reader_close(reader);
    if (got) *got = r == S3S_OK ? n : 0;
    return s3si_public_leave(r, uri, err);
}

S3SDEF s3s_result s3s_reader_open(s3s_client *client, const char *uri,
                                  const s3s_read_options *options, s3s_reader **reader,
                                  s3s_error *err) {
    s3s_result r = s3si_public_enter(client, err);
    if (!reader) return s3si_error_set(err, S3S_E_ARGUMENT, "the reader's out parameter is NULL");
    *reader = NULL;
    if (r == S3S_OK) r = s3si_public_reader(client, uri, options, NULL, 0, reader, err);
    return s3si_public_leave(r, uri, err);
}

/* Every call on a reader begins here; the error is the reader's own from then on. */
static s3s_result s3si_public_reader_enter(s3s_reader *r, s3s_error *err) {
    s3si_error_clear(err);
    if (!r) return s3si_error_set(err, S3S_E_ARGUMENT, "the reader is NULL");
    return s3si_public_enter(r->client, err);
}

S3SDEF s3s_result s3s_reader_read(s3s_reader *reader, void *buf, size_t n, size_t *got,
                                  s3s_error *err) {
    const uint8_t *p = NULL;
    size_t have = 0;
    s3s_result r = s3si_public_reader_enter(reader, err);
    if (r != S3S_OK) return r;
    if (got) *got = 0;
    if (!got || !buf || !n)
        return s3si_error_set(err, S3S_E_ARGUMENT, "read needs a buffer of at least one byte");
    s3si_reader_settle(reader);
    r = s3si_reader_peek(reader, &p, &have, err);
    if (r != S3S_OK) return s3si_public_leave(r, reader->fetch->source.text, err);
    if (have > n) have = n;
    memcpy(buf, p, have);
    s3si_reader_pass(reader, p, have);
    reader->lent = have;
    s3si_reader_settle(reader);
    *got = have;
    return S3S_OK;
}

S3SDEF s3s_result s3s_reader_next(s3s_reader *reader, const void **data, size_t *n,
                                  s3s_error *err) {
    const uint8_t *p = NULL;
    s3s_result r = s3si_public_reader_enter(reader, err);
    if (r != S3S_OK) return r;
    if (!data || !n) return s3si_error_set(err, S3S_E_ARGUMENT, "next needs places for data and n");
    s3si_reader_settle(reader);
    r = s3si_reader_peek(reader, &p, n, err);
    if (r != S3S_OK) return s3si_public_leave(r, reader->fetch->source.text, err);
    s3si_reader_pass(reader, p, *n);
    reader->lent = *n;
    *data = p;
    return S3S_OK;
}

S3SDEF s3s_result s3s_reader_record(s3s_reader *reader, const void **data, size_t *n,
                                    s3s_error *err) {
    s3s_result r = s3si_public_reader_enter(reader, err);
    if (r == S3S_OK && (!data || !n))
        return s3si_error_set(err, S3S_E_ARGUMENT, "record needs places for data and n");
    if (r == S3S_OK) r = s3si_reader_record(reader, data, n, err);
    return r == S3S_OK || !reader ? r : s3si_public_leave(r, reader->fetch->source.text, err);
}

S3SDEF s3s_result s3s_reader_info(s3s_reader *reader, s3s_object *object, s3s_slice *slice,
                                  s3s_error *err) {
    s3s_result r = s3si_public_reader_enter(reader, err);
    if (r == S3S_OK) r = s3si_fetch_facts(reader->fetch, object, slice, err);
    return r == S3S_OK || !reader ? r : s3si_public_leave(r, reader->fetch->source.text, err);
}

S3SDEF uint64_t s3s_reader_position(s3s_reader *reader) {
    uint64_t at;
    s3si_mutex_lock(&reader->client->engine.lock);
    at = reader->fetch->cursor + reader->lent;
    s3si_mutex_unlock(&reader->client->engine.lock);
    return at;
}

S3SDEF void s3s_reader_stats(s3s_reader *reader, s3s_stats *stats) {
    s3si_mutex_lock(&reader->client->engine.lock);
    s3si_fetch_stats_locked(reader->fetch, stats);
    stats->bytes_delivered += reader->lent;
    stats->wasted_bytes -= reader->lent < stats->wasted_bytes ? reader->lent : stats->wasted_bytes;
    s3si_mutex_unlock(&reader->client->engine.lock);
}

S3SDEF void s3s_reader_cancel(s3s_reader *reader) { s3si_fetch_cancel(reader->fetch); }

S3SDEF void s3s_reader_close(s3s_reader *reader) {
    s3s_client *c;
    if (!reader) return;
    c = reader->client;
    if (c->engine.pid != s3si_sys_pid()) return;
    s3si_reader_settle(reader);
    s3si_fetch_close(reader->fetch);
    s3si_buf_deinit(&reader->joined);
    s3si_mem_free(&c->engine.mem, reader);
}

S3SDEF s3s_result s3s_plan_create(s3s_client *client, const char *uri,
                                  const s3s_plan_options *options, s3s_plan **plan,
                                  s3s_error *err) {
    s3s_read_options o = S3SI_ZERO;
    s3si_fetch_plan base;
    s3si_source source;
    s3s_object object;
    s3s_plan *p = NULL;
    uint64_t limit;
    uint32_t i;
    s3s_error own;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    if (!plan || !options || !options->shard_count)
        return s3si_error_set(err, S3S_E_ARGUMENT,
                              "a plan needs options with a shard_count of at least 1");
    *plan = NULL;
    o.offset = options->offset, o.length = options->length, o.size = options->size;
    o.records = options->records, o.strategy = options->strategy, o.window = options->window;
    o.expected_etag = options->expected_etag, o.version_id = options->version_id;
    r = s3si_public_plan(client, &o, &base, err);
    if (r != S3S_OK) return s3si_public_leave(r, uri, err);
    memset(&object, 0, sizeof object);
    object.size = options->size;
    memcpy(object.etag, base.etag, sizeof object.etag);
    r = s3si_source_open(&source, &client->service, uri, options->version_id, err);
    if (r == S3S_OK && !(options->size && base.etag[0])) {
        r = s3si_source_head(&source, &client->engine, &object, err);
        if (r == S3S_OK && ((base.etag[0] && strcmp(base.etag, object.etag) != 0) ||
                            (options->size && options->size != object.size)))
            r = s3si_error_set(err, S3S_E_CHANGED,
                               "the object is not the one expected: it has %llu bytes and ETag %s",
                               (unsigned long long)object.size, object.etag);
    }
    if (r == S3S_OK && options->offset > object.size)
        r = s3si_error_set(err, S3S_E_RANGE,
                           "the range begins at byte %llu but the object has %llu",
                           (unsigned long long)options->offset, (unsigned long long)object.size);
    if (r == S3S_OK && options->version_id)
        (void)s3si_str_copy(s3si_str_of(options->version_id), object.version_id,
                            sizeof object.version_id);
    s3si_source_close(&source);
    if (r == S3S_OK) {
        p = s3si_plan_new(&client->engine.mem, uri, options->records, options->shard_count);
        if (!p) r = s3si_error_set(err, S3S_E_MEMORY, "no memory for a plan of %lu slices",
                                   (unsigned long)options->shard_count);
    }
    if (r == S3S_OK) {
        p->object = object;
        limit = options->length && options->length < object.size - options->offset
                    ? options->length
                    : object.size - options->offset;
        for (i = 0; i < p->count; i++) {
            p->slices[i].start = options->offset + s3si_shard_start(limit, i, p->count);
            p->slices[i].end = options->offset + s3si_shard_start(limit, i + 1, p->count);
        }
        base.size = object.size;
        memcpy(base.etag, object.etag, sizeof base.etag);
        if (options->strategy == S3S_STRATEGY_SMART_PREALIGNED)
            r = s3si_plan_align(p, &client->engine, &client->service, options->version_id, &base,
                                err);
    }
    if (r == S3S_OK) *plan = p;
    else s3si_plan_destroy(p);
    return s3si_public_leave(r, uri, err);
}

S3SDEF uint32_t s3s_plan_count(const s3s_plan *plan) { return plan ? plan->count : 0; }

S3SDEF s3s_result s3s_plan_slice(const s3s_plan *plan, uint32_t index, s3s_slice *slice) {
    if (!plan || !slice || index >= plan->count) return S3S_E_ARGUMENT;
    *slice = plan->slices[index];
    return S3S_OK;
}

S3SDEF const char *s3s_plan_uri(const s3s_plan *plan) { return plan->uri; }
S3SDEF const s3s_object *s3s_plan_object(const s3s_plan *plan) { return &plan->object; }

S3SDEF s3s_result s3s_plan_parse(s3s_client *client, const char *json, size_t n, s3s_plan **plan,
                                 s3s_error *err) {
    s3s_result r = s3si_public_enter(client, err);
    if (r != S3S_OK) return r;
    if (!plan || !json)
        return s3si_error_set(err, S3S_E_ARGUMENT, "the plan's text or out parameter is NULL");
    *plan = NULL;
    return s3si_plan_parse(&client->engine.mem, s3si_str_make(json, n), plan, err);
}

S3SDEF s3s_result s3s_plan_format(const s3s_plan *plan, s3s_buffer *text, s3s_error *err) {
    s3si_buf out;
    s3si_error_clear(err);
    if (!plan || !text)
        return s3si_error_set(err, S3S_E_ARGUMENT, "the plan or the text's out parameter is NULL");
    memset(text, 0, sizeof *text);
    s3si_buf_init(&out, &plan->mem);
    s3si_plan_format(plan, &out);
    if (!s3si_buf_ok(&out)) {
        s3si_buf_deinit(&out);
        return s3si_error_set(err, S3S_E_MEMORY, "no memory for the plan's text");
    }
    text->data = out.p;
    text->size = out.n;
    text->allocator = plan->mem;
    return S3S_OK;
}

S3SDEF void s3s_plan_destroy(s3s_plan *plan) { s3si_plan_destroy(plan); }

#if S3SI_WRITE
static s3s_result s3si_public_put_file(s3s_client *c, const s3si_source *s, const void *data,
                                       size_t n, const s3s_write_options *o, s3s_error *err) {
    size_t cap = s->uri.path.n + 80;
    char *temp = (char *)s3si_mem_alloc(&c->engine.mem, cap);
    int e;
    if (!temp) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a file name");
    if (o->if_match || o->if_none_match) {
        s3si_mem_free(&c->engine.mem, temp);
        return s3si_error_set(err, S3S_E_UNSUPPORTED, "conditions are not supported for file://");
    }
    e = s3si_file_put(s3si_source_path(s), data, n, temp, cap);
    s3si_mem_free(&c->engine.mem, temp);
    if (err) err->os_error = e;
    return e ? s3si_error_set(err, S3S_E_FILE, "cannot write: %s", strerror(e)) : S3S_OK;
}

/* Header lines of a PUT into its request. */
static s3s_result s3si_public_put_headers(s3si_request *q, const s3s_write_options *o,
                                          s3s_error *err) {
    const char *const *line;
    s3si_str name, value;
    s3si_http_add_header(
        &q->headers, s3si_str_of("Content-Type"),
        s3si_str_of(o->content_type ? o->content_type : "application/octet-stream"));
    if (o->if_match) /* as given: Ceph's gateway takes an ETag only without its quotes here */
        s3si_http_add_header(&q->headers, s3si_str_of("If-Match"), s3si_str_of(o->if_match));
    if (o->if_none_match)
        s3si_http_add_header(&q->headers, s3si_str_of("If-None-Match"),
                             s3si_str_of(o->if_none_match));
    for (line = o->headers; line && *line; line++) {
        if (!s3si_http_split_header(s3si_str_of(*line), &name, &value))
            return s3si_error_set(err, S3S_E_ARGUMENT,
                                  "the header '%.80s' is not 'Name: value' on one line", *line);
        s3si_http_add_header(&q->headers, name, value);
    }
    return s3si_buf_ok(&q->headers)
               ? S3S_OK
           : q->headers.failed == S3SI_BUF_MEMORY
               ? s3si_error_set(err, S3S_E_MEMORY, "no memory for the headers")
               : s3si_error_set(err, S3S_E_ARGUMENT, "a header holds a line break or NUL");
}

/* Did a PUT whose answer was lost succeed after all? The ETag of a single PUT is the content's MD5.
 */
static int s3si_public_put_won(s3s_client *c, s3si_source *s, const void *data, size_t n,
                               s3s_object *object) {
    s3si_md5 md5;
    uint8_t digest[16];
    char etag[35];
    if (s3si_source_head(s, &c->engine, object, NULL) != S3S_OK) return 0;
    s3si_md5_init(&md5);
    s3si_md5_update(&md5, data, n);
    s3si_md5_final(&md5, digest);
    etag[0] = '"';
    s3si_hex_encode(digest, sizeof digest, etag + 1);
    etag[33] = '"';
    etag[34] = 0;
    return object->size == n && strcmp(etag, object->etag) == 0;
}

S3SDEF s3s_result s3s_put(s3s_client *client, const char *uri, const void *data, size_t n,
                          const s3s_write_options *options, s3s_object *object, s3s_error *err) {
    static const s3s_write_options defaults = S3SI_ZERO;
    s3s_object facts;
    s3si_source source;
    s3si_call c;
    s3s_error own;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    if (!options) options = &defaults;
    if (!data && n) return s3si_error_set(err, S3S_E_ARGUMENT, "data is NULL");
    if ((uint64_t)n > (uint64_t)5 << 30)
        return s3si_public_leave(s3si_error_set(err, S3S_E_TOO_LARGE,
                                                "%llu bytes; one PUT takes at most 5 GiB",
                                                (unsigned long long)n),
                                 uri, err);
    memset(&facts, 0, sizeof facts);
    s3si_call_init(&c, &client->engine);
    r = s3si_source_open(&source, &client->service, uri, NULL, err);
    if (r == S3S_OK && source.uri.scheme == S3SI_URI_FILE) {
        r = s3si_public_put_file(client, &source, data, n, options, err);
    } else if (r == S3S_OK) {
        int sign = options->sign_payload == S3S_SIGN_PAYLOAD_ALWAYS;
        int tls = client->service.endpoint ? client->service.parsed.tls : 1;
        r = s3si_source_aim(&source, &c.q, "PUT", err);
        if (r == S3S_OK) r = s3si_public_put_headers(&c.q, options, err);
        if (options->sign_payload == S3S_SIGN_PAYLOAD_AUTO) sign = !tls;
        if (r == S3S_OK && sign && !client->service.creds.anonymous)
            s3si_sha256_hex(data, n, c.q.payload_hash);
        else memcpy(c.q.payload_hash, S3SI_SIGV4_UNSIGNED, sizeof S3SI_SIGV4_UNSIGNED);
        c.q.body = s3si_str_make((const char *)data, n);
        c.sent = options->progress;
        c.sent_user = options->progress_user;
        if (r == S3S_OK) r = s3si_call_run(&c);
        if (r == S3S_OK) {
            s3si_head_object(&c.head, &facts);
        } else if (r == S3S_E_PRECONDITION && c.err.attempts > 1 &&
                   s3si_public_put_won(client, &source, data, n, &facts)) {
            r = S3S_OK;
        } else if (c.err.code != S3S_OK) {
            (void)s3si_error_give(err, &c.err);
        }
    }
    facts.size = n;
    if (r == S3S_OK && object) *object = facts;
    s3si_source_close(&source);
    s3si_call_deinit(&c);
    return s3si_public_leave(r, uri, err);
}

S3SDEF s3s_result s3s_delete(s3s_client *client, const char *uri, s3s_error *err) {
    s3si_source source;
    s3si_call c;
    s3s_error own;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    s3si_call_init(&c, &client->engine);
    r = s3si_source_open(&source, &client->service, uri, NULL, err);
    if (r == S3S_OK && source.uri.scheme == S3SI_URI_FILE) {
        int e = s3si_file_remove(s3si_source_path(&source));
        if (e)
            r = s3si_error_set(err, e == ENOENT ? S3S_E_NOT_FOUND : S3S_E_FILE, "%s", strerror(e));
    } else if (r == S3S_OK) {
        r = s3si_source_aim(&source, &c.q, "DELETE", err);
        if (r == S3S_OK) r = s3si_call_run(&c);
        if (r != S3S_OK && c.err.code != S3S_OK) (void)s3si_error_give(err, &c.err);
    }
    s3si_source_close(&source);
    s3si_call_deinit(&c);
    return s3si_public_leave(r, uri, err);
}
#else
S3SDEF s3s_result s3s_put(s3s_client *client, const char *uri, const void *data, size_t n,
                          const s3s_write_options *options, s3s_object *object, s3s_error *err) {
    (void)client, (void)uri, (void)data, (void)n, (void)options, (void)object;
    s3si_error_clear(err);
    return s3si_error_set(err, S3S_E_UNSUPPORTED, "built with S3STREAM_NO_WRITE");
}

S3SDEF s3s_result s3s_delete(s3s_client *client, const char *uri, s3s_error *err) {
    (void)client, (void)uri;
    s3si_error_clear(err);
    return s3si_error_set(err, S3S_E_UNSUPPORTED, "built with S3STREAM_NO_WRITE");
}
#endif

S3SDEF s3s_result s3s_list_open(s3s_client *client, const char *uri,
                                const s3s_list_options *options, s3s_list **list, s3s_error *err) {
    static const s3s_list_options defaults = S3SI_ZERO;
    const char *why = "";
    s3si_uri u;
    s3s_list *l;
    s3si_buf *all[9];
    size_t i;
    s3s_result r = s3si_public_enter(client, err);
    if (r != S3S_OK) return r;
    if (!list || !uri)
        return s3si_error_set(err, S3S_E_ARGUMENT, "the URI or the list's out parameter is NULL");
    *list = NULL;
    if (!options) options = &defaults;
    if (!s3si_uri_parse(s3si_str_of(uri), &u, &why) || u.scheme != S3SI_URI_S3)
        return s3si_public_leave(
            s3si_error_set(err, S3S_E_ARGUMENT, "cannot be listed; use s3://bucket/prefix"), uri,
            err);
    l = (s3s_list *)s3si_mem_zalloc(&client->engine.mem, sizeof *l);
    if (!l) return s3si_error_set(err, S3S_E_MEMORY, "no memory for a list");
    l->client = client;
    l->engine = &client->engine;
    l->service = &client->service;
    all[0] = &l->bucket, all[1] = &l->prefix, all[2] = &l->delimiter, all[3] = &l->start_after;
    all[4] = &l->token, all[5] = &l->page, all[6] = &l->key, all[7] = &l->etag,
    all[8] = &l->modified;
    for (i = 0; i < 9; i++) s3si_buf_init(all[i], &client->engine.mem);
    s3si_buf_add(&l->bucket, u.bucket);
    s3si_buf_add(&l->prefix, u.key);
    s3si_buf_addz(&l->delimiter, options->delimiter ? options->delimiter : "");
    s3si_buf_addz(&l->start_after, options->start_after ? options->start_after : "");
    l->page_size = options->page_size;
    l->buckets = u.bucket.n == 0;
    if (s3si_buf_ok(&l->bucket) && s3si_buf_ok(&l->prefix) && s3si_buf_ok(&l->delimiter) &&
        s3si_buf_ok(&l->start_after)) {
        *list = l;
        return S3S_OK;
    }
    s3si_list_close(l);
    return s3si_error_set(err, S3S_E_MEMORY, "no memory for a list");
}

S3SDEF s3s_result s3s_list_next(s3s_list *list, const s3s_entry **entry, s3s_error *err) {
    char uri[400];
    s3s_error own;
    s3s_result r;
    if (!list || !entry)
        return s3si_error_set(err, S3S_E_ARGUMENT, "the list or the entry's out parameter is NULL");
    r = s3si_public_enter(list->client, err ? err : &own);
    if (r == S3S_OK) r = s3si_list_next(list, entry, err ? err : &own);
    if (r == S3S_OK || r == S3S_END) return r;
    (void)snprintf(uri, sizeof uri, "s3://%s/%s", s3si_buf_z(&list->bucket),
                   s3si_buf_z(&list->prefix));
    return s3si_public_leave(r, uri, err);
}

S3SDEF void s3s_list_close(s3s_list *list) {
    if (list) s3si_list_close(list);
}

static s3s_result s3si_public_request(s3s_client *client, const s3s_http_request *q, s3si_call *c,
                                      s3s_error *err) {
    const char *why = "", *const *line;
    s3si_uri u;
    s3si_str name, value;
    s3s_result r;
    if (!q->url || !s3si_uri_parse(s3si_str_of(q->url), &u, &why) || u.scheme != S3SI_URI_HTTP)
        return s3si_error_set(err, S3S_E_ARGUMENT, "s3s_request needs an http(s):// URL %s", why);
    s3si_request_init(&c->q, &client->service, q->method ? q->method : "GET");
    if (!s3si_http_is_token(s3si_str_of(c->q.method)))
        return s3si_error_set(err, S3S_E_ARGUMENT, "the method is not an HTTP token");
    r = s3si_request_aim(&c->q, &u, err);
    c->q.signs = q->service;
    if (q->region && !s3si_str_copy(s3si_str_of(q->region), c->q.region, sizeof c->q.region))
        return s3si_error_set(err, S3S_E_ARGUMENT, "the region is too long");
    for (line = q->headers; line && *line; line++) {
        if (!s3si_http_split_header(s3si_str_of(*line), &name, &value))
            return s3si_error_set(err, S3S_E_ARGUMENT,
                                  "the header '%.80s' is not 'Name: value' on one line", *line);
        s3si_http_add_header(&c->q.headers, name, value);
    }
    c->q.body = s3si_str_make((const char *)q->body, q->body_size);
    if (q->service) s3si_sha256_hex(q->body, q->body_size, c->q.payload_hash);
    c->any_status = 1;
    c->one_attempt = q->no_retry;
    if (q->max_response) c->max = q->max_response;
    if (q->response_timeout_ms)
        c->response_us = q->response_timeout_ms < 0 ? -1 : q->response_timeout_ms * (int64_t)1000;
    return r == S3S_OK ? s3si_call_run(c) : r;
}

S3SDEF s3s_result s3s_request(s3s_client *client, const s3s_http_request *request,
                              s3s_http_response *response, s3s_error *err) {
    s3si_call c;
    s3s_error own;
    s3s_result r = s3si_public_enter(client, err ? err : &own);
    if (!err) err = &own;
    if (r != S3S_OK) return r;
    if (!request || !response)
        return s3si_error_set(err, S3S_E_ARGUMENT, "the request or response is NULL");
    memset(response, 0, sizeof *response);
    s3si_call_init(&c, &client->engine);
    r = s3si_public_request(client, request, &c, err);
    if (r == S3S_OK && (!s3si_buf_reserve(&c.body, 0) || !s3si_buf_reserve(&c.head_text, 0)))
        r = s3si_error_set(err, S3S_E_MEMORY, "no memory for the response");
    if (r == S3S_OK) {
        memmove(c.head_text.p, c.head.lines.p, c.head.lines.n);
        c.head_text.p[c.head.lines.n] = 0;
        c.body.p[c.body.n] = 0;
        response->status = c.head.status;
        response->head.data = c.head_text.p;
        response->head.size = c.head.lines.n;
        response->body.data = c.body.p;
        response->body.size = c.body.n;
        response->head.allocator = response->body.allocator = client->engine.mem;
        s3si_buf_init(&c.head_text, &client->engine.mem);
        s3si_buf_init(&c.body, &client->engine.mem);
    } else if (c.err.code != S3S_OK) {
        (void)s3si_error_give(err, &c.err);
    }
    s3si_call_deinit(&c);
    return s3si_public_leave(r, request->url, err);
}

S3SDEF int s3s_http_response_header(const s3s_http_response *response, const char *name, char *out,
                                    size_t cap) {
    s3si_head h;
    s3si_str v;
    memset(&h, 0, sizeof h);
    if (cap) out[0] = 0;
    h.lines = s3si_str_make((const char *)response->head.data, response->head.size);
    return cap && s3si_head_find(&h, name, &v) && s3si_str_copy(v, out, cap);
}

S3SDEF void s3s_http_response_free(s3s_http_response *response) {
    if (!response) return;
    s3s_buffer_free(&response->head);
    s3s_buffer_free(&response->body);
}

#endif /* S3STREAM_IMPLEMENTED */
#endif /* S3STREAM_IMPLEMENTATION */

/*
------------------------------------------------------------------------------
This software is available under two licences; choose whichever you prefer.
------------------------------------------------------------------------------
ALTERNATIVE A - MIT License

Copyright (c) 2026 the s3stream authors

Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the "Software"), to deal in
the Software without restriction, including without limitation the rights to
use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
------------------------------------------------------------------------------
ALTERNATIVE B - Public Domain (www.unlicense.org)

This is free and unencumbered software released into the public domain.

Anyone is free to copy, modify, publish, use, compile, sell, or distribute this
software, either in source code form or as a compiled binary, for any purpose,
commercial or non-commercial, and by any means.

In jurisdictions that recognize copyright laws, the author or authors of this
software dedicate any and all copyright interest in the software to the public
domain. We make this dedication for the benefit of the public at large and to
the detriment of our heirs and successors. We intend this dedication to be an
overt act of relinquishment in perpetuity of all present and future rights to
this software under copyright law.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
------------------------------------------------------------------------------
*/
