/* The way out: the fence, the seal, and datagrams gathered by destination until the lock is given back.

   Where the kernel has it, packets of one size to one destination go out as one message that the kernel cuts up (UDP_SEGMENT). Where that
   fails by EIO (no checksum offload) it is never tried again; where it fails by EINVAL or EMSGSIZE (a way with small packets), not for
   that destination. */
#include "engine.h"

#include <errno.h>
#include <netinet/udp.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* As calls/media/clock.py: it goes on while the machine sleeps, so that the fence is closed before the first packet after that. */
int64_t engine_now(const struct engine *engine) {
  if (!engine->running) return engine->hand_clock;
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int is_past(const struct engine *engine) { return engine->until != INT64_MAX && engine_now(engine) > engine->until; }

int engine_fenced(struct engine *engine) {
  int fenced = is_past(engine);
  engine->counters[FENCED] += (unsigned)fenced;
  return fenced;
}

struct slot *outlet_slot(struct engine *engine) {
  if (engine->slot_count == SLOTS) outlet_flush(engine);
  struct slot *slot = &engine->slots[engine->slot_count];
  slot->data = engine->arena + engine->arena_used;
  slot->body = NULL;
  return slot;
}

static struct message *message_for(struct engine *engine, struct end *end, int length) {
  if (end->message >= 0 && end->round == engine->round && engine->segments && !end->without_segments) {
    struct message *open = &engine->messages[end->message];
    int last = engine->slots[open->last].length;
    if (last == open->segment && length <= open->segment && open->count < MOST_SEGMENTS && open->octets + length <= MOST_MESSAGE) return open;
  }
  end->round = engine->round;
  end->message = engine->message_count++;
  struct message *made = &engine->messages[end->message];
  *made = (struct message){end, -1, -1, 0, length, 0};
  return made;
}

/* The sealed packet in the next slot waits for the flush. */
static void wait_for_flush(struct engine *engine, struct end *end, struct copy *copy, int payload_length) {
  struct slot *slot = &engine->slots[engine->slot_count];
  struct message *message = message_for(engine, end, slot->length);
  slot->end = end;
  slot->copy = copy;
  slot->payload_length = payload_length;
  slot->next = -1;
  if (message->first < 0) message->first = engine->slot_count;
  else engine->slots[message->last].next = engine->slot_count;
  message->last = engine->slot_count++;
  message->count++;
  message->octets += slot->length;
  engine->arena_used += (size_t)slot->length;
}

static int by_stream(struct engine *engine, struct end *end, uint32_t ssrc, const struct slot *slot, int payload_length) {
  uint8_t *out = post_room(engine, BY_STREAM, 16 + (size_t)slot->length);
  if (!out) return 0;
  int32_t payload = payload_length;
  memcpy(out, &end->number, 8);
  memcpy(out + 8, &ssrc, 4);
  memcpy(out + 12, &payload, 4);
  memcpy(out + 16, slot->data, (size_t)slot->length);
  post_signal(engine);
  return 1;
}

static int sealed_goes(struct engine *engine, struct end *end, struct copy *copy, struct slot *slot, int payload_length) {
  if (engine->hook) return engine->hook(end->number, slot->data, slot->length);
  if (end->way == STREAM) return by_stream(engine, end, copy ? copy->ssrc : 0, slot, payload_length);
  wait_for_flush(engine, end, copy, payload_length);
  return 1;
}

static int seal(struct engine *engine, struct end *end, struct slot *slot) {
  if (end->sealing) return sealing_seal(end->sealing, slot->data, &slot->length, slot->body);
  if (slot->body) memcpy(slot->data + slot->head, slot->body, (size_t)(slot->length - slot->head));
  return engine->protect(end->sending, slot->data, &slot->length);
}

int outlet_rtp(struct engine *engine, struct end *end, struct copy *copy, struct slot *slot, int payload_length) {
  if (!end->attached || end->way == NOWHERE || engine_fenced(engine)) return 0;
  if (slot->length > LARGEST_RTP || seal(engine, end, slot)) {
    engine->counters[SRTP_UNSENT]++;
    return 0;
  }
  return sealed_goes(engine, end, copy, slot, payload_length);
}

void outlet_rtcp(struct engine *engine, struct end *end, const uint8_t *clear, int length) {
  if (!end->attached || end->way == NOWHERE || engine_fenced(engine)) return;
  struct slot *slot = outlet_slot(engine);
  if (length > LARGEST_RTCP) {
    engine->counters[SRTP_UNSENT]++;
    return;
  }
  memcpy(slot->data, clear, (size_t)length);
  slot->length = length;
  if (engine->protect_rtcp(end->sending, slot->data, &slot->length)) {
    engine->counters[SRTP_UNSENT]++;
    return;
  }
  sealed_goes(engine, end, NULL, slot, 0);
}

static void refused(struct engine *engine, const struct message *message, enum counter why) {
  for (int at = message->first; at >= 0; at = engine->slots[at].next) {
    engine->counters[why]++;
    if (engine->slots[at].copy) copy_refused(engine, engine->slots[at].copy, engine->slots[at].payload_length);
  }
}

/* Each packet of a message by itself. */
static void send_singly(struct engine *engine, const struct message *message) {
  for (int at = message->first; at >= 0;) {
    struct slot *slot = &engine->slots[at];
    const struct sockaddr *to = (const struct sockaddr *)&message->end->address;
    ssize_t sent = sendto(engine->socket, slot->data, (size_t)slot->length, MSG_DONTWAIT, to, message->end->address_length);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      struct message one = {message->end, at, at, 1, slot->length, slot->length};
      int next = slot->next;
      slot->next = -1;
      refused(engine, &one, errno == EAGAIN || errno == EWOULDBLOCK ? SEND_FULL : SOCKET_ERROR);
      at = next;
      continue;
    }
    at = slot->next;
  }
}

/* The first of the messages that are left could not be sent. */
static void after_failure(struct engine *engine, const struct message *message, int error) {
  if (message->count > 1 && (error == EIO || error == EINVAL || error == EMSGSIZE)) {
    if (error == EIO) engine->segments = 0;
    else message->end->without_segments = 1;
    send_singly(engine, message);
  } else {
    refused(engine, message, error == EAGAIN || error == EWOULDBLOCK ? SEND_FULL : SOCKET_ERROR);
  }
}

/* The packets of a message, in as few pieces as they lie in. Returns how many. */
static size_t pieces(const struct engine *engine, const struct message *message, struct iovec *parts) {
  size_t count = 0;
  for (int at = message->first; at >= 0; at = engine->slots[at].next) {
    const struct slot *slot = &engine->slots[at];
    if (count && (uint8_t *)parts[count - 1].iov_base + parts[count - 1].iov_len == slot->data) parts[count - 1].iov_len += (size_t)slot->length;
    else parts[count++] = (struct iovec){slot->data, (size_t)slot->length};
  }
  return count;
}

static void prepare(struct engine *engine, struct mmsghdr *headers, struct iovec *parts, uint8_t (*controls)[CMSG_SPACE(2)]) {
  size_t part = 0;
  for (int m = 0; m < engine->message_count; m++) {
    struct message *message = &engine->messages[m];
    struct msghdr *header = &headers[m].msg_hdr;
    memset(header, 0, sizeof *header);
    header->msg_name = &message->end->address;
    header->msg_namelen = message->end->address_length;
    header->msg_iov = &parts[part];
    header->msg_iovlen = pieces(engine, message, &parts[part]);
    part += header->msg_iovlen;
    if (message->count == 1) continue;
    header->msg_control = controls[m];
    header->msg_controllen = CMSG_SPACE(2);
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    uint16_t segment = (uint16_t)message->segment;
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(2);
    memcpy(CMSG_DATA(control), &segment, 2);
  }
}

void outlet_flush(struct engine *engine) {
  static __thread struct mmsghdr headers[SLOTS];
  static __thread struct iovec parts[SLOTS];
  static __thread _Alignas(struct cmsghdr) uint8_t controls[SLOTS][CMSG_SPACE(2)];
  int done = 0;
  if (!engine->message_count) return;
  prepare(engine, headers, parts, controls);
  while (done < engine->message_count) {
    if (is_past(engine)) { /* the process stood still since the packets were sealed */
      for (; done < engine->message_count; done++) refused(engine, &engine->messages[done], FENCED);
      break;
    }
    int sent = sendmmsg(engine->socket, headers + done, (unsigned)(engine->message_count - done), MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) after_failure(engine, &engine->messages[done], errno);
    done += sent > 0 ? sent : 1;
  }
  engine->message_count = engine->slot_count = 0;
  engine->arena_used = 0;
  engine->round++;
}
