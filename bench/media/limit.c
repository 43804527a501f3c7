/* The least that forwarding costs on this machine: for each listener copy a packet, write its header, seal it, and send all of a burst as
 * one datagram that the kernel cuts (UDP_SEGMENT). A tight loop: nothing is received, kept, looked up or waited for. What the kernel does to
 * deliver on loopback is the sender's, here as in every contender. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MOST_LISTENERS = 64, MOST_BURST = 40, LARGEST = 1500, TRAILER = 64 };

typedef int (*srtp_function)(void *session, void *packet, int *length);

struct limit {
    srtp_function protect;
    void *sessions[MOST_LISTENERS];
    int32_t receiving[MOST_LISTENERS]; /* sockets of the listeners, non-blocking */
    uint16_t ports[MOST_LISTENERS];    /* theirs, in network order */
    int32_t sending;
    uint32_t listeners, burst, size, rounds;
};

static uint8_t out[MOST_LISTENERS][MOST_BURST * (LARGEST + TRAILER)];
static uint8_t clear[MOST_BURST][LARGEST];

static double cpu_seconds(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &moment);
    return (double)moment.tv_sec + (double)moment.tv_nsec / 1e9;
}

/* The burst of one listener, packet behind packet. Returns the size of one when sealed; -1 when it is refused. */
static int seal(const struct limit *limit, uint32_t listener, uint16_t number, size_t *whole)
{
    int length = 0;
    *whole = 0;
    for (uint32_t place = 0; place < limit->burst; place++) {
        uint8_t *packet = out[listener] + *whole;
        uint16_t own = (uint16_t)(number + place);
        memcpy(packet, clear[place], limit->size);
        packet[2] = (uint8_t)(own >> 8);
        packet[3] = (uint8_t)own;
        packet[11] = (uint8_t)listener;
        length = (int)limit->size;
        if (limit->protect(limit->sessions[listener], packet, &length))
            return -1;
        *whole += (size_t)length;
    }
    return length;
}

static void drain(const struct limit *limit)
{
    uint8_t packet[LARGEST + TRAILER];
    for (uint32_t listener = 0; listener < limit->listeners; listener++)
        while (recv(limit->receiving[listener], packet, sizeof packet, MSG_DONTWAIT) > 0)
            ;
}

static int send_round(const struct limit *limit, uint16_t number)
{
    struct mmsghdr messages[MOST_LISTENERS] = {0};
    struct sockaddr_in to[MOST_LISTENERS] = {0};
    struct iovec parts[MOST_LISTENERS];
    union { char room[CMSG_SPACE(sizeof(uint16_t))]; struct cmsghdr aligned; } notes[MOST_LISTENERS];
    for (uint32_t listener = 0; listener < limit->listeners; listener++) {
        size_t whole;
        int length = seal(limit, listener, number, &whole);
        if (length < 0)
            return -1;
        struct msghdr *head = &messages[listener].msg_hdr;
        parts[listener] = (struct iovec){out[listener], whole};
        to[listener] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = limit->ports[listener], .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        *head = (struct msghdr){.msg_name = &to[listener], .msg_namelen = sizeof to[listener], .msg_iov = &parts[listener], .msg_iovlen = 1,
                                .msg_control = notes[listener].room, .msg_controllen = sizeof notes[listener].room};
        struct cmsghdr *note = CMSG_FIRSTHDR(head);
        uint16_t each = (uint16_t)length;
        note->cmsg_level = SOL_UDP;
        note->cmsg_type = UDP_SEGMENT;
        note->cmsg_len = CMSG_LEN(sizeof each);
        memcpy(CMSG_DATA(note), &each, sizeof each);
    }
    return sendmmsg(limit->sending, messages, limit->listeners, 0) == (int)limit->listeners ? 0 : -1;
}

/* Packets per second of CPU; -1 where the kernel or the seal refuses. */
double limit_run(const struct limit *limit)
{
    double spent = 0;
    for (uint32_t place = 0; place < limit->burst; place++) {
        memset(clear[place], 0x5a, limit->size);
        clear[place][0] = 0x80;
        clear[place][1] = 96;
        memset(clear[place] + 4, 0, 8);
    }
    for (uint32_t turn = 0; turn < limit->rounds; turn++) {
        double before = cpu_seconds();
        if (send_round(limit, (uint16_t)(turn * limit->burst)))
            return -1;
        spent += cpu_seconds() - before;
        drain(limit);
    }
    return (double)limit->rounds * limit->burst * limit->listeners / spent;
}
