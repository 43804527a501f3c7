"""What a participant says of its media: the offer for what it sends, the answer to what it receives (RFC 8866, RFC 8829), and its RTP packets."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from .. import sdp
from .connection import Connection

PAYLOAD_TYPES = {"audio": 111, "video": 100}  # video other than the server's own number, as some browsers have it
EXTENSION_SHIFT = 4  # likewise the ids of header extensions
RID_ID = 12


@dataclass
class Sending:
    """One source that is published. `number` is the next sequence number; `sent` what was sent, to be sent again on request.

    `rids` name its layers where it comes in several at once, worst first (RFC 8853).
    """

    source: str
    mid: str
    ssrc: int
    declared: bool = True
    number: int = field(default_factory=lambda: secrets.randbelow(1 << 15))
    live: bool = True
    key_wanted: bool = True
    sent: dict[int, bytes] = field(default_factory=dict)
    rids: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return sdp.KINDS[self.source]

    @property
    def payload_type(self) -> int:
        return PAYLOAD_TYPES[self.kind]

    def packet(self, number: int, body: bytes, timestamp: int, *, marker: bool = True) -> bytes:
        """An RTP packet with the header extensions that a browser sends; without a body it is padding (RFC 3550 section 5.1)."""
        ids = {uri: key + EXTENSION_SHIFT for uri, key in sdp.EXTENSIONS[self.kind].items()}
        mid = self.mid.encode()
        block = bytes([ids[sdp.MID] << 4 | len(mid) - 1]) + mid
        other = sdp.ORIENTATION if self.kind == "video" else sdp.AUDIO_LEVEL
        block += bytes([ids[other] << 4, 0 if self.kind == "video" else 2])
        block += bytes(-len(block) % 4)
        head = bytes([0x90 if body else 0xB0, (0x80 if marker else 0) | self.payload_type])
        head += number.to_bytes(2) + (timestamp % 2**32).to_bytes(4) + self.ssrc.to_bytes(4)
        return head + b"\xbe\xde" + (len(block) // 4).to_bytes(2) + block + (body or b"\0\0\0\4")


def transport_lines(connection: Connection, setup: str) -> list[str]:
    credentials = [f"a=ice-ufrag:{connection.ufrag}", f"a=ice-pwd:{connection.pwd}"]
    return [*credentials, f"a=fingerprint:sha-256 {connection.fingerprint}", f"a=setup:{setup}"]


def offer(connection: Connection, sendings: Iterable[Sending]) -> str:
    """The offer for everything that is or was sent."""
    sendings = list(sendings)
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(s.mid for s in sendings))
    for s in sendings:
        lines += [f"m={s.kind} 9 UDP/TLS/RTP/SAVPF {s.payload_type} 97", "c=IN IP4 0.0.0.0"]
        lines += transport_lines(connection, "actpass")
        lines += [f"a=mid:{s.mid}", "a=rtcp-mux", "a=sendonly" if s.live else "a=inactive"]
        lines += [f"a=rtpmap:{s.payload_type} {sdp.CODECS[s.kind]}", "a=rtpmap:97 rtx/90000"]
        lines += [f"a=extmap:{key + EXTENSION_SHIFT} {uri}" for uri, key in sdp.EXTENSIONS[s.kind].items()]
        if s.rids and s.live:
            lines += [f"a=extmap:{RID_ID} {sdp.RID}", *(f"a=rid:{rid} send" for rid in s.rids), f"a=simulcast:send {';'.join(s.rids)}"]
        elif s.declared and s.live:
            lines += [f"a=ssrc:{s.ssrc} cname:whoever", f"a=ssrc:{s.ssrc} msid:- -"]
    return "\r\n".join(lines) + "\r\n"


def answer(connection: Connection, text: str) -> str:
    """The answer to the server's offer: everything is received."""
    drop = ("a=ice-", "a=fingerprint", "a=setup", "a=candidate", "a=end-of", "a=ssrc", "a=msid")
    lines = [line for line in text.rstrip().split("\r\n") if not line.startswith(drop)]
    answered = []
    for line in lines:
        answered.append({"a=sendonly": "a=recvonly"}.get(line, line))
        if line.startswith("a=mid:"):
            answered += transport_lines(connection, "active")
    return "\r\n".join(answered) + "\r\n"


def ssrcs(text: str) -> dict[int, str]:
    """Who sends what in an offer of the server: SSRC -> mid."""
    found, mid = {}, ""
    for line in text.split("\r\n"):
        mid = line.removeprefix("a=mid:") if line.startswith("a=mid:") else mid
        if line.startswith("a=ssrc:"):
            found[int(line.split(" ")[0].removeprefix("a=ssrc:"))] = mid
    return found
