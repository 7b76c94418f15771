/* SPDX-License-Identifier: MIT OR Unlicense
 * >>uri: what a URI names, endpoints, origins, and where a bucket may stand in a host name. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

static s3si_uri parsed(s3si_str s) {
    s3si_uri u;
    const char *why = "";
    if (!s3si_uri_parse(guarded(s), &u, &why)) {
        unit_print("refused", s);
        fail_msg("%s", why);
    }
    return u;
}

/* ---- s3:// ----------------------------------------------------------------------------------- */
static void buckets_and_keys(void **state) {
    static const struct {
        const char *uri, *bucket, *key;
    } cases[] = {
        {"s3://bucket/key", "bucket", "key"},
        {"s3://bucket/a/b/c.txt", "bucket", "a/b/c.txt"},
        {"s3://bucket/", "bucket", ""},
        {"s3://bucket", "bucket", ""},
        {"s3://", "", ""},
        {"s3://my.bucket-1_x/k", "my.bucket-1_x", "k"},
        {"s3://UPPER/Key", "UPPER", "Key"},
        /* a key is literal: never decoded, never normalised, no fragment or query cut off */
        {"s3://b//k", "b", "/k"},
        {"s3://b/a//b/../c/.", "b", "a//b/../c/."},
        {"s3://b/100%", "b", "100%"},
        {"s3://b/a%20b+c d", "b", "a%20b+c d"},
        {"s3://b/what?x=1#top", "b", "what?x=1#top"},
        {"s3://b/\xc3\xa4\xff\n\\", "b", "\xc3\xa4\xff\n\\"},
        {"s3://b/s3://c/d", "b", "s3://c/d"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        s3si_uri u = parsed(s3si_str_of(cases[i].uri));
        assert_int_equal(u.scheme, S3SI_URI_S3);
        assert_str(u.bucket, s3si_str_of(cases[i].bucket));
        assert_str(u.key, s3si_str_of(cases[i].key));
    }
}

/* ---- http(s):// and endpoints ---------------------------------------------------------------- */
static const struct {
    const char *uri;
    int tls;
    const char *host, *port, *path;
} http_cases[] = {
    {"http://host/path", 0, "host", "80", "/path"},
    {"https://host/path", 1, "host", "443", "/path"},
    {"http://host:8080/", 0, "host", "8080", "/"},
    {"https://host:1/a?b=c&d=%20", 1, "host", "1", "/a?b=c&d=%20"},
    {"http://127.0.0.1:65535/x", 0, "127.0.0.1", "65535", "/x"},
    {"http://[::1]/x", 0, "::1", "80", "/x"},
    {"https://[fd00:ec2::23]:8443/x", 1, "fd00:ec2::23", "8443", "/x"},
    {"http://host/a//b/../c", 0, "host", "80", "/a//b/../c"},
    {"http://host/a:b@c", 0, "host", "80", "/a:b@c"},
};

static void urls(void **state) {
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(http_cases); i++) {
        s3si_uri u = parsed(s3si_str_of(http_cases[i].uri));
        assert_int_equal(u.scheme, S3SI_URI_HTTP);
        assert_int_equal(u.tls, http_cases[i].tls);
        assert_str(u.host, s3si_str_of(http_cases[i].host));
        assert_str(u.port, s3si_str_of(http_cases[i].port));
        assert_str(u.path, s3si_str_of(http_cases[i].path));
    }
}

static void a_fragment_is_the_reader_s_own(void **state) {
    (void)state;
    assert_str(parsed(STR("http://host/a?b#c?d")).path, STR("/a?b"));
    assert_str(parsed(STR("http://host/#")).path, STR("/"));
}

/* RFC 9112 section 3.2.1: an empty path is sent as "/". */
static void a_url_without_a_path_asks_for_the_root(void **state) {
    (void)state;
    assert_str(parsed(STR("http://host")).path, STR("/"));
    assert_str(parsed(STR("http://host:81")).path, STR("/"));
    assert_str(parsed(STR("http://host#top")).path, STR("/"));
    assert_str(parsed(STR("http://[::1]")).path, STR("/"));
}

/* ... also before a query, or the URL is refused: a request target begins with '/'. */
static void a_request_target_begins_with_a_slash(void **state) {
    s3si_uri u;
    const char *why = NULL;
    (void)state;
    if (s3si_uri_parse(guarded(STR("http://host?list-type=2")), &u, &why))
        assert_str(u.path, STR("/?list-type=2"));
    else
        assert_non_null(why);
}

static void files(void **state) {
    s3si_uri u;
    (void)state;
    u = parsed(STR("file:///tmp/a b%20?#"));
    assert_int_equal(u.scheme, S3SI_URI_FILE);
    assert_str(u.path, STR("/tmp/a b%20?#"));
    assert_str(parsed(STR("file:///")).path, STR("/"));
}

static void what_is_no_uri(void **state) {
    static const char *const bad[] = {
        "",
        "bucket/key",
        "/bucket/key",
        "s3:/b/k",
        "s3:b/k",
        "S3://b/k",
        "ftp://host/x",
        "s3://b cket/k",
        "s3://b%41/k",
        "s3://b?x/k",
        "s3://b#x",
        "s3://user@b/k",
        "s3://b:1/k",
        "s3://b\xc3\xa4/k",
        "s3://b\r\nHost: x/k",
        "file://",
        "file://path",
        "file://localhost/path",
        "file:/path",
        "http://",
        "http:///path",
        "http://:80/",
        "http:host/",
        "HTTP://host/",
        "http://host:/",
        "http://host:0/",
        "http://host:65536/",
        "http://host:-1/",
        "http://host:+80/",
        "http://host:8o/",
        "http://host:80:80/",
        "http://host:18446744073709551696/",
        "http://::1/",
        "http://[::1/",
        "http://[]/",
        "http://[::1]x/",
        "http://[::1]80/",
        "http://user@host/",
        "http://user:secret@host/",
        "http://ho st/",
        "http://host/a b",
        "http://host/a\r\nX: y",
        "http://host/a\nb",
        "http://host/\x7f",
        "http://host\t/",
    };
    char long_host[8 + 256];
    s3si_uri u;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++) {
        const char *why = NULL;
        if (s3si_uri_parse(guarded(s3si_str_of(bad[i])), &u, &why))
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_non_null(why);
        assert_true(strlen(why) > 5);
    }
    {
        const char *why = NULL;
        assert_false(s3si_uri_parse(guarded(STR("s3://b/k\0x")), &u, &why));
        assert_non_null(why);
        memcpy(long_host, "http://", 7);
        memset(long_host + 7, 'h', 257);
        assert_false(s3si_uri_parse(guarded(s3si_str_make(long_host, 7 + 256)), &u, &why));
        assert_true(s3si_uri_parse(guarded(s3si_str_make(long_host, 7 + 255)), &u, &why));
        assert_int_equal(u.host.n, 255);
    }
}

/* Cut at any byte, a URI is refused or is another, shorter one: what it names lies within it. */
static void uris_cut_at_every_byte(void **state) {
    static const char *const whole[] = {"s3://bucket/a/key", "https://[fd00:ec2::23]:8443/x?y#z",
                                        "http://host:8080/a", "file:///a/b"};
    size_t i, n;
    (void)state;
    for (i = 0; i < COUNT(whole); i++)
        for (n = 0; n <= strlen(whole[i]); n++) {
            s3si_str in = guarded(s3si_str_make(whole[i], n));
            const char *why = NULL;
            s3si_uri u;
            if (!s3si_uri_parse(in, &u, &why)) {
                assert_non_null(why);
            } else if (u.scheme == S3SI_URI_HTTP) {
                assert_true(unit_within(u.host, in));
            } else if (u.scheme == S3SI_URI_S3) {
                assert_true(unit_within(u.bucket, in) && unit_within(u.key, in));
            } else {
                assert_true(unit_within(u.path, in));
            }
        }
}

/* An endpoint has the same form, and may have a path in front of every key. */
static void endpoints(void **state) {
    s3si_uri u;
    const char *why = NULL;
    (void)state;
    memset(&u, 0, sizeof u);
    assert_true(s3si_uri_authority(guarded(STR("http://127.0.0.1:9000")), &u, &why));
    assert_str(u.host, STR("127.0.0.1"));
    assert_str(u.port, STR("9000"));
    assert_int_equal(u.tls, 0);
    assert_true(s3si_uri_authority(guarded(STR("https://minio.example/storage")), &u, &why));
    assert_str(u.host, STR("minio.example"));
    assert_str(u.path, STR("/storage"));
    assert_int_equal(u.tls, 1);
    assert_false(s3si_uri_authority(guarded(STR("127.0.0.1:9000")), &u, &why));
    assert_false(s3si_uri_authority(guarded(STR("s3://b")), &u, &why));
}

/* ---- Origins --------------------------------------------------------------------------------- */
static s3si_origin origin(const char *host, const char *port, int tls) {
    s3si_origin o;
    s3si_origin_set(&o, s3si_str_of(host), s3si_str_of(port), tls);
    return o;
}

static s3si_str authority(const char *host, const char *port, int tls) {
    s3si_origin o = origin(host, port, tls);
    s3si_buf *out = unit_fresh();
    s3si_origin_authority(&o, out);
    return s3si_buf_str(out);
}

static void the_host_header(void **state) {
    (void)state;
    assert_str(authority("host", "80", 0), STR("host"));
    assert_str(authority("host", "443", 1), STR("host"));
    assert_str(authority("host", "443", 0), STR("host:443"));
    assert_str(authority("host", "80", 1), STR("host:80"));
    assert_str(authority("host", "8080", 0), STR("host:8080"));
    assert_str(authority("::1", "80", 0), STR("[::1]"));
    assert_str(authority("::1", "9000", 0), STR("[::1]:9000"));
}

static void the_same_origin(void **state) {
    s3si_origin a = origin("Host.example", "80", 0), b;
    (void)state;
    b = origin("hOST.EXAMPLE", "80", 0);
    assert_true(s3si_origin_eq(&a, &b));
    b = origin("host.example", "81", 0);
    assert_false(s3si_origin_eq(&a, &b));
    b = origin("host.example", "80", 1);
    assert_false(s3si_origin_eq(&a, &b));
    b = origin("host.example.", "80", 0);
    assert_false(s3si_origin_eq(&a, &b));
    b = origin("ost.example", "80", 0);
    assert_false(s3si_origin_eq(&a, &b));
}

/* Whatever number of digits a port was written with, the origin has the port. */
static void ports_are_kept(void **state) {
    static const char *const uris[] = {"http://h:1/", "http://h:65535/", "http://h:00080/",
                                       "http://h:0000000081/"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(uris); i++) {
        s3si_uri u;
        s3si_origin o;
        const char *why;
        uint64_t was, is;
        if (!s3si_uri_parse(s3si_str_of(uris[i]), &u, &why))
            continue; /* refusing one is right, too */
        s3si_origin_set(&o, u.host, u.port, u.tls);
        assert_true(s3si_str_u64(u.port, &was));
        if (!s3si_str_u64(s3si_str_of(o.port), &is) || is != was)
            fail_msg("%s lost its port", uris[i]);
    }
}

/* Where credentials may follow a redirect: the endpoint's own domain and what lies below it. */
static void within_a_domain(void **state) {
    (void)state;
    assert_true(s3si_uri_within(STR("s3.amazonaws.com"), STR("s3.amazonaws.com")));
    assert_true(s3si_uri_within(STR("b.S3.amazonaws.com"), STR("s3.AMAZONAWS.com")));
    assert_true(s3si_uri_within(STR("a.b.s3.amazonaws.com"), STR("s3.amazonaws.com")));
    assert_false(s3si_uri_within(STR("evils3.amazonaws.com"), STR("s3.amazonaws.com")));
    assert_false(s3si_uri_within(STR("s3.amazonaws.com.evil.org"), STR("s3.amazonaws.com")));
    assert_false(s3si_uri_within(STR("amazonaws.com"), STR("s3.amazonaws.com")));
    assert_false(s3si_uri_within(STR("com"), STR("s3.amazonaws.com")));
    assert_false(s3si_uri_within(STR(""), STR("s3.amazonaws.com")));
}

static void addresses(void **state) {
    static const char *const yes[] = {"127.0.0.1", "10.0.0.255",   "::1",
                                      "fe80::1",   "fd00:ec2::23", "::ffff:1.2.3.4"};
    static const char *const no[] = {"host", "1.2.3.example", "a1.2.3.4", "localhost", "1-2.3"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(yes); i++) assert_true(s3si_uri_is_address(guarded(s3si_str_of(yes[i]))));
    for (i = 0; i < COUNT(no); i++) assert_false(s3si_uri_is_address(guarded(s3si_str_of(no[i]))));
}

static void buckets_in_host_names(void **state) {
    static const char *const no[] = {
        "ab", "a", "", "Bucket", "a_b", "my bucket", "b\xc3\xa4r",
        "a234567890123456789012345678901234567890123456789012345678901234",
    };
    s3si_str aws = STR("s3.amazonaws.com");
    size_t i;
    int tls;
    (void)state;
    for (tls = 0; tls < 2; tls++) {
        assert_true(s3si_uri_virtual_ok(STR("abc"), aws, tls));
        assert_true(s3si_uri_virtual_ok(STR("my-bucket-01"), aws, tls));
        assert_true(s3si_uri_virtual_ok(
            STR("a23456789012345678901234567890123456789012345678901234567890123"), aws, tls));
        for (i = 0; i < COUNT(no); i++)
            assert_false(s3si_uri_virtual_ok(s3si_str_of(no[i]), aws, tls));
        assert_false(s3si_uri_virtual_ok(STR("abc"), STR("127.0.0.1"), tls));
        assert_false(s3si_uri_virtual_ok(STR("abc"), STR("::1"), tls));
    }
    /* a dot would not match the wildcard of the store's certificate */
    assert_true(s3si_uri_virtual_ok(STR("my.bucket"), aws, 0));
    assert_false(s3si_uri_virtual_ok(STR("my.bucket"), aws, 1));
}

/* RFC 952: a label of a host name neither begins nor ends with '-', and none is empty. */
static void buckets_that_are_no_labels(void **state) {
    static const char *const no[] = {"-abc", "abc-", ".abc", "abc.", "a..b", "a.-b", "a-.b"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(no); i++)
        if (s3si_uri_virtual_ok(s3si_str_of(no[i]), STR("s3.example"), 0)) fail_msg("%s", no[i]);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_and_keys),
        cmocka_unit_test(urls),
        cmocka_unit_test(a_fragment_is_the_reader_s_own),
        cmocka_unit_test(a_url_without_a_path_asks_for_the_root),
        cmocka_unit_test(a_request_target_begins_with_a_slash),
        cmocka_unit_test(files),
        cmocka_unit_test(what_is_no_uri),
        cmocka_unit_test(uris_cut_at_every_byte),
        cmocka_unit_test(endpoints),
        cmocka_unit_test(the_host_header),
        cmocka_unit_test(the_same_origin),
        cmocka_unit_test(ports_are_kept),
        cmocka_unit_test(within_a_domain),
        cmocka_unit_test(addresses),
        cmocka_unit_test(buckets_in_host_names),
        cmocka_unit_test(buckets_that_are_no_labels),
    };
    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
