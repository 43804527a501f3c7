/* Which layer of a track one receiver is on, and how the numbers that it sees follow each other, as forward.course says. */
#include "engine.h"

enum { FARTHEST_TIMESTAMP = 900000 };

void course_begin(struct course *c, int target, int waits_for_key) {
  memset(c, 0, sizeof *c);
  c->target = target;
  c->current = -1;
  c->waits_for_key = waits_for_key;
  c->last = vp8_ids(NULL, 0);
}

void course_choose(struct course *c, int layer) {
  c->target = layer;
  if (layer < 0) {
    c->current = -1;
    c->needs_key = 0;
  }
}

int course_waiting_for(const struct course *c) {
  return !c->waits_for_key || (c->current == c->target && !c->needs_key) ? -1 : c->target;
}

static int begins_here(const struct course *c, const struct layer *layer, const struct kept *kept) {
  if (layer->index != c->target) return 0;
  if (!c->waits_for_key) return c->current < 0;
  if (!kept->key) return 0;
  return c->current != layer->index || (c->needs_key && kept->number >= c->stretches[c->count - 1].since);
}

/* The RTP time of NTP time 0 by the layer's last sender report. */
static uint32_t origin(const struct layer *layer) {
  __extension__ typedef unsigned __int128 wide;
  return layer->rtp - (uint32_t)((wide)layer->ntp * 90000 >> 32);
}

static uint32_t timestamp_shift(const struct course *c, const struct track *track, const struct layer *layer, const struct kept *kept, int64_t now) {
  const struct stretch *old = &c->stretches[c->count - 1];
  const struct layer *before = &track->layers[old->layer];
  if (before->reported && layer->reported) {
    uint32_t shift = old->timestamp + origin(before) - origin(layer);
    uint32_t ahead = kept->timestamp + shift - c->timestamp;
    if (ahead >= 1 && ahead <= FARTHEST_TIMESTAMP) return shift;
  }
  int64_t passed = (now - c->sent_us) * 9 / 100;
  return c->timestamp + (uint32_t)(passed < 1 ? 1 : passed) - kept->timestamp;
}

static void open_stretch(struct course *c, const struct track *track, const struct layer *layer, const struct kept *kept, int64_t now) {
  if (c->current == layer->index) {
    c->stretches[c->count - 1].since = kept->number;
  } else {
    struct stretch new = {layer->index, kept->number, 0, 0, 0, 0};
    if (!c->begun) {
      c->count = 0;
    } else {
      new.shift = c->highest + 1 - kept->number;
      new.timestamp = timestamp_shift(c, track, layer, kept, now);
      if (c->waits_for_key) {
        struct ids ids = vp8_ids(kept->payload, kept->length);
        if (ids.picture >= 0 && c->last.picture >= 0) new.picture = (c->last.picture + 1 - ids.picture) & 0x7FFF;
        if (ids.tl0 >= 0 && c->last.tl0 >= 0) new.tl0 = (c->last.tl0 + 1 - ids.tl0) & 0xFF;
      }
    }
    if (c->count == MOST_STRETCHES) memmove(c->stretches, c->stretches + 1, (size_t)--c->count * sizeof new);
    c->stretches[c->count++] = new;
  }
  c->current = layer->index;
  c->needs_key = 0;
}

struct stretch *course_place(struct course *c, struct track *track, struct layer *layer, const struct kept *kept, int64_t now, int *begins) {
  *begins = begins_here(c, layer, kept);
  if (*begins) open_stretch(c, track, layer, kept, now);
  else if (layer->index != c->current || c->needs_key) return NULL;
  struct stretch *stretch = &c->stretches[c->count - 1];
  return kept->number >= stretch->since ? stretch : NULL;
}

void course_passed(struct course *c, int64_t number, uint32_t timestamp, const uint8_t *payload, int length, int64_t now) {
  if (c->begun && number < c->highest) return;
  c->begun = 1;
  c->highest = number;
  c->timestamp = timestamp;
  c->sent_us = now;
  if (length && c->waits_for_key) c->last = vp8_ids(payload, length);
}

struct stretch *course_back(struct course *c, uint16_t number, int64_t *ours) {
  if (!c->begun) return NULL;
  int64_t own = c->highest - (uint16_t)((uint16_t)c->highest - number);
  for (int at = c->count - 1; at >= 0; at--) {
    struct stretch *stretch = &c->stretches[at];
    if (stretch->since + stretch->shift <= own) {
      *ours = own - stretch->shift;
      return stretch;
    }
  }
  return NULL;
}
