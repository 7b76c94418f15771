/* SPDX-License-Identifier: MIT OR Unlicense
 * >>xml: the little XML that S3 answers with. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

/* What a scan of doc sees, as one line: "<name" opens, "/name" closes, "'text" is text, "!" is an
 * error and "." the end. Every slice must lie within the document. */
static s3si_str events(s3si_str doc) {
    s3si_str in = guarded(doc), s;
    s3si_buf *out = unit_fresh();
    s3si_xml x;
    int event;
    s3si_xml_init(&x, in);
    while ((event = s3si_xml_next(&x, &s)) > 0) {
        assert_true(unit_within(s, in));
        s3si_buf_addc(out, event == S3SI_XML_OPEN ? '<' : event == S3SI_XML_CLOSE ? '/' : '\'');
        s3si_buf_add(out, s);
    }
    s3si_buf_addc(out, event == S3SI_XML_END ? '.' : '!');
    return s3si_buf_str(out);
}

static void elements_and_text(void **state) {
    (void)state;
    assert_str(events(STR("")), STR("."));
    assert_str(events(STR("<a>x</a>")), STR("<a'x/a."));
    assert_str(events(STR("<a><b>x</b> <b/></a>")), STR("<a<b'x/b' <b/b/a."));
    assert_str(events(STR("<a></a>")), STR("<a/a."));
    assert_str(events(STR("<a />")), STR("<a/a."));
    assert_str(events(STR("<a\n>1 &lt; 2</a\t>")), STR("<a'1 &lt; 2/a."));
    assert_str(events(STR("just text")), STR("'just text."));
}

static void attributes_and_prefixes_are_passed_over(void **state) {
    (void)state;
    assert_str(events(STR("<a x='1' y=\"2\">t</a>")), STR("<a't/a."));
    assert_str(events(STR("<s3:Error xmlns:s3=\"u\"><s3:Code>c</s3:Code></s3:Error>")),
               STR("<Error<Code'c/Code/Error."));
    assert_str(events(STR("<a:b c='d'/>")), STR("<b/b."));
}

static void declarations_and_comments_are_skipped(void **state) {
    (void)state;
    assert_str(events(STR("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a/>")), STR("'\n<a/a."));
    assert_str(events(STR("<!DOCTYPE html><a/>")), STR("<a/a."));
    assert_str(events(STR("<a><!-- <b> -- > --><c/></a>")), STR("<a<c/c/a."));
    assert_str(events(STR("<a><!----></a>")), STR("<a/a."));
}

static void what_cannot_go_on(void **state) {
    static const char *const bad[] = {"<",   "<a",     "<a>x</a",      "<a b='",       "<>",
                                      "< a>", "<a><>", "<!-- no end", "<!-- no end->", "<?xml",
                                      "<:>",  "<x:>"};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(bad); i++) {
        s3si_str seen = events(s3si_str_of(bad[i]));
        if (seen.p[seen.n - 1] != '!') fail_msg("\"%s\" was accepted", bad[i]);
    }
}

/* ---- Answers of S3 ------------------------------------------------------------------------------
 * Shortened from the API reference's samples of GetObject's error, ListObjectsV2 and
 * CompleteMultipartUpload. */
static const char error_answer[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<Error>\n  <Code>NoSuchKey</Code>\n"
    "  <Message>The resource you requested does not exist</Message>\n"
    "  <Resource>/mybucket/my&amp;photo.jpg</Resource>\n  <RequestId>4442587FB7D0A2F9</RequestId>\n"
    "  <Empty/><Hollow></Hollow>\n</Error>";

static const char list_answer[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name>"
    "<IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J</NextContinuationToken>"
    "<Contents><Key>a%20b.txt</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>"
    "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>434234</Size></Contents>"
    "<Contents><Key>c</Key><Size>0</Size></Contents>"
    "<CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes></ListBucketResult>";

static void the_first_element_of_a_name(void **state) {
    s3si_str doc = guarded(s3si_str_of(error_answer)), text;
    (void)state;
    assert_true(s3si_xml_find(doc, "Code", &text));
    assert_str(text, STR("NoSuchKey"));
    assert_true(s3si_xml_find(doc, "Resource", &text));
    assert_str(text, STR("/mybucket/my&amp;photo.jpg"));
    assert_true(s3si_xml_find(doc, "Empty", &text));
    assert_str(text, STR(""));
    assert_true(s3si_xml_find(doc, "Hollow", &text));
    assert_str(text, STR(""));
    assert_false(s3si_xml_find(doc, "Cod", &text));
    assert_false(s3si_xml_find(doc, "Codes", &text));
    assert_false(s3si_xml_find(doc, "code", &text));
    doc = guarded(s3si_str_of(list_answer));
    assert_true(s3si_xml_find(doc, "Size", &text));
    assert_str(text, STR("434234"));
    assert_true(s3si_xml_find(doc, "Prefix", &text));
    assert_str(text, STR("photos/"));
}

static void a_comment_does_not_hide_the_text(void **state) {
    s3si_str text;
    (void)state;
    assert_true(s3si_xml_find(guarded(STR("<a><!-- c -->t</a>")), "a", &text));
    assert_str(text, STR("t"));
}

static void an_element_that_breaks_off_is_not_found(void **state) {
    s3si_str text;
    (void)state;
    assert_false(s3si_xml_find(guarded(STR("")), "a", &text));
    assert_false(s3si_xml_find(guarded(STR("<a>")), "a", &text));
    assert_false(s3si_xml_find(guarded(STR("<a><!--")), "a", &text));
    assert_false(s3si_xml_find(guarded(STR("<b></b")), "a", &text));
    assert_false(s3si_xml_find(guarded(STR("<html><body>Bad Gateway")), "Code", &text));
}

/* Cut at any byte, an answer is seen as its beginning: the same events, then text cut short, the
 * end or an error. */
static void answers_cut_at_every_byte(void **state) {
    static const char *const answers[] = {error_answer, list_answer};
    size_t i, n;
    (void)state;
    for (i = 0; i < COUNT(answers); i++) {
        size_t size = strlen(answers[i]);
        s3si_str seen = events(s3si_str_make(answers[i], size));
        char *whole = (char *)malloc(seen.n);
        size_t whole_n = seen.n;
        assert_non_null(whole);
        memcpy(whole, seen.p, seen.n);
        for (n = 0; n < size; n++) {
            s3si_str part = events(s3si_str_make(answers[i], n));
            assert_true(part.n - 1 <= whole_n);
            assert_memory_equal(part.p, whole, part.n - 1);
        }
        free(whole);
    }
}

/* ---- Text ------------------------------------------------------------------------------------ */
static s3si_str decoded(s3si_str s) {
    s3si_buf *out = unit_fresh();
    s3si_xml_decode(out, guarded(s));
    return s3si_buf_str(out);
}

static void entities(void **state) {
    (void)state;
    assert_str(decoded(STR("")), STR(""));
    assert_str(decoded(STR("plain")), STR("plain"));
    assert_str(decoded(STR("&amp;&lt;&gt;&quot;&apos;")), STR("&<>\"'"));
    assert_str(decoded(STR("a&amp;lt;b")), STR("a&lt;b"));
    assert_str(decoded(STR("&#65;&#x42;&#X43;&#x1f;")), STR("ABC\x1f"));
    assert_str(decoded(STR("&#xe4;&#8364;&#x1F600;")), STR("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
    assert_str(decoded(STR("&#x7f;&#x80;&#x7ff;&#x800;&#xffff;&#x10000;&#x10ffff;")),
               STR("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
}

static void what_is_no_entity_stays(void **state) {
    static const char *const same[] = {
        "&", "&&", "a & b", "&amp", "&nbsp;", "&#;", "&#x;", "&#xg;", "&#-1;", "&#0;", "&#x0;",
        "&#x110000;", "&#1", "&#x41", "& amp;", "&AMP;", "&;", "&#", "&#x", "&#4294967361;",
        "&#18446744073709551681;",
    };
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(same); i++)
        assert_str(decoded(s3si_str_of(same[i])), s3si_str_of(same[i]));
    assert_str(decoded(STR("&&amp;&")), STR("&&&"));
}

/* UTF-8 has no surrogates: they would make text that no other program takes. */
static void surrogates_are_no_characters(void **state) {
    (void)state;
    assert_str(decoded(STR("&#xd7ff;&#xe000;")), STR("\xed\x9f\xbf\xee\x80\x80"));
    assert_str(decoded(STR("&#xd800;")), STR("&#xd800;"));
    assert_str(decoded(STR("&#xdfff;")), STR("&#xdfff;"));
}

/* Many ampersands without a semicolon are no reason to look at every byte for each of them. */
static void hostile_text_takes_no_time(void **state) {
    size_t n = GUARD_MAX;
    char *bytes = (char *)malloc(n);
    int64_t began = s3si_time_mono_us();
    (void)state;
    assert_non_null(bytes);
    memset(bytes, '&', n);
    assert_int_equal(decoded(s3si_str_make(bytes, n)).n, n);
    memset(bytes, '<', n);
    assert_str(events(s3si_str_make(bytes, n)), STR("!"));
    assert_true(s3si_time_mono_us() - began < 250000);
    free(bytes);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_and_text),
        cmocka_unit_test(attributes_and_prefixes_are_passed_over),
        cmocka_unit_test(declarations_and_comments_are_skipped),
        cmocka_unit_test(what_cannot_go_on),
        cmocka_unit_test(the_first_element_of_a_name),
        cmocka_unit_test(a_comment_does_not_hide_the_text),
        cmocka_unit_test(an_element_that_breaks_off_is_not_found),
        cmocka_unit_test(answers_cut_at_every_byte),
        cmocka_unit_test(entities),
        cmocka_unit_test(what_is_no_entity_stays),
        cmocka_unit_test(surrogates_are_no_characters),
        cmocka_unit_test(hostile_text_takes_no_time),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
