/* What arrived of one layer, what is missing, and the report about it, as feedback.Reception keeps them. Seconds are doubles there,
   so they are here: the same sums give the same answers. */
#include "engine.h"

static const double REPEAT_SECONDS = 0.1;

static double seconds(int64_t us) { return (double)us / 1e6; }

static int is_newer(uint16_t number, uint16_t than) {
  return (number < than && than - number > 0x8000) || (number > than && number - than < 0x8000);
}

static void discard(struct reception *r, uint16_t number) {
  for (int at = 0; at < r->missing_count; at++)
    if (r->missing[at] == number) {
      r->missing[at] = r->missing[--r->missing_count];
      return;
    }
}

/* The numbers from `first` up to the newest are missing; those too far behind are not looked for. */
static int note_missing(struct reception *r, uint16_t number) {
  uint16_t first = (uint16_t)(r->newest + 1);
  int gap = (uint16_t)(number - first);
  r->newest = number;
  uint16_t oldest = (uint16_t)(number - MOST_TRACKED);
  for (int at = 0; at < r->missing_count;)
    if (is_newer(oldest, r->missing[at])) r->missing[at] = r->missing[--r->missing_count];
    else at++;
  if (gap > MOST_TRACKED) first = oldest;
  for (; first != number; first++)
    if (r->missing_count < MOST_TRACKED) r->missing[r->missing_count++] = first;
  return gap > 0;
}

static struct asked *asked_for(struct reception *r, uint16_t number) {
  for (int at = 0; at < r->asked_count; at++)
    if (r->asked[at].number == number) return &r->asked[at];
  return NULL;
}

static int is_missing(const struct reception *r, uint16_t number) {
  for (int at = 0; at < r->missing_count; at++)
    if (r->missing[at] == number) return 1;
  return 0;
}

static int ascending(const void *left, const void *right) { return *(const uint16_t *)left - *(const uint16_t *)right; }

/* A newer gap does not bring the next turn of an older number nearer: its answer may be under way. */
static int ask(struct reception *r, int64_t now, uint16_t *numbers) {
  uint16_t due[MOST_TRACKED];
  int count = 0, kept = 0;
  for (int at = 0; at < r->missing_count;) {
    const struct asked *before = asked_for(r, r->missing[at]);
    if (before && seconds(now) - seconds(before->at) < REPEAT_SECONDS) at++;
    else if (before && before->times >= MOST_REPEATS) {
      r->missing[at] = r->missing[--r->missing_count];
      r->gave_up = 1;
    }
    else due[count++] = r->missing[at++];
  }
  for (int at = 0; at < r->asked_count; at++)
    if (is_missing(r, r->asked[at].number)) r->asked[kept++] = r->asked[at];
  r->asked_count = kept;
  qsort(due, (size_t)count, sizeof *due, ascending);
  int told = count < MOST_MISSING ? count : MOST_MISSING;
  memcpy(numbers, due + count - told, (size_t)told * sizeof *numbers);
  for (int at = 0; at < told; at++) {
    struct asked *entry = asked_for(r, numbers[at]);
    if (!entry) {
      entry = &r->asked[r->asked_count++];
      *entry = (struct asked){.number = numbers[at]};
    }
    entry->times++;
    entry->at = now;
  }
  r->asked_ever = 1;
  r->asked_at = now;
  return told;
}

static void count(struct reception *r, uint16_t number, uint32_t timestamp, int64_t now) {
  int in_order = !r->begun || is_newer(number, r->highest);
  r->received++;
  if (!r->begun) r->base = number;
  if (in_order) {
    int64_t arrival = (int64_t)(seconds(now) * r->clock_rate);
    if (r->begun && number < r->highest) r->cycles += 1 << 16;
    r->highest = number;
    if (r->begun && timestamp != r->last_timestamp) {
      int64_t difference = arrival - r->last_arrival - (int32_t)(timestamp - r->last_timestamp);
      r->jitter += (difference < 0 ? -difference : difference) - ((r->jitter + 8) >> 4);
    }
    r->last_arrival = arrival;
    r->last_timestamp = timestamp;
  }
  r->begun = 1;
}

int reception_add(struct reception *r, uint16_t number, uint32_t timestamp, int64_t now, uint16_t *numbers) {
  count(r, number, timestamp, now);
  uint16_t ahead = (uint16_t)(number - r->newest);
  if (r->tracking && ahead > LONGEST_JUMP && ahead < 0x8000) r->tracking = r->missing_count = 0;
  if (!r->tracking) {
    r->tracking = 1;
    r->newest = number;
    return 0;
  }
  if (is_newer(number, r->newest)) return note_missing(r, number) ? ask(r, now, numbers) : 0;
  discard(r, number);
  return 0;
}

void reception_repaired(struct reception *r, uint16_t number) { discard(r, number); }

int reception_repeat(struct reception *r, int64_t now, uint16_t *numbers) {
  int due = !r->asked_ever || seconds(now) - seconds(r->asked_at) >= REPEAT_SECONDS;
  return r->missing_count && due ? ask(r, now, numbers) : 0;
}

int reception_report(struct reception *r, int64_t now, struct report *report) {
  if (!r->begun) return 0;
  int64_t expected = r->cycles + r->highest - r->base + 1;
  int64_t due = expected - r->expected_before, came = r->received - r->received_before, lost = expected - r->received;
  r->expected_before = expected;
  r->received_before = r->received;
  int64_t fraction = due == 0 || due <= came ? 0 : ((due - came) << 8) / due;
  int64_t jitter = r->jitter >> 4;
  int64_t at = r->reported ? r->report_at : now;
  report->fraction_lost = (uint32_t)(fraction > 255 ? 255 : fraction);
  report->packets_lost = (int32_t)(lost < -(1 << 23) ? -(1 << 23) : lost > (1 << 23) - 1 ? (1 << 23) - 1 : lost);
  report->highest_sequence = (uint32_t)(r->cycles + r->highest);
  report->jitter = (uint32_t)(jitter < 0 ? 0 : jitter > 0xFFFFFFFFLL ? 0xFFFFFFFFLL : jitter);
  report->last_report = r->reported ? r->last_report : 0;
  report->since_report = (uint32_t)(int64_t)((seconds(now) - seconds(at)) * 65536);
  return 1;
}
