/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * The smallest program that still does the job: one object to standard output. `make size` builds
 * it statically and for size, and tells what a reader costs where every byte counts.
 *
 *     cc -o cat_only examples/cat_only.c -pthread
 *     ./cat_only s3://bucket/key | wc -l
 */
#define S3STREAM_IMPLEMENTATION
#define S3STREAM_NO_WRITE
#include "../s3stream.h"

#include <unistd.h>

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_error err;
    s3s_result r;
    const void *data;
    size_t n;
    if (argc != 2) return 2;
    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], NULL, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_next(reader, &data, &n, &err)) == S3S_OK) {
        const char *p = (const char *)data;
        while (n) {
            ssize_t k = write(STDOUT_FILENO, p, n);
            if (k < 0 && errno == EINTR) continue;
            if (k < 0) return 1;
            p += k;
            n -= (size_t)k;
        }
    }
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    if (r == S3S_END) return 0;
    n = strlen(err.message);
    err.message[n++] = '\n';
    return write(STDERR_FILENO, err.message, n) < 0 ? 2 : 1;
}
