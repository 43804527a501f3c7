/* Publisher's numbers to ours, as forward.history.Numbering counts them. */
#include "engine.h"

int64_t numbering_unwrap(struct numbering *n, uint16_t sequence_number) {
  uint16_t number = (uint16_t)(sequence_number + n->shift);
  if (!n->begun) {
    n->begun = 1;
    return n->highest = number + 0x10000;
  }
  int64_t found = n->highest + (int16_t)(uint16_t)(number - (uint16_t)n->highest);
  if (found > n->highest - TOO_OLD) {
    n->restarting = 0;
  } else if (n->restarting && n->restart_at == sequence_number) {
    found = n->highest + 1;
    n->shift = (uint16_t)(found - sequence_number);
    n->restarting = 0;
  } else {
    n->restarting = 1;
    n->restart_at = (uint16_t)(sequence_number + 1);
    return -1;
  }
  return found;
}

static int64_t skipped_at(const struct numbering *n, unsigned place) { return n->skipped[(n->skipped_from + place) % SKIPPED]; }

/* How many dropped numbers are below `number`, or not above it where `with_itself`. */
static unsigned below(const struct numbering *n, int64_t number, int with_itself) {
  unsigned low = 0, high = n->skipped_count;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    int64_t there = skipped_at(n, middle);
    if (there < number || (with_itself && there == number)) low = middle + 1;
    else high = middle;
  }
  return low;
}

void numbering_skip(struct numbering *n, int64_t number) {
  if (!n->skipped) n->skipped = calloc(SKIPPED, sizeof *n->skipped);
  if (!n->skipped) return;
  n->skipped[(n->skipped_from + n->skipped_count++) % SKIPPED] = number;
  unsigned old = below(n, number - 2 * TOO_OLD, 0);
  n->forgotten += old;
  n->skipped_from = (n->skipped_from + old) % SKIPPED;
  n->skipped_count -= old;
}

int numbering_skipped(const struct numbering *n, int64_t number) {
  unsigned at = below(n, number, 0);
  return at < n->skipped_count && skipped_at(n, at) == number;
}

int64_t numbering_ours(const struct numbering *n, int64_t number) { return number - n->forgotten - below(n, number, 1); }
