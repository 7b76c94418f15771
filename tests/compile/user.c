/* SPDX-License-Identifier: MIT OR Unlicense
 * A unit that uses the library, in any C or C++. It includes the header twice, as happens through
 * other headers, and prints the version, which can only come from an implementation linked with it. */
#include "../../s3stream.h"
#include "../../s3stream.h"

#include <stdio.h>

int main(void) {
    s3s_client *client = NULL;
    s3s_reader *reader = NULL;
    s3s_result result = s3s_client_create(NULL, &client, NULL);
    if (result != S3S_OK) return 1;
    /* No scheme: an error of the argument, so nothing is looked up or opened. */
    result = s3s_reader_open(client, "nowhere", NULL, &reader, NULL);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    if (result == S3S_OK) return 2;
    printf("%s\n", s3s_version());
    return 0;
}
