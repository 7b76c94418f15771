/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * A fuzzer for everything that reads bytes which others wrote: response heads, chunked bodies,
 * XML, JSON, URIs, Content-Range, signed queries, record formats, and the cutter against its
 * brute-force model. The first byte of an input chooses the parser. Each target states what must
 * hold of any input, so that a wrong answer is found as surely as a crash.
 *
 * Compiled as it is, it has a main() that runs a fixed number of pseudo-random inputs;
 * tests/unit/test_fuzz.c makes that a part of `make check`. An argument is the number of inputs
 * for each target, a second one the seed, and `-` reads one input from standard input:
 *
 *     make build/unit/test_fuzz && build/unit/test_fuzz 1000000 7
 *
 * Real fuzzing, guided by coverage, is clang's:
 *
 *     clang -g -O1 -pthread -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
 *         -DFUZZ_LIBFUZZER -o build/fuzz_formats tests/fuzz/fuzz_formats.c
 *     mkdir -p build/corpus
 *     build/fuzz_formats -max_len=2048 -max_total_time=600 build/corpus
 */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "../support/guard.h"
#include "../unit/records_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- What must hold -------------------------------------------------------------------------- */
static const uint8_t *input_bytes; /* of the input under test, to be printed when it fails */
static size_t input_size;

static void broken(const char *claim, int line) {
    size_t i;
    fprintf(stderr, "fuzz_formats.c:%d: not so: %s\ninput:", line, claim);
    for (i = 0; i < input_size; i++) fprintf(stderr, " %02x", input_bytes[i]);
    fprintf(stderr, "\n");
    abort();
}

#define REQUIRE(claim) ((claim) ? (void)0 : broken(#claim, __LINE__))

static int within(s3si_str s, s3si_str text) {
    return s.p >= text.p && s.p + s.n <= text.p + text.n;
}

/* A number below `limit` from the front of the input. */
static size_t choose(s3si_str *in, size_t limit) {
    size_t v = in->n ? (unsigned char)in->p[0] : 0;
    *in = s3si_str_from(*in, 1);
    return limit ? v % limit : 0;
}

static s3si_mem libc_memory(void) {
    s3si_mem mem;
    s3si_mem_init(&mem, NULL);
    return mem;
}

/* ---- Response heads -------------------------------------------------------------------------- */
static void check_header_lines(const s3si_head *h) {
    s3si_str lines = h->lines, name, value;
    int count = 0;
    while (s3si_head_step(&lines, &name, &value)) {
        REQUIRE(s3si_http_is_token(name) && s3si_http_safe(value));
        REQUIRE(within(name, h->lines) && within(value, h->lines));
        count++;
    }
    REQUIRE(count <= S3SI_HEAD_LINES);
}

static void fuzz_head(s3si_str in) {
    int no_body = (int)choose(&in, 2);
    s3si_head h, other;
    long got = s3si_head_parse(in.p, in.n, no_body, &h);
    size_t n;
    REQUIRE(got >= -1 && got <= (long)in.n);
    REQUIRE(got != -1 || h.why);
    if (got > 0) {
        REQUIRE(h.status >= 100 && h.status <= 999);
        REQUIRE(within(h.lines, s3si_str_make(in.p, (size_t)got)));
        REQUIRE(h.framing != S3SI_BODY_CLOSE || !h.keep_alive);
        check_header_lines(&h);
    }
    for (n = 0; n <= in.n; n += 1 + in.n / 64) { /* a prefix never knows better than the whole */
        long before = s3si_head_parse(in.p, n, no_body, &other);
        if (got > 0) REQUIRE(before == ((long)n < got ? 0 : got));
        if (got == 0) REQUIRE(before == 0);
        if (got < 0) REQUIRE(before <= 0);
    }
}

/* ---- Chunked bodies -------------------------------------------------------------------------- */
typedef struct chunked_sum {
    int state;
    size_t used, body;
    uint64_t hash;
} chunked_sum;

static void chunked_add(s3si_chunked *c, chunked_sum *sum, s3si_str piece) {
    s3si_str data;
    size_t i;
    while (piece.n && c->state < S3SI_CHUNK_DONE) {
        size_t used = s3si_chunked_feed(c, piece.p, piece.n, &data);
        REQUIRE(used > 0 && used <= piece.n && within(data, s3si_str_make(piece.p, used)));
        for (i = 0; i < data.n; i++)
            sum->hash = (sum->hash ^ (unsigned char)data.p[i]) * 0x100000001b3u;
        sum->used += used, sum->body += data.n;
        piece = s3si_str_from(piece, used);
    }
    sum->state = c->state;
}

static void fuzz_chunked(s3si_str in) {
    size_t cut = choose(&in, 256), step = 1 + choose(&in, 8), i;
    chunked_sum whole = {0, 0, 0, 0}, two = whole, many = whole;
    s3si_chunked c;
    memset(&c, 0, sizeof c);
    chunked_add(&c, &whole, in);
    memset(&c, 0, sizeof c);
    if (cut > in.n) cut = in.n;
    chunked_add(&c, &two, s3si_str_make(in.p, cut));
    chunked_add(&c, &two, s3si_str_from(in, cut));
    memset(&c, 0, sizeof c);
    for (i = 0; i < in.n; i += step)
        chunked_add(&c, &many, s3si_str_make(in.p + i, step < in.n - i ? step : in.n - i));
    if (!in.n) return;
    REQUIRE(whole.state == two.state && whole.used == two.used && whole.body == two.body &&
            whole.hash == two.hash);
    REQUIRE(whole.state == many.state && whole.used == many.used && whole.hash == many.hash);
    REQUIRE(whole.body <= whole.used && whole.used <= in.n);
    if (whole.state < S3SI_CHUNK_DONE) REQUIRE(whole.used == in.n);
}

/* ---- XML ------------------------------------------------------------------------------------- */
static void fuzz_xml(s3si_str in) {
    s3si_mem mem = libc_memory();
    s3si_str s;
    s3si_buf out;
    s3si_xml x;
    size_t events = 0;
    int event;
    s3si_buf_init(&out, &mem);
    s3si_xml_init(&x, in);
    while ((event = s3si_xml_next(&x, &s)) > 0) {
        REQUIRE(within(s, in) && event <= S3SI_XML_TEXT);
        if (event == S3SI_XML_OPEN) REQUIRE(s.n > 0 && !memchr(s.p, '<', s.n));
        if (event == S3SI_XML_TEXT) {
            s3si_buf_clear(&out);
            s3si_xml_decode(&out, s);
            REQUIRE(s3si_buf_ok(&out) && out.n <= s.n); /* decoding never makes more of it */
        }
        REQUIRE(++events <= 2 * in.n);
    }
    REQUIRE(event == S3SI_XML_END || event == S3SI_XML_BAD);
    if (s3si_xml_find(in, "Code", &s)) REQUIRE(s.n == 0 || within(s, in));
    s3si_buf_deinit(&out);
}

/* ---- JSON ------------------------------------------------------------------------------------ */
static void check_json_string(s3si_str value) {
    s3si_mem mem = libc_memory();
    s3si_buf plain, again, twice;
    s3si_buf_init(&plain, &mem);
    s3si_buf_init(&again, &mem);
    s3si_buf_init(&twice, &mem);
    if (s3si_json_decode(&plain, value)) {
        s3si_str encoded, taken;
        REQUIRE(plain.n <= value.n);
        s3si_json_encode(&again, s3si_buf_str(&plain));
        encoded = s3si_buf_str(&again);
        REQUIRE(s3si_json_take(&encoded, &taken) && encoded.n == 0 && taken.n == again.n);
        REQUIRE(s3si_json_decode(&twice, taken) &&
                s3si_str_eq(s3si_buf_str(&twice), s3si_buf_str(&plain)));
    }
    s3si_buf_deinit(&plain);
    s3si_buf_deinit(&again);
    s3si_buf_deinit(&twice);
}

/* A value that was taken is whole: so are all that it holds, down to its scalars. */
static void check_json(s3si_str value, int depth) {
    s3si_str rest = value, name, item;
    REQUIRE(value.n > 0 && depth <= 32);
    if (value.p[0] == '"') check_json_string(value);
    if (value.p[0] != '[' && value.p[0] != '{') return;
    while (s3si_json_step(&rest, &name, &item)) {
        s3si_str one = item, same;
        REQUIRE(within(item, value) && item.n < value.n && (name.n == 0 || within(name, value)));
        REQUIRE(s3si_json_take(&one, &same) && s3si_str_eq(same, item) && one.n == 0);
        check_json(item, depth + 1);
    }
    /* nothing but the bracket is left */
    rest = s3si_json_skip_space(s3si_str_from(rest, rest.n > 1));
    REQUIRE(rest.n == 1 && rest.p[0] == (value.p[0] == '[' ? ']' : '}'));
}

static void fuzz_json(s3si_str in) {
    s3si_str rest = in, value, name;
    size_t steps = 0;
    uint64_t n;
    while (s3si_json_take(&rest, &value)) {
        s3si_str again = value, same;
        REQUIRE(within(value, in) && rest.p == value.p + value.n);
        REQUIRE(s3si_json_take(&again, &same) && s3si_str_eq(same, value));
        check_json(value, 0);
    }
    (void)s3si_json_u64(in, "size", &n); /* and in what was never checked, nothing goes wrong */
    for (rest = in; s3si_json_step(&rest, &name, &value);)
        REQUIRE(within(value, in) && ++steps <= in.n);
    check_json_string(in);
}

/* ---- URIs ------------------------------------------------------------------------------------ */
static void fuzz_uri(s3si_str in) {
    s3si_mem mem = libc_memory();
    s3si_origin origin;
    s3si_buf out;
    const char *why = NULL;
    s3si_uri u;
    uint64_t port;
    size_t i;
    if (!s3si_uri_parse(in, &u, &why)) {
        REQUIRE(why);
        return;
    }
    if (u.scheme == S3SI_URI_S3) {
        REQUIRE(within(u.bucket, in) && within(u.key, in));
        REQUIRE(u.key.p + u.key.n == in.p + in.n); /* the key is all the rest, as it is */
        (void)s3si_uri_virtual_ok(u.bucket, u.key, 0);
    } else if (u.scheme == S3SI_URI_FILE) {
        REQUIRE(within(u.path, in) && u.path.n == in.n - 7);
    } else {
        REQUIRE(u.scheme == S3SI_URI_HTTP && within(u.host, in) && u.host.n > 0);
        REQUIRE(u.path.n > 0 && u.path.p[0] == '/' && s3si_str_find(u.path, '#') == u.path.n);
        for (i = 0; i < u.path.n; i++)
            REQUIRE((unsigned char)u.path.p[i] > 0x20 && u.path.p[i] != 0x7f);
        for (i = 0; i < u.host.n; i++)
            REQUIRE((unsigned char)u.host.p[i] > 0x20 && u.host.p[i] != 0x7f);
        s3si_origin_set(&origin, u.host, u.port, u.tls);
        REQUIRE(s3si_str_is(u.host, origin.host));
        REQUIRE(s3si_str_u64(s3si_str_of(origin.port), &port) && port > 0 && port < 65536);
        REQUIRE(s3si_origin_eq(&origin, &origin));
        s3si_buf_init(&out, &mem);
        s3si_origin_authority(&origin, &out);
        REQUIRE(s3si_http_safe(s3si_buf_str(&out)));
        s3si_buf_deinit(&out);
        (void)s3si_uri_is_address(u.host);
        REQUIRE(s3si_uri_within(u.host, u.host));
    }
}

/* ---- Content-Range --------------------------------------------------------------------------- */
static void fuzz_content_range(s3si_str in) {
    uint64_t start = 0, end = 0, total = 0, again[3];
    char text[100];
    if (!s3si_http_content_range(in, &start, &end, &total)) return;
    if (start == UINT64_MAX) {
        REQUIRE(end == UINT64_MAX);
        (void)snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)total);
    } else {
        REQUIRE(start < end && end <= total);
        (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)start,
                       (unsigned long long)(end - 1), (unsigned long long)total);
        if (total == UINT64_MAX) strcpy(strchr(text, '/') + 1, "*");
    }
    REQUIRE(s3si_http_content_range(s3si_str_of(text), &again[0], &again[1], &again[2]));
    REQUIRE(again[0] == start && again[1] == end && again[2] == total);
}

/* ---- Signatures ------------------------------------------------------------------------------ */
/* What is canonical stays as it is, whatever it came from. */
static void fuzz_sigv4(s3si_str in) {
    s3si_mem mem = libc_memory();
    s3si_buf once, twice;
    s3si_str rest, last = {"", 0};
    size_t i;
    s3si_buf_init(&once, &mem);
    s3si_buf_init(&twice, &mem);

    s3si_sigv4_query(&once, in, NULL);
    if (s3si_buf_ok(&once)) {
        for (i = 0; i < once.n; i++) {
            char c = once.p[i];
            REQUIRE(isalnum((unsigned char)c) || strchr("-._~%=&", c));
        }
        for (rest = s3si_buf_str(&once); rest.n;) {
            s3si_str value, name = s3si_str_cut(s3si_str_cut(rest, '&', &rest), '=', &value);
            REQUIRE(s3si_sigv4_order(last, name) <= 0);
            last = name;
        }
        s3si_sigv4_query(&twice, s3si_buf_str(&once), NULL);
        REQUIRE(s3si_buf_ok(&twice) && s3si_str_eq(s3si_buf_str(&once), s3si_buf_str(&twice)));
    }

    s3si_buf_clear(&once);
    s3si_buf_clear(&twice);
    s3si_sigv4_normalize(&once, in);
    REQUIRE(s3si_buf_ok(&once) && once.n > 0 && once.p[0] == '/' && once.n <= in.n + 1);
    for (rest = s3si_str_from(s3si_buf_str(&once), 1); rest.n;) {
        s3si_str segment = s3si_str_cut(rest, '/', &rest);
        REQUIRE(segment.n > 0 && !s3si_str_is(segment, ".") && !s3si_str_is(segment, ".."));
    }
    s3si_sigv4_normalize(&twice, s3si_buf_str(&once));
    REQUIRE(s3si_str_eq(s3si_buf_str(&once), s3si_buf_str(&twice)));

    s3si_buf_clear(&once);
    s3si_buf_clear(&twice);
    s3si_sigv4_value(&once, in);
    REQUIRE(once.n <= in.n && (!once.n || (once.p[0] != ' ' && once.p[once.n - 1] != ' ')));
    s3si_sigv4_value(&twice, s3si_buf_str(&once));
    REQUIRE(s3si_str_eq(s3si_buf_str(&once), s3si_buf_str(&twice)));
    s3si_buf_deinit(&once);
    s3si_buf_deinit(&twice);
}

/* ---- Record formats -------------------------------------------------------------------------- */
static void fuzz_records(s3si_str in) {
    char spec[512], again[6 + 4 * S3SI_DELIM_MAX + 1] = "delim:";
    s3si_records r, same;
    const char *why = NULL;
    unsigned i;
    if (in.n >= sizeof spec) in.n = sizeof spec - 1;
    memcpy(spec, in.p, in.n);
    spec[in.n] = 0;
    if (!s3si_records_parse(guard_copy(spec, strlen(spec) + 1), &r, &why)) {
        REQUIRE(why);
        return;
    }
    if (r.kind == S3SI_RECORDS_FIXED) {
        REQUIRE(r.block > 0 && s3si_records_look_behind(&r) == 0);
        return;
    }
    REQUIRE(r.kind == S3SI_RECORDS_DELIM && r.m >= 1 && r.m <= S3SI_DELIM_MAX);
    for (i = 0; i < r.m; i++) {
        REQUIRE(r.fail[i] <= i);
        REQUIRE(memcmp(r.delim, r.delim + i + 1 - r.fail[i], r.fail[i]) == 0);
        (void)snprintf(again + 6 + 4 * i, 5, "\\x%02x", r.delim[i]);
    }
    REQUIRE(s3si_records_parse(again, &same, &why) && memcmp(&r, &same, sizeof r) == 0);
}

/* ---- The cutter ---------------------------------------------------------------------------------
 * An input says the format, the shard, where the text lies in the object and how it is fed; what
 * is left is the text, in few letters so that delimiters are frequent. */
static void fuzz_cutter(s3si_str in) {
    static char text[4096];
    size_t kind = choose(&in, 8), letters = 1 + choose(&in, 3), step = 1 + choose(&in, 9), k, begin,
           finish, rounds;
    uint32_t n = 1 + (uint32_t)choose(&in, 256), i = (uint32_t)choose(&in, n);
    uint64_t base = choose(&in, 3) * UINT64_C(0x4000000000000001), start, end;
    s3si_records format;
    s3si_cut c;
    s3si_cut_view v;
    model_format model;
    char delim[4];
    memset(&format, 0, sizeof format);
    model.delim = delim, model.m = kind < 6 ? 1 + kind % 4 : 0, model.block = 1 + choose(&in, 7);
    for (k = 0; k < model.m; k++) delim[k] = (char)('a' + choose(&in, letters));
    if (model.m) {
        s3si_records_set_delim(&format, (const uint8_t *)delim, (unsigned)model.m);
    } else {
        format.kind = S3SI_RECORDS_FIXED;
        format.block = model.block;
    }
    if (in.n > sizeof text) in.n = sizeof text;
    for (k = 0; k < in.n; k++) text[k] = (char)('a' + (unsigned char)in.p[k] % letters);

    start = model_start(in.n, i, n), end = model_start(in.n, i + 1, n);
    REQUIRE(s3si_shard_start(in.n, i, n) == start && s3si_shard_start(in.n, i + 1, n) == end);
    begin = model_begin(text, in.n, &model, (size_t)start);
    finish = model_begin(text, in.n, &model, (size_t)end);
    s3si_cut_init(&c, &format, base, base + in.n, base + start, base + end);
    v = s3si_cut_look(&c);
    for (rounds = 0; !v.done; rounds++) {
        /* pieces are dealt with a stride, so that some come early and are passed over */
        size_t pieces = (in.n + step - 1) / step, at = rounds * 7 % (pieces ? pieces : 1) * step;
        size_t size = step < in.n - at ? step : in.n - at;
        if (rounds > 20 * pieces) at = 0, size = in.n; /* enough: all of it */
        REQUIRE(rounds <= 20 * pieces + 1);
        REQUIRE(v.want_offset >= base && v.want_offset < base + in.n);
        if (begin >= end) REQUIRE(v.want_offset < base + end);
        v = s3si_cut_feed(&c, base + at, (const uint8_t *)guard_copy(text + at, size), size);
        REQUIRE(v.take_begin <= v.take_end);
        if (v.take_begin < v.take_end)
            REQUIRE(v.take_begin == base + begin && v.take_end <= base + finish);
    }
    REQUIRE(v.take_end - v.take_begin == finish - begin);
    if (begin < finish) REQUIRE(v.take_begin == base + begin);
}

/* ---- The choice ------------------------------------------------------------------------------ */
static const struct {
    const char *name;
    void (*run)(s3si_str in);
} targets[] = {
    {"response heads", fuzz_head},
    {"chunked bodies", fuzz_chunked},
    {"XML", fuzz_xml},
    {"JSON", fuzz_json},
    {"URIs", fuzz_uri},
    {"Content-Range", fuzz_content_range},
    {"signatures", fuzz_sigv4},
    {"record formats", fuzz_records},
    {"the cutter", fuzz_cutter},
};
enum { TARGETS = sizeof targets / sizeof targets[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > GUARD_MAX) return 0;
    input_bytes = data, input_size = size;
    targets[data[0] % TARGETS].run(s3si_str_make(guard_copy(data + 1, size - 1), size - 1));
    return 0;
}

#ifndef FUZZ_LIBFUZZER
/* ---- A fixed number of inputs -------------------------------------------------------------------
 * Honest examples of what each parser reads, changed here and there. */
static const char *const samples[TARGETS][8] = {
    {"\1HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/10\r\n"
     "ETag: \"abc\"\r\nContent-Length: 5\r\n\r\n",
     "\2HTTP/1.0 200 OK\nconnection: keep-alive\ntransfer-encoding: chunked\n\n",
     "\2HTTP/1.1 503 Slow Down\r\nRetry-After: 1\r\nConnection: close\r\n"
     "Content-Length: 7\r\nContent-Length: 7\r\n\r\n",
     "\2HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
    {"\20\0014\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\nT: v\r\n\r\nHTTP", "\5\3a \n0123456789\n0\n\n",
     "\7\2ffffffffffffffff\r\nabc", "\3\0071\r\na\r\n1\r\nb\r\n00\r\n\r\n"},
    {"<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code>"
     "<Message>a &amp; &#x1F600; &lt;b&gt;</Message></Error>",
     "<s:a x='1'><!-- c --><b/> t </s:a>", "<a><b></b>&quot;&#65;&apos;</a>"},
    {"{\"version\":1,\"size\":52000000,\"slices\":[{\"start\":0,\"end\":1,\"exact\":true}],"
     "\"s\":\"\\u00e4\\ud83d\\ude00\\n\"}",
     "[1,-2.5e+10,[],{},null,\"a\\\\\\\"b\",true , false]", "\"\\ud800\\u0041\"",
     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
    {"s3://my-bucket/a//b/../c%20d?e#f", "http://host.example:8080/a/b?c=d#e",
     "https://[fd00:ec2::23]:443/x", "file:///tmp/a b", "http://127.0.0.1"},
    {"bytes 0-4/10", "bytes */47022", "Bytes 18446744073709551612-18446744073709551613/*"},
    {"prefix=a%2Fb&list-type=2&delimiter=%2f&x&=y&a=2&a=1", "/a/./b//c/../d/", "  a   b\t c \r\n d",
     "%7e%7E+%20~%zz%&a=b=c"},
    {"lines", "delim:\\r\\n", "delim:\\x00\\xffab\\\\", "fixed:512", "delim:\\t\\0ab|"},
    {"\1\1\3\7\2\1\1\1\2abababbbaaababab", "\3\2\1\40\11\2\2\1\2\1\3aabaabaaabaabcabc",
     "\6\1\2\5\3\1\4text of blocks", "\2\2\4\3\1\2\1\1\2aaaaaaaaaaaaaaaa"},
};

static uint64_t random_state = 1;

static size_t random_below(size_t limit) { /* xorshift64*, Vigna 2016 */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return limit ? (size_t)((random_state * 0x2545f4914f6cdd1du >> 16) % limit) : 0;
}

/* Opens a gap of n bytes at `at`, or closes one. */
static size_t move(uint8_t *p, size_t size, size_t at, size_t from, size_t cap) {
    size_t rest = size - from;
    if (at + rest > cap) rest = cap - at;
    memmove(p + at, p + from, rest);
    return at + rest;
}

static size_t change(uint8_t *p, size_t size, size_t cap, size_t target) {
    static const char tokens[] = "\r\n\n\n  \t;:=&%/<>[]{}\"\"\\,.-+0019afxX#?*@~\0\x7f\xff" "abab";
    size_t at = random_below(size + 1), n = 1 + random_below(random_below(2) ? 3 : 24);
    const char *other = samples[target][random_below(8)];
    switch (random_below(6)) {
    case 0: /* one byte is another */
        if (at < size) p[at] = (uint8_t)random_below(256);
        return size;
    case 1: /* one byte is one that means something */
        if (at < size) p[at] = (uint8_t)tokens[random_below(sizeof tokens - 1)];
        return size;
    case 2: /* one byte more */
        size = move(p, size, at + 1 > cap ? cap : at + 1, at, cap);
        if (at < cap) p[at] = (uint8_t)tokens[random_below(sizeof tokens - 1)];
        return size;
    case 3: /* some bytes less */
        if (n > size - at) n = size - at;
        return move(p, size, at, at + n, cap);
    case 4: /* some bytes twice */
        if (n > size - at) n = size - at;
        if (size + n > cap) return size;
        return move(p, size, at + n, at, cap);
    default: /* the end of another example */
        if (!other) return at;
        other += random_below(strlen(other) + 1);
        n = strlen(other);
        if (n > cap - at) n = cap - at;
        memcpy(p + at, other, n);
        return at + n;
    }
}

static void run_one(size_t target) {
    uint8_t input[512];
    const char *sample = samples[target][random_below(8)];
    size_t n = 0, changes = random_below(8);
    if (sample) {
        n = strlen(sample);
        memcpy(input + 1, sample, n);
    } else { /* nothing to begin with */
        for (n = random_below(60); changes < n; changes++)
            input[1 + changes] = (uint8_t)random_below(256);
        changes = 2;
    }
    while (changes--) n = change(input + 1, n, sizeof input - 1, target);
    input[0] = (uint8_t)target;
    (void)LLVMFuzzerTestOneInput(input, n + 1);
}

int main(int argc, char **argv) {
    unsigned long count = 100000, done;
    size_t target;
    if (argc > 1 && strcmp(argv[1], "-") == 0) {
        static uint8_t input[GUARD_MAX];
        return LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof input, stdin));
    }
    if (argc > 1) count = strtoul(argv[1], NULL, 10);
    if (argc > 2) random_state = strtoul(argv[2], NULL, 10) | 1;
    printf("1..%d\n", (int)TARGETS);
    for (target = 0; target < TARGETS; target++) {
        for (done = 0; done < count; done++) run_one(target);
        printf("ok %d - %s: %lu inputs\n", (int)target + 1, targets[target].name, count);
        fflush(stdout);
    }
    return 0;
}
#endif
