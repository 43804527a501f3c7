/* What comes from a publisher: which SSRC it is, the seal, the header, and on to history, taps and copies. */
#include "engine.h"

struct found *publisher_found(struct end *end, uint32_t ssrc) {
  for (int at = 0; at < end->by_ssrc_count; at++)
    if (end->by_ssrc[at].ssrc == ssrc) return &end->by_ssrc[at];
  return NULL;
}

int publisher_enter(struct end *end, struct found found) {
  struct found *known = publisher_found(end, found.ssrc);
  if (known) {
    *known = found;
    return 1;
  }
  if (end->by_ssrc_count == end->by_ssrc_room) {
    int room = end->by_ssrc_room ? 2 * end->by_ssrc_room : 16;
    struct found *grown = realloc(end->by_ssrc, (size_t)room * sizeof *grown);
    if (!grown) return 0;
    end->by_ssrc = grown;
    end->by_ssrc_room = room;
  }
  end->by_ssrc[end->by_ssrc_count++] = found;
  return 1;
}

static int knows(const uint32_t *list, int count, uint32_t ssrc) {
  for (int at = 0; at < count; at++)
    if (list[at] == ssrc) return 1;
  return 0;
}

static int is_named(const uint8_t *value, int length, const char *name, int name_length) {
  return value && length == name_length && !memcmp(value, name, (size_t)length);
}

/* The layer of this track without an SSRC that the extensions name. */
static int named_by(struct track *track, const struct header *h, struct found *found) {
  int mid_length = 0, rid_length = 0, repaired_length = 0;
  const struct shape *shape = &track->shape;
  const uint8_t *mid = header_extension(h, shape->mid_id, &mid_length);
  if (!is_named(mid, mid_length, shape->mid, shape->mid_length)) return 0;
  const uint8_t *rid = header_extension(h, shape->rid_id, &rid_length);
  const uint8_t *repaired = header_extension(h, shape->repaired_rid_id, &repaired_length);
  for (int at = 0; at < shape->layers; at++) {
    struct layer *layer = &track->layers[at];
    int has_name = layer->rid_length > 0;
    int repair = has_name ? is_named(repaired, repaired_length, layer->rid, layer->rid_length) : h->payload_type == shape->repair_payload_type;
    int media = !repair && !layer->has_ssrc && (!has_name || is_named(rid, rid_length, layer->rid, layer->rid_length));
    if (!media && !(repair && !layer->has_repair)) continue;
    *found = (struct found){h->ssrc, track, layer, repair};
    return 1;
  }
  return 0;
}

static int unnamed(struct end *end, const uint8_t *sealed, int length, struct found *found) {
  struct header header;
  if (!header_frame(&header, sealed, length)) return 0;
  for (struct track *track = end->tracks; track; track = track->next)
    if (named_by(track, &header, found)) return 1;
  return 0;
}

static void learn(struct engine *engine, struct end *end, const struct found *found) {
  if (!publisher_enter(end, *found)) return;
  if (found->repair) {
    found->layer->repair_ssrc = found->ssrc;
    found->layer->has_repair = 1;
  } else {
    found->layer->ssrc = found->ssrc;
    found->layer->has_ssrc = 1;
  }
  uint8_t *out = post_room(engine, LEARNT, 28);
  if (!out) return;
  int32_t layer = found->layer->index, repair = found->repair;
  memcpy(out, &end->number, 8);
  memcpy(out + 8, &found->track->shape.key, 8);
  memcpy(out + 16, &layer, 4);
  memcpy(out + 20, &found->ssrc, 4);
  memcpy(out + 24, &repair, 4);
}

/* The packet that a repair carries, as it would have come (RFC 4588 section 4). */
static int unwrap_repair(const struct found *found, struct header *h, uint8_t *out) {
  int start = (int)(h->payload - h->raw), length = h->payload_length - 2;
  memcpy(out, h->raw, (size_t)start);
  memcpy(out + start, h->payload + 2, (size_t)length);
  out[0] = (uint8_t)(h->first & ~0x20);
  out[1] = (uint8_t)(h->marker << 7 | found->track->shape.payload_type);
  memcpy(out + 2, h->payload, 2);
  put32(out + 8, found->layer->ssrc);
  return header_read(h, out, start + length);
}

/* 24 bits of 64 seconds, as abs-send-time has them. */
static uint32_t send_time(int64_t wall_us) {
  __extension__ typedef unsigned __int128 wide;
  return (uint32_t)((wide)wall_us * 262144 / 1000000) & 0xFFFFFF;
}

static void pass_on(struct engine *engine, const struct found *found, const struct header *h, int64_t now) {
  struct track *track = found->track;
  struct layer *layer = found->layer;
  int64_t number = numbering_unwrap(&layer->numbering, h->sequence_number);
  if (number < 0) {
    engine->counters[RTP_TOO_OLD]++;
    return;
  }
  int several = track->shape.layers > 1;
  if (!several && !history_holds(layer, number)) taps_give(engine, track, number, h, now);
  giving_makes_room(engine, layer, number);
  struct kept *kept = history_keep(track, layer, number, h, send_time(now + engine->wall_offset), now);
  if (!kept) {
    engine->counters[RTP_REPEATED] += h->payload_length > 0;
    return;
  }
  if (several) taps_give_of_several(engine, track, layer, kept, h, now);
  giving_add(engine, track, layer, kept, now);
}

/* One authentic packet of a layer. */
static void arrived(struct engine *engine, struct end *end, const struct found *found, int length, int64_t now) {
  struct header h;
  const struct shape *shape = &found->track->shape;
  if (engine_fenced(engine)) return;
  if (!header_read(&h, engine->clear, length)) {
    engine->counters[RTP_MALFORMED]++;
    return;
  }
  int size = 0;
  const uint8_t *transport = header_extension(&h, shape->transport_id, &size);
  if (transport && size == 2) arrivals_note(&end->arrivals, get16(transport), now);
  if (h.payload_type != (found->repair ? shape->repair_payload_type : shape->payload_type)) {
    engine->counters[PAYLOAD_TYPE_UNDECLARED]++;
    return;
  }
  struct reception *reception = &found->layer->reception;
  if (found->repair) {
    if (h.payload_length < 2 || !found->layer->has_ssrc || !unwrap_repair(found, &h, engine->again)) return;
    reception_repaired(reception, h.sequence_number);
  } else {
    uint16_t numbers[MOST_TRACKED];
    int count = reception_add(reception, h.sequence_number, h.timestamp, now, numbers);
    if (count) control_ask_again(engine, end, h.ssrc, numbers, count);
  }
  taps_lost_for_good(engine, found->track, found->layer);
  pass_on(engine, found, &h, now);
}

/* Into engine->clear. 0: it is genuine. */
static int opened(struct engine *engine, struct end *end, const uint8_t *sealed, int *length) {
  if (end->opening) return opening_open(end->opening, sealed, length, engine->clear);
  memcpy(engine->clear, sealed, (size_t)*length);
  return engine->unprotect(end->receiving, engine->clear, length);
}

static void take_rtp(struct engine *engine, struct end *end, const uint8_t *sealed, int length, int64_t now) {
  uint32_t ssrc = get32(sealed + 8);
  struct found found = {0}, *known = publisher_found(end, ssrc);
  int sender = knows(end->senders, end->sender_count, ssrc);
  if (known) found = *known;
  if ((!known && !unnamed(end, sealed, length, &found)) || (!sender && end->sender_count >= MOST_SENDERS)) {
    engine->counters[SSRC_UNDECLARED]++;
    return;
  }
  struct allowance *allowance = &found.track->allowance;
  if (allowance_is_shut(allowance, now)) {
    engine->counters[TRACK_OVER_RATE]++;
    return;
  }
  int octets = length;
  if (opened(engine, end, sealed, &length)) {
    engine->counters[SRTP_REFUSED]++;
    return;
  }
  if (!sender) end->senders[end->sender_count++] = ssrc; /* SRTP keeps it from now on, whatever becomes of the packet */
  if (!allowance_take(allowance, octets, now)) {
    engine->counters[TRACK_OVER_RATE]++;
    return;
  }
  if (!known) learn(engine, end, &found);
  arrived(engine, end, &found, length, now);
}

static void take_rtcp(struct engine *engine, struct end *end, const uint8_t *sealed, int length, int64_t now) {
  if (!end->tracks && !end->copies) {
    engine->counters[RTCP_UNASKED]++;
    return;
  }
  uint32_t sender = get32(sealed + 4);
  int known = knows(end->senders, end->sender_count, sender), reporter = knows(end->reporters, end->reporter_count, sender);
  if (!known && !reporter && end->reporter_count >= MOST_REPORTERS) {
    engine->counters[SSRC_UNDECLARED]++;
    return;
  }
  if (allowance_is_shut(&end->control, now)) {
    engine->counters[CONTROL_OVER_RATE]++;
    return;
  }
  int octets = length;
  memcpy(engine->clear, sealed, (size_t)length);
  if (engine->unprotect_rtcp(end->receiving, engine->clear, &length)) {
    engine->counters[SRTP_REFUSED]++;
    return;
  }
  if (!known && !reporter) end->reporters[end->reporter_count++] = sender;
  if (!allowance_take(&end->control, octets, now)) {
    engine->counters[CONTROL_OVER_RATE]++;
    return;
  }
  giving_settle(engine);
  if (!engine_fenced(engine)) control_take(engine, end, engine->clear, length, now);
}

void publisher_take(struct engine *engine, struct end *end, const uint8_t *sealed, int length, int64_t now) {
  if (!end->attached) engine->counters[SRTP_EARLY]++;
  else if (length < 8) engine->counters[RTP_MALFORMED]++;
  else if (length > LARGEST_DATAGRAM) engine->counters[SRTP_REFUSED]++;
  else if (sealed[1] >= 192 && sealed[1] <= 223) take_rtcp(engine, end, sealed, length, now);
  else if (length < 12) engine->counters[RTP_MALFORMED]++;
  else take_rtp(engine, end, sealed, length, now);
}
