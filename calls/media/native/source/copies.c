/* One listener's copy of a track: how a packet looks there and what is sent of it, as forward.copies.Outgoing says. */
#include "engine.h"

#include <stddef.h>

enum { SOUND = 111, PICTURE = 96, REPAIR = 97, TOKEN_US = 2000, BURST_US = 1200000, CNAME_ITEM = 1, LINE = 64 };

/* The extensions behind `out`; where numbers are counted, `*number_at` is where the transport-wide one belongs. Returns their octets. */
static int extensions(const struct copy *copy, const struct kept *kept, uint8_t *out, int *number_at) {
  int at = copy->mid_length;
  memcpy(out, copy->mid, (size_t)at);
  *number_at = at + 1;
  if (copy->course.waits_for_key) {
    if (copy->numbered) {
      out[at] = 0x51;
      at += 3;
    } else {
      out[at] = 0x22;
      out[at + 1] = (uint8_t)(kept->sent_at >> 16);
      put16(out + at + 2, kept->sent_at);
      at += 4;
    }
    if (kept->orientation >= 0) { out[at++] = 0x40; out[at++] = (uint8_t)kept->orientation; }
  } else if (kept->level >= 0) {
    out[at++] = 0x30;
    out[at++] = (uint8_t)kept->level;
  }
  while (at % 4) out[at++] = 0;
  return at;
}

static void head(uint8_t *out, unsigned first, unsigned second, int64_t number, uint32_t timestamp, uint32_t ssrc, int block) {
  out[0] = (uint8_t)first;
  out[1] = (uint8_t)second;
  put16(out + 2, (uint32_t)number);
  put32(out + 4, timestamp);
  put32(out + 8, ssrc);
  put16(out + 12, 0xBEDE);
  put16(out + 14, (uint32_t)block / 4);
}

/* The payload with its VP8 ids moved on. Returns its octets. */
static int body(const struct kept *kept, const struct stretch *stretch, uint8_t *out) {
  if (kept->length) memcpy(out, kept->payload, kept->length);
  if (stretch->picture || stretch->tl0) vp8_shift(out, kept->length, stretch->picture, stretch->tl0);
  return kept->length;
}

/* The packet in a slot. Returns where its payload lies: where nothing of it changes, that is the history, from where it is sealed. */
static const uint8_t *dress(struct slot *slot, struct copy *copy, const struct kept *kept, const struct stretch *stretch, int64_t now) {
  int number_at, block = extensions(copy, kept, slot->data + 16, &number_at);
  uint8_t *payload = slot->data + 16 + block;
  int length = kept->length;
  slot->head = 16 + block;
  slot->length = 16 + block + length;
  if (length && !stretch->picture && !stretch->tl0) slot->body = kept->payload;
  else body(kept, stretch, payload);
  if (!length) {
    put32(payload, 4);
    slot->length += 4;
  }
  if (copy->numbered) put16(slot->data + 16 + number_at, sent_number(&copy->end->sent, (uint32_t)slot->length, now));
  unsigned second = (unsigned)kept->marker << 7 | (copy->course.waits_for_key ? PICTURE : SOUND);
  head(slot->data, length ? 0x90 : 0xB0, second, kept->number + stretch->shift, kept->timestamp + stretch->timestamp, copy->ssrc, block);
  return slot->body ? slot->body : payload;
}

/* Fetch into the cache what this listener's next packets need, a step at a time: each reads what the one before has fetched. */
void copy_ahead(const struct copy *copy, int step) {
  const struct end *end = copy->end;
  if (step == 0) {
    for (size_t at = 0; at < offsetof(struct copy, next_of_end); at += LINE) __builtin_prefetch((const char *)copy + at);
  } else if (step == 1) {
    for (size_t at = 0; at < offsetof(struct end, address); at += LINE) __builtin_prefetch((const char *)end + at);
  } else {
    if (step == 2 && end->sent.packets) __builtin_prefetch(&end->sent.packets[end->sent.next % SENT], 1);
    if (end->sealing) sealing_ahead(end->sealing, copy->ssrc, step - 2);
  }
}

/* RFC 4588: its own SSRC and sequence, the original number in front of the payload. */
static void dress_repair(struct slot *slot, struct copy *copy, const struct kept *kept, const struct stretch *stretch, int64_t now) {
  int number_at, block = extensions(copy, kept, slot->data + 16, &number_at);
  uint8_t *payload = slot->data + 16 + block;
  put16(payload, (uint32_t)(kept->number + stretch->shift));
  slot->length = 18 + block + body(kept, stretch, payload + 2);
  put16(slot->data + 16 + number_at, sent_number(&copy->end->sent, (uint32_t)slot->length, now));
  copy->repairs++;
  head(slot->data, 0x90, (unsigned)kept->marker << 7 | REPAIR, copy->repairs, kept->timestamp + stretch->timestamp, copy->repair_ssrc, block);
}

void copy_refused(struct engine *engine, struct copy *copy, int payload_length) {
  copy->packets--;
  copy->octets -= payload_length;
  if (!copy->course.waits_for_key) return;
  copy->course.needs_key = 1;
  copy_wants_key_frame(engine, copy);
}

/* Send this packet if it is for this listener. 0: the listener could not take it and waits for a key frame now. */
int copy_give(struct engine *engine, struct copy *copy, struct layer *layer, const struct kept *kept, int64_t now) {
  int begins;
  struct stretch *stretch = course_place(&copy->course, copy->track, layer, kept, now, &begins);
  if (!stretch) return 1;
  struct slot *slot = outlet_slot(engine);
  const uint8_t *payload = dress(slot, copy, kept, stretch, now);
  course_passed(&copy->course, kept->number + stretch->shift, kept->timestamp + stretch->timestamp, payload, kept->length, now);
  if (!outlet_rtp(engine, copy->end, copy, slot, kept->length)) {
    copy->course.needs_key = copy->course.waits_for_key;
    return !copy->course.waits_for_key;
  }
  copy->packets++;
  copy->octets += kept->length;
  if (begins || copy->packets == 1) copy_pass_report(engine, copy, layer);
  return 1;
}

static int may_send_again(struct copy *copy, int64_t now) {
  copy->credit += now - copy->credit_at;
  if (copy->credit > BURST_US) copy->credit = BURST_US;
  copy->credit_at = now;
  if (copy->credit < TOKEN_US) return 0;
  copy->credit -= TOKEN_US;
  return 1;
}

int copy_resend(struct engine *engine, struct copy *copy, uint16_t number, int64_t now) {
  int64_t ours;
  struct stretch *stretch = course_back(&copy->course, number, &ours);
  const struct kept *kept = stretch ? history_kept(&copy->track->layers[stretch->layer], ours) : NULL;
  if (!kept) return 0;
  if (!may_send_again(copy, now)) return -1;
  struct slot *slot = outlet_slot(engine);
  if (copy->numbered) dress_repair(slot, copy, kept, stretch, now);
  else dress(slot, copy, kept, stretch, now);
  return outlet_rtp(engine, copy->end, NULL, slot, 0);
}

/* The publisher's last pair of clocks, under the listener's SSRC and timestamps, with what this listener was sent. */
void copy_pass_report(struct engine *engine, struct copy *copy, struct layer *layer) {
  if (!layer->reported || !copy->packets || copy->course.current != layer->index) return;
  uint8_t out[28 + 8 + 2 + LONGEST_NAME + 8] = {0};
  put32(out, 0x80C80006);
  put32(out + 4, copy->ssrc);
  put64(out + 8, layer->ntp);
  put32(out + 16, layer->rtp + copy->course.stretches[copy->course.count - 1].timestamp);
  put32(out + 20, (uint32_t)copy->packets);
  put32(out + 24, (uint32_t)copy->octets);
  uint8_t *name = out + 28;
  int length = (4 + 2 + copy->cname_length + 2 + 3) / 4 * 4;
  put32(name, 0x81CA0000u | (uint32_t)length / 4);
  put32(name + 4, copy->ssrc);
  name[8] = CNAME_ITEM;
  name[9] = (uint8_t)copy->cname_length;
  memcpy(name + 10, copy->cname, (size_t)copy->cname_length);
  outlet_rtcp(engine, copy->end, out, 28 + 4 + length);
}

void copy_say_goodbye(struct engine *engine, struct copy *copy) {
  uint8_t out[8];
  if (!copy->packets) return;
  put32(out, 0x81CB0001);
  put32(out + 4, copy->ssrc);
  outlet_rtcp(engine, copy->end, out, sizeof out);
}

void copy_wants_key_frame(struct engine *engine, struct copy *copy) {
  int32_t layer = course_waiting_for(&copy->course);
  if (layer < 0) layer = copy->course.current;
  if (layer < 0 || !copy->course.waits_for_key) return;
  uint8_t *out = post_room(engine, KEY_FRAME, 12);
  if (!out) return;
  memcpy(out, &copy->track->shape.key, 8);
  memcpy(out + 8, &layer, 4);
  post_signal(engine);
}
