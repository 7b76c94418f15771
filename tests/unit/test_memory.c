/* SPDX-License-Identifier: MIT OR Unlicense
 * >>memory: the caller's allocator, checked sizes, wiping. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

static void without_an_own_allocator_it_is_the_c_library_s(void **state) {
    s3s_allocator none;
    s3si_mem mem;
    char *p;
    (void)state;
    memset(&none, 0, sizeof none);
    s3si_mem_init(&mem, NULL);
    assert_true(mem.alloc == s3si_mem_libc_alloc);
    s3si_mem_init(&mem, &none);
    assert_true(mem.alloc == s3si_mem_libc_alloc);
    p = (char *)s3si_mem_alloc(&mem, 3);
    assert_non_null(p);
    p = (char *)mem.realloc(mem.user, p, 300);
    assert_non_null(p);
    s3si_mem_free(&mem, p);
}

static void an_own_allocator_gets_its_user_pointer(void **state) {
    unit_heap heap;
    s3si_mem mem;
    void *p;
    (void)state;
    unit_heap_init(&heap, 0);
    s3si_mem_init(&mem, &heap.mem);
    p = s3si_mem_alloc(&mem, 10);
    assert_non_null(p);
    assert_int_equal(heap.live, 1);
    s3si_mem_free(&mem, p);
    assert_int_equal(heap.live, 0);
}

static void nothing_is_a_block_too(void **state) {
    unit_heap heap;
    void *p;
    (void)state;
    unit_heap_init(&heap, 0);
    p = s3si_mem_alloc(&heap.mem, 0);
    assert_non_null(p);
    s3si_mem_free(&heap.mem, p);
    s3si_mem_free(&heap.mem, NULL); /* does not reach the allocator */
    assert_int_equal(heap.live, 0);
}

static void zalloc_clears_and_may_fail(void **state) {
    static const char zeros[64];
    unit_heap heap;
    void *p;
    (void)state;
    unit_heap_init(&heap, 2);
    p = s3si_mem_zalloc(&heap.mem, sizeof zeros);
    assert_memory_equal(p, zeros, sizeof zeros);
    assert_null(s3si_mem_zalloc(&heap.mem, sizeof zeros));
    s3si_mem_free(&heap.mem, p);
    assert_int_equal(heap.live, 0);
}

static void sums_and_products_are_checked(void **state) {
    const size_t max = SIZE_MAX, half = SIZE_MAX / 2;
    size_t n = 7;
    (void)state;
    assert_true(s3si_mem_add(max - 1, 1, &n));
    assert_true(n == max);
    assert_true(s3si_mem_add(max, 0, &n));
    assert_true(n == max);
    n = 7;
    assert_false(s3si_mem_add(max, 1, &n));
    assert_false(s3si_mem_add(1, max, &n));
    assert_false(s3si_mem_add(half + 2, half + 2, &n));
    assert_int_equal(n, 7);

    assert_true(s3si_mem_mul(half, 2, &n));
    assert_true(n == max - 1);
    assert_true(s3si_mem_mul(0, max, &n));
    assert_int_equal(n, 0);
    assert_true(s3si_mem_mul(max, 0, &n));
    assert_int_equal(n, 0);
    assert_true(s3si_mem_mul(max, 1, &n));
    assert_true(n == max);
    n = 7;
    assert_false(s3si_mem_mul(half + 1, 2, &n));
    assert_false(s3si_mem_mul(2, half + 1, &n));
    assert_false(s3si_mem_mul(max, max, &n));
    assert_int_equal(n, 7);
}

static void wiping_leaves_nothing_and_touches_nothing_else(void **state) {
    char secret[16];
    size_t i;
    (void)state;
    memset(secret, 's', sizeof secret);
    s3si_mem_wipe(secret + 1, 14);
    assert_int_equal(secret[0], 's');
    assert_int_equal(secret[15], 's');
    for (i = 1; i < 15; i++) assert_int_equal(secret[i], 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_an_own_allocator_it_is_the_c_library_s),
        cmocka_unit_test(an_own_allocator_gets_its_user_pointer),
        cmocka_unit_test(nothing_is_a_block_too),
        cmocka_unit_test(zalloc_clears_and_may_fail),
        cmocka_unit_test(sums_and_products_are_checked),
        cmocka_unit_test(wiping_leaves_nothing_and_touches_nothing_else),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
