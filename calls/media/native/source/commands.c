/* What the loop's thread asks of an engine, each under the lock: when a call has returned, the thread is past it. native/library.py names them. */
#include "engine.h"

#include <unistd.h>

enum { MOST_KEPT = 4 << 20 };

struct engine *cleac_create(void *const *functions, send_hook hook, int64_t wall_offset, const struct rates *rates) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (!engine) return NULL;
  engine->slots = malloc(SLOTS * sizeof *engine->slots);
  engine->arena = malloc((size_t)SLOTS * SLOT);
  if (!engine->slots || !engine->arena) {
    free(engine->slots);
    free(engine->arena);
    free(engine);
    return NULL;
  }
  memcpy(&engine->protect, &functions[0], sizeof functions[0]);
  memcpy(&engine->protect_rtcp, &functions[1], sizeof functions[1]);
  memcpy(&engine->unprotect, &functions[2], sizeof functions[2]);
  memcpy(&engine->unprotect_rtcp, &functions[3], sizeof functions[3]);
  memcpy(&engine->remove_stream, &functions[4], sizeof functions[4]);
  pthread_mutex_init(&engine->gate, NULL);
  pthread_mutex_init(&engine->lock, NULL);
  engine->hook = hook;
  engine->rates = *rates;
  engine->wall_offset = wall_offset;
  engine->until = INT64_MAX;
  engine->socket = engine->wake = engine->stop = -1;
  engine->last_end = &engine->ends;
  engine->round = 1;
  return engine;
}

void cleac_set_clock(struct engine *engine, int64_t now) { engine->hand_clock = now; }

void cleac_allow(struct engine *engine, int64_t until) {
  engine_enter(engine);
  engine->until = until;
  engine_leave(engine);
}

/* Ends. */
struct end *cleac_end(struct engine *engine, int64_t number, uint32_t rtcp_ssrc) {
  struct end *end = calloc(1, sizeof *end);
  if (!end) return NULL;
  end->number = number;
  end->rtcp_ssrc = rtcp_ssrc;
  end->references = 1;
  end->message = -1;
  allowance_begin(&end->control, engine->rates.control);
  engine_enter(engine);
  *engine->last_end = end;
  engine->last_end = &end->next;
  engine_leave(engine);
  return end;
}

static void let_go(struct end *end) {
  if (--end->references) return;
  free(end->by_ssrc);
  free(end->arrivals.at);
  free(end->sent.packets);
  free(end);
}

void cleac_attach(struct engine *engine, struct end *end, void *receiving, void *sending, struct opening *opening, struct sealing *sealing) {
  engine_enter(engine);
  end->receiving = receiving;
  end->sending = sending;
  end->opening = opening;
  end->sealing = sealing;
  end->attached = 1;
  engine_leave(engine);
}

void cleac_detach(struct engine *engine, struct end *end) {
  engine_enter(engine);
  end->attached = 0;
  end->receiving = end->sending = NULL;
  end->opening = NULL;
  end->sealing = NULL;
  address_forget(engine, end);
  struct end **at = &engine->ends;
  while (*at && *at != end) at = &(*at)->next;
  if (*at) *at = end->next;
  engine->last_end = &engine->ends;
  while (*engine->last_end) engine->last_end = &(*engine->last_end)->next;
  let_go(end);
  engine_leave(engine);
}

void cleac_hear(struct engine *engine, struct end *end, const uint8_t *address) {
  engine_enter(engine);
  address_hear(engine, address, end);
  engine_leave(engine);
}

void cleac_unhear(struct engine *engine, const uint8_t *address) {
  engine_enter(engine);
  address_unhear(engine, address);
  engine_leave(engine);
}

void cleac_move(struct engine *engine, struct end *end, int way, const uint8_t *address) {
  engine_enter(engine);
  end->way = (enum way)way;
  end->without_segments = 0;
  if (address) end->address_length = address_write(address, engine->family, &end->address);
  engine_leave(engine);
}

void cleac_take(struct engine *engine, struct end *end, const uint8_t *sealed, int length, int64_t now) {
  engine_enter(engine);
  publisher_take(engine, end, sealed, length, now);
  engine_leave(engine);
}

/* 0: nothing went out. */
int cleac_send(struct engine *engine, struct end *end, const uint8_t *clear, int length, int control) {
  int sent = 1;
  engine_enter(engine);
  if (control) {
    outlet_rtcp(engine, end, clear, length);
  } else {
    struct slot *slot = outlet_slot(engine);
    slot->length = length > LARGEST_RTP ? LARGEST_RTP + 1 : length;
    memcpy(slot->data, clear, (size_t)slot->length);
    sent = outlet_rtp(engine, end, NULL, slot, 0);
  }
  engine_leave(engine);
  return sent;
}

void cleac_forget(struct engine *engine, struct end *end, uint32_t ssrc) {
  engine_enter(engine);
  if (end->attached) { /* libsrtp has it where control packets went out */
    int known = end->sealing && sealing_forget(end->sealing, ssrc);
    known |= engine->remove_stream(end->sending, htonl(ssrc)) == 0;
    engine->counters[SRTP_UNUSED] += (unsigned)!known;
  }
  engine_leave(engine);
}

/* The way by a stream did not take what copy `ssrc` had sent. */
void cleac_refused(struct engine *engine, struct end *end, uint32_t ssrc, int payload_length) {
  engine_enter(engine);
  for (struct copy *copy = end->copies; copy; copy = copy->next_of_end)
    if (copy->ssrc == ssrc) {
      copy_refused(engine, copy, payload_length);
      break;
    }
  engine_leave(engine);
}

/* What is seen. */
enum { OF_TRACK = 4, OF_LAYER = 4 };

static int is_waited_for(const struct track *track, int layer) {
  for (const struct copy *copy = track->copies; copy; copy = copy->next)
    if (course_waiting_for(&copy->course) == layer) return 1;
  for (const struct tap *tap = track->taps; tap; tap = tap->next)
    if (tap->several && course_waiting_for(&tap->course) == layer) return 1;
  return 0;
}

static int64_t *look_at(const struct track *track, int64_t *out) {
  *out++ = track->shape.key;
  *out++ = track->level;
  *out++ = track->levels;
  *out++ = track->shape.layers;
  for (int at = 0; at < track->shape.layers; at++) {
    const struct layer *layer = &track->layers[at];
    *out++ = layer->packets;
    *out++ = layer->octets;
    *out++ = layer->packets ? layer->last_us : -1;
    *out++ = is_waited_for(track, at);
  }
  return out;
}

/* All tracks: key, sums of levels and of packets that had one, layers; behind it of each layer packets, octets, when the last came (-1: none did),
   and whether somebody waits for a key frame. Returns how many numbers that makes; where there is no room for them, nothing is written. */
size_t cleac_look(struct engine *engine, int64_t *out, size_t room) {
  size_t size = 0;
  engine_enter(engine);
  for (struct track *track = engine->tracks; track; track = track->next_of_all) size += OF_TRACK + (size_t)track->shape.layers * OF_LAYER;
  if (size <= room)
    for (struct track *track = engine->tracks; track; track = track->next_of_all) out = look_at(track, out);
  engine_leave(engine);
  return size;
}

int cleac_report(struct engine *engine, struct track *track, int index, int64_t now, struct report *report) {
  engine_enter(engine);
  struct layer *layer = &track->layers[index];
  report->ssrc = layer->ssrc;
  int begun = layer->has_ssrc && reception_report(&layer->reception, now, report);
  engine_leave(engine);
  return begun;
}

void cleac_poll(struct engine *engine, int64_t now) {
  engine_enter(engine);
  for (struct end *end = engine->ends; end; end = end->next) {
    int64_t values[5];
    uint8_t *out = sent_take(&end->sent, now, values) ? post_room(engine, FEEDBACK, 48) : NULL;
    if (out) {
      memcpy(out, &end->number, 8);
      memcpy(out + 8, values, 40);
    }
    control_ask(engine, end, now);
  }
  engine_leave(engine);
}

/* Everything that was put down since the last call; it stays where it is until the next. What was counted goes to `counters`; `*counted`: anything. */
size_t cleac_fetch(struct engine *engine, const uint8_t **data, uint64_t *counters, int *counted) {
  uint64_t any = 0;
  engine_enter(engine);
  for (int at = 0; at < COUNTERS; at++) any |= engine->counters[at];
  *counted = any != 0;
  if (any) {
    memcpy(counters, engine->counters, sizeof engine->counters);
    memset(engine->counters, 0, sizeof engine->counters);
  }
  struct buffer taken = engine->post;
  engine->post = engine->taken;
  engine->post.length = 0;
  if (engine->post.room > MOST_KEPT) { /* a burst is over */
    free(engine->post.data);
    engine->post = (struct buffer){0};
  }
  engine->taken = taken;
  engine->of_strangers = engine->of_known = engine->tapped = 0;
  engine_leave(engine);
  *data = taken.data;
  return taken.length;
}

/* The loop has heard the signal: the next one is sent again. */
void cleac_heard(struct engine *engine) {
  uint64_t count;
  engine_enter(engine);
  if (engine->wake >= 0 && read(engine->wake, &count, sizeof count) == sizeof count) engine->signalled = 0;
  engine_leave(engine);
}

void cleac_release_end(struct end *end) { let_go(end); }

/* Free what is left; the thread has ended before. */
void cleac_destroy(struct engine *engine) {
  cleac_stop(engine);
  for (struct end *end = engine->ends, *next; end; end = next) {
    next = end->next;
    let_go(end);
  }
  pthread_mutex_destroy(&engine->gate);
  pthread_mutex_destroy(&engine->lock);
  free(engine->heard);
  free(engine->post.data);
  free(engine->taken.data);
  free(engine->slots);
  free(engine->arena);
  free(engine);
}

/* Run one of the sealing functions on a packet; returns its answer. */
int cleac_trial(void *const *functions, void *session, uint8_t *packet, int which, int *length) {
  srtp_function function;
  memcpy(&function, &functions[which], sizeof function);
  return function(session, packet, length);
}
