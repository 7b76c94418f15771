/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Goes through an object line by line, however big it is, and tells which line is the longest.
 *
 *     cc -o 02_stream_lines examples/02_stream_lines.c -pthread
 *     ./02_stream_lines s3://bucket/key       (or http://host/path, or file:///path)
 *
 * The reader fetches with many requests at once and holds at most `memory` bytes, whatever this
 * loop does. A record is lent where it lies, with its newline; who wants to keep it copies it
 * before the next call.
 */
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
    size_t n, most = 0;
    unsigned long count = 0, longest = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s URI\n", argv[0]);
        return 2;
    }
    options.memory = 32 * 1024 * 1024;

    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], &options, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_record(reader, &line, &n, &err)) == S3S_OK) {
        count++;
        if (n > most) {
            most = n;
            longest = count;
        }
    }

    if (r == S3S_END)
        printf("%lu lines, the longest is line %lu with %lu bytes\n", count, longest,
               (unsigned long)most);
    else fprintf(stderr, "%s\n", err.message);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return r != S3S_END;
}
