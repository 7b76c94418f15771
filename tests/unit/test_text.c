/* SPDX-License-Identifier: MIT OR Unlicense
 * >>text: slices, growing buffers, numbers, hex, base64, percent-encoding, dates. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

/* ---- Slices ---------------------------------------------------------------------------------- */
static void slices_compare_by_length_and_bytes(void **state) {
    (void)state;
    assert_true(s3si_str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(s3si_str_eq(STR("a\0b"), STR("a\0c")));
    assert_false(s3si_str_eq(STR("ab"), STR("abc")));
    assert_false(s3si_str_eq(STR("abc"), STR("ab")));
    assert_true(s3si_str_eq(s3si_str_make(NULL, 0), STR("")));
    assert_true(s3si_str_is(guarded(STR("key")), "key"));
    assert_false(s3si_str_is(guarded(STR("key")), "keys"));
    assert_str(s3si_str_of(NULL), STR(""));
}

static void names_compare_without_case(void **state) {
    int c;
    (void)state;
    assert_true(s3si_str_ieq(STR("Content-Length"), STR("cONTENT-lENGTH")));
    assert_false(s3si_str_ieq(STR("etag"), STR("etags")));
    assert_false(s3si_str_ieq(STR("etags"), STR("etag")));
    /* only letters have case: '[' is not '{', '@' is not '`', and no locale has a say */
    for (c = 0; c < 256; c++)
        assert_int_equal((unsigned char)s3si_char_lower((char)c),
                         c >= 'A' && c <= 'Z' ? c + 32 : c);
    assert_false(s3si_str_ieq(STR("[@"), STR("{`")));
}

static void beginnings(void **state) {
    (void)state;
    assert_true(s3si_str_starts(guarded(STR("http://")), "http://"));
    assert_true(s3si_str_starts(STR("http://x"), "http://"));
    assert_false(s3si_str_starts(guarded(STR("http:/")), "http://"));
    assert_false(s3si_str_starts(STR("HTTP://"), "http://"));
    assert_true(s3si_str_starts(STR(""), ""));
}

static void parts_of_a_slice(void **state) {
    s3si_str rest;
    (void)state;
    assert_str(s3si_str_from(STR("abc"), 1), STR("bc"));
    assert_str(s3si_str_from(STR("abc"), 3), STR(""));
    assert_str(s3si_str_from(STR("abc"), 99), STR(""));
    assert_int_equal(s3si_str_find(guarded(STR("a:b:c")), ':'), 1);
    assert_int_equal(s3si_str_find(guarded(STR("abc")), ':'), 3);
    assert_int_equal(s3si_str_find(STR(""), ':'), 0);

    assert_str(s3si_str_cut(STR("a:b:c"), ':', &rest), STR("a"));
    assert_str(rest, STR("b:c"));
    assert_str(s3si_str_cut(STR("a:"), ':', &rest), STR("a"));
    assert_str(rest, STR(""));
    assert_str(s3si_str_cut(STR(":a"), ':', &rest), STR(""));
    assert_str(rest, STR("a"));
    assert_str(s3si_str_cut(STR("abc"), ':', &rest), STR("abc"));
    assert_str(rest, STR(""));
}

static void trimming(void **state) {
    (void)state;
    assert_str(s3si_str_trim(guarded(STR(" \t a b\t "))), STR("a b"));
    assert_str(s3si_str_trim(guarded(STR("ab"))), STR("ab"));
    assert_str(s3si_str_trim(guarded(STR(" \t "))), STR(""));
    assert_str(s3si_str_trim(guarded(STR(""))), STR(""));
    assert_str(s3si_str_trim(STR("\r\na\n")), STR("\r\na\n"));
}

static void copies_fit_or_are_empty(void **state) {
    char out[4];
    (void)state;
    assert_true(s3si_str_copy(STR("abc"), out, sizeof out));
    assert_string_equal(out, "abc");
    assert_false(s3si_str_copy(STR("abcd"), out, sizeof out));
    assert_string_equal(out, "");
    assert_true(s3si_str_copy(s3si_str_make(NULL, 0), out, 1));
    assert_string_equal(out, "");
}

static void a_duplicate_is_the_caller_s_or_null(void **state) {
    unit_heap heap;
    char *p;
    (void)state;
    unit_heap_init(&heap, 2);
    p = s3si_str_dup(&heap.mem, STR("abc"));
    assert_string_equal(p, "abc");
    s3si_mem_free(&heap.mem, p);
    assert_null(s3si_str_dup(&heap.mem, STR("abc")));
    assert_int_equal(heap.live, 0);
}

/* ---- Numbers --------------------------------------------------------------------------------- */
static void decimal_numbers(void **state) {
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"7", 7},
                {"007", 7},
                {"4294967296", UINT64_C(4294967296)},
                {"9999999999999999999", UINT64_C(9999999999999999999)},
                {"18446744073709551609", UINT64_MAX - 6},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {
        "",     " 1",   "1 ",  "+1",   "-1",  "-0",  "1.0", "1e3", "0x10", "1_000", "1,000", "a",
        "\t1",  "1\n",  "/",   ":",    "18446744073709551616",     "18446744073709551620",
        "18446744073709551615 ", "99999999999999999999",           "184467440737095516150"};
    uint64_t v;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(good); i++) {
        assert_true(s3si_str_u64(guarded(s3si_str_of(good[i].text)), &v));
        assert_true(v == good[i].value);
    }
    for (i = 0; i < COUNT(bad); i++) {
        v = 42;
        if (s3si_str_u64(guarded(s3si_str_of(bad[i])), &v)) fail_msg("\"%s\" is no number", bad[i]);
        assert_int_equal(v, 42);
    }
    assert_false(s3si_str_u64(STR("1\0"), &v));
}

static void hexadecimal_numbers(void **state) {
    static const char *const bad[] = {"", "g", "0x1", "-1", "+1", " 1", "1 ", "10000000000000000",
                                      "ffffffffffffffff0"};
    uint64_t v;
    size_t i;
    int c;
    (void)state;
    for (c = 0; c < 256; c++) {
        int want = c >= '0' && c <= '9' ? c - '0' : -1;
        if (c >= 'a' && c <= 'f') want = c - 'a' + 10;
        if (c >= 'A' && c <= 'F') want = c - 'A' + 10;
        assert_int_equal(s3si_hex_digit((char)c), want);
    }
    assert_true(s3si_str_hex64(guarded(STR("0")), &v));
    assert_true(v == 0);
    assert_true(s3si_str_hex64(guarded(STR("1aF")), &v));
    assert_true(v == 0x1af);
    assert_true(s3si_str_hex64(guarded(STR("ffffffffffffffff")), &v));
    assert_true(v == UINT64_MAX);
    assert_true(s3si_str_hex64(guarded(STR("0000ffffffffffffffff")), &v));
    assert_true(v == UINT64_MAX);
    for (i = 0; i < COUNT(bad); i++)
        if (s3si_str_hex64(guarded(s3si_str_of(bad[i])), &v))
            fail_msg("\"%s\" is no number", bad[i]);
}

/* ---- Buffers --------------------------------------------------------------------------------- */
static void a_buffer_grows_and_ends_with_a_nul(void **state) {
    unit_heap heap;
    s3si_buf b;
    size_t i;
    (void)state;
    unit_heap_init(&heap, 0);
    s3si_buf_init(&b, &heap.mem);
    assert_string_equal(s3si_buf_z(&b), "");
    assert_str(s3si_buf_str(&b), STR(""));
    for (i = 0; i < 5000; i++) {
        s3si_buf_addc(&b, (char)('a' + i % 26));
        assert_int_equal(b.n, i + 1);
        assert_int_equal(s3si_buf_z(&b)[b.n], 0);
    }
    for (i = 0; i < 5000; i++) assert_int_equal(b.p[i], 'a' + i % 26);
    assert_true(heap.asked < 16); /* geometrically */
    s3si_buf_clear(&b);
    s3si_buf_addz(&b, "x");
    s3si_buf_add(&b, STR("\0y"));
    s3si_buf_add(&b, s3si_str_make(NULL, 0));
    assert_str(s3si_buf_str(&b), STR("x\0y"));
    assert_true(s3si_buf_ok(&b));
    s3si_buf_deinit(&b);
    assert_int_equal(heap.live, 0);
}

static void reserved_room_does_not_move(void **state) {
    unit_heap heap;
    s3si_buf b;
    const char *before;
    (void)state;
    unit_heap_init(&heap, 0);
    s3si_buf_init(&b, &heap.mem);
    assert_true(s3si_buf_reserve(&b, 1000));
    before = b.p;
    while (b.n < 1000) s3si_buf_addc(&b, 'x');
    assert_ptr_equal(b.p, before);
    assert_int_equal(heap.asked, 1);
    s3si_buf_deinit(&b);
}

static void numbers_in_a_buffer(void **state) {
    unit_heap heap;
    s3si_buf b;
    (void)state;
    unit_heap_init(&heap, 0);
    s3si_buf_init(&b, &heap.mem);
    s3si_buf_addu(&b, 0);
    s3si_buf_addc(&b, ' ');
    s3si_buf_addu(&b, 1002003);
    s3si_buf_addc(&b, ' ');
    s3si_buf_addu(&b, UINT64_MAX);
    assert_str(s3si_buf_str(&b), STR("0 1002003 18446744073709551615"));
    s3si_buf_deinit(&b);
}

/* A growth that fails is remembered, what was there stays, and nothing is added behind the gap. */
static void a_buffer_remembers_that_memory_ran_out(void **state) {
    int fail_at;
    (void)state;
    for (fail_at = 1; fail_at <= 3; fail_at++) {
        unit_heap heap;
        s3si_buf b;
        size_t whole, i;
        unit_heap_init(&heap, fail_at);
        s3si_buf_init(&b, &heap.mem);
        for (i = 0; i < 1000 && s3si_buf_ok(&b); i++) s3si_buf_addz(&b, "0123456789");
        assert_false(s3si_buf_ok(&b));
        whole = b.n;
        s3si_buf_addc(&b, '!');
        s3si_buf_addu(&b, 5);
        assert_false(s3si_buf_reserve(&b, 0));
        assert_int_equal(b.n, whole);
        assert_int_equal(whole, (i - 1) * 10);
        assert_int_equal(strlen(s3si_buf_z(&b)), whole);
        s3si_buf_clear(&b);
        s3si_buf_addz(&b, "again");
        assert_str(s3si_buf_str(&b), STR("again"));
        s3si_buf_deinit(&b);
        assert_int_equal(heap.live, 0);
    }
}

static void a_buffer_refuses_sizes_that_overflow(void **state) {
    unit_heap heap;
    s3si_buf b;
    (void)state;
    unit_heap_init(&heap, 0);
    s3si_buf_init(&b, &heap.mem);
    s3si_buf_addc(&b, 'x');
    assert_false(s3si_buf_reserve(&b, SIZE_MAX));
    assert_false(s3si_buf_ok(&b));
    s3si_buf_clear(&b);
    s3si_buf_addc(&b, 'x');
    assert_false(s3si_buf_reserve(&b, SIZE_MAX - 1)); /* with its NUL one too many */
    assert_int_equal(heap.asked, 1);
    s3si_buf_clear(&b);
    assert_false(s3si_buf_reserve(&b, SIZE_MAX - 2)); /* a size, but not one that there is */
    assert_int_equal(heap.asked, 2);
    s3si_buf_deinit(&b);
}

/* ---- Encodings ------------------------------------------------------------------------------- */
static s3si_str base64_of(s3si_str s) {
    s3si_str in = guarded(s);
    s3si_buf *out = unit_fresh();
    s3si_base64_encode(out, (const uint8_t *)in.p, in.n);
    return s3si_buf_str(out);
}

static s3si_str percent_of(s3si_str s, int keep_slash) {
    s3si_buf *out = unit_fresh();
    s3si_percent_encode(out, guarded(s), keep_slash);
    return s3si_buf_str(out);
}

static s3si_str percent_from(s3si_str s) {
    s3si_buf *out = unit_fresh();
    s3si_percent_decode(out, guarded(s));
    return s3si_buf_str(out);
}

static void hex(void **state) {
    static const uint8_t in[] = {0x00, 0x01, 0x9f, 0xa0, 0xff};
    char out[11];
    (void)state;
    s3si_hex_encode((const uint8_t *)guard_copy(in, sizeof in), sizeof in, out);
    assert_string_equal(out, "00019fa0ff");
    s3si_hex_encode(in, 0, out);
    assert_string_equal(out, "");
}

/* RFC 4648 section 10; the last two reach the digits '+' and '/'. */
static void base64(void **state) {
    (void)state;
    assert_str(base64_of(STR("")), STR(""));
    assert_str(base64_of(STR("f")), STR("Zg=="));
    assert_str(base64_of(STR("fo")), STR("Zm8="));
    assert_str(base64_of(STR("foo")), STR("Zm9v"));
    assert_str(base64_of(STR("foob")), STR("Zm9vYg=="));
    assert_str(base64_of(STR("fooba")), STR("Zm9vYmE="));
    assert_str(base64_of(STR("foobar")), STR("Zm9vYmFy"));
    assert_str(base64_of(STR("\xfb\xff\xbf")), STR("+/+/"));
    assert_str(base64_of(STR("\0\0\xff")), STR("AAD/"));
}

/* RFC 3986 section 2.3 names the unreserved characters; other bytes are encoded in upper case. */
static void percent_encoding(void **state) {
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    int c;
    (void)state;
    for (c = 0; c < 256; c++) {
        char one = (char)c, want[16];
        int plain = c && strchr(unreserved, c) != NULL;
        (void)snprintf(want, sizeof want, "%%%02X", (unsigned)c);
        if (plain) want[0] = one, want[1] = 0;
        assert_str(percent_of(s3si_str_make(&one, 1), 0), s3si_str_of(want));
        if (c == '/') want[0] = '/', want[1] = 0;
        assert_str(percent_of(s3si_str_make(&one, 1), 1), s3si_str_of(want));
    }
    /* a key is never normalised and never taken for encoded already */
    assert_str(percent_of(STR("/a//b/../c d+e%20\xc3\xa4"), 1),
               STR("/a//b/../c%20d%2Be%2520%C3%A4"));
}

static void percent_decoding(void **state) {
    char all[256];
    char encoded[3 * 256];
    s3si_str once;
    size_t i;
    (void)state;
    assert_str(percent_from(STR("a%20b%2fc%2Fd")), STR("a b/c/d"));
    assert_str(percent_from(STR("a+b")), STR("a+b"));
    assert_str(percent_from(STR("%00")), STR("\0"));
    assert_str(percent_from(STR("%2541")), STR("%41"));
    /* what is no escape stands for itself */
    assert_str(percent_from(STR("%")), STR("%"));
    assert_str(percent_from(STR("%4")), STR("%4"));
    assert_str(percent_from(STR("100%")), STR("100%"));
    assert_str(percent_from(STR("%zz%4g%g4%41")), STR("%zz%4g%g4A"));
    assert_str(percent_from(STR("%%41")), STR("%A"));
    for (i = 0; i < sizeof all; i++) all[i] = (char)i;
    once = percent_of(s3si_str_make(all, sizeof all), 0);
    memcpy(encoded, once.p, once.n);
    assert_str(percent_from(s3si_str_make(encoded, once.n)), s3si_str_make(all, sizeof all));
}

/* ---- Dates ----------------------------------------------------------------------------------- */
/* Known instants: 2015-08-30 is the signing suite's, 1994-11-06 RFC 9110's, the others are
 * calendar edges as `date -u -d @N` of GNU coreutils has them. */
static const struct {
    int64_t seconds;
    const char *amz, *http;
} dates[] = {
    {0, "19700101T000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
    {86399, "19700101T235959Z", "Thu, 01 Jan 1970 23:59:59 GMT"},
    {784111777, "19941106T084937Z", "Sun, 06 Nov 1994 08:49:37 GMT"},
    {951782400, "20000229T000000Z", "Tue, 29 Feb 2000 00:00:00 GMT"},
    {951868800, "20000301T000000Z", "Wed, 01 Mar 2000 00:00:00 GMT"},
    {1440938160, "20150830T123600Z", "Sun, 30 Aug 2015 12:36:00 GMT"},
    {1709251199, "20240229T235959Z", "Thu, 29 Feb 2024 23:59:59 GMT"},
    {1735689599, "20241231T235959Z", "Tue, 31 Dec 2024 23:59:59 GMT"},
    {4107542400, "21000301T000000Z", "Mon, 01 Mar 2100 00:00:00 GMT"},
    {253402300799, "99991231T235959Z", "Fri, 31 Dec 9999 23:59:59 GMT"},
};

static void dates_are_written(void **state) {
    char amz[17], http[32];
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(dates); i++) {
        s3si_date_amz(dates[i].seconds, amz);
        assert_string_equal(amz, dates[i].amz);
        s3si_date_format_http(dates[i].seconds, http);
        assert_string_equal(http, dates[i].http);
    }
}

static void dates_are_read(void **state) {
    int64_t t;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(dates); i++) {
        t = -1;
        assert_true(s3si_date_parse_http(guarded(s3si_str_of(dates[i].http)), &t));
        assert_true(t == dates[i].seconds);
    }
}

/* Against the C library's own calendar, from 1890 to 2250 in steps of a day, an hour, a second. */
static void dates_agree_with_the_c_library(void **state) {
    int64_t t, day = 86400;
    (void)state;
    for (t = -80 * 365 * day; t < 280 * 366 * day; t += day + 3601) {
        time_t clock = (time_t)t;
        struct tm tm;
        s3si_date d = s3si_date_of(t);
        assert_non_null(gmtime_r(&clock, &tm));
        if (d.year != tm.tm_year + 1900 || d.month != tm.tm_mon + 1 || d.day != tm.tm_mday ||
            d.hour != tm.tm_hour || d.minute != tm.tm_min || d.second != tm.tm_sec)
            fail_msg("the date of %lld is wrong", (long long)t);
        if (s3si_date_seconds(&d) != t) fail_msg("%lld does not come back", (long long)t);
    }
}

static void what_is_no_http_date(void **state) {
    static const char *const bad[] = {
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMTX",
        "Sun, 06 Nov 1994 08:49:37 GMT, or so",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT",
        "Sun, 06 No 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:-7 GMT",
        "Sun, 06 Nov 1994 -1:49:37 GMT",
        "Sun, 06 Nov -199 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMTSun, 06 Nov 1994 08:49:37 GMT",
    };
    int64_t t;
    size_t i, n;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (s3si_date_parse_http(guarded(s3si_str_of(bad[i])), &t))
            fail_msg("\"%s\" is no date", bad[i]);
    for (n = 0; n < strlen(dates[0].http); n++)
        assert_false(s3si_date_parse_http(guarded(s3si_str_make(dates[0].http, n)), &t));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_length_and_bytes),
        cmocka_unit_test(names_compare_without_case),
        cmocka_unit_test(beginnings),
        cmocka_unit_test(parts_of_a_slice),
        cmocka_unit_test(trimming),
        cmocka_unit_test(copies_fit_or_are_empty),
        cmocka_unit_test(a_duplicate_is_the_caller_s_or_null),
        cmocka_unit_test(decimal_numbers),
        cmocka_unit_test(hexadecimal_numbers),
        cmocka_unit_test(a_buffer_grows_and_ends_with_a_nul),
        cmocka_unit_test(reserved_room_does_not_move),
        cmocka_unit_test(numbers_in_a_buffer),
        cmocka_unit_test(a_buffer_remembers_that_memory_ran_out),
        cmocka_unit_test(a_buffer_refuses_sizes_that_overflow),
        cmocka_unit_test(hex),
        cmocka_unit_test(base64),
        cmocka_unit_test(percent_encoding),
        cmocka_unit_test(percent_decoding),
        cmocka_unit_test(dates_are_written),
        cmocka_unit_test(dates_are_read),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(what_is_no_http_date),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
