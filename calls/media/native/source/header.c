/* RTP headers and their extensions (RFC 3550 section 5, RFC 8285), read as sink.Packet.parse does. */
#include "engine.h"

enum { ONE_BYTE = 0xBEDE, TWO_BYTES = 0x1000 };

static int one_byte_form(const struct header *h) { return h->profile == ONE_BYTE; }

/* The element at `at`: its id, value and the place behind it. 0: the block ends here, -1: it does not fit. */
static int element(const struct header *h, int at, int *id, int *value, int *length) {
  const uint8_t *block = h->block;
  if (one_byte_form(h)) {
    *id = block[at] >> 4;
    *length = (block[at] & 0x0F) + 1;
    *value = at + 1;
    if (*id == 15) return 0;
  } else {
    if (at + 2 > h->block_length) return -1;
    *id = block[at];
    *length = block[at + 1];
    *value = at + 2;
  }
  return *value + *length > h->block_length ? -1 : 1;
}

static int block_fits(const struct header *h) {
  int at = 0, id, value, length;
  while (at < h->block_length) {
    if (!h->block[at]) { at++; continue; }
    int found = element(h, at, &id, &value, &length);
    if (found <= 0) return found == 0;
    at = value + length;
  }
  return 1;
}

int header_frame(struct header *h, const uint8_t *raw, int length) {
  if (length < 12) return 0;
  h->raw = raw;
  h->length = length;
  h->first = raw[0];
  h->payload_type = raw[1] & 0x7F;
  h->marker = raw[1] >> 7;
  h->sequence_number = get16(raw + 2);
  h->timestamp = get32(raw + 4);
  h->ssrc = get32(raw + 8);
  h->block_length = 0;
  h->block = raw;
  h->profile = 0;
  int start = 12 + 4 * (raw[0] & 0x0F);
  if (raw[0] & 0x10) {
    if (start + 4 > length) return 0;
    h->profile = get16(raw + start);
    h->block_length = 4 * get16(raw + start + 2);
    h->block = raw + start + 4;
    start += 4 + h->block_length;
  }
  if (start > length) return 0;
  h->payload = raw + start;
  h->payload_length = length - start;
  if (h->profile != ONE_BYTE && (h->profile & 0xFFF0) != TWO_BYTES) h->block_length = 0;
  return block_fits(h);
}

int header_read(struct header *h, const uint8_t *raw, int length) {
  if (length < 12 || raw[0] >> 6 != 2 || !header_frame(h, raw, length)) return 0;
  if (raw[0] & 0x20) {
    int padding = raw[length - 1];
    if (!padding || padding > h->payload_length) return 0;
    h->payload_length -= padding;
  }
  return 1;
}

const uint8_t *header_extension(const struct header *h, int wanted, int *length) {
  const uint8_t *last = NULL;
  int at = 0, id, value, size;
  if (wanted < 0) return NULL;
  while (at < h->block_length) {
    if (!h->block[at]) { at++; continue; }
    if (element(h, at, &id, &value, &size) <= 0) break;
    if (id == wanted) { last = h->block + value; *length = size; }
    at = value + size;
  }
  return last;
}
