/* SPDX-License-Identifier: MIT OR Unlicense
 * Every allocation fails once, and from every one on all fail: what comes of it is S3S_E_MEMORY or
 * the right bytes, with nothing left behind. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "../support/server.h"

enum { SIZE = 3000 };
static char text[SIZE];

/* ---- A heap for many threads ------------------------------------------------------------------ */
typedef struct shared_heap {
    pthread_mutex_t lock;
    unit_heap heap;
    int for_good; /* not only the fail_at-th allocation fails */
} shared_heap;

static shared_heap heap;

static void *heap_realloc(void *user, void *p, size_t n) {
    shared_heap *h = (shared_heap *)user;
    void *q = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->for_good && h->heap.fail_at && h->heap.asked + 1 >= h->heap.fail_at) h->heap.asked++;
    else q = unit_heap_realloc(&h->heap, p, n);
    pthread_mutex_unlock(&h->lock);
    return q;
}

static void *heap_alloc(void *user, size_t n) { return heap_realloc(user, NULL, n); }

static void heap_free(void *user, void *p) {
    shared_heap *h = (shared_heap *)user;
    pthread_mutex_lock(&h->lock);
    unit_heap_free(&h->heap, p);
    pthread_mutex_unlock(&h->lock);
}

/* ---- The loop --------------------------------------------------------------------------------- */
typedef s3s_result (*action)(s3s_client *client, s3s_error *err);

static server *at;

/* One run with the n-th allocation failing; 1 when no allocation was asked to fail any more. */
static int run(const char *name, action act, int n, int for_good) {
    s3s_config config;
    s3s_client *client = NULL;
    s3s_error err;
    s3s_result r;
    int asked;
    memset(&err, 0, sizeof err);
    (void)pthread_mutex_init(&heap.lock, NULL);
    unit_heap_init(&heap.heap, n);
    heap.for_good = for_good;
    client_config(&config, server_url(at, ""));
    config.allocator.alloc = heap_alloc;
    config.allocator.realloc = heap_realloc;
    config.allocator.free = heap_free;
    config.allocator.user = &heap;
    config.connections = 3;
    config.threads = 1;
    config.user_agent = "x";
    r = s3s_client_create(&config, &client, &err);
    if (r == S3S_OK && act) r = act(client, &err);
    s3s_client_destroy(client);
    asked = heap.heap.asked;
    if (r != S3S_OK && r != S3S_E_MEMORY) {
        print_error("%s, allocation %d%s: %s: %s\n", name, n, for_good ? " and all after" : "",
                    s3s_result_name(r), err.message);
        return -1;
    }
    if (r == S3S_E_MEMORY) assert_int_equal(err.code, S3S_E_MEMORY);
    if (heap.heap.live) fail_msg("%s, allocation %d: %d blocks are left", name, n, heap.heap.live);
    (void)pthread_mutex_destroy(&heap.lock);
    if (r != S3S_OK && asked < n) fail_msg("%s: out of memory without a cause", name);
    return r == S3S_OK && asked < n;
}

static void fault_loop(const char *name, action act) {
    int for_good, n, done, wrong = 0;
    alarm(200);
    for (for_good = 0; for_good < 2; for_good++) {
        for (n = 1, done = 0; done != 1; n++) {
            if (n > 5000) fail_msg("%s never ends", name);
            done = run(name, act, n, for_good);
            wrong += done < 0;
        }
    }
    if (wrong) fail_msg("%s: %d wrong results", name, wrong);
}

/* ---- What is done ----------------------------------------------------------------------------- */
static const server_rule rules[] = {
    {"PUT ", 0, 0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"v1\"\r\n\r\n"},
    {"list-type=2", 0, 0,
     "HTTP/1.1 200 OK\r\nContent-Length: 153\r\n\r\n<ListBucketResult><Contents><Key>a%2Bb</Key>"
     "<Size>5</Size></Contents><Contents><Key>c</Key></Contents><EncodingType>url</EncodingType>"
     "</ListBucketResult>"},
    {"/missing ", 0, 0,
     "HTTP/1.1 404 No\r\nContent-Length: 62\r\n\r\n<Error><Code>NoSuchKey</Code><Message>no "
     "key</Message></Error>"},
    {NULL, 0, 0, "{range}"},
    {NULL, 0, 0, NULL},
};

static s3s_result do_head(s3s_client *client, s3s_error *err) {
    s3s_object o;
    s3s_result r = s3s_head(client, "s3://b/k", &o, err);
    if (r == S3S_OK) assert_int_equal(o.size, SIZE);
    return r;
}

static s3s_result do_get(s3s_client *client, s3s_error *err) {
    s3s_read_options opt = {0};
    s3s_buffer all;
    s3s_result r;
    opt.part_size = 1100;
    r = s3s_get(client, "s3://b/k", &opt, &all, err);
    if (r != S3S_OK) return r;
    assert_str(s3si_str_make((const char *)all.data, all.size), s3si_str_make(text, SIZE));
    s3s_buffer_free(&all);
    return r;
}

static s3s_result do_get_into(s3s_client *client, s3s_error *err) {
    static char room[SIZE];
    s3s_read_options opt = {0};
    size_t got;
    s3s_result r;
    opt.part_size = 1100;
    r = s3s_get_into(client, "s3://b/k", &opt, room, SIZE, &got, err);
    if (r == S3S_OK) assert_str(s3si_str_make(room, got), s3si_str_make(text, SIZE));
    return r;
}

static s3s_result do_shard(s3s_client *client, s3s_error *err) {
    s3s_read_options opt = {0};
    s3s_reader *reader = NULL;
    const char *p = (const char *)memchr(text + SIZE / 2 - 1, '\n', SIZE / 2) + 1;
    s3s_result r;
    opt.shard_index = 1, opt.shard_count = 2;
    opt.part_size = 500;
    r = s3s_reader_open(client, "s3://b/k", &opt, &reader, err);
    while (r == S3S_OK) {
        const void *data;
        size_t n;
        r = s3s_reader_record(reader, &data, &n, err);
        if (r != S3S_OK) break;
        assert_memory_equal(data, p, n);
        p += n;
    }
    s3s_reader_close(reader);
    if (r == S3S_END) assert_ptr_equal(p, text + SIZE);
    return r == S3S_END ? S3S_OK : r;
}

static s3s_result do_list(s3s_client *client, s3s_error *err) {
    s3s_list *list = NULL;
    const s3s_entry *entry;
    int n = 0;
    s3s_result r = s3s_list_open(client, "s3://b/", NULL, &list, err);
    while (r == S3S_OK) {
        r = s3s_list_next(list, &entry, err);
        if (r == S3S_OK) assert_string_equal(entry->key, n++ ? "c" : "a+b");
    }
    s3s_list_close(list);
    if (r == S3S_END) assert_int_equal(n, 2);
    return r == S3S_END ? S3S_OK : r;
}

static s3s_result do_put(s3s_client *client, s3s_error *err) {
    s3s_object o;
    s3s_result r = s3s_put(client, "s3://b/k", "hi", 2, NULL, &o, err);
    if (r == S3S_OK) assert_string_equal(o.etag, "\"v1\"");
    return r;
}

static s3s_result do_plan(s3s_client *client, s3s_error *err) {
    s3s_plan_options how = {0};
    s3s_plan *plan = NULL, *again = NULL;
    s3s_buffer json;
    s3s_result r;
    memset(&json, 0, sizeof json);
    how.shard_count = 4;
    how.strategy = S3S_STRATEGY_SMART_PREALIGNED;
    r = s3s_plan_create(client, "s3://b/k", &how, &plan, err);
    if (r == S3S_OK) r = s3s_plan_format(plan, &json, err);
    if (r == S3S_OK) r = s3s_plan_parse(client, (const char *)json.data, json.size, &again, err);
    if (r == S3S_OK) assert_int_equal(s3s_plan_count(again), 4);
    s3s_buffer_free(&json);
    s3s_plan_destroy(plan);
    s3s_plan_destroy(again);
    return r;
}

/* An error is told, or the lack of memory is. */
static s3s_result do_missing(s3s_client *client, s3s_error *err) {
    s3s_buffer all;
    s3s_result r = s3s_get(client, "s3://b/missing", NULL, &all, err);
    if (r == S3S_OK) fail_msg("what is missing was read");
    return r == S3S_E_NOT_FOUND ? S3S_OK : r;
}

static void creating(void **state) { (void)state, fault_loop("create", NULL); }
static void heads(void **state) { (void)state, fault_loop("head", do_head); }
static void gets(void **state) { (void)state, fault_loop("get", do_get); }
static void gets_into(void **state) { (void)state, fault_loop("get_into", do_get_into); }
static void shards(void **state) { (void)state, fault_loop("shard", do_shard); }
static void lists(void **state) { (void)state, fault_loop("list", do_list); }
static void puts_(void **state) { (void)state, fault_loop("put", do_put); }
static void plans(void **state) { (void)state, fault_loop("plan", do_plan); }
static void missing(void **state) { (void)state, fault_loop("missing", do_missing); }

/* Each test has a server of its own: what failed must not disturb the next. */
static int start(void **state) {
    size_t i;
    (void)state;
    for (i = 0; i < SIZE; i++) text[i] = i % 37 == 36 ? '\n' : (char)('a' + i % 26);
    at = server_start(rules, text, SIZE);
    return 0;
}

static int stop(void **state) {
    (void)state;
    server_stop(at);
    return 0;
}

#define LOOP(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void) {
    static const struct CMUnitTest tests[] = {
        LOOP(creating), LOOP(heads), LOOP(gets), LOOP(gets_into), LOOP(shards),
        LOOP(lists),    LOOP(puts_), LOOP(plans), LOOP(missing),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
