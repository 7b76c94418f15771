/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * s3stream - the command line of s3stream.h: reads, splits and writes big S3 objects.
 *
 *     cc -O2 -o s3stream tools/s3stream.c -pthread
 *     s3stream help
 *
 * It uses the header's public interface only, so it is also the longest example of it. From top to
 * bottom ('>>' leads to a section):
 *
 *     >>text      numbers, sizes, JSON strings
 *     >>board     the live view on the terminal, and every line that goes to stderr
 *     >>watch     signals: cancel what runs, remove temporary files, end
 *     >>options   one table: help, parsing, environment and -v come from it
 *     >>output    standard output, files, what is counted and reported
 *     >>reading   cat, get, plan
 *     >>store     put, ls, stat, rm
 *     >>run       a command per shard: children, feeders, collectors, merge
 *     >>verbs     the table of verbs, help, main
 *
 * Threads: main; a watcher for signals; one that draws the board; under `run` a feeder per active
 * shard and a collector for its command's output. Locks nest in one order only: run.lock,
 * watch.lock, the library's. */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__GNUC__) || defined(__clang__)
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PRINTF(f, a)
#endif

extern char **environ;

typedef unsigned long long ull; /* what %llu takes, for uint64_t */
typedef unsigned long ul;       /* what %lu takes, for uint32_t */

enum { DONE = 0, FAILED = 1, USAGE = 2 }; /* exit statuses; 128 + signal when interrupted */

#define MIB ((uint64_t)1024 * 1024)
#define PUT_MAX ((uint64_t)5 * 1024 * MIB) /* the most that one PutObject takes */

/* >>text
 * Everything here is pure but for memory: what a program of this kind cannot do without, it does
 * not report but ends on. */
static void *need(void *p) {
    static const char text[] = "s3stream: out of memory\n";
    if (!p) {
        ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
        (void)ignored;
        _exit(FAILED);
    }
    return p;
}

PRINTF(1, 2)
static char *format(const char *f, ...) {
    va_list args;
    char *text;
    int n;
    va_start(args, f);
    n = vsnprintf(NULL, 0, f, args);
    va_end(args);
    text = (char *)need(malloc((size_t)n + 1));
    va_start(args, f);
    (void)vsnprintf(text, (size_t)n + 1, f, args);
    va_end(args);
    return text;
}

static int64_t now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void nap_us(long us) {
    struct timespec t;
    t.tv_sec = us / 1000000;
    t.tv_nsec = us % 1000000 * 1000;
    (void)nanosleep(&t, NULL);
}

/* Reads digits, nothing else; *rest: what follows them. 0 when there are none or they overflow. */
static int number_take(const char *s, uint64_t *n, const char **rest) {
    const char *p = s;
    for (*n = 0; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (*n > (UINT64_MAX - digit) / 10) return 0;
        *n = *n * 10 + digit;
    }
    *rest = p;
    return p > s;
}

static int number_parse(const char *s, uint64_t *n) {
    const char *rest;
    return number_take(s, n, &rest) && !*rest;
}

/* K and KiB are 1024, KB is 1000; likewise M, G and T. */
static int size_parse(const char *s, uint64_t *n) {
    static const char units[] = "KMGT";
    const char *rest, *unit;
    uint64_t scale = 1, step;
    if (!number_take(s, n, &rest)) return 0;
    if (!*rest) return 1;
    unit = strchr(units, *rest);
    if (!unit) return 0;
    if (!rest[1] || strcmp(rest + 1, "iB") == 0) step = 1024;
    else if (strcmp(rest + 1, "B") == 0) step = 1000;
    else return 0;
    for (; unit >= units; unit--) scale *= step;
    if (*n > UINT64_MAX / scale) return 0;
    *n *= scale;
    return 1;
}

/* "1.5 GiB" into out. */
static const char *size_show(double n, char out[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned u = 0;
    for (; n >= 999.5 && u < 6; u++) n /= 1024;
    (void)snprintf(out, 24, u && n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[u]);
    return out;
}

/* Length of the UTF-8 character at s, 0 where there is none. */
static size_t utf8_length(const unsigned char *s) {
    size_t n = 0, i;
    if (s[0] < 0x80) n = 1;
    else if (s[0] >= 0xc2 && s[0] < 0xf5) n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    for (i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return n;
}

/* A JSON string. Bytes that are not UTF-8 cannot be said in JSON: they become U+FFFD. */
static void json_text(FILE *to, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    (void)putc('"', to);
    while (*s) {
        size_t n = utf8_length(s);
        if (n == 0) (void)fputs("\\ufffd", to);
        else if (*s < 0x20 || *s == 0x7f) (void)fprintf(to, "\\u%04x", *s);
        else if (*s == '"' || *s == '\\') (void)fprintf(to, "\\%c", *s);
        else (void)fwrite(s, 1, n, to);
        s += n ? n : 1;
    }
    (void)putc('"', to);
}

/* A key for people: nothing in it moves the cursor or ends the line (C0, DEL, and C1 in UTF-8). */
static void key_show(FILE *to, const char *text) {
    const unsigned char *begin = (const unsigned char *)text, *s = begin;
    for (; *s; s++) {
        if (*s < 0x20 || *s == 0x7f) (void)fprintf(to, "\\x%02x", *s);
        else if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0) (void)fprintf(to, "\\xc2");
        else if (s[0] >= 0x80 && s[0] < 0xa0 && s > begin && s[-1] == 0xc2)
            (void)fprintf(to, "\\x%02x", *s);
        else (void)putc(*s, to);
    }
}

/* Whatever a server, a key or an argument put into a line, it stays one line. */
static void line_clean(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

/* A URI for people, cut after 300 bytes as in the library's messages. The query of a URL is left
 * out, since it may hold a signature. */
static const char *uri_show(const char *uri, char out[301]) {
    int url = strncmp(uri, "http://", 7) == 0 || strncmp(uri, "https://", 8) == 0;
    (void)snprintf(out, 301, "%.*s", url ? (int)strcspn(uri, "?") : (int)strlen(uri), uri);
    line_clean(out);
    return out;
}

static int write_all(int fd, const void *data, size_t n) { /* 0 or errno */
    const char *p = (const char *)data;
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k >= 0) {
            p += k;
            n -= (size_t)k;
        } else if (errno == EAGAIN) { /* somebody else's non-blocking descriptor */
            struct pollfd wait = {0, POLLOUT, 0};
            wait.fd = fd;
            (void)poll(&wait, 1, 1000);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* >>board
 * The board is a few lines on stderr that say how far things are: on a terminal they are redrawn in
 * place ten times a second, elsewhere (and only when asked for) one plain line a second is written.
 * Rows belong to whoever adds them; the counters in them are guarded by board.lock. All that goes
 * to stderr goes through here, so that the board is taken away first; it comes back with the next
 * tick. */
typedef struct board_row {
    struct board_row *next;
    char name[24];
    uint64_t done, total; /* bytes; total 0 = unknown */
} board_row;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    board_row *rows;
    uint64_t past;      /* bytes of rows that are gone */
    uint64_t total;     /* of all rows, where it is known before they all exist */
    int running;        /* the thread is there */
    int ending;
    int live;           /* redrawn in place */
    int each_row;       /* a line per row, not only the sum */
    int shares_output;  /* stdout is the same terminal */
    int drawn;          /* lines on the screen */
    int open_line;      /* the output's last line has no end yet: not a place to draw */
    int64_t began_us, last_us;
    uint64_t last_bytes;
    double rate;        /* bytes a second, of late */
} board = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void board_erase_locked(void) {
    char text[32];
    if (!board.drawn) return;
    (void)snprintf(text, sizeof text, "\r\033[%dA\033[J", board.drawn);
    board.drawn = 0;
    (void)write_all(STDERR_FILENO, text, strlen(text));
}

/* One line on stderr. */
PRINTF(1, 2)
static void say(const char *f, ...) {
    char text[1400];
    va_list args;
    size_t n = (size_t)snprintf(text, sizeof text, "s3stream: ");
    va_start(args, f);
    (void)vsnprintf(text + n, sizeof text - n - 1, f, args);
    va_end(args);
    line_clean(text);
    n = strlen(text);
    text[n++] = '\n';
    pthread_mutex_lock(&board.lock);
    board_erase_locked();
    (void)write_all(STDERR_FILENO, text, n);
    pthread_mutex_unlock(&board.lock);
}

/* "34.0 MiB of 64.0 MiB   53 %" */
static size_t board_amount(char *out, size_t cap, uint64_t done, uint64_t total) {
    char a[24], b[24];
    (void)size_show((double)done, a);
    if (total)
        (void)snprintf(out, cap, "%9s of %s %3.0f %%", a, size_show((double)total, b),
                       100.0 * (double)done / (double)(done > total ? done : total));
    else
        (void)snprintf(out, cap, "%9s", a);
    return strlen(out);
}

static void board_measure_locked(uint64_t done) {
    int64_t now = now_us();
    double seconds = (double)(now - board.last_us) / 1e6;
    double weight = seconds / 2; /* the last 2 s or so */
    if (seconds < 0.05) return;
    if (weight > 1 || board.last_us == board.began_us) weight = 1;
    board.rate += ((double)(done - board.last_bytes) / seconds - board.rate) * weight;
    board.last_us = now;
    board.last_bytes = done;
}

/* The sum of all rows, the rate, and how long it will take. */
static void board_sum_locked(char *out, size_t cap) {
    const board_row *r;
    uint64_t done = board.past, total = board.total;
    char rate[24];
    size_t n;
    for (r = board.rows; r; r = r->next) {
        done += r->done;
        if (!board.each_row) total = r->total;
    }
    board_measure_locked(done);
    n = board_amount(out, cap, done, total);
    (void)snprintf(out + n, cap - n, "  %s/s", size_show(board.rate, rate));
    n = strlen(out);
    if (total > done && (double)(total - done) < board.rate * 360000) {
        int left = (int)((double)(total - done) / board.rate);
        (void)snprintf(out + n, cap - n, "  %d:%02d:%02d left", left / 3600, left / 60 % 60,
                       left % 60);
    }
}

/* Puts one line of at most `width` columns into the screen's text. */
static size_t board_line(char *out, size_t cap, int width, const char *line) {
    return (size_t)snprintf(out, cap, "%.*s\033[K\n", width, line);
}

static void board_draw_live_locked(void) {
    struct winsize w;
    char screen[8192], line[200], amount[100];
    int columns = 79, lines = 23, drawn = 0;
    size_t n = 0;
    const board_row *r;
    if (board.open_line) return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 1)
        columns = w.ws_col - 1, lines = w.ws_row - 1;
    if (columns > 190) columns = 190;
    if (lines > 40) lines = 40;
    if (board.drawn) n = (size_t)snprintf(screen, sizeof screen, "\r\033[%dA", board.drawn);
    for (r = board.each_row ? board.rows : NULL; r && drawn < lines - 1; r = r->next, drawn++) {
        (void)board_amount(amount, sizeof amount, r->done, r->total);
        (void)snprintf(line, sizeof line, "%-12s %s", r->name, amount);
        n += board_line(screen + n, sizeof screen - n, columns, line);
    }
    board_sum_locked(amount, sizeof amount);
    (void)snprintf(line, sizeof line, "%s%s", board.each_row ? "all          " : "", amount);
    n += board_line(screen + n, sizeof screen - n, columns, line);
    n += (size_t)snprintf(screen + n, sizeof screen - n, "\033[J");
    board.drawn = drawn + 1;
    (void)write_all(STDERR_FILENO, screen, n);
}

static void board_draw_plain_locked(void) {
    char line[200];
    size_t n = (size_t)snprintf(line, sizeof line, "s3stream: ");
    board_sum_locked(line + n, sizeof line - n - 1);
    n = strlen(line);
    line[n++] = '\n';
    (void)write_all(STDERR_FILENO, line, n);
}

/* The last line, where the others stay. */
static void board_conclude_locked(void) {
    char line[200], amount[24], rate[24];
    const board_row *r;
    uint64_t done = board.past;
    double seconds = (double)(now_us() - board.began_us) / 1e6;
    for (r = board.rows; r; r = r->next) done += r->done;
    (void)snprintf(line, sizeof line, "s3stream: %s in %.1f s, %s/s\n",
                   size_show((double)done, amount), seconds,
                   size_show((double)done / (seconds > 0 ? seconds : 1), rate));
    (void)write_all(STDERR_FILENO, line, strlen(line));
}

static void *board_main(void *user) {
    (void)user;
    pthread_mutex_lock(&board.lock);
    while (!board.ending) {
        struct timespec until;
        int rc = 0;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += board.live ? 100000000 : 0;
        until.tv_sec += (board.live ? 0 : 1) + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (!board.ending && rc == 0)
            rc = pthread_cond_timedwait(&board.wake, &board.lock, &until);
        if (board.ending) break;
        if (board.live) board_draw_live_locked();
        else board_draw_plain_locked();
    }
    board_erase_locked();
    if (!board.live) board_conclude_locked();
    pthread_mutex_unlock(&board.lock);
    return NULL;
}

static void board_start(int each_row) {
    const char *term = getenv("TERM");
    board.live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    board.shares_output = board.live && isatty(STDOUT_FILENO);
    board.each_row = each_row;
    board.began_us = board.last_us = now_us();
    board.running = pthread_create(&board.thread, NULL, board_main, NULL) == 0;
}

static void board_stop(void) {
    if (!board.running) return;
    pthread_mutex_lock(&board.lock);
    board.ending = 1;
    pthread_cond_signal(&board.wake);
    pthread_mutex_unlock(&board.lock);
    (void)pthread_join(board.thread, NULL);
    board.running = 0;
}

static void board_add(board_row *row) {
    board_row **at = &board.rows;
    pthread_mutex_lock(&board.lock);
    while (*at) at = &(*at)->next;
    *at = row;
    pthread_mutex_unlock(&board.lock);
}

static void board_remove(board_row *row) {
    board_row **at = &board.rows;
    pthread_mutex_lock(&board.lock);
    while (*at && *at != row) at = &(*at)->next;
    if (*at) *at = row->next;
    board.past += row->done;
    pthread_mutex_unlock(&board.lock);
}

/* The library's progress callback, of a row. */
static void board_progress(void *user, uint64_t done, uint64_t total) {
    board_row *row = (board_row *)user;
    pthread_mutex_lock(&board.lock);
    row->done = done;
    row->total = total;
    pthread_mutex_unlock(&board.lock);
}

/* >>watch
 * What must not outlive an interruption is known here: readers, children, temporary files. Signal
 * handlers only write to a pipe; a thread reads it, cancels readers and sends SIGTERM to children,
 * so that the main flow comes to its end by itself. If it does not within a second, or if nothing
 * of it can be cancelled (a listing, an upload), that thread removes the temporary files and ends
 * the process. */
typedef struct watched {
    struct watched *next;
    s3s_reader *reader; /* NULL: none now */
    pid_t pid;          /* leader of its own process group; 0: none now */
} watched;

typedef struct temp {
    struct temp *next;
    char path[1];
} temp;

static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    int running;
    int pipe[2];
    int halted; /* nothing new shall begin */
    int signal; /* the one that interrupted us, 0 when none did */
    watched *all;
    temp *temps; /* the youngest first, so that directories come after their files */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void watch_add(watched *w) {
    w->reader = NULL;
    w->pid = 0;
    pthread_mutex_lock(&watch.lock);
    w->next = watch.all;
    watch.all = w;
    pthread_mutex_unlock(&watch.lock);
}

static void watch_remove(watched *w) {
    watched **at = &watch.all;
    pthread_mutex_lock(&watch.lock);
    while (*at && *at != w) at = &(*at)->next;
    if (*at) *at = w->next;
    pthread_mutex_unlock(&watch.lock);
}

/* Before a reader is closed or a child reaped, NULL or 0 takes its place. */
static void watch_reader(watched *w, s3s_reader *reader) {
    pthread_mutex_lock(&watch.lock);
    w->reader = reader;
    if (reader && watch.halted) s3s_reader_cancel(reader);
    pthread_mutex_unlock(&watch.lock);
}

static void watch_child(watched *w, pid_t pid) {
    pthread_mutex_lock(&watch.lock);
    w->pid = pid;
    if (pid && watch.halted) (void)kill(-pid, SIGTERM);
    pthread_mutex_unlock(&watch.lock);
}

static void halt_locked(void) {
    watched *w;
    watch.halted = 1;
    for (w = watch.all; w; w = w->next) {
        if (w->reader) s3s_reader_cancel(w->reader);
        if (w->pid) (void)kill(-w->pid, SIGTERM);
    }
}

static void halt(void) {
    pthread_mutex_lock(&watch.lock);
    halt_locked();
    pthread_mutex_unlock(&watch.lock);
}

static int halted(void) {
    int yes;
    pthread_mutex_lock(&watch.lock);
    yes = watch.halted;
    pthread_mutex_unlock(&watch.lock);
    return yes;
}

static int interrupted(void) {
    int signal_number;
    pthread_mutex_lock(&watch.lock);
    signal_number = watch.signal;
    pthread_mutex_unlock(&watch.lock);
    return signal_number;
}

static void temp_note_locked(const char *path) {
    size_t n = strlen(path);
    temp *t = (temp *)need(malloc(sizeof *t + n));
    memcpy(t->path, path, n + 1);
    t->next = watch.temps;
    watch.temps = t;
}

static void temp_forget_locked(const char *path) {
    temp **at = &watch.temps, *t;
    while (*at && strcmp((*at)->path, path) != 0) at = &(*at)->next;
    t = *at;
    if (!t) return;
    *at = t->next;
    free(t);
}

/* Makes a new file and notes it in one step, so that no signal falls in between. -1 and errno. */
static int temp_create(const char *path) {
    int fd;
    pthread_mutex_lock(&watch.lock);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) temp_note_locked(path);
    pthread_mutex_unlock(&watch.lock);
    return fd;
}

static void temp_remove(const char *path) {
    pthread_mutex_lock(&watch.lock);
    (void)remove(path);
    temp_forget_locked(path);
    pthread_mutex_unlock(&watch.lock);
}

/* The file gets its final name, unless an interruption has already removed it. 0 or errno. */
static int temp_commit(const char *path, const char *name) {
    int e = 0;
    pthread_mutex_lock(&watch.lock);
    if (rename(path, name) != 0) e = errno;
    else temp_forget_locked(path);
    pthread_mutex_unlock(&watch.lock);
    return e;
}

static const char *temp_where(void) {
    const char *dir = getenv("TMPDIR");
    return dir && *dir ? dir : "/tmp";
}

/* A file without a name: it goes with its descriptor. -1 and errno. */
static int temp_anonymous(void) {
    char *path = format("%s/s3stream-XXXXXX", temp_where());
    int fd, e;
    pthread_mutex_lock(&watch.lock);
    fd = mkstemp(path);
    e = errno;
    if (fd >= 0) {
        (void)unlink(path);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    pthread_mutex_unlock(&watch.lock);
    free(path);
    errno = e;
    return fd;
}

/* A private directory; NULL and errno. */
static char *temp_directory(void) {
    char *path = format("%s/s3stream-XXXXXX", temp_where());
    pthread_mutex_lock(&watch.lock);
    if (mkdtemp(path)) {
        temp_note_locked(path);
    } else {
        int e = errno;
        free(path);
        path = NULL;
        errno = e;
    }
    pthread_mutex_unlock(&watch.lock);
    return path;
}

static void temp_clear_locked(void) {
    while (watch.temps) {
        temp *t = watch.temps;
        (void)remove(t->path);
        watch.temps = t->next;
        free(t);
    }
}

static void temp_clear(void) {
    pthread_mutex_lock(&watch.lock);
    temp_clear_locked();
    pthread_mutex_unlock(&watch.lock);
}

static void watch_handler(int signal_number) {
    int e = errno;
    unsigned char byte = (unsigned char)signal_number;
    ssize_t ignored = write(watch.pipe[1], &byte, 1); /* full: it has been told often enough */
    (void)ignored;
    errno = e;
}

/* The next byte of the pipe: a signal, 0 when all is over, -1 when none came in time. */
static int watch_next(int timeout_ms) {
    struct pollfd p = {0, POLLIN, 0};
    unsigned char byte;
    ssize_t n;
    p.fd = watch.pipe[0];
    for (;;) {
        int ready = poll(&p, 1, timeout_ms);
        if (ready == 0) return -1;
        if (ready < 0) continue;
        n = read(watch.pipe[0], &byte, 1);
        if (n == 1) return byte;
    }
}

/* The main flow did not end in time. The lock stays taken: no temporary file is made after this. */
static void watch_abort(int signal_number) {
    watched *w;
    pthread_mutex_lock(&watch.lock);
    for (w = watch.all; w; w = w->next)
        if (w->pid) (void)kill(-w->pid, SIGKILL);
    temp_clear_locked();
    /* If the board is taken, it is by one that hangs. */
    if (pthread_mutex_trylock(&board.lock) == 0) board_erase_locked();
    _exit(128 + signal_number);
}

static void watch_signals(sigset_t *signals) {
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGHUP);
}

/* The only thread that takes signals: no other one's system calls are disturbed by them. */
static void *watch_main(void *user) {
    int cancellable, signal_number;
    sigset_t signals;
    (void)user;
    watch_signals(&signals);
    (void)pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    signal_number = watch_next(-1);
    if (signal_number <= 0) return NULL;
    pthread_mutex_lock(&watch.lock);
    watch.signal = signal_number;
    cancellable = watch.all != NULL;
    halt_locked();
    pthread_mutex_unlock(&watch.lock);
    if (watch_next(cancellable ? 1000 : 0) != 0) watch_abort(signal_number);
    return NULL;
}

/* A signal that was ignored when we were started (nohup, a background job) stays ignored. */
static void watch_catch(int signal_number) {
    struct sigaction was, act;
    if (sigaction(signal_number, NULL, &was) == 0 && was.sa_handler == SIG_IGN) return;
    memset(&act, 0, sizeof act);
    act.sa_handler = watch_handler;
    act.sa_flags = SA_RESTART;
    (void)sigemptyset(&act.sa_mask);
    (void)sigaction(signal_number, &act, NULL);
}

/* A pipe that no command inherits. (Where there is no pipe2, one that another thread starts in just
 * this moment may hold the ends open until it ends.) */
static int pipe_open(int ends[2]) {
#ifdef __linux__
    return pipe2(ends, O_CLOEXEC);
#else
    if (pipe(ends) != 0) return -1;
    (void)fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
#endif
}

/* Called before any other thread exists, for threads inherit what is blocked. */
static void watch_start(void) {
    sigset_t signals;
    if (pipe_open(watch.pipe) != 0) return;
    (void)fcntl(watch.pipe[1], F_SETFL, O_NONBLOCK);
    watch_catch(SIGINT);
    watch_catch(SIGTERM);
    watch_catch(SIGHUP);
    watch_signals(&signals);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    watch.running = pthread_create(&watch.thread, NULL, watch_main, NULL) == 0;
}

/* Ends the watch: from here on a signal changes nothing. */
static void watch_stop(void) {
    unsigned char over = 0;
    if (!watch.running) return;
    (void)write_all(watch.pipe[1], &over, 1);
    (void)pthread_join(watch.thread, NULL);
    watch.running = 0;
}

/* >>options
 * One table of options; which verbs take which is a set of bits. An option's value comes from the
 * command line, else from the environment (S3STREAM_PART_SIZE for --part-size), else the library's
 * default holds. A parser answers NULL, or what would have been right. */
enum {
    CAT = 1, RUN = 2, PLAN = 4, GET = 8, PUT = 16, LS = 32, STAT = 64, RM = 128,
    VERSION = 256, HELP = 512,
    READS = CAT | RUN | PLAN | GET,
    MOVES = CAT | RUN | GET,
    WIRE = READS | PUT | LS | STAT | RM,
    ANY = WIRE | VERSION | HELP
};

typedef struct byte_range {
    int given, suffix, open; /* suffix: the last `first` bytes; open: from `first` to the end */
    uint64_t first, last;
} byte_range;

typedef struct shard_choice {
    int given;
    uint32_t index, count; /* count 0: the plan's */
} shard_choice;

static struct {
    const char *endpoint, *region, *etag, *version_id, *records, *plan, *stats, *merge;
    const char *if_match, *if_none_match, *content_type;
    const char **headers; /* NULL-ended, or NULL */
    size_t header_count;
    int anonymous, path_style, no_hedge, progress, no_progress, trace, verbose, help, version;
    int keep_going, json, recursive;
    int connections, threads, retries, strategy, sign_payload;
    uint32_t shards, jobs;
    int64_t window;
    uint64_t size, part_size, memory;
    byte_range range;
    shard_choice shard;
} set;

static const char *take_flag(const char *text, void *to) {
    (void)text;
    *(int *)to = 1;
    return NULL;
}

static const char *take_text(const char *text, void *to) {
    *(const char **)to = text;
    return NULL;
}

static const char *take_size(const char *text, void *to) {
    return size_parse(text, (uint64_t *)to)
               ? NULL
               : "give bytes, or a number with K, M, G, T (of 1024) or KB, MB, GB, TB (of 1000)";
}

static const char *take_some(const char *text, void *to) { /* a size that is not 0 */
    const char *why = take_size(text, to);
    return why ? why : *(uint64_t *)to ? NULL : "give at least one byte";
}

static const char *take_count(const char *text, void *to) {
    uint64_t n;
    if (!number_parse(text, &n) || n < 1 || n > 10000) return "give a number from 1 to 10000";
    *(int *)to = (int)n;
    return NULL;
}

static const char *take_shards(const char *text, void *to) {
    uint64_t n;
    if (!number_parse(text, &n) || n < 1 || n > 1000000) return "give a number from 1 to 1000000";
    *(uint32_t *)to = (uint32_t)n;
    return NULL;
}

/* The library's 0 means its default. */
static const char *take_retries(const char *text, void *to) {
    uint64_t n;
    if (!number_parse(text, &n) || n > 1000) return "give a number from 0 (none) to 1000";
    *(int *)to = n ? (int)n : -1;
    return NULL;
}

static const char *take_strategy(const char *text, void *to) {
    if (strcmp(text, "approx-correction") == 0) *(int *)to = S3S_STRATEGY_APPROX_CORRECTION;
    else if (strcmp(text, "smart-prealigned") == 0) *(int *)to = S3S_STRATEGY_SMART_PREALIGNED;
    else return "give approx-correction or smart-prealigned";
    return NULL;
}

static const char *take_window(const char *text, void *to) {
    uint64_t n;
    if (strcmp(text, "learned") == 0) *(int64_t *)to = S3S_WINDOW_LEARNED;
    else if (strcmp(text, "dynamic") == 0) *(int64_t *)to = S3S_WINDOW_DYNAMIC;
    else if (!size_parse(text, &n) || n == 0 || n > INT64_MAX)
        return "give learned, dynamic or a size, as in 64K";
    else *(int64_t *)to = (int64_t)n;
    return NULL;
}

static const char *take_signing(const char *text, void *to) {
    if (strcmp(text, "auto") == 0) *(int *)to = S3S_SIGN_PAYLOAD_AUTO;
    else if (strcmp(text, "always") == 0) *(int *)to = S3S_SIGN_PAYLOAD_ALWAYS;
    else if (strcmp(text, "never") == 0) *(int *)to = S3S_SIGN_PAYLOAD_NEVER;
    else return "give auto, always or never";
    return NULL;
}

static const char *take_range(const char *text, void *to) {
    static const char why[] = "give A-B (both included), A- (to the end) or -N (the last N bytes)";
    byte_range *r = (byte_range *)to;
    const char *rest = text;
    r->given = 1;
    if (*text == '-') {
        r->suffix = 1;
        return number_parse(text + 1, &r->first) && r->first ? NULL : why;
    }
    if (!number_take(text, &r->first, &rest) || *rest != '-') return why;
    r->open = !rest[1];
    if (r->open) return NULL;
    if (!number_parse(rest + 1, &r->last)) return why;
    if (r->last < r->first) return "it ends before it begins";
    return r->last - r->first == UINT64_MAX ? "give 0- for everything" : NULL;
}

static const char *take_shard(const char *text, void *to) {
    shard_choice *s = (shard_choice *)to;
    const char *rest = text;
    uint64_t index, count = 0;
    if (!number_take(text, &index, &rest) ||
        (*rest && (*rest != '/' || !number_parse(rest + 1, &count))) || (*rest && count == 0) ||
        index > UINT32_MAX || count > UINT32_MAX)
        return "give I/N, shard I of N, or with --plan just I";
    if (count && index >= count) return "shards count from 0, so the last of N is N-1";
    s->given = 1;
    s->index = (uint32_t)index;
    s->count = (uint32_t)count;
    return NULL;
}

static const char *take_header(const char *text, void *to) { /* -H may be given several times */
    (void)to;
    set.headers =
        (const char **)need(realloc(set.headers, (set.header_count + 2) * sizeof *set.headers));
    set.headers[set.header_count++] = text;
    set.headers[set.header_count] = NULL;
    return NULL;
}

typedef struct option_row {
    const char *name;  /* --name; NULL: only a letter */
    char letter;       /* -l; 0: only a name */
    const char *value; /* what the help calls it; NULL: a flag */
    unsigned verbs;
    const char *(*take)(const char *text, void *to);
    void *to;
    const char *otherwise; /* the default, in words */
    const char *elsewhere; /* variables that the library reads, one after the other */
    const char *text;
} option_row;

static const option_row options[] = {
    {"endpoint", 0, "URL", WIRE, take_text, &set.endpoint, "AWS",
     "AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL", "the store: http://host:port"},
    {"region", 0, "R", WIRE, take_text, &set.region, "us-east-1", "AWS_REGION AWS_DEFAULT_REGION",
     "what requests are signed for"},
    {"anonymous", 0, NULL, WIRE, take_flag, &set.anonymous, "", "", "do not sign requests"},
    {"path-style", 0, NULL, WIRE, take_flag, &set.path_style, "", "",
     "http://host/bucket/key on AWS, too"},
    {"shards", 'n', "N", RUN | PLAN, take_shards, &set.shards, "", "",
     "cut the object into N shards"},
    {"jobs", 'j', "JOBS", RUN, take_shards, &set.jobs, "the number of cores, at least 4", "",
     "commands that run at the same time"},
    {"merge", 0, "cat|CMD", RUN, take_text, &set.merge, "cat", "",
     "cat: the outputs in order; else CMD is run once, with files of them"},
    {"keep-going", 0, NULL, RUN, take_flag, &set.keep_going, "", "",
     "a shard that fails does not stop the others"},
    {"range", 0, "A-B", READS, take_range, &set.range, "everything", "",
     "bytes A to B, A- (to the end) or -N (the last N)"},
    {"shard", 0, "I/N", CAT | GET, take_shard, &set.shard, "the whole object", "",
     "shard I of N, counted from 0; with --plan also just I"},
    {"plan", 0, "FILE", MOVES, take_text, &set.plan, "none", "",
     "shards as `s3stream plan --json` wrote them; - is stdin"},
    {"records", 0, "R", READS, take_text, &set.records, "lines", "",
     "what is never cut: lines, delim:TEXT (\\n, \\t, \\0, \\xHH), fixed:BYTES"},
    {"strategy", 0, "S", READS, take_strategy, &set.strategy, "approx-correction", "",
     "who finds boundaries: each shard in its own reads, or (smart-prealigned) a plan"},
    {"window", 0, "W", READS, take_window, &set.window, "learned", "",
     "how far a shard reads past its end: learned, dynamic (64K) or a size"},
    {"size", 0, "BYTES", READS, take_size, &set.size, "asked for", "",
     "the object's size, where it is known"},
    {"etag", 0, "E", READS, take_text, &set.etag, "the first response's", "",
     "read this version or fail"},
    {"version-id", 0, "V", READS, take_text, &set.version_id, "the latest", "",
     "read this version"},
    {"part-size", 0, "SIZE", MOVES, take_some, &set.part_size, "chosen", "", "bytes a request"},
    {"connections", 0, "N", WIRE, take_count, &set.connections, "16", "",
     "requests in flight at once"},
    {"threads", 0, "N", WIRE, take_count, &set.threads, "the number of cores, at most 4", "",
     "threads for the network"},
    {"memory", 0, "SIZE", READS, take_some, &set.memory, "64M", "",
     "bytes held at most, by the whole process"},
    {"retries", 0, "N", WIRE, take_retries, &set.retries, "9", "",
     "attempts after the first without progress"},
    {"no-hedge", 0, NULL, MOVES, take_flag, &set.no_hedge, "", "",
     "never ask twice for a slow part"},
    {"if-match", 0, "ETAG", PUT, take_text, &set.if_match, "none", "", "only over this version"},
    {"if-none-match", 0, "'*'", PUT, take_text, &set.if_none_match, "none", "",
     "only if there is no such object"},
    {"payload-signing", 0, "WHEN", PUT, take_signing, &set.sign_payload, "auto", "",
     "auto (over plain HTTP), always or never"},
    {"content-type", 0, "TYPE", PUT, take_text, &set.content_type, "application/octet-stream", "",
     "of the object"},
    {"json", 0, NULL, PLAN | LS | STAT, take_flag, &set.json, "", "", "JSON instead of a table"},
    {"recursive", 'r', NULL, LS, take_flag, &set.recursive, "", "", "every key below the prefix"},
    {"progress", 0, NULL, MOVES | PUT, take_flag, &set.progress, "", "",
     "show progress, also off a terminal"},
    {"no-progress", 0, NULL, MOVES | PUT, take_flag, &set.no_progress, "", "", "never show it"},
    {"stats", 0, "FILE", WIRE, take_text, &set.stats, "none", "",
     "one JSON object at the end; -: stdout, or stderr where stdout has data"},
    {NULL, 'H', "'Name: value'", WIRE, take_header, NULL, "", "",
     "one more header of every request to the store"},
    {"trace", 0, NULL, WIRE, take_flag, &set.trace, "", "", "a line on stderr per request"},
    {"verbose", 'v', NULL, WIRE, take_flag, &set.verbose, "", "",
     "what was resolved from where; retries"},
    {"help", 'h', NULL, ANY, take_flag, &set.help, "", "", "this text"},
    {"version", 0, NULL, VERSION | HELP, take_flag, &set.version, "", "", "the version"},
};
enum { OPTIONS = sizeof options / sizeof options[0] };

/* What was chosen, row by row. */
static struct {
    const char *text; /* NULL: nothing */
    char variable[40]; /* whence, when not from the command line */
} chosen[OPTIONS];

typedef struct verb_row {
    const char *name;
    unsigned bit;
    int (*run)(void);
    const char *operands;
    size_t least, most; /* how many of them */
    const char *text;   /* one line */
    const char *details;
} verb_row;

/* What was asked for. */
static struct {
    const verb_row *verb;
    char **operands;
    size_t operand_count;
    char **command; /* what stands behind --, NULL-ended; NULL without it */
} asked;

PRINTF(1, 2)
static int usage(const char *f, ...) {
    char text[900];
    va_list args;
    va_start(args, f);
    (void)vsnprintf(text, sizeof text, f, args);
    va_end(args);
    if (asked.verb) say("%s: %s (s3stream help %s)", asked.verb->name, text, asked.verb->name);
    else say("%s (s3stream help)", text);
    return USAGE;
}

static void option_variable(const option_row *o, char out[40]) {
    size_t i, n = (size_t)snprintf(out, 40, "S3STREAM_%s", o->name);
    for (i = 9; i < n; i++) {
        if (out[i] == '-') out[i] = '_';
        else out[i] = (char)(out[i] - 'a' + 'A');
    }
}

/* Finds the row of what getopt_long answered: a letter, or 256 + index. */
static size_t option_index(int c) {
    size_t i;
    if (c >= 256) return (size_t)(c - 256);
    for (i = 0; i < OPTIONS; i++)
        if (options[i].letter == c) break;
    return i;
}

static void option_tables(struct option longs[OPTIONS + 1], char letters[2 * OPTIONS + 3]) {
    size_t i, n = 0, k = 0;
    letters[k++] = '-'; /* operands in their places, so that -- can be told from them */
    letters[k++] = ':';
    for (i = 0; i < OPTIONS; i++) {
        if (options[i].letter) letters[k++] = options[i].letter;
        if (options[i].letter && options[i].value) letters[k++] = ':';
        if (!options[i].name) continue;
        longs[n].name = options[i].name;
        longs[n].has_arg = options[i].value ? required_argument : no_argument;
        longs[n].flag = NULL;
        longs[n++].val = 256 + (int)i;
    }
    memset(&longs[n], 0, sizeof longs[n]);
    letters[k] = 0;
}

/* Splits the arguments into options, operands and the command; their values are looked at later,
 * when the verb is known. Abbreviated names are refused: a later version may have a second one that
 * fits. */
static int options_scan(int argc, char **argv) {
    struct option longs[OPTIONS + 1];
    char letters[2 * OPTIONS + 3];
    asked.operands = (char **)need(calloc((size_t)argc + 1, sizeof *asked.operands));
    option_tables(longs, letters);
    opterr = 0;
    for (;;) {
        int at = optind, c = getopt_long(argc, argv, letters, longs, NULL);
        size_t i;
        if (c == -1) break;
        if (c == 1) {
            asked.operands[asked.operand_count++] = optarg;
            continue;
        }
        i = c == '?' || c == ':' ? OPTIONS : option_index(c);
        if (c == ':') return usage("'%s' needs a value", argv[at]);
        if (i == OPTIONS || (c >= 256 && strcspn(argv[at] + 2, "=") != strlen(options[i].name)))
            return usage("'%s' is no option, or one that takes no value", argv[at]);
        if (options[i].take == take_header) (void)take_header(optarg, NULL);
        chosen[i].text = optarg ? optarg : "";
    }
    if (optind > 1 && strcmp(argv[optind - 1], "--") == 0) asked.command = argv + optind;
    return DONE;
}

/* Looks up an option's variable; an empty one counts as unset. */
static void option_from_environment(size_t i) {
    const char *text;
    option_variable(&options[i], chosen[i].variable);
    text = getenv(chosen[i].variable);
    if (text && *text) chosen[i].text = text;
    else chosen[i].variable[0] = 0;
}

/* Values into `set`. */
static int options_resolve(void) {
    size_t i;
    for (i = 0; i < OPTIONS; i++) {
        const option_row *o = &options[i];
        const char *why;
        char name[48];
        int takes = (o->verbs & asked.verb->bit) != 0;
        if (o->name) (void)snprintf(name, sizeof name, "--%s", o->name);
        else (void)snprintf(name, sizeof name, "-%c", o->letter);
        if (chosen[i].text && !takes) return usage("%s is not an option of this verb", name);
        if (!chosen[i].text && takes && o->value && o->name) option_from_environment(i);
        if (!chosen[i].text || o->take == take_header) continue;
        why = o->take(chosen[i].text, o->to);
        if (*chosen[i].variable) (void)snprintf(name, sizeof name, "%s", chosen[i].variable);
        if (why) return usage("%s '%s': %s", name, chosen[i].text, why);
    }
    return DONE;
}

/* A variable that looks like ours and is not was probably misspelt. */
static void options_warn(void) {
    char **e, name[40];
    for (e = environ; *e; e++) {
        size_t i, n = strcspn(*e, "=");
        if (strncmp(*e, "S3STREAM_", 9) != 0) continue;
        for (i = 0; i < OPTIONS; i++) {
            if (!options[i].name || !options[i].value) continue;
            option_variable(&options[i], name);
            if (strlen(name) == n && strncmp(*e, name, n) == 0) break;
        }
        if (i == OPTIONS)
            say("the environment's %.*s is no option (s3stream help)", (int)(n < 80 ? n : 80), *e);
    }
}

/* The first of several variables that is set. */
static const char *variable_first(const char *names, char name[40]) {
    while (*names) {
        size_t n = strcspn(names, " ");
        const char *value;
        (void)snprintf(name, 40, "%.*s", (int)n, names);
        value = getenv(name);
        if (value && *value) return value;
        names += n + (names[n] == ' ');
    }
    return NULL;
}

/* -v: what holds, and where it comes from. */
static void options_tell(void) {
    char name[40], shown[301];
    const char *value;
    size_t i;
    for (i = 0; i < OPTIONS; i++) {
        const option_row *o = &options[i];
        const char *from = *chosen[i].variable ? chosen[i].variable : "option";
        value = chosen[i].text;
        if (!o->name || !(o->verbs & asked.verb->bit) || (!o->value && !value)) continue;
        if (!value && (value = variable_first(o->elsewhere, name)) != NULL) from = name;
        if (!value) value = o->otherwise, from = "default";
        if (o->value) say("%s = %s (%s)", o->name, uri_show(value, shown), from);
        else say("%s (%s)", o->name, from);
    }
    value = variable_first("AWS_ACCESS_KEY_ID", name) ? name : "none in the environment";
    say("credentials = %s", set.anonymous ? "none" : value);
}

/* >>output
 * Every verb ends here: in one line on stderr when it failed, in the statistics when they were
 * asked for, and with a look at whether standard output took everything. A reader of our output who
 * went away (EPIPE) wants no more of it, which is no failure. */
static struct {
    s3s_client *client;
    int64_t began_us;
    FILE *stats;
    int stats_on_stdout;
    int unpinned;         /* something was read that may be of several versions */
    int pinned;           /* something was read */
    int output_gone;      /* EPIPE */
    int print_error;      /* errno of what print() could not write */
    char etag[128];
    uint64_t sent;        /* bytes of an upload */
    char error_code[40];  /* of the first failure; "" when there was none */
    char error_text[700];
    void (*more_stats)(FILE *to);
} result;

/* The library's messages may begin with the URI, which we have said already. */
static const char *message_bare(const char *message, const char *uri) {
    char shown[301];
    size_t n = strlen(uri_show(uri, shown));
    if (!n || strncmp(message, shown, n) != 0) return message;
    if (message[n] == '/') n++; /* a bucket's, behind which we may have left it out */
    return strncmp(message + n, ": ", 2) == 0 ? message + n + 2 : message;
}

/* One line: s3stream: VERB URI: MESSAGE. */
static int fail_with(const char *uri, const char *code, const char *message) {
    char shown[301];
    if (interrupted()) return FAILED;
    if (uri) message = message_bare(message, uri);
    say("%s%s%s: %s", asked.verb->name, uri ? " " : "", uri ? uri_show(uri, shown) : "", message);
    if (!result.error_code[0]) {
        (void)snprintf(result.error_code, sizeof result.error_code, "%s", code);
        (void)snprintf(result.error_text, sizeof result.error_text, "%s", message);
    }
    return FAILED;
}

/* What the library said. A wrong argument came from the command line, so it is bad usage. */
static int fail(const char *uri, const s3s_error *err) {
    int status = fail_with(uri, s3s_result_name(err->code), err->message);
    return err->code == S3S_E_ARGUMENT ? USAGE : status;
}

PRINTF(3, 4)
static int fail_text(const char *uri, const char *code, const char *f, ...) {
    char text[700];
    va_list args;
    va_start(args, f);
    (void)vsnprintf(text, sizeof text, f, args);
    va_end(args);
    return fail_with(uri, code, text);
}

/* A local file or descriptor failed. */
PRINTF(2, 3)
static int fail_file(const char *uri, const char *f, ...) {
    char text[700];
    va_list args;
    va_start(args, f);
    (void)vsnprintf(text, sizeof text, f, args);
    va_end(args);
    return fail_with(uri, s3s_result_name(S3S_E_FILE), text);
}

/* Bytes to standard output. 0 or errno; the board makes room where it is on the same terminal. */
static int emit(const void *data, size_t n) {
    int e;
    if (!board.shares_output || !n) return write_all(STDOUT_FILENO, data, n);
    pthread_mutex_lock(&board.lock);
    board_erase_locked();
    e = write_all(STDOUT_FILENO, data, n);
    board.open_line = ((const char *)data)[n - 1] != '\n';
    pthread_mutex_unlock(&board.lock);
    return e;
}

/* Text to standard output; 0 when it cannot take more. */
PRINTF(1, 2)
static int print(const char *f, ...) {
    va_list args;
    int n;
    if (result.print_error) return 0;
    va_start(args, f);
    n = vprintf(f, args);
    va_end(args);
    if (n < 0 || ferror(stdout)) result.print_error = errno ? errno : EIO;
    return !result.print_error;
}

/* A failed write to standard output. */
static int output_failed(int e) {
    if (e != EPIPE) return fail_file(NULL, "cannot write to stdout: %s", strerror(e));
    result.output_gone = 1;
    return DONE;
}

/* Nothing is done before the last byte is known to be taken. */
static int output_close(void) {
    int e = result.print_error;
    if (result.output_gone) return DONE;
    if (!e && fflush(stdout) != 0) e = errno;
    if (!e && close(STDOUT_FILENO) != 0) e = errno;
    return e ? output_failed(e) : DONE;
}

static void stats_number(const char *name, uint64_t n) {
    (void)fprintf(result.stats, "\"%s\":%llu,", name, (ull)n);
}

static void stats_body(const s3s_stats *s) {
    FILE *to = result.stats;
    stats_number("requests", s->requests);
    stats_number("retries", s->retries);
    stats_number("hedges", s->hedges);
    stats_number("throttled", s->throttled);
    stats_number("bytes_received", s->bytes_received);
    stats_number("bytes_delivered", s->bytes_delivered);
    stats_number("wasted_bytes", s->wasted_bytes);
    stats_number("window_misses", s->window_misses);
    stats_number("connections_opened", s->connections_opened);
    if (s->records) stats_number("records", s->records);
    if (result.sent) stats_number("bytes_sent", result.sent);
    (void)fprintf(to, "\"first_byte_seconds\":%.6f,\"seconds\":%.6f,\"pinned\":%s,\"etag\":",
                  s->first_byte_seconds, (double)(now_us() - result.began_us) / 1e6,
                  result.pinned && !result.unpinned ? "true" : "false");
    json_text(to, result.etag);
}

/* One JSON object, also of a verb that failed. */
static int stats_write(void) {
    s3s_stats s;
    FILE *to = result.stats;
    int bad;
    if (!to) return DONE;
    memset(&s, 0, sizeof s);
    if (result.client) s3s_client_stats(result.client, &s);
    (void)fprintf(to, "{");
    stats_body(&s);
    if (result.more_stats) result.more_stats(to);
    if (interrupted())
        (void)fprintf(to, ",\"error\":{\"code\":\"S3S_E_CANCELLED\",\"message\":\"interrupted\"}");
    else if (result.error_code[0]) {
        (void)fprintf(to, ",\"error\":{\"code\":\"%s\",\"message\":", result.error_code);
        json_text(to, result.error_text);
        (void)fprintf(to, "}");
    }
    (void)fprintf(to, "}\n");
    bad = ferror(to) || fflush(to) != 0;
    if (to != stdout && to != stderr && fclose(to) != 0) bad = 1;
    result.stats = NULL;
    return bad ? fail_file(NULL, "cannot write --stats '%s': %s", set.stats, strerror(errno))
               : DONE;
}

/* Opened before any work is done, so that hours of it do not end in a misspelt directory. */
static int stats_open(int stdout_has_data) {
    if (!set.stats) return DONE;
    result.stats_on_stdout = strcmp(set.stats, "-") == 0 && !stdout_has_data;
    if (strcmp(set.stats, "-") == 0) result.stats = stdout_has_data ? stderr : stdout;
    else result.stats = fopen(set.stats, "we");
    if (result.stats) return DONE;
    return fail_file(NULL, "cannot write --stats '%s': %s", set.stats, strerror(errno));
}

/* The library's log. Its locks may be held here; say() takes the board's lock only. */
static void log_line(void *user, int level, const char *line) {
    (void)user, (void)level;
    say("%s", line);
}

static int client_open(void) {
    s3s_config c;
    s3s_error err;
    memset(&c, 0, sizeof c);
    c.endpoint = set.endpoint;
    c.region = set.region;
    c.anonymous = set.anonymous;
    c.addressing = set.path_style ? S3S_ADDRESSING_PATH : S3S_ADDRESSING_AUTO;
    c.connections = set.connections;
    c.threads = set.threads;
    c.memory = set.memory;
    c.retries = set.retries;
    c.headers = set.headers;
    c.log.fn = log_line;
    c.log.level = set.trace ? 2 : set.verbose;
    return s3s_client_create(&c, &result.client, &err) == S3S_OK ? DONE : fail(NULL, &err);
}

/* >>reading
 * cat, get and plan. What a read needs is gathered once in a `reading`, from options or a plan. */
typedef struct reading {
    const char *uri;
    s3s_read_options options;
    s3s_plan *plan;
    s3s_object object; /* what HEAD said, where the range counts from the end */
} reading;

/* A whole file into memory, NUL-ended; "-" is stdin. NULL and errno. */
static char *file_slurp(const char *path, size_t *n) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *text = NULL;
    size_t cap = 0, k;
    int e;
    *n = 0;
    if (!f) return NULL;
    do {
        if (*n + 65536 > cap) text = (char *)need(realloc(text, cap = 2 * cap + 65536));
        k = fread(text + *n, 1, cap - *n - 1, f);
        *n += k;
    } while (k);
    text[*n] = 0;
    e = ferror(f) ? errno ? errno : EIO : 0;
    if (f != stdin) (void)fclose(f);
    if (!e) return text;
    free(text);
    errno = e;
    return NULL;
}

/* A plan fixes version, range and records; other options for them would be silently overruled. */
static int plan_conflicts(void) {
    const void *const held[] = {&set.range,   &set.size,    &set.etag,   &set.version_id,
                                &set.records, &set.strategy, &set.shards};
    size_t i, k;
    for (i = 0; i < OPTIONS; i++)
        for (k = 0; k < sizeof held / sizeof held[0]; k++)
            if (options[i].to == held[k] && chosen[i].text && !chosen[i].variable[0])
                return usage("--plan holds what --%s says; give one of them", options[i].name);
    return DONE;
}

static int plan_load(reading *g) {
    size_t n;
    s3s_error err;
    char *text;
    int status = plan_conflicts();
    if (status) return status;
    text = file_slurp(set.plan, &n);
    if (!text) return fail_file(set.plan, "%s", strerror(errno));
    if (s3s_plan_parse(result.client, text, n, &g->plan, &err) != S3S_OK)
        status = fail(set.plan, &err);
    free(text);
    if (status) return status;
    if (!g->uri) g->uri = s3s_plan_uri(g->plan);
    if (strcmp(g->uri, s3s_plan_uri(g->plan)) != 0)
        return usage("--plan '%s' is of %s, not of %s", set.plan, s3s_plan_uri(g->plan), g->uri);
    g->options.plan = g->plan;
    return DONE;
}

/* --range into offset and length. The last N bytes are of the version that told its size. */
static int reading_range(reading *g) {
    const byte_range *r = &set.range;
    s3s_read_options *o = &g->options;
    s3s_error err;
    uint64_t size = o->size;
    if (!r->given) return DONE;
    if (!r->suffix) {
        o->offset = r->first;
        o->length = r->open ? 0 : r->last - r->first + 1;
        return DONE;
    }
    if (!size) {
        if (s3s_head(result.client, g->uri, &g->object, &err) != S3S_OK) return fail(g->uri, &err);
        size = o->size = g->object.size;
        if (!o->expected_etag && g->object.etag[0] == '"') o->expected_etag = g->object.etag;
    }
    o->length = r->first < size ? r->first : size;
    o->offset = size - o->length;
    return DONE;
}

static int reading_shard(reading *g) {
    const shard_choice *s = &set.shard;
    s3s_read_options *o = &g->options;
    uint32_t count = s3s_plan_count(g->plan);
    if (!s->given)
        return g->plan && asked.verb->bit != RUN ? usage("--plan needs --shard I") : DONE;
    if (!g->plan && !s->count) return usage("--shard %lu: of how many? Give I/N", (ul)s->index);
    if (g->plan && ((s->count && s->count != count) || s->index >= count))
        return usage("--plan '%s' has %lu shards, counted from 0", set.plan, (ul)count);
    o->shard_index = s->index;
    o->shard_count = s->count;
    return DONE;
}

static int reading_open(reading *g, const char *uri) {
    s3s_read_options *o = &g->options;
    int status;
    memset(g, 0, sizeof *g);
    g->uri = uri;
    o->part_size = set.part_size;
    o->no_hedge = set.no_hedge;
    o->window = set.window;
    if (set.plan) {
        status = plan_load(g);
    } else {
        o->size = set.size;
        o->expected_etag = set.etag;
        o->version_id = set.version_id;
        o->records = set.records;
        o->strategy = set.strategy;
        status = reading_range(g);
    }
    return status ? status : reading_shard(g);
}

static void reading_close(reading *g) { s3s_plan_destroy(g->plan); }

/* What a reader that came to its end says of the object. */
static void reading_note(s3s_reader *reader) {
    s3s_object object;
    s3s_stats stats;
    s3s_reader_stats(reader, &stats);
    if (stats.pinned) result.pinned = 1;
    else result.unpinned = 1;
    if (s3s_reader_info(reader, &object, NULL, NULL) == S3S_OK)
        memcpy(result.etag, object.etag, sizeof result.etag);
}

/* Everything a reader delivers into a descriptor, standard output where `name` is NULL. */
static int reading_copy(reading *g, int fd, const char *name) {
    board_row row;
    watched w;
    s3s_reader *reader = NULL;
    s3s_error err;
    s3s_result r;
    const void *data;
    size_t n;
    int e = 0;
    memset(&row, 0, sizeof row);
    g->options.progress = board.running ? board_progress : NULL;
    g->options.progress_user = &row;
    if (s3s_reader_open(result.client, g->uri, &g->options, &reader, &err) != S3S_OK)
        return fail(g->uri, &err);
    board_add(&row);
    watch_add(&w);
    watch_reader(&w, reader);
    while (!e && (r = s3s_reader_next(reader, &data, &n, &err)) == S3S_OK)
        e = name ? write_all(fd, data, n) : emit(data, n);
    if (!e && r == S3S_END) reading_note(reader);
    watch_reader(&w, NULL);
    s3s_reader_close(reader);
    watch_remove(&w);
    board_remove(&row);
    if (e && name) return fail_file(g->uri, "cannot write '%s': %s", name, strerror(e));
    if (e) return output_failed(e);
    return r == S3S_END ? DONE : fail(g->uri, &err);
}

/* Progress is for whoever waits before a terminal, unless that scrolls by with the data itself. */
static void progress_start(int stdout_has_data, int each_row) {
    int wanted = isatty(STDERR_FILENO) && !(stdout_has_data && !each_row && isatty(STDOUT_FILENO));
    if ((wanted || set.progress) && !set.no_progress) board_start(each_row);
}

/* A reader of our output wakes up less often where the pipe between us holds more. */
static void pipe_widen(int fd) {
#ifdef F_SETPIPE_SZ
    (void)fcntl(fd, F_SETPIPE_SZ, 1024 * 1024);
#else
    (void)fd;
#endif
}

static int cat_one(const char *uri) {
    reading g;
    int status = reading_open(&g, uri);
    if (status == DONE) status = reading_copy(&g, STDOUT_FILENO, NULL);
    reading_close(&g);
    return status;
}

static int verb_cat(void) {
    size_t i;
    int status = DONE;
    if (set.plan && asked.operand_count > 1)
        return usage("--plan is of one object, but there are several URIs");
    pipe_widen(STDOUT_FILENO);
    progress_start(1, 0);
    if (!asked.operand_count) return cat_one(NULL);
    for (i = 0; i < asked.operand_count && status == DONE && !result.output_gone; i++)
        status = cat_one(asked.operands[i]);
    return status;
}

/* ---- get: a file appears under its name when it is whole, or not at all */

typedef struct target {
    char *path;
    char *temp; /* NULL: written directly, for it is no regular file */
    int fd;
    int has_mode;
    mode_t mode; /* of the file that is replaced */
} target;

/* The last component of a URI's key; NULL where it is no name for a file. */
static char *name_of(const char *uri) {
    int url = strncmp(uri, "http", 4) == 0;
    size_t n = url ? strcspn(uri, "?#") : strlen(uri), from = n, scheme = 0;
    const char *p = strstr(uri, "://");
    if (p) scheme = (size_t)(p - uri) + 3;
    while (from > scheme && uri[from - 1] != '/') from--;
    if (from == scheme || from == n) return NULL; /* a bucket or host alone, or "directory/" */
    if ((n - from == 1 && uri[from] == '.') || (n - from == 2 && memcmp(uri + from, "..", 2) == 0))
        return NULL;
    return format("%.*s", (int)(n - from), uri + from);
}

/* FILE, FILE/NAME where it is a directory, NAME where it is not given. */
static int target_choose(target *t, const char *uri, const char *file) {
    struct stat st;
    int directory = !file || (stat(file, &st) == 0 && S_ISDIR(st.st_mode)) ||
                    (*file && file[strlen(file) - 1] == '/');
    char *name = directory ? name_of(uri) : NULL;
    memset(t, 0, sizeof *t);
    t->fd = -1;
    if (directory && !name)
        return usage("'%s' ends in no name for a file; give one: get URI FILE", uri);
    if (!directory) t->path = format("%s", file);
    else if (!file) t->path = format("%s", name);
    else t->path = format("%s%s%s", file, file[strlen(file) - 1] == '/' ? "" : "/", name);
    free(name);
    return DONE;
}

/* A new name beside the target's, so that the rename stays within one file system. */
static int target_create_temp(target *t) {
    const char *slash = strrchr(t->path, '/'), *name = slash ? slash + 1 : t->path;
    int tries, fd = -1;
    for (tries = 0; tries < 16 && fd < 0; tries++) {
        unsigned random = (unsigned)((uint64_t)now_us() * 2654435761u >> 3) + (unsigned)tries;
        free(t->temp);
        t->temp = format("%.*s.%.180s.s3stream-%ld-%08x", (int)(name - t->path), t->path, name,
                         (long)getpid(), random);
        fd = temp_create(t->temp);
        if (fd < 0 && errno != EEXIST) break;
    }
    return fd;
}

static int target_open(target *t, const char *uri) {
    struct stat st;
    int there = stat(t->path, &st) == 0;
    if (there && S_ISREG(st.st_mode)) t->has_mode = 1, t->mode = st.st_mode & 07777;
    if (there && S_ISDIR(st.st_mode)) return fail_file(uri, "'%s' is a directory", t->path);
    if (there && !S_ISREG(st.st_mode)) t->fd = open(t->path, O_WRONLY | O_CLOEXEC);
    else t->fd = target_create_temp(t);
    if (t->fd >= 0) return DONE;
    free(t->temp);
    t->temp = NULL;
    return fail_file(uri, "cannot create '%s': %s", t->path, strerror(errno));
}

/* On the disk first, then under its name. */
static int target_commit(target *t, const char *uri) {
    int e = 0;
    if (t->temp && t->has_mode && fchmod(t->fd, t->mode) != 0) e = errno;
    if (t->temp && fsync(t->fd) != 0 && errno != EINVAL && errno != EROFS) e = errno;
    if (close(t->fd) != 0 && !e) e = errno;
    t->fd = -1;
    if (!e && t->temp) e = temp_commit(t->temp, t->path);
    if (e) return fail_file(uri, "cannot write '%s': %s", t->path, strerror(e));
    free(t->temp);
    t->temp = NULL;
    return DONE;
}

static void target_close(target *t) {
    if (t->fd >= 0) (void)close(t->fd);
    if (t->temp) temp_remove(t->temp);
    free(t->temp);
    free(t->path);
}

static int verb_get(void) {
    const char *uri = asked.operands[0], *file = asked.operand_count > 1 ? asked.operands[1] : NULL;
    target t;
    reading g;
    int status;
    if (file && strcmp(file, "-") == 0) {
        progress_start(1, 0);
        return cat_one(uri);
    }
    status = target_choose(&t, uri, file);
    if (status) return status;
    progress_start(0, 0);
    status = reading_open(&g, uri);
    if (status == DONE) status = target_open(&t, uri);
    if (status == DONE) status = reading_copy(&g, t.fd, t.path);
    if (status == DONE) status = target_commit(&t, uri);
    reading_close(&g);
    target_close(&t);
    return status;
}

/* ---- plan */

static int plan_make(reading *g) {
    const s3s_read_options *o = &g->options;
    s3s_plan_options p;
    s3s_error err;
    memset(&p, 0, sizeof p);
    p.offset = o->offset;
    p.length = o->length;
    p.size = o->size;
    p.shard_count = set.shards;
    p.records = o->records;
    p.strategy = o->strategy;
    p.window = o->window;
    p.expected_etag = o->expected_etag;
    p.version_id = o->version_id;
    return s3s_plan_create(result.client, g->uri, &p, &g->plan, &err) == S3S_OK
               ? DONE
               : fail(g->uri, &err);
}

static int plan_print_json(const s3s_plan *plan) {
    s3s_buffer text;
    s3s_error err;
    if (s3s_plan_format(plan, &text, &err) != S3S_OK) return fail(s3s_plan_uri(plan), &err);
    (void)print("%s", (const char *)text.data);
    s3s_buffer_free(&text);
    return DONE;
}

static void plan_print(const s3s_plan *plan) {
    uint32_t i, n = s3s_plan_count(plan);
    s3s_slice s;
    (void)print("%8s %15s %15s %15s  %s\n", "shard", "start", "end", "bytes", "exact");
    for (i = 0; i < n; i++) {
        if (s3s_plan_slice(plan, i, &s) != S3S_OK) break;
        if (!print("%8lu %15llu %15llu %15llu  %s\n", (ul)i, (ull)s.start, (ull)s.end,
                   (ull)(s.end - s.start), s.exact ? "yes" : "no"))
            break;
    }
}

static int verb_plan(void) {
    reading g;
    int status;
    if (!set.shards) return usage("give -n N, the number of shards");
    status = reading_open(&g, asked.operands[0]);
    if (status == DONE) status = plan_make(&g);
    if (status == DONE) {
        memcpy(result.etag, s3s_plan_object(g.plan)->etag, sizeof result.etag);
        result.pinned = result.etag[0] == '"';
        if (set.json) status = plan_print_json(g.plan);
        else plan_print(g.plan);
    }
    reading_close(&g);
    return status;
}

/* >>store
 * put, ls, stat and rm. */

/* ---- put: one object's bytes, mapped; a stream is spooled first, to know its length */

typedef struct upload {
    int fd;
    struct stat before;
    void *data;
    size_t n;
} upload;

/* For a signal handler, so it is written before it can be needed. */
static char upload_cut_text[500];

/* A page of the mapping is gone: the file was cut short while we read it. */
static void upload_cut(int signal_number) {
    ssize_t ignored = write(STDERR_FILENO, upload_cut_text, strlen(upload_cut_text));
    (void)ignored, (void)signal_number;
    _exit(FAILED);
}

static int upload_too_large(const char *file) {
    return fail_text(file, s3s_result_name(S3S_E_TOO_LARGE),
                     "more than 5 GiB, the most that one PUT takes; split it into several objects");
}

static int upload_spool(upload *u, const char *file, int from) {
    uint64_t n = 0;
    size_t cap = 1024 * 1024;
    char *buf = (char *)need(malloc(cap));
    int e = 0;
    u->fd = temp_anonymous();
    if (u->fd < 0) e = errno;
    while (!e) {
        ssize_t k = read(from, buf, cap);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            e = k < 0 ? errno : 0;
            break;
        }
        n += (uint64_t)k;
        if (n > PUT_MAX) break;
        e = write_all(u->fd, buf, (size_t)k);
    }
    free(buf);
    if (e) return fail_file(file, "cannot spool in TMPDIR, %s: %s", temp_where(), strerror(e));
    return n > PUT_MAX ? upload_too_large(file) : DONE;
}

static int upload_map(upload *u, const char *file) {
    uint64_t size = (uint64_t)u->before.st_size;
    if (size > PUT_MAX || size > SIZE_MAX) return upload_too_large(file);
    u->n = (size_t)size;
    if (u->n) u->data = mmap(NULL, u->n, PROT_READ, MAP_PRIVATE, u->fd, 0);
    if (u->data != MAP_FAILED) return DONE;
    u->data = NULL;
    return fail_file(file, "cannot be mapped: %s", strerror(errno));
}

/* A file that is read from its start is mapped as it is; stdin may stand in the midst of one. */
static int upload_open(upload *u, const char *file) {
    int from = STDIN_FILENO, status = DONE;
    memset(u, 0, sizeof *u);
    if (strcmp(file, "-") != 0) from = open(file, O_RDONLY | O_CLOEXEC);
    u->fd = from;
    if (from < 0 || fstat(from, &u->before) != 0) return fail_file(file, "%s", strerror(errno));
    if (S_ISDIR(u->before.st_mode)) return fail_file(file, "it is a directory");
    if (!S_ISREG(u->before.st_mode) || lseek(from, 0, SEEK_CUR) != 0) {
        status = upload_spool(u, file, from);
        if (from != STDIN_FILENO) (void)close(from);
        if (!status && fstat(u->fd, &u->before) != 0)
            status = fail_file(file, "%s", strerror(errno));
    }
    return status ? status : upload_map(u, file);
}

static void upload_close(upload *u) {
    if (u->data) (void)munmap(u->data, u->n);
    if (u->fd > STDIN_FILENO) (void)close(u->fd);
}

static int upload_changed(const upload *u) {
    struct stat now;
    return fstat(u->fd, &now) != 0 || now.st_size != u->before.st_size ||
           now.st_mtime != u->before.st_mtime;
}

static int upload_send(upload *u, const char *file, const char *uri) {
    s3s_write_options o;
    s3s_object object;
    s3s_error err;
    s3s_result r;
    board_row row;
    memset(&o, 0, sizeof o);
    memset(&row, 0, sizeof row);
    o.content_type = set.content_type;
    o.if_match = set.if_match;
    o.if_none_match = set.if_none_match;
    o.sign_payload = set.sign_payload;
    o.progress = board.running ? board_progress : NULL;
    o.progress_user = &row;
    board_add(&row);
    r = s3s_put(result.client, uri, u->data, u->n, &o, &object, &err);
    board_remove(&row);
    if (upload_changed(u))
        return fail_text(uri, "S3S_E_CHANGED", "'%s' was changed while it was sent%s", file,
                         r == S3S_OK ? "; what is stored may be a mixture" : "");
    if (r != S3S_OK) return fail(uri, &err);
    result.sent = u->n;
    memcpy(result.etag, object.etag, sizeof result.etag);
    return DONE;
}

/* A URI that ends in '/' takes the file's name. */
static char *upload_uri(const char *file, const char *uri) {
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    if (!*uri || uri[strlen(uri) - 1] != '/') return format("%s", uri);
    return strcmp(file, "-") == 0 || !*name ? NULL : format("%s%s", uri, name);
}

static int verb_put(void) {
    const char *file = asked.operands[0];
    char *uri = upload_uri(file, asked.operands[1]), shown[301];
    upload u;
    int status;
    if (!uri) return usage("'%s' lacks the object's name", asked.operands[1]);
    (void)snprintf(upload_cut_text, sizeof upload_cut_text - 1,
                   "s3stream: put %s: '%.80s' was cut short while it was sent",
                   uri_show(uri, shown), file);
    line_clean(upload_cut_text);
    upload_cut_text[strlen(upload_cut_text)] = '\n';
    (void)signal(SIGBUS, upload_cut);
    status = upload_open(&u, file);
    progress_start(0, 0);
    if (status == DONE) status = upload_send(&u, file, uri);
    upload_close(&u);
    free(uri);
    return status;
}

/* ---- ls */

static void member(const char *name, const char *value) { /* of a JSON object, not its first */
    (void)print(",\"%s\":", name);
    json_text(stdout, value);
}

static void entry_print_json(const s3s_entry *e, int buckets) {
    (void)print("{\"%s\":", buckets ? "bucket" : e->is_prefix ? "prefix" : "key");
    json_text(stdout, e->key);
    if (!buckets && !e->is_prefix) {
        (void)print(",\"size\":%llu", (ull)e->size);
        member("etag", e->etag);
    }
    if (!e->is_prefix) member("last_modified", e->last_modified);
    (void)print("}\n");
}

/* Columns as others print them: date, time (UTC), size, key. */
static void entry_print(const s3s_entry *e, int buckets, size_t skip) {
    size_t n = strlen(e->key);
    const char *when = e->last_modified;
    if (e->is_prefix) (void)print("%30s", "PRE ");
    else (void)print("%.10s %.8s ", when, strlen(when) > 11 ? when + 11 : "");
    if (!e->is_prefix && !buckets) (void)print("%10llu ", (ull)e->size);
    key_show(stdout, e->key + (skip < n ? skip : 0));
    (void)print("\n");
}

static int verb_ls(void) {
    const char *uri = asked.operand_count ? asked.operands[0] : "s3://", *p;
    const s3s_entry *e;
    s3s_list_options o;
    s3s_list *list = NULL;
    s3s_error err;
    s3s_result r;
    size_t skip = 0;
    int buckets = strcmp(uri, "s3://") == 0;
    memset(&o, 0, sizeof o);
    if (!set.recursive) o.delimiter = "/";
    p = strncmp(uri, "s3://", 5) == 0 ? strchr(uri + 5, '/') : NULL;
    if (p && !set.recursive) skip = (size_t)(strrchr(uri, '/') - p); /* names from their level on */
    if (s3s_list_open(result.client, uri, &o, &list, &err) != S3S_OK) return fail(uri, &err);
    while ((r = s3s_list_next(list, &e, &err)) == S3S_OK) {
        if (set.json) entry_print_json(e, buckets);
        else entry_print(e, buckets, skip);
        if (result.print_error) break;
    }
    s3s_list_close(list);
    return r == S3S_OK || r == S3S_END ? DONE : fail(uri, &err);
}

/* ---- stat */

static void fact(const char *name, const char *value) {
    if (!*value) return;
    (void)print("%-14s ", name);
    key_show(stdout, value);
    (void)print("\n");
}

static void object_print(const char *uri, const s3s_object *o) {
    const char *line = o->metadata;
    fact("uri", uri);
    (void)print("%-14s %llu\n", "size", (ull)o->size);
    fact("etag", o->etag);
    fact("last-modified", o->last_modified);
    fact("version-id", o->version_id);
    fact("content-type", o->content_type);
    fact("storage-class", o->storage_class);
    while (*line) {
        size_t n = strcspn(line, "\n");
        char *text = format("%.*s", (int)n, line);
        fact("metadata", text);
        free(text);
        line += n + (line[n] == '\n');
    }
}

/* "name: value\n" lines as a JSON object. */
static void metadata_print_json(const char *line) {
    int first = 1;
    (void)print(",\"metadata\":{");
    while (*line) {
        size_t n = strcspn(line, "\n"), k = strcspn(line, ":");
        char *name = format("%.*s", (int)(k < n ? k : n), line), *value;
        if (k < n) k += line[k + 1] == ' ' ? 2 : 1;
        value = format("%.*s", (int)(k < n ? n - k : 0), line + (k < n ? k : n));
        if (!first) (void)print(",");
        first = 0;
        json_text(stdout, name);
        (void)print(":");
        json_text(stdout, value);
        free(name);
        free(value);
        line += n + (line[n] == '\n');
    }
    (void)print("}");
}

static void object_print_json(const char *uri, const s3s_object *o) {
    (void)print("{\"uri\":");
    json_text(stdout, uri);
    (void)print(",\"size\":%llu", (ull)o->size);
    member("etag", o->etag);
    member("last_modified", o->last_modified);
    member("version_id", o->version_id);
    member("content_type", o->content_type);
    member("storage_class", o->storage_class);
    metadata_print_json(o->metadata);
    (void)print("}\n");
}

static int verb_stat(void) {
    char shown[301];
    s3s_object object;
    s3s_error err;
    const char *uri = asked.operands[0];
    if (s3s_head(result.client, uri, &object, &err) != S3S_OK) return fail(uri, &err);
    memcpy(result.etag, object.etag, sizeof result.etag);
    if (strncmp(uri, "http", 4) == 0) uri = uri_show(uri, shown);
    if (set.json) object_print_json(uri, &object);
    else object_print(uri, &object);
    return DONE;
}

/* ---- rm */

/* Deleted is one object by its name: never a bucket, nor what looks like a directory. */
static int rm_check(const char *uri) {
    const char *key = strncmp(uri, "s3://", 5) == 0 ? strchr(uri + 5, '/') : NULL;
    if (strncmp(uri, "s3://", 5) != 0) return usage("'%s' is not an s3:// object", uri);
    if (!key || !key[1]) return usage("'%s' names a bucket, not an object", uri);
    if (key[strlen(key) - 1] == '/')
        return usage("'%s' ends in '/': give each object's own name", uri);
    return DONE;
}

static int verb_rm(void) {
    size_t i;
    s3s_error err;
    int status = DONE;
    for (i = 0; i < asked.operand_count && status == DONE; i++)
        status = rm_check(asked.operands[i]);
    for (i = 0; i < asked.operand_count && status == DONE; i++)
        if (s3s_delete(result.client, asked.operands[i], &err) != S3S_OK)
            status = fail(asked.operands[i], &err);
    return status;
}

/* >>run
 * A job is a shard at work: a reader, a command that it is fed to, and, where outputs are
 * concatenated, a collector that takes the command's output. The output of the lowest shard that is
 * not over (the front) goes straight to stdout; the others wait in unlinked files ("spools"), each
 * written by its own collector, until the front reaches them. Who ends the front shard also empties
 * the spools of those that ended before it.
 *
 *     feeder     run_take -> job_open -> job_start -> job_feed -> child_end -> shard_over -> again
 *     collector  read the command's output -> stdout when at the front, else the spool
 *
 * A command must never take a truncated input for a whole one: when its reader fails, its whole
 * process group is ended before its stdin is closed. The first failure halts everything, unless
 * --keep-going. */
enum { SPOOLS_MAX = 256, TICK_MS = 100, PATIENCE_US = 5000000 };

typedef struct shard {
    uint64_t start, end; /* where its records are, once known */
    int known;
    int over;
    int broken;        /* its reader failed: its output does not count */
    int status;        /* of its command, as from waitpid */
    int spool;         /* descriptor, -1 where nothing had to wait */
    uint64_t spooled;  /* bytes in it */
    s3s_stats stats;
} shard;

typedef struct run {
    reading from;
    s3s_object object;   /* of the first response: what pins the shards to one version */
    char command[100];   /* for messages */
    const char *merge;   /* NULL: concatenate */
    char *directory;     /* of the outputs, with merge */
    uint32_t count, jobs;
    int empty;           /* the object has no byte, so no reader is needed */
    shard *shards;
    struct job *first;   /* shard 0's, opened ahead */
    pthread_mutex_t lock;
    struct { /* guarded by lock, as is shards[].over; the rest of a shard is its job's until then */
        uint32_t next, front, failed;
        unsigned spools;
        char why[700], code[40]; /* of the first failure */
    } at;
} run;

typedef struct job {
    run *of;
    uint32_t index;
    s3s_reader *reader;
    watched watch;
    board_row row;
    pid_t pid;
    int in, out;         /* our ends of the command's stdin and stdout; -1 = none */
    int abandoned;       /* its output's end is not waited for; guarded by run.lock */
} job;

static run *run_shown; /* for the statistics */

/* ---- what happened */

PRINTF(3, 4)
static void run_fail(run *r, const char *code, const char *f, ...) {
    char text[700];
    va_list args;
    if (halted()) return; /* only follows from what halted us */
    va_start(args, f);
    (void)vsnprintf(text, sizeof text, f, args);
    va_end(args);
    pthread_mutex_lock(&r->lock);
    if (r->at.failed++ == 0) {
        (void)snprintf(r->at.why, sizeof r->at.why, "%s", text);
        (void)snprintf(r->at.code, sizeof r->at.code, "%s", code);
    }
    pthread_mutex_unlock(&r->lock);
    if (!set.keep_going) halt();
    else if (set.verbose) say("%s", text);
}

/* Standard output or a spool cannot take more: there is no going on from that. */
static void run_cannot_write(run *r, const char *what, int e) {
    if (e == EPIPE && !what) {
        pthread_mutex_lock(&r->lock);
        result.output_gone = 1;
        pthread_mutex_unlock(&r->lock);
    } else {
        run_fail(r, "S3S_E_FILE", "cannot write %s: %s", what ? what : "to stdout", strerror(e));
    }
    halt(); /* also with --keep-going */
}

static void shard_fail(run *r, uint32_t index, const s3s_error *err) {
    run_fail(r, s3s_result_name(err->code), "shard %lu of %lu: %s", (ul)index, (ul)r->count,
             message_bare(err->message, r->from.uri));
}

/* ---- children */

/* The environment with the shard's number; only the array and its first two strings are ours. */
static char **child_environment(uint32_t index, uint32_t count) {
    size_t n = 0, k = 0;
    char **env;
    while (environ[n]) n++;
    env = (char **)need(malloc((n + 3) * sizeof *env));
    env[k++] = format("S3S_SHARD_INDEX=%lu", (ul)index);
    env[k++] = format("S3S_SHARD_COUNT=%lu", (ul)count);
    for (n = 0; environ[n]; n++)
        if (strncmp(environ[n], "S3S_SHARD_INDEX=", 16) != 0 &&
            strncmp(environ[n], "S3S_SHARD_COUNT=", 16) != 0)
            env[k++] = environ[n];
    env[k] = NULL;
    return env;
}

static void child_environment_free(char **env) {
    free(env[0]);
    free(env[1]);
    free(env);
}

/* Signals as a fresh program expects them, whatever we or whoever started us did; a group of its
 * own, so that what the command starts can be ended with it. SIGHUP stays as nohup may have left
 * it. */
static void child_attributes(posix_spawnattr_t *a) {
    sigset_t all, none;
    (void)posix_spawnattr_init(a);
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGKILL);
    (void)sigdelset(&all, SIGSTOP);
    (void)sigdelset(&all, SIGHUP);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(a, &all);
    (void)posix_spawnattr_setsigmask(a, &none);
    (void)posix_spawnattr_setpgroup(a, 0);
    (void)posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                          POSIX_SPAWN_SETPGROUP);
}

/* in: -1 = /dev/null, out: -1 = ours. 0 or errno. */
static int child_start(pid_t *pid, char **argv, char **env, int in, int out) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int e;
    (void)posix_spawn_file_actions_init(&files);
    child_attributes(&attributes);
    if (in >= 0) e = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    else e = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!e && out >= 0) e = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    if (!e) e = posix_spawnp(pid, argv[0], &files, &attributes, argv, env);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return e;
}

/* Has it ended? It stays a zombie, so that its process group's number is not given to others. */
static int child_is_over(pid_t pid) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

/* Waits for a command. One that shall not go on gets SIGTERM, and SIGKILL if it does not heed that;
 * then nothing of its group is left to see its input end. */
static int child_end(watched *w, pid_t pid, int unwanted) {
    int64_t asked_us = 0;
    long nap = 100;
    int status = 0, kill_it = unwanted;
    while (!child_is_over(pid)) {
        kill_it = unwanted || halted();
        if (kill_it && !asked_us) {
            (void)kill(-pid, SIGTERM);
            asked_us = now_us();
            nap = 100;
        } else if (kill_it && now_us() - asked_us > (interrupted() ? 500000 : PATIENCE_US)) {
            (void)kill(-pid, SIGKILL);
        }
        nap_us(nap);
        if (nap < 10000) nap += nap / 2;
    }
    if (kill_it) (void)kill(-pid, SIGKILL);
    watch_child(w, 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return status;
}

/* "exited with status 2", "was killed by signal 9" */
static const char *status_show(int status, char out[60]) {
    if (WIFSIGNALED(status)) (void)snprintf(out, 60, "was killed by signal %d", WTERMSIG(status));
    else (void)snprintf(out, 60, "exited with status %d", WEXITSTATUS(status));
    return out;
}

/* ---- the order of outputs */

static int run_is_front(run *r, uint32_t index) {
    int yes;
    pthread_mutex_lock(&r->lock);
    yes = r->at.front == index;
    pthread_mutex_unlock(&r->lock);
    return yes;
}

/* Moves a spool to stdout. Called by its collector or, after that, by whoever moves the front. */
static int shard_unspool(run *r, shard *s) {
    static const size_t cap = 65536;
    char *buf;
    uint64_t at = 0;
    int e = 0;
    if (!s->spooled) return 1;
    buf = (char *)need(malloc(cap));
    while (!e && at < s->spooled) {
        ssize_t n = pread(s->spool, buf, cap, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            run_cannot_write(r, "again what was spooled", n < 0 ? errno : EIO);
            break;
        }
        e = emit(buf, (size_t)n);
        at += (uint64_t)n;
    }
    free(buf);
    if (e) run_cannot_write(r, NULL, e);
    if (at < s->spooled) return 0;
    s->spooled = 0;
    (void)lseek(s->spool, 0, SEEK_SET);
    (void)ftruncate(s->spool, 0);
    return !e;
}

static int shard_spool(run *r, shard *s, const void *data, size_t n) {
    int e = 0;
    if (s->spool < 0) {
        s->spool = temp_anonymous();
        if (s->spool < 0) e = errno;
        pthread_mutex_lock(&r->lock);
        r->at.spools += s->spool >= 0;
        pthread_mutex_unlock(&r->lock);
    }
    if (!e) e = write_all(s->spool, data, n);
    if (e) {
        char *what = format("a spool in %s (TMPDIR chooses the place)", temp_where());
        run_cannot_write(r, what, e);
        free(what);
        return 0;
    }
    s->spooled += n;
    return 1;
}

static void shard_spool_close(run *r, shard *s) {
    if (s->spool < 0) return;
    (void)close(s->spool);
    s->spool = -1;
    pthread_mutex_lock(&r->lock);
    r->at.spools--;
    pthread_mutex_unlock(&r->lock);
}

/* A shard has ended. If it was the front, the front moves on over all that ended before. Once we
 * are halted it stays where it is: what was written is the beginning of the whole, never a part of
 * it with a gap in front of the next. */
static void shard_over(run *r, uint32_t index) {
    pthread_mutex_lock(&r->lock);
    r->shards[index].over = 1;
    if (r->at.front == index)
        while (r->at.front < r->count && r->shards[r->at.front].over && !halted()) {
            shard *s = &r->shards[r->at.front];
            pthread_mutex_unlock(&r->lock);
            if (!s->broken) (void)shard_unspool(r, s);
            shard_spool_close(r, s);
            pthread_mutex_lock(&r->lock);
            if (!halted()) r->at.front++;
        }
    pthread_mutex_unlock(&r->lock);
}

static int job_is_abandoned(job *j) {
    int yes;
    pthread_mutex_lock(&j->of->lock);
    yes = j->abandoned;
    pthread_mutex_unlock(&j->of->lock);
    return yes || halted();
}

/* The thread that takes a command's output. */
static void *job_collect(void *user) {
    job *j = (job *)user;
    run *r = j->of;
    shard *s = &r->shards[j->index];
    char *buf = (char *)need(malloc(65536));
    int well = 1;
    while (well && !job_is_abandoned(j)) {
        struct pollfd p = {0, POLLIN, 0};
        ssize_t n;
        int front;
        p.fd = j->out;
        (void)poll(&p, 1, TICK_MS);
        front = run_is_front(r, j->index);
        if (front) well = shard_unspool(r, s);
        if (!p.revents || !well) continue;
        n = read(j->out, buf, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        if (!front) {
            well = shard_spool(r, s, buf, (size_t)n);
        } else {
            int e = emit(buf, (size_t)n);
            if (e) run_cannot_write(r, NULL, e);
            well = !e;
        }
    }
    free(buf);
    return NULL;
}

/* ---- jobs */

static void job_close_reader(job *j) {
    if (!j->reader) return;
    watch_reader(&j->watch, NULL);
    s3s_reader_stats(j->reader, &j->of->shards[j->index].stats);
    s3s_reader_close(j->reader);
    j->reader = NULL;
}

static void job_close(job *j) {
    job_close_reader(j);
    if (j->in >= 0) (void)close(j->in);
    if (j->out >= 0) (void)close(j->out);
    watch_remove(&j->watch);
    board_remove(&j->row);
    free(j);
}

/* Opens a shard's reader, so that its first request is on the way while its command starts. */
static job *job_open(run *r, uint32_t index, s3s_error *err) {
    job *j = (job *)need(calloc(1, sizeof *j));
    s3s_read_options o = r->from.options;
    j->of = r;
    j->index = index;
    j->in = j->out = -1;
    (void)snprintf(j->row.name, sizeof j->row.name, "shard %lu", (ul)index);
    o.shard_index = index;
    o.shard_count = r->from.plan ? 0 : r->count;
    o.progress = board.running ? board_progress : NULL;
    o.progress_user = &j->row;
    watch_add(&j->watch);
    board_add(&j->row);
    if (r->empty) return j;
    if (s3s_reader_open(result.client, r->from.uri, &o, &j->reader, err) == S3S_OK) {
        watch_reader(&j->watch, j->reader);
        return j;
    }
    job_close(j);
    return NULL;
}

static char *run_output_path(const run *r, uint32_t index) {
    return format("%s/%07lu", r->directory, (ul)index);
}

/* The command's end of its stdout: a pipe to the collector, or a file for --merge. 0 or errno. */
static int job_open_output(job *j, int *theirs) {
    int ends[2];
    char *path;
    if (!j->of->merge) {
        if (pipe_open(ends) != 0) return errno;
        j->out = ends[0];
        *theirs = ends[1];
        return 0;
    }
    path = run_output_path(j->of, j->index);
    *theirs = temp_create(path);
    free(path);
    return *theirs < 0 ? errno : 0;
}

/* 0 or errno. Our end of the command's stdin does not block, so that a halt reaches us. */
static int job_start(job *j) {
    int ends[2] = {-1, -1}, out = -1, e = 0;
    char **env = child_environment(j->index, j->of->count);
    if (pipe_open(ends) != 0) e = errno;
    if (!e) e = job_open_output(j, &out);
    if (!e) e = child_start(&j->pid, asked.command, env, ends[0], out);
    if (!e) watch_child(&j->watch, j->pid);
    if (ends[0] >= 0) (void)close(ends[0]);
    if (out >= 0) (void)close(out);
    child_environment_free(env);
    j->in = ends[1];
    if (j->in < 0) return e;
    pipe_widen(j->in);
    (void)fcntl(j->in, F_SETFL, O_NONBLOCK);
    return e;
}

/* Writes to the command's stdin. 0, ECANCELED, or errno. */
static int job_write(job *j, const void *data, size_t n) {
    const char *p = (const char *)data;
    while (n) {
        ssize_t k = write(j->in, p, n);
        if (k >= 0) {
            p += k;
            n -= (size_t)k;
        } else if (errno == EAGAIN) {
            struct pollfd room = {0, POLLOUT, 0};
            room.fd = j->in;
            (void)poll(&room, 1, TICK_MS);
            if (halted()) return ECANCELED;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* S3S_END: the command has all of its input, or wants no more (its exit status tells why). */
static s3s_result job_feed(job *j, s3s_error *err) {
    const void *data;
    size_t n;
    s3s_result r = S3S_END;
    s3s_slice slice;
    shard *s = &j->of->shards[j->index];
    while (j->reader && (r = s3s_reader_next(j->reader, &data, &n, err)) == S3S_OK) {
        int e = job_write(j, data, n);
        if (e == EPIPE) return S3S_END;
        if (e) {
            memset(err, 0, sizeof *err);
            (void)snprintf(err->message, sizeof err->message, "cannot write to '%s': %s",
                           j->of->command, strerror(e));
            return err->code = e == ECANCELED ? S3S_E_CANCELLED : S3S_E_FILE;
        }
    }
    if (r != S3S_END || !j->reader) return r;
    s->known = s3s_reader_info(j->reader, NULL, &slice, NULL) == S3S_OK;
    if (s->known) s->start = slice.start, s->end = slice.end;
    return S3S_END;
}

/* Feeds a started command to its end. */
static void job_work(job *j) {
    run *r = j->of;
    shard *s = &r->shards[j->index];
    pthread_t collector;
    s3s_error err;
    char how[60];
    int collects = j->out >= 0 && pthread_create(&collector, NULL, job_collect, j) == 0;
    s3s_result fed;
    memset(&err, 0, sizeof err);
    fed = collects || j->out < 0 ? job_feed(j, &err) : S3S_E_MEMORY;
    s->broken = fed != S3S_END;
    if (s->broken) {
        s->status = child_end(&j->watch, j->pid, 1); /* before its stdin is closed */
        pthread_mutex_lock(&r->lock);
        j->abandoned = 1;
        pthread_mutex_unlock(&r->lock);
    }
    job_close_reader(j);
    (void)close(j->in);
    j->in = -1;
    if (collects) (void)pthread_join(collector, NULL);
    if (!s->broken) s->status = child_end(&j->watch, j->pid, 0);
    if (s->broken && !err.message[0])
        (void)snprintf(err.message, sizeof err.message, "no thread could be started");
    if (s->broken) shard_fail(r, j->index, &err);
    else if (s->status != 0)
        run_fail(r, "COMMAND", "shard %lu of %lu: '%s' %s", (ul)j->index, (ul)r->count, r->command,
                 status_show(s->status, how));
}

static void run_shard(run *r, uint32_t index) {
    s3s_error err;
    job *j = r->first && index == 0 ? r->first : job_open(r, index, &err);
    int e;
    if (!j) {
        r->shards[index].broken = 1;
        shard_fail(r, index, &err);
        shard_over(r, index);
        return;
    }
    e = job_start(j);
    if (e) {
        r->shards[index].broken = 1;
        run_fail(r, "COMMAND", "shard %lu of %lu: cannot start '%s': %s", (ul)index, (ul)r->count,
                 r->command, strerror(e));
    } else {
        job_work(j);
    }
    job_close(j);
    shard_over(r, index);
}

/* The next shard; 0 when there is none. A descriptor each bounds how many outputs may wait. */
static int run_take(run *r, uint32_t *index) {
    int crowded, taken;
    do {
        pthread_mutex_lock(&r->lock);
        crowded = r->at.spools >= SPOOLS_MAX;
        taken = !crowded && r->at.next < r->count;
        if (taken) *index = r->at.next++;
        pthread_mutex_unlock(&r->lock);
        if (crowded) nap_us(TICK_MS * 1000);
    } while (crowded && !halted());
    return taken && !halted();
}

static void *run_work(void *user) {
    run *r = (run *)user;
    uint32_t index;
    while (run_take(r, &index)) run_shard(r, index);
    return NULL;
}

/* ---- the whole */

/* --memory is for all that happens at once. */
static int run_divide(run *r) {
    uint64_t memory = set.memory ? set.memory : 64 * MIB;
    uint64_t most = memory / (set.part_size ? set.part_size : MIB / 4);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (most == 0 && set.part_size)
        return usage("--part-size %llu does not fit --memory %llu; lower it or raise that",
                     (ull)set.part_size, (ull)memory);
    r->jobs = set.jobs ? set.jobs : cores > 4 ? (uint32_t)cores : 4;
    if (r->jobs > r->count) r->jobs = r->count;
    if (most && r->jobs > most) {
        r->jobs = (uint32_t)most;
        if (set.verbose) say("--memory %llu has room for %lu jobs", (ull)memory, (ul)r->jobs);
    }
    r->from.options.memory = memory / r->jobs;
    return DONE;
}

/* All shards are to be of one version: the first one's response tells size and ETag, and the others
 * are opened with them. */
static int run_pin(run *r) {
    s3s_read_options *o = &r->from.options;
    s3s_error err;
    int fixed = o->expected_etag || o->version_id;
    if (r->from.plan || (o->size && fixed)) return DONE;
    r->first = job_open(r, 0, &err);
    if (!r->first || s3s_reader_info(r->first->reader, &r->object, NULL, &err) != S3S_OK)
        return fail(r->from.uri, &err);
    o->size = r->object.size;
    r->empty = o->size == 0;
    if (fixed) return DONE;
    if (r->object.etag[0] == '"') {
        o->expected_etag = r->object.etag;
        return DONE;
    }
    result.unpinned = 1;
    if (set.verbose) say("the object has no strong ETag: its shards are not tied to one version");
    return DONE;
}

static uint64_t run_total(const run *r) {
    const s3s_read_options *o = &r->from.options;
    s3s_slice first, last;
    uint64_t left = o->offset < o->size ? o->size - o->offset : 0;
    if (!r->from.plan) return o->length && o->length < left ? o->length : left;
    if (s3s_plan_slice(r->from.plan, 0, &first) != S3S_OK) return 0;
    if (s3s_plan_slice(r->from.plan, r->count - 1, &last) != S3S_OK) return 0;
    return last.end - first.start;
}

static void run_start(run *r) {
    uint32_t i, started = 0;
    pthread_t *threads = (pthread_t *)need(malloc(r->jobs * sizeof *threads));
    pthread_mutex_lock(&board.lock);
    board.total = run_total(r);
    pthread_mutex_unlock(&board.lock);
    while (started + 1 < r->jobs && pthread_create(&threads[started], NULL, run_work, r) == 0)
        started++;
    (void)run_work(r);
    for (i = 0; i < started; i++) (void)pthread_join(threads[i], NULL);
    free(threads);
}

/* The outputs go to CMD as "$@". One that does not mention them gets them at its end. */
static int run_merge(run *r) {
    int mentions = strstr(r->merge, "$@") || strstr(r->merge, "$*") || strstr(r->merge, "$1");
    char **argv = (char **)need(malloc((r->count + 5) * sizeof *argv)), how[60];
    uint32_t i;
    watched w;
    pid_t pid;
    int e, status = 0;
    argv[0] = format("/bin/sh");
    argv[1] = format("-c");
    argv[2] = format("%s%s", r->merge, mentions ? "" : " \"$@\"");
    argv[3] = format("sh");
    for (i = 0; i < r->count; i++) argv[4 + i] = run_output_path(r, i);
    argv[4 + i] = NULL;
    board_stop();
    watch_add(&w);
    e = child_start(&pid, argv, environ, -1, -1);
    if (!e) {
        watch_child(&w, pid);
        status = child_end(&w, pid, 0);
    }
    watch_remove(&w);
    for (i = 0; argv[i]; i++) free(argv[i]);
    free(argv);
    if (e)
        return fail_text(r->from.uri, "COMMAND", "cannot start --merge '%s': %s", r->merge,
                         strerror(e));
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) return output_failed(EPIPE);
    if (status)
        return fail_text(r->from.uri, "COMMAND", "--merge '%s' %s", r->merge,
                         status_show(status, how));
    return DONE;
}

static int run_end(run *r) {
    if (interrupted()) return FAILED;
    if (r->at.failed > 1 && set.keep_going)
        return fail_text(r->from.uri, r->at.code, "%lu of %lu shards failed; the first: %s",
                         (ul)r->at.failed, (ul)r->count, r->at.why);
    if (r->at.failed) return fail_text(r->from.uri, r->at.code, "%s", r->at.why);
    if (result.output_gone) return DONE;
    return r->merge ? run_merge(r) : DONE;
}

/* The arguments as one text, cut where it would fill the line. */
static void run_name_command(char out[100]) {
    size_t n = 0, i;
    for (i = 0; asked.command[i] && n < 99; i++)
        n += (size_t)snprintf(out + n, 100 - n, "%s%s", i ? " " : "", asked.command[i]);
    if (n > 99) memcpy(out + 96, "...", 4);
}

static void run_more_stats(FILE *to) {
    const run *r = run_shown;
    uint32_t i;
    (void)fprintf(to, ",\"shards\":[");
    for (i = 0; i < r->count; i++) {
        const shard *s = &r->shards[i];
        (void)fprintf(to, "%s\n{\"index\":%lu,", i ? "," : "", (ul)i);
        if (s->known) stats_number("start", s->start), stats_number("end", s->end);
        stats_number("bytes", s->stats.bytes_delivered);
        stats_number("requests", s->stats.requests);
        stats_number("bytes_received", s->stats.bytes_received);
        stats_number("window_misses", s->stats.window_misses);
        (void)fprintf(to, "\"seconds\":%.6f", s->stats.seconds);
        if (s->over && !s->broken && WIFEXITED(s->status))
            (void)fprintf(to, ",\"status\":%d", WEXITSTATUS(s->status));
        (void)fprintf(to, "}");
    }
    (void)fprintf(to, "]");
}

static int run_open(run *r) {
    uint32_t i;
    int status = reading_open(&r->from, asked.operand_count ? asked.operands[0] : NULL);
    if (status) return status;
    if (set.strategy == S3S_STRATEGY_SMART_PREALIGNED && !r->from.plan) {
        status = plan_make(&r->from);
        if (status) return status;
        r->from.options.plan = r->from.plan;
        r->from.options.strategy = S3S_STRATEGY_APPROX_CORRECTION; /* the boundaries are found */
    }
    r->count = r->from.plan ? s3s_plan_count(r->from.plan) : set.shards;
    r->shards = (shard *)need(calloc(r->count, sizeof *r->shards));
    for (i = 0; i < r->count; i++) r->shards[i].spool = -1;
    if (r->merge) {
        r->directory = temp_directory();
        if (!r->directory)
            return fail_file(r->from.uri, "no directory in %s: %s", temp_where(), strerror(errno));
    }
    run_shown = r;
    result.more_stats = run_more_stats;
    status = run_divide(r);
    return status ? status : run_pin(r);
}

/* Which object it was, and whether all shards are of one version of it. */
static void run_note(run *r) {
    const char *etag = r->from.options.expected_etag;
    uint32_t i;
    if (r->object.etag[0]) etag = r->object.etag;
    if (r->from.plan) etag = s3s_plan_object(r->from.plan)->etag;
    (void)snprintf(result.etag, sizeof result.etag, "%s", etag ? etag : "");
    for (i = 0; i < r->count; i++) {
        if (r->shards[i].stats.pinned) result.pinned = 1;
        else if (r->shards[i].stats.requests) result.unpinned = 1;
    }
}

static int verb_run(void) {
    static run r; /* the statistics are written after we return */
    int status;
    if (!asked.command || !asked.command[0])
        return usage("give the command after --: run URI -n N -- CMD ARGS...");
    if (!set.shards && !set.plan) return usage("give -n N, the number of shards");
    (void)pthread_mutex_init(&r.lock, NULL);
    r.merge = set.merge && strcmp(set.merge, "cat") != 0 ? set.merge : NULL;
    run_name_command(r.command);
    progress_start(1, 1);
    status = run_open(&r);
    if (status == DONE) {
        run_start(&r);
        run_note(&r);
        status = run_end(&r);
    } else if (r.first) {
        job_close(r.first);
    }
    free(r.directory);
    reading_close(&r.from);
    return status;
}

/* >>verbs
 * The table of verbs, help as it follows from both tables, and main. */
static int verb_version(void) {
    (void)print("s3stream %s\n", s3s_version());
    return DONE;
}

static int verb_help(void); /* it lists the table that holds it */

static const verb_row verbs[] = {
    {"cat", CAT, verb_cat, "URI...", 1, SIZE_MAX, "objects, ranges or shards to stdout, in order",
     "Reads with many requests at once and writes in order. With --shard I/N just the records\n"
     "whose first byte lies in the I-th of N equal parts: the shards of all N workers,\n"
     "concatenated, are the object, and every record is in exactly one. With --plan the URI may\n"
     "be left out.\n"},
    {"run", RUN, verb_run, "URI -n N -- CMD ARGS...", 1, 1, "shard i on the stdin of its own CMD",
     "Runs CMD once per shard, JOBS at a time, with S3S_SHARD_INDEX and S3S_SHARD_COUNT in its\n"
     "environment. The outputs come in the order of the shards; what has to wait for its turn\n"
     "does so in unlinked files in TMPDIR. With --merge CMD they are files that `sh -c CMD` gets\n"
     "as \"$@\" (at its end, if it does not mention them) once all shards have exited with 0. The\n"
     "first failure ends the other commands. With --plan the shards are the plan's, and -n and\n"
     "the URI may be left out.\n"},
    {"plan", PLAN, verb_plan, "URI -n N", 1, 1, "where N shards begin and end",
     "By default the shards are nominal: each worker finds its ends when it reads. With\n"
     "--strategy smart-prealigned they are found now, by one small request each, and are exact.\n"},
    {"get", GET, verb_get, "URI [FILE]", 1, 2, "an object into a file",
     "FILE defaults to the last component of the key; - is stdout; in a directory it gets that\n"
     "name. The file appears under its name when it is whole and on the disk, or not at all.\n"},
    {"put", PUT, verb_put, "FILE|- URI", 2, 2, "a file, or stdin, as one object",
     "At most 5 GiB. A URI that ends in '/' takes the file's name. What is not a file of known\n"
     "length is spooled to an unlinked one in TMPDIR first.\n"},
    {"ls", LS, verb_ls, "[URI]", 0, 1, "buckets, or the keys below a prefix",
     "s3:// (the default) lists buckets, s3://bucket/prefix one level of keys: date, time (UTC),\n"
     "size, name. Control characters in names are shown as \\xHH.\n"},
    {"stat", STAT, verb_stat, "URI", 1, 1, "size, ETag, date and metadata of an object", ""},
    {"rm", RM, verb_rm, "URI...", 1, SIZE_MAX, "deletes objects, each by its own name",
     "A URI without a key, or that ends in '/', is refused.\n"},
    {"version", VERSION, verb_version, "", 0, 0, "the version", ""},
    {"help", HELP, verb_help, "[VERB]", 0, 1, "this, or what VERB does", ""},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static const verb_row *verb_find(const char *name) {
    size_t i;
    for (i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}

static void help_option(const option_row *o) {
    char left[80];
    size_t n = 0;
    if (o->letter) n = (size_t)snprintf(left, sizeof left, "-%c%s", o->letter, o->name ? ", " : "");
    if (o->name) n += (size_t)snprintf(left + n, sizeof left - n, "--%s", o->name);
    if (o->value) (void)snprintf(left + n, sizeof left - n, " %s", o->value);
    (void)print("  %-22s %s", left, o->text);
    if (*o->otherwise && strcmp(o->otherwise, "none") != 0)
        (void)print("%s(default: %s)", strlen(o->text) < 50 ? " " : "\n                         ",
                    o->otherwise);
    (void)print("\n");
}

static void help_verb(const verb_row *v) {
    const char *more = v->bit & (READS | STAT) ? ", http://host/path, file:///path" : "";
    size_t i;
    (void)print("s3stream %s %s%s: %s\n\n", v->name, v->operands, v->bit & WIRE ? " [OPTIONS]" : "",
                v->text);
    (void)print("%s%s", v->details, *v->details ? "\n" : "");
    for (i = 0; i < OPTIONS; i++)
        if (options[i].verbs & v->bit) help_option(&options[i]);
    if (!(v->bit & WIRE)) return;
    (void)print("\nOptions stand anywhere before --. Each long one that takes a value is also a\n"
                "variable: S3STREAM_REGION for --region. Sizes: K, M, G, T are powers of 1024;\n"
                "KB, MB, GB, TB of 1000. URIs: s3://bucket/key (the key is literal)%s.\n"
                "Keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.\n"
                "Exit status: 0 done, 1 failed, 2 bad usage, 128 + the signal when interrupted.\n",
                more);
}

static int verb_help(void) {
    const verb_row *v = asked.operand_count ? verb_find(asked.operands[0]) : NULL;
    size_t i;
    if (asked.operand_count && !v) return usage("'%s' is no verb", asked.operands[0]);
    if (v) {
        help_verb(v);
        return DONE;
    }
    (void)print("s3stream %s: reads, splits and writes big S3 objects\n\n", s3s_version());
    for (i = 0; i < VERBS; i++) {
        char left[60];
        (void)snprintf(left, sizeof left, "%s %s", verbs[i].name, verbs[i].operands);
        (void)print("  s3stream %-28s %s\n", left, verbs[i].text);
    }
    (void)print("\nCount the lines of a big object in 8 shards, each read and counted beside the\n"
                "others:\n\n"
                "  s3stream run s3://bucket/key -n 8 -- wc -l\n\n"
                "`s3stream help VERB` tells a verb's options.\n");
    return DONE;
}

/* Which verb, and are its operands right in number. What stands behind -- is run's command;
 * elsewhere it is operands that may begin with '-'. */
static int verb_choose(void) {
    const char *name = asked.operand_count ? asked.operands[0] : NULL;
    size_t i, least;
    if (!name) {
        for (i = 0; i < OPTIONS; i++) {
            if (chosen[i].text && options[i].to == &set.help) name = "help";
            if (chosen[i].text && options[i].to == &set.version) name = "version";
        }
        if (!name) return usage("give a verb, as in: s3stream cat s3://bucket/key");
    } else {
        asked.operands++;
        asked.operand_count--;
    }
    asked.verb = verb_find(name);
    if (!asked.verb) return usage("'%s' is no verb", name);
    for (i = 0; asked.verb->bit != RUN && asked.command && asked.command[i]; i++)
        asked.operands[asked.operand_count++] = asked.command[i];
    for (i = 0, least = asked.verb->least; i < OPTIONS; i++) {
        if (chosen[i].text && options[i].to == &set.help) return DONE;
        if (chosen[i].text && options[i].to == &set.plan && asked.verb->bit & (CAT | RUN))
            least = 0;
    }
    if (asked.operand_count < least) return usage("give %s", asked.verb->operands);
    if (asked.operand_count > asked.verb->most)
        return usage("'%s' is one operand too many", asked.operands[asked.verb->most]);
    return DONE;
}

/* Descriptors 0 to 2 that we were started without would become those of sockets and files. Opened
 * the wrong way round, so that using them is an error. */
static void fill_descriptors(void) {
    int fd;
    for (fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            _exit(FAILED);
}

static int verb_has_output(void) {
    int to_stdout = asked.operand_count > 1 && strcmp(asked.operands[1], "-") == 0;
    return asked.verb->bit & GET ? to_stdout : !(asked.verb->bit & (PUT | RM));
}

static int verb_run_on_wire(void) {
    int status = stats_open(verb_has_output());
    if (status) return status;
    watch_start();
    if (set.verbose) options_tell();
    status = client_open();
    if (status == DONE) status = asked.verb->run();
    board_stop();
    return status;
}

/* Statistics are written before stdout is closed if they go there, else after, to tell of that. */
static int finish(int status) {
    int more = 0;
    if (!result.stats_on_stdout) more = output_close();
    if (stats_write() && !more) more = FAILED;
    if (result.stats_on_stdout) more = output_close();
    s3s_client_destroy(result.client);
    watch_stop();
    temp_clear();
    return watch.signal ? 128 + watch.signal : status ? status : more;
}

int main(int argc, char **argv) {
    int status;
    fill_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    result.began_us = now_us();
    status = options_scan(argc, argv);
    if (status == DONE) status = verb_choose();
    if (status == DONE) status = options_resolve();
    if (status) return status;
    if (set.help && asked.verb->bit != HELP) {
        help_verb(asked.verb);
        return finish(DONE);
    }
    options_warn();
    status = asked.verb->bit & WIRE ? verb_run_on_wire() : asked.verb->run();
    return finish(status);
}
