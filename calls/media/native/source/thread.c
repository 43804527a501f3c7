/* The media thread: it reads the socket in batches and never asks for the interpreter. */
#include "engine.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
  BATCH = 32,
  WHOLE = 65536,             /* what the kernel may hand over as one piece, of many datagrams */
  STRIDE = WHOLE + 4096 + 64, /* so that buffers do not share their places in the cache */
  MOST_TURNS = 4,            /* batches that are read before what they made is sent, */
  MANY_DUE = MOST_DUE / 2,   /* unless so many packets wait */
  PAUSE_US = 1000,
  BUSY_US = 500              /* bursts closer together than this on average: a pause saves one wake-up or more */
};

struct reader {
  struct mmsghdr headers[BATCH];
  struct iovec parts[BATCH];
  struct sockaddr_storage from[BATCH];
  _Alignas(struct cmsghdr) uint8_t controls[BATCH][CMSG_SPACE(sizeof(int))];
  uint8_t *room;
  int used;                   /* of the headers, since they were made ready */
  int rested;                 /* it waited for more before it read */
  const struct end *from_end; /* whose the last datagram was */
  int bursts;                 /* that have come since the last look: datagrams of one end without another's between them */
  int64_t last_us, between_us; /* smoothed: microseconds between two bursts */
};

/* Whoever waits for the lock holds the gate, so the one who comes next waits its turn. */
void engine_enter(struct engine *engine) {
  pthread_mutex_lock(&engine->gate);
  pthread_mutex_lock(&engine->lock);
  pthread_mutex_unlock(&engine->gate);
}

void engine_leave(struct engine *engine) {
  outlet_flush(engine);
  pthread_mutex_unlock(&engine->lock);
}

static void to_loop(struct engine *engine, enum kind kind, const uint8_t *address, const uint8_t *data, int length) {
  uint8_t *out = post_room(engine, kind, ADDRESS + (size_t)length);
  if (!out) return;
  memcpy(out, address, ADDRESS);
  memcpy(out + ADDRESS, data, (size_t)length);
  post_signal(engine);
}

/* One datagram, whoever sent it: what is sealed and known goes its way here, strangers end here, the edge decides on the rest. */
static void datagram(struct engine *engine, struct reader *reader, const uint8_t *address, const uint8_t *data, int length, int64_t now) {
  if (!length || length > LARGEST_DATAGRAM) {
    engine->counters[length ? OVERSIZE : EMPTY]++;
    return;
  }
  struct end *end = address_end(engine, address);
  reader->bursts += end != reader->from_end;
  reader->from_end = end;
  if (end && data[0] > 127 && data[0] < 192 && end->attached) publisher_take(engine, end, data, length, now);
  else if (end) to_loop(engine, OF_KNOWN, address, data, length);
  else if (data[0] < 4) to_loop(engine, OF_STRANGERS, address, data, length);
  else engine->counters[STRANGER]++;
}

static int segment_of(struct msghdr *header, int whole) {
  for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control))
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
      int size;
      memcpy(&size, CMSG_DATA(control), sizeof size);
      return size > 0 ? size : whole;
    }
  return whole;
}

static int read_batch(struct engine *engine, struct reader *reader) {
  for (int at = 0; at < reader->used; at++) {
    struct msghdr *header = &reader->headers[at].msg_hdr;
    reader->parts[at] = (struct iovec){reader->room + (size_t)at * STRIDE, WHOLE};
    *header = (struct msghdr){0};
    header->msg_name = &reader->from[at];
    header->msg_namelen = sizeof reader->from[at];
    header->msg_iov = &reader->parts[at];
    header->msg_iovlen = 1;
    header->msg_control = reader->controls[at];
    header->msg_controllen = sizeof reader->controls[at];
  }
  int count = recvmmsg(engine->socket, reader->headers, BATCH, MSG_DONTWAIT, NULL);
  reader->used = count > 0 ? count : 0;
  return count;
}

static void handle(struct engine *engine, struct reader *reader, int count, int64_t now) {
  for (int at = 0; at < count; at++) {
    uint8_t address[ADDRESS];
    int whole = (int)reader->headers[at].msg_len, segment = segment_of(&reader->headers[at].msg_hdr, whole);
    const uint8_t *data = reader->parts[at].iov_base;
    address_read(&reader->from[at], address);
    if (!whole) datagram(engine, reader, address, data, 0, now);
    for (int done = 0; done < whole; done += segment)
      datagram(engine, reader, address, data + done, whole - done < segment ? whole - done : segment, now);
  }
}

/* Everything that has come. The first datagram of a burst wakes this thread while the others are still on their way: they are looked for
   once more before anything is sent, so that the burst leaves as it came. Whoever has waited for them already need not. */
static int take_in(struct engine *engine, struct reader *reader, int64_t *now) {
  int count = read_batch(engine, reader), turns = 0;
  if (count <= 0) return 0;
  engine_enter(engine);
  engine->gathers = 1;
  for (*now = engine_now(engine); count > 0; count = read_batch(engine, reader)) {
    handle(engine, reader, count, *now);
    if (++turns == MOST_TURNS || engine->due_count > MANY_DUE || (reader->rested && count < BATCH)) break;
    *now = engine_now(engine);
  }
  giving_settle(engine);
  engine->gathers = 0;
  engine_leave(engine);
  return 1;
}

/* Wait a moment for more where bursts follow each other closely: a wake-up costs as much as several packets. */
static void gather(struct reader *reader, int64_t now) {
  int64_t since = now - reader->last_us;
  reader->last_us = now;
  reader->between_us += ((since > 100000 ? 100000 : since) / (reader->bursts ? reader->bursts : 1) - reader->between_us) / 8;
  reader->bursts = 0;
  reader->from_end = NULL;
  reader->rested = reader->between_us < BUSY_US;
  if (!reader->rested) return;
  struct timespec pause = {0, PAUSE_US * 1000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void *run(void *argument) {
  struct engine *engine = argument;
  struct reader *reader = calloc(1, sizeof *reader);
  if (reader) reader->room = malloc((size_t)BATCH * STRIDE);
  if (!reader || !reader->room) abort();
  reader->between_us = 100000;
  reader->used = BATCH;
  struct pollfd ready[2] = {{engine->socket, POLLIN, 0}, {engine->stop, POLLIN, 0}};
  while (!atomic_load(&engine->stopping)) {
    int64_t now;
    if (!reader->rested && poll(ready, 2, -1) < 0 && errno != EINTR) break;
    if (take_in(engine, reader, &now)) gather(reader, now);
    else reader->rested = 0;
  }
  free(reader->room);
  free(reader);
  return NULL;
}

/* From now on the socket is read here. Returns the descriptor that tells the loop of what lies there, or the negative of an error's number. */
int cleac_begin(struct engine *engine, int socket, int family) {
  int on = 1;
  engine->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  engine->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (engine->wake < 0 || engine->stop < 0) return -errno;
  setsockopt(socket, SOL_UDP, UDP_GRO, &on, sizeof on); /* where the kernel has it not, each datagram comes by itself */
  engine->socket = socket;
  engine->family = family;
  engine->hook = NULL;
  engine->segments = 1;
  engine->running = 1;
  atomic_store(&engine->stopping, 0);
  sigset_t all, before; /* signals are the interpreter's */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&engine->thread, NULL, run, engine);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!error) return engine->wake;
  engine->running = 0;
  return -error;
}

/* The thread ends; nothing is read or sent any more. */
void cleac_stop(struct engine *engine) {
  uint64_t one = 1;
  if (!engine->running) return;
  atomic_store(&engine->stopping, 1);
  if (write(engine->stop, &one, sizeof one) != sizeof one) abort();
  pthread_join(engine->thread, NULL);
  engine->running = 0;
  engine->until = INT64_MIN;
  close(engine->wake);
  close(engine->stop);
  engine->wake = engine->stop = -1;
}
