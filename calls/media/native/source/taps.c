/* Sinks on a track, as forward.copies.Tap says. What one is given is put down here and taken up in the loop's thread. */
#include "engine.h"

enum { HEAD = 20 }; /* the tap's number, the moment, where the payload begins and how long it is */

static uint8_t *put_down(struct engine *engine, const struct tap *tap, enum kind kind, int length, int start, int payload_length, int64_t now) {
  uint8_t *out = post_room(engine, kind, (size_t)(HEAD + length));
  if (!out) return NULL;
  memcpy(out, &tap->number, 8);
  uint16_t place[2] = {(uint16_t)start, (uint16_t)payload_length};
  memcpy(out + 8, &now, 8);
  memcpy(out + 16, place, sizeof place);
  return out + HEAD;
}

void taps_give(struct engine *engine, struct track *track, int64_t number, const struct header *header, int64_t now) {
  for (struct tap *tap = track->taps; tap; tap = tap->next) {
    uint8_t *out = put_down(engine, tap, TAPPED, header->length, (int)(header->payload - header->raw), header->payload_length, now);
    if (!out) continue;
    memcpy(out, header->raw, (size_t)header->length);
    if (number > tap->highest) {
      tap->highest = number;
      tap->cut = header->sequence_number;
    }
  }
}

/* Puts down the packet at `raw`, of which the payload begins at `start`, moved as its stretch says. 0: there was no room. */
static int put_moved(struct engine *engine, struct tap *tap, const struct stretch *stretch, const struct kept *kept, const uint8_t *raw, int length, int start, int64_t now) {
  uint8_t *out = put_down(engine, tap, TAPPED, length, start, kept->length, now);
  if (!out) {
    tap->course.needs_key = 1;
    return 0;
  }
  if (!tap->has_ssrc) {
    tap->has_ssrc = 1;
    tap->ssrc = get32(raw + 8);
  }
  int64_t number = kept->number + stretch->shift;
  uint32_t timestamp = kept->timestamp + stretch->timestamp;
  memcpy(out, raw, (size_t)length);
  put16(out + 2, (uint32_t)number);
  put32(out + 4, timestamp);
  put32(out + 8, tap->ssrc);
  if (stretch->picture || stretch->tl0) vp8_shift(out + start, kept->length, stretch->picture, stretch->tl0);
  course_passed(&tap->course, number, timestamp, out + start, kept->length, now);
  if (number > tap->highest) {
    tap->highest = number;
    tap->cut = (uint16_t)number;
  }
  return 1;
}

/* Would the course begin here, though some of what follows came before the tap was there? */
static int is_too_early(const struct tap *tap, struct layer *layer, const struct kept *kept) {
  if (!kept->key || course_waiting_for(&tap->course) != layer->index) return 0;
  int64_t highest = numbering_ours(&layer->numbering, layer->numbering.highest);
  for (int64_t number = kept->number + 1; number <= highest; number++) {
    const struct kept *later = history_kept(layer, number);
    if (later && later->arrived <= tap->since) return 1;
  }
  return 0;
}

/* What came before the start of the key frame with which the course begins. */
static void give_later(struct engine *engine, struct tap *tap, struct layer *layer, const struct kept *first, const struct stretch *stretch, int64_t now) {
  int64_t highest = numbering_ours(&layer->numbering, layer->numbering.highest);
  uint8_t bare[12 + LARGEST_DATAGRAM];
  for (int64_t number = first->number + 1; number <= highest; number++) {
    const struct kept *kept = history_kept(layer, number);
    if (!kept) continue;
    put16(bare, 0x8000u | (unsigned)kept->marker << 7 | (unsigned)tap->track->shape.payload_type);
    put32(bare + 8, layer->ssrc);
    memcpy(bare + 12, kept->payload, kept->length);
    if (!put_moved(engine, tap, stretch, kept, bare, 12 + kept->length, 12, now)) return;
  }
}

static void give(struct engine *engine, struct tap *tap, struct layer *layer, const struct kept *kept, const struct header *header, int64_t now) {
  int begins;
  if (is_too_early(tap, layer, kept)) return;
  const struct stretch *stretch = course_place(&tap->course, tap->track, layer, kept, now, &begins);
  if (!stretch) return;
  int put = put_moved(engine, tap, stretch, kept, header->raw, header->length, (int)(header->payload - header->raw), now);
  if (put && begins) give_later(engine, tap, layer, kept, stretch, now);
}

void taps_give_of_several(struct engine *engine, struct track *track, struct layer *layer, const struct kept *kept, const struct header *header, int64_t now) {
  for (struct tap *tap = track->taps; tap; tap = tap->next) give(engine, tap, layer, kept, header, now);
}

/* A tap has no decoder that could ask: where it lacks a packet that nobody sends again, only a key frame helps. */
void taps_lost_for_good(struct engine *engine, struct track *track, struct layer *layer) {
  if (!layer->reception.gave_up) return;
  layer->reception.gave_up = 0;
  const struct tap *tap = track->taps;
  while (tap && tap->several && tap->course.current != layer->index) tap = tap->next;
  if (!tap || !track->shape.video) return;
  int32_t index = layer->index;
  uint8_t *out = post_room(engine, KEY_FRAME, 12);
  if (!out) return;
  memcpy(out, &track->shape.key, 8);
  memcpy(out + 8, &index, 4);
  post_signal(engine);
}

void taps_report(struct engine *engine, struct track *track, struct layer *layer, int64_t now) {
  for (struct tap *tap = track->taps; tap; tap = tap->next) {
    if (tap->several && tap->course.current != layer->index) continue;
    uint32_t rtp = layer->rtp + (tap->several ? tap->course.stretches[tap->course.count - 1].timestamp : 0);
    uint8_t *out = put_down(engine, tap, TAP_REPORT, 12, 0, 0, now);
    if (!out) continue;
    memcpy(out, &layer->ntp, 8);
    memcpy(out + 8, &rtp, 4);
  }
}
