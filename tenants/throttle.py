"""How often one address may do something: counted in Redis, so that all processes count together.

What must never happen here: an address is kept, or somebody in front of our proxies chooses the address that is counted. The key
is a keyed hash that dies with the window after its own; of `X-Forwarded-For` only the entry that our own outermost proxy wrote is believed.
A limit slows guessing down and is never the lock itself: when Redis does not answer, nobody is turned away for that. One that hangs is waited
for by one request, and then asked by none for some seconds.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as HangsError

SALT = "cleac.throttle"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - reason: nothing is bound; it stands for a connection that has no address (RFC 1122)
HOUSEHOLD = 64  # leading bits of an IPv6 address that one customer of a network has (RFC 6177): the rest changes at will

SILENCE = 5.0  # seconds for which a Redis that hung is not asked

logger = logging.getLogger(__name__)
_hung: dict[str, float] = {}  # the cache's address -> when (time.monotonic) it last let somebody wait in vain


def address_of(request: HttpRequest) -> str:
    """The client's address, seen past as many proxies as CLEAC_TRUSTED_PROXIES says; nothing further left is believed.

    A request with fewer entries, or with one that is no address, came by another way: then it is the one that connected to us.
    """
    trusted = settings.CLEAC.trusted_proxies
    entries = request.headers.get("X-Forwarded-For", "").split(",")
    if 0 < trusted <= len(entries):
        seen = _parsed(entries[-trusted])
        if seen:
            return seen
    return _parsed(request.META.get("REMOTE_ADDR", "")) or NO_ADDRESS


def _parsed(text: str) -> str:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def client_of(request: HttpRequest) -> str:
    """What counts as one client of ours: its address, or the network of an IPv6 one."""
    return _household(address_of(request))


def _household(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 one."""
    return str(IPv6Network((address, HOUSEHOLD), strict=False)) if ":" in address else address


@dataclass(frozen=True)
class Taken:
    """One counted try: `wait` is 0 within the limit, else the seconds after which the next one is within it."""

    wait: int
    key: str = ""


@dataclass(frozen=True)
class Limit:
    """So many times within so many seconds, for each client.

    Two counters are kept, of this window and of the one before it; the older one counts by the share of it that still lies within
    the last `seconds`. So nobody has twice the tries at a border between two windows.
    """

    name: str
    times: int
    seconds: int

    def take(self, request: HttpRequest) -> Taken:
        """Count this try; one beyond the limit is turned away and does not count, so nobody's wait grows by trying again."""
        number, elapsed = divmod(time.time(), self.seconds)
        if _hangs():
            return Taken(0)
        client = salted_hmac(SALT, client_of(request), algorithm="sha256").hexdigest()
        # The window stands in the key: a counter that outlived its time would otherwise shut somebody out for ever.
        key, older = (f"throttle:{self.name}:{int(number) - back}:{client}" for back in (0, 1))
        try:
            cache.add(key, 0, timeout=2 * self.seconds)
            taken = cache.incr(key)
            before = cache.get(older, 0)
        except ValueError:  # the counter was cleared between the two
            return Taken(0)
        except (RedisError, OSError) as error:
            if isinstance(error, TimeoutError | HangsError):
                _hung[_address()] = time.monotonic()
            logger.warning("limit %s is not counted: %s", self.name, type(error).__name__)
            return Taken(0)
        if taken + before * (1 - elapsed / self.seconds) <= self.times:
            return Taken(0, key)
        self.give_back(Taken(0, key))
        return Taken(max(1, math.ceil(self._free_at(taken - 1, before) - elapsed)), key)

    def _free_at(self, taken: int, before: int) -> float:
        """Seconds from the begin of this window until one more try is within the limit, when none is made until then."""
        if taken < self.times:
            return self.seconds * (1 - (self.times - taken - 1) / before)
        return self.seconds * (2 - (self.times - 1) / taken)

    def give_back(self, taken: Taken) -> None:
        """This try was in order and shall not count."""
        try:
            cache.decr(taken.key)
        except (ValueError, RedisError, OSError) as error:
            logger.debug("limit %s has nothing to give back: %s", self.name, type(error).__name__)


def _address() -> str:
    return str(settings.CACHES["default"].get("LOCATION", ""))


def _hangs() -> bool:
    """Did somebody wait in vain for this Redis a moment ago?"""
    at = _hung.get(_address())
    return at is not None and time.monotonic() - at < SILENCE


WRONG_LINKS = Limit("wrong-links", times=30, seconds=600)  # from one address, of whatever kind; links that open something do not count
WRONG_RECEIPTS = Limit("wrong-receipts", times=30, seconds=600)  # of codes that are in no log; those that are do not count
