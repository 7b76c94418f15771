/* SPDX-License-Identifier: MIT OR Unlicense
 * >>records: formats, where shards are cut, and how far past a cut to read. The cutter is
 * compared with a brute-force model of its definition (records_model.h) over texts made to fool
 * it. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "records_model.h"

/* The windows that the manual names, and the bounds of a learned one. */
enum { WINDOW_FIRST = 4096, WINDOW_DYNAMIC = 65536, WINDOW_MIN = 1024, WINDOW_MAX = 1048576 };

static const uint8_t *guarded_bytes(const void *bytes, size_t n) {
    return (const uint8_t *)guard_copy(bytes, n);
}

/* ---- Formats --------------------------------------------------------------------------------- */
static s3si_records parsed(const char *spec) {
    s3si_records r;
    const char *why = "";
    if (!s3si_records_parse(guard_copy(spec, strlen(spec) + 1), &r, &why))
        fail_msg("\"%s\": %s", spec, why);
    return r;
}

static s3si_str delim_of(const s3si_records *r) {
    assert_int_equal(r->kind, S3SI_RECORDS_DELIM);
    return s3si_str_make((const char *)r->delim, r->m);
}

static void formats(void **state) {
    static const struct {
        const char *spec;
        s3si_str delim;
    } cases[] = {
        {"", {"\n", 1}},
        {"lines", {"\n", 1}},
        {"delim:\n", {"\n", 1}},
        {"delim:\\n", {"\n", 1}},
        {"delim:\\r\\n", {"\r\n", 2}},
        {"delim:\\t\\0\\\\", {"\t\0\\", 3}},
        {"delim:\\x00\\xff\\xaB", {"\0\xff\xab", 3}},
        {"delim:\\x410", {"A0", 2}},
        {"delim:\\\\n", {"\\n", 2}},
        {"delim:lines", {"lines", 5}},
        {"delim: ", {" ", 1}},
        {"delim:delim:", {"delim:", 6}},
        {"delim:\xc3\xa4", {"\xc3\xa4", 2}},
    };
    s3si_records r;
    const char *why;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        r = parsed(cases[i].spec);
        assert_str(delim_of(&r), cases[i].delim);
        assert_int_equal(s3si_records_look_behind(&r), cases[i].delim.n);
    }
    assert_true(s3si_records_parse(NULL, &r, &why));
    assert_str(delim_of(&r), STR("\n"));
}

static void formats_of_fixed_length(void **state) {
    s3si_records r;
    (void)state;
    r = parsed("fixed:1");
    assert_int_equal(r.kind, S3SI_RECORDS_FIXED);
    assert_true(r.block == 1);
    assert_int_equal(s3si_records_look_behind(&r), 0);
    r = parsed("fixed:0512");
    assert_true(r.block == 512);
    r = parsed("fixed:18446744073709551615");
    assert_true(r.block == UINT64_MAX);
}

static void formats_that_are_refused(void **state) {
    static const char *const bad[] = {
        "line",         "Lines",       "lines ",      " lines",     "csv",           "delim",
        "delim:",       "Delim:x",     "delim:\\",    "delim:x\\",  "delim:\\q",     "delim:\\N",
        "delim:\\x",    "delim:\\x4",  "delim:\\x4g", "delim:\\xg4", "delim:\\x 4",  "delim:\\X41",
        "delim:\\x4\\", "delim:\\u0041", "delim:\\ ", "fixed",      "fixed:",        "fixed:0",
        "fixed:00",     "fixed:-1",    "fixed:+1",    "fixed: 1",   "fixed:1 ",      "fixed:1K",
        "fixed:0x10",   "fixed:1.5",   "fixed:18446744073709551616", "fixed:lines",
    };
    s3si_records r;
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++) {
        const char *why = NULL;
        if (s3si_records_parse(guard_copy(bad[i], strlen(bad[i]) + 1), &r, &why))
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_non_null(why);
    }
}

static void the_longest_delimiter(void **state) {
    char spec[6 + 4 * 65 + 1] = "delim:";
    const char *why;
    s3si_records r;
    size_t i;
    (void)state;
    for (i = 0; i < 64; i++) spec[6 + i] = (char)('a' + i % 26);
    r = parsed(spec);
    assert_str(delim_of(&r), s3si_str_make(spec + 6, 64));
    spec[6 + 64] = '!';
    assert_false(s3si_records_parse(spec, &r, &why));
    /* its bytes count, not how they are written */
    for (i = 0; i < 65; i++) memcpy(spec + 6 + 4 * i, "\\x2c", 4);
    assert_false(s3si_records_parse(spec, &r, &why));
    spec[6 + 4 * 64] = 0;
    assert_int_equal(parsed(spec).m, 64);
}

/* fail[i]: the longest proper prefix of the first i + 1 bytes that is also their suffix. */
static void borders_of_a_delimiter(void **state) {
    uint64_t seed = 1;
    int round;
    (void)state;
    for (round = 0; round < 3000; round++) {
        uint8_t d[S3SI_DELIM_MAX];
        unsigned m = 1 + (unsigned)(unit_random(&seed) % S3SI_DELIM_MAX), i, k;
        unsigned letters = 1 + (unsigned)(unit_random(&seed) % 3);
        unsigned period = 1 + (unsigned)(unit_random(&seed) % m);
        s3si_records r;
        for (i = 0; i < m; i++)
            d[i] =
                (uint8_t)(i >= period && round % 2 ? d[i - period] : unit_random(&seed) % letters);
        s3si_records_set_delim(&r, d, m);
        for (i = 0; i < m; i++) {
            for (k = i; k > 0 && memcmp(d, d + i + 1 - k, k) != 0; k--) continue;
            assert_int_equal(r.fail[i], k);
        }
    }
}

/* Each occurrence of the delimiter is found, also overlapping ones, however the text is cut. */
static void scanning(void **state) {
    uint64_t seed = 2;
    int round;
    (void)state;
    for (round = 0; round < 20000; round++) {
        uint8_t d[8], text[60], marks[61] = {0};
        unsigned m = 1 + (unsigned)(unit_random(&seed) % sizeof d), match = 0;
        unsigned letters = 1 + (unsigned)(unit_random(&seed) % 3);
        size_t n = unit_random(&seed) % (sizeof text + 1), i, at = 0;
        s3si_records r;
        for (i = 0; i < m; i++) d[i] = (uint8_t)(unit_random(&seed) % letters);
        for (i = 0; i < n; i++) text[i] = (uint8_t)(unit_random(&seed) % letters);
        s3si_records_set_delim(&r, d, m);
        while (at < n) {
            size_t piece = 1 + unit_random(&seed) % (n - at), hit;
            hit = s3si_records_scan(&r, &match, guarded_bytes(text + at, piece), piece);
            assert_true(hit <= piece);
            at += hit ? hit : piece;
            if (hit) marks[at] = 1;
        }
        for (i = 1; i <= n; i++)
            assert_int_equal(marks[i], i >= m && memcmp(text + i - m, d, m) == 0);
    }
}

/* ---- s(i) ------------------------------------------------------------------------------------ */
static void check_starts(uint64_t size, uint32_t i, uint32_t n) {
    uint64_t got = s3si_shard_start(size, i, n);
    if (got != model_start(size, i, n))
        fail_msg("s(%lu) of %llu bytes in %lu shards is %llu", (unsigned long)i,
                 (unsigned long long)size, (unsigned long)n, (unsigned long long)got);
    if (got > size || (i && got < s3si_shard_start(size, i - 1, n))) fail_msg("s() goes back");
}

static void nominal_ranges(void **state) {
    static const uint64_t sizes[] = {
        0, 1, 2, 3, 10, 255, 65536, UINT32_MAX - 1, UINT32_MAX, UINT32_MAX + UINT64_C(1),
        UINT64_C(52428800001), INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - UINT32_MAX,
        UINT64_MAX - 1, UINT64_MAX,
    };
    static const uint32_t counts[] = {
        1, 2, 3, 7, 16, 1000, 65535, 65536, 65537, 0x7fffffff, 0x80000000, UINT32_MAX - 1,
        UINT32_MAX,
    };
    uint64_t seed = 3;
    size_t s, c;
    int round;
    (void)state;
    for (s = 0; s < COUNT(sizes); s++)
        for (c = 0; c < COUNT(counts); c++) {
            uint64_t size = sizes[s];
            uint32_t n = counts[c];
            check_starts(size, 0, n);
            check_starts(size, 1, n);
            check_starts(size, n / 2, n);
            check_starts(size, n - 1, n);
            check_starts(size, n, n);
            assert_true(s3si_shard_start(size, 0, n) == 0);
            assert_true(s3si_shard_start(size, n, n) == size);
        }
    for (round = 0; round < 300000; round++) {
        uint64_t size = unit_random(&seed) >> unit_random(&seed) % 64;
        uint32_t n = (uint32_t)(unit_random(&seed) >> (32 + unit_random(&seed) % 32)) | 1;
        check_starts(size, (uint32_t)(unit_random(&seed) % ((uint64_t)n + 1)), n);
    }
}

static void the_model_divides_well(void **state) {
    uint64_t size;
    uint32_t i, n;
    (void)state;
    for (size = 0; size < 40; size++)
        for (n = 1; n < 45; n++)
            for (i = 0; i <= n; i++) assert_true(model_start(size, i, n) == i * size / n);
    assert_true(model_start(UINT64_MAX, UINT32_MAX, UINT32_MAX) == UINT64_MAX);
    assert_true(model_start(UINT64_MAX, 1, 2) == UINT64_MAX / 2);
    assert_true(model_start(UINT64_C(6) << 60, UINT32_MAX / 3, UINT32_MAX) == UINT64_C(2) << 60);
}

/* ---- One shard ----------------------------------------------------------------------------------
 * Offsets are those of the text, which begins at `base` of the object. */
typedef struct shard {
    s3si_str text;
    uint64_t base;
    s3si_records format;
    size_t start, end;    /* nominal */
    size_t begin, finish; /* exact, as the model has it */
    size_t head, tail;    /* the first bytes that say something about either end */
    const char *spec, *order;
} shard;

static void shard_init(shard *s, s3si_str text, uint64_t base, const char *spec, size_t start,
                       size_t end) {
    model_format f;
    s->text = text, s->base = base, s->spec = spec, s->start = start, s->end = end;
    s->order = "at all";
    s->format = parsed(spec);
    f.delim = (const char *)s->format.delim;
    f.m = s->format.kind == S3SI_RECORDS_FIXED ? 0 : s->format.m;
    f.block = (size_t)s->format.block;
    s->begin = model_begin(text.p, text.n, &f, start);
    s->finish = model_begin(text.p, text.n, &f, end);
    s->head = start > f.m ? start - f.m : 0;
    s->tail = end > f.m ? end - f.m : 0;
}

static void shard_check(const shard *s, int ok, const char *claim, const s3si_cut_view *v) {
    if (ok) return;
    unit_print("text", s->text);
    print_error("records %s, nominal [%lu, %lu), exact [%lu, %lu), base %llu, fed %s\n"
                "take [%lld, %lld), want %lld, done %d\n",
                s->spec, (unsigned long)s->start, (unsigned long)s->end, (unsigned long)s->begin,
                (unsigned long)s->finish, (unsigned long long)s->base, s->order,
                (long long)(v->take_begin - s->base), (long long)(v->take_end - s->base),
                (long long)(v->want_offset - s->base), v->done);
    fail_msg("not so: %s", claim);
}

#define CHECK(ok) shard_check(s, (ok), #ok, v)

/* What holds at any moment. A shard is empty when no record begins in its nominal range. */
static void shard_holds(const shard *s, const s3si_cut_view *v) {
    int empty = s->begin >= s->end;
    CHECK(v->take_begin <= v->take_end);
    if (v->take_begin < v->take_end) {
        CHECK(v->take_begin == s->base + s->begin);
        CHECK(v->take_end <= s->base + s->finish);
    }
    if (v->done) {
        CHECK(v->take_end - v->take_begin == s->finish - s->begin);
    } else {
        CHECK(v->want_offset >= s->base);
        CHECK(v->want_offset < s->base + s->text.n);
        if (empty) CHECK(v->want_offset < s->base + s->end);
    }
}

static s3si_cut shard_open(const shard *s) {
    s3si_cut c;
    s3si_cut_view view, *v = &view;
    s3si_cut_init(&c, &s->format, s->base, s->base + s->text.n, s->base + s->start,
                  s->base + s->end);
    view = s3si_cut_look(&c);
    shard_holds(s, v);
    return c;
}

static s3si_cut_view shard_feed(const shard *s, s3si_cut *c, size_t from, size_t to) {
    const uint8_t *bytes = guarded_bytes(s->text.p + from, to - from);
    s3si_cut_view v = s3si_cut_feed(c, s->base + from, bytes, to - from);
    shard_holds(s, &v);
    return v;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void in_one_piece(shard *s) {
    s3si_cut c;
    s3si_cut_view view, *v = &view;
    s->order = "in one piece";
    c = shard_open(s);
    view = shard_feed(s, &c, 0, s->text.n);
    CHECK(v->done);
}

/* In order from the look-behind on, byte by byte: each byte is asked for once, each end is known
 * as soon as it can be, and what lies between is delivered meanwhile. At each byte a copy of the
 * cutter gets the rest in one piece. */
static void byte_by_byte(shard *s) {
    s3si_cut c, copy;
    s3si_cut_view view, *v = &view;
    size_t x;
    s->order = "byte by byte";
    c = shard_open(s);
    view = s3si_cut_look(&c);
    for (x = s->head; x <= s->text.n; x++) {
        int enough = s->begin >= s->end ? x + 1 >= s->end
                                        : x >= s->finish || (x >= s->begin && s->end == s->text.n);
        if (x > s->head) view = shard_feed(s, &c, x - 1, x);
        CHECK(v->done || v->want_offset >= s->base + x);
        CHECK(v->done || !enough);
        if (s->begin < s->end && x >= s->begin) {
            CHECK(v->take_begin == s->base + s->begin);
            CHECK(v->take_end >= s->base + s->end);
        }
        (void)shard_feed(s, &c, x, x); /* nothing changes nothing */
        copy = c;
        view = shard_feed(s, &copy, x, s->text.n);
        CHECK(v->done);
        view = s3si_cut_look(&c);
    }
    CHECK(v->done);
}

/* In two pieces, cut at every byte. */
static void in_two_pieces(shard *s) {
    size_t k;
    s->order = "in two pieces";
    for (k = s->head; k <= s->text.n; k++) {
        s3si_cut c = shard_open(s);
        s3si_cut_view view, *v = &view;
        (void)shard_feed(s, &c, s->head, k);
        view = shard_feed(s, &c, k, s->text.n);
        CHECK(v->done);
    }
}

/* The last part arrives first, in two pieces cut at every byte; then the first, likewise. */
static void the_end_first(shard *s) {
    size_t k, cut;
    s->order = "the end first";
    for (k = 0; k <= s->text.n; k++) {
        s3si_cut c = shard_open(s);
        s3si_cut_view view, *v = &view;
        cut = s->tail + least(k, s->text.n - s->tail);
        (void)shard_feed(s, &c, s->tail, cut);
        (void)shard_feed(s, &c, cut, s->text.n);
        cut = s->head + least(k, s->text.n - s->head);
        (void)shard_feed(s, &c, s->head, cut);
        view = shard_feed(s, &c, cut, s->text.n);
        CHECK(v->done);
    }
}

/* Both ends at once, a byte here and a byte there. */
static void both_ends_at_once(shard *s) {
    s3si_cut c;
    s3si_cut_view view, *v = &view;
    size_t k;
    s->order = "both ends at once";
    c = shard_open(s);
    view = s3si_cut_look(&c);
    for (k = 0; s->head + k < s->text.n; k++) {
        if (s->tail + k < s->text.n) (void)shard_feed(s, &c, s->tail + k, s->tail + k + 1);
        view = shard_feed(s, &c, s->head + k, s->head + k + 1);
    }
    CHECK(v->done);
}

/* In the worst order, pieces from the last to the first, over and over: what cannot be used yet
 * is passed over, and each round uses some. */
static void backwards(shard *s) {
    s3si_cut c;
    s3si_cut_view view, *v = &view;
    size_t pieces = s->text.n / 3 + 1, rounds, k;
    s->order = "backwards";
    c = shard_open(s);
    view = s3si_cut_look(&c);
    for (rounds = 0; !view.done && rounds <= pieces; rounds++)
        for (k = pieces; k-- > 0;)
            view = shard_feed(s, &c, least(3 * k, s->text.n), least(3 * k + 3, s->text.n));
    CHECK(v->done);
}

static void shard_in_every_order(shard *s) {
    in_one_piece(s);
    byte_by_byte(s);
    in_two_pieces(s);
    the_end_first(s);
    both_ends_at_once(s);
    backwards(s);
}

/* Every shard of a text for every n from 1 to size + 2; those that are alike are looked at once. */
static void every_shard(s3si_str text, uint64_t base, const char *spec, void (*test)(shard *)) {
    static char seen[128][128];
    uint32_t i, n;
    assert_true(text.n < 128);
    memset(seen, 0, sizeof seen);
    for (n = 1; n <= text.n + 2; n++)
        for (i = 0; i < n; i++) {
            size_t start = (size_t)model_start(text.n, i, n);
            size_t end = (size_t)model_start(text.n, i + 1, n);
            shard s;
            if (seen[start][end]++) continue;
            shard_init(&s, text, base, spec, start, end);
            test(&s);
        }
}

/* ---- Texts made to fool a cutter ------------------------------------------------------------- */
static const s3si_str texts[] = {
    {"", 0},
    {"x", 1},
    {"\n", 1},
    {"no newline at all", 17},
    {"\n\n\n\n\n\n\n\n\n", 9},
    {"one\ntwo\nthree\nfour\n", 19},
    {"one\ntwo\nno final newline", 24},
    {"a\r\nbb\r\n\r\nccc\r\n", 14},
    {"\r\r\n\n\r\n\r", 7},
    {"short\none line that is longer than all shards are\nx\n", 52},
    {"\nfirst is empty", 15},
    {"last is empty\n\n", 15},
    {"a\n\nb\n\n\nc\n\n\n\n", 12},
    {"aaaaaaaaaaa", 11},
    {"abababababababa", 15},
    {"abaabaaabaabab", 14},
    {"aabaabaaabaab|", 14},
    {"a\0b\0\0c\0\0\0", 9},
    {"\xff\xfe\xff\xff\xfe\xfe\xff", 7},
};

static const char *const specs[] = {
    "lines", "delim:a", "delim:\\0", "delim:\\xff", "delim:\\r\\n", "delim:\\n\\n", "delim:aa",
    "delim:ab", "delim:aba", "delim:aab", "delim:aaa", "delim:\\n\\n\\n", "delim:abab",
    "delim:aaba", "delim:aaaa", "delim:\\r\\n\\r\\n", "delim:\\xff\\xfe\\xff", "delim:four",
    "fixed:1", "fixed:2", "fixed:3", "fixed:4", "fixed:5", "fixed:6", "fixed:7", "fixed:1000",
    "fixed:18446744073709551615",
};

static void adversarial_texts(void **state) {
    size_t t, f;
    (void)state;
    for (t = 0; t < COUNT(texts); t++)
        for (f = 0; f < COUNT(specs); f++) every_shard(texts[t], 0, specs[f], shard_in_every_order);
}

/* A byte range stands in for the object: records begin and end within it, wherever it lies. */
static void adversarial_texts_within_an_object(void **state) {
    size_t t, f;
    (void)state;
    for (t = 0; t < COUNT(texts); t++)
        for (f = 0; f < COUNT(specs); f++) {
            every_shard(texts[t], UINT64_C(5000000000003), specs[f], shard_in_every_order);
            every_shard(texts[t], UINT64_MAX - texts[t].n, specs[f], shard_in_every_order);
        }
}

/* All texts over {a, b}, and all delimiters that begin with an a: the others are mirror images. */
static void all_small_texts(void **state) {
    static const char *const small[] = {"delim:a",    "delim:aa",   "delim:ab",   "delim:aaa",
                                        "delim:aab",  "delim:aba",  "delim:abb",  "delim:aaaa",
                                        "delim:aaab", "delim:aaba", "delim:aabb", "delim:abaa",
                                        "delim:abab", "delim:abba", "delim:abbb"};
    char text[10];
    size_t size, f, i;
    unsigned bits;
    (void)state;
    for (size = 0; size <= sizeof text; size++)
        for (bits = 0; bits < 1u << size; bits++) {
            for (i = 0; i < size; i++) text[i] = bits >> i & 1 ? 'b' : 'a';
            for (f = 0; f < COUNT(small); f++)
                every_shard(s3si_str_make(text, size), 0, small[f], shard_in_every_order);
        }
}

/* Long delimiters with borders, among near misses of themselves. */
static void long_delimiters(void **state) {
    static const char *const delims[] = {"abaababaabaab", "aaaaaaaab", "abcabcabcabc"};
    size_t d, k;
    (void)state;
    for (d = 0; d < COUNT(delims); d++) {
        char spec[64] = "delim:", text[100];
        size_t m = strlen(delims[d]), n = 0;
        strcpy(spec + 6, delims[d]);
        for (k = 1; n + m < sizeof text - m; k = k % m + 1) {
            memcpy(text + n, delims[d], k); /* prefixes, the whole once in m times */
            n += k;
        }
        every_shard(s3si_str_make(text, n), 0, spec, shard_in_every_order);
    }
}

/* The shards' bytes, one after the other, are the text: said without the model. */
static void the_shards_are_the_text(void **state) {
    size_t t, f;
    uint32_t i, n;
    (void)state;
    for (t = 0; t < COUNT(texts); t++)
        for (f = 0; f < COUNT(specs); f++)
            for (n = 1; n <= texts[t].n + 2; n++) {
                char joined[128];
                size_t got = 0;
                s3si_records format = parsed(specs[f]);
                for (i = 0; i < n; i++) {
                    s3si_cut c;
                    s3si_cut_view v;
                    s3si_cut_init(&c, &format, 100, 100 + texts[t].n,
                                  100 + s3si_shard_start(texts[t].n, i, n),
                                  100 + s3si_shard_start(texts[t].n, i + 1, n));
                    v = s3si_cut_feed(&c, 100, (const uint8_t *)texts[t].p, texts[t].n);
                    assert_true(v.done);
                    assert_true(v.take_begin <= v.take_end &&
                                v.take_end - v.take_begin <= sizeof joined - got);
                    memcpy(joined + got, texts[t].p + (v.take_begin - 100),
                           (size_t)(v.take_end - v.take_begin));
                    got += (size_t)(v.take_end - v.take_begin);
                }
                assert_str(s3si_str_make(joined, got), texts[t]);
            }
}

/* A slice may be given that reaches out of the text: what lies outside is nobody's. */
static void ranges_are_clipped_to_the_text(void **state) {
    static const struct {
        uint64_t start, end, begin, finish;
    } cases[] = {
        {0, 99, 10, 18},  {0, 10, 10, 10},  {0, 5, 10, 10},    {18, 99, 18, 18}, {50, 99, 18, 18},
        {14, 12, 14, 14}, {12, 15, 12, 16}, {11, 13, 12, 14},  {15, 99, 16, 18}, {17, 99, 18, 18},
        {0, 11, 10, 12},  {10, 10, 10, 10}, {18, 18, 18, 18},
    };
    static const char text[] = "a\nb\nc\nd\n"; /* bytes 10 to 17 of the object */
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        s3si_records format = parsed("lines");
        s3si_cut_view v;
        s3si_cut c;
        s3si_cut_init(&c, &format, 10, 18, cases[i].start, cases[i].end);
        v = s3si_cut_feed(&c, 10, guarded_bytes(text, 8), 8);
        assert_true(v.done);
        assert_int_equal(v.take_end - v.take_begin, cases[i].finish - cases[i].begin);
        if (v.take_begin < v.take_end) assert_int_equal(v.take_begin, cases[i].begin);
    }
}

/* Bytes of the object outside of the text are not asked for, and mean nothing when they come. */
static void what_lies_around_the_text_means_nothing(void **state) {
    static const char object[] = "x\nx\nabc\ndef\nghi|y\ny\n"; /* the text is "abc\ndef\nghi" */
    s3si_records format = parsed("lines");
    size_t size = strlen(object), start, end, k;
    (void)state;
    for (start = 4; start <= 15; start++)
        for (end = start; end <= 15; end++)
            for (k = 0; k <= size; k++) {
                shard s;
                s3si_cut c;
                s3si_cut_view view, *v = &view;
                shard_init(&s, s3si_str_make(object + 4, 11), 4, "lines", start - 4, end - 4);
                s3si_cut_init(&c, &format, 4, 15, start, end);
                (void)s3si_cut_feed(&c, 0, guarded_bytes(object, k), k);
                view = s3si_cut_feed(&c, k, guarded_bytes(object + k, size - k), size - k);
                shard_holds(&s, v);
                assert_true(v->done);
            }
}

/* ---- Windows ------------------------------------------------------------------------------------
 * What a reader does with the cutter: parts from the look-behind to the nominal end, the last of
 * which reaches past it by a window; then, as long as an end is missing, on from there by twice
 * as much. */
typedef struct reading {
    size_t requests, extensions;
    size_t bytes; /* requested in all */
} reading;

static reading read_shard(const shard *s, size_t part, size_t window) {
    s3si_cut c = shard_open(s);
    s3si_cut_view view = s3si_cut_look(&c), *v = &view;
    size_t at = s->head, stop = s->end + least(window, s->text.n - s->end);
    reading r = {0, 0, 0};
    while (!view.done && at < stop) {
        size_t upto = at + part >= s->end ? stop : at + part;
        view = shard_feed(s, &c, at, upto);
        r.requests++, r.bytes += upto - at;
        at = upto;
    }
    while (!view.done) {
        size_t upto;
        CHECK(v->want_offset == s->base + at); /* goes on where the last request ended */
        CHECK(s->begin < s->end);              /* never for a shard in which no record begins */
        window = window ? 2 * window : 1;
        upto = at + least(window, s->text.n - at);
        view = shard_feed(s, &c, at, upto);
        r.requests++, r.extensions++, r.bytes += upto - at;
        at = upto;
    }
    return r;
}

static size_t window_under_test;

static void windows_of_one_shard(shard *s) {
    size_t past = s->begin < s->end ? s->finish - s->end : 0, part;
    s->order = "in parts with a window";
    for (part = 1; part <= 17; part += 4) {
        reading r = read_shard(s, part, window_under_test);
        /* doubling wastes less than it finds, and the first window */
        if (r.bytes > s->end - s->head + window_under_test + 2 * past + 1 ||
            r.bytes > s->text.n - s->head)
            fail_msg("%lu bytes were requested", (unsigned long)r.bytes);
        if (window_under_test >= past && r.extensions) fail_msg("the window was wide enough");
    }
}

static void every_window_delivers_the_same(void **state) {
    static const size_t windows[] = {0, 1, 2, 3, 7, 64, WINDOW_DYNAMIC};
    size_t w, t, f;
    (void)state;
    for (w = 0; w < COUNT(windows); w++)
        for (t = 0; t < COUNT(texts); t++)
            for (f = 0; f < COUNT(specs); f++) {
                window_under_test = windows[w];
                every_shard(texts[t], 0, specs[f], windows_of_one_shard);
            }
}

/* An object without any delimiter is not read once by each of its readers. */
static void without_a_delimiter_nothing_is_read_twice(void **state) {
    static char text[5000];
    uint32_t i, n;
    (void)state;
    memset(text, 'x', sizeof text);
    for (n = 1; n <= 64; n++) {
        size_t bytes = 0, extensions = 0;
        for (i = 0; i < n; i++) {
            reading r;
            shard s;
            shard_init(&s, s3si_str_make(text, sizeof text), 0, "lines",
                       (size_t)model_start(sizeof text, i, n),
                       (size_t)model_start(sizeof text, i + 1, n));
            r = read_shard(&s, 50, 10);
            bytes += r.bytes;
            if (i) extensions += r.extensions;
        }
        /* the first shard is all of it; the others read their range, a look-behind, a window */
        assert_int_equal(extensions, 0);
        assert_true(bytes <= 2 * sizeof text + n * (10 + 1));
    }
}

/* ---- What windows cost, over longer texts ---------------------------------------------------- */
static size_t make_lines(char *text, size_t cap, uint64_t *seed, int kind) {
    size_t n = 0;
    while (n < cap) {
        uint64_t dice = unit_random(seed) % 1000;
        size_t length = 100;                                            /* 0: all alike */
        if (kind == 1) length = 1 + unit_random(seed) % 200;            /* 1: ordinary lines */
        if (kind == 2)
            length = dice < 10 ? 500 + unit_random(seed) % 6000 : 10 + unit_random(seed) % 90;
        if (length > cap - n) length = cap - n;
        memset(text + n, 'x', length);
        text[n + length - 1] = '\n';
        n += length;
    }
    return n;
}

/* Reads all shards in turn, each teaching the next; the window is learned when `window` is 0. */
static reading read_all(s3si_str text, uint32_t n, size_t window) {
    static s3si_lengths lengths;
    reading sum = {0, 0, 0};
    uint32_t i;
    memset(&lengths, 0, sizeof lengths);
    for (i = 0; i < n; i++) {
        uint64_t w = window ? window : s3si_window_learned(&lengths, 256 * 1024);
        reading r;
        shard s;
        shard_init(&s, text, 0, "lines", (size_t)model_start(text.n, i, n),
                   (size_t)model_start(text.n, i + 1, n));
        r = read_shard(&s, 16384, (size_t)w);
        sum.requests += r.requests, sum.extensions += r.extensions, sum.bytes += r.bytes;
        if (s.begin < s.finish)
            s3si_lengths_sample(&lengths, &s.format, (const uint8_t *)text.p + s.begin,
                                least(s.finish - s.begin, 65536));
    }
    return sum;
}

static void the_learned_window_costs_little(void **state) {
    static char text[1500000];
    uint64_t seed = 4;
    int kind;
    (void)state;
    for (kind = 0; kind < 3; kind++) {
        size_t size = make_lines(text, sizeof text, &seed, kind);
        reading learned = read_all(s3si_str_make(text, size), 64, 0);
        reading dynamic = read_all(s3si_str_make(text, size), 64, WINDOW_DYNAMIC);
        reading none = read_all(s3si_str_make(text, size), 64, 1);
        assert_true(learned.bytes < dynamic.bytes);
        assert_true(learned.bytes - size < 64 * 16384);
        assert_true(learned.extensions <= 3);
        assert_int_equal(dynamic.extensions, 0);
        assert_true(none.extensions > 64);
        if (kind < 2) { /* up to 200 bytes: no request for boundaries, and the least window */
            assert_int_equal(learned.extensions, 0);
            assert_true(learned.bytes - size <= WINDOW_FIRST + 63 * (WINDOW_MIN + 1));
        }
    }
}

/* ---- Lengths and the learned window ---------------------------------------------------------- */
static s3si_lengths lengths; /* of the test that runs */

static void lengths_of(const uint64_t *each, size_t n) {
    size_t i;
    memset(&lengths, 0, sizeof lengths);
    for (i = 0; i < n; i++) s3si_lengths_add(&lengths, each[i]);
}

static int bin_of(uint64_t length) {
    int bin, hit = -1;
    lengths_of(&length, 1);
    for (bin = 0; bin < S3SI_LENGTHS_BINS; bin++)
        if (lengths.count[bin]) {
            assert_int_equal(hit, -1);
            assert_int_equal(lengths.count[bin], 1);
            assert_true(lengths.sum[bin] == length);
            hit = bin;
        }
    assert_true(lengths.total == length);
    return hit;
}

/* Bins are in the order of the lengths, and each is a quarter octave, from 5/4 to 8/7 wide. */
static void lengths_in_bins(void **state) {
    uint64_t seed = 5, first = 4;
    uint64_t length;
    int round, bin, last = bin_of(4);
    (void)state;
    assert_int_equal(bin_of(0), -1);
    assert_true(bin_of(1) >= 0 && bin_of(1) <= bin_of(3) && bin_of(3) <= bin_of(4));
    for (length = 5; length < 100000; length++) {
        bin = bin_of(length);
        if (bin == last) {
            assert_true(length * 4 < first * 5);
        } else {
            assert_int_equal(bin, last + 1);
            last = bin, first = length;
        }
    }
    for (round = 0; round < 10000; round++) {
        uint64_t a = unit_random(&seed) >> unit_random(&seed) % 63 | 1, b = a + (a >> 3) + 1;
        if (b > a) assert_true(bin_of(a) <= bin_of(b));
    }
    assert_true(bin_of(UINT64_MAX) < S3SI_LENGTHS_BINS);
}

static void sampling_counts_every_byte_once(void **state) {
    uint64_t seed = 6;
    int round;
    (void)state;
    for (round = 0; round < 2000; round++) {
        static const char *const formats_of_two[] = {"lines", "delim:ab", "delim:aa", "delim:aba"};
        s3si_records r = parsed(formats_of_two[round % 4]);
        char text[80];
        size_t n = unit_random(&seed) % (sizeof text + 1), i, from = 0;
        s3si_lengths want;
        memset(&lengths, 0, sizeof lengths);
        for (i = 0; i < n; i++) text[i] = "ab\n"[unit_random(&seed) % 3];
        for (i = 1; i <= n; i++)
            if (i == n || (i >= r.m && memcmp(text + i - r.m, r.delim, r.m) == 0)) {
                s3si_lengths_add(&lengths, i - from);
                from = i;
            }
        want = lengths;
        memset(&lengths, 0, sizeof lengths);
        s3si_lengths_sample(&lengths, &r, guarded_bytes(text, n), n);
        assert_memory_equal(&lengths, &want, sizeof want);
        assert_int_equal(lengths.total, n);
    }
    {
        s3si_records fixed = parsed("fixed:5");
        memset(&lengths, 0, sizeof lengths);
        s3si_lengths_sample(&lengths, &fixed, (const uint8_t *)"abcdefgh", 8);
        assert_int_equal(lengths.total, 0); /* nothing to learn: boundaries are computed */
    }
}

/* P(residual > w): 1 at 0, falling, 0 from the longest on; exact where a bin has one length. */
static void what_a_cut_leaves(void **state) {
    static const uint64_t two[] = {100, 100, 100, 700};
    double w, last = 1;
    (void)state;
    lengths_of(two, COUNT(two));
    assert_true(s3si_lengths_beyond(&lengths, 0) == 1);
    for (w = 0; w < 800; w++) {
        double p = s3si_lengths_beyond(&lengths, w);
        double want = (3 * (w < 100 ? 100 - w : 0) + (w < 700 ? 700 - w : 0)) / 1000;
        assert_true(p <= last && p >= 0);
        assert_true(p - want < 1e-9 && want - p < 1e-9);
        last = p;
    }
    assert_true(s3si_lengths_beyond(&lengths, 700) == 0);
    lengths_of(NULL, 0);
    assert_true(s3si_lengths_beyond(&lengths, 0) == 0);
}

static void the_window_of_simple_texts(void **state) {
    static uint64_t each[1000];
    double cost;
    size_t i;
    (void)state;
    lengths_of(NULL, 0);
    /* nothing was seen */
    assert_int_equal(s3si_window_learned(&lengths, 256 * 1024), WINDOW_FIRST);
    /* all alike, or just one */
    for (i = 0; i < COUNT(each); i++) each[i] = 100;
    lengths_of(each, COUNT(each));
    for (cost = 256 * 1024; cost <= 2 * 1024 * 1024; cost *= 2)
        assert_int_equal(s3si_window_learned(&lengths, cost), WINDOW_MIN);
    lengths_of(each, 1);
    assert_int_equal(s3si_window_learned(&lengths, 256 * 1024), WINDOW_MIN);
    /* longer than the least window: one that holds them is the cheapest */
    for (i = 0; i < COUNT(each); i++) each[i] = 10000;
    lengths_of(each, COUNT(each));
    assert_in_range(s3si_window_learned(&lengths, 256 * 1024), 9000, 12000);
    /* hopeless: any window is wasted */
    for (i = 0; i < COUNT(each); i++) each[i] = 100 * 1024 * 1024;
    lengths_of(each, COUNT(each));
    assert_int_equal(s3si_window_learned(&lengths, 256 * 1024), WINDOW_MIN);
}

/* Over many mixtures of lengths: the window is between its bounds, grows with what a request
 * costs, and its price is at most twice the best that the lengths themselves (not their
 * histogram) allow. */
static void the_window_is_the_cheapest(void **state) {
    static uint64_t each[300];
    uint64_t seed = 7;
    int round;
    (void)state;
    for (round = 0; round < 2000; round++) {
        size_t n = 1 + unit_random(&seed) % COUNT(each), i;
        unsigned bits = 1 + (unsigned)(unit_random(&seed) % 24);
        double cost, total = 0;
        uint64_t last = 0;
        for (i = 0; i < n; i++) {
            each[i] = 1 + (unit_random(&seed) & ((UINT64_C(1) << unit_random(&seed) % bits) - 1));
            total += (double)each[i];
        }
        lengths_of(each, n);
        for (cost = 64 * 1024; cost <= 2 * 1024 * 1024; cost *= 2) {
            uint64_t window = s3si_window_learned(&lengths, cost), w;
            double best = 0, price = 0, p;
            assert_in_range(window, WINDOW_MIN, WINDOW_MAX);
            assert_true(window >= last);
            last = window;
            for (w = WINDOW_MIN; w <= WINDOW_MAX; w += 1 + w / 16) {
                for (i = 0, p = 0; i < n; i++)
                    if (each[i] > w) p += (double)(each[i] - w) / total;
                p = (double)w + p * cost;
                if (best == 0 || p < best) best = p;
            }
            for (i = 0, p = 0; i < n; i++)
                if (each[i] > window) p += (double)(each[i] - window) / total;
            price = (double)window + p * cost;
            if (price > 2 * best)
                fail_msg("a window of %llu costs %.0f, the best %.0f", (unsigned long long)window,
                         price, best);
        }
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(formats_of_fixed_length),
        cmocka_unit_test(formats_that_are_refused),
        cmocka_unit_test(the_longest_delimiter),
        cmocka_unit_test(borders_of_a_delimiter),
        cmocka_unit_test(scanning),
        cmocka_unit_test(the_model_divides_well),
        cmocka_unit_test(nominal_ranges),
        cmocka_unit_test(adversarial_texts),
        cmocka_unit_test(adversarial_texts_within_an_object),
        cmocka_unit_test(all_small_texts),
        cmocka_unit_test(long_delimiters),
        cmocka_unit_test(the_shards_are_the_text),
        cmocka_unit_test(ranges_are_clipped_to_the_text),
        cmocka_unit_test(what_lies_around_the_text_means_nothing),
        cmocka_unit_test(every_window_delivers_the_same),
        cmocka_unit_test(without_a_delimiter_nothing_is_read_twice),
        cmocka_unit_test(the_learned_window_costs_little),
        cmocka_unit_test(lengths_in_bins),
        cmocka_unit_test(sampling_counts_every_byte_once),
        cmocka_unit_test(what_a_cut_leaves),
        cmocka_unit_test(the_window_of_simple_texts),
        cmocka_unit_test(the_window_is_the_cheapest),
    };
    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
