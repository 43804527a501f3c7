/* The packets of a layer that are kept for listeners that lost some. */
#include "engine.h"

static int one_octet(const struct header *header, int id) {
  int length = 0;
  const uint8_t *value = header_extension(header, id, &length);
  return value && length == 1 ? *value : -1;
}

static void hear(struct track *track, const struct header *header) {
  int length = 0;
  const uint8_t *level = header_extension(header, track->shape.level_id, &length);
  if (!level || !length) return;
  track->level += 127 - (*level & 0x7F);
  track->levels++;
}

static int fill(struct kept *kept, const uint8_t *payload, int length) {
  if (kept->room < length) {
    int room = (length + 127) / 128 * 128;
    free(kept->payload);
    kept->payload = malloc((size_t)room);
    kept->room = (uint16_t)(kept->payload ? room : 0);
    if (!kept->payload) return 0;
  }
  if (length) memcpy(kept->payload, payload, (size_t)length);
  kept->length = (uint16_t)length;
  return 1;
}

/* Count a packet and put it into the history; NULL when nothing is passed on of it. */
struct kept *history_keep(struct track *track, struct layer *layer, int64_t number, const struct header *header, uint32_t sent_at, int64_t now) {
  struct numbering *numbering = &layer->numbering;
  int newest = number > numbering->highest;
  if (newest) numbering->highest = number;
  layer->packets++;
  layer->octets += header->payload_length;
  layer->last_us = now;
  hear(track, header);
  if (!header->payload_length) {
    if (newest) numbering_skip(numbering, number);
    if (newest || numbering_skipped(numbering, number)) return NULL;
  }
  int64_t ours = numbering_ours(numbering, number);
  struct kept *kept = &layer->history[ours % HISTORY];
  if (kept->number >= ours) return NULL;
  kept->number = 0;
  if (!fill(kept, header->payload, header->payload_length)) return NULL;
  kept->number = ours;
  kept->timestamp = header->timestamp;
  kept->sent_at = sent_at;
  kept->arrived = now;
  kept->marker = header->marker;
  kept->orientation = (int16_t)one_octet(header, track->shape.orientation_id);
  kept->level = (int16_t)one_octet(header, track->shape.level_id);
  kept->key = (uint8_t)(track->shape.video && vp8_starts_key_frame(header->payload, header->payload_length));
  return kept;
}

struct kept *history_kept(struct layer *layer, int64_t number) {
  if (number <= 0) return NULL;
  struct kept *kept = &layer->history[number % HISTORY];
  return kept->number == number ? kept : NULL;
}

/* Is the packet under this number of the publisher kept? */
int history_holds(struct layer *layer, int64_t number) { return history_kept(layer, numbering_ours(&layer->numbering, number)) != NULL; }

void history_free(struct layer *layer) {
  for (int at = 0; at < HISTORY; at++) free(layer->history[at].payload);
  free(layer->numbering.skipped);
}
