/* Janus takes no loopback interface for its addresses. Preloaded before it, this shows it the loopback interface as any other one, and
 * every other interface as down, so that the measurement stays on this machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stddef.h>

int getifaddrs(struct ifaddrs **found)
{
    int (*genuine)(struct ifaddrs **);
    *(void **)&genuine = dlsym(RTLD_NEXT, "getifaddrs");
    int failed = genuine == NULL ? -1 : genuine(found);
    for (struct ifaddrs *each = failed ? NULL : *found; each != NULL; each = each->ifa_next) {
        if (each->ifa_flags & IFF_LOOPBACK)
            each->ifa_flags &= ~(unsigned)IFF_LOOPBACK;
        else
            each->ifa_flags &= ~(unsigned)(IFF_UP | IFF_RUNNING);
    }
    return failed;
}
