/* What a listener tells: what it lacks, what came, and when (RFC 4585, transport-cc, REMB). */
#include "traffic.h"

#include <sys/socket.h>

static void send_control(const struct load *load, struct listener *to, uint8_t *packet, int size)
{
    struct heard *heard = to->state;
    if (!protect_rtcp(to->sealing, packet, &size) && !falls(&heard->drawn, load->loss))
        (void)!send(to->socket, packet, (size_t)size, MSG_DONTWAIT); /* what is not taken is lost, as on a network */
}

/* A receiver report about one stream: every compound packet starts with one (RFC 3550 section 6.1), and some relays go by it. */
static int write_head(const struct listener *to, const struct stream *stream, uint8_t *packet, uint64_t now)
{
    uint64_t came = stream->highest - stream->highest_before, taken = stream->received - stream->received_before;
    uint32_t fraction = came > taken ? (uint32_t)(256 * (came - taken) / came) : 0;
    memset(packet, 0, 32);
    put32(packet, 0x81c90007);
    put32(packet + 4, to->own_ssrc);
    put32(packet + 8, stream->ssrc);
    put32(packet + 12, (fraction > 255 ? 255 : fraction) << 24);
    put32(packet + 16, (uint32_t)stream->highest);
    if (stream->told_at) {
        uint64_t since = now > stream->told_at + WAY ? now - stream->told_at - WAY : 0;
        put32(packet + 24, stream->told);
        put32(packet + 28, (uint32_t)(since * 65536 / SECOND));
    }
    return 32;
}

static void finish_part(uint8_t *packet, int from, int to_end) { put16(packet + from + 2, (uint32_t)((to_end - from) / 4 - 1)); }

static void ask_again(const struct load *load, struct listener *to, struct stream *stream, uint64_t now)
{
    uint8_t packet[LARGEST];
    int at = write_head(to, stream, packet, now), begins = at, named = 0;
    put32(packet + at, 0x81cd0000);
    put32(packet + at + 4, to->own_ssrc);
    put32(packet + at + 8, stream->ssrc);
    at += 12;
    uint64_t low = stream->highest > KEPT / 2 ? stream->highest - KEPT / 2 : 0;
    for (uint64_t number = low; number < stream->highest && named < 64; number++) {
        uint64_t slot = number % KEPT;
        if (!stream->missing[slot] || stream->asked[slot] >= MOST_ASKED || now - stream->asked_at[slot] < 100 * MILLISECOND)
            continue;
        stream->asked[slot]++;
        stream->asked_at[slot] = now;
        put16(packet + at, (uint32_t)number & 0xffff);
        put16(packet + at + 2, 0);
        at += 4;
        named++;
    }
    finish_part(packet, begins, at);
    if (named)
        send_control(load, to, packet, at);
}

/* Statuses in vectors of two bits, seven to a chunk, then the differences of the arrivals in steps of 250 us. */
static void acknowledge(const struct load *load, struct listener *to, struct heard *heard, uint64_t now)
{
    uint8_t packet[LARGEST], steps[1000];
    uint64_t base = heard->number_reported + 1, last = heard->number_highest, count;
    int at = write_head(to, &heard->streams[0], packet, now), begins = at, stepped = 0;
    if (last < base)
        return;
    if (last - base >= 400)
        base = last - 399;
    count = last - base + 1;
    uint64_t first = base;
    while (first < last && !heard->arrived[first % (4 * KEPT)])
        first++;
    uint64_t reference = heard->arrived[first % (4 * KEPT)] / (64 * MILLISECOND), before = reference * 64 * MILLISECOND / 250000;
    put32(packet + at, 0x8fcd0000);
    put32(packet + at + 4, to->own_ssrc);
    put32(packet + at + 8, heard->streams[0].ssrc);
    put16(packet + at + 12, (uint32_t)base & 0xffff);
    put16(packet + at + 14, (uint32_t)count);
    put32(packet + at + 16, (uint32_t)(reference & 0xffffff) << 8 | heard->feedback_count++);
    at += 20;
    for (uint64_t chunk = 0; chunk < count; chunk += 7) {
        uint32_t statuses = 0xc000;
        for (uint64_t place = 0; place < 7 && chunk + place < count; place++) {
            uint64_t arrived = heard->arrived[(base + chunk + place) % (4 * KEPT)];
            if (!arrived)
                continue;
            int64_t step = (int64_t)(arrived / 250000) - (int64_t)before;
            if (step < -32768 || step > 32767)
                continue;
            before = arrived / 250000;
            int small = step >= 0 && step <= 255;
            statuses |= (uint32_t)(small ? 1 : 2) << (12 - 2 * place);
            if (!small)
                steps[stepped++] = (uint8_t)(step >> 8);
            steps[stepped++] = (uint8_t)step;
        }
        put16(packet + at, statuses);
        at += 2;
    }
    memcpy(packet + at, steps, (size_t)stepped);
    for (at += stepped; at % 4; at++)
        packet[at] = 0;
    finish_part(packet, begins, at);
    heard->number_reported = last;
    send_control(load, to, packet, at);
}

/* What came since the last report, and a REMB that bounds nothing. */
static void report(const struct load *load, struct listener *to, struct stream *stream, uint64_t now)
{
    uint8_t packet[LARGEST] = {0};
    int at = write_head(to, stream, packet, now);
    stream->highest_before = stream->highest;
    stream->received_before = stream->received;
    put32(packet + at, 0x8fce0005);
    put32(packet + at + 4, to->own_ssrc);
    put32(packet + at + 12, 0x52454d42);
    put32(packet + at + 16, 1u << 24 | 10u << 18 | 100000000 >> 10);
    put32(packet + at + 20, stream->ssrc);
    send_control(load, to, packet, at + 24);
}

void give_feedback(const struct load *load, struct listener *to, uint64_t now)
{
    struct heard *heard = to->state;
    int asks = now >= heard->asks_at, reports = now >= heard->reports_at;
    for (uint32_t place = 0; place < heard->stream_count; place++) {
        if (heard->streams[place].received == 0)
            continue;
        if (asks)
            ask_again(load, to, &heard->streams[place], now);
        if (reports)
            report(load, to, &heard->streams[place], now);
    }
    if (asks)
        heard->asks_at = now + 20 * MILLISECOND;
    if (reports)
        heard->reports_at = now + SECOND;
    if (to->number_id && heard->stream_count && now >= heard->acknowledges_at) {
        acknowledge(load, to, heard, now);
        heard->acknowledges_at = now + 100 * MILLISECOND;
    }
}
