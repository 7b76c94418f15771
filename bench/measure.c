/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * measure - runs one command and prints what it cost, as one CSV row.
 *
 *     measure [--out FILE | --first-byte | --pipe-to CMD] [--fill BYTES] COMMAND ARGS...
 *
 *     wall_s,user_s,sys_s,maxrss_kib,status,first_byte_s,bytes,consumer_cpu_s
 *
 * The command's stdout goes to /dev/null, or
 *     --out FILE      into FILE;
 *     --first-byte    into a pipe that measure drains: first_byte_s is the time from just before the
 *                     fork to the first byte, bytes is how many came;
 *     --pipe-to CMD   into a pipe that `sh -c CMD` reads: its CPU is a column of its own, and what it
 *                     prints comes before the row.
 * --fill touches and frees BYTES of memory first. On a virtual machine that gives free pages back to
 * its host, the first touch of a page costs a trip to the host; filling takes those trips beforehand.
 *
 * status is the exit status, or 128 + the signal; measure itself exits 0 when it could run the command.
 *
 * Why a C program and no script: a process starts with the peak RSS of the one it was forked from, so
 * a command started by an interpreter never shows less than the interpreter's own ten megabytes.
 */
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *out;
    const char *pipe_to;
    int first_byte;
    size_t fill;
};

/* For the signal handler: whom to end when measure is ended. */
static volatile sig_atomic_t command_pid, consumer_pid;

static void die(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void usage(void)
{
    fputs("usage: measure [--out FILE | --first-byte | --pipe-to CMD] [--fill BYTES] COMMAND"
          " ARGS...\n", stderr);
    exit(2);
}

static void end_children(int number)
{
    if (command_pid > 0) kill((pid_t)command_pid, SIGTERM);
    if (consumer_pid > 0) kill((pid_t)consumer_pid, SIGTERM);
    _exit(128 + number);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int status_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* A child does the touching, so that measure's own peak, which the command inherits, stays small. */
static void memory_fill(size_t bytes)
{
    int status;
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        size_t i;
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) _exit(1);
        for (i = 0; i < bytes; i += 4096) p[i] = 1;
        _exit(0);
    }
    command_pid = (sig_atomic_t)pid;
    if (waitpid(pid, &status, 0) < 0) die("waitpid");
    command_pid = 0;
    if (status) fputs("measure: memory could not be filled\n", stderr);
}

/* The end of the pipe that the child must not keep is -1 or closed at exec. */
static pid_t child_start(char *const *argv, int in, int out)
{
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid > 0) return pid;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (in >= 0 && dup2(in, STDIN_FILENO) < 0) _exit(126);
    if (out >= 0 && dup2(out, STDOUT_FILENO) < 0) _exit(126);
    execvp(argv[0], argv);
    fprintf(stderr, "measure: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static unsigned long long drain(int fd, double begin, double *first)
{
    static char buffer[1 << 16];
    unsigned long long bytes = 0;
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die("read");
        if (n == 0) return bytes;
        if (!bytes) *first = seconds_now() - begin;
        bytes += (unsigned long long)n;
    }
}

static void measure(const struct options *o, char **argv)
{
    int ends[2] = {-1, -1}, out, status = 0, consumer_status = 0;
    double begin, wall, first = -1;
    unsigned long long bytes = 0;
    struct rusage used, consumer_used;
    memset(&consumer_used, 0, sizeof consumer_used);

    if (o->first_byte || o->pipe_to) {
        if (pipe(ends) != 0) die("pipe");
        fcntl(ends[0], F_SETFD, FD_CLOEXEC);
        fcntl(ends[1], F_SETFD, FD_CLOEXEC);
        out = ends[1];
    } else {
        out = open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (out < 0) die(o->out);
    }
    if (o->pipe_to) {
        char sh[] = "/bin/sh", c[] = "-c";
        char *consumer[4] = {sh, c, NULL, NULL};
        consumer[2] = strdup(o->pipe_to);
        if (!consumer[2]) die("strdup");
        consumer_pid = (sig_atomic_t)child_start(consumer, ends[0], -1);
        free(consumer[2]);
    }

    begin = seconds_now();
    command_pid = (sig_atomic_t)child_start(argv, -1, out);
    close(out);
    if (o->first_byte) bytes = drain(ends[0], begin, &first);
    if (ends[0] >= 0) close(ends[0]);
    if (wait4((pid_t)command_pid, &status, 0, &used) < 0) die("wait4");
    command_pid = 0;
    if (o->pipe_to && wait4((pid_t)consumer_pid, &consumer_status, 0, &consumer_used) < 0)
        die("wait4");
    consumer_pid = 0;
    wall = seconds_now() - begin;

    if (!WIFSIGNALED(status) && WEXITSTATUS(status) == 0 && consumer_status) status = consumer_status;
    printf("%.6f,%.6f,%.6f,%ld,%d,", wall, seconds_of(used.ru_utime), seconds_of(used.ru_stime),
           used.ru_maxrss, status_of(status));
    if (first >= 0) printf("%.6f", first);
    printf(",");
    if (o->first_byte) printf("%llu", bytes);
    printf(",");
    if (o->pipe_to)
        printf("%.6f", seconds_of(consumer_used.ru_utime) + seconds_of(consumer_used.ru_stime));
    printf("\n");
}

int main(int argc, char **argv)
{
    struct options o;
    int i = 1;
    memset(&o, 0, sizeof o);
    o.out = "/dev/null";
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--first-byte") == 0) {
            o.first_byte = 1;
            continue;
        }
        if (i + 1 >= argc) usage();
        if (strcmp(argv[i], "--out") == 0) o.out = argv[i + 1];
        else if (strcmp(argv[i], "--pipe-to") == 0) o.pipe_to = argv[i + 1];
        else if (strcmp(argv[i], "--fill") == 0) o.fill = (size_t)strtoull(argv[i + 1], NULL, 10);
        else usage();
        i++;
    }
    if (i >= argc || (o.first_byte && o.pipe_to)) usage();
    signal(SIGINT, end_children);
    signal(SIGTERM, end_children);
    if (o.fill) memory_fill(o.fill);
    measure(&o, argv + i);
    return 0;
}
