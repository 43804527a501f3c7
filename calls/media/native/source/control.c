/* Control packets: what listeners and publishers say (RFC 3550, 4585, 5104), and what is asked of publishers, as forward.PythonPath does it. */
#include "engine.h"

enum { SENDER_REPORT = 200, RECEIVER_REPORT, DESCRIPTION, GOODBYE, TRANSPORT_FEEDBACK = 205, PAYLOAD_FEEDBACK = 206 };
enum { NACK = 1, PLI = 1, FIR = 4, APPLICATION = 15, TRANSPORT_CC = 15 };
enum { REPORT_GAP_US = 100000 }; /* between two sender reports of a layer that its listeners are sent */
enum { NAMED_OCTETS = 4 }; /* what each packet that a NACK or a feedback names counts for */

struct packet { int kind, count, length; const uint8_t *body; };

/* Feedback whose deltas end within a word: what stands behind them is found by counting, not by the last octet. */
static int is_padded_feedback(const uint8_t *raw, int size) {
  return (raw[0] & 0x3F) == (0x20 | TRANSPORT_CC) && raw[1] == TRANSPORT_FEEDBACK && raw[size - 1] >= 1 && raw[size - 1] <= size - 12;
}

/* The packet at `*at` without its padding; `*at` moves behind it. 0: malformed. */
static int next_packet(const uint8_t *raw, int length, int *at, struct packet *packet) {
  if (length < *at + 4 || raw[*at] >> 6 != 2) return 0;
  packet->count = raw[*at] & 0x1F;
  packet->kind = raw[*at + 1];
  packet->length = 4 * get16(raw + *at + 2);
  packet->body = raw + *at + 4;
  if (length < *at + 4 + packet->length) return 0;
  int padded = raw[*at] & 0x20 && !is_padded_feedback(raw + *at, 4 + packet->length);
  *at += 4 + packet->length;
  if (!padded) return 1;
  int padding = packet->length ? packet->body[packet->length - 1] : 0;
  if (!padding || padding > packet->length) return 0;
  packet->length -= padding;
  return 1;
}

static int description_fits(const struct packet *p) {
  int at = 0;
  for (int chunk = 0; chunk < p->count; chunk++) {
    if (p->length < at + 4) return 0;
    at += 4;
    while (at < p->length - 1) {
      int kind = p->body[at], length = p->body[at + 1];
      at += 2;
      if (p->length < at + length) return 0;
      at += length;
      if (!kind) break;
    }
  }
  return 1;
}

static int fits(const struct packet *p) {
  switch (p->kind) {
    case GOODBYE: return p->length >= 4 * p->count;
    case DESCRIPTION: return description_fits(p);
    case SENDER_REPORT: return p->length == 24 + 24 * p->count;
    case RECEIVER_REPORT: return p->length == 4 + 24 * p->count;
    case TRANSPORT_FEEDBACK: return p->length >= 8 && p->length % 4 == 0;
    case PAYLOAD_FEEDBACK: return p->length >= 8;
    default: return 1;
  }
}

static struct copy *copy_of(const struct end *end, uint32_t ssrc) {
  for (struct copy *copy = end->copies; copy; copy = copy->next_of_end)
    if (copy->ssrc == ssrc) return copy;
  return NULL;
}

static void sender_report(struct engine *engine, struct end *end, const struct packet *p, int64_t now) {
  struct found *found = publisher_found(end, get32(p->body));
  if (!found || found->repair) return;
  struct layer *layer = found->layer;
  layer->ntp = get64(p->body + 4);
  layer->rtp = get32(p->body + 12);
  layer->reported = layer->reception.reported = 1;
  layer->reception.last_report = (uint32_t)(layer->ntp >> 16);
  layer->reception.report_at = now;
  if (now >= layer->passes_report_from) {
    layer->passes_report_from = now + REPORT_GAP_US;
    for (struct copy *copy = found->track->copies; copy; copy = copy->next) copy_pass_report(engine, copy, layer);
  }
  taps_report(engine, found->track, layer, now);
}

static void blocks(struct engine *engine, struct end *end, const uint8_t *at, int count) {
  for (; count--; at += 24) {
    struct copy *copy = copy_of(end, get32(at));
    if (!copy) continue;
    int32_t fraction = at[4];
    uint8_t *out = post_room(engine, LOST, 20 + (size_t)copy->name_length);
    if (!out) return;
    memcpy(out, &end->number, 8);
    memcpy(out + 8, &copy->track->shape.key, 8);
    memcpy(out + 16, &fraction, 4);
    memcpy(out + 20, copy->name, (size_t)copy->name_length);
  }
}

static int resend(struct engine *engine, struct copy *copy, uint16_t number, int64_t now) {
  int done = copy_resend(engine, copy, number, now);
  engine->counters[RESENT] += done > 0;
  engine->counters[RESEND_BUDGET] += done < 0;
  return done >= 0;
}

static void negative(struct engine *engine, struct end *end, const struct packet *p, int64_t now) {
  struct copy *copy = copy_of(end, get32(p->body + 4));
  if (!copy) return;
  int64_t named = 0;
  for (int at = 8; at < p->length; at += 4) named += 1 + __builtin_popcount(get16(p->body + at + 2));
  if (!allowance_take(&end->control, NAMED_OCTETS * named, now)) {
    engine->counters[CONTROL_OVER_RATE]++;
    return;
  }
  for (int at = 8; at < p->length; at += 4) {
    uint16_t first = get16(p->body + at), others = get16(p->body + at + 2);
    if (!resend(engine, copy, first, now)) return;
    for (int bit = 0; bit < 16; bit++)
      if (others >> bit & 1 && !resend(engine, copy, (uint16_t)(first + bit + 1), now)) return;
  }
}

/* Which stream a PLI or FIR is about; FIR names it in its body (RFC 5104 section 4.3.1). */
static uint32_t about(const struct packet *p) {
  uint32_t named = get32(p->body + 4), in_body = 0;
  for (int at = 8; at < p->length && at < 12; at++) in_body = in_body << 8 | p->body[at];
  return named ? named : in_body;
}

static void estimated(struct engine *engine, struct end *end, const struct packet *p) {
  const uint8_t *body = p->body + 8;
  int length = p->length - 8;
  if (length < 8 || memcmp(body, "REMB", 4) || length < 8 + 4 * body[4]) return; /* an application's own message */
  uint32_t exponent = body[5] >> 2, mantissa = (uint32_t)(body[5] & 3) << 16 | get16(body + 6);
  uint8_t *out = post_room(engine, ESTIMATED, 16);
  if (!out) return;
  memcpy(out, &end->number, 8);
  memcpy(out + 8, &mantissa, 4);
  memcpy(out + 12, &exponent, 4);
}

static void heed(struct engine *engine, struct end *end, const struct packet *p, int64_t now) {
  if (p->kind == SENDER_REPORT) {
    sender_report(engine, end, p, now);
    blocks(engine, end, p->body + 24, p->count);
  } else if (p->kind == RECEIVER_REPORT) {
    blocks(engine, end, p->body + 4, p->count);
  } else if (p->kind == TRANSPORT_FEEDBACK && p->count == NACK) {
    negative(engine, end, p, now);
  } else if (p->kind == PAYLOAD_FEEDBACK && (p->count == PLI || p->count == FIR)) {
    struct copy *copy = copy_of(end, about(p));
    if (copy) copy_wants_key_frame(engine, copy);
  } else if (p->kind == PAYLOAD_FEEDBACK && p->count == APPLICATION) {
    estimated(engine, end, p);
  }
}

/* One authentic compound of control packets: nothing of it is heeded unless all of it can be read. */
void control_take(struct engine *engine, struct end *end, const uint8_t *clear, int length, int64_t now) {
  struct packet packet;
  for (int at = 0; at < length;)
    if (!next_packet(clear, length, &at, &packet) || !fits(&packet)) {
      engine->counters[RTCP_MALFORMED]++;
      return;
    }
  for (int at = 0; at < length && next_packet(clear, length, &at, &packet);) heed(engine, end, &packet, now);
  for (int at = 0; at + 4 <= length;) {
    int size = 4 + 4 * get16(clear + at + 2);
    if ((clear[at] & 0x1F) == TRANSPORT_CC && clear[at + 1] == TRANSPORT_FEEDBACK) {
      int named = size >= 16 ? get16(clear + at + 14) : 0;
      if (!allowance_take(&end->control, NAMED_OCTETS * named, now)) engine->counters[CONTROL_OVER_RATE]++;
      else engine->counters[RTCP_MALFORMED] += !sent_heed(&end->sent, clear + at, size, now, engine->symbols);
    }
    at += size;
  }
}

/* A generic NACK for these numbers, which are in ascending order. */
void control_ask_again(struct engine *engine, struct end *end, uint32_t ssrc, const uint16_t *numbers, int count) {
  uint8_t out[12 + 4 * MOST_MISSING];
  int length = 12;
  for (int at = 0; at < count;) {
    uint16_t first = numbers[at++];
    unsigned others = 0;
    for (; at < count && numbers[at] - first - 1 < 16; at++) others |= 1u << (numbers[at] - first - 1);
    put16(out + length, first);
    put16(out + length + 2, others);
    length += 4;
  }
  put16(out, 0x81CD);
  put16(out + 2, (uint32_t)length / 4 - 1);
  put32(out + 4, end->rtcp_ssrc);
  put32(out + 8, ssrc);
  outlet_rtcp(engine, end, out, length);
}

/* Lost packets again, and what came when. */
void control_ask(struct engine *engine, struct end *end, int64_t now) {
  uint16_t numbers[MOST_TRACKED];
  uint8_t told[1100];
  const struct layer *first = NULL;
  for (struct track *track = end->tracks; track; track = track->next)
    for (int at = 0; at < track->shape.layers; at++) {
      struct layer *layer = &track->layers[at];
      if (!layer->has_ssrc) continue;
      if (!first) first = layer;
      int count = reception_repeat(&layer->reception, now, numbers);
      taps_lost_for_good(engine, track, layer);
      if (count) control_ask_again(engine, end, layer->ssrc, numbers, count);
    }
  if (!first) return;
  int length = arrivals_due(&end->arrivals, end->rtcp_ssrc, first->ssrc, now, told);
  if (length) outlet_rtcp(engine, end, told, length);
}
