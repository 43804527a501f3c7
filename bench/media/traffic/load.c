/* What Python calls. */
#include "traffic.h"

#include <pthread.h>
#include <stdlib.h>

srtp_function protect_rtp, unprotect_rtp, protect_rtcp, unprotect_rtcp;

void load_begin(void *rtp_out, void *rtp_in, void *rtcp_out, void *rtcp_in)
{
    protect_rtp = (srtp_function)rtp_out;
    unprotect_rtp = (srtp_function)rtp_in;
    protect_rtcp = (srtp_function)rtcp_out;
    unprotect_rtcp = (srtp_function)rtcp_in;
}

/* Room for what each end remembers from run to run. Returns 0, or -1 without memory. `load_free` gives it back. */
int load_prepare(struct load *load)
{
    for (uint32_t index = 0; index < load->publisher_count; index++) {
        struct sent *sent = load->publishers[index].state = calloc(1, sizeof(struct sent));
        if (sent == NULL)
            return -1;
        sent->drawn = 1000003ull * (index + 1);
        sent->number = load->publishers[index].first_number;
        sent->transport_number = &((struct sent *)load->publishers[load->publishers[index].beside].state)->own_transport_number;
    }
    for (uint32_t index = 0; index < load->listener_count; index++) {
        struct heard *heard = load->listeners[index].state = calloc(1, sizeof(struct heard));
        if (heard == NULL)
            return -1;
        heard->drawn = 7368787ull * (index + 1);
    }
    return 0;
}

static int by_size(const void *one, const void *other)
{
    double first = *(const double *)one, second = *(const double *)other;
    return (first > second) - (first < second);
}

/* Publish for so many seconds, listen for `longer` seconds more. Returns 0; -1 without memory or thread, -2 without a way to listen. */
int load_run(struct load *load, double seconds, double longer)
{
    pthread_t thread;
    void *failed = NULL;
    latencies = malloc(MOST_LATENCIES * sizeof *latencies);
    if (latencies == NULL)
        return -1;
    load->latency_count = 0;
    load->ends = now_ns() + (uint64_t)(seconds * (double)SECOND);
    load->drains_until = load->ends + (uint64_t)(longer * (double)SECOND);
    if (pthread_create(&thread, NULL, listen_to_all, load)) {
        free(latencies);
        return -1;
    }
    publish(load);
    publish_repairs(load);
    pthread_join(thread, &failed);
    for (uint32_t index = 0; load->layers > 1 && index < load->listener_count; index++)
        layers_end(&load->listeners[index]);
    uint64_t count = load->latency_count;
    qsort(latencies, count, sizeof *latencies, by_size);
    for (int place = 0; count && place < 4; place++) {
        static const uint64_t percents[4] = {50, 95, 99, 100};
        load->latencies[place] = latencies[(percents[place] * count + 99) / 100 - 1] / 1000;
    }
    free(latencies);
    return failed == NULL ? 0 : -2;
}

void load_free(struct load *load)
{
    for (uint32_t index = 0; index < load->publisher_count; index++)
        free(load->publishers[index].state);
    for (uint32_t index = 0; index < load->listener_count; index++)
        free(load->listeners[index].state);
}
