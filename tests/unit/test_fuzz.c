/* SPDX-License-Identifier: MIT OR Unlicense
 * The fuzzer of the pure sections, with the pseudo-random inputs that are the same in every run. */
#include "../fuzz/fuzz_formats.c"
