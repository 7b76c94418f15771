/* SPDX-License-Identifier: MIT OR Unlicense
 * >>http: header lines that may be sent, response heads, chunked bodies, Content-Range. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

/* ---- Requests -------------------------------------------------------------------------------- */
static void tokens(void **state) {
    static const char separators[] = "\"(),/:;<=>?@[\\]{} \t\x7f";
    int c;
    (void)state;
    assert_true(s3si_http_is_token(guarded(STR("x-amz-meta-A_1!#$%&'*+.^`|~"))));
    assert_false(s3si_http_is_token(STR("")));
    for (c = 0; c < 256; c++) {
        char name[3] = {'a', 0, 'b'};
        int want = c > 0x20 && c < 0x7f && !strchr(separators, c);
        name[1] = (char)c;
        assert_int_equal(s3si_http_is_token(s3si_str_make(name, 3)), want);
    }
}

static s3si_str header_line(s3si_str name, s3si_str value, int *ok) {
    s3si_buf *out = unit_fresh();
    s3si_http_add_header(out, guarded(name), value);
    *ok = s3si_buf_ok(out);
    return s3si_buf_str(out);
}

/* What would end a line early never gets into a request. */
static void header_lines_are_written_or_refused(void **state) {
    static const struct {
        s3si_str name, value;
    } bad[] = {{{"", 0}, {"v", 1}},       {{"a b", 3}, {"v", 1}},  {{"a:b", 3}, {"v", 1}},
               {{"a\r\nb", 4}, {"v", 1}}, {{"a\0b", 3}, {"v", 1}}, {{"a", 1}, {"v\r\nX: y", 7}},
               {{"a", 1}, {"v\n", 2}},    {{"a", 1}, {"\rv", 2}},  {{"a", 1}, {"v\0w", 3}},
               {{"a ", 2}, {"v", 1}}};
    int ok;
    size_t i;
    (void)state;
    assert_str(header_line(STR("Range"), STR("bytes=0-4"), &ok), STR("Range: bytes=0-4\r\n"));
    assert_true(ok);
    assert_str(header_line(STR("X-Empty"), STR(""), &ok), STR("X-Empty: \r\n"));
    assert_true(ok);
    assert_str(header_line(STR("x"), STR("\xc3\xa4\t:"), &ok), STR("x: \xc3\xa4\t:\r\n"));
    assert_true(ok);
    for (i = 0; i < COUNT(bad); i++) {
        assert_int_equal(header_line(bad[i].name, bad[i].value, &ok).n, 0);
        assert_false(ok);
    }
}

static void header_lines_of_the_caller(void **state) {
    static const char *const bad[] = {"",      "no colon",     ": v",   "a b: c",
                                      " a: b", "a: b\r\nc: d", "a : b", "a: b\n"};
    s3si_str name, value;
    size_t i;
    (void)state;
    assert_true(s3si_http_split_header(guarded(STR("x-amz-acl: \tprivate ")), &name, &value));
    assert_str(name, STR("x-amz-acl"));
    assert_str(value, STR("private"));
    assert_true(s3si_http_split_header(guarded(STR("a:b:c")), &name, &value));
    assert_str(value, STR("b:c"));
    assert_true(s3si_http_split_header(guarded(STR("a:")), &name, &value));
    assert_str(value, STR(""));
    for (i = 0; i < COUNT(bad); i++)
        if (s3si_http_split_header(guarded(s3si_str_of(bad[i])), &name, &value))
            fail_msg("\"%s\"", bad[i]);
    assert_false(s3si_http_split_header(guarded(STR("a: b\0c")), &name, &value));
}

/* ---- Response heads -----------------------------------------------------------------------------
 * A head is parsed from a buffer that may still be short: every proper prefix asks for more, and
 * what follows the head changes nothing. */
static s3si_head good_head_for(s3si_str head, int no_body) {
    static char copy[8192]; /* what the slices of the answer point into */
    s3si_head h;
    s3si_str longer;
    size_t n;
    long got;
    for (n = 0; n < head.n; n++) {
        got = s3si_head_parse(guard_copy(head.p, n), n, no_body, &h);
        if (got != 0)
            fail_msg("%ld after %lu bytes: %s", got, (unsigned long)n, h.why ? h.why : "accepted");
    }
    got = s3si_head_parse(guard_copy(head.p, n), n, no_body, &h);
    if (got != (long)head.n)
        fail_msg("%ld for the whole head: %s", got, h.why ? h.why : "no reason");

    assert_true(head.n + 12 <= sizeof copy);
    memcpy(copy, head.p, head.n);
    memcpy(copy + head.n, "HTTP/1.1 500", 12);
    longer = s3si_str_make(copy, head.n + 12);
    assert_int_equal(s3si_head_parse(longer.p, longer.n, no_body, &h), head.n);
    assert_true(unit_within(h.lines, s3si_str_make(copy, head.n)));
    return h;
}

static s3si_head good_head(s3si_str head) { return good_head_for(head, 0); }

/* A malformed head is never accepted, at no prefix; once refused it stays so; and it says why. */
static void bad_head(s3si_str head) {
    s3si_head h;
    size_t n;
    long got = 0, before = 0;
    for (n = 0; n <= head.n; n++) {
        got = s3si_head_parse(guard_copy(head.p, n), n, 0, &h);
        if (got > 0 || (before < 0 && got == 0)) {
            unit_print("head", head);
            fail_msg("%ld after %lu bytes", got, (unsigned long)n);
        }
        before = got;
    }
    if (got != -1) {
        unit_print("head", head);
        fail_msg("it still waits for more");
    }
    assert_non_null(h.why);
}

static void an_ordinary_answer(void **state) {
    s3si_head h = good_head(STR("HTTP/1.1 206 Partial Content\r\n"
                                "x-amz-id-2: ef8yU9AS1ed4OpIszj7UDNEHGran\r\n"
                                "Content-Range: bytes 0-4/10\r\n"
                                "ETag: \"b54357faf0632cce46e942fa68356b38\"\r\n"
                                "content-length:5\r\n"
                                "X-Empty:\r\n"
                                "X-Padded: \t a  b \t\r\n"
                                "\r\n"));
    s3si_str v;
    (void)state;
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.status, 206);
    assert_int_equal(h.framing, S3SI_BODY_LENGTH);
    assert_true(h.length == 5);
    assert_true(h.keep_alive);
    assert_true(s3si_head_find(&h, "etag", &v));
    assert_str(v, STR("\"b54357faf0632cce46e942fa68356b38\""));
    assert_true(s3si_head_find(&h, "CONTENT-RANGE", &v));
    assert_str(v, STR("bytes 0-4/10"));
    assert_true(s3si_head_find(&h, "x-empty", &v));
    assert_str(v, STR(""));
    assert_true(s3si_head_find(&h, "X-Padded", &v));
    assert_str(v, STR("a  b"));
    assert_false(s3si_head_find(&h, "etags", &v));
    assert_false(s3si_head_find(&h, "eta", &v));
    assert_str(v, STR(""));
}

static void header_lines_one_by_one(void **state) {
    s3si_head h = good_head(STR("HTTP/1.1 200 OK\r\nA: 1\r\nb: 2\nA: 3\r\n\r\n"));
    s3si_str lines = h.lines, name, value;
    (void)state;
    assert_true(s3si_head_step(&lines, &name, &value));
    assert_str(name, STR("A"));
    assert_str(value, STR("1"));
    assert_true(s3si_head_step(&lines, &name, &value));
    assert_str(name, STR("b"));
    assert_str(value, STR("2"));
    assert_true(s3si_head_step(&lines, &name, &value));
    assert_str(name, STR("A"));
    assert_str(value, STR("3"));
    assert_false(s3si_head_step(&lines, &name, &value));
    assert_true(s3si_head_find(&h, "a", &value)); /* the first of two */
    assert_str(value, STR("1"));
}

static void heads_that_servers_send(void **state) {
    s3si_head h;
    (void)state;
    h = good_head(STR("HTTP/1.1 200 OK\nContent-Length: 3\n\n")); /* bare LF */
    assert_true(h.length == 3);
    h = good_head(STR("HTTP/1.1 200 OK\r\nContent-Length: 3\n\r\n"));
    assert_true(h.length == 3);
    h = good_head(STR("HTTP/1.1 204\r\n\r\n")); /* no reason, not even its space */
    assert_int_equal(h.status, 204);
    h = good_head(STR("HTTP/1.1 200 \r\n\r\n"));
    assert_int_equal(h.status, 200);
    h = good_head(STR("HTTP/1.1 503 Slow  Down: \xc3\xa4\r\n\r\n"));
    assert_int_equal(h.status, 503);
    h = good_head(STR("HTTP/1.1 200 OK\r\n\r\n"));
    assert_int_equal(h.lines.n, 0);
    h = good_head(STR("HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh: 18446744073709551615\r\n\r\n"));
    assert_true(h.length == UINT64_MAX);
    h = good_head(STR("HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n"));
    assert_true(h.length == 7);
}

static void status_lines_that_are_none(void **state) {
    (void)state;
    bad_head(STR("HTTP/2 200 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.2 200 OK\r\n\r\n"));
    bad_head(STR("HTTP/0.9 200 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.10 200 OK\r\n\r\n"));
    bad_head(STR("http/1.1 200 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1  200 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1\t200 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 20 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 2000 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 +20 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 -20 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 0x2 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 099 OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200OK\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200\tOK\r\n\r\n"));
    bad_head(STR("HTTP/1.1\r\n\r\n"));
    bad_head(STR("\r\nHTTP/1.1 200 OK\r\n\r\n"));
    bad_head(STR("SSH-2.0-OpenSSH_9.2\r\n"));
    bad_head(STR("<html>no line ends here"));
    bad_head(STR("220 mail.example ESMTP\r\n"));
}

static void header_lines_that_are_none(void **state) {
    (void)state;
    bad_head(STR("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\n: no name\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nname : spaced\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nna me: v\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nn\xc3\xa4me: v\r\n\r\n"));
    /* obs-fold, RFC 9112 section 5.2 */
    bad_head(STR("HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nA: 1\r\n\tfolded: 2\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\n A: 1\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\n\0\r\n\r\n"));
}

/* A CR that no LF follows ends lines for some programs and not for others; RFC 9112 section 2.2. */
static void carriage_returns_on_their_own(void **state) {
    (void)state;
    bad_head(STR("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n"));
    bad_head(STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\r\n\r\n"));
}

static void nul_in_the_status_line(void **state) {
    (void)state;
    bad_head(STR("HTTP/1.1 200 O\0K\r\n\r\n"));
}

/* ---- How long a body is ---------------------------------------------------------------------- */
static s3si_head head_with(const char *status, const char *lines) {
    s3si_buf *out = unit_fresh();
    s3si_buf_addz(out, status);
    s3si_buf_addz(out, "\r\n");
    s3si_buf_addz(out, lines);
    s3si_buf_addz(out, "\r\n");
    return good_head(s3si_buf_str(out));
}

static void bad_lines(const char *lines) {
    s3si_buf *out = unit_fresh();
    s3si_buf_addz(out, "HTTP/1.1 200 OK\r\n");
    s3si_buf_addz(out, lines);
    s3si_buf_addz(out, "\r\n");
    bad_head(s3si_buf_str(out));
}

static void framing(void **state) {
    s3si_head h;
    (void)state;
    h = head_with("HTTP/1.1 200 OK", "Content-Length: 0\r\n");
    assert_int_equal(h.framing, S3SI_BODY_LENGTH);
    assert_true(h.length == 0 && h.keep_alive);
    h = head_with("HTTP/1.1 200 OK", "Content-Length: 12\r\nX: y\r\ncontent-length: 12\r\n");
    assert_int_equal(h.framing, S3SI_BODY_LENGTH);
    assert_true(h.length == 12);
    h = head_with("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n");
    assert_int_equal(h.framing, S3SI_BODY_CHUNKED);
    assert_true(h.keep_alive);
    h = head_with("HTTP/1.1 200 OK", "transfer-encoding:CHUNKED\r\n");
    assert_int_equal(h.framing, S3SI_BODY_CHUNKED);
    h = head_with("HTTP/1.1 200 OK", "");
    assert_int_equal(h.framing, S3SI_BODY_CLOSE);
    assert_false(h.keep_alive);
    /* nothing but its end can end such a body */
    h = head_with("HTTP/1.1 200 OK", "Connection: keep-alive\r\n");
    assert_int_equal(h.framing, S3SI_BODY_CLOSE);
    assert_false(h.keep_alive);
}

static void answers_without_a_body(void **state) {
    static const char *const status[] = {"HTTP/1.1 100 Continue", "HTTP/1.1 103 Early Hints",
                                         "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified"};
    s3si_head h;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(status); i++) {
        h = head_with(status[i], "");
        assert_int_equal(h.framing, S3SI_BODY_NONE);
        assert_true(h.keep_alive);
        h = head_with(status[i], "Content-Length: 5\r\n");
        assert_int_equal(h.framing, S3SI_BODY_NONE);
    }
    /* HEAD: the length is that of the body which GET would bring */
    h = good_head_for(STR("HTTP/1.1 200 OK\r\nContent-Length: 434234\r\n\r\n"), 1);
    assert_int_equal(h.framing, S3SI_BODY_NONE);
    assert_true(h.length == 434234 && h.keep_alive);
    h = good_head_for(STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 1);
    assert_int_equal(h.framing, S3SI_BODY_NONE);
    assert_true(h.keep_alive);
    h = good_head_for(STR("HTTP/1.1 404 Not Found\r\n\r\n"), 1);
    assert_int_equal(h.framing, S3SI_BODY_NONE);
    assert_true(h.keep_alive);
}

/* Two answers to how long a body is, or one that is no number: a protocol error. */
static void lengths_that_are_refused(void **state) {
    static const char *const bad[] = {
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length:\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: 5\r\n\tContent-Length: 6\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding : chunked\r\n",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++) bad_lines(bad[i]);
}

/* RFC 9112 section 6.1: chunked at most once. */
static void chunked_twice_is_refused(void **state) {
    (void)state;
    bad_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
    bad_lines("Transfer-Encoding: chunked, chunked\r\n");
}

static void whether_the_connection_stays(void **state) {
    static const struct {
        const char *status, *lines;
        int keep;
    } cases[] = {
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\n", 1},
        {"HTTP/1.0 200 OK", "Content-Length: 1\r\n", 0},
        {"HTTP/1.0 200 OK", "Content-Length: 1\r\nConnection: keep-alive\r\n", 1},
        {"HTTP/1.0 200 OK", "Content-Length: 1\r\nConnection: Keep-Alive, x\r\n", 1},
        {"HTTP/1.0 200 OK", "Connection: keep-alive\r\n", 0},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nConnection: close\r\n", 0},
        {"HTTP/1.1 200 OK", "Connection: close\r\nContent-Length: 1\r\n", 0},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nconnection: x , CLOSE\r\n", 0},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nConnection: closed\r\n", 1},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nConnection: keep-alive, close\r\n", 0},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nConnection: close\r\nConnection: keep-alive\r\n",
         0},
        {"HTTP/1.1 200 OK", "Content-Length: 1\r\nConnection:\r\n", 1},
        {"HTTP/1.0 200 OK", "Content-Length: 1\r\nConnection: keep-alive\r\nConnection: close\r\n",
         0},
        {"HTTP/1.1 204 No Content", "Connection: close\r\n", 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        s3si_head h = head_with(cases[i].status, cases[i].lines);
        if (!h.keep_alive != !cases[i].keep) fail_msg("%s, %s", cases[i].status, cases[i].lines);
        assert_int_equal(h.minor, cases[i].status[7] - '0');
    }
}

/* RFC 9112 section 9.6: a server that says "close" will close, whatever else it says. */
static void close_wins(void **state) {
    (void)state;
    assert_false(head_with("HTTP/1.0 200 OK", "Content-Length: 1\r\nConnection: close\r\n"
                                              "Connection: keep-alive\r\n").keep_alive);
}

/* ---- The limits of a head -------------------------------------------------------------------- */
enum { HEAD_MAX = 65536, HEAD_LINES = 256 };

/* A head of just `size` bytes: one long header line, or many short ones. */
static s3si_str head_of(size_t size, size_t line_size) {
    static char text[GUARD_MAX];
    static const char status[] = "HTTP/1.1 200 OK\r\n";
    size_t n = sizeof status - 1;
    assert_true(size <= sizeof text);
    memcpy(text, status, n);
    while (n + 2 < size) {
        size_t line = size - 2 - n < line_size + 5 ? size - 2 - n : line_size;
        memset(text + n, 'v', line);
        text[n] = 'n';
        text[n + 1] = ':';
        text[n + line - 2] = '\r';
        text[n + line - 1] = '\n';
        n += line;
    }
    text[n++] = '\r';
    text[n++] = '\n';
    assert_int_equal(n, size);
    return s3si_str_make(text, n);
}

static long parse(s3si_str head, size_t n) {
    s3si_head h;
    return s3si_head_parse(guard_copy(head.p, n), n, 0, &h);
}

/* 64 KiB are a head, one byte more is none, and who still waits for its end is told so, too. */
static void the_longest_head(void **state) {
    static const size_t lines[] = {GUARD_MAX, 1000, 500};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(lines); i++) {
        s3si_str head = head_of(HEAD_MAX, lines[i]);
        assert_int_equal(parse(head, head.n), head.n);
        assert_int_equal(parse(head, head.n - 1), 0);
        assert_int_equal(parse(head, head.n / 2), 0);
        head = head_of(HEAD_MAX + 1, lines[i]);
        assert_int_equal(parse(head, head.n), -1);
        head = head_of(2 * HEAD_MAX, lines[i]);
        assert_int_equal(parse(head, head.n), -1);
        assert_int_equal(parse(head, HEAD_MAX + 1), -1);
    }
}

static void a_status_line_without_end(void **state) {
    s3si_buf *out = unit_fresh();
    s3si_str line;
    (void)state;
    s3si_buf_addz(out, "HTTP/1.1 200 ");
    while (out->n < HEAD_MAX + 1) s3si_buf_addc(out, 'x');
    line = s3si_buf_str(out);
    assert_int_equal(parse(line, 1000), 0);
    assert_int_equal(parse(line, line.n), -1);
}

static void the_most_header_lines(void **state) {
    int count;
    (void)state;
    for (count = HEAD_LINES; count <= HEAD_LINES + 1; count++) {
        s3si_buf *out = unit_fresh();
        int i;
        s3si_buf_addz(out, "HTTP/1.1 200 OK\r\n");
        for (i = 0; i < count; i++) s3si_buf_addz(out, "a: b\r\n");
        s3si_buf_addz(out, "\r\n");
        assert_int_equal(parse(s3si_buf_str(out), out->n), count == HEAD_LINES ? (long)out->n : -1);
    }
}

/* ---- Chunked bodies -----------------------------------------------------------------------------
 * A run feeds a stream in pieces and gathers the body. The pieces end at the cuts, at the
 * stream's end, and, with `step`, after every so many bytes. */
typedef struct chunked_run {
    int state;
    size_t used; /* bytes consumed up to DONE or BAD */
    size_t body_n;
    char body[8192];
} chunked_run;

static void chunked_feed(s3si_chunked *c, chunked_run *run, const char *p, size_t n) {
    s3si_str piece = s3si_str_make(guard_copy(p, n), n), data;
    while (piece.n && c->state < S3SI_CHUNK_DONE) {
        size_t used = s3si_chunked_feed(c, piece.p, piece.n, &data);
        assert_true(used > 0 && used <= piece.n);
        assert_true(unit_within(data, s3si_str_make(piece.p, used)));
        assert_true(run->body_n + data.n <= sizeof run->body);
        if (data.n) memcpy(run->body + run->body_n, data.p, data.n);
        run->body_n += data.n;
        run->used += used;
        piece = s3si_str_from(piece, used);
    }
}

static void chunked_cut(chunked_run *run, s3si_str stream, size_t a, size_t b) {
    s3si_chunked c;
    memset(&c, 0, sizeof c);
    run->used = run->body_n = 0;
    chunked_feed(&c, run, stream.p, a);
    chunked_feed(&c, run, stream.p + a, b - a);
    chunked_feed(&c, run, stream.p + b, stream.n - b);
    run->state = c.state;
}

static void chunked_steps(chunked_run *run, s3si_str stream, size_t step) {
    s3si_chunked c;
    size_t i;
    memset(&c, 0, sizeof c);
    run->used = run->body_n = 0;
    for (i = 0; i < stream.n; i += step)
        chunked_feed(&c, run, stream.p + i, step < stream.n - i ? step : stream.n - i);
    run->state = c.state;
}

static void same_run(const chunked_run *got, const chunked_run *want) {
    assert_int_equal(got->state, want->state);
    assert_int_equal(got->used, want->used);
    assert_int_equal(got->body_n, want->body_n);
    assert_memory_equal(got->body, want->body, want->body_n);
}

/* Cut at every pair of bytes, and byte by byte, a stream means what it means in one piece. */
static chunked_run chunked(s3si_str stream) {
    chunked_run whole, cut;
    size_t a, b;
    chunked_cut(&whole, stream, 0, 0);
    for (a = 0; a <= stream.n; a++)
        for (b = a; b <= stream.n; b++) {
            chunked_cut(&cut, stream, a, b);
            same_run(&cut, &whole);
        }
    for (a = 1; a <= 5; a++) {
        chunked_steps(&cut, stream, a);
        same_run(&cut, &whole);
    }
    return whole;
}

static void chunked_bodies(void **state) {
    static const struct {
        s3si_str stream;
        const char *body;
    } cases[] = {
        {{"0\r\n\r\n", 5}, ""},
        {{"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", 24}, "Wikipedia"},
        {{"4\nWiki\n5\npedia\n0\n\n", 18}, "Wikipedia"},
        {{"a\r\n0123456789\r\n0\r\n\r\n", 20}, "0123456789"},
        {{"A\r\n0123456789\r\n0\r\n\r\n", 20}, "0123456789"},
        {{"0003\r\nabc\r\n000\r\n\r\n", 18}, "abc"},
        {{"00000000000000000003\r\nabc\r\n0\r\n\r\n", 32}, "abc"},
        {{"3;name=value\r\nabc\r\n0;x=\"y;z\"\r\n\r\n", 32}, "abc"},
        {{"3 ; name\r\nabc\r\n0\r\n\r\n", 20}, "abc"},
        {{"3  \r\nabc\r\n0\r\n\r\n", 15}, "abc"}, /* padded, as some servers do */
        {{"3\r\n\r\n0\r\n0\r\n\r\n", 13}, "\r\n0"},
        {{"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", 23}, "abc"},
        {{"0\r\nx-checksum: abc\r\nY: z\r\n\r\n", 28}, ""},
        {{"1\na\n0\nx-checksum: abc\n\n", 23}, "a"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        chunked_run run = chunked(cases[i].stream);
        assert_int_equal(cases[i].stream.p[cases[i].stream.n], 0);
        if (run.state != S3SI_CHUNK_DONE) {
            unit_print("stream", cases[i].stream);
            fail_msg("it ends in state %d", run.state);
        }
        assert_int_equal(run.used, cases[i].stream.n);
        assert_str(s3si_str_make(run.body, run.body_n), s3si_str_of(cases[i].body));
    }
}

/* What follows the body is the next response's, to the byte. */
static void nothing_behind_the_body_is_consumed(void **state) {
    chunked_run run = chunked(STR("2\r\nab\r\n0\r\n\r\nHTTP/1.1 200"));
    (void)state;
    assert_int_equal(run.state, S3SI_CHUNK_DONE);
    assert_int_equal(run.used, 12);
    run = chunked(STR("0\nA: b\n\n\r\n0"));
    assert_int_equal(run.state, S3SI_CHUNK_DONE);
    assert_int_equal(run.used, 8);
}

/* A body that breaks off is never taken for a whole one. */
static void a_chunked_body_cut_short_is_not_done(void **state) {
    s3si_str stream = STR("4;x\r\nWiki\r\n5\r\npedia\r\n0\r\nT: v\r\n\r\n");
    chunked_run run;
    size_t n;
    (void)state;
    for (n = 0; n < stream.n; n++) {
        chunked_steps(&run, s3si_str_make(stream.p, n), n ? n : 1);
        assert_true(run.state < S3SI_CHUNK_DONE);
        assert_int_equal(run.used, n);
    }
    chunked_steps(&run, stream, stream.n);
    assert_int_equal(run.state, S3SI_CHUNK_DONE);
}

static void chunks_that_are_refused(void **state) {
    static const char *const bad[] = {
        "\r\n",
        "\n",
        ";x\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "\t5\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "-5\r\n",
        "-0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5,\r\n",
        "5.\r\n",
        "g\r\n",
        "5g\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\na\r\n0\r\n\r\n",
        "3\r\nabc\r\r\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "000010000000000000000\r\n",
        "18446744073709551616\r\n",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (chunked(s3si_str_of(bad[i])).state != S3SI_CHUNK_BAD) {
            unit_print("stream", s3si_str_of(bad[i]));
            fail_msg("it was accepted");
        }
    assert_int_equal(chunked(STR("5\0\r\n")).state, S3SI_CHUNK_BAD);
}

/* Behind a chunk's size come spaces, an extension, or the line's end, and nothing else: programs
 * that disagree about where a chunk begins can be made to disagree about where a response does. */
static void sizes_with_rubbish_behind_them(void **state) {
    static const char *const bad[] = {
        "5 5\r\nabcde\r\n0\r\n\r\n", "5\t0\r\n", "5 x\r\n", "5\rx\r\n", "5\r5\r\n", "5\r\r\n",
        "5\r;x\r\n",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (chunked(s3si_str_of(bad[i])).state != S3SI_CHUNK_BAD) {
            unit_print("stream", s3si_str_of(bad[i]));
            fail_msg("it was accepted");
        }
}

/* The largest chunk there can be is begun like any other. */
static void a_chunk_of_64_bits(void **state) {
    s3si_str stream = STR("ffffffffffffffff\r\nabc"), data;
    s3si_chunked c;
    chunked_run run = chunked(stream);
    (void)state;
    assert_int_equal(run.state, S3SI_CHUNK_DATA);
    assert_str(s3si_str_make(run.body, run.body_n), STR("abc"));
    memset(&c, 0, sizeof c);
    assert_int_equal(s3si_chunked_feed(&c, stream.p, stream.n, &data), stream.n);
    assert_true(c.left == UINT64_MAX - 3);
}

/* A line without end is refused once it is longer than any honest one; data has no such limit. */
static void long_lines(void **state) {
    static const char *const starts[] = {"5;", "0", "5 ", "0\r\nT: "};
    chunked_run run;
    s3si_str stream;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(starts); i++) {
        s3si_buf *out = unit_fresh();
        s3si_buf_addz(out, starts[i]);
        while (out->n < S3SI_CHUNK_LINE_MAX / 2) s3si_buf_addc(out, i == 1 ? '0' : ' ');
        stream = s3si_buf_str(out);
        chunked_steps(&run, stream, 1000);
        assert_true(run.state < S3SI_CHUNK_DONE);
        while (out->n < S3SI_CHUNK_LINE_MAX + 10) s3si_buf_addc(out, i == 1 ? '0' : ' ');
        stream = s3si_buf_str(out);
        chunked_steps(&run, stream, 1000);
        assert_int_equal(run.state, S3SI_CHUNK_BAD);
    }
    {
        s3si_buf *out = unit_fresh();
        s3si_buf_addz(out, "1800\r\n");
        for (i = 0; i < 0x1800; i++) s3si_buf_addc(out, (char)('a' + i % 26));
        s3si_buf_addz(out, "\r\n0\r\n\r\n");
        stream = s3si_buf_str(out);
        chunked_steps(&run, stream, 777);
        assert_int_equal(run.state, S3SI_CHUNK_DONE);
        assert_int_equal(run.body_n, 0x1800);
        assert_memory_equal(run.body, stream.p + 6, 0x1800);
    }
}

/* ---- Content-Range --------------------------------------------------------------------------- */
static void ranges_of_answers(void **state) {
    static const struct {
        const char *text;
        uint64_t start, end, total;
    } cases[] = {
        {"bytes 0-0/1", 0, 1, 1},
        {"bytes 0-4/10", 0, 5, 10},
        {"bytes 9-9/10", 9, 10, 10},
        {"Bytes 5-9/*", 5, 10, UINT64_MAX},
        {"bytes  7-8/9", 7, 9, 9},
        {"bytes */47022", UINT64_MAX, UINT64_MAX, 47022},
        {"bytes */0", UINT64_MAX, UINT64_MAX, 0},
        {"bytes 18446744073709551612-18446744073709551613/18446744073709551614", UINT64_MAX - 3,
         UINT64_MAX - 1, UINT64_MAX - 1},
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        uint64_t start = 1, end = 1, total = 1;
        if (!s3si_http_content_range(guarded(s3si_str_of(cases[i].text)), &start, &end, &total))
            fail_msg("\"%s\" was refused", cases[i].text);
        assert_true(start == cases[i].start);
        assert_true(end == cases[i].end);
        assert_true(total == cases[i].total);
    }
}

static void ranges_that_are_refused(void **state) {
    static const char *const bad[] = {
        "",
        "bytes",
        "bytes ",
        "bytes=0-4/10",
        "bytes0-4/10",
        "byte 0-4/10",
        "lines 0-4/10",
        "0-4/10",
        "bytes 0-4",
        "bytes 0-4/",
        "bytes /10",
        "bytes -/10",
        "bytes 0-/10",
        "bytes -4/10",
        "bytes 04/10",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 10-10/10",
        "bytes 0-0/0",
        "bytes 0 - 4/10",
        "bytes 0-4 /10",
        "bytes 0-4/ 10",
        "bytes 0-4/10/10",
        "bytes 0-4-5/10",
        "bytes +0-4/10",
        "bytes 0-+4/10",
        "bytes 0--4/10",
        "bytes 0-4/-1",
        "bytes 0-4/+10",
        "bytes 0x0-4/10",
        "bytes 0-4/10, 5-6/10",
        "bytes 0-18446744073709551615/*",
        "bytes 0-18446744073709551615/18446744073709551615",
        "bytes 0-18446744073709551616/*",
        "bytes 18446744073709551616-18446744073709551617/*",
        "bytes 0-4/18446744073709551616",
        "bytes **/10",
        "bytes *-*/10",
        "bytes */**",
    };
    static const char good[] = "bytes 123-456/789";
    uint64_t start, end, total;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++)
        if (s3si_http_content_range(guarded(s3si_str_of(bad[i])), &start, &end, &total))
            fail_msg("\"%s\" was accepted", bad[i]);
    for (i = 0; i < sizeof good - 3; i++) /* "/7" would end below 456 */
        assert_false(
            s3si_http_content_range(guarded(s3si_str_make(good, i)), &start, &end, &total));
}

/* RFC 9110 section 14.4: who cannot serve a range says how long the whole is. */
static void neither_range_nor_total(void **state) {
    uint64_t start, end, total;
    (void)state;
    assert_false(s3si_http_content_range(guarded(STR("bytes */*")), &start, &end, &total));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(header_lines_are_written_or_refused),
        cmocka_unit_test(header_lines_of_the_caller),
        cmocka_unit_test(an_ordinary_answer),
        cmocka_unit_test(header_lines_one_by_one),
        cmocka_unit_test(heads_that_servers_send),
        cmocka_unit_test(status_lines_that_are_none),
        cmocka_unit_test(header_lines_that_are_none),
        cmocka_unit_test(carriage_returns_on_their_own),
        cmocka_unit_test(nul_in_the_status_line),
        cmocka_unit_test(framing),
        cmocka_unit_test(answers_without_a_body),
        cmocka_unit_test(lengths_that_are_refused),
        cmocka_unit_test(chunked_twice_is_refused),
        cmocka_unit_test(whether_the_connection_stays),
        cmocka_unit_test(close_wins),
        cmocka_unit_test(the_longest_head),
        cmocka_unit_test(a_status_line_without_end),
        cmocka_unit_test(the_most_header_lines),
        cmocka_unit_test(chunked_bodies),
        cmocka_unit_test(nothing_behind_the_body_is_consumed),
        cmocka_unit_test(a_chunked_body_cut_short_is_not_done),
        cmocka_unit_test(chunks_that_are_refused),
        cmocka_unit_test(sizes_with_rubbish_behind_them),
        cmocka_unit_test(a_chunk_of_64_bits),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(ranges_of_answers),
        cmocka_unit_test(ranges_that_are_refused),
        cmocka_unit_test(neither_range_nor_total),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
