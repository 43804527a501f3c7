/* The packet path in C: everything that its files share. docs/media.md says step by step what it does, forward.PythonPath is the same in Python.

   One lock guards an engine. The media thread takes it for one batch, the loop's thread for one command; whatever a command took away is
   therefore gone when it returns. Nothing here calls into the interpreter while the thread runs. */
#ifndef CLEAC_ENGINE_H
#define CLEAC_ENGINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  HISTORY = 512,           /* packets kept per layer */
  TOO_OLD = 1024,          /* numbers behind the highest */
  SKIPPED = 4096,          /* room for dropped numbers; at most 2 * TOO_OLD + 1 are remembered */
  MOST_STRETCHES = 4,
  MOST_SENDERS = 256,
  MOST_REPORTERS = 16,
  MOST_TRACKED = 128,      /* missing numbers of a layer */
  MOST_MISSING = 32,       /* named in one request */
  MOST_REPEATS = 10,
  LONGEST_JUMP = 512,
  LARGEST_DATAGRAM = 1500,
  LARGEST_RTP = 1356,      /* what the sealing library takes with its trailer in 1,500 octets */
  LARGEST_RTCP = 1352,
  TAG = 16,                /* octets that sealing adds to RTP */
  SLOT = 1792,             /* one packet on its way out: a whole payload, our header and the trailer */
  SLOTS = 512,
  MOST_DUE = 64,           /* packets that wait to be given to listeners */
  MOST_SEGMENTS = 48,
  MOST_MESSAGE = 60000,    /* octets of one message with segments */
  SENT = 4096,             /* transport-wide numbers remembered */
  MOST_UNTOLD = 4096,
  LONGEST_MID = 16,
  LONGEST_NAME = 255,
  ADDRESS = 24             /* 16 of the host (IPv4 mapped), 4 of the scope, 2 of the port, 2 zeros */
};

/* In the order of the names in native/library.py. */
enum counter {
  FENCED, SRTP_EARLY, RTP_MALFORMED, SSRC_UNDECLARED, SRTP_REFUSED, PAYLOAD_TYPE_UNDECLARED, RTP_TOO_OLD, RTP_REPEATED, RTCP_MALFORMED,
  RESEND_BUDGET, RESENT, SRTP_UNSENT, SRTP_UNUSED, SEND_FULL, SOCKET_ERROR, STRANGER, OVERSIZE, EMPTY, EDGE_OVERFLOW, TAP_OVERFLOW,
  TRACK_OVER_RATE, CONTROL_OVER_RATE, RTCP_UNASKED, COUNTERS
};

/* Kinds of what is put down for the loop's thread, as native/post.py reads them. */
enum kind { KEY_FRAME = 1, LEARNT, LOST, FEEDBACK, ESTIMATED, TAPPED, TAP_REPORT, OF_STRANGERS, BY_STREAM, OF_KNOWN };

enum way { NOWHERE, UDP, STREAM };

typedef int (*srtp_function)(void *session, void *packet, int *length);
typedef int (*srtp_removal)(void *session, uint32_t ssrc);
typedef int (*send_hook)(int64_t end, const uint8_t *data, int length);

struct rate { int64_t packets, octets; };    /* a second */
struct rates { struct rate audio, video, control; };
struct allowance { struct rate rate; int64_t packets, octets, at, shut_until; };

struct buffer { uint8_t *data; size_t length, room; };

struct header {              /* one RTP packet; offsets into it */
  uint8_t first, payload_type, marker;
  uint16_t sequence_number, profile;
  uint32_t timestamp, ssrc;
  const uint8_t *raw, *block, *payload;
  int length, block_length, payload_length;
};

struct numbering {
  int begun, restarting;
  int64_t highest, forgotten;
  uint16_t shift, restart_at;
  int64_t *skipped;          /* a ring of SKIPPED, made when first needed */
  unsigned skipped_from, skipped_count;
};

struct asked { uint16_t number; uint8_t times; int64_t at; };

struct reception {
  int tracking, asked_ever, begun, reported, clock_rate;
  uint16_t newest;
  uint16_t missing[MOST_TRACKED];
  int missing_count;
  struct asked asked[MOST_TRACKED];
  int asked_count;
  int64_t asked_at;
  int gave_up; /* a number was asked for so often that it is not any more; whoever reads it sets it back */
  uint16_t base, highest;
  int64_t cycles, received, jitter, last_arrival, expected_before, received_before;
  uint32_t last_timestamp, last_report;
  int64_t report_at;
};

struct kept {
  int64_t number, arrived;   /* the number is ours; 0: nothing is kept here (numbers begin at 65,536) */
  uint32_t timestamp, sent_at;
  int16_t orientation, level; /* -1: none */
  uint8_t marker, key;
  uint16_t length, room;
  uint8_t *payload;
};

struct ids { int picture, wide, tl0, tl0_at; }; /* -1: none */

struct layer {
  int index, has_ssrc, has_repair, rid_length, reported;
  uint32_t ssrc, repair_ssrc, rtp;
  uint64_t ntp;
  char rid[LONGEST_MID + 1];
  int64_t packets, octets, last_us, passes_report_from;
  struct numbering numbering;
  struct reception reception;
  struct kept history[HISTORY];
};

struct stretch { int layer; int64_t since, shift; uint32_t timestamp; int picture, tl0; };

struct course {
  int target, current, needs_key, waits_for_key, count, begun; /* layers: -1 is none */
  struct stretch stretches[MOST_STRETCHES];
  int64_t highest, sent_us;
  uint32_t timestamp;
  struct ids last;
};

struct end;
struct track;
struct sealing;
struct opening;

struct copy {                /* first what each packet needs */
  struct copy *next;
  struct track *track;
  struct end *end;
  uint32_t ssrc, repair_ssrc;
  int numbered, mid_length;
  uint8_t mid[1 + LONGEST_MID];
  int64_t packets, octets;
  struct course course;
  struct copy *next_of_end;
  int64_t credit, credit_at, repairs;
  int name_length, cname_length;
  uint8_t name[LONGEST_NAME], cname[LONGEST_NAME];
};

struct tap {
  struct tap *next;
  struct track *track;
  int64_t number, highest, since;
  int several, has_ssrc, cut;
  uint32_t ssrc;
  struct course course;
};

/* What crosses from Python when a track opens; see native/library.py. */
struct shape {
  int64_t key;
  int video, payload_type, repair_payload_type; /* -1: none */
  int mid_id, rid_id, repaired_rid_id, orientation_id, level_id, transport_id; /* -1: none */
  int mid_length, layers;
  char mid[LONGEST_MID];
};
struct declared { int has_ssrc, has_repair, rid_length; uint32_t ssrc, repair_ssrc; char rid[LONGEST_MID]; };

struct track {
  struct track *next, *next_of_all;
  struct end *owner;
  struct shape shape;
  struct layer *layers;
  struct copy *copies;
  struct tap *taps;
  struct allowance allowance;
  int64_t level, levels;
};

struct found { uint32_t ssrc; struct track *track; struct layer *layer; int repair; };

struct arrivals { int begun, count; int64_t highest, next, last, told_us; unsigned feedbacks; int64_t *at; };

struct sent_packet { int64_t at; uint32_t size; uint16_t number; uint8_t valid; };
struct sent {
  struct sent_packet *packets;
  uint32_t next;
  int64_t event_us, window_us, received, lost, acknowledged, queue, arrived_us, counted_from_us, least, least_before;
  int has_arrived, has_counted, has_least, has_least_before;
};

struct end {                 /* first what each packet needs */
  struct sealing *sealing;   /* seals the RTP that goes out; NULL: `sending` does */
  struct opening *opening;   /* opens the RTP that comes in; NULL: `receiving` does */
  void *receiving, *sending;
  enum way way;
  int attached, without_segments;
  unsigned round;            /* of the flush in which `message` counts */
  int message;
  socklen_t address_length;
  struct sent sent;
  struct sockaddr_storage address;
  struct end *next;
  int64_t number;
  uint32_t rtcp_ssrc;
  int references;
  struct track *tracks;
  struct copy *copies;
  struct found *by_ssrc;
  int by_ssrc_count, by_ssrc_room;
  uint32_t senders[MOST_SENDERS], reporters[MOST_REPORTERS];
  int sender_count, reporter_count;
  struct allowance control;
  struct arrivals arrivals;
};

struct slot {
  struct end *end;
  struct copy *copy;
  int next, length, payload_length, head;
  uint8_t *data;
  const uint8_t *body;       /* where what belongs behind the first `head` octets lies until it is sealed; NULL: it is there */
};
struct message { struct end *end; int first, last, count, segment, octets; };
struct due { struct track *track; struct layer *layer; const struct kept *kept; int64_t now; };

struct heard { uint8_t address[ADDRESS]; struct end *end; };

struct engine {
  pthread_mutex_t gate, lock; /* who waits for the lock holds the gate, so that neither thread starves the other */
  pthread_t thread;
  atomic_int stopping;
  int running, socket, family, wake, stop, segments;
  srtp_function protect, protect_rtcp, unprotect, unprotect_rtcp;
  srtp_removal remove_stream;
  send_hook hook;
  struct rates rates;
  int64_t wall_offset, until, hand_clock;
  uint64_t counters[COUNTERS];
  struct end *ends, **last_end;
  struct track *tracks;
  struct heard *heard;
  unsigned heard_room, heard_count;
  struct buffer post, taken;
  size_t of_strangers, of_known, tapped; /* octets of these kinds in `post` */
  int signalled;
  int64_t taps;              /* numbers given out */
  struct slot *slots;
  uint8_t *arena;            /* the packets of the slots, one behind the other */
  size_t arena_used;
  struct message messages[SLOTS];
  int slot_count, message_count;
  unsigned round;
  int gathers, due_count;    /* whether packets wait for the end of a batch before listeners are given them, and how many do */
  struct due due[MOST_DUE];
  uint8_t clear[LARGEST_DATAGRAM + 64], again[LARGEST_DATAGRAM + 64];
  uint8_t symbols[65536 + 16];
};

static inline uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t get32(const uint8_t *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }
static inline uint64_t get64(const uint8_t *at) { return (uint64_t)get32(at) << 32 | get32(at + 4); }
static inline void put16(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 8); at[1] = (uint8_t)value; }
static inline void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16); put16(at + 2, value); }
static inline void put64(uint8_t *at, uint64_t value) { put32(at, (uint32_t)(value >> 32)); put32(at + 4, (uint32_t)value); }

/* header.c */
int header_read(struct header *header, const uint8_t *raw, int length); /* 0: not allowed by RFC 3550 or RFC 8285 */
int header_frame(struct header *header, const uint8_t *raw, int length); /* the same without padding: also of sealed packets */
const uint8_t *header_extension(const struct header *header, int id, int *length);

/* numbering.c */
int64_t numbering_unwrap(struct numbering *numbering, uint16_t sequence_number); /* -1: too old */
void numbering_skip(struct numbering *numbering, int64_t number);
int numbering_skipped(const struct numbering *numbering, int64_t number);
int64_t numbering_ours(const struct numbering *numbering, int64_t number);

/* reception.c */
struct report { uint32_t ssrc, fraction_lost; int32_t packets_lost; uint32_t highest_sequence, jitter, last_report, since_report; };
int reception_add(struct reception *reception, uint16_t number, uint32_t timestamp, int64_t now, uint16_t *ask); /* how many to ask for */
int reception_repeat(struct reception *reception, int64_t now, uint16_t *ask);
void reception_repaired(struct reception *reception, uint16_t number);
int reception_report(struct reception *reception, int64_t now, struct report *report);

/* vp8.c */
struct ids vp8_ids(const uint8_t *payload, int length);
void vp8_shift(uint8_t *payload, int length, int picture, int tl0);
int vp8_starts_key_frame(const uint8_t *payload, int length);

/* history.c */
struct kept *history_keep(struct track *track, struct layer *layer, int64_t number, const struct header *header, uint32_t sent_at, int64_t now);
struct kept *history_kept(struct layer *layer, int64_t number);
int history_holds(struct layer *layer, int64_t number);
void history_free(struct layer *layer);

/* course.c */
void course_begin(struct course *course, int target, int waits_for_key);
void course_choose(struct course *course, int layer);
int course_waiting_for(const struct course *course);
struct stretch *course_place(struct course *course, struct track *track, struct layer *layer, const struct kept *kept, int64_t now, int *begins);
void course_passed(struct course *course, int64_t number, uint32_t timestamp, const uint8_t *payload, int length, int64_t now);
struct stretch *course_back(struct course *course, uint16_t number, int64_t *ours);

/* giving.c */
void giving_makes_room(struct engine *engine, const struct layer *layer, int64_t number); /* before `number` is kept */
void giving_add(struct engine *engine, struct track *track, struct layer *layer, const struct kept *kept, int64_t now);
void giving_settle(struct engine *engine);

/* copies.c */
enum { STEPS_AHEAD = 5 };
void copy_ahead(const struct copy *copy, int step);
int copy_give(struct engine *engine, struct copy *copy, struct layer *layer, const struct kept *kept, int64_t now);
int copy_resend(struct engine *engine, struct copy *copy, uint16_t number, int64_t now); /* 1 sent, 0 nothing to send, -1 budget spent */
void copy_pass_report(struct engine *engine, struct copy *copy, struct layer *layer);
void copy_say_goodbye(struct engine *engine, struct copy *copy);
void copy_wants_key_frame(struct engine *engine, struct copy *copy);
void copy_refused(struct engine *engine, struct copy *copy, int payload_length);

/* taps.c */
void taps_give(struct engine *engine, struct track *track, int64_t number, const struct header *header, int64_t now);
void taps_give_of_several(struct engine *engine, struct track *track, struct layer *layer, const struct kept *kept, const struct header *header, int64_t now);
void taps_lost_for_good(struct engine *engine, struct track *track, struct layer *layer);
void taps_report(struct engine *engine, struct track *track, struct layer *layer, int64_t now);

/* congestion.c */
void arrivals_note(struct arrivals *arrivals, uint16_t number, int64_t now);
int arrivals_due(struct arrivals *arrivals, uint32_t sender, uint32_t media, int64_t now, uint8_t *out); /* octets written into 1,100; 0: none */
uint16_t sent_number(struct sent *sent, uint32_t size, int64_t now);
int sent_heed(struct sent *sent, const uint8_t *packet, int length, int64_t now, uint8_t *symbols); /* 0: malformed */
int sent_take(struct sent *sent, int64_t now, int64_t values[5]);

/* allowance.c */
void allowance_begin(struct allowance *allowance, struct rate rate);
int allowance_is_shut(const struct allowance *allowance, int64_t now);
int allowance_take(struct allowance *allowance, int64_t octets, int64_t now); /* 0: there is not enough, and the source is shut */

/* control.c */
void control_take(struct engine *engine, struct end *end, const uint8_t *clear, int length, int64_t now);
void control_ask(struct engine *engine, struct end *end, int64_t now);
void control_ask_again(struct engine *engine, struct end *end, uint32_t ssrc, const uint16_t *numbers, int count);

/* sealing.c */
int sealing_seal(struct sealing *sealing, uint8_t *packet, int *length, const uint8_t *body); /* 0: done; otherwise the packet must not go out */
void sealing_ahead(const struct sealing *sealing, uint32_t ssrc, int step); /* fetch into the cache, in three steps, what its next packet needs */
int sealing_forget(struct sealing *sealing, uint32_t ssrc);              /* 0: it was not known */

/* opening.c */
int opening_open(struct opening *opening, const uint8_t *sealed, int *length, uint8_t *out); /* 0: genuine, and for the first time */

/* publisher.c */
void publisher_take(struct engine *engine, struct end *end, const uint8_t *sealed, int length, int64_t now);
struct found *publisher_found(struct end *end, uint32_t ssrc);
int publisher_enter(struct end *end, struct found found);

/* outlet.c */
int64_t engine_now(const struct engine *engine);
int engine_fenced(struct engine *engine);
struct slot *outlet_slot(struct engine *engine);          /* where the next packet is written */
int outlet_rtp(struct engine *engine, struct end *end, struct copy *copy, struct slot *slot, int payload_length); /* 0: it did not go out */
void outlet_rtcp(struct engine *engine, struct end *end, const uint8_t *clear, int length);
void outlet_flush(struct engine *engine);

/* post.c */
uint8_t *post_room(struct engine *engine, enum kind kind, size_t length); /* NULL: no room */
void post_signal(struct engine *engine);

/* addresses.c */
struct end *address_end(const struct engine *engine, const uint8_t *address);
int address_hear(struct engine *engine, const uint8_t *address, struct end *end);
void address_unhear(struct engine *engine, const uint8_t *address);
void address_forget(struct engine *engine, const struct end *end);
void address_read(const struct sockaddr_storage *from, uint8_t *address);
socklen_t address_write(const uint8_t *address, int family, struct sockaddr_storage *to);

/* thread.c */
void engine_enter(struct engine *engine);                 /* take the lock, in turn */
void engine_leave(struct engine *engine);                 /* send what waits and give the lock back */
#endif
