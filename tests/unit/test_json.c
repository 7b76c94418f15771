/* SPDX-License-Identifier: MIT OR Unlicense
 * >>json: the little JSON that plans and statistics need (RFC 8259). */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

/* 1 when text is one JSON value with nothing but space around it. */
static int is_json(s3si_str text) {
    s3si_str in = guarded(text), value;
    if (!s3si_json_take(&in, &value)) return 0;
    assert_true(unit_within(value, s3si_str_make(value.p, value.n + in.n)));
    return s3si_json_skip_space(in).n == 0;
}

static void what_is_json(void **state) {
    static const char *const good[] = {
        "0",
        "-1.5e+10",
        "true",
        " false ",
        "\t\r\n null\n",
        "\"\"",
        "\"a \\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e4\"",
        "\"\xc3\xa4\x7f\"",
        "[]",
        "[ ]",
        "[1]",
        "[1,2 , 3]",
        "[[],[[]],{}]",
        "{}",
        "{ }",
        "{\"a\":1}",
        " { \"a\" : [ { \"b\" : \"]}\" } , null ] , \"c\" : \"\" } ",
        "{\"\":{\"\":{}}}",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(good); i++)
        if (!is_json(s3si_str_of(good[i]))) fail_msg("%s was refused", good[i]);
}

static void what_is_not(void **state) {
    static const char *const bad[] = {
        "", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "{]", "[}",
        "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}",
        "{\"a\":1", "{\"a\":", "{\"a\"", "{\"a\":1]", "{\"a\"::1}", "{a:1}", "[1;2]", "\"", "\"a",
        "\"a\\", "\"a\\\"", "\"\n\"", "\"\t\"", "'a'", "tru", "True", "nul", "undefined", "NaN",
        "Infinity", ":", ",", "[[]", "{\"a\":[}", "{\"a\":[1}]", "[\"a\":1]", "[1,2:3]", "/**/1",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (is_json(s3si_str_of(bad[i]))) fail_msg("%s was accepted", bad[i]);
    assert_false(is_json(STR("[1\0,2]")));
    assert_false(is_json(STR("\"a\0b\"")));
    assert_false(is_json(STR("\0")));
}

/* A number is -? (0 | [1-9] digits) (. digits)? ([eE] [+-]? digits)?, and a word is only itself. */
static void scalars_are_checked(void **state) {
    static const char *const good[] = {"[0]",   "[-0]",   "[10]",      "[0.5]",
                                       "[1e5]", "[1E-5]", "[1.25e+07]"};
    static const char *const bad[] = {"[-]",  "[+1]",  "[01]",    "[1.]",    "[.5]",
                                      "[1e]", "[1e+]", "[1-2]",   "[--1]",   "[1.2.3]",
                                      "[e]",  "[0x1]", "[truex]", "[nulll]", "[1e5.5]"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(good); i++)
        if (!is_json(s3si_str_of(good[i]))) fail_msg("%s was refused", good[i]);
    for (i = 0; i < COUNT(bad); i++)
        if (is_json(s3si_str_of(bad[i]))) fail_msg("%s was accepted", bad[i]);
}

static void depth_is_bounded(void **state) {
    char text[2 * 33];
    int depth, i;
    (void)state;
    for (depth = 1; depth <= 33; depth++) {
        for (i = 0; i < depth; i++) text[i] = '[', text[2 * depth - 1 - i] = ']';
        assert_int_equal(is_json(s3si_str_make(text, (size_t)(2 * depth))), depth <= 32);
    }
    memset(text, '[', sizeof text);
    assert_false(is_json(s3si_str_make(text, sizeof text)));
}

static const char plan[] =
    "{\"version\":1,\"uri\":\"s3://b/k\\\"x\\u00e4\",\"etag\":\"\\\"abc\\\"\",\"size\":52000000,"
    "\"records\":\"lines\",\"nothing\":null,"
    "\"far\":18446744073709551615,\"over\":18446744073709551616,"
    "\"minus\":-1,\"slices\":[{\"start\":0,\"end\":26000017,\"exact\":true},"
    " {\"start\":26000017,\"end\":52000000,\"exact\":true,\"window\":4096} ]}";

/* A value ends where it ends, and what follows stays. */
static void values_are_taken_one_by_one(void **state) {
    s3si_str in = guarded(STR(" [1, 2] {\"a\":3} 4\"five\"")), v;
    (void)state;
    assert_true(s3si_json_take(&in, &v));
    assert_str(v, STR("[1, 2]"));
    assert_true(s3si_json_take(&in, &v));
    assert_str(v, STR("{\"a\":3}"));
    assert_true(s3si_json_take(&in, &v));
    assert_str(v, STR("4"));
    assert_true(s3si_json_take(&in, &v));
    assert_str(v, STR("\"five\""));
    assert_false(s3si_json_take(&in, &v));
}

static void every_prefix_is_refused(void **state) {
    size_t n, size = strlen(plan);
    (void)state;
    assert_true(is_json(s3si_str_make(plan, size)));
    for (n = 0; n < size; n++)
        if (is_json(s3si_str_make(plan, n)))
            fail_msg("the first %lu bytes were accepted", (unsigned long)n);
}

static void members_by_name(void **state) {
    s3si_str object = guarded(s3si_str_of(plan)), v;
    uint64_t n = 42;
    (void)state;
    assert_true(s3si_json_member(object, "uri", &v));
    assert_str(v, STR("\"s3://b/k\\\"x\\u00e4\""));
    assert_true(s3si_json_member(object, "nothing", &v));
    assert_str(v, STR("null"));
    assert_false(s3si_json_member(object, "start", &v)); /* of a member, not of this object */
    assert_false(s3si_json_member(object, "siz", &v));
    assert_false(s3si_json_member(object, "sizes", &v));
    assert_false(s3si_json_member(object, "", &v));

    assert_true(s3si_json_u64(object, "size", &n));
    assert_int_equal(n, 52000000);
    assert_true(s3si_json_u64(object, "far", &n));
    assert_true(n == UINT64_MAX);
    n = 42;
    assert_false(s3si_json_u64(object, "over", &n));
    assert_false(s3si_json_u64(object, "minus", &n));
    assert_false(s3si_json_u64(object, "records", &n));
    assert_false(s3si_json_u64(object, "slices", &n));
    assert_false(s3si_json_u64(object, "none", &n));
    assert_int_equal(n, 42);
}

static void only_objects_have_members(void **state) {
    static const char *const other[] = {"", "[\"a\",1]", "\"a\"", "1", "null", "{}"};
    s3si_str v;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(other); i++)
        assert_false(s3si_json_member(guarded(s3si_str_of(other[i])), "a", &v));
    assert_true(s3si_json_member(guarded(STR("{\"\":7}")), "", &v));
    assert_str(v, STR("7"));
}

static void stepping_through_arrays_and_objects(void **state) {
    s3si_str in = guarded(s3si_str_of(plan)), rest, slice, name, v;
    uint64_t start = 1, end = 0, n = 0;
    int count = 0;
    (void)state;
    assert_true(s3si_json_member(in, "slices", &rest));
    while (s3si_json_step(&rest, &name, &slice)) {
        assert_int_equal(name.n, 0);
        start = end;
        assert_true(s3si_json_u64(slice, "start", &n));
        assert_true(n == start);
        assert_true(s3si_json_u64(slice, "end", &end));
        assert_true(s3si_json_member(slice, "exact", &v));
        assert_str(v, STR("true"));
        assert_int_equal(s3si_json_u64(slice, "window", &n), count == 1);
        count++;
    }
    assert_int_equal(count, 2);
    assert_true(end == 52000000);
    assert_false(s3si_json_step(&rest, &name, &slice)); /* the end stays the end */

    rest = guarded(STR("{ \"a\" : \"x\" , \"b\":[ ] }"));
    assert_true(s3si_json_step(&rest, &name, &v));
    assert_str(name, STR("a"));
    assert_str(v, STR("\"x\""));
    assert_true(s3si_json_step(&rest, &name, &v));
    assert_str(name, STR("b"));
    assert_str(v, STR("[ ]"));
    assert_false(s3si_json_step(&rest, &name, &v));

    rest = guarded(STR("[ ]"));
    assert_false(s3si_json_step(&rest, &name, &v));
    rest = guarded(STR("[\"a\",\"b\"]"));
    assert_true(s3si_json_step(&rest, &name, &v));
    assert_str(v, STR("\"a\""));
    assert_int_equal(name.n, 0);
    assert_true(s3si_json_step(&rest, &name, &v));
    assert_str(v, STR("\"b\""));
    assert_false(s3si_json_step(&rest, &name, &v));
}

/* Looking things up in a text that was never checked finds nothing wrong, and ends. */
static void looking_into_broken_text(void **state) {
    size_t n;
    (void)state;
    for (n = 0; n < strlen(plan); n++) {
        s3si_str in = guarded(s3si_str_make(plan, n)), rest, name, v;
        int steps = 0;
        if (s3si_json_member(in, "window", &v)) fail();
        if (s3si_json_member(in, "uri", &v)) assert_str(v, STR("\"s3://b/k\\\"x\\u00e4\""));
        for (rest = in; s3si_json_step(&rest, &name, &v); steps++) assert_true(unit_within(v, in));
        assert_true(steps <= 10);
    }
}

/* ---- Strings --------------------------------------------------------------------------------- */
static s3si_str decoded(s3si_str value) {
    s3si_buf *out = unit_fresh();
    assert_true(s3si_json_decode(out, guarded(value)));
    return s3si_buf_str(out);
}

static void strings_are_decoded(void **state) {
    (void)state;
    assert_str(decoded(STR("\"\"")), STR(""));
    assert_str(decoded(STR("\"plain \xc3\xa4\"")), STR("plain \xc3\xa4"));
    assert_str(decoded(STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")), STR("\"\\/\b\f\n\r\t"));
    assert_str(decoded(STR("\"\\u0041\\u00e4\\u20AC\\u0000\"")), STR("A\xc3\xa4\xe2\x82\xac\0"));
    assert_str(decoded(STR("\"\\ud83d\\ude00\"")), STR("\xf0\x9f\x98\x80"));
    assert_str(decoded(STR("\"\\ud800\\udc00\\udbff\\udfff\"")),
               STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
}

/* Half a pair of surrogates is U+FFFD; what follows it is kept. */
static void lone_surrogates(void **state) {
    (void)state;
    assert_str(decoded(STR("\"\\ud83d\"")), STR("\xef\xbf\xbd"));
    assert_str(decoded(STR("\"\\ude00x\"")), STR("\xef\xbf\xbdx"));
    assert_str(decoded(STR("\"\\ud83d\\u0041\"")), STR("\xef\xbf\xbd" "A"));
    assert_str(decoded(STR("\"\\ud83d\\ud83d\\ude00\"")), STR("\xef\xbf\xbd\xf0\x9f\x98\x80"));
    assert_str(decoded(STR("\"\\ud83d\\n\"")), STR("\xef\xbf\xbd\n"));
}

static void what_is_no_string(void **state) {
    static const char *const bad[] = {"",    "\"",      "1",         "null",     "[]",
                                      "'a'", "\"\\q\"", "\"\\x41\"", "\"a\\ b\""};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (s3si_json_decode(unit_fresh(), guarded(s3si_str_of(bad[i]))))
            fail_msg("%s was decoded", bad[i]);
    assert_false(s3si_json_decode(unit_fresh(), guarded(STR("\"\\\0\""))));
}

/* \u must be followed by four digits: whatever comes out otherwise, nothing behind it is read. */
static void broken_units_stay_inside(void **state) {
    static const char *const broken[] = {"\"\\u\"",           "\"\\u1\"",     "\"\\u12\"",
                                         "\"\\u123\"",        "\"\\u12g4\"",  "\"\\ud83d\\u\"",
                                         "\"\\ud83d\\ude0\"", "\"\\ud83d\\\""};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(broken); i++)
        (void)s3si_json_decode(unit_fresh(), guarded(s3si_str_of(broken[i])));
}

static void strings_are_encoded(void **state) {
    s3si_buf *out = unit_fresh();
    (void)state;
    s3si_json_encode(out, guarded(STR("a\"b\\c/\n\t\0\x1f\x7f\xc3\xa4")));
    assert_str(s3si_buf_str(out), STR("\"a\\\"b\\\\c/\\u000a\\u0009\\u0000\\u001f\x7f\xc3\xa4\""));
    out = unit_fresh();
    s3si_json_encode(out, STR(""));
    assert_str(s3si_buf_str(out), STR("\"\""));
}

static void encoding_and_decoding_are_inverse(void **state) {
    char all[256], text[6 * 256 + 2];
    s3si_str encoded;
    s3si_buf *out = unit_fresh();
    size_t i;
    (void)state;
    for (i = 0; i < sizeof all; i++) all[i] = (char)i;
    s3si_json_encode(out, s3si_str_make(all, sizeof all));
    encoded = s3si_buf_str(out);
    assert_true(encoded.n <= sizeof text);
    memcpy(text, encoded.p, encoded.n);
    assert_true(is_json(s3si_str_make(text, encoded.n)));
    assert_str(decoded(s3si_str_make(text, encoded.n)), s3si_str_make(all, sizeof all));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_json),
        cmocka_unit_test(what_is_not),
        cmocka_unit_test(scalars_are_checked),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_are_taken_one_by_one),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(members_by_name),
        cmocka_unit_test(only_objects_have_members),
        cmocka_unit_test(stepping_through_arrays_and_objects),
        cmocka_unit_test(looking_into_broken_text),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(lone_surrogates),
        cmocka_unit_test(what_is_no_string),
        cmocka_unit_test(broken_units_stay_inside),
        cmocka_unit_test(strings_are_encoded),
        cmocka_unit_test(encoding_and_decoding_are_inverse),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
