/* What a kernel answers: 0 or a count is good, negative is one of these. `errors.raise_status` is the one door to Python. */
#ifndef LL_STATUS_H
#define LL_STATUS_H

enum {
    LL_OK = 0,
    LL_EMPTY = -1,  /* nothing to work on */
    LL_SHAPE = -2,  /* lengths or counts that do not fit each other */
    LL_RANGE = -3,  /* a parameter outside its range */
    LL_NOMEM = -4,  /* the system gave no memory */
    LL_STATE = -5,  /* saved state of another version, size or build */
    LL_FULL = -6,   /* no room: drain, then call again */
    LL_IO = -7      /* the system refused a file operation; errno says which */
};

#endif
