/* SPDX-License-Identifier: MIT OR Unlicense
 * >>sigv4: AWS Signature Version 4, in headers and presigned. The published test suite is the
 * table of sigv4_cases.h; its service signs paths normalised and encoded once more, S3's own
 * examples do not. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "sigv4_cases.h"

/* ---- One request --------------------------------------------------------------------------------
 * A request with what signing adds, and the three texts that come of it. */
typedef struct signing {
    s3si_sigv4 r;
    s3si_header headers[16];
    char payload_hash[65];
    char query[2048]; /* with what presigning adds */
    char canonical[4096], to_sign[512], signature[65], authorization[512];
} signing;

static void add_header(signing *s, const char *name, const char *value) {
    s3si_header *h = &s->headers[s->r.header_count++];
    assert_true(s->r.header_count <= COUNT(s->headers));
    h->name = s3si_str_of(name);
    h->value = s3si_str_of(value);
}

static void text_of(const s3si_buf *b, char *out, size_t cap) {
    assert_true(s3si_buf_ok(b));
    assert_int_equal(strlen(s3si_buf_z(b)), b->n);
    assert_true(s3si_str_copy(s3si_buf_str(b), out, cap));
}

/* The three texts; with the path, then with the query up against the unreadable page. */
static void sign(signing *s, const char *access_key, const char *secret_key) {
    s3si_str path = s->r.path, query = s->r.query;
    uint8_t key[32];
    s3si_buf *out;
    s->r.headers = s->headers;

    s->r.path = guarded(path);
    out = unit_fresh();
    s3si_sigv4_canonical(&s->r, out);
    text_of(out, s->canonical, sizeof s->canonical);
    s->r.path = path;
    s->r.query = guarded(query);
    out = unit_fresh();
    s3si_sigv4_canonical(&s->r, out);
    assert_string_equal(s3si_buf_z(out), s->canonical);
    s->r.query = query;

    out = unit_fresh();
    s3si_sigv4_string_to_sign(&s->r, s3si_str_of(s->canonical), out);
    text_of(out, s->to_sign, sizeof s->to_sign);
    s3si_sigv4_key(&s->r, secret_key, key);
    out = unit_fresh();
    assert_true(s3si_sigv4_sign(&s->r, key, out->mem, s->signature));
    s3si_sigv4_authorization(&s->r, access_key, key, out);
    text_of(out, s->authorization, sizeof s->authorization);
}

/* The query of a presigned URL, all but its signature. */
static void presign(signing *s, const char *access_key, const char *token, uint64_t expires) {
    s3si_buf *out = unit_fresh();
    s->r.headers = s->headers;
    s3si_sigv4_presign_query(&s->r, access_key, token, expires, out);
    text_of(out, s->query, sizeof s->query);
    s->r.query = s3si_str_of(s->query);
}

/* ---- The published suite --------------------------------------------------------------------- */
static void signing_of_case(signing *s, const sigv4_case *c) {
    size_t i;
    memset(s, 0, sizeof *s);
    s->r.method = s3si_str_of(c->method);
    s->r.path = s3si_str_of(c->path);
    s->r.query = s3si_str_of(c->query);
    s->r.region = s3si_str_of(c->region);
    s->r.service = s3si_str_of(c->service);
    s->r.time = c->time;
    s->r.normalize = c->normalize;
    s->r.double_encode = 1;
    for (i = 0; c->headers[i].name; i++) add_header(s, c->headers[i].name, c->headers[i].value);
    s3si_sha256_hex(c->body, c->sign_body ? strlen(c->body) : 0, s->payload_hash);
    s->r.payload_hash = s3si_str_of(s->payload_hash);
}

static void same(const char *name, const char *what, const char *got, const char *want) {
    if (strcmp(got, want) == 0) return;
    print_error("%s, %s:\n--- got\n%s\n--- want\n%s\n", name, what, got, want);
    fail();
}

static void the_suite_in_headers(void **state) {
    size_t i;
    (void)state;
    assert_int_equal(COUNT(sigv4_cases), 38);
    for (i = 0; i < COUNT(sigv4_cases); i++) {
        const sigv4_case *c = &sigv4_cases[i];
        const char *names, *names_end;
        char want[1024];
        signing s;
        signing_of_case(&s, c);
        add_header(&s, "X-Amz-Date", c->time);
        if (c->session_token && !c->omit_session_token)
            add_header(&s, "X-Amz-Security-Token", c->session_token);
        if (c->sign_body) add_header(&s, "x-amz-content-sha256", s.payload_hash);
        sign(&s, c->access_key, c->secret_key);
        same(c->name, "canonical request", s.canonical, c->header_canonical);
        same(c->name, "string to sign", s.to_sign, c->header_string_to_sign);
        same(c->name, "signature", s.signature, c->header_signature);

        /* the signed names are the last line but one */
        names_end = strrchr(c->header_canonical, '\n');
        for (names = names_end; names[-1] != '\n'; names--) continue;
        (void)snprintf(want, sizeof want,
                       "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
                       "SignedHeaders=%.*s, Signature=%s",
                       c->access_key, c->time, c->region, c->service, (int)(names_end - names),
                       names, c->header_signature);
        same(c->name, "Authorization", s.authorization, want);
    }
}

static void the_suite_presigned(void **state) {
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(sigv4_cases); i++) {
        const sigv4_case *c = &sigv4_cases[i];
        signing s;
        signing_of_case(&s, c);
        presign(&s, c->access_key, c->omit_session_token ? NULL : c->session_token,
                (uint64_t)c->expires);
        sign(&s, c->access_key, c->secret_key);
        same(c->name, "canonical request", s.canonical, c->query_canonical);
        same(c->name, "string to sign", s.to_sign, c->query_string_to_sign);
        same(c->name, "signature", s.signature, c->query_signature);
        /* who verifies has the signature among the parameters, and leaves it out */
        strcat(s.query, "&X-Amz-Signature=");
        strcat(s.query, s.signature);
        s.r.query = s3si_str_of(s.query);
        sign(&s, c->access_key, c->secret_key);
        same(c->name, "signature once more", s.signature, c->query_signature);
    }
}

/* ---- S3 -----------------------------------------------------------------------------------------
 * The examples of the "Amazon S3 API Reference", "Authenticating Requests: Using the
 * Authorization Header" and "... Using Query Parameters". */
#define S3_ACCESS "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static void s3_request(signing *s, const char *method, const char *path, const char *query,
                       const char *hash) {
    memset(s, 0, sizeof *s);
    s->r.method = s3si_str_of(method);
    s->r.path = s3si_str_of(path);
    s->r.query = s3si_str_of(query);
    s->r.region = STR("us-east-1");
    s->r.service = STR("s3");
    s->r.time = "20130524T000000Z";
    s->r.payload_hash = s3si_str_of(hash);
    add_header(s, "Host", "examplebucket.s3.amazonaws.com");
}

static void examples_of_s3(void **state) {
    static const char put_hash[] =
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    signing s;
    (void)state;
    s3_request(&s, "GET", "/test.txt", "", S3SI_SIGV4_EMPTY_HASH);
    add_header(&s, "Range", "bytes=0-9");
    add_header(&s, "x-amz-content-sha256", S3SI_SIGV4_EMPTY_HASH);
    add_header(&s, "x-amz-date", "20130524T000000Z");
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.signature,
                        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    s3_request(&s, "PUT", "/test%24file.text", "", put_hash);
    add_header(&s, "Date", "Fri, 24 May 2013 00:00:00 GMT");
    add_header(&s, "x-amz-date", "20130524T000000Z");
    add_header(&s, "x-amz-storage-class", "REDUCED_REDUNDANCY");
    add_header(&s, "x-amz-content-sha256", put_hash);
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.signature,
                        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

    s3_request(&s, "GET", "/", "lifecycle", S3SI_SIGV4_EMPTY_HASH);
    add_header(&s, "x-amz-date", "20130524T000000Z");
    add_header(&s, "x-amz-content-sha256", S3SI_SIGV4_EMPTY_HASH);
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.signature,
                        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");

    s3_request(&s, "GET", "/", "prefix=J&max-keys=2", S3SI_SIGV4_EMPTY_HASH);
    add_header(&s, "x-amz-date", "20130524T000000Z");
    add_header(&s, "x-amz-content-sha256", S3SI_SIGV4_EMPTY_HASH);
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.signature,
                        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");

    s3_request(&s, "GET", "/test.txt", "", S3SI_SIGV4_UNSIGNED);
    presign(&s, S3_ACCESS, NULL, 86400);
    assert_string_equal(
        s.query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524"
                 "%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
                 "&X-Amz-SignedHeaders=host");
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.signature,
                        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

/* S3 signs the path that is sent, as it is sent. */
static void paths_of_s3_are_left_alone(void **state) {
    static const char *const paths[] = {"/",      "//",  "/a//b",      "/a/../b",
                                        "/./a/.", "/..", "/a%20b%2Fc", "/%C3%A4"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(paths); i++) {
        char want[64];
        signing s;
        s3_request(&s, "GET", paths[i], "", S3SI_SIGV4_UNSIGNED);
        sign(&s, S3_ACCESS, S3_SECRET);
        (void)snprintf(want, sizeof want, "GET\n%s\n\nhost:", paths[i]);
        assert_memory_equal(s.canonical, want, strlen(want));
    }
}

/* "Derive a signing key for Signature Version 4", AWS General Reference: its example for iam. */
static void a_signing_key(void **state) {
    s3si_sigv4 r;
    uint8_t key[32];
    char hex[65];
    (void)state;
    memset(&r, 0, sizeof r);
    r.time = "20150830T123600Z";
    r.region = STR("us-east-1");
    r.service = STR("iam");
    s3si_sigv4_key(&r, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", key);
    s3si_hex_encode(key, sizeof key, hex);
    assert_string_equal(hex, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

/* ---- The canonical forms --------------------------------------------------------------------- */
static s3si_str path_of(const char *path) {
    s3si_buf *out = unit_fresh();
    s3si_sigv4_normalize(out, guarded(s3si_str_of(path)));
    assert_true(s3si_buf_ok(out));
    return s3si_buf_str(out);
}

/* RFC 3986 section 5.2.4, and empty segments go, too. */
static void normalised_paths(void **state) {
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"", "/"}, {"/", "/"}, {"//", "/"}, {"/a", "/a"}, {"/a/", "/a/"}, {"/a/b", "/a/b"},
        {"/a//b", "/a/b"}, {"//a///b//", "/a/b/"}, {"/.", "/"}, {"/./", "/"}, {"/./a", "/a"},
        {"/a/.", "/a/"}, {"/a/./b", "/a/b"}, {"/..", "/"}, {"/../", "/"}, {"/../a", "/a"},
        {"/a/..", "/"}, {"/a/../", "/"}, {"/a/../b", "/b"}, {"/a/b/..", "/a/"},
        {"/a/b/../", "/a/"}, {"/a/b/../c", "/a/c"}, {"/a/b/../../c", "/c"},
        {"/a/../../../b", "/b"}, {"/...", "/..."}, {"/.a", "/.a"}, {"/a.", "/a."},
        {"/..a/b..", "/..a/b.."}, {"/a/b/c/./../../g", "/a/g"}, {"/a//..//b", "/b"},
        {"/%2e%2e/a", "/%2e%2e/a"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++)
        same(cases[i].path, "path", path_of(cases[i].path).p, cases[i].want);
}

static s3si_str query_of(s3si_str query) {
    s3si_buf *out = unit_fresh();
    s3si_sigv4_query(out, guarded(query), "X-Amz-Signature");
    assert_true(s3si_buf_ok(out));
    return s3si_buf_str(out);
}

/* Sorted by encoded name, then by value, whatever form they come in. */
static void queries(void **state) {
    (void)state;
    assert_str(query_of(STR("")), STR(""));
    assert_str(query_of(STR("a")), STR("a="));
    assert_str(query_of(STR("a=")), STR("a="));
    assert_str(query_of(STR("b=2&a=1")), STR("a=1&b=2"));
    assert_str(query_of(STR("a=2&a=10&a=1&a")), STR("a=&a=1&a=10&a=2"));
    assert_str(query_of(STR("ab=1&a=2&a-=3&A=4")), STR("A=4&a=2&a-=3&ab=1"));
    assert_str(query_of(STR("&&a=1&&b=2&")), STR("a=1&b=2"));
    assert_str(query_of(STR("=v&a=1")), STR("=v&a=1"));
    assert_str(query_of(STR("a=b=c==")), STR("a=b%3Dc%3D%3D"));
    /* decoded and encoded anew */
    assert_str(query_of(STR("prefix=a/b c&marker=%c3%a4")), STR("marker=%C3%A4&prefix=a%2Fb%20c"));
    assert_str(query_of(STR("prefix=a%2fb%20c&marker=\xc3\xa4")),
               STR("marker=%C3%A4&prefix=a%2Fb%20c"));
    assert_str(query_of(STR("a=%7E%2D%41~-A")), STR("a=~-A~-A"));
    assert_str(query_of(STR("a=100%&b=%zz")), STR("a=100%25&b=%25zz"));
    /* the order is that of the encoded names: '%' stands before letters */
    assert_str(query_of(STR("a=1&\xc3\xa4=2&Z=3")), STR("%C3%A4=2&Z=3&a=1"));
    /* a signature never signs itself */
    assert_str(query_of(STR("b=1&X-Amz-Signature=abc&a=2")), STR("a=2&b=1"));
    assert_str(query_of(STR("X-Amz-Signature")), STR(""));
    assert_str(query_of(STR("X-Amz-SignatureX=1")), STR("X-Amz-SignatureX=1"));
}

static void too_many_parameters_are_an_error(void **state) {
    char query[2 * (S3SI_SIGV4_SORT_MAX + 1)];
    size_t i;
    (void)state;
    for (i = 0; i < sizeof query; i += 2) query[i] = 'a', query[i + 1] = '&';
    (void)query_of(s3si_str_make(query, sizeof query - 2));
    {
        s3si_buf *out = unit_fresh();
        s3si_sigv4_query(out, guarded(s3si_str_make(query, sizeof query)), NULL);
        assert_false(s3si_buf_ok(out));
    }
}

static s3si_str value_of(s3si_str value) {
    s3si_buf *out = unit_fresh();
    s3si_sigv4_value(out, guarded(value));
    return s3si_buf_str(out);
}

static void header_values(void **state) {
    (void)state;
    assert_str(value_of(STR("")), STR(""));
    assert_str(value_of(STR("  ")), STR(""));
    assert_str(value_of(STR("a")), STR("a"));
    assert_str(value_of(STR(" \ta  b\tc \r\n  d ")), STR("a b c d"));
    assert_str(value_of(STR("\"a   b\"")), STR("\"a b\""));
}

/* Names are signed in lower case and in order; values of one name share its line as given. */
static void headers_in_order(void **state) {
    signing s;
    (void)state;
    s3_request(&s, "GET", "/", "", S3SI_SIGV4_UNSIGNED);
    add_header(&s, "x-amz-b", "1");
    add_header(&s, "X-Amz-A", "2");
    add_header(&s, "X-AMZ-B", "0");
    add_header(&s, "x-amz", "");
    add_header(&s, "Content-Type", "text/plain");
    sign(&s, S3_ACCESS, S3_SECRET);
    assert_string_equal(s.canonical, "GET\n/\n\n"
                                     "content-type:text/plain\n"
                                     "host:examplebucket.s3.amazonaws.com\n"
                                     "x-amz:\n"
                                     "x-amz-a:2\n"
                                     "x-amz-b:1,0\n"
                                     "\n"
                                     "content-type;host;x-amz;x-amz-a;x-amz-b\n"
                                     "UNSIGNED-PAYLOAD");
}

/* What is signed decides about the signature: change any of it, and it is another. */
static void everything_signed_counts(void **state) {
    char first[65];
    signing s;
    int change;
    (void)state;
    first[0] = 0;
    for (change = 0; change <= 9; change++) {
        s3_request(&s, "GET", "/k", "a=1", S3SI_SIGV4_UNSIGNED);
        if (change == 1) s.r.method = STR("PUT");
        if (change == 2) s.r.path = STR("/K");
        if (change == 3) s.r.query = STR("a=2");
        if (change == 4) s.r.region = STR("us-east-2");
        if (change == 5) s.r.service = STR("sts");
        if (change == 6) s.r.time = "20130524T000001Z";
        if (change == 7) s.r.payload_hash = STR(S3SI_SIGV4_EMPTY_HASH);
        if (change == 8) add_header(&s, "x-amz-acl", "private");
        sign(&s, S3_ACCESS, change == 9 ? "other" : S3_SECRET);
        if (change) assert_string_not_equal(s.signature, first);
        else memcpy(first, s.signature, sizeof first);
    }
}

/* Without memory there is no signature rather than a wrong one, and nothing leaks: the N-th
 * allocation fails, for every N until all goes well. */
static void out_of_memory(void **state) {
    int fail_at, ok = 0;
    (void)state;
    for (fail_at = 1; !ok; fail_at++) {
        unit_heap heap;
        s3si_buf out;
        signing s;
        uint8_t key[32] = {0};
        char signature[65];
        unit_heap_init(&heap, fail_at);
        s3_request(&s, "GET", "/a/../b c", "z=%20&y=2&x", S3SI_SIGV4_UNSIGNED);
        s.r.headers = s.headers;
        s.r.normalize = s.r.double_encode = 1;
        ok = s3si_sigv4_sign(&s.r, key, &heap.mem, signature);
        assert_int_equal(heap.live, 0);
        assert_int_equal(ok, heap.asked < fail_at);

        unit_heap_init(&heap, fail_at);
        s3si_buf_init(&out, &heap.mem);
        s3si_sigv4_presign_query(&s.r, S3_ACCESS, "token", 60, &out);
        assert_int_equal(s3si_buf_ok(&out), heap.asked < fail_at);
        s3si_buf_deinit(&out);
        unit_heap_init(&heap, fail_at);
        s3si_buf_init(&out, &heap.mem);
        s3si_sigv4_authorization(&s.r, S3_ACCESS, key, &out);
        assert_int_equal(s3si_buf_ok(&out), heap.asked < fail_at);
        s3si_buf_deinit(&out);
        assert_int_equal(heap.live, 0);
    }
    assert_true(fail_at > 5);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_suite_in_headers),
        cmocka_unit_test(the_suite_presigned),
        cmocka_unit_test(examples_of_s3),
        cmocka_unit_test(paths_of_s3_are_left_alone),
        cmocka_unit_test(a_signing_key),
        cmocka_unit_test(normalised_paths),
        cmocka_unit_test(queries),
        cmocka_unit_test(too_many_parameters_are_an_error),
        cmocka_unit_test(header_values),
        cmocka_unit_test(headers_in_order),
        cmocka_unit_test(everything_signed_counts),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
