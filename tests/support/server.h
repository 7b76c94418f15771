/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Two servers for tests, on loopback: a scripted one in threads of the test's own process, and
 * s3serve as a child. Include this after s3stream.h and unit.h.
 *
 * The scripted one has a table of rules. The first rule whose `match` is a part of the request's
 * head and that still may answer does so; without one the connection is closed. An answer is bytes,
 * with words in {} between them:
 *
 *     {range}      206 of the range asked for (all without one), honouring If-Match; to HEAD its
 *                  head
 *     {range N}    the same, but only the first N bytes of the body
 *     {rest}       the body's rest
 *     {pause MS}   {close}   {reset}   {stall}: nothing more, until the client goes
 *     {early}      as the first word: the request's body is not read
 *     {fill N}     N bytes 'x' */
#ifndef S3STREAM_TESTS_SERVER_H
#define S3STREAM_TESTS_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SERVER_CONNECTIONS = 8192, SERVER_REQUESTS = 8192, SERVER_HEAD = 16384 };

typedef struct server_rule {
    const char *match;  /* NULL: any request */
    int times;          /* how many requests it answers; 0: all */
    int nth;            /* only the nth request of a connection; 0: any */
    const char *answer;
} server_rule;

struct server;
typedef struct server_conn {
    struct server *server;
    pthread_t thread;
    int fd, gone; /* under the lock; gone: fd is closed */
} server_conn;

typedef struct server {
    const server_rule *rules;
    const char *object;
    size_t size;
    const char *etag;
    int port, listener;
    pthread_t thread;
    pthread_mutex_t lock;
    int stopping; /* this and all below: under the lock */
    int used[64]; /* how often each rule has answered */
    server_conn conns[SERVER_CONNECTIONS];
    int conn_count;
    char *heads[SERVER_REQUESTS];
    int request_count;
} server;

static void server_sleep_ms(long ms) {
    struct timespec t;
    t.tv_sec = ms / 1000;
    t.tv_nsec = ms % 1000 * 1000000;
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

static long server_now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int server_stopping(server *s) {
    int stopping;
    pthread_mutex_lock(&s->lock);
    stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static int server_send(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
        if (put <= 0) return 0;
        p += put, n -= (size_t)put;
    }
    return 1;
}

/* What one request's answer needs to know. */
typedef struct server_answer {
    server *s;
    int fd;
    const char *head; /* the request's, NUL-ended */
    size_t rest_at, rest_n;
} server_answer;

/* A header's value: from the request's head into out; 0 when there is none. */
static int server_header(const char *head, const char *name, char *out, size_t cap) {
    const char *at = strcasestr(head, name), *end;
    size_t n;
    if (!at) return 0;
    at += strlen(name);
    end = strchr(at, '\r');
    n = end ? (size_t)(end - at) : strlen(at);
    if (n >= cap) n = cap - 1;
    memcpy(out, at, n);
    out[n] = 0;
    return 1;
}

static int server_range(server_answer *a, size_t most) {
    server *s = a->s;
    char text[512], value[256];
    unsigned long long from = 0, to = s->size;
    int partial = 0, is_head = strncmp(a->head, "HEAD", 4) == 0;
    if (server_header(a->head, "\r\nif-match: ", value, sizeof value) && s->etag &&
        strcmp(value, s->etag) != 0) {
        static const char changed[] = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
        return server_send(a->fd, changed, sizeof changed - 1);
    }
    if (server_header(a->head, "\r\nrange: bytes=", value, sizeof value)) {
        partial = 1;
        if (sscanf(value, "%llu-%llu", &from, &to) == 2) to++;
        if (to > s->size) to = s->size;
        if (from >= s->size) {
            (void)snprintf(text, sizeof text,
                           "HTTP/1.1 416 Range\r\nContent-Range: bytes */%lu\r\n"
                           "Content-Length: 0\r\n\r\n",
                           (unsigned long)s->size);
            return server_send(a->fd, text, strlen(text));
        }
    }
    (void)snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %llu\r\n%s%s%s",
                   partial ? "206 Partial" : "200 OK", to - from, s->etag ? "ETag: " : "",
                   s->etag ? s->etag : "", s->etag ? "\r\n" : "");
    if (partial)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text),
                       "Content-Range: bytes %llu-%llu/%lu\r\n", from, to - 1,
                       (unsigned long)s->size);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "\r\n");
    if (!server_send(a->fd, text, strlen(text))) return 0;
    if (is_head) return 1;
    a->rest_at = (size_t)from, a->rest_n = (size_t)(to - from);
    if (most > a->rest_n) most = a->rest_n;
    a->rest_at += most, a->rest_n -= most;
    return server_send(a->fd, s->object + from, most);
}

/* Until the client goes, or the test ends. */
static void server_stall(server_answer *a) {
    while (!server_stopping(a->s)) {
        struct pollfd p;
        char bytes[4096];
        p.fd = a->fd, p.events = POLLIN, p.revents = 0;
        if (poll(&p, 1, 20) > 0 && recv(a->fd, bytes, sizeof bytes, 0) <= 0) return;
    }
}

/* 0: the connection is to be closed. */
static int server_word(server_answer *a, const char *word) {
    static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    long number = 0;
    char *space = strchr(word, ' ');
    if (space) number = strtol(space, NULL, 10);
    if (strncmp(word, "range", 5) == 0) return server_range(a, space ? (size_t)number : SIZE_MAX);
    if (strcmp(word, "rest") == 0)
        return server_send(a->fd, a->s->object + a->rest_at, a->rest_n);
    if (strcmp(word, "early") == 0) return 1;
    if (strncmp(word, "pause", 5) == 0) {
        for (; number > 0 && !server_stopping(a->s); number -= 20)
            server_sleep_ms(number < 20 ? number : 20);
        return 1;
    }
    if (strncmp(word, "fill", 4) == 0) {
        for (; number > 0; number -= 64)
            if (!server_send(a->fd, xs, number < 64 ? (size_t)number : 64)) return 0;
        return 1;
    }
    if (strcmp(word, "stall") == 0) server_stall(a);
    if (strcmp(word, "reset") == 0) {
        struct linger l;
        l.l_onoff = 1, l.l_linger = 0;
        (void)setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    }
    return 0; /* also {close} */
}

static int server_play(server_answer *a, const char *script) {
    while (*script) {
        char word[32];
        const char *open = strchr(script, '{'), *end;
        size_t n = open ? (size_t)(open - script) : strlen(script);
        if (n && !server_send(a->fd, script, n)) return 0;
        script += n;
        if (!open) continue;
        end = strchr(open, '}');
        n = (size_t)(end - open - 1);
        memcpy(word, open + 1, n);
        word[n] = 0;
        if (!server_word(a, word)) return 0;
        script = end + 1;
    }
    return 1;
}

static const char *server_choose(server *s, const char *head, int nth) {
    const server_rule *r;
    const char *answer = "{close}";
    pthread_mutex_lock(&s->lock);
    if (s->request_count < SERVER_REQUESTS) s->heads[s->request_count++] = strdup(head);
    for (r = s->rules; r->answer; r++) {
        int *used = &s->used[r - s->rules];
        if ((r->match && !strstr(head, r->match)) || (r->times && *used >= r->times) ||
            (r->nth && r->nth != nth))
            continue;
        ++*used;
        answer = r->answer;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return answer;
}

/* Reads heads and bodies and answers, until something ends it. */
static void server_converse(server_conn *c, int fd) {
    char *head = (char *)malloc(SERVER_HEAD + 1), *end, value[32];
    size_t n = 0;
    int nth = 0, go_on = head != NULL;
    while (go_on) {
        server_answer a;
        const char *script;
        size_t length = 0, whole;
        ssize_t got;
        head[n] = 0;
        while (!(end = strstr(head, "\r\n\r\n"))) {
            got = n < SERVER_HEAD ? recv(fd, head + n, SERVER_HEAD - n, 0) : 0;
            if (got <= 0) goto done;
            n += (size_t)got;
            head[n] = 0;
        }
        whole = (size_t)(end - head) + 4;
        end[2] = 0; /* the text of a body is not the head's */
        if (server_header(head, "\r\ncontent-length: ", value, sizeof value))
            length = strtoul(value, NULL, 10);
        script = server_choose(c->server, head, ++nth);
        if (strncmp(script, "{early}", 7) == 0) length = 0;
        while (length > n - whole) { /* the body is not looked at */
            char bytes[65536];
            length -= n - whole;
            n = whole;
            got = recv(fd, bytes, length < sizeof bytes ? length : sizeof bytes, 0);
            if (got <= 0) goto done;
            length -= (size_t)got;
        }
        memset(&a, 0, sizeof a);
        a.s = c->server, a.fd = fd, a.head = head;
        go_on = server_play(&a, script);
        whole += length;
        memmove(head, head + whole, n - whole);
        n -= whole;
    }
done:
    free(head);
}

static void *server_conn_main(void *arg) {
    server_conn *c = (server_conn *)arg;
    int fd;
    pthread_mutex_lock(&c->server->lock);
    fd = c->fd;
    pthread_mutex_unlock(&c->server->lock);
    server_converse(c, fd);
    pthread_mutex_lock(&c->server->lock);
    c->gone = 1;
    close(fd);
    pthread_mutex_unlock(&c->server->lock);
    return NULL;
}

static void *server_main(void *arg) {
    server *s = (server *)arg;
    for (;;) {
        server_conn *c;
        int one = 1, fd = accept(s->listener, NULL, NULL);
        if (server_stopping(s) || fd < 0) {
            if (fd >= 0) close(fd);
            return NULL;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_mutex_lock(&s->lock);
        if (s->conn_count == SERVER_CONNECTIONS) abort();
        c = &s->conns[s->conn_count];
        c->server = s;
        c->fd = fd;
        if (pthread_create(&c->thread, NULL, server_conn_main, c) != 0) abort();
        s->conn_count++;
        pthread_mutex_unlock(&s->lock);
    }
}

/* Starts a server with these rules, the last of which has no answer. */
static server *server_start(const server_rule *rules, const char *object, size_t size) {
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    server *s = (server *)calloc(1, sizeof *s);
    if (!s) abort();
    s->rules = rules;
    s->object = object, s->size = size;
    s->etag = "\"v1\"";
    (void)pthread_mutex_init(&s->lock, NULL);
    memset(&addr, 0, sizeof addr);
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(s->listener, 128) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&addr, &len) != 0)
        abort();
    s->port = ntohs(addr.sin_port);
    if (pthread_create(&s->thread, NULL, server_main, s) != 0) abort();
    return s;
}

static void server_stop(server *s) {
    int i;
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    for (i = 0; i < s->conn_count; i++)
        if (!s->conns[i].gone) (void)shutdown(s->conns[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    (void)shutdown(s->listener, SHUT_RDWR); /* accept() returns */
    pthread_join(s->thread, NULL);
    for (i = 0; i < s->conn_count; i++) pthread_join(s->conns[i].thread, NULL);
    for (i = 0; i < s->request_count; i++) free(s->heads[i]);
    close(s->listener);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* How many requests had `part` in their heads; NULL: all. */
static int server_count(server *s, const char *part) {
    int i, n = 0;
    pthread_mutex_lock(&s->lock);
    for (i = 0; i < s->request_count; i++) n += !part || strstr(s->heads[i], part) != NULL;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* A request's head, from 0; "" where there was none. Lives as long as the server. */
static const char *server_head(server *s, int i) {
    const char *head = "";
    pthread_mutex_lock(&s->lock);
    if (i < s->request_count) head = s->heads[i];
    pthread_mutex_unlock(&s->lock);
    return head;
}

/* "http://127.0.0.1:PORT" + path, in one of eight buffers that are used in turn. */
static const char *server_url(const server *s, const char *path) {
    static char texts[8][256];
    static unsigned turn;
    char *text = texts[turn++ % 8];
    (void)snprintf(text, sizeof texts[0], "http://127.0.0.1:%d%s", s->port, path);
    return text;
}

/* ---- s3serve as a child --------------------------------------------------------------------- */
typedef struct serve {
    pid_t pid;
    char dir[PATH_MAX], url[64];
} serve;

/* S3SERVE, or build/s3serve beside the test's own program (build/unit/NAME). */
static void serve_program(char path[PATH_MAX]) {
    const char *given = getenv("S3SERVE");
    char *slash;
    ssize_t n;
    int up;
    if (given && access(given, X_OK) == 0 && strlen(given) < PATH_MAX) {
        (void)snprintf(path, PATH_MAX, "%s", given);
        return;
    }
    n = readlink("/proc/self/exe", path, PATH_MAX - 16);
    path[n > 0 ? n : 0] = 0;
    for (up = 0; up < 2; up++)
        if ((slash = strrchr(path, '/')) != NULL) *slash = 0;
    (void)snprintf(path + strlen(path), 16, "/s3serve");
}

static void serve_remove(const char *dir) {
    char command[PATH_MAX + 16];
    int ignored;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ignored = system(command);
    (void)ignored;
}

static void serve_temp(char dir[PATH_MAX]) {
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, PATH_MAX, "%s/s3s-unit.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) abort();
}

static void serve_store(const char *dir, const char *name, const void *data, size_t n) {
    char path[PATH_MAX + 256];
    FILE *f;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) abort();
}

/* Starts s3serve over a fresh directory with one bucket, "bucket". The test fails when it is not
 * there. */
static void serve_start(serve *s, const char *option) {
    char program[PATH_MAX], line[128] = "", bucket[PATH_MAX + 16];
    int out[2];
    size_t n = 0;
    serve_program(program);
    if (access(program, X_OK) != 0) fail_msg("%s is missing: make build/s3serve", program);
    serve_temp(s->dir);
    (void)snprintf(bucket, sizeof bucket, "%s/bucket", s->dir);
    if (mkdir(bucket, 0700) != 0 || pipe(out) != 0) abort();
    s->pid = fork();
    if (s->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], 1);
        (void)close(out[0]);
        (void)close(out[1]);
        (void)close(2);
        execl(program, program, s->dir, "--access-key", "AKID", "--secret-key", "SECRET",
              option ? option : "--etag", option ? (char *)NULL : "content", (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    while (n + 1 < sizeof line && read(out[0], line + n, 1) == 1 && line[n] != '\n') n++;
    line[n] = 0;
    (void)close(out[0]);
    if (sscanf(line, "listening on %63s", s->url) != 1)
        fail_msg("%s does not start: %s", program, line);
}

static void serve_stop(serve *s) {
    (void)kill(s->pid, SIGTERM);
    (void)waitpid(s->pid, NULL, 0);
    serve_remove(s->dir);
}

/* ---- A client for either --------------------------------------------------------------------- */
static void client_config(s3s_config *config, const char *endpoint) {
    memset(config, 0, sizeof *config);
    config->endpoint = endpoint;
    config->access_key = "AKID";
    config->secret_key = "SECRET";
    config->no_environment = 1;
}

static s3s_client *client_of(const s3s_config *config) {
    s3s_client *client = NULL;
    s3s_error err;
    if (s3s_client_create(config, &client, &err) != S3S_OK) fail_msg("%s", err.message);
    return client;
}

static s3s_client *client_new(const char *endpoint) {
    s3s_config config;
    client_config(&config, endpoint);
    return client_of(&config);
}

/* assert_result(call, S3S_OK, &err): the message is shown when it is another result. */
static void unit_result(s3s_result got, s3s_result want, const s3s_error *err, const char *file,
                        int line) {
    if (got == want) return;
    print_error("got %s, want %s: %s\n", s3s_result_name(got), s3s_result_name(want),
                got == S3S_OK || got == S3S_END ? "" : err->message);
    _fail(file, line);
}

#define assert_result(got, want, err) unit_result((got), (want), (err), __FILE__, __LINE__)

#endif
