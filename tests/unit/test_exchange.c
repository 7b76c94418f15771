/* tsan */
/* SPDX-License-Identifier: MIT OR Unlicense
 * >>pool, >>exchange and >>s3 against a server that does just what a script says: what is tried
 * again and at whose cost, where a signature may go, and what is refused before it is sent. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"
#include "../support/server.h"

#define OK(text) "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"v1\"\r\n" text "\r\nhi"
#define EMPTY(status, lines) "HTTP/1.1 " status "\r\nContent-Length: 0\r\n" lines "\r\n"
#define END {NULL, 0, 0, NULL}

/* A server with these rules, and a client of it whose configuration may be changed between. */
static server *at;
static s3s_config config;
static s3s_error err;

static void begin(const server_rule *rules) {
    alarm(60);
    at = server_start(rules, "hi", 2);
    client_config(&config, server_url(at, ""));
}

static void end(s3s_client *client) {
    s3s_client_destroy(client);
    server_stop(at);
}

static s3s_result get(s3s_client *client, const char *uri) {
    char room[64];
    size_t got;
    return s3s_get_into(client, uri, NULL, room, sizeof room, &got, &err);
}

/* ---- Attempts --------------------------------------------------------------------------------- */
static void a_stale_connection_costs_nothing(void **state) {
    static const server_rule rules[] = {
        {NULL, 0, 2, "{close}"}, {NULL, 0, 0, "{range}"}, END};
    s3s_client *client;
    s3s_stats stats;
    int i;
    (void)state;
    begin(rules);
    config.retries = -1;
    client = client_of(&config);
    for (i = 0; i < 4; i++) assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    s3s_client_stats(client, &stats);
    assert_int_equal(stats.retries, 0);
    assert_int_equal(client->engine.budget.tokens, S3SI_BUDGET_TOKENS);
    assert_true(server_count(at, NULL) > 4); /* the stale ones came too */
    end(client);
}

static void interim_responses(void **state) {
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define FIVE CONTINUE CONTINUE CONTINUE CONTINUE CONTINUE
    static const server_rule rules[] = {
        {"/two ", 0, 0, CONTINUE "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK("")},
        {"/ten ", 0, 0, FIVE FIVE OK("")},
        {"/eleven ", 0, 0, FIVE FIVE CONTINUE OK("")},
        {"/switch ", 0, 0, "HTTP/1.1 101 Switching\r\n\r\n" OK("")},
        END};
    s3s_client *client;
    (void)state;
    begin(rules);
    client = client_of(&config);
    assert_result(get(client, "s3://b/two"), S3S_OK, &err);
    assert_result(get(client, "s3://b/ten"), S3S_OK, &err);
    assert_result(get(client, "s3://b/eleven"), S3S_E_PROTOCOL, &err);
    assert_result(get(client, "s3://b/switch"), S3S_E_PROTOCOL, &err);
    end(client);
}

static void retry_after(void **state) {
    static const server_rule rules[] = {
        {NULL, 1, 0, EMPTY("503 Slow", "Retry-After: 1\r\n")}, {NULL, 0, 0, "{range}"}, END};
    s3s_client *client;
    s3s_stats stats;
    long start;
    (void)state;
    begin(rules);
    client = client_of(&config);
    start = server_now_ms();
    assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    assert_in_range(server_now_ms() - start, 950, 6000);
    s3s_client_stats(client, &stats);
    assert_int_equal(stats.throttled, 1);
    assert_int_equal(stats.retries, 1);
    end(client);
}

static void the_budget_of_retries(void **state) {
    static const server_rule rules[] = {
        {"/bad ", 0, 0, EMPTY("500 Sorry", "")}, {NULL, 0, 0, "{range}"}, END};
    s3s_client *client;
    (void)state;
    begin(rules);
    config.retries = 2;
    client = client_of(&config);
    assert_result(get(client, "s3://b/bad"), S3S_E_SERVER, &err);
    assert_int_equal(err.attempts, 3);
    assert_int_equal(err.http_status, 500);
    assert_int_equal(server_count(at, NULL), 3);
    assert_int_equal(client->engine.budget.tokens, S3SI_BUDGET_TOKENS - 2 * S3SI_BUDGET_RETRY);
    assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    assert_int_equal(client->engine.budget.tokens, S3SI_BUDGET_TOKENS - 2 * S3SI_BUDGET_RETRY + 1);
    client->engine.budget.tokens = S3SI_BUDGET_RETRY - 1; /* spent: no retry at all */
    assert_result(get(client, "s3://b/bad"), S3S_E_SERVER, &err);
    assert_int_equal(err.attempts, 1);
    end(client);
}

static void a_budget(void **state) {
    s3si_budget b;
    (void)state;
    memset(&b, 0, sizeof b);
    assert_true(s3si_mutex_init(&b.lock));
    b.tokens = 7, b.limit = 16, b.limit_max = 16;
    assert_true(s3si_budget_take(&b, 5));
    assert_false(s3si_budget_take(&b, 5));
    assert_int_equal(b.tokens, 2);
    assert_int_equal(b.retries, 1);
    s3si_budget_return(&b, 5);
    assert_int_equal(b.tokens, 7);
    s3si_budget_return(&b, 100000);
    assert_int_equal(b.tokens, S3SI_BUDGET_TOKENS);
    s3si_budget_throttled(&b, 1000000); /* a burst halves once */
    s3si_budget_throttled(&b, 1050000);
    assert_true(b.limit > 7.9 && b.limit < 8.1);
    s3si_budget_throttled(&b, 1200001);
    assert_true(b.limit > 3.9 && b.limit < 4.1);
    assert_int_equal(b.throttled, 3);
    s3si_budget_return(&b, 1);
    assert_true(b.limit > 4.2 && b.limit < 4.3);
    s3si_mutex_deinit(&b.lock);
}

static void timeouts(void **state) {
    static const server_rule rules[] = {
        {"/head ", 0, 0, "{stall}"},
        {"/slow ", 0, 0, "{pause 400}{range}"},
        {"/body ", 0, 0, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx{stall}"},
        END};
    s3s_http_request q;
    s3s_http_response response;
    s3s_client *client;
    long start;
    (void)state;
    begin(rules);
    config.response_timeout_ms = 200;
    config.stall_timeout_ms = 300;
    config.retries = -1;
    client = client_of(&config);
    start = server_now_ms();
    assert_result(get(client, "s3://b/head"), S3S_E_TIMEOUT, &err);
    assert_string_equal(err.phase, "head");
    assert_in_range(server_now_ms() - start, 190, 2000);
    memset(&q, 0, sizeof q);
    q.url = server_url(at, "/slow");
    q.response_timeout_ms = -1;
    assert_result(s3s_request(client, &q, &response, &err), S3S_OK, &err);
    s3s_http_response_free(&response);
    start = server_now_ms();
    assert_result(get(client, "s3://b/body"), S3S_E_TIMEOUT, &err);
    assert_string_equal(err.phase, "body");
    assert_in_range(server_now_ms() - start, 290, 3000);
    end(client);
}

/* ---- Redirects, regions, clocks --------------------------------------------------------------- */
static void redirects_of_signed_requests(void **state) {
    static const server_rule elsewhere[] = {{NULL, 0, 0, "{range}"}, END};
    static char other_port[200], other_host[200], own[200];
    server_rule rules[] = {{"/port ", 0, 0, other_port}, {"/host ", 0, 0, other_host},
                           {"/own ", 1, 0, own},         {"/loop ", 0, 0, own},
                           {NULL, 0, 0, "{range}"},      END};
    server *other = server_start(elsewhere, "hi", 2);
    s3s_client *client;
    (void)state;
    begin(rules);
#define MOVED "HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: "
    (void)snprintf(other_port, sizeof other_port, MOVED "%s\r\n\r\n", server_url(other, "/b/port"));
    (void)snprintf(other_host, sizeof other_host, MOVED "http://localhost:%d/b/host\r\n\r\n",
                   at->port);
    (void)snprintf(own, sizeof own, MOVED "%s\r\n\r\n", server_url(at, "/b/own"));
    config.retries = -1;
    client = client_of(&config);
    assert_result(get(client, "s3://b/port"), S3S_E_HTTP, &err);
    assert_non_null(strstr(err.message, "not followed"));
    assert_result(get(client, "s3://b/host"), S3S_E_HTTP, &err);
    assert_int_equal(server_count(other, NULL), 0);
    assert_int_equal(server_count(at, "/host "), 1);
    assert_result(get(client, "s3://b/own"), S3S_OK, &err);
    assert_int_equal(server_count(at, "/own "), 2);
    assert_int_not_equal(get(client, "s3://b/loop"), S3S_OK);
    assert_in_range(server_count(at, "/loop "), 2, 20);
    end(client);
    server_stop(other);
}

static void redirects_of_unsigned_requests(void **state) {
    static const server_rule elsewhere[] = {{NULL, 0, 0, "{range}"}, END};
    static char other_port[200];
    server_rule rules[] = {{"/port", 0, 0, other_port},
                           {"/path", 0, 0, EMPTY("302 Found", "Location: /there?x=1\r\n")},
                           {"/nowhere", 0, 0, EMPTY("302 Found", "")},
                           {"/there?x=1 ", 0, 0, "{range}"},
                           END};
    server *other = server_start(elsewhere, "hi", 2);
    s3s_client *client;
    (void)state;
    begin(rules);
    (void)snprintf(other_port, sizeof other_port, MOVED "%s\r\n\r\n", server_url(other, "/x?y=z"));
    config.retries = -1;
    client = client_of(&config);
    assert_result(get(client, server_url(at, "/port")), S3S_OK, &err);
    assert_int_equal(server_count(other, "GET /x?y=z "), 1);
    assert_result(get(client, server_url(at, "/path")), S3S_OK, &err);
    assert_result(get(client, server_url(at, "/nowhere")), S3S_E_HTTP, &err);
    assert_int_equal(server_count(at, "Authorization"), 0);
    assert_int_equal(server_count(other, "Authorization"), 0);
    end(client);
    server_stop(other);
}

static void no_redirect_from_https_to_http(void **state) {
    static const char text[] = "HTTP/1.1 302 F\r\nLocation: http://h/x\r\nContent-Length: 0\r\n\r\n";
    s3si_exchange x;
    s3si_request q;
    s3s_client *client = client_new("http://h");
    (void)state;
    memset(&x, 0, sizeof x);
    s3si_request_init(&q, &client->service, "GET");
    q.raw = 1, q.signs = NULL;
    assert_true(s3si_head_parse(text, strlen(text), 0, &x.head) > 0);
    s3si_origin_set(&x.origin, s3si_str_of("h"), s3si_str_of("80"), 0);
    assert_true(s3si_request_redirect(&q, &x));
    s3si_origin_set(&x.origin, s3si_str_of("h"), s3si_str_of("443"), 1);
    assert_false(s3si_request_redirect(&q, &x));
    assert_int_equal(x.err.code, S3S_E_HTTP);
    s3si_request_deinit(&q);
    s3s_client_destroy(client);
}

static void a_region_is_remembered_for_its_bucket(void **state) {
    static const server_rule rules[] = {
        {"/eu-west-1/s3/", 0, 0, "{range}"},
        {"/b/", 0, 0,
         "HTTP/1.1 400 Bad\r\nContent-Length: 82\r\n\r\n<Error><Code>"
         "AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"},
        {"/c/", 0, 0, EMPTY("301 Moved", "x-amz-bucket-region: eu-west-1\r\n")},
        {"/d/", 0, 0, "{range}"},
        END};
    s3s_client *client;
    (void)state;
    begin(rules);
    config.retries = -1;
    client = client_of(&config);
    assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    assert_int_equal(server_count(at, "/b/k "), 2);
    assert_result(get(client, "s3://b/k2"), S3S_OK, &err);
    assert_int_equal(server_count(at, "/b/k2 "), 1);
    assert_result(get(client, "s3://c/k"), S3S_OK, &err);
    assert_result(get(client, "s3://c/k2"), S3S_OK, &err);
    assert_int_equal(server_count(at, "/c/k2 "), 1);
    assert_result(get(client, "s3://d/k"), S3S_OK, &err);
    assert_int_equal(server_count(at, "/us-east-1/s3/"), 3);
    end(client);
}

static int64_t clock_of_1994(void *user) {
    (void)user;
    return 784903526; /* 1994-11-15 12:45:26 */
}

static void the_clock_of_the_store(void **state) {
    static const server_rule rules[] = {
        {"x-amz-date: 19941115T144526Z", 0, 0, "{range}"},
        {NULL, 0, 0,
         "HTTP/1.1 403 No\r\nDate: Tue, 15 Nov 1994 14:45:26 GMT\r\nContent-Length: 48\r\n\r\n"
         "<Error><Code>RequestTimeTooSkewed</Code></Error>"},
        END};
    s3s_client *client;
    (void)state;
    begin(rules);
    config.retries = -1;
    config.clock = clock_of_1994;
    client = client_of(&config);
    assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    assert_int_equal(server_count(at, NULL), 2);
    assert_result(get(client, "s3://b/k"), S3S_OK, &err);
    assert_int_equal(server_count(at, NULL), 3);
    end(client);
}

/* ---- PUT -------------------------------------------------------------------------------------- */
static void an_early_answer_to_a_put(void **state) {
    enum { SIZE = 16 * 1024 * 1024 };
#define DENIED \
    "HTTP/1.1 403 No\r\nContent-Length: 40\r\n\r\n<Error><Code>AccessDenied</Code></Error>"
    static const server_rule rules[] = {{"/reset ", 0, 0, "{early}" DENIED "{pause 50}{reset}"},
                                        {"/stall ", 0, 0, "{early}" DENIED "{stall}"},
                                        {"/close ", 0, 0, "{early}" DENIED "{close}"},
                                        END};
    static const char *const uris[] = {"s3://b/reset", "s3://b/stall", "s3://b/close"};
    char *body = (char *)calloc(1, SIZE);
    s3s_client *client;
    size_t i;
    (void)state;
    begin(rules);
    config.retries = -1;
    client = client_of(&config);
    for (i = 0; i < COUNT(uris); i++) {
        assert_result(s3s_put(client, uris[i], body, SIZE, NULL, NULL, &err), S3S_E_ACCESS, &err);
        assert_string_equal(err.s3_code, "AccessDenied");
    }
    end(client);
    free(body);
}

static void a_lost_conditional_put(void **state) {
    static const server_rule rules[] = {
        {"PUT ", 1, 0, "{close}"},
        {"PUT ", 1, 0, EMPTY("412 No", "")},
        /* MD5 of "hi" */
        {"HEAD ", 1, 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                        "ETag: \"49f68a5c8493ec2c0bf489821c21fc3b\"\r\n\r\n"},
        {"PUT ", 1, 0, "{close}"},
        {"PUT ", 1, 0, EMPTY("412 No", "")},
        {"HEAD ", 1, 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"other\"\r\n\r\n"},
        {"PUT ", 1, 0, EMPTY("412 No", "")},
        END};
    s3s_write_options o = {0};
    s3s_client *client;
    s3s_object object;
    (void)state;
    begin(rules);
    client = client_of(&config);
    o.if_none_match = "*";
    assert_result(s3s_put(client, "s3://b/k", "hi", 2, &o, &object, &err), S3S_OK, &err);
    assert_int_equal(object.size, 2);
    assert_string_equal(object.etag, "\"49f68a5c8493ec2c0bf489821c21fc3b\"");
    assert_result(s3s_put(client, "s3://b/k", "hi", 2, &o, &object, &err), S3S_E_PRECONDITION, &err);
    /* at the first attempt it is somebody else's object, and nobody is asked */
    assert_result(s3s_put(client, "s3://b/k", "hi", 2, &o, &object, &err), S3S_E_PRECONDITION, &err);
    assert_int_equal(server_count(at, "HEAD "), 2);
    assert_int_equal(server_count(at, "If-None-Match: *"), 5);
    end(client);
}

/* ---- What must not get out, or in ------------------------------------------------------------- */
typedef struct log_seen {
    pthread_mutex_t lock;
    char text[65536];
} log_seen;

static void on_log(void *user, int level, const char *line) {
    log_seen *log = (log_seen *)user;
    (void)level;
    pthread_mutex_lock(&log->lock);
    if (strlen(log->text) + strlen(line) + 2 < sizeof log->text) {
        strcat(log->text, line);
        strcat(log->text, "\n");
    }
    pthread_mutex_unlock(&log->lock);
}

static void secrets_stay_inside(void **state) {
    static const server_rule rules[] = {{"/ok", 0, 0, "{range}"},
                                        {"/lost", 0, 0, "{close}"},
                                        {"/moved", 0, 0, EMPTY("301 Moved", "")},
                                        {NULL, 0, 0, EMPTY("403 No", "")},
                                        END};
    static const char *const paths[] = {"/ok", "/lost", "/moved", "/other"};
    static log_seen log;
    s3s_client *client;
    size_t i;
    (void)state;
    (void)pthread_mutex_init(&log.lock, NULL);
    begin(rules);
    config.secret_key = "TheSecretKey";
    config.session_token = "TheToken";
    config.retries = 1;
    config.log.fn = on_log;
    config.log.user = &log;
    config.log.level = 2;
    client = client_of(&config);
    for (i = 0; i < 2 * COUNT(paths); i++) {
        char uri[200];
        (void)snprintf(uri, sizeof uri, "%s%s%s", i % 2 ? server_url(at, "") : "s3://b",
                       paths[i / 2], i % 2 ? "?X-Amz-Signature=TheSignature" : "");
        if (get(client, uri) == S3S_OK) continue;
        assert_null(strstr(err.message, "TheS"));
        assert_null(strstr(err.message, "TheToken"));
    }
    assert_int_equal(server_count(at, "x-amz-security-token: TheToken") > 0, 1);
    end(client);
    assert_true(strlen(log.text) > 0);
    assert_null(strstr(log.text, "TheS"));
    assert_null(strstr(log.text, "TheToken"));
    assert_null(strstr(log.text, "Signature"));
}

static void refused_config(void) {
    s3s_client *client = NULL;
    assert_result(s3s_client_create(&config, &client, &err), S3S_E_ARGUMENT, &err);
    assert_null(client);
    client_config(&config, server_url(at, ""));
}

#define EVIL "x\r\nEvil: 1"
static void no_header_gets_in(void **state) {
    static const server_rule rules[] = {{NULL, 0, 0, EMPTY("200 OK", "ETag: \"v1\"\r\n")}, END};
    static const char *const evil_lines[] = {"Name: " EVIL, NULL};
    static const char *const evil_names[] = {"Evil Name: x", NULL};
    s3s_http_request q;
    s3s_http_response response;
    s3s_write_options o;
    s3s_client *client;
    (void)state;
    begin(rules);
    config.user_agent = EVIL;
    refused_config();
    config.headers = evil_lines;
    refused_config();
    config.headers = evil_names;
    refused_config();
    config.region = EVIL;
    refused_config();
    config.session_token = EVIL;
    client = client_of(&config);
    assert_result(get(client, "s3://b/k"), S3S_E_ARGUMENT, &err);
    s3s_client_destroy(client);
    config.session_token = NULL;
    client = client_of(&config);
#define PUT(field, value) \
    memset(&o, 0, sizeof o); \
    o.field = value; \
    assert_result(s3s_put(client, "s3://b/" #field, "hi", 2, &o, NULL, &err), S3S_E_ARGUMENT, &err)
    PUT(content_type, EVIL);
    PUT(if_none_match, EVIL);
    PUT(headers, evil_lines);
    memset(&q, 0, sizeof q);
    q.url = server_url(at, "/x");
    q.headers = evil_lines;
    assert_result(s3s_request(client, &q, &response, &err), S3S_E_ARGUMENT, &err);
    q.headers = NULL;
    q.method = "GET / HTTP/1.1\r\nEvil: 1\r\nX:";
    assert_result(s3s_request(client, &q, &response, &err), S3S_E_ARGUMENT, &err);
    q.method = NULL;
    q.url = server_url(at, "/x\r\nEvil: 1");
    assert_result(s3s_request(client, &q, &response, &err), S3S_E_ARGUMENT, &err);
    assert_int_equal(server_count(at, NULL), 0);
    /* a key may hold anything: it is encoded */
    assert_result(s3s_put(client, "s3://b/" EVIL, "hi", 2, NULL, NULL, &err), S3S_OK, &err);
    assert_int_equal(server_count(at, "Evil:"), 0);
    /* a condition that cannot be sent must not be left out: the PUT would overwrite */
    PUT(if_match, EVIL);
    assert_int_equal(server_count(at, "if_match"), 0);
    end(client);
}

/* ---- Any request ------------------------------------------------------------------------------ */
static void any_status(void **state) {
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
        {"/200", 200, "hi"}, {"/204", 204, ""}, {"/301", 301, ""},   {"/304", 304, ""},
        {"/404", 404, "no"}, {"/412", 412, ""}, {"/500", 500, "ill"}, {"/503", 503, ""},
    };
    static const server_rule rules[] = {
        {"/200", 0, 0, OK("X-Name: value\r\n")},
        {"/204", 0, 0, "HTTP/1.1 204 None\r\nX-Name: value\r\n\r\n"},
        {"/301", 0, 0, EMPTY("301 Moved", "X-Name: value\r\n")},
        {"/304", 0, 0, "HTTP/1.1 304 Same\r\nX-Name: value\r\n\r\n"},
        {"/404", 0, 0, "HTTP/1.1 404 No\r\nX-Name: value\r\nContent-Length: 2\r\n\r\nno"},
        {"/412", 0, 0, EMPTY("412 No", "X-Name: value\r\n")},
        {"/500", 0, 0, "HTTP/1.1 500 Ill\r\nX-Name: value\r\nContent-Length: 3\r\n\r\nill"},
        {"/503", 0, 0, EMPTY("503 Busy", "X-Name: value\r\n")},
        {"/long", 0, 0, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{fill 100}"},
        END};
    s3s_http_request q;
    s3s_http_response response;
    s3s_client *client;
    char value[16];
    size_t i;
    (void)state;
    begin(rules);
    client = client_of(&config);
    memset(&q, 0, sizeof q);
    q.no_retry = 1;
    for (i = 0; i < COUNT(cases); i++) {
        q.url = server_url(at, cases[i].path);
        q.service = i % 2 ? "lambda" : NULL;
        assert_result(s3s_request(client, &q, &response, &err), S3S_OK, &err);
        assert_int_equal(response.status, cases[i].status);
        assert_string_equal((const char *)response.body.data, cases[i].body);
        assert_int_equal(response.body.size, strlen(cases[i].body));
        assert_true(s3s_http_response_header(&response, "x-NAME", value, sizeof value));
        assert_string_equal(value, "value");
        assert_false(s3s_http_response_header(&response, "x-nam", value, sizeof value));
        assert_false(s3s_http_response_header(&response, "x-name", value, 5));
        assert_int_equal(server_count(at, cases[i].path), 1);
        s3s_http_response_free(&response);
        s3s_http_response_free(&response);
    }
    assert_int_equal(server_count(at, "/lambda/aws4_request"), 4);
    q.url = server_url(at, "/long");
    q.max_response = 100;
    assert_result(s3s_request(client, &q, &response, &err), S3S_OK, &err);
    s3s_http_response_free(&response);
    q.max_response = 99;
    assert_result(s3s_request(client, &q, &response, &err), S3S_E_TOO_LARGE, &err);
    end(client);
}

/* ---- Hedges ----------------------------------------------------------------------------------- */
static void a_stalled_part(int no_hedge, const char *slow) {
    enum { SIZE = 1 << 20, PART = 1 << 17 };
    static char text[SIZE], out[SIZE];
    server_rule rules[] = {
        {"bytes=524288-", 1, 0, slow}, {NULL, 0, 0, "{range}"}, END};
    s3s_read_options opt = {0};
    s3s_reader *reader;
    s3s_client *client;
    s3s_stats stats;
    s3s_result r;
    uint64_t seed = 3;
    size_t i, n, got = 0;
    for (i = 0; i < SIZE; i++) text[i] = (char)unit_random(&seed);
    begin(rules);
    at->object = text, at->size = SIZE;
    client = client_of(&config);
    opt.part_size = PART;
    opt.connections = 2;
    opt.no_hedge = no_hedge;
    assert_result(s3s_reader_open(client, "s3://b/k", &opt, &reader, &err), S3S_OK, &err);
    while ((r = s3s_reader_read(reader, out + got, SIZE - got ? SIZE - got : 1, &n, &err)) == S3S_OK)
        got += n;
    assert_result(r, S3S_END, &err);
    assert_int_equal(got, SIZE);
    assert_memory_equal(out, text, SIZE);
    s3s_reader_stats(reader, &stats);
    assert_int_equal(stats.hedges, !no_hedge);
    s3s_reader_close(reader);
    end(client);
}

static void a_stalled_part_is_overtaken(void **state) {
    (void)state;
    a_stalled_part(0, "{range 1000}{stall}");
    a_stalled_part(0, "{stall}");
    a_stalled_part(0, "{range 0}{pause 300}{rest}"); /* both finish about at once */
}

static void no_hedge_waits(void **state) {
    (void)state;
    a_stalled_part(1, "{range 1000}{pause 700}{rest}");
}

/* ---- Addresses -------------------------------------------------------------------------------- */
static s3si_addr address(unsigned char last) {
    struct sockaddr_in in;
    s3si_addr a;
    memset(&a, 0, sizeof a);
    memset(&in, 0, sizeof in);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(0x7f000000u + last);
    memcpy(&a.sa, &in, sizeof in);
    a.len = sizeof in;
    return a;
}

static int same_address(const s3si_addr *a, const s3si_addr *b) {
    return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static void addresses_take_turns_and_rest(void **state) {
    static s3si_pool pool;
    s3si_conn c;
    s3si_name *e;
    int64_t now = 1000000;
    int i;
    (void)state;
    memset(&c, 0, sizeof c);
    s3si_origin_set(&c.origin, s3si_str_of("h"), s3si_str_of("80"), 0);
    e = s3si_pool_name(&pool, &c.origin, now);
    for (i = 0; i < 3; i++) e->addrs[i] = address((unsigned char)(i + 1));
    e->count = 3;
    for (i = 0; i < 7; i++) { /* each is the first in turn, the others stand behind */
        s3si_pool_assign(e, &c, now);
        assert_int_equal(c.addr_count, 3);
        assert_true(same_address(&c.addrs[0], &e->addrs[i % 3]));
        assert_true(same_address(&c.addrs[1], &e->addrs[(i + 1) % 3]));
        assert_true(same_address(&c.addrs[2], &e->addrs[(i + 2) % 3]));
    }
    s3si_pool_assign(e, &c, now); /* begins with the second */
    c.used_addr = 0;
    s3si_pool_rest(&pool, &c, now);
    for (i = 0; i < 6; i++) {
        s3si_pool_assign(e, &c, now + s3si_pool_rest_us - 1);
        assert_int_equal(c.addr_count, 3);
        assert_true(same_address(&c.addrs[2], &e->addrs[1]));
    }
    for (i = 0; i < 3; i++) { /* all rest: all are tried all the same */
        c.used_addr = (size_t)i;
        s3si_pool_rest(&pool, &c, now);
    }
    s3si_pool_assign(e, &c, now + 1);
    assert_int_equal(c.addr_count, 3);
    e->turn = 1;
    s3si_pool_assign(e, &c, now + s3si_pool_rest_us);
    assert_true(same_address(&c.addrs[0], &e->addrs[1]));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stale_connection_costs_nothing),
        cmocka_unit_test(interim_responses),
        cmocka_unit_test(retry_after),
        cmocka_unit_test(the_budget_of_retries),
        cmocka_unit_test(a_budget),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(redirects_of_signed_requests),
        cmocka_unit_test(redirects_of_unsigned_requests),
        cmocka_unit_test(no_redirect_from_https_to_http),
        cmocka_unit_test(a_region_is_remembered_for_its_bucket),
        cmocka_unit_test(the_clock_of_the_store),
        cmocka_unit_test(an_early_answer_to_a_put),
        cmocka_unit_test(a_lost_conditional_put),
        cmocka_unit_test(secrets_stay_inside),
        cmocka_unit_test(no_header_gets_in),
        cmocka_unit_test(any_status),
        cmocka_unit_test(a_stalled_part_is_overtaken),
        cmocka_unit_test(no_hedge_waits),
        cmocka_unit_test(addresses_take_turns_and_rest),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
