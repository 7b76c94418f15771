/* SPDX-License-Identifier: MIT OR Unlicense
 * >>error: the names and texts of results, and how an s3s_error is filled. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

static void names_are_those_of_the_codes(void **state) {
    (void)state;
    assert_int_equal(S3S_OK, 0);
    assert_string_equal(s3s_result_name(S3S_OK), "S3S_OK");
    assert_string_equal(s3s_result_name(S3S_END), "S3S_END");
    assert_string_equal(s3s_result_name(S3S_E_RANGE), "S3S_E_RANGE");
    assert_string_equal(s3s_result_name(S3S_E_PLAN), "S3S_E_PLAN");
    assert_string_equal(s3s_result_text(S3S_E_NOT_FOUND), "no such object or bucket");
}

static void every_code_has_its_own_name_and_text(void **state) {
    int a, b;
    (void)state;
    for (a = 0; a < (int)S3S_RESULT_COUNT; a++) {
        assert_memory_equal(s3s_result_name((s3s_result)a), "S3S_", 4);
        assert_true(strlen(s3s_result_text((s3s_result)a)) > 3);
        for (b = 0; b < a; b++) {
            assert_string_not_equal(s3s_result_name((s3s_result)a), s3s_result_name((s3s_result)b));
            assert_string_not_equal(s3s_result_text((s3s_result)a), s3s_result_text((s3s_result)b));
        }
    }
}

static void unknown_codes_have_a_name_too(void **state) {
    static const int codes[] = {S3S_RESULT_COUNT, 31};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(codes); i++) {
        assert_non_null(s3s_result_name((s3s_result)codes[i]));
        assert_non_null(s3s_result_text((s3s_result)codes[i]));
        assert_false(s3si_error_retryable((s3s_result)codes[i]));
    }
}

static void what_may_be_tried_again(void **state) {
    (void)state;
    assert_true(s3si_error_retryable(S3S_E_NETWORK));
    assert_true(s3si_error_retryable(S3S_E_RESOLVE));
    assert_true(s3si_error_retryable(S3S_E_TIMEOUT));
    assert_true(s3si_error_retryable(S3S_E_THROTTLED));
    assert_true(s3si_error_retryable(S3S_E_SERVER));
    assert_false(s3si_error_retryable(S3S_OK));
    assert_false(s3si_error_retryable(S3S_END));
    assert_false(s3si_error_retryable(S3S_E_ACCESS));
    assert_false(s3si_error_retryable(S3S_E_NOT_FOUND));
    assert_false(s3si_error_retryable(S3S_E_CHANGED));
    assert_false(s3si_error_retryable(S3S_E_PRECONDITION));
}

static void the_first_error_sticks(void **state) {
    s3s_error err;
    (void)state;
    s3si_error_clear(&err);
    assert_int_equal(err.code, S3S_OK);
    assert_int_equal(s3si_error_set(&err, S3S_E_RANGE, "%s: byte %d", "s3://b/k", 7), S3S_E_RANGE);
    assert_int_equal(s3si_error_set(&err, S3S_E_NETWORK, "what followed"), S3S_E_NETWORK);
    assert_int_equal(err.code, S3S_E_RANGE);
    assert_string_equal(err.message, "s3://b/k: byte 7");
    s3si_error_clear(&err);
    assert_int_equal(s3si_error_set(&err, S3S_E_FILE, "next"), S3S_E_FILE);
    assert_string_equal(err.message, "next");
}

static void nobody_has_to_want_the_details(void **state) {
    s3s_error from;
    (void)state;
    s3si_error_clear(NULL);
    assert_int_equal(s3si_error_set(NULL, S3S_E_TLS, "unseen %d", 1), S3S_E_TLS);
    s3si_error_clear(&from);
    (void)s3si_error_set(&from, S3S_E_MEMORY, "out of it");
    assert_int_equal(s3si_error_give(NULL, &from), S3S_E_MEMORY);
}

static void an_error_is_given_whole(void **state) {
    s3s_error from, to;
    (void)state;
    s3si_error_clear(&from);
    (void)s3si_error_set(&from, S3S_E_HTTP, "refused");
    from.http_status = 405;
    from.offset = 12;
    memset(&to, 0x5a, sizeof to);
    assert_int_equal(s3si_error_give(&to, &from), S3S_E_HTTP);
    assert_int_equal(to.http_status, 405);
    assert_int_equal(to.offset, 12);
    assert_string_equal(to.message, "refused");
}

/* Keys and servers' texts go into messages: neither may forge a second line or move the cursor. */
static void a_message_is_one_printable_line(void **state) {
    s3s_error err;
    int c;
    (void)state;
    for (c = 1; c < 256; c++) {
        s3si_error_clear(&err);
        (void)s3si_error_set(&err, S3S_E_HTTP, "a%cb", c);
        assert_int_equal(strlen(err.message), 3);
        assert_int_equal((unsigned char)err.message[1], c < 0x20 || c == 0x7f ? '?' : c);
    }
}

static void a_long_message_is_cut(void **state) {
    s3s_error err;
    char long_text[2000];
    (void)state;
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    s3si_error_clear(&err);
    (void)s3si_error_set(&err, S3S_E_HTTP, "%s", long_text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(err.code, S3S_E_HTTP);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_codes),
        cmocka_unit_test(every_code_has_its_own_name_and_text),
        cmocka_unit_test(unknown_codes_have_a_name_too),
        cmocka_unit_test(what_may_be_tried_again),
        cmocka_unit_test(the_first_error_sticks),
        cmocka_unit_test(nobody_has_to_want_the_details),
        cmocka_unit_test(an_error_is_given_whole),
        cmocka_unit_test(a_message_is_one_printable_line),
        cmocka_unit_test(a_long_message_is_cut),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
