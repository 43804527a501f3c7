/* What publishers send, and how they obey what is asked of them. */
#include "traffic.h"

#include <sys/socket.h>

/* A picture's descriptor and its first octets; only the first packet of a key frame has the start code that decoders look for. */
static uint8_t *write_picture(uint8_t *at, uint32_t number, int first, int key)
{
    static const uint8_t key_head[FRAME_HEAD] = {0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01};
    at[0] = first ? 0x90 : 0x80;
    at[1] = 0x80;
    put16(at + 2, 0x8000 | (number & 0x7fff));
    memset(at + DESCRIPTOR, 0, FRAME_HEAD);
    if (first && key)
        memcpy(at + DESCRIPTOR, key_head, FRAME_HEAD);
    else
        at[DESCRIPTOR] = 0x01;
    return at + DESCRIPTOR + FRAME_HEAD;
}

/* Of the next packet, on the clock of its kind: 90 kHz for pictures, 48 kHz and 20 ms a packet for sound. */
static uint32_t timestamp(const struct publisher *from, const struct sent *sent)
{
    uint32_t passed = from->frame ? sent->serial / from->frame * (uint32_t)(90000ull * from->frame / from->rate) : sent->serial * 960;
    return from->first_timestamp + passed;
}

/* One packet in clear. Transport-cc numbers count per transport. Returns its size. */
static int write_packet(const struct publisher *from, struct sent *sent, uint8_t *packet, uint64_t now)
{
    uint32_t place = from->frame ? sent->serial % from->frame : 0;
    int ends = from->frame && place == from->frame - 1u;
    packet[0] = 0x90;
    packet[1] = (uint8_t)(from->payload_type | (ends ? 0x80 : 0));
    put16(packet + 2, sent->number);
    put32(packet + 4, timestamp(from, sent));
    put32(packet + 8, from->ssrc);
    put16(packet + 12, 0xbede);
    put16(packet + 14, from->block_size / 4);
    uint8_t *at = packet + 16;
    memcpy(at, from->block, from->block_size);
    if (from->number_at >= 0)
        put16(at + from->number_at, (*sent->transport_number)++);
    at += from->block_size;
    if (from->frame) {
        uint32_t number = sent->serial / from->frame;
        at = write_picture(at, from->first_picture + number, place == 0, number % KEY_EVERY == 0 || sent->key_wanted);
        if (place == 0)
            sent->key_wanted = 0;
    }
    put32(at, MARK);
    put32(at + 4, from->ssrc);
    put32(at + 8, sent->serial);
    memcpy(at + 12, &now, sizeof now);
    at += 12 + sizeof now;
    memset(at, FILL, (size_t)(packet + from->size - at));
    sent->serial++;
    sent->number++;
    return from->size;
}

static void send_batch(struct publisher *from, struct mmsghdr *messages, int count)
{
    int done = 0;
    while (done < count) {
        int taken = sendmmsg(from->socket, messages + done, (unsigned)(count - done), 0);
        if (taken <= 0) {
            from->refused += (uint64_t)(count - done);
            return;
        }
        done += taken;
    }
}

static void send_burst(const struct load *load, struct publisher *from)
{
    struct sent *sent = from->state;
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    int count = 0;
    for (int turn = 0; turn < from->burst && turn < BATCH; turn++) {
        int slot = sent->number % KEPT;
        uint8_t *packet = sent->packets[slot];
        int size = write_packet(from, sent, packet, now_ns());
        from->packets++;
        if (protect_rtp(from->sealing, packet, &size)) {
            from->refused++;
            continue;
        }
        sent->sizes[slot] = (uint16_t)size;
        if (falls(&sent->drawn, load->loss)) {
            from->lost++;
            continue;
        }
        parts[count] = (struct iovec){packet, (size_t)size};
        messages[count].msg_hdr.msg_iov = &parts[count];
        messages[count++].msg_hdr.msg_iovlen = 1;
    }
    send_batch(from, messages, count);
}

static void send_again(const struct load *load, struct publisher *from, uint16_t number)
{
    struct sent *sent = from->state;
    uint16_t behind = (uint16_t)(sent->number - number);
    if (behind == 0 || behind > KEPT / 2)
        return;
    if (falls(&sent->drawn, load->loss))
        from->lost++;
    else if (send(from->socket, sent->packets[number % KEPT], sent->sizes[number % KEPT], MSG_DONTWAIT) > 0)
        from->resent++;
}

/* One control packet for the stream that it names. */
static void obey(struct load *load, const uint8_t *packet, int size)
{
    int kind = packet[1], format = packet[0] & 0x1f;
    if (size < 12)
        return;
    for (uint32_t index = 0; index < load->publisher_count; index++) {
        struct publisher *from = &load->publishers[index];
        int full_request = kind == 206 && format == 4 && size >= 16 && get32(packet + 12) == from->ssrc;
        if (full_request || (kind == 206 && format == 1 && get32(packet + 8) == from->ssrc))
            ((struct sent *)from->state)->key_wanted = 1;
        if (kind != 205 || format != 1 || get32(packet + 8) != from->ssrc)
            continue;
        for (int at = 12; at + 4 <= size; at += 4) {
            uint32_t first = get16(packet + at), following = get16(packet + at + 2);
            send_again(load, from, (uint16_t)first);
            for (uint32_t bit = 0; bit < 16; bit++)
                if (following >> bit & 1)
                    send_again(load, from, (uint16_t)(first + bit + 1));
        }
    }
}

static void obey_all(struct load *load, struct publisher *from)
{
    uint8_t packet[LARGEST];
    for (int turn = 0; turn < BATCH; turn++) {
        int size = (int)recv(from->socket, packet, sizeof packet, MSG_DONTWAIT);
        if (size < 0)
            return;
        if (falls(&((struct sent *)from->state)->drawn, load->loss))
            continue;
        if (size < 8 || packet[0] < 128 || packet[0] > 191 || !is_control(packet) || unprotect_rtcp(from->opening, packet, &size))
            continue;
        for (int at = 0; at + 8 <= size;) {
            int length = 4 + 4 * (int)get16(packet + at + 2);
            if (at + length > size)
                break;
            obey(load, packet + at, length);
            at += length;
        }
    }
}

/* A sender report (RFC 3550 section 6.4.1); its wall clock is the monotonic one, which only this stream is measured by. */
static void send_report(const struct load *load, struct publisher *from)
{
    struct sent *sent = from->state;
    uint8_t packet[LARGEST] = {0x80, 200, 0, 6};
    uint64_t now = now_ns();
    int size = 28;
    put32(packet + 4, from->ssrc);
    put32(packet + 8, (uint32_t)(now / SECOND));
    put32(packet + 12, (uint32_t)((now % SECOND << 32) / SECOND));
    put32(packet + 16, timestamp(from, sent));
    put32(packet + 20, sent->serial);
    put32(packet + 24, sent->serial * from->size);
    if (!protect_rtcp(from->sealing, packet, &size) && !falls(&sent->drawn, load->loss) && send(from->socket, packet, (size_t)size, MSG_DONTWAIT) < 0)
        from->refused++;
}

void publish(struct load *load)
{
    uint64_t began = now_ns(), controls_at = began, reports_at = began;
    for (uint32_t index = 0; index < load->publisher_count; index++) {
        struct publisher *from = &load->publishers[index];
        uint64_t period = SECOND * from->burst / from->rate;
        ((struct sent *)from->state)->due = began + period * index / load->publisher_count;
    }
    for (uint64_t now = began; now < load->ends; now = now_ns()) {
        uint64_t next = now + MILLISECOND;
        for (uint32_t index = 0; index < load->publisher_count; index++) {
            struct publisher *from = &load->publishers[index];
            struct sent *sent = from->state;
            if (sent->due <= now) {
                send_burst(load, from);
                sent->due += SECOND * from->burst / from->rate;
                if (now > sent->due + 200 * MILLISECOND)
                    sent->due = now; /* this machine stood still: no flood to make up for it */
            }
            if (sent->due < next)
                next = sent->due;
        }
        if (now >= controls_at) {
            for (uint32_t index = 0; index < load->publisher_count; index++)
                obey_all(load, &load->publishers[index]);
            controls_at = now + 5 * MILLISECOND;
        }
        if (load->feedback && now >= reports_at) {
            for (uint32_t index = 0; index < load->publisher_count; index++)
                send_report(load, &load->publishers[index]);
            reports_at = now + SECOND;
        }
        now = now_ns();
        if (next > now + 30000)
            rest(next - now - 20000);
    }
}

/* What is asked for after the last packet is still sent again. */
void publish_repairs(struct load *load)
{
    while (load->feedback && now_ns() < load->drains_until) {
        for (uint32_t index = 0; index < load->publisher_count; index++)
            obey_all(load, &load->publishers[index]);
        rest(5 * MILLISECOND);
    }
}
