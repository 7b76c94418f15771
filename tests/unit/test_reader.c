/* tsan */
/* SPDX-License-Identifier: MIT OR Unlicense
 * >>fetch, >>plan, >>reader and what >>public makes of them: bytes, pieces and records of ranges
 * and shards, from files and from a server, and how reading ends early. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "records_model.h"
#include "../support/server.h"

/* Milliseconds within which a cancelled call returns; sanitizers take their time. */
enum { CANCEL_MS = 300 };

/* ---- Texts ------------------------------------------------------------------------------------ */
static const server_rule plain_rules[] = {{NULL, 0, 0, "{range}"}, {NULL, 0, 0, NULL}};

typedef struct text_case {
    const char *records;
    model_format format;
    s3si_str text;
} text_case;

#define LINES "lines", {"\n", 1, 0}
#define TEXT(literal) {literal, sizeof(literal) - 1}
static const text_case texts[] = {
    {LINES, TEXT("")},
    {LINES, TEXT("\n")},
    {LINES, TEXT("x")},
    {LINES, TEXT("\n\n\n\n\n\n\n")},
    {LINES, TEXT("no newline at all")},
    {LINES, TEXT("a\nbb\n\nccc\r\nd\ne\n")},
    {LINES, TEXT("one line longer than all\nx\n")},
    {LINES, TEXT("a\nno newline at its end")},
    {"delim:ab", {"ab", 2, 0}, TEXT("abababxabaabbab")},
    {"delim:aa", {"aa", 2, 0}, TEXT("aaaaaaaabaaaacaa")},
    {"delim:aba", {"aba", 3, 0}, TEXT("abababaxxabaabab")},
    {"delim:\\r\\n\\r\\n", {"\r\n\r\n", 4, 0}, TEXT("x\r\n\r\n\r\n\r\ny\r\n\r\r\n\r\nz")},
    {"fixed:1", {"", 0, 1}, TEXT("abcdefg")},
    {"fixed:4", {"", 0, 4}, TEXT("aaaabbbbccccdd")},
    {"fixed:100", {"", 0, 100}, TEXT("aaaabbbbccccdd")},
};

/* Longer ones, over a server: lines of 0 to 40 bytes. */
static void make_text(char *text, size_t n) {
    uint64_t seed = 11;
    size_t i, left = 0;
    for (i = 0; i < n; i++) {
        if (left == 0) {
            left = unit_random(&seed) % 41;
            text[i] = '\n';
        } else {
            left--;
            text[i] = (char)('a' + unit_random(&seed) % 26);
        }
    }
}

/* What is being read, for the message when it fails. */
static char note[400];

/* ---- Reading everything ----------------------------------------------------------------------- */
enum { BY_BYTES = 0, BY_PIECES, BY_RECORDS, MIXED, MODES };

/* The model's length of the record at the front of (p, n). */
static size_t model_record(const model_format *f, const char *text, size_t at, size_t size) {
    size_t end = model_begin(text, size, f, at + 1);
    return end - at;
}

/* Reads a reader to its end into out, and compares each record with the model: `at` is the
 * object's offset of the first byte, the text is the object's. */
static size_t drain(s3s_reader *reader, int mode, const text_case *c, size_t at, char *out,
                    size_t cap) {
    uint64_t seed = 5;
    size_t n = 0;
    int aligned = 1; /* at a record's begin */
    for (;;) {
        const void *data = NULL;
        size_t got = 0;
        s3s_error err;
        s3s_result r;
        int how = mode == MIXED ? (int)(unit_random(&seed) % 3) : mode;
        if (how == BY_BYTES) {
            char bytes[3];
            r = s3s_reader_read(reader, bytes, 1 + unit_random(&seed) % 3, &got, &err);
            if (r == S3S_OK) {
                assert_in_range(got, 1, 3);
                assert_true(n + got <= cap);
                memcpy(out + n, bytes, got);
            }
        } else {
            r = how == BY_PIECES ? s3s_reader_next(reader, &data, &got, &err)
                                 : s3s_reader_record(reader, &data, &got, &err);
            if (r == S3S_OK) {
                assert_true(got > 0 && n + got <= cap);
                memcpy(out + n, data, got);
            }
        }
        if (r == S3S_END) {
            r = s3s_reader_record(reader, &data, &got, &err);
            if (r != S3S_END) print_error("%s\n", note);
            assert_result(r, S3S_END, &err);
            return n;
        }
        if (r != S3S_OK) print_error("%s\n", note);
        assert_result(r, S3S_OK, &err);
        if (how == BY_RECORDS && c && (c->format.m || aligned))
            assert_int_equal(got, model_record(&c->format, c->text.p, at + n, c->text.n));
        n += got;
        if (c) aligned = model_begin(c->text.p, c->text.n, &c->format, at + n) == at + n;
    }
}

static s3s_reader *opened(s3s_client *client, const char *uri, const s3s_read_options *opt) {
    s3s_reader *reader = NULL;
    s3s_error err;
    assert_result(s3s_reader_open(client, uri, opt, &reader, &err), S3S_OK, &err);
    return reader;
}

/* ---- Shards of files -------------------------------------------------------------------------- */
static char temp_dir[PATH_MAX];
static char file_uri[PATH_MAX + 32];

static int make_dir(void **state) {
    (void)state;
    serve_temp(temp_dir);
    (void)snprintf(file_uri, sizeof file_uri, "file://%s/text", temp_dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    serve_remove(temp_dir);
    return 0;
}

/* All shards of one text: each is the model's, together they are the text. */
static void all_shards(s3s_client *client, const char *uri, const text_case *c,
                       const s3s_read_options *base, uint32_t n, int mode) {
    uint32_t i;
    for (i = 0; i < n; i++) {
        s3s_read_options opt = *base;
        size_t begin = model_begin(c->text.p, c->text.n, &c->format,
                                   (size_t)model_start(c->text.n, i, n)),
               end = i + 1 == n ? c->text.n
                                : model_begin(c->text.p, c->text.n, &c->format,
                                              (size_t)model_start(c->text.n, i + 1, n)),
               got;
        char out[256];
        s3s_reader *reader;
        opt.shard_index = i, opt.shard_count = n;
        opt.records = c->records;
        (void)snprintf(note, sizeof note,
                       "%s of %lu bytes: shard %lu of %lu is [%lu, %lu), part %lu, window "
                       "%ld, strategy %d, size %lu, mode %d",
                       c->records, (unsigned long)c->text.n, (unsigned long)i,
                       (unsigned long)n, (unsigned long)begin, (unsigned long)end,
                       (unsigned long)opt.part_size, (long)opt.window, opt.strategy,
                       (unsigned long)opt.size, mode);
        reader = opened(client, uri, &opt);
        got = drain(reader, mode, c, begin, out, sizeof out);
        s3s_reader_close(reader);
        if (got != end - begin || memcmp(out, c->text.p + begin, got) != 0) {
            unit_print("text", c->text);
            unit_print("got ", s3si_str_make(out, got));
            fail_msg("%s", note);
        }
    }
}

static void shards_of_files(void **state) {
    static const int64_t windows[] = {S3S_WINDOW_LEARNED, S3S_WINDOW_DYNAMIC, 1, 7};
    static const uint64_t parts[] = {1, 3, 70};
    s3s_client *client = client_new(NULL);
    size_t t, w, p;
    (void)state;
    alarm(300);
    for (t = 0; t < COUNT(texts); t++) {
        serve_store(temp_dir, "text", texts[t].text.p, texts[t].text.n);
        for (w = 0; w < COUNT(windows); w++)
            for (p = 0; p < COUNT(parts); p++) {
                uint32_t n;
                for (n = 1; n <= texts[t].text.n + 2; n++) {
                    s3s_read_options opt = {0};
                    opt.window = windows[w];
                    opt.part_size = parts[p];
                    opt.memory = 70;
                    opt.connections = 1 + (int)(n % 3);
                    opt.strategy = (int)((n + w) % 2) ? S3S_STRATEGY_SMART_PREALIGNED
                                                      : S3S_STRATEGY_APPROX_CORRECTION;
                    opt.size = n % 2 ? texts[t].text.n : 0;
                    all_shards(client, file_uri, &texts[t], &opt, n, (int)(n % MODES));
                }
            }
    }
    s3s_client_destroy(client);
}

/* ---- Shards from a server --------------------------------------------------------------------- */
static void shards_from_a_server(void **state) {
    static const uint64_t parts[] = {1, 2, 5, 70};
    size_t t, p;
    (void)state;
    alarm(300);
    for (t = 0; t < COUNT(texts); t++) {
        server *s = server_start(plain_rules, texts[t].text.p, texts[t].text.n);
        s3s_client *client = client_new(server_url(s, ""));
        for (p = 0; p < COUNT(parts); p++) {
            static const uint32_t counts[] = {1, 2, 3, 7, 19};
            size_t n;
            for (n = 0; n < COUNT(counts); n++) {
                s3s_read_options opt = {0};
                opt.part_size = parts[p];
                opt.memory = 80;
                opt.connections = 3;
                opt.window = n % 2 ? 2 : S3S_WINDOW_LEARNED;
                opt.strategy = (int)((n + p) % 2);
                opt.size = (n + p) / 2 % 2 ? texts[t].text.n : 0;
                opt.expected_etag = n == 2 ? "\"v1\"" : NULL;
                all_shards(client, "s3://bucket/key", &texts[t], &opt, counts[n],
                           (int)((n + p) % MODES));
            }
        }
        s3s_client_destroy(client);
        server_stop(s);
    }
}

/* A longer text through s3serve, which checks every signature. */
static void shards_from_s3serve(void **state) {
    enum { SIZE = 100000 };
    static char text[SIZE], out[SIZE];
    serve s;
    s3s_client *client;
    s3s_error err;
    uint32_t i, n;
    (void)state;
    alarm(120);
    make_text(text, SIZE);
    serve_start(&s, NULL);
    client = client_new(s.url);
    assert_result(s3s_put(client, "s3://bucket/a text", text, SIZE, NULL, NULL, &err), S3S_OK, &err);
    for (n = 1; n <= 40; n += 13) {
        size_t got = 0;
        for (i = 0; i < n; i++) {
            s3s_read_options opt = {0};
            s3s_reader *reader;
            opt.shard_index = i, opt.shard_count = n;
            opt.part_size = 3001;
            reader = opened(client, "s3://bucket/a text", &opt);
            got += drain(reader, (int)(i % MODES), NULL, 0, out + got, SIZE - got);
            s3s_reader_close(reader);
        }
        assert_int_equal(got, SIZE);
        assert_memory_equal(out, text, SIZE);
    }
    s3s_client_destroy(client);
    serve_stop(&s);
}

/* ---- Slices and plans ------------------------------------------------------------------------- */
static void a_slice(void **state) {
    static const char text[] = "aa\nbb\ncc\ndd\n";
    server *s = server_start(plain_rules, text, 12);
    s3s_client *client = client_new(server_url(s, ""));
    uint64_t from, to;
    int exact;
    (void)state;
    alarm(60);
    for (exact = 0; exact < 2; exact++)
        for (from = 0; from <= 12; from++)
            for (to = from; to <= 12; to++) {
                s3s_read_options opt = {0};
                s3s_slice slice = {0};
                model_format lines = {"\n", 1, 0};
                size_t begin = (size_t)from, end = (size_t)to, got;
                s3s_reader *reader;
                char out[12];
                slice.start = from, slice.end = to, slice.exact = exact;
                opt.slice = &slice;
                opt.part_size = 4;
                opt.size = to % 2 ? 12 : 0;
                if (!exact) {
                    begin = model_begin(text, 12, &lines, (size_t)from);
                    end = model_begin(text, 12, &lines, (size_t)to);
                    if (from == to) end = begin;
                }
                (void)snprintf(note, sizeof note, "slice [%lu, %lu) exact %d size %lu",
                               (unsigned long)from, (unsigned long)to, exact,
                               (unsigned long)opt.size);
                reader = opened(client, "s3://b/k", &opt);
                got = drain(reader, BY_BYTES, NULL, 0, out, sizeof out);
                s3s_reader_close(reader);
                if (got != end - begin || memcmp(out, text + begin, got) != 0) {
                    unit_print("got ", s3si_str_make(out, got));
                    fail_msg("slice [%lu, %lu) exact %d", (unsigned long)from, (unsigned long)to,
                             exact);
                }
            }
    s3s_client_destroy(client);
    server_stop(s);
}

/* Create, format, parse, and read by: the same text, for both strategies. */
static void plans(void **state) {
    size_t t;
    (void)state;
    alarm(120);
    for (t = 0; t < COUNT(texts); t++) {
        server *s = server_start(plain_rules, texts[t].text.p, texts[t].text.n);
        s3s_client *client = client_new(server_url(s, ""));
        int strategy;
        for (strategy = 0; strategy < 2; strategy++) {
            static const uint32_t counts[] = {1, 2, 3, 8, 30};
            size_t c;
            for (c = 0; c < COUNT(counts); c++) {
                s3s_plan_options how = {0};
                s3s_plan *plan = NULL, *again = NULL;
                s3s_buffer json, json_again;
                s3s_error err;
                s3s_slice slice;
                char out[256];
                size_t got = 0;
                uint32_t i;
                how.shard_count = counts[c];
                how.records = texts[t].records;
                how.strategy = strategy;
                how.window = 2;
                assert_result(s3s_plan_create(client, "s3://b/k", &how, &plan, &err), S3S_OK, &err);
                assert_int_equal(s3s_plan_count(plan), counts[c]);
                assert_string_equal(s3s_plan_uri(plan), "s3://b/k");
                assert_int_equal(s3s_plan_object(plan)->size, texts[t].text.n);
                assert_string_equal(s3s_plan_object(plan)->etag, "\"v1\"");
                assert_result(s3s_plan_format(plan, &json, &err), S3S_OK, &err);
                assert_result(
                    s3s_plan_parse(client, (const char *)json.data, json.size, &again, &err),
                    S3S_OK, &err);
                assert_result(s3s_plan_format(again, &json_again, &err), S3S_OK, &err);
                assert_string_equal((const char *)json.data, (const char *)json_again.data);
                assert_int_equal(s3s_plan_slice(again, counts[c], &slice), S3S_E_ARGUMENT);
                for (i = 0; i < counts[c]; i++) {
                    s3s_read_options opt = {0};
                    s3s_reader *reader;
                    size_t begin = model_begin(texts[t].text.p, texts[t].text.n, &texts[t].format,
                                               (size_t)model_start(texts[t].text.n, i, counts[c]));
                    assert_int_equal(s3s_plan_slice(again, i, &slice), S3S_OK);
                    if (strategy == S3S_STRATEGY_SMART_PREALIGNED) {
                        assert_true(slice.exact);
                        assert_int_equal(slice.start, begin);
                    }
                    opt.plan = again;
                    opt.shard_index = i;
                    opt.part_size = 5;
                    reader = opened(client, "s3://b/k", &opt);
                    assert_int_equal(begin, got);
                    got += drain(reader, (int)(i % MODES), &texts[t], begin, out + got,
                                 sizeof out - got);
                    s3s_reader_close(reader);
                }
                assert_str(s3si_str_make(out, got), texts[t].text);
                s3s_buffer_free(&json);
                s3s_buffer_free(&json_again);
                s3s_plan_destroy(plan);
                s3s_plan_destroy(again);
            }
        }
        s3s_client_destroy(client);
        server_stop(s);
    }
}

#define PLAN(version, records, slices) \
    "{\"version\":" version ",\"uri\":\"s3://b/k\",\"etag\":\"\\\"v1\\\"\",\"size\":12," \
    "\"records\":\"" records "\",\"slices\":[" slices "]}"
#define SLICE(start, end) "{\"start\":" start ",\"end\":" end ",\"exact\":true}"

static void plans_that_are_refused(void **state) {
    static const char *const bad[] = {
        "", "{}", "[]", "null", "{\"version\":1}", PLAN("1", "lines", "") "x",
        PLAN("2", "lines", SLICE("0", "12")),
        PLAN("\"1\"", "lines", SLICE("0", "12")),
        PLAN("1", "lines", ""),
        PLAN("1", "lines", "7"),
        PLAN("1", "lines", "{}"),
        PLAN("1", "lines", "{\"start\":0}"),
        PLAN("1", "lines", SLICE("0", "6") "," SLICE("7", "12")), /* a gap */
        PLAN("1", "lines", SLICE("0", "6") "," SLICE("5", "12")), /* an overlap */
        PLAN("1", "lines", SLICE("6", "12") "," SLICE("0", "6")), /* out of order */
        PLAN("1", "lines", SLICE("0", "13")),                     /* beyond the size */
        PLAN("1", "lines", SLICE("6", "0")),
        PLAN("1", "lines", SLICE("-1", "12")),
        PLAN("1", "lines", SLICE("0", "1e1")),
        PLAN("1", "lines", SLICE("0", "18446744073709551628")),
        PLAN("1", "lines", SLICE("0", "12")) "{}",
        PLAN("1", "what", SLICE("0", "12")),
        PLAN("1", "delim:", SLICE("0", "12")),
    };
    s3s_client *client = client_new(NULL);
    s3s_plan *plan = NULL;
    s3s_error err;
    size_t i;
    int accepted = 0;
    (void)state;
    for (i = 0; i < COUNT(bad); i++) {
        s3s_result r = s3s_plan_parse(client, guarded(s3si_str_of(bad[i])).p, strlen(bad[i]), &plan,
                                      &err);
        if (r != S3S_E_PLAN) print_error("accepted: %s\n", bad[i]);
        accepted += r != S3S_E_PLAN;
        if (r == S3S_OK) s3s_plan_destroy(plan);
        else assert_null(plan);
    }
    assert_int_equal(accepted, 0);
    s3s_client_destroy(client);
}

static void a_plan_of_another_version(void **state) {
    static const char json[] = PLAN("1", "lines", SLICE("0", "12"));
    server *s = server_start(plain_rules, "aa\nbb\ncc\ndd\n", 12);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    s3s_plan *plan = NULL;
    s3s_buffer all;
    s3s_error err;
    (void)state;
    alarm(60);
    assert_result(s3s_plan_parse(client, json, strlen(json), &plan, &err), S3S_OK, &err);
    opt.plan = plan;
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_OK, &err);
    assert_int_equal(all.size, 12);
    s3s_buffer_free(&all);
    s->etag = "\"v2\""; /* no connection is at work */
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_E_CHANGED, &err);
    assert_null(all.data);
    opt.shard_index = 1;
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_E_ARGUMENT, &err);
    s3s_plan_destroy(plan);
    s3s_client_destroy(client);
    server_stop(s);
}

/* ---- Ranges, sizes, versions ------------------------------------------------------------------ */
static const char *const both_uris[] = {"s3://b/k", NULL}; /* NULL: the file */

static void ranges(void **state) {
    static const char text[] = "0123456789";
    server *s = server_start(plain_rules, text, 10);
    s3s_client *client = client_new(server_url(s, ""));
    uint64_t offset, length;
    size_t u;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", text, 10);
    for (u = 0; u < COUNT(both_uris); u++)
        for (offset = 0; offset <= 12; offset++)
            for (length = 0; length <= 12; length += offset % 2 ? 3 : 1) {
                s3s_read_options opt = {0};
                s3s_buffer all;
                s3s_error err;
                s3s_result r;
                size_t n = offset < 10 ? (size_t)(10 - offset) : 0;
                if (length && length < n) n = (size_t)length;
                opt.offset = offset, opt.length = length;
                opt.part_size = 3;
                opt.size = length % 2 ? 10 : 0;
                r = s3s_get(client, both_uris[u] ? both_uris[u] : file_uri, &opt, &all, &err);
                if (offset == 10 && r == S3S_E_RANGE && opt.size == 0 && both_uris[u]) continue;
                assert_result(r, offset > 10 ? S3S_E_RANGE : S3S_OK, &err);
                if (r != S3S_OK) continue;
                assert_str(s3si_str_make((const char *)all.data, all.size),
                           s3si_str_make(text + (n ? offset : 0), n));
                s3s_buffer_free(&all);
            }
    s3s_client_destroy(client);
    server_stop(s);
}

/* A range that is empty because it begins at the object's end is one wherever the object lies. */
static void a_range_that_begins_at_the_end(void **state) {
    server *s = server_start(plain_rules, "0123456789", 10);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    s3s_buffer all;
    s3s_error err;
    size_t u;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", "0123456789", 10);
    opt.offset = 10;
    for (u = 0; u < COUNT(both_uris); u++) {
        assert_result(s3s_get(client, both_uris[u] ? both_uris[u] : file_uri, &opt, &all, &err),
                      S3S_OK, &err);
        assert_int_equal(all.size, 0);
        s3s_buffer_free(&all);
    }
    s3s_client_destroy(client);
    server_stop(s);
}

/* Shards of a range: it stands in for the object. */
static void shards_of_a_range(void **state) {
    static const char text[] = "xxx\naa\nbb\ncc\ndd\nyyy";
    const text_case inner = {LINES, {text + 5, 10}};
    server *s = server_start(plain_rules, text, strlen(text));
    s3s_client *client = client_new(server_url(s, ""));
    size_t u;
    uint32_t n;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", text, strlen(text));
    for (u = 0; u < COUNT(both_uris); u++)
        for (n = 1; n <= 12; n++) {
            s3s_read_options opt = {0};
            opt.offset = 5, opt.length = 10;
            opt.part_size = n;
            opt.strategy = (int)(n % 2);
            all_shards(client, both_uris[u] ? both_uris[u] : file_uri, &inner, &opt, n, BY_BYTES);
        }
    s3s_client_destroy(client);
    server_stop(s);
}

static void another_version_than_expected(void **state) {
    server *s = server_start(plain_rules, "0123456789", 10);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    s3s_object object;
    s3s_buffer all;
    s3s_error err;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", "0123456789", 10);
    opt.expected_etag = "v0";
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_E_CHANGED, &err);
    assert_result(s3s_get(client, file_uri, &opt, &all, &err), S3S_E_CHANGED, &err);
    opt.size = 10;
    opt.shard_index = 1, opt.shard_count = 2;
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_E_CHANGED, &err);
    opt.strategy = S3S_STRATEGY_SMART_PREALIGNED;
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_E_CHANGED, &err);
    memset(&opt, 0, sizeof opt);
    opt.expected_etag = "v1"; /* quotes are added */
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_OK, &err);
    s3s_buffer_free(&all);
    assert_result(s3s_head(client, file_uri, &object, &err), S3S_OK, &err);
    opt.expected_etag = object.etag;
    assert_result(s3s_get(client, file_uri, &opt, &all, &err), S3S_OK, &err);
    s3s_buffer_free(&all);
    s3s_client_destroy(client);
    server_stop(s);
}

static void another_size_than_given(void **state) {
    static const uint64_t wrong[] = {1, 9, 11, 100};
    server *s = server_start(plain_rules, "0123456789", 10);
    s3s_client *client = client_new(server_url(s, ""));
    size_t i, u;
    uint32_t shard;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", "0123456789", 10);
    for (u = 0; u < COUNT(both_uris); u++)
        for (i = 0; i < COUNT(wrong); i++)
            for (shard = 0; shard < 3; shard++) {
                s3s_read_options opt = {0};
                s3s_buffer all;
                s3s_error err;
                s3s_result r;
                opt.size = wrong[i];
                opt.shard_index = shard == 2, opt.shard_count = shard ? 2 : 0;
                r = s3s_get(client, both_uris[u] ? both_uris[u] : file_uri, &opt, &all, &err);
                if (r == S3S_OK) s3s_buffer_free(&all);
                /* an empty shard asks for nothing */
                if (r == S3S_OK && shard && wrong[i] == 1) continue;
                if (r != S3S_E_CHANGED)
                    print_error("size %lu, shard %lu\n", (unsigned long)wrong[i],
                                (unsigned long)shard);
                assert_result(r, S3S_E_CHANGED, &err);
            }
    s3s_client_destroy(client);
    server_stop(s);
}

/* ---- What is told about a reader -------------------------------------------------------------- */
static void info_position_and_stats(void **state) {
    static const char text[] = "aa\nbb\ncc\ndd\n";
    server *s = server_start(plain_rules, text, 12);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    s3s_reader *reader;
    s3s_object object;
    s3s_slice slice;
    s3s_stats stats;
    s3s_error err;
    const void *data;
    size_t n;
    (void)state;
    alarm(60);
    opt.shard_index = 1, opt.shard_count = 2; /* [6, 12) */
    opt.part_size = 4;
    reader = opened(client, "s3://b/k", &opt);
    assert_result(s3s_reader_info(reader, &object, &slice, &err), S3S_OK, &err);
    assert_int_equal(object.size, 12);
    assert_string_equal(object.etag, "\"v1\"");
    assert_int_equal(slice.start, 6);
    assert_int_equal(slice.end, 12);
    assert_result(s3s_reader_info(reader, NULL, NULL, NULL), S3S_OK, &err);
    assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_OK, &err);
    assert_str(s3si_str_make((const char *)data, n), STR("cc\n"));
    assert_int_equal(s3s_reader_position(reader), 9);
    s3s_reader_stats(reader, &stats);
    assert_int_equal(stats.records, 1);
    assert_int_equal(stats.bytes_delivered, 3);
    assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_OK, &err);
    assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_END, &err);
    assert_int_equal(s3s_reader_position(reader), 12);
    assert_result(s3s_reader_info(reader, NULL, &slice, &err), S3S_OK, &err);
    assert_true(slice.exact);
    assert_int_equal(slice.start, 6);
    assert_int_equal(slice.end, 12);
    s3s_reader_stats(reader, &stats);
    assert_int_equal(stats.records, 2);
    assert_int_equal(stats.bytes_delivered, 6);
    assert_int_equal(stats.wasted_bytes, stats.bytes_received - 6);
    assert_true(stats.pinned);
    assert_true(stats.first_byte_seconds > 0 && stats.seconds >= stats.first_byte_seconds);
    assert_in_range(stats.requests, 1, server_count(s, NULL)); /* the last may not have ended */
    s3s_reader_close(reader);
    s3s_client_stats(client, &stats);
    assert_int_equal(stats.bytes_delivered, 6);
    assert_int_equal(stats.records, 2);
    assert_int_equal(stats.requests, server_count(s, NULL));
    s3s_client_destroy(client);
    server_stop(s);
}

typedef struct progress_seen {
    uint64_t delivered, total;
    int calls;
} progress_seen;

static void on_progress(void *user, uint64_t delivered, uint64_t total) {
    progress_seen *p = (progress_seen *)user;
    assert_true(delivered > p->delivered);
    p->delivered = delivered, p->total = total;
    p->calls++;
}

static void progress(void **state) {
    server *s = server_start(plain_rules, "0123456789", 10);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    progress_seen seen = {0, 0, 0};
    s3s_buffer all;
    s3s_error err;
    (void)state;
    alarm(60);
    opt.part_size = 4;
    opt.progress = on_progress;
    opt.progress_user = &seen;
    assert_result(s3s_get(client, "s3://b/k", &opt, &all, &err), S3S_OK, &err);
    assert_int_equal(seen.delivered, 10);
    assert_int_equal(seen.total, 10);
    assert_true(seen.calls >= 3);
    s3s_buffer_free(&all);
    s3s_client_destroy(client);
    server_stop(s);
}

/* One that is too long is an error that stays: nothing is delivered of a record's rest. */
static void the_longest_record(void **state) {
    static const char text[] = "aa\nbbbbbbbbbb\ncc\n";
    server *s = server_start(plain_rules, text, strlen(text));
    s3s_client *client = client_new(server_url(s, ""));
    uint64_t part;
    (void)state;
    alarm(60);
    for (part = 1; part <= 20; part++) {
        s3s_read_options opt = {0};
        s3s_reader *reader;
        s3s_error err;
        const void *data;
        size_t n;
        int again;
        opt.part_size = part;
        opt.max_record = 11;
        reader = opened(client, "s3://b/k", &opt);
        assert_int_equal(drain(reader, BY_RECORDS, NULL, 0, (char[32]){0}, 32), strlen(text));
        s3s_reader_close(reader);
        opt.max_record = 10;
        reader = opened(client, "s3://b/k", &opt);
        assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_OK, &err);
        for (again = 0; again < 3; again++)
            assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_E_TOO_LARGE, &err);
        assert_non_null(strstr(err.message, "byte 3"));
        s3s_reader_close(reader);
    }
    s3s_client_destroy(client);
    server_stop(s);
}

/* ---- Whole objects ---------------------------------------------------------------------------- */
static void get_and_get_into(void **state) {
    enum { SIZE = 20000 };
    static char text[SIZE], room[SIZE + 1];
    s3s_client *client;
    s3s_buffer all;
    s3s_error err;
    size_t got, u;
    server *s;
    (void)state;
    alarm(60);
    make_text(text, SIZE);
    s = server_start(plain_rules, text, SIZE);
    client = client_new(server_url(s, ""));
    serve_store(temp_dir, "text", text, SIZE);
    for (u = 0; u < COUNT(both_uris); u++) {
        const char *uri = both_uris[u] ? both_uris[u] : file_uri;
        uint64_t part;
        for (part = 0; part < 30000; part += part ? 6000 : 999) {
            s3s_read_options opt = {0};
            opt.part_size = part;
            assert_result(s3s_get(client, uri, &opt, &all, &err), S3S_OK, &err);
            assert_int_equal(all.size, SIZE);
            assert_memory_equal(all.data, text, SIZE);
            s3s_buffer_free(&all);
            s3s_buffer_free(&all);
            opt.max_size = SIZE;
            assert_result(s3s_get(client, uri, &opt, &all, &err), S3S_OK, &err);
            s3s_buffer_free(&all);
            opt.max_size = SIZE - 1;
            assert_result(s3s_get(client, uri, &opt, &all, &err), S3S_E_TOO_LARGE, &err);
            assert_null(all.data);
            opt.max_size = 0;
            /* more room, just enough, too little, none */
            memset(room, 1, sizeof room);
            assert_result(s3s_get_into(client, uri, &opt, room, SIZE + 1, &got, &err), S3S_OK, &err);
            assert_int_equal(got, SIZE);
            assert_memory_equal(room, text, SIZE);
            assert_int_equal(room[SIZE], 1);
            memset(room, 1, sizeof room);
            assert_result(s3s_get_into(client, uri, &opt, room, SIZE, &got, &err), S3S_OK, &err);
            assert_int_equal(got, SIZE);
            assert_memory_equal(room, text, SIZE);
            memset(room, 1, sizeof room);
            assert_result(s3s_get_into(client, uri, &opt, room, SIZE - 1, &got, &err),
                          S3S_E_TOO_LARGE, &err);
            assert_int_equal(got, 0);
            assert_int_equal(room[SIZE - 1], 1);
            assert_result(s3s_get_into(client, uri, &opt, NULL, 0, &got, &err), S3S_E_TOO_LARGE,
                          &err);
            /* a shard of it */
            opt.shard_index = 2, opt.shard_count = 3;
            opt.records = "fixed:1";
            assert_result(s3s_get_into(client, uri, &opt, room, SIZE, &got, &err), S3S_OK, &err);
            assert_int_equal(got, SIZE - 2 * SIZE / 3);
            assert_memory_equal(room, text + 2 * SIZE / 3, got);
        }
    }
    s3s_client_destroy(client);
    server_stop(s);
}

static void an_empty_object(void **state) {
    server *s = server_start(plain_rules, "", 0);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_buffer all;
    s3s_error err;
    size_t got, u;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", "", 0);
    for (u = 0; u < COUNT(both_uris); u++) {
        const char *uri = both_uris[u] ? both_uris[u] : file_uri;
        s3s_reader *reader;
        s3s_slice slice;
        char room[4];
        assert_result(s3s_get(client, uri, NULL, &all, &err), S3S_OK, &err);
        assert_int_equal(all.size, 0);
        s3s_buffer_free(&all);
        assert_result(s3s_get_into(client, uri, NULL, room, 4, &got, &err), S3S_OK, &err);
        assert_int_equal(got, 0);
        assert_result(s3s_get_into(client, uri, NULL, NULL, 0, &got, &err), S3S_OK, &err);
        assert_int_equal(got, 0);
        reader = opened(client, uri, NULL);
        assert_result(s3s_reader_info(reader, NULL, &slice, &err), S3S_OK, &err);
        assert_int_equal(slice.end, 0);
        assert_int_equal(drain(reader, BY_RECORDS, NULL, 0, room, 4), 0);
        s3s_reader_close(reader);
    }
    s3s_client_destroy(client);
    server_stop(s);
}

/* ---- Ending early ----------------------------------------------------------------------------- */
static const server_rule stall_rules[] = {{"HEAD ", 0, 0, "{range}"},
                                          {NULL, 0, 0, "{range 10}{stall}"},
                                          {NULL, 0, 0, NULL}};

typedef struct cancel_job {
    s3s_reader *reader;
    long at_ms;
} cancel_job;

static void *cancel_main(void *arg) {
    cancel_job *job = (cancel_job *)arg;
    server_sleep_ms(100);
    job->at_ms = server_now_ms();
    s3s_reader_cancel(job->reader);
    return NULL;
}

static void cancelled_while_it_stalls(void **state) {
    static char text[100000];
    server *s;
    s3s_client *client;
    int how;
    (void)state;
    alarm(60);
    make_text(text, sizeof text);
    s = server_start(stall_rules, text, sizeof text);
    client = client_new(server_url(s, ""));
    for (how = 0; how < MODES; how++) {
        cancel_job job;
        pthread_t thread;
        s3s_read_options opt = {0};
        s3s_error err;
        s3s_result r = S3S_OK;
        const void *data;
        char bytes[64];
        size_t n, in_all = 0;
        long late;
        opt.part_size = 30000;
        opt.size = sizeof text;
        opt.expected_etag = "\"v1\"";
        job.reader = opened(client, "s3://b/k", &opt);
        job.at_ms = 0;
        assert_int_equal(pthread_create(&thread, NULL, cancel_main, &job), 0);
        while (r == S3S_OK) {
            r = how == BY_BYTES    ? s3s_reader_read(job.reader, bytes, sizeof bytes, &n, &err)
                : how == BY_PIECES ? s3s_reader_next(job.reader, &data, &n, &err)
                                   : s3s_reader_record(job.reader, &data, &n, &err);
            if (r == S3S_OK) in_all += n;
        }
        late = server_now_ms();
        pthread_join(thread, NULL);
        late -= job.at_ms;
        assert_result(r, S3S_E_CANCELLED, &err);
        if (late > CANCEL_MS) fail_msg("cancelled %ld ms late", late);
        assert_in_range(in_all, 0, 10);
        assert_result(s3s_reader_read(job.reader, bytes, 1, &n, &err), S3S_E_CANCELLED, &err);
        assert_result(s3s_reader_info(job.reader, NULL, NULL, &err), S3S_E_CANCELLED, &err);
        s3s_reader_close(job.reader);
    }
    s3s_client_destroy(client);
    server_stop(s);
}

static void closed_while_it_stalls(void **state) {
    static char text[100000];
    server *s;
    s3s_client *client;
    int how;
    (void)state;
    alarm(60);
    make_text(text, sizeof text);
    s = server_start(stall_rules, text, sizeof text);
    client = client_new(server_url(s, ""));
    for (how = 0; how < 3; how++) {
        s3s_reader *reader = opened(client, "s3://b/k", NULL);
        s3s_error err;
        char bytes[64];
        size_t n;
        long start;
        if (how == 1) server_sleep_ms(50); /* never read */
        if (how == 2) {
            assert_result(s3s_reader_read(reader, bytes, sizeof bytes, &n, &err), S3S_OK, &err);
            server_sleep_ms(20);
        }
        start = server_now_ms();
        s3s_reader_close(reader);
        if (server_now_ms() - start > CANCEL_MS)
            fail_msg("closing took %ld ms", server_now_ms() - start);
    }
    s3s_reader_close(NULL);
    s3s_client_destroy(client);
    server_stop(s);
}

/* What connects and is never accepted, answered, or let in, is closed as fast. */
static void closed_while_it_waits_for_a_head(void **state) {
    static const server_rule silent[] = {{NULL, 0, 0, "{stall}"}, {NULL, 0, 0, NULL}};
    server *s = server_start(silent, "", 0);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    int shard;
    (void)state;
    alarm(60);
    for (shard = 0; shard < 2; shard++) {
        s3s_reader *reader;
        long start;
        opt.shard_index = (uint32_t)shard, opt.shard_count = (uint32_t)shard * 2;
        reader = opened(client, "s3://b/k", &opt);
        server_sleep_ms(50);
        start = server_now_ms();
        s3s_reader_close(reader);
        if (server_now_ms() - start > CANCEL_MS)
            fail_msg("closing took %ld ms", server_now_ms() - start);
    }
    s3s_client_destroy(client);
    server_stop(s);
}

/* ---- Several readers, forks, versions --------------------------------------------------------- */
static void two_readers_in_turn(void **state) {
    enum { SIZE = 60000 };
    static char text[SIZE], out[2][SIZE];
    size_t n[2] = {0, 0}, k;
    s3s_reader *reader[3];
    s3s_config config;
    s3s_client *client;
    server *s;
    (void)state;
    alarm(60);
    make_text(text, SIZE);
    s = server_start(plain_rules, text, SIZE);
    client_config(&config, server_url(s, ""));
    config.connections = 2;
    client = client_of(&config);
    for (k = 0; k < 3; k++) {
        s3s_read_options opt = {0};
        opt.part_size = 1000;
        opt.memory = 4000;
        reader[k] = opened(client, "s3://b/k", &opt); /* the third is never read */
    }
    while (n[0] < SIZE || n[1] < SIZE)
        for (k = 0; k < 2; k++) {
            s3s_error err;
            size_t got;
            if (n[k] == SIZE) continue;
            assert_result(s3s_reader_read(reader[k], out[k] + n[k], 700, &got, &err), S3S_OK, &err);
            n[k] += got;
        }
    for (k = 0; k < 2; k++) assert_memory_equal(out[k], text, SIZE);
    for (k = 0; k < 3; k++) s3s_reader_close(reader[k]);
    s3s_client_destroy(client);
    server_stop(s);
}

static int in_a_child(s3s_client *client, s3s_reader *reader) {
    const s3s_entry *entry;
    s3s_buffer all;
    s3s_error err;
    s3s_list *list = NULL;
    const void *data;
    char bytes[4];
    size_t n;
    (void)entry;
    if (s3s_get(client, "s3://b/k", NULL, &all, &err) != S3S_E_FORKED) return 1;
    if (err.code != S3S_E_FORKED || !err.message[0]) return 2;
    if (s3s_head(client, "s3://b/k", NULL, NULL) != S3S_E_FORKED) return 3;
    if (s3s_reader_read(reader, bytes, 4, &n, &err) != S3S_E_FORKED) return 4;
    if (s3s_reader_next(reader, &data, &n, &err) != S3S_E_FORKED) return 5;
    if (s3s_reader_record(reader, &data, &n, &err) != S3S_E_FORKED) return 6;
    if (s3s_list_open(client, "s3://b/", NULL, &list, &err) != S3S_E_FORKED) return 7;
    if (s3s_put(client, "s3://b/k", "x", 1, NULL, NULL, &err) != S3S_E_FORKED) return 8;
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    return 0;
}

static void a_client_in_a_forked_child(void **state) {
    server *s = server_start(stall_rules, "0123456789abcdef", 16);
    s3s_client *client = client_new(server_url(s, ""));
    s3s_reader *reader = opened(client, "s3://b/k", NULL);
    char bytes[16];
    s3s_error err;
    size_t n;
    pid_t child;
    int status = 0;
    (void)state;
    alarm(60);
    assert_result(s3s_reader_read(reader, bytes, 16, &n, &err), S3S_OK, &err);
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(in_a_child(client, reader));
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
    server_stop(s);
}

static void another_header_than_linked(void **state) {
    s3s_client *client = (s3s_client *)&client;
    s3s_error err;
    (void)state;
    assert_result(s3s_client_create_versioned(NULL, S3STREAM_VERSION + 1, sizeof(s3s_config),
                                              &client, &err),
                  S3S_E_VERSION, &err);
    assert_null(client);
    assert_result(s3s_client_create_versioned(NULL, S3STREAM_VERSION, sizeof(s3s_config) + 8,
                                              &client, &err),
                  S3S_E_VERSION, &err);
    assert_result(s3s_client_create_versioned(NULL, S3STREAM_VERSION, sizeof(s3s_config), &client,
                                              NULL),
                  S3S_OK, &err);
    s3s_client_destroy(client);
    s3s_client_destroy(NULL);
}

static void null_arguments(void **state) {
    s3s_client *client = client_new(NULL);
    s3s_plan_options how = {0};
    s3s_reader *reader = NULL;
    s3s_buffer all;
    s3s_plan *plan = NULL;
    s3s_list *list = NULL;
    s3s_error err;
    const void *data;
    char byte;
    size_t n;
    (void)state;
    alarm(60);
    serve_store(temp_dir, "text", "x\n", 2);
    how.shard_count = 1;
#define REFUSED(call) assert_result((call), S3S_E_ARGUMENT, &err)
    REFUSED(s3s_client_create(NULL, NULL, &err));
    REFUSED(s3s_head(NULL, "s3://b/k", NULL, &err));
    REFUSED(s3s_head(client, NULL, NULL, &err));
    REFUSED(s3s_head(client, NULL, NULL, NULL));
    REFUSED(s3s_get(NULL, "s3://b/k", NULL, &all, &err));
    REFUSED(s3s_get(client, NULL, NULL, &all, &err));
    REFUSED(s3s_get(client, "s3://b/k", NULL, NULL, &err));
    REFUSED(s3s_get_into(client, "s3://b/k", NULL, NULL, 4, &n, &err));
    REFUSED(s3s_reader_open(client, NULL, NULL, &reader, &err));
    REFUSED(s3s_reader_open(client, "s3://b/k", NULL, NULL, &err));
    REFUSED(s3s_reader_open(NULL, "s3://b/k", NULL, &reader, NULL));
    REFUSED(s3s_reader_read(NULL, &byte, 1, &n, &err));
    REFUSED(s3s_reader_next(NULL, &data, &n, &err));
    REFUSED(s3s_reader_record(NULL, &data, &n, &err));
    REFUSED(s3s_reader_info(NULL, NULL, NULL, &err));
    REFUSED(s3s_plan_create(client, "s3://b/k", NULL, &plan, &err));
    REFUSED(s3s_plan_create(client, NULL, &how, &plan, &err));
    REFUSED(s3s_plan_create(client, "s3://b/k", &how, NULL, &err));
    how.shard_count = 0;
    REFUSED(s3s_plan_create(client, "s3://b/k", &how, &plan, &err));
    REFUSED(s3s_plan_parse(client, NULL, 0, &plan, &err));
    REFUSED(s3s_plan_parse(client, "{}", 2, NULL, &err));
    REFUSED(s3s_plan_format(NULL, &all, &err));
    REFUSED(s3s_list_open(client, NULL, NULL, &list, &err));
    REFUSED(s3s_list_open(client, "s3://b/", NULL, NULL, &err));
    REFUSED(s3s_list_next(NULL, NULL, &err));
    REFUSED(s3s_put(client, NULL, "x", 1, NULL, NULL, &err));
    REFUSED(s3s_put(client, "s3://b/k", NULL, 1, NULL, NULL, &err));
    REFUSED(s3s_delete(client, NULL, &err));
    REFUSED(s3s_request(client, NULL, NULL, &err));
    assert_int_equal(s3s_plan_count(NULL), 0);
    s3s_plan_destroy(NULL);
    s3s_list_close(NULL);
    s3s_buffer_free(NULL);
    s3s_http_response_free(NULL);
    /* of an open reader */
    reader = opened(client, file_uri, NULL);
    REFUSED(s3s_reader_read(reader, NULL, 1, &n, &err));
    REFUSED(s3s_reader_read(reader, &byte, 0, &n, &err));
    REFUSED(s3s_reader_read(reader, &byte, 1, NULL, &err));
    assert_result(s3s_reader_read(reader, &byte, 1, &n, &err), S3S_OK, &err);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
}

/* Where a piece or a record is to go is checked as well. */
static void null_places_for_what_is_lent(void **state) {
    s3s_client *client = client_new(NULL);
    s3s_reader *reader;
    s3s_error err;
    const void *data;
    size_t n;
    (void)state;
    serve_store(temp_dir, "text", "x\n", 2);
    reader = opened(client, file_uri, NULL);
    REFUSED(s3s_reader_next(reader, NULL, &n, &err));
    REFUSED(s3s_reader_next(reader, &data, NULL, &err));
    REFUSED(s3s_reader_record(reader, NULL, &n, &err));
    REFUSED(s3s_reader_record(reader, &data, NULL, &err));
    assert_result(s3s_reader_record(reader, &data, &n, &err), S3S_OK, &err);
    s3s_reader_close(reader);
    s3s_client_destroy(client);
}

static void bad_options(void **state) {
    s3s_client *client = client_new(NULL);
    s3s_read_options opt;
    s3s_slice slice = {0};
    s3s_error err;
    s3s_reader *reader = NULL;
    (void)state;
#define WITH(what) \
    memset(&opt, 0, sizeof opt); \
    what; \
    REFUSED(s3s_reader_open(client, file_uri, &opt, &reader, &err)); \
    assert_null(reader)
    WITH(opt.shard_index = 3; opt.shard_count = 3);
    WITH(opt.shard_index = 1);
    WITH(opt.records = "what");
    WITH(opt.part_size = 100; opt.memory = 99);
    WITH(opt.offset = 2; opt.length = UINT64_MAX);
    WITH(opt.window = -2);
    WITH(opt.strategy = 7);
    WITH(opt.expected_etag = "a\r\nb");
    WITH(slice.start = 2; slice.end = 1; opt.slice = &slice);
    WITH(slice.start = 2; slice.end = 3; opt.offset = 3; opt.slice = &slice);
    REFUSED(s3s_reader_open(client, "s3://bucket", NULL, &reader, &err));
    REFUSED(s3s_reader_open(client, "ftp://host/x", NULL, &reader, &err));
    s3s_client_destroy(client);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_of_files),
        cmocka_unit_test(shards_from_a_server),
        cmocka_unit_test(shards_from_s3serve),
        cmocka_unit_test(a_slice),
        cmocka_unit_test(plans),
        cmocka_unit_test(plans_that_are_refused),
        cmocka_unit_test(a_plan_of_another_version),
        cmocka_unit_test(ranges),
        cmocka_unit_test(a_range_that_begins_at_the_end),
        cmocka_unit_test(shards_of_a_range),
        cmocka_unit_test(another_version_than_expected),
        cmocka_unit_test(another_size_than_given),
        cmocka_unit_test(info_position_and_stats),
        cmocka_unit_test(progress),
        cmocka_unit_test(the_longest_record),
        cmocka_unit_test(get_and_get_into),
        cmocka_unit_test(an_empty_object),
        cmocka_unit_test(cancelled_while_it_stalls),
        cmocka_unit_test(closed_while_it_stalls),
        cmocka_unit_test(closed_while_it_waits_for_a_head),
        cmocka_unit_test(two_readers_in_turn),
        cmocka_unit_test(a_client_in_a_forked_child),
        cmocka_unit_test(another_header_than_linked),
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(null_places_for_what_is_lent),
    };
    return cmocka_run_group_tests_name("reader", tests, make_dir, remove_dir);
}
