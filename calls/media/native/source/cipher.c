/* AES-GCM as SRTP uses it (RFC 3711, RFC 7714), by the OpenSSL that libsrtp itself uses: keys, IVs, the index of a number, one packet sealed or opened.

   libsrtp 2.7 prepares its cipher anew for each packet. Here a connection has one for each direction with its key set once, and a packet brings only
   its IV. Which packets may be sealed or taken is not known here: sealing.c and opening.c hold that. */
#include "cipher.h"

enum {
  PREFIX = 14,               /* of the counter that keys are derived with: the rest counts blocks */
  LABEL_AT = 7, KEY_LABEL = 0, SALT_LABEL = 2, /* RFC 3711 section 4.3 */
  AS_BEFORE = -1,            /* the direction of a context */
  GET_TAG = 0x10, SET_TAG = 0x11 /* EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG */
};

/* A key has 16 or 32 octets. 0: it cannot be made. */
int cipher_begin(struct cipher *cipher, void *const *functions, const uint8_t *key, int length, const uint8_t *salt, int seals) {
  memset(cipher, 0, sizeof *cipher);
  if (length != 16 && length != 32) return 0;
  memcpy(&cipher->with, functions, sizeof cipher->with);
  memcpy(cipher->salt, salt, SALT);
  cipher->context = cipher->with.make();
  const void *kind = length == 16 ? cipher->with.gcm_128() : cipher->with.gcm_256();
  return cipher->context && cipher->with.begin(cipher->context, kind, NULL, key, NULL, seals) == 1;
}

/* RFC 3711 section 4.3 at a rate of 0, with the salt of RFC 7714 section 11: 12 octets, and zeros up to 14. 0: it failed. */
static int derive(const struct openssl *with, const uint8_t *key, int key_length, const uint8_t *salt, int label, uint8_t *out, int length) {
  uint8_t counter[PREFIX + 2] = {0};
  int written = 0;
  void *context = with->make();
  if (!context) return 0;
  memcpy(counter, salt, SALT);
  counter[LABEL_AT] ^= (uint8_t)label;
  memset(out, 0, (size_t)length);
  const void *kind = key_length == 16 ? with->counter_128() : with->counter_256();
  int done = with->begin(context, kind, NULL, key, counter, 1) == 1 && with->update(context, out, &written, out, length) == 1;
  with->end(context);
  return done && written == length;
}

/* With a master key and its salt, 28 or 44 octets together. 0: it cannot be made. */
int cipher_derived(struct cipher *cipher, void *const *functions, const uint8_t *master, int length, int seals) {
  int key_length = length - SALT;
  struct openssl with;
  uint8_t key[32], salt[SALT];
  memset(cipher, 0, sizeof *cipher);
  if (key_length != 16 && key_length != 32) return 0;
  memcpy(&with, functions, sizeof with);
  int made = derive(&with, master, key_length, master + key_length, KEY_LABEL, key, key_length) &&
             derive(&with, master, key_length, master + key_length, SALT_LABEL, salt, SALT) &&
             cipher_begin(cipher, functions, key, key_length, salt, seals);
  explicit_bzero(key, sizeof key);
  explicit_bzero(salt, sizeof salt);
  return made;
}

void cipher_end(struct cipher *cipher) {
  if (cipher->context) cipher->with.end(cipher->context);
  explicit_bzero(cipher, sizeof *cipher);
}

/* The index that is nearest to the highest (RFC 3711 section 3.3.1); in the first half of the numbers' first round, the number itself, as libsrtp has it. */
int64_t cipher_index(int64_t highest, uint16_t number) {
  if (highest <= HALF) return number;
  int64_t found = (highest & ~(int64_t)0xFFFF) | number;
  if (found - highest > HALF) return found - 0x10000;
  if (found - highest < -HALF) return found + 0x10000;
  return found;
}

/* Where the payload begins; -1: this is no RTP packet. */
int cipher_clear_part(const uint8_t *packet, int length) {
  if (length < 12) return -1;
  int at = 12 + 4 * (packet[0] & 0x0F);
  if (at > length) return -1;
  if (packet[0] & 0x10) {
    if (at + 4 > length) return -1;
    at += 4 + 4 * get16(packet + at + 2);
  }
  return at > length ? -1 : at;
}

/* For the next packet: its IV (RFC 7714 section 8.1), and what is not enciphered. */
static int prepare(const struct cipher *cipher, int64_t index, const uint8_t *packet, int clear) {
  uint8_t iv[SALT] = {0};
  int written = 0;
  memcpy(iv + 2, packet + 8, 4);
  put32(iv + 6, (uint32_t)(index >> 16));
  put16(iv + 10, (uint32_t)index);
  for (int at = 0; at < SALT; at++) iv[at] ^= cipher->salt[at];
  return cipher->with.begin(cipher->context, NULL, NULL, NULL, iv, AS_BEFORE) == 1 &&
         cipher->with.update(cipher->context, NULL, &written, packet, clear) == 1;
}

static int run(const struct cipher *cipher, uint8_t *out, const uint8_t *in, int size) {
  int written = 0;
  return !size || (cipher->with.update(cipher->context, out, &written, in, size) == 1 && written == size);
}

/* What belongs behind the clear part lies at `body`, or there already (NULL); behind the packet there is room for TAG octets. 0: it failed. */
int cipher_seal(const struct cipher *cipher, int64_t index, uint8_t *packet, int clear, int length, const uint8_t *body) {
  int rest = 0;
  return prepare(cipher, index, packet, clear) && run(cipher, packet + clear, body ? body : packet + clear, length - clear) &&
         cipher->with.finish(cipher->context, packet + length, &rest) == 1 && !rest &&
         cipher->with.control(cipher->context, GET_TAG, TAG, packet + length) == 1;
}

/* Into `out`, which has room for all but the tag, and which holds nothing of use where the tag is wrong. `length` is without the tag. 0: it is forged. */
int cipher_open(const struct cipher *cipher, int64_t index, const uint8_t *sealed, int clear, int length, uint8_t *out) {
  int rest = 0;
  uint8_t tag[TAG];
  memcpy(tag, sealed + length, TAG);
  memcpy(out, sealed, (size_t)clear);
  return prepare(cipher, index, sealed, clear) && run(cipher, out + clear, sealed + clear, length - clear) &&
         cipher->with.control(cipher->context, SET_TAG, TAG, tag) == 1 && cipher->with.finish(cipher->context, out + length, &rest) == 1 && !rest;
}
