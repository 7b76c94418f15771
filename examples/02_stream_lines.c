/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * 02_stream_lines - an object of any size, line by line, in bounded memory.
 *
 *     cc -O2 -o 02_stream_lines 02_stream_lines.c -pthread
 *     ./02_stream_lines s3://bucket/key
 *
 * Prints how many lines there are and the longest one's length and place. A line is lent where it lies in
 * the reader's memory and stays valid until the next call; one that spans two parts is joined first. */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <stdio.h>

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_read_options options = {0};
    s3s_error err;
    s3s_result r;
    const void *line;
    size_t n, longest = 0;
    uint64_t lines = 0, at = 0;
    if (argc != 2) return fprintf(stderr, "usage: %s URI\n", argv[0]), 2;
    options.memory = 16 * 1024 * 1024; /* however slow this program is, the reader holds no more */
    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], &options, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_record(reader, &line, &n, &err)) == S3S_OK) {
        lines++;
        if (n <= longest) continue;
        longest = n;
        at = lines;
    }
    if (r == S3S_END) /* the only good end: an error is never taken for one */
        printf("%llu lines, the longest is line %llu with %llu bytes\n", (unsigned long long)lines,
               (unsigned long long)at, (unsigned long long)longest);
    else
        fprintf(stderr, "%s\n", err.message);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return r != S3S_END;
}
