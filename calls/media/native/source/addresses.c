/* Whose address it is: a table with open addressing, at most half full. */
#include "engine.h"

static unsigned place_of(const uint8_t *address, unsigned room) {
  uint64_t mixed = 1469598103934665603u;
  for (int at = 0; at < ADDRESS; at += 8) {
    uint64_t part;
    memcpy(&part, address + at, 8);
    mixed = (mixed ^ part) * 0x9E3779B97F4A7C15u;
    mixed ^= mixed >> 29;
  }
  return (unsigned)(mixed >> 32) & (room - 1);
}

static struct heard *slot_of(struct heard *heard, unsigned room, const uint8_t *address) {
  unsigned at = place_of(address, room);
  while (heard[at].end && memcmp(heard[at].address, address, ADDRESS)) at = (at + 1) & (room - 1);
  return &heard[at];
}

struct end *address_end(const struct engine *engine, const uint8_t *address) {
  return engine->heard_room ? slot_of(engine->heard, engine->heard_room, address)->end : NULL;
}

static int fill_anew(struct engine *engine, unsigned room) {
  struct heard *made = calloc(room, sizeof *made);
  if (!made) return 0;
  for (unsigned at = 0; at < engine->heard_room; at++)
    if (engine->heard[at].end) *slot_of(made, room, engine->heard[at].address) = engine->heard[at];
  free(engine->heard);
  engine->heard = made;
  engine->heard_room = room;
  return 1;
}

int address_hear(struct engine *engine, const uint8_t *address, struct end *end) {
  if (2 * (engine->heard_count + 1) > engine->heard_room && !fill_anew(engine, engine->heard_room ? 2 * engine->heard_room : 64)) return 0;
  struct heard *slot = slot_of(engine->heard, engine->heard_room, address);
  engine->heard_count += !slot->end;
  memcpy(slot->address, address, ADDRESS);
  slot->end = end;
  return 1;
}

static void take_out(struct engine *engine, struct heard *slot) {
  slot->end = NULL;
  engine->heard_count--;
  unsigned room = engine->heard_room, at = (unsigned)(slot - engine->heard);
  while (engine->heard[at = (at + 1) & (room - 1)].end) { /* what was pushed behind moves up */
    struct heard moved = engine->heard[at];
    engine->heard[at].end = NULL;
    *slot_of(engine->heard, room, moved.address) = moved;
  }
}

void address_unhear(struct engine *engine, const uint8_t *address) {
  if (!engine->heard_room) return;
  struct heard *slot = slot_of(engine->heard, engine->heard_room, address);
  if (slot->end) take_out(engine, slot);
}

void address_forget(struct engine *engine, const struct end *end) {
  for (unsigned at = 0; at < engine->heard_room;)
    if (engine->heard[at].end == end) take_out(engine, &engine->heard[at]);
    else at++;
}

void address_read(const struct sockaddr_storage *from, uint8_t *address) {
  memset(address, 0, ADDRESS);
  if (from->ss_family == AF_INET) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)from;
    address[10] = address[11] = 0xFF;
    memcpy(address + 12, &four->sin_addr, 4);
    memcpy(address + 20, &four->sin_port, 2);
  } else {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
    memcpy(address, &six->sin6_addr, 16);
    memcpy(address + 16, &six->sin6_scope_id, 4);
    memcpy(address + 20, &six->sin6_port, 2);
  }
}

socklen_t address_write(const uint8_t *address, int family, struct sockaddr_storage *to) {
  memset(to, 0, sizeof *to);
  to->ss_family = (sa_family_t)family;
  if (family == AF_INET) {
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    memcpy(&four->sin_addr, address + 12, 4);
    memcpy(&four->sin_port, address + 20, 2);
    return sizeof *four;
  }
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
  memcpy(&six->sin6_addr, address, 16);
  memcpy(&six->sin6_scope_id, address + 16, 4);
  memcpy(&six->sin6_port, address + 20, 2);
  return sizeof *six;
}
