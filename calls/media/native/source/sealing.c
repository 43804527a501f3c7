/* Sealing of the RTP that goes out, by cipher.c. All RTCP is libsrtp's; where the trial of this file fails (native/seals.py), so is this. Octet by octet
   both give the same (tests/media/test_native_sealing.py). libsrtp 2.7 shifts a window of 1,024 bits for each packet; here it is a ring.

   What must never happen here: one key and one IV seal two different packets. That would show the XOR of both and give away the key of
   the tags (RFC 7714 section 8.4). The IV is SSRC, rollover counter and number under the connection's salt, and what holds it is:
   - One key has one `sealing` for as long as its session lives, whatever end or engine uses it: native/seals.py keeps it by the session.
   - An SSRC has one `stream` as long as the `sealing` lives. One that was forgotten is remembered by its name, and is refused from then on.
   - A stream knows its highest index (RFC 3711 section 3.3.1: the rollover counter goes up when numbers wrap, a number that is late has the one
     it went out with). An index above it is new. One more than 1,023 below is refused, since nobody knows any more what it sealed.
   - Between the two stands what each index sealed: 64 bits of its tag. A packet of sound that is sent again is sealed again and must come to the same
     tag, so it is the same packet; another one is refused before anybody is given it. What is sent again of pictures has an SSRC of its own.
   - An index is marked before the cipher runs, as one that nothing can equal until its tag stands there: a fault half way spends it.
   - Refused is what is answered with anything but 0; the caller counts it (`srtp-unsent`) and sends nothing. */
#include "cipher.h"

enum { LEAST_ROOM = 16 };

static const uint64_t UNKNOWN = 1; /* marked, and nothing is known of what it sealed; 0: not used */

struct stream { uint32_t ssrc; int used, forgotten; int64_t highest; uint64_t *tags; }; /* `tags` by index, a ring of WINDOW */

struct sealing {
  struct cipher cipher;
  struct stream *streams;    /* by SSRC, at most half full */
  unsigned room, count;
};

void cleac_sealing_free(struct sealing *sealing) {
  if (!sealing) return;
  for (unsigned at = 0; at < sealing->room; at++) free(sealing->streams[at].tags);
  free(sealing->streams);
  cipher_end(&sealing->cipher);
  free(sealing);
}

static struct sealing *made(struct cipher cipher, int usable) {
  struct sealing *sealing = calloc(1, sizeof *sealing);
  if (!sealing) {
    cipher_end(&cipher);
    return NULL;
  }
  sealing->cipher = cipher;
  sealing->streams = calloc(LEAST_ROOM, sizeof *sealing->streams);
  if (sealing->streams) sealing->room = LEAST_ROOM;
  if (sealing->streams && usable) return sealing;
  cleac_sealing_free(sealing);
  return NULL;
}

/* With the keys of a session themselves. NULL: it cannot be made. */
struct sealing *cleac_sealing_of_session(void *const *functions, const uint8_t *key, int length, const uint8_t *salt) {
  struct cipher cipher;
  int usable = cipher_begin(&cipher, functions, key, length, salt, 1);
  return made(cipher, usable);
}

/* With a master key and its salt, 28 or 44 octets together. NULL: it cannot be made. */
struct sealing *cleac_sealing(void *const *functions, const uint8_t *master, int length) {
  struct cipher cipher;
  int usable = cipher_derived(&cipher, functions, master, length, 1);
  return made(cipher, usable);
}

/* Where this SSRC stands where no other had that place before. */
static struct stream *first_place(struct stream *streams, unsigned room, uint32_t ssrc) { return &streams[(ssrc * 2654435761u >> 7) & (room - 1)]; }

/* Where this SSRC stands, or where it belongs. */
static struct stream *place(struct stream *streams, unsigned room, uint32_t ssrc) {
  struct stream *at = first_place(streams, room, ssrc);
  while (at->used && at->ssrc != ssrc) at = at + 1 == streams + room ? streams : at + 1;
  return at;
}

static int grow(struct sealing *sealing) {
  unsigned room = sealing->room * 2;
  struct stream *streams = calloc(room, sizeof *streams);
  if (!streams) return 0;
  for (unsigned at = 0; at < sealing->room; at++)
    if (sealing->streams[at].used) *place(streams, room, sealing->streams[at].ssrc) = sealing->streams[at];
  free(sealing->streams);
  sealing->streams = streams;
  sealing->room = room;
  return 1;
}

/* NULL: nothing may be sealed under this SSRC. */
static struct stream *stream_of(struct sealing *sealing, uint32_t ssrc) {
  struct stream *stream = place(sealing->streams, sealing->room, ssrc);
  if (stream->used) return stream->forgotten ? NULL : stream;
  uint64_t *tags = calloc(WINDOW, sizeof *tags);
  if (!tags) return NULL;
  if (2 * (sealing->count + 1) > sealing->room) {
    if (!grow(sealing)) {
      free(tags);
      return NULL;
    }
    stream = place(sealing->streams, sealing->room, ssrc);
  }
  *stream = (struct stream){ssrc, 1, 0, 0, tags};
  sealing->count++;
  return stream;
}

int sealing_forget(struct sealing *sealing, uint32_t ssrc) {
  struct stream *stream = place(sealing->streams, sealing->room, ssrc);
  if (!stream->used || stream->forgotten) return 0;
  stream->forgotten = 1;
  free(stream->tags);
  stream->tags = NULL;
  return 1;
}

/* Mark this index; `*before` is what stood there. 0: it is refused. */
static int spend(struct stream *stream, int64_t index, uint64_t *before) {
  if (index <= stream->highest - WINDOW || index >> 48) return 0;
  if (index - stream->highest >= WINDOW) memset(stream->tags, 0, WINDOW * sizeof *stream->tags);
  else for (int64_t at = stream->highest + 1; at <= index; at++) stream->tags[at % WINDOW] = 0;
  if (index > stream->highest) stream->highest = index;
  *before = stream->tags[index % WINDOW];
  if (!*before) stream->tags[index % WINDOW] = UNKNOWN;
  return 1;
}

/* Seal a packet whose payload lies at `body`, or behind its header already (NULL); behind it there is room for TAG octets. 0: it is sealed.
   Otherwise it may not go out, and what stands there is of no use. */
int sealing_seal(struct sealing *sealing, uint8_t *packet, int *length, const uint8_t *body) {
  int clear = cipher_clear_part(packet, *length);
  if (clear < 0) return -1;
  uint32_t ssrc = get32(packet + 8);
  struct stream *stream = stream_of(sealing, ssrc);
  if (!stream) return -1;
  uint64_t before, tag;
  int64_t index = cipher_index(stream->highest, get16(packet + 2));
  if (!spend(stream, index, &before)) return -1;
  if (!cipher_seal(&sealing->cipher, index, packet, clear, *length, body)) return -1;
  memcpy(&tag, packet + *length, sizeof tag);
  if (tag <= UNKNOWN) tag = UNKNOWN + 1;
  if (before && before != tag) return -1;
  stream->tags[index % WINDOW] = tag;
  *length += TAG;
  return 0;
}

/* Each step reads what the one before has fetched. */
void sealing_ahead(const struct sealing *sealing, uint32_t ssrc, int step) {
  if (step == 0) {
    __builtin_prefetch(sealing);
    __builtin_prefetch((const char *)sealing + 64);
    return;
  }
  const struct stream *stream = first_place(sealing->streams, sealing->room, ssrc);
  if (step == 1) {
    __builtin_prefetch(stream);
    __builtin_prefetch(sealing->cipher.context);
    __builtin_prefetch((const char *)sealing->cipher.context + 64);
  } else if (stream->tags) {
    __builtin_prefetch(&stream->tags[(stream->highest + 1) % WINDOW], 1);
  }
}

/* For trials and tests. */
int cleac_seal(struct sealing *sealing, uint8_t *packet, int *length) { return sealing_seal(sealing, packet, length, NULL); }
int cleac_seal_forget(struct sealing *sealing, uint32_t ssrc) { return sealing_forget(sealing, ssrc); }
