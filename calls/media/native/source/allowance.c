/* How much one sender may make the path do, as forward/allowance.py says: credit in microseconds, spent only after SRTP has opened a packet. */
#include "engine.h"

enum { HELD_US = 2000000, SHUT_US = 20000 };

void allowance_begin(struct allowance *allowance, struct rate rate) {
  *allowance = (struct allowance){.rate = rate, .packets = HELD_US, .octets = HELD_US};
}

int allowance_is_shut(const struct allowance *allowance, int64_t now) { return now < allowance->shut_until; }

int allowance_take(struct allowance *allowance, int64_t octets, int64_t now) {
  int64_t passed = now > allowance->at ? now - allowance->at : 0;
  int64_t packet = 1000000 / allowance->rate.packets, volume = octets * 1000000 / allowance->rate.octets;
  allowance->at += passed;
  allowance->packets = allowance->packets + passed < HELD_US ? allowance->packets + passed : HELD_US;
  allowance->octets = allowance->octets + passed < HELD_US ? allowance->octets + passed : HELD_US;
  if (allowance->packets < packet || allowance->octets < volume) {
    allowance->shut_until = now + SHUT_US;
    return 0;
  }
  allowance->packets -= packet;
  allowance->octets -= volume;
  return 1;
}
