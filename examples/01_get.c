/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Reads a whole object into memory and tells its size and ETag.
 *
 *     cc -o 01_get examples/01_get.c -pthread
 *     export AWS_ENDPOINT_URL=http://127.0.0.1:9000 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
 *     ./01_get s3://bucket/key
 *
 * Endpoint, region and keys come from the environment, because the client is made without a config.
 */
#define S3STREAM_IMPLEMENTATION
#include "../s3stream.h"

#include <stdio.h>

int main(int argc, char **argv) {
    s3s_client *client = NULL;
    s3s_object object;
    s3s_read_options options = {0};
    s3s_buffer body = {0};
    s3s_error err;
    s3s_result r;
    if (argc != 2) {
        fprintf(stderr, "usage: %s s3://bucket/key\n", argv[0]);
        return 2;
    }
    options.max_size = 1024 * 1024 * 1024; /* rather an error than more memory than that */

    r = s3s_client_create(NULL, &client, &err);
    if (r == S3S_OK) r = s3s_head(client, argv[1], &object, &err);

    /* Of just the version that was asked about: one that came in between is S3S_E_CHANGED. */
    if (r == S3S_OK) options.expected_etag = object.etag;
    if (r == S3S_OK) r = s3s_get(client, argv[1], &options, &body, &err);

    if (r == S3S_OK) printf("%lu bytes, ETag %s\n", (unsigned long)body.size, object.etag);
    else fprintf(stderr, "%s\n", err.message);
    s3s_buffer_free(&body);
    s3s_client_destroy(client);
    return r != S3S_OK;
}
