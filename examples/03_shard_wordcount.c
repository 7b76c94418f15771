/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Counts lines, words and bytes of one shard of an object, as `wc` does.
 *
 *     cc -o 03_shard_wordcount examples/03_shard_wordcount.c -pthread
 *     for i in 0 1 2 3; do ./03_shard_wordcount s3://bucket/key $i 4 & done; wait
 *
 * The four processes need not know of each other, and may run on four machines: every line is whole
 * and is seen by exactly one of them, so that the counts add up to those of the whole object.
 */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned long words_of(const char *line, size_t n) {
    unsigned long words = 0;
    size_t i;
    int inside = 0;
    for (i = 0; i < n; i++) {
        int space = isspace((unsigned char)line[i]) != 0;
        words += !space && !inside;
        inside = !space;
    }
    return words;
}

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_read_options options = {0};
    s3s_slice slice;
    s3s_error err;
    s3s_result r;
    const void *line;
    size_t n;
    unsigned long lines = 0, words = 0;
    unsigned long long bytes = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: %s URI INDEX COUNT\n", argv[0]);
        return 2;
    }
    options.shard_index = (uint32_t)strtoul(argv[2], NULL, 10);
    options.shard_count = (uint32_t)strtoul(argv[3], NULL, 10);

    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], &options, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_record(reader, &line, &n, &err)) == S3S_OK) {
        lines++;
        words += words_of((const char *)line, n);
        bytes += n;
    }

    /* At the end both borders are known: where the shard's first and behind its last record. */
    if (r == S3S_END && s3s_reader_info(reader, NULL, &slice, &err) == S3S_OK)
        printf("%8lu %8lu %10llu  bytes %llu to %llu\n", lines, words, bytes,
               (unsigned long long)slice.start, (unsigned long long)slice.end);
    else fprintf(stderr, "%s\n", err.message);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return r != S3S_END;
}
