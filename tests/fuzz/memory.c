/* What the product asks of the system: the kernels are compiled with malloc and its kin renamed to these. */
#include <malloc.h>

#include "fuzz.h"

memory allocated;

static void *took(void *p, size_t size) {
    if (!p) return p;
    allocated.held += (int64_t)malloc_usable_size(p);
    if (allocated.held > allocated.most_held) allocated.most_held = allocated.held;
    if ((int64_t)size > allocated.largest) allocated.largest = (int64_t)size;
    allocated.calls++;
    return p;
}

void *product_malloc(size_t size);
void *product_calloc(size_t n, size_t size);
void *product_realloc(void *p, size_t size);
void product_free(void *p);

void *product_malloc(size_t size) { return took(malloc(size), size); }
void *product_calloc(size_t n, size_t size) { return took(calloc(n, size), n * size); }

void *product_realloc(void *p, size_t size) {
    int64_t before = p ? (int64_t)malloc_usable_size(p) : 0;
    void *q = realloc(p, size);
    if (!q) return q;
    allocated.held -= before;
    return took(q, size);
}

void product_free(void *p) {
    if (p) allocated.held -= (int64_t)malloc_usable_size(p);
    free(p);
}
