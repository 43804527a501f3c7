/* Tracks, copies and taps come and go, each under the lock: what is gone here receives nothing more. */
#include "engine.h"

void cleac_release_end(struct end *end);

struct track *cleac_open(struct engine *engine, struct end *end, const struct shape *shape, const struct declared *declared) {
  struct track *track = calloc(1, sizeof *track);
  if (track) track->layers = calloc((size_t)shape->layers, sizeof *track->layers);
  if (!track || !track->layers) {
    free(track);
    return NULL;
  }
  track->shape = *shape;
  track->owner = end;
  allowance_begin(&track->allowance, shape->video ? engine->rates.video : engine->rates.audio);
  engine_enter(engine);
  end->references++;
  struct track **last = &end->tracks;
  while (*last) last = &(*last)->next;
  *last = track;
  track->next_of_all = engine->tracks;
  engine->tracks = track;
  for (int at = 0; at < shape->layers; at++) {
    struct layer *layer = &track->layers[at];
    const struct declared *of = &declared[at];
    layer->index = at;
    layer->rid_length = of->rid_length;
    memcpy(layer->rid, of->rid, (size_t)of->rid_length);
    layer->has_ssrc = of->has_ssrc;
    layer->ssrc = of->ssrc;
    layer->has_repair = of->has_repair;
    layer->repair_ssrc = of->repair_ssrc;
    layer->reception.clock_rate = shape->video ? 90000 : 48000;
    if (of->has_ssrc) publisher_enter(end, (struct found){of->ssrc, track, layer, 0});
    if (of->has_repair) publisher_enter(end, (struct found){of->repair_ssrc, track, layer, 1});
  }
  engine_leave(engine);
  return track;
}

static void unlink_of_end(struct copy *copy) {
  struct copy **at = &copy->end->copies;
  while (*at && *at != copy) at = &(*at)->next_of_end;
  if (*at) *at = copy->next_of_end;
}

static void drop(struct engine *engine, struct copy *copy) {
  unlink_of_end(copy);
  copy_say_goodbye(engine, copy);
  outlet_flush(engine); /* nothing that waits may name a copy that is gone */
  cleac_release_end(copy->end);
  free(copy);
}

static void forget_ssrcs(struct end *end, const struct track *track) {
  int kept = 0;
  for (int at = 0; at < end->by_ssrc_count; at++)
    if (end->by_ssrc[at].track != track) end->by_ssrc[kept++] = end->by_ssrc[at];
  end->by_ssrc_count = kept;
}

void cleac_close(struct engine *engine, struct track *track) {
  engine_enter(engine);
  struct track **at = &track->owner->tracks;
  while (*at && *at != track) at = &(*at)->next;
  if (*at) *at = track->next;
  for (at = &engine->tracks; *at && *at != track;) at = &(*at)->next_of_all;
  if (*at) *at = track->next_of_all;
  forget_ssrcs(track->owner, track);
  for (struct copy *copy = track->copies, *next; copy; copy = next) {
    next = copy->next;
    drop(engine, copy);
  }
  for (struct tap *tap = track->taps, *next; tap; tap = next) {
    next = tap->next;
    free(tap);
  }
  for (int layer = 0; layer < track->shape.layers; layer++) history_free(&track->layers[layer]);
  cleac_release_end(track->owner);
  free(track->layers);
  free(track);
  engine_leave(engine);
}

/* What crosses from Python for a copy; see native/library.py. */
struct wanted { uint32_t ssrc, repair_ssrc; int has_repair, mid_length, name_length, cname_length; const char *mid, *name, *cname; };

struct copy *cleac_add(struct engine *engine, struct track *track, struct end *end, const struct wanted *wanted, int layer, int64_t now) {
  struct copy *copy = calloc(1, sizeof *copy);
  if (!copy) return NULL;
  copy->track = track;
  copy->end = end;
  copy->ssrc = wanted->ssrc;
  copy->repair_ssrc = wanted->repair_ssrc;
  copy->numbered = track->shape.video && wanted->has_repair;
  copy->mid[0] = (uint8_t)(0x10 | (wanted->mid_length - 1));
  memcpy(copy->mid + 1, wanted->mid, (size_t)wanted->mid_length);
  copy->mid_length = 1 + wanted->mid_length;
  copy->name_length = wanted->name_length;
  memcpy(copy->name, wanted->name, (size_t)wanted->name_length);
  copy->cname_length = wanted->cname_length;
  memcpy(copy->cname, wanted->cname, (size_t)wanted->cname_length);
  copy->credit = 1200000;
  copy->credit_at = now;
  course_begin(&copy->course, layer, track->shape.video);
  engine_enter(engine);
  end->references++;
  struct copy **last = &track->copies;
  while (*last) last = &(*last)->next;
  *last = copy;
  copy->next_of_end = end->copies;
  end->copies = copy;
  copy_wants_key_frame(engine, copy);
  engine_leave(engine);
  return copy;
}

void cleac_choose(struct engine *engine, struct copy *copy, int layer) {
  engine_enter(engine);
  if (copy->course.target != layer) {
    course_choose(&copy->course, layer);
    copy_wants_key_frame(engine, copy);
  }
  engine_leave(engine);
}

void cleac_remove(struct engine *engine, struct copy *copy) {
  engine_enter(engine);
  struct copy **at = &copy->track->copies;
  while (*at && *at != copy) at = &(*at)->next;
  if (*at) *at = copy->next;
  drop(engine, copy);
  engine_leave(engine);
}

struct tap *cleac_tap(struct engine *engine, struct track *track, int64_t number, int layer, int64_t now) {
  struct tap *tap = calloc(1, sizeof *tap);
  if (!tap) return NULL;
  tap->track = track;
  tap->number = number;
  tap->since = now;
  tap->highest = tap->cut = -1;
  tap->several = track->shape.layers > 1;
  course_begin(&tap->course, layer, track->shape.video);
  engine_enter(engine);
  struct tap **last = &track->taps;
  while (*last) last = &(*last)->next;
  *last = tap;
  engine_leave(engine);
  return tap;
}

void cleac_choose_tap(struct engine *engine, struct tap *tap, int layer) {
  engine_enter(engine);
  tap->course.target = layer;
  engine_leave(engine);
}

/* The cut: the highest number that was put down for it; -1: none. */
int cleac_untap(struct engine *engine, struct tap *tap) {
  engine_enter(engine);
  int cut = tap->cut;
  struct tap **at = &tap->track->taps;
  while (*at && *at != tap) at = &(*at)->next;
  if (*at) *at = tap->next;
  free(tap);
  engine_leave(engine);
  return cut;
}
