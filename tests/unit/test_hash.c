/* SPDX-License-Identifier: MIT OR Unlicense
 * >>hash: SHA-256, HMAC-SHA-256, MD5. The vectors are the standards', named at each table. */
#define S3STREAM_IMPLEMENTATION
#include "../../s3stream.h"
#include "unit.h"

static const char abc_448[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
static const char abc_896[] = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                              "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";

/* ---- SHA-256 ------------------------------------------------------------------------------------
 * The examples of FIPS 180-4: NIST, "Cryptographic Standards and Guidelines: Examples with
 * Intermediate Values", SHA256.pdf and SHA2_Additional.pdf. The empty one is also
 * S3SI_SIGV4_EMPTY_HASH. */
static const struct {
    const char *text;
    const char *digest;
} sha256_vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {abc_448, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {abc_896, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

/* The same source: a byte repeated, around the block's and the padding's edges. */
static const struct {
    int byte;
    size_t count;
    const char *digest;
} sha256_repeated[] = {
    {0xbd, 1, "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"},
    {0x00, 55, "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
    {0x00, 56, "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
    {0x00, 57, "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785"},
    {0x00, 64, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
    {0x00, 1000, "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53"},
    {0x41, 1000, "c2e686823489ced2017f6059b8b239318b6364f6dcd835d0a519105a1eadd6e4"},
    {0x55, 1005, "f4d62ddec0f3dd90ea1380fa16a5ff8dc4c54b21740650f24afc4120903552b0"},
    {'a', 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {0x00, 1000000, "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025"},
};

static void sha256(void **state) {
    char hex[65];
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(sha256_vectors); i++) {
        s3si_str s = guarded(s3si_str_of(sha256_vectors[i].text));
        s3si_sha256_hex(s.p, s.n, hex);
        assert_string_equal(hex, sha256_vectors[i].digest);
    }
    assert_string_equal(S3SI_SIGV4_EMPTY_HASH, sha256_vectors[0].digest);
    s3si_sha256_hex(NULL, 0, hex);
    assert_string_equal(hex, sha256_vectors[0].digest);
}

static void sha256_of_repeated_bytes(void **state) {
    char hex[65];
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(sha256_repeated); i++) {
        size_t n = sha256_repeated[i].count;
        void *bytes = malloc(n);
        assert_non_null(bytes);
        memset(bytes, sha256_repeated[i].byte, n);
        s3si_sha256_hex(bytes, n, hex);
        assert_string_equal(hex, sha256_repeated[i].digest);
        free(bytes);
    }
}

/* However a text is cut in two, and a byte at a time, its digest is the same. */
static void sha256_in_pieces(void **state) {
    char text[200], whole[65], pieces[65];
    uint8_t digest[32];
    s3si_sha256 s;
    size_t n, k;
    (void)state;
    for (n = 0; n < sizeof text; n++) text[n] = (char)(n * 37 + 11);
    for (n = 0; n <= sizeof text; n += n < 130 ? 1 : 7) {
        s3si_sha256_hex(text, n, whole);
        for (k = 0; k <= n; k++) {
            s3si_sha256_init(&s);
            s3si_sha256_update(&s, guard_copy(text, k), k);
            s3si_sha256_update(&s, guard_copy(text + k, n - k), n - k);
            s3si_sha256_final(&s, digest);
            s3si_hex_encode(digest, sizeof digest, pieces);
            assert_string_equal(pieces, whole);
        }
        s3si_sha256_init(&s);
        for (k = 0; k < n; k++) {
            s3si_sha256_update(&s, text + k, 1);
            s3si_sha256_update(&s, text, 0);
        }
        s3si_sha256_final(&s, digest);
        s3si_hex_encode(digest, sizeof digest, pieces);
        assert_string_equal(pieces, whole);
    }
}

/* A digest's state holds no pointer into itself: a copy made midway goes on by itself. */
static void sha256_copied_midway(void **state) {
    s3si_sha256 first, second;
    uint8_t digest[32];
    char hex[65];
    (void)state;
    s3si_sha256_init(&first);
    s3si_sha256_update(&first, "a", 1);
    second = first;
    s3si_sha256_update(&first, "xyz", 3);
    s3si_sha256_update(&second, "bc", 2);
    s3si_sha256_final(&second, digest);
    s3si_hex_encode(digest, sizeof digest, hex);
    assert_string_equal(hex, sha256_vectors[1].digest);
}

/* ---- HMAC-SHA-256: RFC 4231 section 4 -------------------------------------------------------- */
#define X10(s) s s s s s s s s s s
static const struct {
    s3si_str key, data;
    const char *mac; /* as many digits as the RFC gives: case 5 truncates */
} hmac_vectors[] = {
    /* 4.2 */ {{X10("\x0b") X10("\x0b"), 20},
               {"Hi There", 8},
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    /* 4.3 */ {{"Jefe", 4},
               {"what do ya want for nothing?", 28},
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    /* 4.4 */ {{X10("\xaa") X10("\xaa"), 20},
               {X10("\xdd") X10("\xdd") X10("\xdd") X10("\xdd") X10("\xdd"), 50},
               "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    /* 4.5 */ {{"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
                "\x11\x12\x13\x14\x15\x16\x17\x18\x19", 25},
               {X10("\xcd") X10("\xcd") X10("\xcd") X10("\xcd") X10("\xcd"), 50},
               "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    /* 4.6 */ {{X10("\x0c") X10("\x0c"), 20},
               {"Test With Truncation", 20},
               "a3b6167473100ee06e0c796c2955552b"},
    /* 4.7 */ {{X10(X10("\xaa")) X10("\xaa") X10("\xaa") X10("\xaa") "\xaa", 131},
               {"Test Using Larger Than Block-Size Key - Hash Key First", 54},
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    /* 4.8 */ {{X10(X10("\xaa")) X10("\xaa") X10("\xaa") X10("\xaa") "\xaa", 131},
               {"This is a test using a larger than block-size key and a larger than block-size "
                "data. The key needs to be hashed before being used by the HMAC algorithm.", 152},
               "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

static void hmac_sha256(void **state) {
    uint8_t mac[32];
    char hex[65];
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(hmac_vectors); i++) {
        s3si_str key = hmac_vectors[i].key, data = guarded(hmac_vectors[i].data);
        assert_int_equal(key.p[key.n], 0); /* the lengths above are those of the texts */
        s3si_hmac_sha256(key.p, key.n, data.p, data.n, mac);
        s3si_hex_encode(mac, sizeof mac, hex);
        hex[strlen(hmac_vectors[i].mac)] = 0;
        assert_string_equal(hex, hmac_vectors[i].mac);
        assert_int_equal(strlen(hmac_vectors[i].data.p), data.n);

        key = guarded(key);
        data = hmac_vectors[i].data;
        s3si_hmac_sha256(key.p, key.n, data.p, data.n, mac);
        s3si_hex_encode(mac, sizeof mac, hex);
        hex[strlen(hmac_vectors[i].mac)] = 0;
        assert_string_equal(hex, hmac_vectors[i].mac);
    }
}

/* RFC 2104 from its definition, for keys on both sides of the block's length. SigV4 derives its
 * keys in place, so the result may be written over the key. */
static void hmac_by_its_definition(void **state) {
    uint8_t key[130], pad[64 + 32], inner[32], want[32], got[130];
    s3si_sha256 s;
    size_t n, i;
    (void)state;
    for (i = 0; i < sizeof key; i++) key[i] = (uint8_t)(i * 5 + 1);
    for (n = 0; n <= sizeof key; n++) {
        uint8_t block[64] = {0};
        if (n <= 64) {
            memcpy(block, key, n);
        } else {
            s3si_sha256_init(&s);
            s3si_sha256_update(&s, key, n);
            s3si_sha256_final(&s, block);
        }
        for (i = 0; i < 64; i++) pad[i] = block[i] ^ 0x36;
        s3si_sha256_init(&s);
        s3si_sha256_update(&s, pad, 64);
        s3si_sha256_update(&s, "data", 4);
        s3si_sha256_final(&s, inner);
        for (i = 0; i < 64; i++) pad[i] = block[i] ^ 0x5c;
        memcpy(pad + 64, inner, 32);
        s3si_sha256_init(&s);
        s3si_sha256_update(&s, pad, sizeof pad);
        s3si_sha256_final(&s, want);
        memcpy(got, key, sizeof key);
        s3si_hmac_sha256(got, n, "data", 4, got);
        assert_memory_equal(got, want, 32);
    }
}

/* ---- MD5: RFC 1321 appendix A.5 -------------------------------------------------------------- */
static const struct {
    const char *text;
    const char *digest;
} md5_vectors[] = {
    {"", "d41d8cd98f00b204e9800998ecf8427e"},
    {"a", "0cc175b9c0f1b6a831c399e269772661"},
    {"abc", "900150983cd24fb0d6963f7d28e17f72"},
    {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
    {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
     "d174ab98d277d9f5a5611c2c9f419d9f"},
    {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
     "57edf4a22be3c955ac49da2e2107b67a"},
};

static void md5_hex(s3si_str head, s3si_str tail, char hex[33]) {
    s3si_md5 s;
    uint8_t digest[16];
    s3si_md5_init(&s);
    s3si_md5_update(&s, guarded(head).p, head.n);
    s3si_md5_update(&s, guarded(tail).p, tail.n);
    s3si_md5_final(&s, digest);
    s3si_hex_encode(digest, sizeof digest, hex);
}

static void md5(void **state) {
    char hex[33];
    size_t i, k;
    (void)state;
    for (i = 0; i < COUNT(md5_vectors); i++) {
        s3si_str text = s3si_str_of(md5_vectors[i].text);
        for (k = 0; k <= text.n; k++) {
            md5_hex(s3si_str_make(text.p, k), s3si_str_from(text, k), hex);
            assert_string_equal(hex, md5_vectors[i].digest);
        }
    }
}

/* Lengths around the block's and the padding's edges, by the digest of all their digests, which
 * `for n in $(seq 0 199); do head -c $n /dev/zero | md5sum | cut -c1-32; done | md5sum` of GNU
 * coreutils prints. */
static void md5_at_the_edges_of_blocks(void **state) {
    static const char zeros[200];
    char all[200 * 33], hex[33];
    size_t n;
    (void)state;
    for (n = 0; n < 200; n++) {
        md5_hex(s3si_str_make(zeros, n / 3), s3si_str_make(zeros, n - n / 3), hex);
        memcpy(all + 33 * n, hex, 32);
        all[33 * n + 32] = '\n';
    }
    md5_hex(s3si_str_make(all, sizeof all), STR(""), hex);
    assert_string_equal(hex, "f131c463386694a189b4a3d158c5fd52");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256),
        cmocka_unit_test(sha256_of_repeated_bytes),
        cmocka_unit_test(sha256_in_pieces),
        cmocka_unit_test(sha256_copied_midway),
        cmocka_unit_test(hmac_sha256),
        cmocka_unit_test(hmac_by_its_definition),
        cmocka_unit_test(md5),
        cmocka_unit_test(md5_at_the_edges_of_blocks),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
