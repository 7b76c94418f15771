/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * 03_shard_wordcount - a worker: counts lines, words and bytes of its own shard of one object.
 *
 *     cc -O2 -o 03_shard_wordcount 03_shard_wordcount.c -pthread
 *     for i in 0 1 2 3; do ./03_shard_wordcount s3://bucket/key $i 4 & done; wait
 *
 * The workers know nothing of each other but their number. Every line is in exactly one shard, so their
 * counts add up to those of the whole. A word never straddles a cut either, since a line does not. */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <stdio.h>

typedef struct counts {
    uint64_t lines, words, bytes;
    int in_word; /* the piece before this one ended within a word */
} counts;

/* Pieces come as they lie in memory: a word may go on in the next one. */
static void count(counts *c, const char *p, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        int space = p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r');
        c->lines += p[i] == '\n';
        c->words += !space && !c->in_word;
        c->in_word = !space;
    }
    c->bytes += n;
}

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_read_options options = {0};
    s3s_error err;
    s3s_result r;
    counts c = {0};
    const void *data;
    size_t n;
    if (argc != 4) return fprintf(stderr, "usage: %s URI INDEX COUNT\n", argv[0]), 2;
    options.shard_index = (uint32_t)strtoul(argv[2], NULL, 10);
    options.shard_count = (uint32_t)strtoul(argv[3], NULL, 10);
    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], &options, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_next(reader, &data, &n, &err)) == S3S_OK)
        count(&c, (const char *)data, n);
    if (r == S3S_END)
        printf("%llu %llu %llu\n", (unsigned long long)c.lines, (unsigned long long)c.words,
               (unsigned long long)c.bytes);
    else
        fprintf(stderr, "%s\n", err.message);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return r != S3S_END;
}
