/* Rows of an index: what each block of 65,536 words comes to, from words that come in pieces of any size.
 *
 * A block is taken apart into chunks counted from its first word, and a chunk is summed at once; so a row is the
 * same, to the last bit, however its words came. Means and sums of squares are those of what lies beyond the
 * block's first value: a phase of a million turns costs no digit of its spread.
 */
#ifndef FASTCAP_ROWS_H
#define FASTCAP_ROWS_H

#include "_unwrap.h"

#define FC_BLOCK 65536
#define FC_WORD 8

struct fc_row {
    int64_t wraps;    /* before the block's first word */
    int32_t m_before; /* M of the word before; FC_NO_M at a file's first block */
    uint32_t words;
    struct { double min, max, mean, m2; } phase, radius;
};
_Static_assert(sizeof(struct fc_row) == 80 && FC_BLOCK % FC_CHUNK == 0, "rows are a file's format");

/* Of values so far, about `base`, the first of them. */
struct fc_spread {
    double base, min, max, mean, m2;
};

/* The first member tells a state of this layout from one of another. */
struct fc_rows {
    uint64_t layout;
    uint64_t blocks; /* complete ones */
    struct fc_carry before, carry;
    struct fc_spread phase, radius;
    uint32_t summed;        /* words of the block begun that are in the above */
    uint32_t pending_bytes; /* the rest, less than a chunk */
    unsigned char pending[FC_CHUNK * FC_WORD];
};
#define FC_ROWS_LAYOUT (0x31776f7263660000ULL + sizeof(struct fc_rows))

static void fc_rows_begin(struct fc_rows *rows, int64_t wraps, int32_t last_m)
{
    memset(rows, 0, sizeof *rows);
    rows->layout = FC_ROWS_LAYOUT;
    rows->carry.wraps = wraps;
    rows->carry.last_m = last_m;
}

/* Merge a chunk's sums into those of the `before` values so far (Chan, Golub and LeVeque, 1983). */
static void fc_spread_add(struct fc_spread *spread, uint32_t before, const struct fc_level *level,
                          const double *values, size_t n)
{
    struct fc_sums sums;
    level->sums(values, n, values[0], &sums);
    if (!before)
        *spread = (struct fc_spread){values[0], sums.min, sums.max, 0, 0};
    double count = (double)n, all = (double)before + count;
    double mean = (values[0] - spread->base) + sums.sum / count;
    double m2 = sums.squares - sums.sum * (sums.sum / count);
    double delta = mean - spread->mean;
    spread->m2 += (m2 > 0 ? m2 : 0) + delta * delta * ((double)before * count / all);
    spread->mean += delta * (count / all);
    spread->min = sums.min < spread->min ? sums.min : spread->min;
    spread->max = sums.max > spread->max ? sums.max : spread->max;
}

static void fc_rows_sum(struct fc_rows *rows, const struct fc_level *level, const void *data, size_t n)
{
    double phase[FC_CHUNK], radius[FC_CHUNK];
    if (!rows->summed)
        rows->before = rows->carry;
    fc_decode(level, data, n, &rows->carry, phase, radius);
    fc_spread_add(&rows->phase, rows->summed, level, phase, n);
    fc_spread_add(&rows->radius, rows->summed, level, radius, n);
    rows->summed += (uint32_t)n;
}

/* Take in bytes up to the block's end at most; return how many. The block is complete when `summed` says so. */
static size_t fc_rows_add(struct fc_rows *rows, const struct fc_level *level, const unsigned char *data, size_t nbytes)
{
    const size_t chunk_bytes = FC_CHUNK * FC_WORD;
    size_t taken = 0;
    while (taken < nbytes && rows->summed < FC_BLOCK) {
        size_t left = nbytes - taken, fits = chunk_bytes - rows->pending_bytes;
        if (!rows->pending_bytes && left >= chunk_bytes) {
            fc_rows_sum(rows, level, data + taken, FC_CHUNK);
            taken += chunk_bytes;
            continue;
        }
        if (fits > left)
            fits = left;
        memcpy(rows->pending + rows->pending_bytes, data + taken, fits);
        rows->pending_bytes += (uint32_t)fits;
        taken += fits;
        if (rows->pending_bytes == chunk_bytes) {
            rows->pending_bytes = 0;
            fc_rows_sum(rows, level, rows->pending, FC_CHUNK);
        }
    }
    return taken;
}

static struct fc_row fc_rows_row(const struct fc_rows *rows)
{
    const struct fc_spread *p = &rows->phase, *r = &rows->radius;
    struct fc_row row = {
        rows->before.wraps, rows->before.last_m, rows->summed,
        {p->min, p->max, p->base + p->mean, p->m2},
        {r->min, r->max, r->base + r->mean, r->m2},
    };
    return row;
}

/* Words of the block begun; a word of which only some bytes have come is none yet. */
static uint32_t fc_rows_begun(const struct fc_rows *rows) { return rows->summed + rows->pending_bytes / FC_WORD; }

/* Let the block end here, where it has a word; its row. Of `rows`, the carry alone is of use then. */
static struct fc_row fc_rows_end(struct fc_rows *rows, const struct fc_level *level)
{
    size_t n = rows->pending_bytes / FC_WORD;
    if (n)
        fc_rows_sum(rows, level, rows->pending, n);
    return fc_rows_row(rows);
}

/* Whether a state that came from elsewhere can be one of this layout. */
static int fc_rows_valid(const struct fc_rows *rows)
{
    return rows->layout == FC_ROWS_LAYOUT && rows->summed < FC_BLOCK && rows->summed % FC_CHUNK == 0 &&
           rows->pending_bytes < FC_CHUNK * FC_WORD;
}

#endif
