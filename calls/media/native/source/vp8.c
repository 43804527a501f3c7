/* The VP8 payload descriptor (RFC 7741 section 4.2), as forward.vp8 and sink.starts_key_frame read it. */
#include "engine.h"

struct ids vp8_ids(const uint8_t *payload, int length) {
  struct ids none = {-1, 0, -1, 0}, found = none;
  if (length < 3 || !(payload[0] & 0x80)) return none;
  int at = 2;
  if (payload[1] & 0x80) {
    found.wide = payload[at] >> 7;
    if (found.wide && length < at + 2) return none;
    found.picture = found.wide ? get16(payload + at) & 0x7FFF : payload[at];
    at += found.wide ? 2 : 1;
  }
  if (payload[1] & 0x40 && length > at) {
    found.tl0 = payload[at];
    found.tl0_at = at;
  }
  return found;
}

void vp8_shift(uint8_t *payload, int length, int picture, int tl0) {
  struct ids ids = vp8_ids(payload, length);
  if (ids.picture >= 0 && ids.wide) put16(payload + 2, 0x8000u | ((unsigned)(ids.picture + picture) & 0x7FFF));
  else if (ids.picture >= 0) payload[2] = (uint8_t)((ids.picture + picture) & 0x7F);
  if (ids.tl0 >= 0) payload[ids.tl0_at] = (uint8_t)(ids.tl0 + tl0);
}

int vp8_starts_key_frame(const uint8_t *payload, int length) {
  if (!length || (payload[0] & 0x17) != 0x10) return 0;
  int at = 1;
  if (payload[0] & 0x80) {
    if (length < 2) return 0;
    uint8_t flags = payload[1];
    at = 2;
    if (flags & 0x80) at += length > at && payload[at] & 0x80 ? 2 : 1;
    at += (flags & 0x40 ? 1 : 0) + (flags & 0x30 ? 1 : 0);
  }
  return length > at && !(payload[at] & 0x01);
}
