/* SPDX-License-Identifier: MIT OR Unlicense
 * S3STREAM_NO_THREADS: the event loop runs inside the caller's calls, and what comes is the same. */
#define S3STREAM_NO_THREADS
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "records_model.h"
#include "../support/server.h"

enum { SIZE = 50000 };
static char text[SIZE];
static serve s3;
static s3s_client *client;
static s3s_error err;

static int start(void **state) {
    uint64_t seed = 7;
    size_t i;
    (void)state;
    alarm(120);
    for (i = 0; i < SIZE; i++)
        text[i] = unit_random(&seed) % 30 ? (char)('a' + unit_random(&seed) % 26) : '\n';
    serve_start(&s3, NULL);
    client = client_new(s3.url);
    return s3s_put(client, "s3://bucket/text", text, SIZE, NULL, NULL, &err) != S3S_OK;
}

static int stop(void **state) {
    (void)state;
    s3s_client_destroy(client);
    serve_stop(&s3);
    return 0;
}

static void whole(void **state) {
    s3s_read_options opt = {0};
    s3s_buffer all;
    (void)state;
    assert_int_equal(S3SI_THREADS, 0);
    for (opt.part_size = 0; opt.part_size < 60000; opt.part_size += 7777) {
        static char room[SIZE];
        size_t got;
        assert_result(s3s_get(client, "s3://bucket/text", &opt, &all, &err), S3S_OK, &err);
        assert_int_equal(all.size, SIZE);
        assert_memory_equal(all.data, text, SIZE);
        s3s_buffer_free(&all);
        assert_result(
            s3s_get_into(client, "s3://bucket/text", &opt, room, SIZE, &got, &err), S3S_OK, &err);
        assert_int_equal(got, SIZE);
        assert_memory_equal(room, text, SIZE);
        assert_result(s3s_get_into(client, "s3://bucket/text", &opt, room, SIZE - 1, &got, &err),
                      S3S_E_TOO_LARGE, &err);
    }
}

static void shards(void **state) {
    uint32_t n, i;
    (void)state;
    for (n = 1; n < 30; n += 7) {
        size_t at = 0;
        for (i = 0; i < n; i++) {
            static const model_format lines = {"\n", 1, 0};
            s3s_read_options opt = {0};
            s3s_reader *reader = NULL;
            const void *data;
            size_t got;
            s3s_result r;
            opt.shard_index = i, opt.shard_count = n;
            opt.part_size = 3000;
            opt.strategy = (int)(n % 2);
            assert_int_equal(at, model_begin(text, SIZE, &lines, (size_t)model_start(SIZE, i, n)));
            assert_result(s3s_reader_open(client, "s3://bucket/text", &opt, &reader, &err), S3S_OK,
                          &err);
            while ((r = s3s_reader_record(reader, &data, &got, &err)) == S3S_OK) {
                assert_true(at + got <= SIZE);
                assert_memory_equal(text + at, data, got);
                at += got;
            }
            assert_result(r, S3S_END, &err);
            s3s_reader_close(reader);
        }
        assert_int_equal(at, SIZE);
    }
}

static void two_readers_in_turn(void **state) {
    s3s_reader *reader[2];
    size_t n[2] = {0, 0}, k;
    (void)state;
    for (k = 0; k < 2; k++) {
        s3s_read_options opt = {0};
        opt.part_size = 2000;
        opt.memory = 6000;
        assert_result(s3s_reader_open(client, "s3://bucket/text", &opt, &reader[k], &err), S3S_OK,
                      &err);
    }
    while (n[0] < SIZE || n[1] < SIZE)
        for (k = 0; k < 2; k++) {
            char out[500];
            size_t got;
            if (n[k] == SIZE) continue;
            assert_result(s3s_reader_read(reader[k], out, sizeof out, &got, &err), S3S_OK, &err);
            assert_memory_equal(text + n[k], out, got);
            n[k] += got;
        }
    for (k = 0; k < 2; k++) s3s_reader_close(reader[k]);
}

static void put_list_delete(void **state) {
    const s3s_entry *entry;
    s3s_list *list = NULL;
    s3s_object object;
    int i;
    (void)state;
    for (i = 0; i < 5; i++) {
        char uri[64];
        (void)snprintf(uri, sizeof uri, "s3://bucket/many/%d", i);
        assert_result(s3s_put(client, uri, text, (size_t)i, NULL, &object, &err), S3S_OK, &err);
    }
    {
        s3s_list_options o = {0};
        o.page_size = 2;
        assert_result(s3s_list_open(client, "s3://bucket/many/", &o, &list, &err), S3S_OK, &err);
    }
    for (i = 0; i < 5; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "many/%d", i);
        assert_result(s3s_list_next(list, &entry, &err), S3S_OK, &err);
        assert_string_equal(entry->key, key);
        assert_int_equal(entry->size, i);
    }
    assert_result(s3s_list_next(list, &entry, &err), S3S_END, &err);
    s3s_list_close(list);
    assert_result(s3s_delete(client, "s3://bucket/many/3", &err), S3S_OK, &err);
    assert_result(s3s_head(client, "s3://bucket/many/3", &object, &err), S3S_E_NOT_FOUND, &err);
    assert_result(s3s_head(client, "s3://bucket/many/4", &object, &err), S3S_OK, &err);
    assert_int_equal(object.size, 4);
}

static void files(void **state) {
    char uri[PATH_MAX + 32];
    s3s_read_options opt = {0};
    s3s_buffer all;
    (void)state;
    (void)snprintf(uri, sizeof uri, "file://%s/bucket/text", s3.dir);
    opt.part_size = 1000;
    assert_result(s3s_get(client, uri, &opt, &all, &err), S3S_OK, &err);
    assert_int_equal(all.size, SIZE);
    assert_memory_equal(all.data, text, SIZE);
    s3s_buffer_free(&all);
}

/* What goes wrong on the way ends in the right bytes. */
static void faults(void **state) {
    static const server_rule broken[] = {
        {NULL, 1, 0, "{close}"},
        {NULL, 1, 0, "{reset}"},
        {NULL, 1, 0, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"},
        {NULL, 1, 0, "{range 1000}{close}"},
        {NULL, 1, 0, "{range 1000}{reset}"},
        {NULL, 1, 0, "{range 1000}{pause 100}{rest}"},
        {NULL, 0, 5, "{close}"},
        {NULL, 0, 0, "{range}"},
        {NULL, 0, 0, NULL},
    };
    server *s = server_start(broken, text, SIZE);
    s3s_client *own = client_new(server_url(s, ""));
    s3s_read_options opt = {0};
    s3s_buffer all;
    (void)state;
    opt.part_size = 3000;
    assert_result(s3s_get(own, "s3://b/k", &opt, &all, &err), S3S_OK, &err);
    assert_int_equal(all.size, SIZE);
    assert_memory_equal(all.data, text, SIZE);
    s3s_buffer_free(&all);
    s3s_client_destroy(own);
    server_stop(s);
}

/* A reader that is closed while its server stalls, and one that is never read. */
static void closing(void **state) {
    static const server_rule stalled[] = {{NULL, 0, 0, "{range 10}{stall}"}, {NULL, 0, 0, NULL}};
    server *s = server_start(stalled, text, SIZE);
    s3s_client *own = client_new(server_url(s, ""));
    s3s_reader *reader = NULL;
    char out[10];
    size_t got;
    long since;
    (void)state;
    assert_result(s3s_reader_open(own, "s3://b/k", NULL, &reader, &err), S3S_OK, &err);
    s3s_reader_close(reader);
    assert_result(s3s_reader_open(own, "s3://b/k", NULL, &reader, &err), S3S_OK, &err);
    assert_result(s3s_reader_read(reader, out, sizeof out, &got, &err), S3S_OK, &err);
    since = server_now_ms();
    s3s_reader_cancel(reader);
    assert_result(s3s_reader_read(reader, out, sizeof out, &got, &err), S3S_E_CANCELLED, &err);
    s3s_reader_close(reader);
    assert_in_range(server_now_ms() - since, 0, 300);
    s3s_client_destroy(own);
    server_stop(s);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),           cmocka_unit_test(shards),
        cmocka_unit_test(two_readers_in_turn), cmocka_unit_test(put_list_delete),
        cmocka_unit_test(files),           cmocka_unit_test(faults),
        cmocka_unit_test(closing),
    };
    return cmocka_run_group_tests_name("nothreads", tests, start, stop);
}
