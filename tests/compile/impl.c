/* SPDX-License-Identifier: MIT OR Unlicense
 * The unit that holds the implementation, exactly as the manual tells users to write it. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
