/* The load of `bench media`: sealed RTP at a fixed pace into a relay, and listeners that drain what comes out of it.
 *
 * One thread publishes, one listens; Python only waits. SRTP is libsrtp's, whose functions `load_begin` is given by address.
 * Formats: RTP and RTCP (RFC 3550), feedback (RFC 4585), repairs (RFC 4588), VP8 (RFC 7741), transport-cc
 * (draft-holmer-rmcat-transport-wide-cc-extensions-01), REMB (draft-alvestrand-rmcat-remb). Moments are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef TRAFFIC_H
#define TRAFFIC_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    BATCH = 64,
    LARGEST = 1600,
    KEPT = 1024,           /* packets a publisher can send again, numbers a listener remembers; a power of two */
    MOST_STREAMS = 32,     /* of one listener */
    KEY_EVERY = 32,        /* pictures */
    CHECK_EVERY = 32,      /* of so many packets one is opened and looked at; of a picture in layers each */
    MOST_LATENCIES = 400000,
    MOST_ASKED = 10,       /* times for one missing number */
    DESCRIPTOR = 4,        /* octets: VP8 payload descriptor with a picture id of 15 bits */
    FRAME_HEAD = 10,       /* octets: what a key frame starts with */
    MARK = 0x436c6561,
    FILL = 0x5a,
};
#define MILLISECOND 1000000ull
#define SECOND 1000000000ull
#define LATEST (3 * SECOND)
#define WAY (10 * MILLISECOND) /* what reports say that the way takes, there and back: Janus keeps nothing to send again while that is nothing */

typedef int (*srtp_function)(void *session, void *packet, int *length);
extern srtp_function protect_rtp, unprotect_rtp, protect_rtcp, unprotect_rtcp;

/* Mirrored by load.py. A publisher is one RTP stream; streams of one transport share socket and sessions. */
struct publisher {
    void *sealing, *opening;
    void *state;           /* struct sent, ours */
    int32_t socket;
    uint32_t ssrc;
    uint32_t rate;         /* packets a second */
    uint16_t size, burst;  /* octets of a packet in clear, packets at once */
    uint8_t payload_type;
    uint8_t frame;         /* packets of one picture; 0: sound */
    uint8_t block_size;    /* octets of the header extensions, a multiple of 4 */
    int8_t number_at;      /* where in them the transport-cc number stands; -1: nowhere */
    uint8_t block[24];
    uint32_t beside;       /* the first stream of this transport, by its place: all count their transport-cc numbers there */
    uint16_t first_number, first_picture; /* sequence number and picture id with which it begins */
    uint32_t first_timestamp;
    uint64_t packets, refused, resent, lost;
};

struct listener {
    void *sealing, *opening;
    void *state;           /* struct heard, ours */
    int32_t socket;
    uint32_t own_ssrc;     /* of what it reports */
    uint32_t expected;     /* the SSRC that its publisher wrote into each body, of layers the worst one's; 0: anybody's */
    uint8_t picture_type, sound_type, repair_type; /* payload types; 0: none */
    uint8_t number_id;     /* of the transport-cc extension; 0: none */
    uint32_t repairs[2 * MOST_STREAMS]; /* the SSRC of each stream, and that of its repairs */
    uint32_t repair_count;
    uint64_t pictures, sounds, checked, bad, repaired, lost, control;
    uint64_t wanted, switches, landed, broken, skipped; /* of a picture in layers; see layers.c */
};

struct load {
    struct publisher *publishers;
    struct listener *listeners;
    uint32_t publisher_count, listener_count;
    uint32_t loss;         /* of 10,000 packets, each way: media, repairs, and control packets alike */
    uint32_t feedback;     /* do listeners ask again, and report? */
    uint32_t layers;       /* of each picture; 1: none */
    double latencies[4];   /* found: median, 95th, 99th percentile and largest, in microseconds */
    uint64_t latency_count;
    uint64_t ends;         /* of the present run; ours */
    uint64_t drains_until;
    uint64_t last_arrived;
};

struct sent {
    uint64_t due, drawn;
    uint16_t *transport_number;
    uint16_t own_transport_number;
    uint32_t serial;
    uint16_t number;
    int key_wanted;
    uint16_t sizes[KEPT];
    uint8_t packets[KEPT][LARGEST];
};

struct stream {
    uint32_t ssrc;
    uint64_t highest, received, received_before, highest_before;
    uint64_t asked_at[KEPT];
    uint64_t told_at;      /* when its sender's last report came; 0: none has */
    uint32_t told;         /* the middle of that report's wall clock */
    uint8_t asked[KEPT], missing[KEPT];
};

/* One packet of a picture in layers, as it came: which one the publisher says that it is, and what the server made of its numbers. */
struct arrival {
    uint64_t number;       /* the listener's own, long */
    uint32_t timestamp;
    uint32_t picture;      /* counted by the camera, for all layers alike */
    uint16_t id;           /* VP8 picture id */
    uint8_t layer, place, last, key;
};

struct heard {
    uint64_t drawn;
    struct stream streams[MOST_STREAMS];
    uint32_t stream_count;
    uint64_t arrived[4 * KEPT]; /* by transport-cc number */
    uint64_t number_highest, number_reported;
    uint64_t asks_at, acknowledges_at, reports_at;
    uint8_t feedback_count;
    struct arrival arrivals[KEPT], before; /* the last in order, if one came */
    uint64_t next;         /* the number that is looked at next; 0: none has come */
};

static inline uint64_t now_ns(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * SECOND + (uint64_t)moment.tv_nsec;
}

static inline void rest(uint64_t ns)
{
    struct timespec pause = {(time_t)(ns / SECOND), (long)(ns % SECOND)};
    nanosleep(&pause, NULL);
}

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static inline uint32_t get16(const uint8_t *at) { return (uint32_t)(at[0] << 8 | at[1]); }
static inline uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }

/* Is this packet one of those that get lost? Drawn from a seed of its own stream (xorshift64). */
static inline int falls(uint64_t *drawn, uint32_t of_10000)
{
    if (of_10000 == 0)
        return 0;
    *drawn ^= *drawn << 13;
    *drawn ^= *drawn >> 7;
    *drawn ^= *drawn << 17;
    return *drawn % 10000 < of_10000;
}

static inline int is_control(const uint8_t *packet) { return packet[1] >= 192 && packet[1] <= 223; }

/* The nearest number with these low 16 bits. */
static inline uint64_t unwrapped(uint64_t highest, uint16_t number)
{
    return highest + (uint64_t)(int64_t)(int16_t)(number - (uint16_t)highest);
}

/* publishing.c */
void publish(struct load *load);
void publish_repairs(struct load *load);

/* listening.c: a thread, whose argument is the load; NULL when all went well */
void *listen_to_all(void *load);
extern double *latencies; /* of this run, in nanoseconds; only the listening thread writes */

/* feedback.c */
void give_feedback(const struct load *load, struct listener *to, uint64_t now);

/* layers.c */
void layers_note(const struct load *load, struct listener *to, uint64_t number, const uint8_t *packet, const uint8_t *payload);
void layers_end(struct listener *to);

#endif
