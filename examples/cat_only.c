/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * cat_only - the smallest useful program: an object to stdout. `make size` links it statically against
 * musl with everything left out that it does not need, and prints how large that is.
 *
 *     ./cat_only s3://bucket/key [INDEX COUNT] */
#define S3STREAM_STATIC
#define S3STREAM_NO_WRITE
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_read_options options = {0};
    s3s_error err;
    s3s_result r;
    const void *data;
    size_t n;
    if (argc != 2 && argc != 4) return fprintf(stderr, "usage: %s URI [INDEX COUNT]\n", argv[0]), 2;
    if (argc == 4) {
        options.shard_index = (uint32_t)strtoul(argv[2], NULL, 10);
        options.shard_count = (uint32_t)strtoul(argv[3], NULL, 10);
    }
    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_reader_open(client, argv[1], &options, &reader, &err);
    while (r == S3S_OK && (r = s3s_reader_next(reader, &data, &n, &err)) == S3S_OK)
        if (fwrite(data, 1, n, stdout) != n) break;
    if (fflush(stdout) != 0 || ferror(stdout)) return fprintf(stderr, "cannot write to stdout\n"), 1;
    if (r != S3S_END) fprintf(stderr, "%s\n", err.message);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return r != S3S_END;
}
