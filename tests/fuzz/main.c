/* fuzz --frames N --seed S --part K --parts P --seeds FILE --keep FILE [--episode E]
 *
 * N mutated frames in episodes of EPISODE, each with an assembler of its own; part K of P runs every P-th one, so that the inputs
 * are the same however many processes share them. The frame being run lies in FILE, which is mapped: it is there after any
 * death. `--episode E` runs that one alone. At the end one line of figures, which driver.py adds up. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

enum { EPISODE = 2000, FLOODS = 50 /* episodes from one flood to the next */, HANG_S = 20 };

const char *stage = "begin";

/* What is being run, as it lies in the kept file. */
static struct running {
    uint64_t seed, episode, number, len;
    char stage[64];
    uint8_t bytes[LARGEST];
} *running;

static volatile uint64_t done;
static uint64_t wanted, shown, still_s;

void broken(const char *file, int line, const char *promise) {
    snprintf(running->stage, sizeof running->stage, "%s", stage);
    fflush(stdout);
    fprintf(stderr, "BROKEN %s:%d at %s, episode %lu, frame %lu (%lu bytes): %s\n", file, line, stage, (unsigned long)running->episode,
            (unsigned long)running->number, (unsigned long)running->len, promise);
    abort();
}

/* Each second: is there still progress? */
static void watch(int signal) {
    static uint64_t before;
    still_s = done == before ? still_s + 1 : 0;
    before = done;
    if (still_s < HANG_S) return;
    static const char text[] = "BROKEN no end of one frame\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(3);
    abort();
}

static void tell(time_t began) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    uint64_t s = (uint64_t)(time(NULL) - began);
    printf("fuzz: %lu of %lu frames, %lu a second, %lu accepted, %ld MiB\n", (unsigned long)done, (unsigned long)wanted,
           (unsigned long)(done / (s ? s : 1)), (unsigned long)count.accepted, used.ru_maxrss >> 10);
    fflush(stdout);
}

/* ---- the seeds ---- */

static void read_pool(const char *path, pool *p) {
    FILE *f = fopen(path, "rb");
    if (!f) perror(path), exit(2);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f), at = 0;
    rewind(f);
    p->bytes = malloc(size);
    if (!p->bytes || fread(p->bytes, 1, size, f) != size) perror(path), exit(2);
    fclose(f);
    while (at + 4 <= size && p->n < 512) {
        p->lengths[p->n] = field_of(p->bytes + at, 0, 4), p->offsets[p->n] = at + 4;
        at += 4 + p->lengths[p->n++];
    }
    if (at != size || !p->n) fprintf(stderr, "%s: no list of frames\n", path), exit(2);
}

static void from_pool(chance *c, const pool *p, input *out) {
    uint64_t k = below(c, p->n);
    memcpy(out->bytes, p->bytes + p->offsets[k], out->len = p->lengths[k]);
}

/* ---- running ---- */

static void keep(const uint8_t *bytes, size_t len) {
    running->len = len;
    memcpy(running->bytes, bytes, len);
}

static void run(chance *c, city *t, const input *in) {
    uint8_t *exact = malloc(in->len);
    if (!exact) abort();
    memcpy(exact, in->bytes, in->len);
    keep(exact, in->len);
    examine(c, exact, in->len);
    city_feed(c, t, exact, in->len);
    free(exact);
    stage = "between";
}

/* Many frames of one device that has just booted, mutated ones rare among them: what is held and counted for a stream fills only
 * where no frame says that the stream is long past. */
static void stretch(chance *c, city *t, sender *s, input *in, const input *other) {
    boot(c, s);
    for (uint64_t k = below(c, 140); k; k--) {
        next_frame(c, s, in);
        if (one_in(c, 30)) mutate(c, in, other), seal(in->bytes, in->len);
        if (!one_in(c, 20)) run(c, t, in);
    }
}

static void sides(chance *c, const input *a, const input *b) {
    if (one_in(c, 32)) examine_capture(c, a, b);
    if (one_in(c, 32)) examine_segment(c, a, b);
    if (one_in(c, 16)) examine_reply(c, a);
}

static void episode(uint64_t seed, uint64_t number, uint64_t frames, const pool *sound) {
    static sender senders[SETS];
    static input in, other;
    chance c = {seed * 0x9e3779b97f4a7c15u ^ number};
    city t;
    draw(&c);
    running->seed = seed, running->episode = number;
    senders_begin(&c, senders);
    city_begin(&c, &t);
    if (number % FLOODS == 0) city_flood(&c, &t);
    for (uint64_t k = 0; k < frames; k++, done++) {
        running->number = k;
        next_frame(&c, &senders[below(&c, SETS)], &other);
        if (one_in(&c, 2)) run(&c, &t, &other); /* as it was meant; not counted */
        if (one_in(&c, 2)) in = other;
        else from_pool(&c, sound, &in);
        if (one_in(&c, 4)) from_pool(&c, sound, &other);
        mutate(&c, &in, &other);
        run(&c, &t, &in);
        seal(in.bytes, in.len);
        run(&c, &t, &in);
        sides(&c, &in, &other);
        if (one_in(&c, 200)) stretch(&c, &t, &senders[below(&c, SETS)], &in, &other);
        city_turn(&c, &t);
    }
    city_end(&c, &t);
}

static void *mapped(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof *running)) perror(path), exit(2);
    void *p = mmap(NULL, sizeof *running, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) perror(path), exit(2);
    close(fd);
    return p;
}

static void figures(void) {
    uint64_t refused = 0;
    for (int k = 0; k <= LL_REFUSED_TIME_RANGE; k++) refused += count.refused[k]; /* what is behind is the assembler's */
    PROMISE(count.accepted + refused == count.fed);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("figures: frames=%lu fed=%lu accepted=%lu refused=%lu", (unsigned long)done, (unsigned long)count.fed,
           (unsigned long)count.accepted, (unsigned long)refused);
#define SHOW(name) printf(" " #name "=%lu", (unsigned long)count.name)
    SHOW(compared), SHOW(values), SHOW(captures), SHOW(records), SHOW(turned_away), SHOW(samples), SHOW(pieces), SHOW(rows), SHOW(breaks);
    SHOW(assemblers), SHOW(room), SHOW(states), SHOW(states_refused), SHOW(segments), SHOW(records_read), SHOW(replies);
    printf(" held_kib=%ld rss_mib=%ld\nrefused:", (long)(allocated.most_held >> 10), used.ru_maxrss >> 10);
#define X(name, word) printf(" " word "=%lu", (unsigned long)count.refused[LL_REFUSED_##name]);
    LL_REFUSALS(X)
#undef X
    printf("\n");
}

int main(int n, char **words) {
    uint64_t seed = 1, part = 0, parts = 1, only = UINT64_MAX;
    const char *seeds = "", *kept = "";
    static pool sound;
    wanted = EPISODE;
    for (int i = 1; i + 1 < n; i += 2) {
        uint64_t value = strtoull(words[i + 1], NULL, 10);
        if (!strcmp(words[i], "--frames")) wanted = value;
        else if (!strcmp(words[i], "--seed")) seed = value;
        else if (!strcmp(words[i], "--part")) part = value;
        else if (!strcmp(words[i], "--parts")) parts = value;
        else if (!strcmp(words[i], "--episode")) only = value;
        else if (!strcmp(words[i], "--seeds")) seeds = words[i + 1];
        else if (!strcmp(words[i], "--keep")) kept = words[i + 1];
        else fprintf(stderr, "%s?\n", words[i]), exit(2);
    }
    running = mapped(kept);
    read_pool(seeds, &sound);
    struct sigaction action = {.sa_handler = watch, .sa_flags = SA_RESTART};
    struct itimerval second = {{1, 0}, {1, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &second, NULL);
    time_t began = time(NULL);
    uint64_t all = wanted;
    wanted = 0;
    for (uint64_t k = part; k * EPISODE < all; k += parts) wanted += all - k * EPISODE < EPISODE ? all - k * EPISODE : EPISODE;
    for (uint64_t k = part; k * EPISODE < all; k += parts) {
        if (only == UINT64_MAX || only == k) episode(seed, k, all - k * EPISODE < EPISODE ? all - k * EPISODE : EPISODE, &sound);
        if ((uint64_t)(time(NULL) - began) / 10 > shown) shown = (uint64_t)(time(NULL) - began) / 10, tell(began);
    }
    figures();
    unlink(kept);
    return 0;
}
