/* transport-cc both ways (draft-holmer-rmcat-transport-wide-cc-extensions-01), as calls.media.congestion says. */
#include "engine.h"

enum {
  EVERY_US = 100000, MOST_STATUSES = 256, MOST_NOTED = 1024, EVENT_US = 200000, WINDOW_US = 10000000, TICK_US = 250, REFERENCE_US = 64000
};

static int64_t *at(struct arrivals *a, int64_t number) { return &a->at[number % MOST_UNTOLD]; }

static void clear(struct arrivals *a) {
  for (int place = 0; place < MOST_UNTOLD; place++) a->at[place] = -1;
  a->count = 0;
}

void arrivals_note(struct arrivals *a, uint16_t number, int64_t now) {
  if (!a->at) {
    a->at = malloc(MOST_UNTOLD * sizeof *a->at);
    if (!a->at) return;
    clear(a);
  }
  if (!a->begun) {
    a->begun = 1;
    a->highest = a->next = number + 0x10000;
  }
  int64_t found = a->highest + (int16_t)(uint16_t)(number - (uint16_t)a->highest);
  if (found > a->highest + MOST_NOTED || found >= a->next + MOST_UNTOLD) {
    clear(a);
    a->next = found;
  }
  if (found > a->highest) a->highest = found;
  if (found < a->next || *at(a, found) >= 0) return;
  *at(a, found) = now;
  if (!a->count++ || found > a->last) a->last = found;
}

/* A symbol for each packet (0 lost, 1 small, 2 large delta) and the deltas; ends where a delta no longer fits. */
static int symbols_of(struct arrivals *a, int most, int64_t before, uint8_t *symbols, uint8_t *deltas, int *octets) {
  int count = 0;
  *octets = 0;
  for (; count < most; count++) {
    int64_t when = *at(a, a->next + count);
    if (when < 0) {
      symbols[count] = 0;
      continue;
    }
    int64_t delta = when / TICK_US - before;
    before += delta;
    if (delta >= 0 && delta <= 255) {
      symbols[count] = 1;
      deltas[(*octets)++] = (uint8_t)delta;
    } else if (delta >= -0x8000 && delta < 0x8000) {
      symbols[count] = 2;
      put16(deltas + *octets, (uint32_t)delta);
      *octets += 2;
    } else {
      break;
    }
  }
  return count;
}

/* Runs of seven or more of one symbol as run lengths, everything else seven to a vector of two bits each. */
static int chunks(const uint8_t *symbols, int count, uint8_t *out) {
  int length = 0;
  for (int from = 0; from < count;) {
    int run = 1;
    while (from + run < count && symbols[from + run] == symbols[from]) run++;
    unsigned chunk = 0xC000;
    if (run >= 7 || from + run == count) {
      chunk = (unsigned)symbols[from] << 13 | (unsigned)run;
      from += run;
    } else {
      for (int place = 0; place < 7; place++, from++)
        if (from < count) chunk |= (unsigned)symbols[from] << (12 - 2 * place);
    }
    put16(out + length, chunk);
    length += 2;
  }
  return length;
}

static int64_t first_of(struct arrivals *a, int most) {
  for (int place = 0; place < most; place++)
    if (*at(a, a->next + place) >= 0) return *at(a, a->next + place);
  return -1;
}

int arrivals_due(struct arrivals *a, uint32_t sender, uint32_t media, int64_t now, uint8_t *out) {
  uint8_t symbols[MOST_STATUSES], deltas[2 * MOST_STATUSES];
  if (!a->count || now - a->told_us < EVERY_US) return 0;
  a->told_us = now;
  int64_t untold = a->last + 1 - a->next;
  int most = untold < MOST_STATUSES ? (int)untold : MOST_STATUSES, octets;
  int64_t first = first_of(a, most), reference = first / REFERENCE_US;
  if (first < 0) { /* a hole longer than one packet can tell of: go on behind it */
    while (*at(a, a->next) < 0) a->next++;
    return 0;
  }
  int count = symbols_of(a, most, reference * REFERENCE_US / TICK_US, symbols, deltas, &octets);
  int length = 20 + chunks(symbols, count, out + 20);
  memcpy(out + length, deltas, (size_t)octets);
  for (length += octets; length % 4; length++) out[length] = 0;
  put16(out, 0x8FCD);
  put16(out + 2, (uint32_t)length / 4 - 1);
  put32(out + 4, sender);
  put32(out + 8, media);
  put16(out + 12, (uint32_t)a->next);
  put16(out + 14, (uint32_t)count);
  put32(out + 16, (uint32_t)reference << 8 | (a->feedbacks++ & 0xFF));
  for (int place = 0; place < count; place++, a->next++) {
    if (*at(a, a->next) >= 0) a->count--;
    *at(a, a->next) = -1;
  }
  return length;
}

uint16_t sent_number(struct sent *s, uint32_t size, int64_t now) {
  if (!s->packets) {
    s->packets = calloc(SENT, sizeof *s->packets);
    s->next = 1;
  }
  uint16_t number = (uint16_t)s->next++;
  if (s->packets) s->packets[number % SENT] = (struct sent_packet){now, size, number, 1};
  return number;
}

static int chunk_symbols(const uint8_t *packet, int length, int wanted, uint8_t *symbols, int *behind) {
  int count = 0, place = 20;
  while (count < wanted) {
    if (place + 2 > length) return 0;
    unsigned chunk = get16(packet + place);
    place += 2;
    if (!(chunk & 0x8000)) {
      int run = (int)(chunk & 0x1FFF);
      if (!run) return 0;
      if (run > wanted - count) run = wanted - count;
      memset(symbols + count, (int)(chunk >> 13 & 3), (size_t)run);
      count += run;
    } else if (chunk & 0x4000) {
      for (int shift = 12; shift >= 0; shift -= 2) symbols[count++] = chunk >> shift & 3;
    } else {
      for (int shift = 13; shift >= 0; shift--) symbols[count++] = chunk >> shift & 1;
    }
  }
  *behind = place;
  return 1;
}

static void count_one(struct sent *s, int64_t arrived, const struct sent_packet *packet) {
  int64_t delay = arrived - packet->at;
  if (!s->has_least || delay < s->least) s->least = delay;
  s->has_least = 1;
  int64_t least = s->has_least_before && s->least_before < s->least ? s->least_before : s->least;
  s->received++;
  s->acknowledged += packet->size;
  s->queue += delay - least;
  if (!s->has_arrived || arrived > s->arrived_us) s->arrived_us = arrived;
  s->has_arrived = 1;
  if (!s->has_counted) s->counted_from_us = arrived;
  s->has_counted = 1;
}

static void heed_one(struct sent *s, uint16_t number, int lost, int64_t arrived) {
  struct sent_packet *packet = s->packets ? &s->packets[number % SENT] : NULL;
  if (!packet || !packet->valid || packet->number != number) return;
  packet->valid = 0;
  if (lost) s->lost++;
  else count_one(s, arrived, packet);
}

int sent_heed(struct sent *s, const uint8_t *packet, int length, int64_t now, uint8_t *symbols) {
  int count, start, end;
  if (length < 20) return 0;
  count = get16(packet + 14);
  if (count > SENT) return 0;
  if (!chunk_symbols(packet, length, count, symbols, &start)) return 0;
  end = start;
  for (int place = 0; place < count; place++) {
    if (symbols[place] == 3 || end + symbols[place] > length) return 0;
    end += symbols[place];
  }
  if (now - s->window_us >= WINDOW_US) {
    s->least_before = s->least;
    s->has_least_before = s->has_least;
    s->has_least = 0;
    s->window_us = now;
  }
  int64_t ticks = (int64_t)(get32(packet + 16) >> 8) * (REFERENCE_US / TICK_US);
  for (int place = 0; place < count; place++) {
    if (symbols[place] == 1) ticks += packet[start];
    else if (symbols[place] == 2) ticks += (int16_t)get16(packet + start);
    start += symbols[place];
    heed_one(s, (uint16_t)(get16(packet + 12) + place), !symbols[place], ticks * TICK_US);
  }
  return 1;
}

int sent_take(struct sent *s, int64_t now, int64_t values[5]) {
  if (!(s->received + s->lost) || now - s->event_us < EVENT_US) return 0;
  int64_t queue = s->queue, received = s->received;
  values[0] = received;
  values[1] = s->lost;
  values[2] = s->acknowledged;
  values[3] = s->has_arrived && s->has_counted ? s->arrived_us - s->counted_from_us : 0;
  values[4] = received ? queue / received : 0;
  s->received = s->lost = s->acknowledged = s->queue = 0;
  s->event_us = now;
  s->counted_from_us = s->arrived_us;
  s->has_counted = s->has_arrived;
  return 1;
}
