/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * many - how many small objects per second one s3stream client reads.
 *
 *     many ENDPOINT BUCKET/PREFIX COUNT CONNECTIONS [--objects N] [--bytes N] [--loops N]
 *
 * CONNECTIONS threads share one client and call s3s_get_into for BUCKET/PREFIX/00000, .../00001, ...
 * (N of them, again and again), COUNT calls in all. Every object has to have --bytes bytes. --loops is
 * s3s_config.threads, the number of event loops. Keys come from the environment, as everywhere.
 *
 * `raw many` sends the same requests through plain sockets; the difference is what the signature, the
 * hand-over between threads and the state machines cost per request.
 */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 1024 };

struct job {
    s3s_client *client;
    const char *prefix;
    unsigned long count, threads, objects, object_bytes;
};

struct worker {
    const struct job *job;
    unsigned long index;
    pthread_t thread;
    int failed;
};

static void usage(void)
{
    fputs("usage: many ENDPOINT BUCKET/PREFIX COUNT CONNECTIONS [--objects N] [--bytes N]"
          " [--loops N]\n", stderr);
    exit(2);
}

static unsigned long number_parse(const char *text)
{
    char *end;
    unsigned long value;
    if (*text < '0' || *text > '9') usage();
    value = strtoul(text, &end, 10);
    if (*end || value > 1000000000UL) usage();
    return value;
}

/* Worker i takes calls i, i + threads, ...: nothing is shared but the client that is measured. */
static void *worker_run(void *argument)
{
    struct worker *w = (struct worker *)argument;
    const struct job *job = w->job;
    char *object = (char *)malloc(job->object_bytes + 1), uri[1200];
    unsigned long i;
    w->failed = !object;
    for (i = w->index; !w->failed && i < job->count; i += job->threads) {
        s3s_error err;
        size_t got = 0;
        snprintf(uri, sizeof uri, "s3://%s/%05lu", job->prefix, i % job->objects);
        if (s3s_get_into(job->client, uri, NULL, object, job->object_bytes + 1, &got, &err)) {
            fprintf(stderr, "many: %s\n", err.message);
            w->failed = 1;
        } else if (got != job->object_bytes) {
            fprintf(stderr, "many: %s has %zu bytes instead of %lu\n", uri, got, job->object_bytes);
            w->failed = 1;
        }
    }
    free(object);
    return NULL;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int job_run(const struct job *job)
{
    static struct worker workers[THREADS_MAX];
    double begin = seconds_now(), seconds;
    unsigned long i, started = 0;
    int failed = 0;
    for (i = 0; i < job->threads; i++, started++) {
        workers[i].job = job;
        workers[i].index = i;
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0) break;
    }
    if (started < job->threads) fputs("many: a thread could not be started\n", stderr);
    for (i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        failed |= workers[i].failed;
    }
    if (failed || started < job->threads) return 1;
    seconds = seconds_now() - begin;
    printf("%lu requests, %.3f s, %.0f requests/s\n", job->count, seconds,
           (double)job->count / seconds);
    return 0;
}

int main(int argc, char **argv)
{
    struct job job;
    s3s_config config;
    s3s_error err;
    int i, failed;
    memset(&job, 0, sizeof job);
    memset(&config, 0, sizeof config);
    if (argc < 5) usage();
    config.endpoint = argv[1];
    config.addressing = S3S_ADDRESSING_PATH;
    job.prefix = argv[2];
    job.count = number_parse(argv[3]);
    job.threads = number_parse(argv[4]);
    job.objects = 1000;
    job.object_bytes = 1024;
    for (i = 5; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--objects") == 0) job.objects = number_parse(argv[i + 1]);
        else if (strcmp(argv[i], "--bytes") == 0) job.object_bytes = number_parse(argv[i + 1]);
        else if (strcmp(argv[i], "--loops") == 0) config.threads = (int)number_parse(argv[i + 1]);
        else usage();
    }
    if (i != argc || strlen(job.prefix) > 1024) usage();
    if (job.threads < 1 || job.threads > THREADS_MAX || job.objects < 1) usage();
    config.connections = (int)job.threads;

    if (s3s_client_create(&config, &job.client, &err)) {
        fprintf(stderr, "many: %s\n", err.message);
        return 1;
    }
    failed = job_run(&job);
    s3s_client_destroy(job.client);
    return failed;
}
