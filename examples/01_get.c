/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * 01_get - one object into memory, with parallel requests.
 *
 *     cc -O2 -o 01_get 01_get.c -pthread
 *     ./01_get s3://bucket/key
 *
 * Endpoint, region and keys come from the usual AWS_ variables, because the config is NULL. */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <stdio.h>

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_read_options options = {0};
    s3s_object object;
    s3s_buffer buffer;
    s3s_error err;
    s3s_result r;
    if (argc != 2) return fprintf(stderr, "usage: %s URI\n", argv[0]), 2;
    options.max_size = (uint64_t)1 << 30; /* refuse to fill the memory by mistake */
    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_head(client, argv[1], &object, &err);
    options.expected_etag = object.etag; /* what is read is what was asked about, or it is an error */
    if (r == S3S_OK) r = s3s_get(client, argv[1], &options, &buffer, &err);
    if (r == S3S_OK) {
        printf("%llu bytes, ETag %s\n", (unsigned long long)buffer.size, object.etag);
        s3s_buffer_free(&buffer);
    } else {
        fprintf(stderr, "%s\n", err.message);
    }
    s3s_client_destroy(client);
    return r != S3S_OK;
}
