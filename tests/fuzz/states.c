/* The assembler as bytes and back, sound and damaged. */
#include "fuzz.h"

static uint8_t *state_of(const ll_assembler *a, size_t *len) {
    stage = "save";
    *len = (size_t)ll_assemble()->save(a, NULL, 0);
    uint8_t *state = malloc(*len);
    if (!state) abort();
    PROMISE((size_t)ll_assemble()->save(a, state, *len) == *len);
    return state;
}

/* Saved, loaded and saved again it is the same bytes; the loaded one goes on in its place. */
void change_over(city *t) {
    size_t len, again_len;
    uint8_t *state = state_of(t->a, &len);
    ll_assembler *other = assembler(t->kind);
    stage = "load";
    PROMISE(ll_assemble()->load(other, state, len) == LL_OK);
    uint8_t *again = state_of(other, &again_len);
    PROMISE(len == again_len && !memcmp(state, again, len));
    ll_assemble()->destroy(t->a);
    t->a = other;
    count.states++;
    free(state), free(again);
}

/* A damaged state is refused, or makes an assembler that goes on, whose own state can be loaded. */
void damaged(chance *c, city *t) {
    size_t len;
    uint8_t *state = state_of(t->a, &len);
    for (uint64_t k = 1 + below(c, 4); k; k--) {
        size_t at = one_in(c, 2) ? below(c, len) : below(c, len < 3000 ? len : 3000);
        if (one_in(c, 2)) state[at] ^= (uint8_t)(1 << below(c, 8));
        else for (size_t i = at & ~(size_t)7; i < len && i < (at & ~(size_t)7) + 8; i++) state[i] = one_in(c, 2) ? 0xff : 0;
    }
    size_t cut = one_in(c, 8) ? below(c, len) : len;
    uint8_t *own = malloc(cut);
    if (!own) abort();
    memcpy(own, state, cut);
    free(state);
    city other = {assembler(t->kind), t->kind};
    stage = "load a damaged state";
    if (ll_assemble()->load(other.a, own, cut) == LL_OK) {
        count.states++;
        static sender senders[SETS];
        static input in;
        senders_begin(c, senders);
        for (int k = 0; k < 40; k++) {
            next_frame(c, &senders[below(c, SETS)], &in);
            city_feed(c, &other, in.bytes, in.len);
        }
        take_all(&other);
        for (int32_t k = 0; k < other.a->n_streams; k++) sound_stream(other.a->streams[k]);
        change_over(&other);
    } else count.states_refused++;
    stage = "destroy a damaged one";
    ll_assemble()->destroy(other.a);
    free(own);
}
