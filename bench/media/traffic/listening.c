/* What listeners make of what comes. */
#include "traffic.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

double *latencies;

/* Where the payload starts; -1 when the packet cannot hold it. Finds the transport-cc number, or leaves it. */
static int payload_at(const uint8_t *packet, int size, uint8_t number_id, int *number)
{
    int at = 12 + 4 * (packet[0] & 0x0f);
    if (!(packet[0] & 0x10))
        return at <= size ? at : -1;
    if (at + 4 > size)
        return -1;
    int element = at + 4, end = element + 4 * (int)get16(packet + at + 2);
    if (end > size)
        return -1;
    while (number_id && element + 2 < end) {
        int length = (packet[element] & 0x0f) + 1;
        if (packet[element] == 0) {
            element++;
            continue;
        }
        if (packet[element] >> 4 == number_id && length == 2)
            *number = (int)get16(packet + element + 1);
        element += 1 + length;
    }
    return end;
}

/* Where the body starts that a publisher wrote behind its descriptor, if it is there octet by octet; else 0, and it is counted as bad. */
static int body_at(const struct load *load, struct listener *to, const uint8_t *packet, int size, int payload)
{
    int body = payload + (to->picture_type && (packet[1] & 0x7f) != to->sound_type ? DESCRIPTOR + FRAME_HEAD : 0);
    int at = body + 12 + (int)sizeof(uint64_t);
    if (payload < 12 || at > size || get32(packet + body) != MARK)
        at = -1;
    else if (to->expected && get32(packet + body + 4) - to->expected >= load->layers)
        at = -1;
    while (at >= 0 && at < size && packet[at] == FILL)
        at++;
    to->bad += at != size;
    return at == size ? body : 0;
}

/* Open one packet and look at it. Returns where its payload starts when all is as its publisher wrote it, else 0. */
static int check(struct load *load, struct listener *to, uint8_t *packet, int size, uint64_t now)
{
    int number = -1;
    to->checked++;
    if (unprotect_rtp(to->opening, packet, &size)) {
        to->bad++;
        return 0;
    }
    int payload = payload_at(packet, size, 0, &number), body = body_at(load, to, packet, size, payload);
    uint64_t sent_at;
    if (body == 0)
        return 0;
    memcpy(&sent_at, packet + body + 12, sizeof sent_at);
    if (sent_at <= now && load->latency_count < MOST_LATENCIES)
        latencies[load->latency_count++] = (double)(now - sent_at);
    return payload;
}

static struct stream *stream_of(struct heard *heard, uint32_t ssrc)
{
    for (uint32_t place = 0; place < heard->stream_count; place++)
        if (heard->streams[place].ssrc == ssrc)
            return &heard->streams[place];
    if (heard->stream_count == MOST_STREAMS)
        return NULL;
    heard->streams[heard->stream_count].ssrc = ssrc;
    return &heard->streams[heard->stream_count++];
}

/* A number has arrived. Returns 0 when it had come before. */
static int settle(struct listener *to, struct stream *stream, uint16_t low)
{
    if (stream->received == 0) {
        stream->highest = stream->highest_before = 65536 + low;
        stream->received = 1;
        return 1;
    }
    uint64_t number = unwrapped(stream->highest, low);
    if (number > stream->highest) {
        for (uint64_t gap = stream->highest + 1; gap <= number; gap++) {
            stream->missing[gap % KEPT] = gap < number;
            stream->asked[gap % KEPT] = 0;
            stream->asked_at[gap % KEPT] = 0;
        }
        stream->highest = number;
    } else {
        if (stream->highest - number >= KEPT || !stream->missing[number % KEPT])
            return 0;
        stream->missing[number % KEPT] = 0;
        to->repaired++;
    }
    stream->received++;
    return 1;
}

static void note_number(struct heard *heard, int number, uint64_t now)
{
    if (number < 0)
        return;
    if (heard->number_highest == 0)
        heard->number_highest = heard->number_reported = 65536 + (uint64_t)number - 1;
    uint64_t whole = unwrapped(heard->number_highest, (uint16_t)number);
    while (heard->number_highest < whole)
        heard->arrived[++heard->number_highest % (4 * KEPT)] = 0;
    if (heard->number_highest - whole < 4 * KEPT)
        heard->arrived[whole % (4 * KEPT)] = now;
}

/* A repair (RFC 4588): the number that it is of stands in front of its payload. */
static void repair(const struct load *load, struct listener *to, uint8_t *packet, int size)
{
    struct heard *heard = to->state;
    int number = -1;
    uint32_t ssrc = heard->stream_count ? heard->streams[0].ssrc : 0;
    for (uint32_t place = 0; place < to->repair_count; place++)
        if (to->repairs[2 * place + 1] == get32(packet + 8))
            ssrc = to->repairs[2 * place];
    struct stream *stream = stream_of(heard, ssrc);
    if (stream == NULL || unprotect_rtp(to->opening, packet, &size)) {
        to->bad++;
        return;
    }
    int at = payload_at(packet, size, 0, &number);
    if (at < 0 || at + 2 >= size || !settle(to, stream, (uint16_t)get16(packet + at)))
        return;
    to->pictures++;
    if (load->layers == 1)
        return;
    to->checked++;
    if (body_at(load, to, packet, size, at + 2))
        layers_note(load, to, unwrapped(stream->highest, (uint16_t)get16(packet + at)), packet, packet + at + 2);
}

static void media(struct load *load, struct listener *to, uint8_t *packet, int size, uint64_t now)
{
    struct heard *heard = to->state;
    int number = -1, kind = packet[1] & 0x7f;
    if (falls(&heard->drawn, load->loss)) {
        to->lost++;
        return;
    }
    if (payload_at(packet, size, to->number_id, &number) < 0) {
        to->bad++;
        return;
    }
    note_number(heard, number, now);
    if (to->repair_type && kind == to->repair_type) {
        repair(load, to, packet, size);
        return;
    }
    int is_picture = to->picture_type && kind == to->picture_type;
    struct stream *stream = is_picture || kind == to->sound_type ? stream_of(heard, get32(packet + 8)) : NULL;
    if (stream == NULL || (load->feedback && !settle(to, stream, (uint16_t)get16(packet + 2))))
        return;
    if (load->layers > 1 || (to->pictures + to->sounds) % CHECK_EVERY == 0) {
        int payload = check(load, to, packet, size, now);
        if (payload && load->layers > 1)
            layers_note(load, to, unwrapped(stream->highest, (uint16_t)get16(packet + 2)), packet, packet + payload);
    }
    *(is_picture ? &to->pictures : &to->sounds) += 1;
}

/* Sender reports (RFC 3550 section 6.4.1) are remembered, because a listener's own tell how old they are. */
static void control(const struct load *load, struct listener *to, uint8_t *packet, int size, uint64_t now)
{
    struct heard *heard = to->state;
    to->control++;
    if (!load->feedback || falls(&heard->drawn, load->loss) || unprotect_rtcp(to->opening, packet, &size))
        return;
    for (int at = 0, length; at + 28 <= size; at += length) {
        length = 4 + 4 * (int)get16(packet + at + 2);
        for (uint32_t place = 0; packet[at + 1] == 200 && place < heard->stream_count; place++)
            if (heard->streams[place].ssrc == get32(packet + at + 4)) {
                heard->streams[place].told = get32(packet + at + 10);
                heard->streams[place].told_at = now;
            }
    }
}

static void drain(struct load *load, struct listener *to)
{
    static uint8_t packets[BATCH][LARGEST];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    for (int slot = 0; slot < BATCH; slot++) {
        parts[slot] = (struct iovec){packets[slot], LARGEST};
        messages[slot].msg_hdr.msg_iov = &parts[slot];
        messages[slot].msg_hdr.msg_iovlen = 1;
    }
    int count = recvmmsg(to->socket, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = now_ns();
    if (count > 0)
        load->last_arrived = now;
    for (int slot = 0; slot < count; slot++) {
        int size = (int)messages[slot].msg_len;
        if (size < 12 || packets[slot][0] < 128 || packets[slot][0] > 191)
            continue;
        if (is_control(packets[slot]))
            control(load, to, packets[slot], size, now);
        else
            media(load, to, packets[slot], size, now);
    }
}

/* What is still under way belongs to this run and not to the next: a relay that is behind has a little longer. */
static int is_over(const struct load *load, uint64_t now)
{
    int quiet = now > load->last_arrived + 200 * MILLISECOND;
    return now >= load->drains_until && (quiet || now >= load->drains_until + LATEST);
}

/* Sweeps all sockets every half millisecond and never sleeps in them, so that nobody's waking is billed to the relay. */
void *listen_to_all(void *argument)
{
    struct load *load = argument;
    struct epoll_event ready[BATCH];
    int set = epoll_create1(0);
    if (set < 0)
        return argument;
    for (uint32_t index = 0; index < load->listener_count; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
        if (epoll_ctl(set, EPOLL_CTL_ADD, load->listeners[index].socket, &event))
            load->listeners[index].bad++;
    }
    for (uint64_t now = now_ns(); !is_over(load, now); now = now_ns()) {
        int count = epoll_wait(set, ready, BATCH, 0);
        for (int place = 0; place < count; place++)
            drain(load, &load->listeners[ready[place].data.u32]);
        for (uint32_t index = 0; load->feedback && index < load->listener_count; index++)
            give_feedback(load, &load->listeners[index], now);
        if (count < BATCH)
            rest(MILLISECOND / 2);
    }
    close(set);
    return NULL;
}
