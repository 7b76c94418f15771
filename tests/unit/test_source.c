/* SPDX-License-Identifier: MIT OR Unlicense
 * >>source: which answers may be used, which are of the same version, and what an empty object
 * looks like. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

/* A response's head; its text must live on. */
static s3si_head head_of(const char *text) {
    s3si_head h;
    memset(&h, 0, sizeof h);
    if (s3si_head_parse(text, strlen(text), 0, &h) != (long)strlen(text))
        fail_msg("no head: %s", text);
    return h;
}

static const char *head_text(const char *status, const char *lines) {
    static char texts[4][600];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    (void)snprintf(text, sizeof texts[0], "HTTP/1.1 %s\r\n%s\r\n", status, lines);
    return text;
}

/* ---- judge ------------------------------------------------------------------------------------ */
typedef struct judge_case {
    const char *status, *lines;
    uint64_t from, to;
    int ok;
    uint64_t end, total;
    int cut_short;
} judge_case;

#define CR(text) "Content-Range: bytes " text "\r\n"
#define CL(text) "Content-Length: " text "\r\n"

static void judged(const judge_case *c) {
    s3si_head h = head_of(head_text(c->status, c->lines));
    s3si_answer a;
    const char *why = NULL;
    int ok;
    memset(&a, 0, sizeof a);
    ok = s3si_source_judge(&h, c->from, c->to, &a, &why);
    if (ok == c->ok && (!ok || (a.end == c->end && a.total == c->total &&
                                a.cut_short == c->cut_short))) {
        if (!ok) assert_non_null(why);
        return;
    }
    fail_msg("%s %s for [%lu, %lu): %s, end %lu, total %lu, cut_short %d", c->status, c->lines,
             (unsigned long)c->from, (unsigned long)c->to, ok ? "accepted" : why,
             (unsigned long)a.end, (unsigned long)a.total, a.cut_short);
}

static void a_206_that_is_the_range(void **state) {
    static const judge_case cases[] = {
        {"206 P", CR("0-9/100") CL("10"), 0, 10, 1, 10, 100, 0},
        {"206 P", CR("90-99/100") CL("10"), 90, 100, 1, 100, 100, 0},
        {"206 P", CR("5-5/6") CL("1"), 5, 6, 1, 6, 6, 0},
        {"206 P", CR("10-19/*") CL("10"), 10, 20, 1, 20, UINT64_MAX, 0},
        /* the end clipped to the size */
        {"206 P", CR("90-99/100") CL("10"), 90, 200, 1, 100, 100, 0},
        {"206 P", CR("0-0/1") CL("1"), 0, 1 << 20, 1, 1, 1, 0},
        /* however the body is framed */
        {"206 P", CR("0-9/100") "Transfer-Encoding: chunked\r\n", 0, 10, 1, 10, 100, 0},
        {"206 P", CR("0-9/100") "Connection: close\r\n", 0, 10, 1, 10, 100, 0},
        /* names and units without case */
        {"206 P", "content-RANGE: BYTES 0-9/100\r\n" CL("10"), 0, 10, 1, 10, 100, 0},
        /* as large as numbers go */
        {"206 P", CR("18446744073709551613-18446744073709551614/*") CL("2"),
         18446744073709551613u, 18446744073709551615u, 1, 18446744073709551615u, UINT64_MAX, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) judged(&cases[i]);
}

static void a_206_that_lies(void **state) {
    static const judge_case cases[] = {
        {"206 P", CL("10"), 0, 10, 0, 0, 0, 0},                     /* no Content-Range */
        {"206 P", CR("") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-9") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-9/") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("-9/100") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-/100") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("+0-9/100") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-9/1e2") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("9-0/100") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("*/100") CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-9/9") CL("10"), 0, 10, 0, 0, 0, 0},         /* beyond its own total */
        {"206 P", CR("0-18446744073709551615/*"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-18446744073709551616/*"), 0, 10, 0, 0, 0, 0},
        {"206 P", "Content-Range: lines 0-9/100\r\n" CL("10"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("1-10/100") CL("10"), 0, 10, 0, 0, 0, 0},      /* shifted */
        {"206 P", CR("0-9/100") CL("10"), 1, 11, 0, 0, 0, 0},
        {"206 P", CR("0-8/100") CL("9"), 0, 10, 0, 0, 0, 0},        /* short, not at the end */
        {"206 P", CR("0-8/*") CL("9"), 0, 10, 0, 0, 0, 0},          /* perhaps not at the end */
        {"206 P", CR("0-10/100") CL("11"), 0, 10, 0, 0, 0, 0},      /* long */
        {"206 P", CR("0-9/100") CL("9"), 0, 10, 0, 0, 0, 0},        /* two lengths */
        {"206 P", CR("0-9/100") CL("100"), 0, 10, 0, 0, 0, 0},
        {"206 P", CR("0-9/100") CL("0"), 0, 10, 0, 0, 0, 0},
        {"206 P", "Content-Type: multipart/byteranges; boundary=x\r\n" CL("200"), 0, 10, 0, 0, 0,
         0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) judged(&cases[i]);
}

static void a_200(void **state) {
    static const judge_case cases[] = {
        /* the whole object was asked for */
        {"200 OK", CL("10"), 0, 10, 1, 10, 10, 0},
        {"200 OK", CL("5"), 0, 10, 1, 5, 5, 0},
        {"200 OK", CL("0"), 0, 10, 1, 0, 0, 0},
        /* its beginning */
        {"200 OK", CL("100"), 0, 10, 1, 10, 100, 1},
        {"200 OK", CL("11"), 0, 10, 1, 10, 11, 1},
        /* how long it is will be seen */
        {"200 OK", "Transfer-Encoding: chunked\r\n", 0, 10, 1, 10, UINT64_MAX, 1},
        {"200 OK", "Connection: close\r\n", 0, 10, 1, 10, UINT64_MAX, 1},
        /* what begins behind byte 0 is never taken from it, nor when its end would fit */
        {"200 OK", CL("10"), 1, 10, 0, 0, 0, 0},
        {"200 OK", CL("100"), 90, 100, 0, 0, 0, 0},
        {"200 OK", CL("10"), 90, 100, 0, 0, 0, 0},
        {"200 OK", "Transfer-Encoding: chunked\r\n", 10, 20, 0, 0, 0, 0},
        {"200 OK", CR("10-19/100") CL("10"), 10, 20, 0, 0, 0, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) judged(&cases[i]);
}

/* ---- same ------------------------------------------------------------------------------------- */
#define E1 "ETag: \"one\"\r\n"
#define E2 "ETag: \"two\"\r\n"
#define W1 "ETag: W/\"one\"\r\n"
#define W2 "ETag: W/\"two\"\r\n"
#define D1 "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n"
#define D2 "Last-Modified: Tue, 15 Nov 1994 12:45:27 GMT\r\n"

static void same_version(void **state) {
    static const struct {
        const char *first;
        uint64_t size;
        const char *later;
        uint64_t total;
        int same;
    } cases[] = {
        /* strong ETags decide, whatever the date says */
        {E1, 10, E1, 10, 1},
        {E1, 10, E2, 10, 0},
        {E1 D1, 10, E1 D2, 10, 1},
        {E1 D1, 10, E2 D1, 10, 0},
        {E1, 10, "", 10, 0},
        {E1 D1, 10, D1, 10, 0},
        {E1, 10, W1, 10, 0},
        {E1, 10, "ETag: one\r\n", 10, 0},
        {E1, 10, "ETag: \"ONE\"\r\n", 10, 0},
        {E1, 10, "ETag: \"one\r\n", 10, 0},
        {E1, 10, "eTAG:   \"one\" \r\n", 10, 1},
        {E1, 10, "ETag:\r\n", 10, 0},
        /* and the size must be the same, where both are known */
        {E1, 10, E1, 11, 0},
        {E1, 10, E1, 9, 0},
        {E1, 10, E1, UINT64_MAX, 1},
        {E1, UINT64_MAX, E1, 11, 1},
        {E1, 0, E1, 0, 1},
        {E1, 0, E1, 1, 0},
        /* weak ETags: date and size stand in as well */
        {W1 D1, 10, W1 D1, 10, 1},
        {W1 D1, 10, W1 D2, 10, 0},
        {W1 D1, 10, W2 D1, 10, 0},
        {W1 D1, 10, W1, 10, 0},
        {W1 D1, 10, W1 D1, 11, 0},
        {W1, 10, W1, 10, 1},
        {W1 D1, 10, D1, 10, 0},
        /* none: the date and the size */
        {D1, 10, D1, 10, 1},
        {D1, 10, D2, 10, 0},
        {D1, 10, "", 10, 0},
        {D1, 10, D1, 11, 0},
        {D1, 10, D1, UINT64_MAX, 1},
        /* nothing at all but the size */
        {"", 10, "", 10, 1},
        {"", 10, "", 11, 0},
        {"", 10, D1, 10, 1},
        {"", UINT64_MAX, "", 10, 1},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        s3si_head first = head_of(head_text("206 P", cases[i].first));
        s3si_head later = head_of(head_text("206 P", cases[i].later));
        const char *why = NULL;
        s3s_object o;
        int same;
        memset(&o, 0, sizeof o);
        s3si_head_object(&first, &o);
        same = s3si_source_same(&o, cases[i].size, &later, cases[i].total, &why);
        if (same != cases[i].same)
            fail_msg("%s then %s: %s", cases[i].first, cases[i].later, same ? "the same" : why);
        if (!same) assert_non_null(why);
    }
}

static void weak_etags(void **state) {
    (void)state;
    assert_true(s3si_etag_weak("W/\"x\""));
    assert_false(s3si_etag_weak("\"W/x\""));
    assert_false(s3si_etag_weak(""));
    assert_false(s3si_etag_weak("W"));
}

/* ---- is_empty --------------------------------------------------------------------------------- */
#define ACTUAL(n) "<Error><Code>InvalidRange</Code><ActualObjectSize>" n "</ActualObjectSize></Error>"

static void empty_objects(void **state) {
    static const struct {
        const char *status, *lines, *body;
        uint64_t from;
        int empty;
    } cases[] = {
        {"416 R", CR("*/0"), "", 0, 1},
        {"416 R", CR("*/0"), ACTUAL("0"), 0, 1},
        {"416 R", "", ACTUAL("0"), 0, 1},
        {"416 R", "", "", 0, 1},
        {"416 R", "", "<html>no", 0, 1},
        /* what contradicts */
        {"416 R", CR("*/1"), "", 0, 0},
        {"416 R", CR("*/100"), ACTUAL("0"), 0, 0},
        {"416 R", CR("*/0"), ACTUAL("1"), 0, 0},
        {"416 R", "", ACTUAL("100"), 0, 0},
        {"416 R", "", ACTUAL("-0"), 0, 0},
        {"416 R", "", ACTUAL("nothing"), 0, 0},
        {"416 R", CR("*/*"), "", 0, 0},
        {"416 R", CR("0-0/0"), "", 0, 0},
        {"416 R", CR("nonsense"), "", 0, 0},
        /* asked for what lies behind byte 0 */
        {"416 R", CR("*/0"), ACTUAL("0"), 1, 0},
        /* nothing but a 416 */
        {"404 N", CR("*/0"), "", 0, 0},
        {"206 P", CR("*/0"), "", 0, 0},
        {"200 OK", CL("0"), "", 0, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        unit_heap heap;
        s3si_exchange x;
        int empty;
        unit_heap_init(&heap, 0);
        memset(&x, 0, sizeof x);
        x.head = head_of(head_text(cases[i].status, cases[i].lines));
        s3si_buf_init(&x.kept, &heap.mem);
        s3si_buf_addz(&x.kept, cases[i].body);
        empty = s3si_source_is_empty(&x, cases[i].from);
        s3si_buf_deinit(&x.kept);
        if (empty != cases[i].empty)
            fail_msg("case %d (%s%s): %s", (int)i, cases[i].lines, cases[i].body,
                     empty ? "empty" : "not empty");
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_206_that_is_the_range),
        cmocka_unit_test(a_206_that_lies),
        cmocka_unit_test(a_200),
        cmocka_unit_test(same_version),
        cmocka_unit_test(weak_etags),
        cmocka_unit_test(empty_objects),
    };
    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
