/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Chapter 3 of the manual once more, in the fewest words and with no thought of speed: what the
 * shards of a text are. Nothing of the implementation is used here. */
#ifndef S3STREAM_TESTS_RECORDS_MODEL_H
#define S3STREAM_TESTS_RECORDS_MODEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct model_format {
    const char *delim; /* m bytes; m = 0: records of `block` bytes */
    size_t m, block;
} model_format;

/* s(i) = floor(i * size / n), multiplied and divided by hand in digits of 32 bits. */
static uint64_t model_start(uint64_t size, uint32_t i, uint32_t n) {
    uint64_t low = (size & 0xffffffff) * i, high = (size >> 32) * i + (low >> 32);
    uint32_t digits[3];
    uint64_t quotient[3], rest = 0;
    int k;
    digits[0] = (uint32_t)(high >> 32), digits[1] = (uint32_t)high, digits[2] = (uint32_t)low;
    for (k = 0; k < 3; k++) {
        rest = rest << 32 | digits[k];
        quotient[k] = rest / n, rest %= n;
    }
    return quotient[1] << 32 | quotient[2];
}

/* a(p): where the first record begins that begins at p or behind it. */
static size_t model_begin(const char *text, size_t size, const model_format *f, size_t p) {
    size_t q;
    if (p == 0) return 0;
    for (q = p; q < size; q++) {
        if (f->m == 0 && q % f->block == 0) return q;
        if (f->m && q >= f->m && memcmp(text + q - f->m, f->delim, f->m) == 0) return q;
    }
    return size;
}

#endif
