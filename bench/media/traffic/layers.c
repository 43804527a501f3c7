/* A picture that comes in layers, of which a listener is sent one after another: do its numbers go on as if it were one?
 *
 * Every packet is looked at, in the order of the listener's own numbers, once whatever was lost of it can have come again. A number that
 * nobody has is `wanted` all the same, and the packets on its two sides are not compared.
 */
#include "traffic.h"

enum { CLOCK = 90000, PICTURE_IDS = 0x8000 };

static uint32_t frame_of(const struct load *load, uint32_t ssrc)
{
    for (uint32_t index = 0; index < load->publisher_count; index++)
        if (load->publishers[index].ssrc == ssrc)
            return load->publishers[index].frame;
    return 1;
}

/* Does a picture begin here that needs none before it (RFC 7741 sections 4.2 and 4.3)? */
static int is_key(const uint8_t *payload)
{
    static const uint8_t start_code[3] = {0x9d, 0x01, 0x2a};
    const uint8_t *frame = payload + DESCRIPTOR;
    return (payload[0] & 0x10) && !(frame[0] & 0x01) && memcmp(frame + 3, start_code, sizeof start_code) == 0;
}

/* Timestamps go on, by a second at most, and picture ids by one. */
static int follows(const struct arrival *before, const struct arrival *one)
{
    uint32_t passed = one->timestamp - before->timestamp;
    return passed >= 1 && passed <= CLOCK && one->id == (before->id + 1) % PICTURE_IDS;
}

/* The next packet of the same picture, or the first one of the next. */
static int goes_on(const struct arrival *before, const struct arrival *one)
{
    if (one->picture == before->picture)
        return one->place == before->place + 1 && one->timestamp == before->timestamp && one->id == before->id;
    return one->picture == before->picture + 1 && before->last && one->place == 0 && follows(before, one);
}

/* What stands between two packets without a gap in the listener's numbers. */
static void compare(struct listener *to, const struct arrival *before, const struct arrival *one)
{
    if (one->layer == before->layer) {
        to->broken += !goes_on(before, one);
        return;
    }
    if (!one->key || one->place != 0 || !follows(before, one)) {
        to->broken++;
        return;
    }
    to->landed++;
    if (one->picture > before->picture + 1)
        to->skipped += one->picture - before->picture - 1;
}

/* Look at all numbers before this one that were not looked at yet. */
static void look(struct listener *to, uint64_t until)
{
    struct heard *heard = to->state;
    for (; heard->next < until; heard->next++) {
        const struct arrival *one = &heard->arrivals[heard->next % KEPT], *before = &heard->before;
        to->wanted++;
        if (one->number != heard->next)
            continue;
        if (before->number) {
            to->switches += one->layer != before->layer;
            if (before->number == one->number - 1)
                compare(to, before, one);
        }
        heard->before = *one;
    }
}

/* A packet has come whole, `packet` with its head, under this number of the listener's. */
void layers_note(const struct load *load, struct listener *to, uint64_t number, const uint8_t *packet, const uint8_t *payload)
{
    struct heard *heard = to->state;
    const uint8_t *body = payload + DESCRIPTOR + FRAME_HEAD;
    uint32_t frame = frame_of(load, get32(body + 4)), serial = get32(body + 8);
    if (heard->next == 0)
        heard->next = number;
    if (number < heard->next)
        return;
    look(to, number - KEPT / 2);
    heard->arrivals[number % KEPT] = (struct arrival){
        .number = number,
        .timestamp = get32(packet + 4),
        .picture = serial / frame,
        .id = (uint16_t)(get16(payload + 2) % PICTURE_IDS),
        .layer = (uint8_t)(get32(body + 4) - to->expected),
        .place = (uint8_t)(serial % frame),
        .last = serial % frame == frame - 1,
        .key = (uint8_t)is_key(payload),
    };
}

/* A run is over: what has not come by now does not come. */
void layers_end(struct listener *to)
{
    const struct heard *heard = to->state;
    if (heard->next && heard->stream_count)
        look(to, heard->streams[0].highest + 1);
}
