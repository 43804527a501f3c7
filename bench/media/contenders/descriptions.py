"""Descriptions for servers that are not ours: what a browser would say of one picture or sound (RFC 8829), and nothing else."""

from __future__ import annotations

from calls.media import client, sdp
from calls.media.client.description import transport_lines

from ..loads import RIDS, Load
from ..transports import Transport

PAYLOAD_TYPES = {"video": 96, "audio": 111}
REPAIRS = 97
RID_ID = 10
IDS = {"video": {sdp.MID: 1, sdp.TRANSPORT_CC: 5}, "audio": {sdp.MID: 1, sdp.AUDIO_LEVEL: 3}}
FEEDBACK = {"video": ("nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"), "audio": ("nack",)}


def offer(transport: Transport, load: Load, ssrc: int = 0, sections: int = 1) -> str:
    """An offer to send under `ssrc`, or, without one, to receive as many sections."""
    mids = [str(number) for number in range(sections)]
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", " ".join(["a=group:BUNDLE", *mids]), "a=msid-semantic: WMS *"]
    for mid in mids:
        lines += _section(transport, load, mid, ssrc)
    return "\r\n".join(lines) + "\r\n"


def _section(transport: Transport, load: Load, mid: str, ssrc: int) -> list[str]:
    kind, number = load.kind, PAYLOAD_TYPES[load.kind]
    formats = f"{number} {REPAIRS}" if kind == "video" else f"{number}"
    lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {formats}", "c=IN IP4 127.0.0.1", f"a=mid:{mid}", "a=sendonly" if ssrc else "a=recvonly"]
    lines += ["a=rtcp-mux", "a=rtcp-rsize", *transport_lines(transport, "actpass"), f"a=rtpmap:{number} {sdp.CODECS[kind]}"]
    lines += [f"a=rtcp-fb:{number} {name}" for name in FEEDBACK[kind]]
    lines += [f"a=rtpmap:{REPAIRS} rtx/90000", f"a=fmtp:{REPAIRS} apt={number}"] if kind == "video" else []
    lines += [f"a=extmap:{key} {uri}" for uri, key in IDS[kind].items()]
    lines += ["a=msid:load load"] if ssrc else []
    if ssrc and load.layers:
        best_first = RIDS[::-1]
        lines += [f"a=extmap:{RID_ID} {sdp.RID}", *(f"a=rid:{rid} send" for rid in best_first), f"a=simulcast:send {';'.join(best_first)}"]
    elif ssrc:
        lines += [f"a=ssrc:{ssrc} cname:load", f"a=ssrc:{ssrc} msid:load load"]
    return [*lines, transport.candidate(), "a=end-of-candidates"]


def answer(transport: Transport, text: str) -> str:
    """The answer that takes everything of the server's offer, with our address in each section."""
    lines = []
    for line in client.answer(transport, text).rstrip().split("\r\n"):
        lines.append(line)
        if line.startswith("a=mid:"):
            lines += [transport.candidate(), "a=end-of-candidates"]
    return "\r\n".join(lines) + "\r\n"
