/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * Bytes that end at an unreadable page: whoever reads one byte too many dies of it. One region
 * serves the whole program, so a copy is valid until the next one is made. */
#ifndef S3STREAM_TESTS_GUARD_H
#define S3STREAM_TESTS_GUARD_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_MAX = 256 * 1024 }; /* the longest copy */

static char *guard_open(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (GUARD_MAX + page - 1) / page * page;
    void *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect((char *)map + room, page, PROT_NONE) != 0) {
        perror("guard.h: mmap");
        abort();
    }
    return (char *)map + room;
}

/* A copy of n bytes whose last one is the last before the unreadable page. */
static char *guard_copy(const void *bytes, size_t n) {
    static char *end;
    if (!end) end = guard_open();
    if (n > GUARD_MAX) {
        fprintf(stderr, "guard.h: %zu bytes are more than GUARD_MAX\n", n);
        abort();
    }
    if (n) memcpy(end - n, bytes, n);
    return end - n;
}

#endif
