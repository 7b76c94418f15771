/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * raw - what plain sockets cost: the limit that the other rows of the benchmark are compared with.
 *
 *     raw get  HOST PORT PATH SIZE CONNECTIONS PART [--pwrite FILE | --to-stdout] [--buffer BYTES]
 *     raw seq  HOST PORT PATH SIZE PART [--buffer BYTES]
 *     raw many HOST PORT PATH COUNT CONNECTIONS [--objects N] [--bytes N]
 *
 * get:  one thread and one keep-alive connection per CONNECTIONS; the threads take ranges of PART bytes
 *       from a shared counter and receive them into one buffer, which is discarded or, with --pwrite,
 *       written to its place in FILE. --to-stdout needs CONNECTIONS = 1, since only then the ranges
 *       come in order.
 * seq:  get with one connection and --to-stdout: the limit for a program that writes into a pipe.
 * many: COUNT requests for whole objects PATH/00000, PATH/00001, ... (N of them, again and again), each
 *       of --bytes bytes; prints the requests per second.
 *
 * It does no more than the bytes need: no signature, no retry, no header but the length is looked at.
 * What it does check is that the bytes are all there, for a limit that skipped some would be no limit.
 * Anything short or unexpected ends it with 1, wrong usage with 2.
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, THREADS_MAX = 1024 };

enum sink { SINK_DISCARD, SINK_STDOUT, SINK_FILE };

struct job {
    const char *host, *port, *path;
    struct addrinfo *address;
    uint64_t size, part;   /* get, seq */
    uint64_t count;        /* many: requests in all */
    uint64_t objects;      /* many: how many different names */
    uint64_t object_bytes; /* many: the length that every object has */
    uint64_t connections;
    size_t buffer_bytes;
    enum sink sink;
    int file;

    struct {
        pthread_mutex_t lock;
        uint64_t next_offset; /* get: where the next range begins */
        uint64_t received;    /* body bytes of all threads that have ended */
    } shared;
};

struct conn {
    struct job *job;
    int socket;
    char *buffer;
    uint64_t index;
};

/* Every failure ends the whole program: a benchmark with a broken part has no result. */
static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("raw: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void usage(void)
{
    fputs("usage: raw get  HOST PORT PATH SIZE CONNECTIONS PART"
          " [--pwrite FILE | --to-stdout] [--buffer BYTES]\n"
          "       raw seq  HOST PORT PATH SIZE PART [--buffer BYTES]\n"
          "       raw many HOST PORT PATH COUNT CONNECTIONS [--objects N] [--bytes N]\n",
          stderr);
    exit(2);
}

static uint64_t number_parse(const char *text)
{
    char *end;
    unsigned long long value;
    if (*text < '0' || *text > '9') usage();
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value > (uint64_t)INT64_MAX) usage();
    return (uint64_t)value;
}

/* ---- one connection ------------------------------------------------------------------------- */

static void conn_open(struct conn *c)
{
    const struct addrinfo *a;
    int one = 1;
    c->socket = -1;
    for (a = c->job->address; a && c->socket < 0; a = a->ai_next) {
        c->socket = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (c->socket < 0) continue;
        if (connect(c->socket, a->ai_addr, a->ai_addrlen) == 0) break;
        close(c->socket);
        c->socket = -1;
    }
    if (c->socket < 0) die("connect to %s:%s: %s", c->job->host, c->job->port, strerror(errno));
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->buffer = malloc(c->job->buffer_bytes);
    if (!c->buffer) die("no memory for a buffer of %zu bytes", c->job->buffer_bytes);
}

static void conn_close(struct conn *c)
{
    close(c->socket);
    free(c->buffer);
}

static void conn_send(struct conn *c, const char *data, size_t n)
{
    while (n) {
        ssize_t sent = send(c->socket, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) die("send: %s", strerror(errno));
        data += sent;
        n -= (size_t)sent;
    }
}

static size_t conn_receive(struct conn *c, char *to, size_t n)
{
    for (;;) {
        ssize_t got = recv(c->socket, to, n, 0);
        if (got > 0) return (size_t)got;
        if (got == 0) die("the server closed the connection early");
        if (errno != EINTR) die("recv: %s", strerror(errno));
    }
}

/* Finds the blank line; returns the head's length with it, or 0 when it is not there yet. */
static size_t head_end(const char *data, size_t n)
{
    size_t i;
    for (i = 3; i < n; i++)
        if (data[i] == '\n' && data[i - 1] == '\r' && data[i - 2] == '\n' && data[i - 3] == '\r')
            return i + 1;
    return 0;
}

/* Holds the head against what was asked: the status and the exact length of the body. */
static void head_check(const char *head, size_t n, int want_status, uint64_t want_bytes)
{
    static const char name[] = "content-length:";
    const char *end = head + n, *line = head;
    char status[4] = {0};
    if (n < 12 || memcmp(head, "HTTP/1.1 ", 9) != 0) die("not an HTTP/1.1 response");
    memcpy(status, head + 9, 3);
    if (atoi(status) != want_status) die("status %s instead of %d", status, want_status);
    while (line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (!next) break;
        if ((size_t)(next - line) >= sizeof name && strncasecmp(line, name, sizeof name - 1) == 0) {
            /* The number ends at the line's CR, so strtoull stops inside the buffer. */
            uint64_t bytes = strtoull(line + sizeof name - 1, NULL, 10);
            if (bytes != want_bytes)
                die("%" PRIu64 " bytes announced instead of %" PRIu64, bytes, want_bytes);
            return;
        }
        line = next + 1;
    }
    die("a response without Content-Length");
}

/* Receives a head and whatever comes with it into the buffer. Returns where the body begins, and in
   *filled how far the buffer is full. The body's first bytes stay where they are: no copy. */
static size_t head_receive(struct conn *c, int want_status, uint64_t want_bytes, size_t *filled)
{
    size_t n = 0, body = 0;
    while (!body) {
        if (n >= HEAD_MAX) die("a response head of more than %d bytes", HEAD_MAX);
        n += conn_receive(c, c->buffer + n, c->job->buffer_bytes - n);
        body = head_end(c->buffer, n < HEAD_MAX ? n : HEAD_MAX);
    }
    head_check(c->buffer, body, want_status, want_bytes);
    if (n - body > want_bytes) die("more bytes than the response announced");
    *filled = n;
    return body;
}

/* ---- get and seq ---------------------------------------------------------------------------- */

static void sink_write(const struct job *job, const char *data, size_t n, uint64_t offset)
{
    if (job->sink == SINK_DISCARD) return;
    while (n) {
        ssize_t wrote = job->sink == SINK_FILE ? pwrite(job->file, data, n, (off_t)offset)
                                               : write(STDOUT_FILENO, data, n);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) die("write: %s", strerror(errno));
        data += wrote;
        n -= (size_t)wrote;
        offset += (uint64_t)wrote;
    }
}

static void range_get(struct conn *c, uint64_t offset, uint64_t length)
{
    const struct job *job = c->job;
    char request[2048];
    size_t body, filled;
    uint64_t end = offset + length;
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: %s:%s\r\nRange: bytes=%" PRIu64 "-%" PRIu64
                     "\r\n\r\n", job->path, job->host, job->port, offset, end - 1);
    if (n < 0 || (size_t)n >= sizeof request) die("the path is too long");
    conn_send(c, request, (size_t)n);

    body = head_receive(c, 206, length, &filled);
    sink_write(job, c->buffer + body, filled - body, offset);
    offset += filled - body;
    while (offset < end) {
        uint64_t left = end - offset;
        size_t room = left < job->buffer_bytes ? (size_t)left : job->buffer_bytes;
        size_t got = conn_receive(c, c->buffer, room);
        sink_write(job, c->buffer, got, offset);
        offset += got;
    }
}

static void *get_thread(void *argument)
{
    struct conn *c = argument;
    struct job *job = c->job;
    uint64_t received = 0;
    conn_open(c);
    for (;;) {
        uint64_t offset, length;
        pthread_mutex_lock(&job->shared.lock);
        offset = job->shared.next_offset;
        length = job->size - offset < job->part ? job->size - offset : job->part;
        job->shared.next_offset += length;
        pthread_mutex_unlock(&job->shared.lock);
        if (!length) break;
        range_get(c, offset, length);
        received += length;
    }
    conn_close(c);
    pthread_mutex_lock(&job->shared.lock);
    job->shared.received += received;
    pthread_mutex_unlock(&job->shared.lock);
    return NULL;
}

/* ---- many ----------------------------------------------------------------------------------- */

/* Thread i takes requests i, i + connections, ...: nothing is shared, so no lock is measured. */
static void *many_thread(void *argument)
{
    struct conn *c = argument;
    struct job *job = c->job;
    uint64_t i, received = 0;
    conn_open(c);
    for (i = c->index; i < job->count; i += job->connections) {
        char request[2048];
        size_t body, filled;
        int n = snprintf(request, sizeof request,
                         "GET %s/%05" PRIu64 " HTTP/1.1\r\nHost: %s:%s\r\n\r\n", job->path,
                         i % job->objects, job->host, job->port);
        if (n < 0 || (size_t)n >= sizeof request) die("the path is too long");
        conn_send(c, request, (size_t)n);
        body = head_receive(c, 200, job->object_bytes, &filled);
        while (filled - body < job->object_bytes)
            filled += conn_receive(c, c->buffer + filled, job->object_bytes - (filled - body));
        received += filled - body;
    }
    conn_close(c);
    pthread_mutex_lock(&job->shared.lock);
    job->shared.received += received;
    pthread_mutex_unlock(&job->shared.lock);
    return NULL;
}

/* ---- the program ---------------------------------------------------------------------------- */

/* The main thread drives the first connection itself: with one connection there is no second
   thread, as there would be none in a program written for one connection. */
static void threads_run(struct job *job, void *(*body)(void *))
{
    static struct conn conns[THREADS_MAX];
    static pthread_t threads[THREADS_MAX];
    uint64_t i;
    for (i = 0; i < job->connections; i++) {
        conns[i].job = job;
        conns[i].index = i;
        if (i && pthread_create(&threads[i], NULL, body, &conns[i]) != 0)
            die("thread %" PRIu64 " could not be started", i);
    }
    body(&conns[0]);
    for (i = 1; i < job->connections; i++) pthread_join(threads[i], NULL);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void options_parse(struct job *job, int argc, char **argv)
{
    int i;
    for (i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--to-stdout") == 0) {
            job->sink = SINK_STDOUT;
            continue;
        }
        if (!value) usage();
        if (strcmp(argv[i], "--buffer") == 0) {
            job->buffer_bytes = (size_t)number_parse(value);
        } else if (strcmp(argv[i], "--objects") == 0) {
            job->objects = number_parse(value);
        } else if (strcmp(argv[i], "--bytes") == 0) {
            job->object_bytes = number_parse(value);
        } else if (strcmp(argv[i], "--pwrite") == 0) {
            job->sink = SINK_FILE;
            job->file = open(value, O_WRONLY | O_CREAT | O_TRUNC, 0644);
            if (job->file < 0) die("%s: %s", value, strerror(errno));
        } else {
            usage();
        }
        i++;
    }
    if (job->connections < 1 || job->connections > THREADS_MAX) usage();
    if (job->sink == SINK_STDOUT && job->connections != 1) usage();
    if (job->buffer_bytes < HEAD_MAX || job->objects < 1) usage();
    if (job->count && job->object_bytes > job->buffer_bytes - HEAD_MAX) usage();
}

static int get_main(struct job *job)
{
    struct stat info;
    if (job->part < 1) usage();
    threads_run(job, get_thread);
    if (job->shared.received != job->size)
        die("%" PRIu64 " bytes of %" PRIu64, job->shared.received, job->size);
    if (job->sink != SINK_FILE) return 0;
    if (fstat(job->file, &info) != 0 || (uint64_t)info.st_size != job->size)
        die("the file has another size than the object");
    if (close(job->file) != 0) die("close: %s", strerror(errno));
    return 0;
}

static int many_main(struct job *job)
{
    double begin = seconds_now(), seconds;
    threads_run(job, many_thread);
    seconds = seconds_now() - begin;
    if (job->shared.received != job->count * job->object_bytes)
        die("%" PRIu64 " bytes of %" PRIu64, job->shared.received,
            job->count * job->object_bytes);
    printf("%" PRIu64 " requests, %.3f s, %.0f requests/s\n", job->count, seconds,
           (double)job->count / seconds);
    return 0;
}

int main(int argc, char **argv)
{
    struct job job;
    struct addrinfo hints;
    int wrong, fixed;
    memset(&job, 0, sizeof job);
    memset(&hints, 0, sizeof hints);
    if (argc < 6) usage();
    job.host = argv[2];
    job.port = argv[3];
    job.path = argv[4];
    job.buffer_bytes = (size_t)1 << 20; /* measured: the least CPU per byte */
    job.objects = 1000;
    job.object_bytes = 1024;
    pthread_mutex_init(&job.shared.lock, NULL);

    if (strcmp(argv[1], "get") == 0 && argc >= 8) {
        job.size = number_parse(argv[5]);
        job.connections = number_parse(argv[6]);
        job.part = number_parse(argv[7]);
        fixed = 8;
    } else if (strcmp(argv[1], "seq") == 0 && argc >= 7) {
        job.size = number_parse(argv[5]);
        job.connections = 1;
        job.part = number_parse(argv[6]);
        job.sink = SINK_STDOUT;
        fixed = 7;
    } else if (strcmp(argv[1], "many") == 0 && argc >= 7) {
        job.count = number_parse(argv[5]);
        job.connections = number_parse(argv[6]);
        job.buffer_bytes = 65536;
        fixed = 7;
    } else {
        usage();
        return 2;
    }
    options_parse(&job, argc - fixed, argv + fixed);

    hints.ai_socktype = SOCK_STREAM;
    wrong = getaddrinfo(job.host, job.port, &hints, &job.address);
    if (wrong) die("%s:%s: %s", job.host, job.port, gai_strerror(wrong));
    wrong = argv[1][0] == 'm' ? many_main(&job) : get_main(&job);
    freeaddrinfo(job.address);
    return wrong;
}
