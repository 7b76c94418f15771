# s3stream: builds the two programs, the examples and what the tests run. `make help` lists the targets.
# The library itself is s3stream.h and needs no build.

CC ?= cc
CFLAGS ?= -O2
PREFIX ?= /usr/local
TLS ?= none

ifneq ($(TLS),none)
$(error TLS=$(TLS) is not available: this version speaks plain HTTP only, so TLS=none is the one choice)
endif

COMPILE = $(CC) -std=gnu99 $(CFLAGS) $(CPPFLAGS) -pthread

all: build/s3stream build/s3serve ## both programs (the default); honours CC, CFLAGS, LDFLAGS, TLS

build/s3stream build/s3serve: build/%: tools/%.c s3stream.h
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LDFLAGS) $(LDLIBS)

# ---- Running it ----------------------------------------------------------------------------------

demo: ## counts the lines of 256 MB in 8 shards and compares with wc -l
	@MAKE='$(MAKE)' sh examples/demo.sh

check: ## installs what the tests need, then runs all of them; T=PATTERN restricts them
	tests/support/deps
	tests/run $(T)

bench: ## measures against curl, libs3 and bare sockets, into bench/results/
	bench/run

EXAMPLES = $(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c))

examples: $(EXAMPLES) ## every examples/*.c

build/examples/%: examples/%.c s3stream.h
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LDFLAGS) $(LDLIBS)

# What a reader of objects costs where every byte counts: static, musl, for size, nothing unused.
SIZE_CC ?= musl-gcc
SIZE_FLAGS = -std=gnu99 -Os -static -s -pthread -DS3STREAM_NO_TLS \
	-flto=auto -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
	-Wl,--gc-sections -Wl,-z,noseparate-code

size: build/size/cat_only ## the size of a static musl program that only reads
	@printf '%s: %s bytes (static musl, -Os, no TLS)\n' $< $$(wc -c <$<)

build/size/cat_only: examples/cat_only.c s3stream.h
	@mkdir -p $(@D)
	$(SIZE_CC) $(SIZE_FLAGS) -o $@ $<

# ---- Installing ----------------------------------------------------------------------------------

install: all ## header, programs and licence under PREFIX (/usr/local) below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/doc/s3stream
	install -m 755 build/s3stream build/s3serve $(DESTDIR)$(PREFIX)/bin
	install -m 644 s3stream.h $(DESTDIR)$(PREFIX)/include
	install -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/s3stream

uninstall: ## removes what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/s3stream $(DESTDIR)$(PREFIX)/bin/s3serve
	rm -f $(DESTDIR)$(PREFIX)/include/s3stream.h
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/s3stream

clean: ## removes build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | \
	  awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

# ---- What the tests run --------------------------------------------------------------------------
# tests/run makes these. Sanitizers stop at the first finding, so that no test passes over one.

WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Werror
DEBUG = -std=gnu99 -g -O1 -fno-omit-frame-pointer -pthread -I.
# gcc's two shared runtimes would not agree on where to report; clang knows only the static ones.
ASAN = -fsanitize=address,undefined -fno-sanitize-recover=all \
	$(if $(findstring clang,$(shell $(CC) --version)),,-static-libasan -static-libubsan)
TSAN = -fsanitize=thread
# A unit test includes the implementation and need not call every private function of it.
UNIT = $(DEBUG) $(WARNINGS) -Wno-unused-function
UNIT_DEPS = s3stream.h $(wildcard tests/unit/*.h tests/support/*.h tests/fuzz/*.c)

build/asan/%: tools/%.c s3stream.h
	@mkdir -p $(@D)
	$(CC) $(DEBUG) $(WARNINGS) $(ASAN) -o $@ $<

build/tsan/%: tools/%.c s3stream.h
	@mkdir -p $(@D)
	$(CC) $(DEBUG) $(WARNINGS) $(TSAN) -o $@ $<

build/unit/%: tests/unit/%.c $(UNIT_DEPS)
	@mkdir -p $(@D)
	$(CC) $(UNIT) $(ASAN) -o $@ $< -lcmocka

build/unit-tsan/%: tests/unit/%.c $(UNIT_DEPS)
	@mkdir -p $(@D)
	$(CC) $(UNIT) $(TSAN) -o $@ $< -lcmocka

.PHONY: all demo check bench examples size install uninstall clean help
.DELETE_ON_ERROR:
