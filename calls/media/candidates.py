"""Where clients may send to, as the ICE candidates of an SDP say it (RFC 8839 section 5.1, RFC 6544 section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

UDP_PREFERENCE, TCP_PREFERENCE = 126, 90  # RFC 8445 section 5.1.2.2; TCP is what is left where UDP does not pass
PASSIVE = 4 << 13  # direction preference of a passive host candidate (RFC 6544 section 4.2)
FIRST_LOCAL = 0xFFFF
COMPONENT = 1


def priority(kind: int, local: int) -> int:
    """RFC 8445 section 5.1.2.1, for the one component that there is."""
    return kind << 24 | local << 8 | 256 - COMPONENT


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses of one worker, the preferred first, with the one port number of UDP and, where `tcp` says so, of TCP."""

    hosts: tuple[str, ...]
    port: int
    tcp: bool = False

    def connection(self) -> str:
        """The value of the `c=` line: the default destination."""
        return f"IN {'IP6' if ':' in self.hosts[0] else 'IP4'} {self.hosts[0]}"

    def lines(self) -> Iterator[str]:
        """One candidate for each address, over UDP and then over TCP."""
        for rank, host in enumerate(self.hosts):
            yield f"a=candidate:{rank + 1} {COMPONENT} udp {priority(UDP_PREFERENCE, FIRST_LOCAL - rank)} {host} {self.port} typ host"
        if self.tcp:
            for rank, host in enumerate(self.hosts):
                value = priority(TCP_PREFERENCE, PASSIVE | 0x1FFF - rank)
                yield f"a=candidate:{len(self.hosts) + rank + 1} {COMPONENT} tcp {value} {host} {self.port} typ host tcptype passive"
