/* What listeners are given. The media thread gathers the packets of a batch first and gives each listener all of a track's at once: what belongs to a
   listener (its cipher, its numbers) is fetched into the cache once for a burst, and the packets of a burst lie in one piece for the kernel.

   A packet that waits here lies in the history of its layer, and must do so until it was given: numbers that could take its place there make it
   given first. So does a control packet, which may be about what waits, and the end of the batch, so no command ever finds anything here. */
#include "engine.h"

enum { STEP = HISTORY / MOST_DUE }; /* as many packets as can wait, each by so much ahead of the last, do not go around the history */

static void give(struct engine *engine, struct copy *copy, const struct due *due) {
  if (!copy_give(engine, copy, due->layer, due->kept, due->now)) copy_wants_key_frame(engine, copy);
}

/* All that waits of the track of `due[first]`. While one listener is given it, what the next ones need comes into the cache. */
static void settle_track(struct engine *engine, int first, int count) {
  struct track *track = engine->due[first].track;
  const struct copy *ahead[STEPS_AHEAD + 1] = {track->copies};
  for (int at = 0; at < STEPS_AHEAD; at++) ahead[at + 1] = ahead[at] ? ahead[at]->next : NULL;
  for (struct copy *copy = track->copies; copy; copy = copy->next) {
    for (int at = 1; at <= STEPS_AHEAD; at++)
      if (ahead[at]) copy_ahead(ahead[at], STEPS_AHEAD - at);
    for (int at = first; at < count; at++)
      if (engine->due[at].track == track) give(engine, copy, &engine->due[at]);
    memmove(ahead, ahead + 1, STEPS_AHEAD * sizeof *ahead);
    if (ahead[STEPS_AHEAD]) ahead[STEPS_AHEAD] = ahead[STEPS_AHEAD]->next;
  }
  for (int at = first; at < count; at++)
    if (engine->due[at].track == track) engine->due[at].track = NULL;
}

void giving_settle(struct engine *engine) {
  int count = engine->due_count;
  for (int at = 0; at < count; at++)
    if (engine->due[at].track) settle_track(engine, at, count);
  engine->due_count = 0;
}

void giving_makes_room(struct engine *engine, const struct layer *layer, int64_t number) {
  if (engine->due_count == MOST_DUE || (engine->due_count && number - layer->numbering.highest > STEP)) giving_settle(engine);
}

void giving_add(struct engine *engine, struct track *track, struct layer *layer, const struct kept *kept, int64_t now) {
  if (!track->copies) return;
  engine->due[engine->due_count++] = (struct due){track, layer, kept, now};
  int step = engine->due_count - 1;
  if (step < STEPS_AHEAD) copy_ahead(track->copies, step); /* of a burst, each packet brings the next step of the first listener */
  if (!engine->gathers) giving_settle(engine);
}
