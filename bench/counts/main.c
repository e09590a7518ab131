/* Calls count_<stem>() of every file beside this one; bench/instructions.py names them in COUNT_STEMS.
 *
 *     counts              all stems
 *     counts onset wire   only these */
#include "count.h"

#ifndef COUNT_STEMS
#error "COUNT_STEMS is a list like STEM(onset) STEM(wire)"
#endif

#define STEM(name) void count_##name(void);
COUNT_STEMS
#undef STEM

#define STEM(name) {#name, count_##name},
static const struct {
    const char *name;
    void (*count)(void);
} stems[] = {COUNT_STEMS};
#undef STEM

static int wanted(const char *name, int argc, char **argv) {
    if (argc < 2) return 1;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name)) return 1;
    return 0;
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++)
        if (wanted(stems[i].name, argc, argv)) stems[i].count();
    return 0;
}
