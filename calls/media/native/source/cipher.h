/* What sealing.c and opening.c share. */
#ifndef CLEAC_CIPHER_H
#define CLEAC_CIPHER_H

#include "engine.h"

enum { HALF = 0x8000, SALT = 12, WINDOW = 1024 }; /* `WINDOW`: indices behind the highest that are known, it included */

struct openssl {             /* its functions, in the order of seals.FUNCTIONS */
  void *(*make)(void);
  void (*end)(void *context);
  int (*begin)(void *context, const void *kind, void *engine, const uint8_t *key, const uint8_t *iv, int seals);
  int (*update)(void *context, uint8_t *out, int *out_length, const uint8_t *in, int length);
  int (*finish)(void *context, uint8_t *out, int *out_length);
  int (*control)(void *context, int what, int argument, void *value);
  const void *(*gcm_128)(void), *(*gcm_256)(void), *(*counter_128)(void), *(*counter_256)(void);
};

struct cipher { struct openssl with; void *context; uint8_t salt[SALT]; };

int cipher_begin(struct cipher *cipher, void *const *functions, const uint8_t *key, int length, const uint8_t *salt, int seals);
int cipher_derived(struct cipher *cipher, void *const *functions, const uint8_t *master, int length, int seals);
void cipher_end(struct cipher *cipher);
int64_t cipher_index(int64_t highest, uint16_t number);
int cipher_clear_part(const uint8_t *packet, int length);
int cipher_seal(const struct cipher *cipher, int64_t index, uint8_t *packet, int clear, int length, const uint8_t *body);
int cipher_open(const struct cipher *cipher, int64_t index, const uint8_t *sealed, int clear, int length, uint8_t *out);
#endif
