/* What is put down for the loop's thread, one record behind the other: octets in all (4), kind (4), content. It is taken up as a whole.

   What strangers can fill is bounded on its own, and so are datagrams of proven addresses and what waits for taps; beyond that it is lost
   and counted. */
#include "engine.h"

#include <unistd.h>

enum { FIRST_ROOM = 1 << 16, MOST_DATAGRAMS = 1 << 20, MOST_TAPPED = 64 << 20, MOST_POST = 96 << 20, MANY = 1 << 18 };

static int grow(struct buffer *buffer, size_t wanted) {
  size_t room = buffer->room ? buffer->room : FIRST_ROOM;
  while (room < wanted) room *= 2;
  if (room == buffer->room) return 1;
  uint8_t *grown = realloc(buffer->data, room);
  if (!grown) return 0;
  buffer->data = grown;
  buffer->room = room;
  return 1;
}

uint8_t *post_room(struct engine *engine, enum kind kind, size_t length) {
  struct buffer *post = &engine->post;
  uint32_t head[2] = {(uint32_t)(8 + length), kind};
  int tapped = kind == TAPPED || kind == TAP_REPORT;
  size_t none = 0, *datagrams = kind == OF_STRANGERS ? &engine->of_strangers : kind == OF_KNOWN ? &engine->of_known : &none;
  int full = (datagrams != &none && *datagrams + length > MOST_DATAGRAMS) || (tapped && engine->tapped + length > MOST_TAPPED);
  if (full || post->length + 8 + length > MOST_POST || !grow(post, post->length + 8 + length)) {
    engine->counters[tapped ? TAP_OVERFLOW : EDGE_OVERFLOW]++;
    return NULL;
  }
  uint8_t *out = post->data + post->length;
  memcpy(out, head, sizeof head);
  post->length += 8 + length;
  *datagrams += length;
  engine->tapped += tapped ? length : 0;
  if (tapped && engine->tapped > MANY) post_signal(engine);
  return out + 8;
}

/* Wake the loop, once for everything that lies there. */
void post_signal(struct engine *engine) {
  uint64_t one = 1;
  if (engine->signalled || engine->wake < 0) return;
  engine->signalled = write(engine->wake, &one, sizeof one) == sizeof one;
}
