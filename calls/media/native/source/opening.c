/* Opening of the RTP that comes in, by cipher.c. All RTCP is libsrtp's; where the trial of this file fails (native/seals.py), so is this. Packet by packet
   both take and refuse the same (tests/media/test_native_opening.py). libsrtp 2.7 prepares its cipher anew for each packet and shifts a window
   of 1,024 bits; here the window is a ring.

   What must never happen here: somebody's packet is taken that the one at the other end did not send, or did not send now. What holds it:
   - A packet is taken only when AES-GCM finds its tag genuine over header and payload, under the key of this connection and the index of this
     packet. Until then nothing of it changes anything here: no stream is made, no window moves, and what was deciphered is not looked at.
   - An index is taken once (RFC 3711 section 3.3.2). Of the highest and the 1,023 below it is known whether they came; what is older is refused.
   - What is known of a stream lives as long as the session (native/seals.py keeps one `opening` for it), whatever end or engine uses it: an end that goes and comes
     again with its session does not open a packet a second time. No stream is forgotten.
   - The index is guessed from the highest that was genuine (RFC 3711 section 3.3.1), as libsrtp does: a wrong guess is a wrong IV, and so a wrong tag.
   - How many streams there are is for the caller to bound before it comes here (MOST_SENDERS).
   - Refused is what is answered with anything but 0; the caller counts it (`srtp-refused`) and drops it. */
#include "cipher.h"

enum { LEAST_ROOM = 4, WORD = 64 };

struct source { uint32_t ssrc; int used; int64_t highest; uint64_t came[WINDOW / WORD]; }; /* `came` by index, a ring of bits */

struct opening {
  struct cipher cipher;
  struct source *sources;    /* by SSRC, at most half full */
  unsigned room, count;
};

void cleac_opening_free(struct opening *opening) {
  if (!opening) return;
  free(opening->sources);
  cipher_end(&opening->cipher);
  free(opening);
}

static struct opening *made(struct cipher cipher, int usable) {
  struct opening *opening = calloc(1, sizeof *opening);
  if (!opening) {
    cipher_end(&cipher);
    return NULL;
  }
  opening->cipher = cipher;
  opening->room = LEAST_ROOM;
  opening->sources = calloc(LEAST_ROOM, sizeof *opening->sources);
  if (opening->sources && usable) return opening;
  cleac_opening_free(opening);
  return NULL;
}

/* With the keys of a session themselves. NULL: it cannot be made. */
struct opening *cleac_opening_of_session(void *const *functions, const uint8_t *key, int length, const uint8_t *salt) {
  struct cipher cipher;
  int usable = cipher_begin(&cipher, functions, key, length, salt, 0);
  return made(cipher, usable);
}

/* With a master key and its salt, 28 or 44 octets together. NULL: it cannot be made. */
struct opening *cleac_opening(void *const *functions, const uint8_t *master, int length) {
  struct cipher cipher;
  int usable = cipher_derived(&cipher, functions, master, length, 0);
  return made(cipher, usable);
}

/* Where this SSRC stands, or where it belongs. */
static struct source *place(struct source *sources, unsigned room, uint32_t ssrc) {
  unsigned at = (ssrc * 2654435761u >> 7) & (room - 1);
  while (sources[at].used && sources[at].ssrc != ssrc) at = (at + 1) & (room - 1);
  return &sources[at];
}

/* The first genuine packet of an SSRC has come. NULL: there is no room. */
static struct source *enter(struct opening *opening, uint32_t ssrc) {
  if (2 * (opening->count + 1) > opening->room) {
    unsigned room = opening->room * 2;
    struct source *sources = calloc(room, sizeof *sources);
    if (!sources) return NULL;
    for (unsigned at = 0; at < opening->room; at++)
      if (opening->sources[at].used) *place(sources, room, opening->sources[at].ssrc) = opening->sources[at];
    free(opening->sources);
    opening->sources = sources;
    opening->room = room;
  }
  opening->count++;
  struct source *source = place(opening->sources, opening->room, ssrc);
  source->ssrc = ssrc;
  source->used = 1;
  return source;
}

static uint64_t *word_of(struct source *source, int64_t index) { return &source->came[index % WINDOW / WORD]; }

static uint64_t bit_of(int64_t index) { return (uint64_t)1 << index % WORD; }

static int may_come(struct source *source, int64_t index) {
  if (index >> 48) return 0;
  return index > source->highest || (index > source->highest - WINDOW && !(*word_of(source, index) & bit_of(index)));
}

static void has_come(struct source *source, int64_t index) {
  if (index - source->highest >= WINDOW) memset(source->came, 0, sizeof source->came);
  else for (int64_t at = source->highest + 1; at <= index; at++) *word_of(source, at) &= ~bit_of(at);
  if (index > source->highest) source->highest = index;
  *word_of(source, index) |= bit_of(index);
}

/* Open into `out`, which has room for as much; `*length` is then without the tag. 0: it is genuine and came for the first time. Otherwise it is refused. */
int opening_open(struct opening *opening, const uint8_t *sealed, int *length, uint8_t *out) {
  int size = *length - TAG, clear = cipher_clear_part(sealed, *length);
  if (clear < 0 || clear > size) return -1;
  uint32_t ssrc = get32(sealed + 8);
  struct source *source = place(opening->sources, opening->room, ssrc);
  int64_t index = cipher_index(source->highest, get16(sealed + 2)); /* of an unknown one the highest is 0, and nothing came */
  if (!may_come(source, index)) return -1;
  if (!cipher_open(&opening->cipher, index, sealed, clear, size, out)) return -1;
  if (!source->used && !(source = enter(opening, ssrc))) return -1;
  has_come(source, index);
  *length = size;
  return 0;
}

/* For trials and tests. */
int cleac_opened(struct opening *opening, const uint8_t *sealed, int *length, uint8_t *out) { return opening_open(opening, sealed, length, out); }
