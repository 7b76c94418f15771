/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * What the unit tests share. A test includes the implementation first, then this:
 *
 *     #define S3STREAM_IMPLEMENTATION
 *     #include "../../s3stream.h"
 *     #include "unit.h"
 */
#ifndef S3STREAM_TESTS_UNIT_H
#define S3STREAM_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/guard.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Slices -------------------------------------------------------------------------------------
 * STR("a\0b") keeps the NUL. A guarded slice ends at an unreadable page and lives until the next
 * one. */
#define STR(literal) s3si_str_make("" literal, sizeof(literal) - 1)

static s3si_str guarded(s3si_str s) { return s3si_str_make(guard_copy(s.p, s.n), s.n); }

static void unit_print(const char *what, s3si_str s) {
    char text[4 * 400 + 1];
    size_t i, used = 0;
    for (i = 0; i < s.n && i < 400; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') text[used++] = (char)c;
        else used += (size_t)snprintf(text + used, 5, "\\x%02x", c);
    }
    text[used] = 0;
    print_error("%s (%lu bytes): %s%s\n", what, (unsigned long)s.n, text, i < s.n ? "..." : "");
}

static void unit_same(s3si_str got, s3si_str want, const char *file, int line) {
    if (s3si_str_eq(got, want)) return;
    unit_print("got ", got);
    unit_print("want", want);
    _fail(file, line);
}

#define assert_str(got, want) unit_same((got), (want), __FILE__, __LINE__)

/* 1 when s lies within text: what a parser hands out is a part of its input. */
static int unit_within(s3si_str s, s3si_str text) {
    return s.p >= text.p && s.p + s.n <= text.p + text.n;
}

/* ---- A heap that counts and can fail ------------------------------------------------------------
 * The fault loop of a test: fail the first allocation, then the second, until all goes well. */
typedef struct unit_heap {
    s3si_mem mem;
    int live;    /* blocks not yet freed */
    int fail_at; /* the allocation that fails, counted from 1; 0: none */
    int asked;
} unit_heap;

static void *unit_heap_realloc(void *user, void *p, size_t n) {
    unit_heap *heap = (unit_heap *)user;
    void *q;
    if (++heap->asked == heap->fail_at || n > SIZE_MAX / 2) return NULL;
    q = realloc(p, n);
    if (q && !p) heap->live++;
    return q;
}

static void *unit_heap_alloc(void *user, size_t n) { return unit_heap_realloc(user, NULL, n); }

static void unit_heap_free(void *user, void *p) {
    ((unit_heap *)user)->live--;
    free(p);
}

static void unit_heap_init(unit_heap *heap, int fail_at) {
    memset(heap, 0, sizeof *heap);
    heap->fail_at = fail_at;
    heap->mem.alloc = unit_heap_alloc;
    heap->mem.realloc = unit_heap_realloc;
    heap->mem.free = unit_heap_free;
    heap->mem.user = heap;
}

/* ---- A buffer to write into ---------------------------------------------------------------------
 * Emptied by the next unit_fresh(); what was written lives until then. */
static s3si_buf *unit_fresh(void) {
    static unit_heap heap;
    static s3si_buf buf;
    if (!buf.mem) {
        unit_heap_init(&heap, 0);
        s3si_buf_init(&buf, &heap.mem);
    }
    s3si_buf_deinit(&buf); /* a fresh block each time, so that reading a stale slice is found out */
    return &buf;
}

/* ---- Numbers that look random and are the same in every run ---------------------------------- */
static uint64_t unit_random(uint64_t *state) { /* xorshift64*, Vigna 2016 */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

#endif
