// The little of a C library that the generated bindings need. Every call by the host is a new instance with a new
// memory, so blocks are laid one behind the other and none is given back.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 65536
#define ALIGNED(bytes) (((uint64_t)(bytes) + 7) & ~(uint64_t)7)

extern unsigned char __heap_base; // the linker's: behind data and stack
static uint64_t used;

// Before each block stands its size, for `realloc`. Without memory it traps, and the host says what the limit is.
void *malloc(size_t size) {
    if (used == 0) used = ALIGNED((uintptr_t)&__heap_base);
    uint64_t block = used + 8, end = block + ALIGNED(size);
    uint64_t there = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end > there && __builtin_wasm_memory_grow(0, (end - there + PAGE - 1) / PAGE) == SIZE_MAX) abort();
    used = end;
    size_t *at = (size_t *)(uintptr_t)block;
    at[-1] = size;
    return at;
}

void *realloc(void *old, size_t size) {
    size_t before = old ? ((size_t *)old)[-1] : 0;
    if (old && size <= before) return old;
    return memcpy(malloc(size), old, before);
}

void free(void *block) { (void)block; }

void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memset(void *to, int byte, size_t size) {
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = (char)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++) {
        if (x[i] != y[i]) return x[i] - y[i];
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}
