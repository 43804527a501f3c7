"""Our offers and answers (RFC 8866, RFC 8829). What a client sends is hostile until it was read here.

The reader is linear in the size of its input and knows only what a call needs; sizes and counts are bounded before anything
is looked at (F6). Refusals: `sdp-too-large`, `sdp-malformed`, `sdp-unsupported`, `sdp-track-unknown`; none repeats what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tenants.errors import Refused

from .candidates import Listening

MOST_BYTES = 32 * 1024
MOST_LINES = 2000
MOST_OF_ONE_KIND = 200  # per media section: a browser's own list of codecs must fit
MOST_SECTIONS = 8

KINDS = {"mic": "audio", "cam": "video", "screen": "video", "screen-audio": "audio"}
# The one place that decides on codecs (D14): name, clock rate, our payload type, format, feedback.
CODECS = {"audio": "opus/48000/2", "video": "VP8/90000"}
CLOCK_RATES = {"audio": 48000, "video": 90000}
PAYLOAD_TYPES = {"audio": 111, "video": 96}
REPAIR_PAYLOAD_TYPE = 97  # of pictures (RFC 4588); sound is sent again as it was
# Chromium begins at 300 kbit/s, where it halves each side of a picture, unless the answer names another rate in kbit/s; others skip the name.
_FORMATS = {"audio": ["minptime=10;useinbandfec=1"], "video": ["x-google-start-bitrate=1000"]}
_FEEDBACK = {"audio": ["nack"], "video": ["nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"]}
MOST_LAYERS = 3

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
ORIENTATION = "urn:3gpp:video-orientation"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
# Ours, by which listeners know them; a publisher's offer brings its own.
EXTENSIONS = {"audio": {MID: 1, AUDIO_LEVEL: 3}, "video": {MID: 1, ABS_SEND_TIME: 2, ORIENTATION: 4, TRANSPORT_CC: 5}}
_TAKEN = {"audio": {MID, AUDIO_LEVEL, TRANSPORT_CC}, "video": {MID, ABS_SEND_TIME, ORIENTATION, TRANSPORT_CC, RID, REPAIRED_RID}}

_DIGESTS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_MID_SHAPE = re.compile(r"[A-Za-z0-9._~-]{1,16}")
_UFRAG_SHAPE = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD_SHAPE = re.compile(r"[A-Za-z0-9+/]{22,256}")
_RID_SHAPE = re.compile(r"[A-Za-z0-9]{1,16}")
_LINE_SHAPE = re.compile(r"[a-z]=[^\x00\r\n]*")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transport:
    """Our end, as an offer or answer describes it."""

    listening: Listening
    ufrag: str
    pwd: str
    fingerprint: str
    session: int


@dataclass(frozen=True, slots=True)
class Section:
    """What we need of one m-line. `payload_type` is None when our codec is missing, `ssrc` None when it must be learnt by MID.

    `rids` are the encodings of a simulcast that it sends, as they are listed (RFC 8853); `repair_payload_type` is None without repairs.
    """

    mid: str
    kind: str
    direction: str
    payload_type: int | None
    ssrc: int | None
    extensions: Mapping[str, int]
    rejected: bool
    repair_payload_type: int | None = None
    repair_ssrc: int | None = None
    rids: tuple[str, ...] = ()

    @property
    def sends(self) -> bool:
        return not self.rejected and self.direction in ("sendonly", "sendrecv")

    @property
    def receives(self) -> bool:
        return not self.rejected and self.direction in ("recvonly", "sendrecv")


@dataclass(frozen=True, slots=True)
class Offer:
    """A client's description, offer or answer. `live` maps the mid of each declared, sending section to its source."""

    sections: tuple[Section, ...]
    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    live: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One m-line of our offer to a subscriber. Without an `ssrc` it is inactive."""

    mid: str
    kind: str
    participant: str = ""
    source: str = ""
    ssrc: int | None = None
    repair_ssrc: int | None = None


@dataclass(slots=True)
class _Block:
    """The lines of the session part or of one media section, attributes by name."""

    media: str = ""
    attributes: dict[str, list[str]] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, line: str) -> None:
        kind = line[0]
        if kind == "a":
            name, _, value = line[2:].partition(":")
            self.attributes.setdefault(name, []).append(value)
            kind = f"a={name}"
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.kinds[kind] > MOST_OF_ONE_KIND:
            raise Refused("sdp-too-large")

    def first(self, name: str) -> str | None:
        values = self.attributes.get(name)
        return values[0] if values else None


def parse_offer(text: object, declared: Mapping[str, str]) -> Offer:
    """Read a publisher's offer; `declared` maps mids to sources. A sending section that is not declared is not live.

    Raises Refused: `sdp-track-unknown` when a declared mid is absent, does not send, or is of another kind than its source.
    """
    offer = _guarded(lambda: _read(text, MOST_SECTIONS, ("actpass", "active")))
    sections = {section.mid: section for section in offer.sections}
    for mid, source in declared.items():
        section = sections.get(mid)
        if section is None or not section.sends or KINDS.get(source) != section.kind:
            raise Refused("sdp-track-unknown")
        if (
            section.payload_type is None
            or (section.ssrc is None and MID not in section.extensions)
            or (section.rids and RID not in section.extensions)
        ):
            raise Refused("sdp-unsupported")
    return Offer(offer.sections, offer.ufrag, offer.pwd, offer.fingerprints, dict(declared))


def parse_answer(text: object, mids: Sequence[str]) -> Offer:
    """Read a subscriber's answer to our offer of these mids. Raises Refused."""
    answer = _guarded(lambda: _read(text, max(len(mids), 1), ("active",)))
    if [section.mid for section in answer.sections] != list(mids):
        raise Refused("sdp-malformed")
    return answer


def _guarded(read: Callable[[], Result]) -> Result:
    try:
        return read()
    except Refused:
        raise
    except Exception:
        raise Refused("sdp-malformed") from None


def _read(text: object, most_sections: int, setups: Collection[str]) -> Offer:
    session, blocks = _split(text, most_sections)
    sections = tuple(_section(block) for block in blocks)
    used = [block for block, section in zip(blocks, sections, strict=True) if not section.rejected]
    mids, ssrcs = [section.mid for section in sections], [s.ssrc for s in sections if s.ssrc is not None]
    if not sections or len(set(mids)) != len(mids) or len(set(ssrcs)) != len(ssrcs):
        raise Refused("sdp-malformed")
    if not used:
        raise Refused("sdp-unsupported")
    bundles = [group.split()[1:] for group in session.attributes.get("group", []) if group.startswith("BUNDLE ")]
    bundled = set(bundles[0]) if bundles else set()
    if any(not section.rejected and section.mid not in bundled for section in sections):
        raise Refused("sdp-unsupported")
    if any("rtcp-mux" not in block.attributes for block in used):
        raise Refused("sdp-unsupported")
    found = {name: _shared(session, used, name) for name in ("ice-ufrag", "ice-pwd", "setup", "fingerprint")}
    if not _UFRAG_SHAPE.fullmatch(found["ice-ufrag"][0]) or not _PWD_SHAPE.fullmatch(found["ice-pwd"][0]):
        raise Refused("sdp-malformed")
    if found["setup"][0] not in setups:
        raise Refused("sdp-unsupported")
    return Offer(sections, found["ice-ufrag"][0], found["ice-pwd"][0], _fingerprints(found["fingerprint"]))


def _split(text: object, most_sections: int) -> tuple[_Block, list[_Block]]:
    """The session part and the media sections, bounded."""
    if not isinstance(text, str):
        raise Refused("sdp-malformed")
    if len(text) > MOST_BYTES or len(text.encode()) > MOST_BYTES:
        raise Refused("sdp-too-large")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    if len(lines) > MOST_LINES:
        raise Refused("sdp-too-large")
    if not lines or lines[0] != "v=0" or not all(_LINE_SHAPE.fullmatch(line) for line in lines):
        raise Refused("sdp-malformed")
    session, blocks = _Block(), list[_Block]()
    for line in lines:
        if line.startswith("m="):
            if len(blocks) == most_sections:
                raise Refused("sdp-too-large")
            blocks.append(_Block(media=line[2:]))
        (blocks[-1] if blocks else session).add(line)
    return session, blocks


def _section(block: _Block) -> Section:
    kind, port, protocol, *formats = block.media.split(" ")
    if kind not in CODECS or protocol != "UDP/TLS/RTP/SAVPF":
        raise Refused("sdp-unsupported")
    mid = block.first("mid") or ""
    if not _MID_SHAPE.fullmatch(mid):
        raise Refused("sdp-malformed")
    payload_types = {_number(value, 0, 127) for value in formats}
    directions = [name for name in _DIRECTIONS if name in block.attributes]
    if len(directions) > 1:
        raise Refused("sdp-malformed")
    rejected = _number(port, 0, 65535) == 0 and "bundle-only" not in block.attributes
    payload_type = _payload_type(block, kind, payload_types)
    rids = _rids(block) if kind == "video" else ()
    ssrc, repair_ssrc = (None, None) if rids else _ssrcs(block)  # each layer has its own, learnt by its RID
    return Section(
        mid=mid,
        kind=kind,
        direction=directions[0] if directions else "sendrecv",
        payload_type=payload_type,
        ssrc=ssrc,
        extensions=_extensions(block, kind),
        rejected=rejected,
        repair_payload_type=_repair_payload_type(block, payload_type, payload_types) if kind == "video" else None,
        repair_ssrc=repair_ssrc,
        rids=rids,
    )


def _payload_type(block: _Block, kind: str, offered: Collection[int]) -> int | None:
    for value in block.attributes.get("rtpmap", []):
        number, _, name = value.partition(" ")
        if name.lower() == CODECS[kind].lower():
            found = _number(number, 0, 127)
            if found in offered and not 64 <= found <= 95:  # those look like RTCP on one port (RFC 5761 section 4)
                return found
    return None


def _repair_payload_type(block: _Block, payload_type: int | None, offered: Collection[int]) -> int | None:
    """The payload type of repairs of `payload_type` (RFC 4588 section 8.1)."""
    if payload_type is None:
        return None
    repairs = {value.split(" ")[0] for value in block.attributes.get("rtpmap", []) if value.lower().endswith(" rtx/90000")}
    for value in block.attributes.get("fmtp", []):
        number, _, parameters = value.partition(" ")
        if number in repairs and f"apt={payload_type}" in parameters.replace(" ", "").split(";"):
            found = _number(number, 0, 127)
            if found in offered and not 64 <= found <= 95:
                return found
    return None


def _rids(block: _Block) -> tuple[str, ...]:
    """The encodings that a section sends at once, as `a=simulcast:send` lists them; of alternatives the first (RFC 8853 section 5.1)."""
    words = (block.first("simulcast") or "").split(" ")
    if "send" not in words[:-1]:
        return ()
    listed = words[words.index("send") + 1].split(";")
    rids = tuple(alternatives.split(",")[0].removeprefix("~") for alternatives in listed)
    declared = {value.split(" ")[0] for value in block.attributes.get("rid", []) if value.split(" ")[1:2] == ["send"]}
    if len(rids) > MOST_LAYERS or len(set(rids)) != len(rids) or not all(_RID_SHAPE.fullmatch(rid) and rid in declared for rid in rids):
        raise Refused("sdp-malformed")
    return rids


def _ssrcs(block: _Block) -> tuple[int | None, int | None]:
    """The SSRCs of a section, of media and of repairs: those of its FID group, else the first alone."""
    for group in block.attributes.get("ssrc-group", []):
        words = group.split(" ")
        if words[0] == "FID":
            media, repairs = (_number(word, 1, 0xFFFFFFFF) for word in words[1:3])
            if media == repairs:
                raise Refused("sdp-malformed")
            return media, repairs
    lines = block.attributes.get("ssrc", [])
    if len({line.split(" ")[0] for line in lines}) > 1 and "ssrc-group" not in block.attributes:
        raise Refused("sdp-unsupported")
    return (_number(lines[0].split(" ")[0], 1, 0xFFFFFFFF) if lines else None), None


def _extensions(block: _Block, kind: str) -> dict[str, int]:
    """The extensions that we use, by URI. Ids above 14 need the two-byte form, which we do not agree to."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for value in block.attributes.get("extmap", []):
        number, uri = value.split(" ")[:2]
        key = _number(number.partition("/")[0], 1, 255)
        if key in taken:
            raise Refused("sdp-malformed")
        taken.add(key)
        if uri in _TAKEN[kind] and key <= 14:
            found[uri] = key
    return found


def _shared(session: _Block, used: Sequence[_Block], name: str) -> list[str]:
    """An attribute of the one bundled transport: of the first section that has it, else of the session (RFC 8843)."""
    for block in (*used, session):
        if name in block.attributes:
            return block.attributes[name]
    raise Refused("sdp-malformed")


def _fingerprints(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for value in values:
        algorithm, _, digest = value.partition(" ")
        size = _DIGESTS.get(algorithm.lower())
        if size is not None:
            if len(bytes.fromhex(digest.replace(":", ""))) != size or len(digest) != 3 * size - 1:
                raise Refused("sdp-malformed")
            found.append((algorithm.lower(), digest.upper()))
    if not found:
        raise Refused("sdp-unsupported")
    return tuple(found)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise Refused("sdp-malformed")
    return int(text)


def answer(offer: Offer, ours: Transport, version: int) -> str:
    """Our answer to a publisher: live sections are received, all others are inactive or, without our codec, rejected."""
    kept = [section for section in offer.sections if not section.rejected and section.payload_type is not None]
    lines = _head([section.mid for section in kept], ours, version)
    for section in offer.sections:
        if section.rejected or section.payload_type is None:
            lines += [f"m={section.kind} 0 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}", "a=inactive"]
            continue
        lines.append(_media(section.kind, ours.listening.port, section.payload_type, section.repair_payload_type))
        lines += _transport(ours, "passive")
        lines += [f"a=mid:{section.mid}", "a=recvonly" if section.mid in offer.live else "a=inactive"]
        lines += _codec(section.kind, section.payload_type, section.repair_payload_type)
        lines += [f"a=extmap:{key} {uri}" for uri, key in section.extensions.items()]
        if section.rids and section.mid in offer.live:
            lines += [f"a=rid:{rid} recv" for rid in section.rids] + [f"a=simulcast:recv {';'.join(section.rids)}"]
    return "\r\n".join(lines) + "\r\n"


def offer(slots: Sequence[Line], ours: Transport, version: int) -> str:
    """Our offer to a subscriber. Microphone and camera of a person share a stream and a CNAME, so that they are lip-synced."""
    lines = _head([slot.mid for slot in slots], ours, version)
    for slot in slots:
        payload_type, repairs = PAYLOAD_TYPES[slot.kind], REPAIR_PAYLOAD_TYPE if slot.kind == "video" else None
        lines.append(_media(slot.kind, ours.listening.port, payload_type, repairs))
        lines += _transport(ours, "actpass")
        lines += [f"a=mid:{slot.mid}", "a=inactive" if slot.ssrc is None else "a=sendonly"]
        lines += _codec(slot.kind, payload_type, repairs)
        lines += [f"a=extmap:{key} {uri}" for uri, key in EXTENSIONS[slot.kind].items()]
        if slot.ssrc is not None:
            stream = f"{slot.participant}-{'screen' if slot.source.startswith('screen') else 'main'}"
            lines += [f"a=msid:{stream} {slot.participant}.{slot.source}", f"a=ssrc:{slot.ssrc} cname:{slot.participant}"]
        if slot.repair_ssrc is not None:
            lines += [f"a=ssrc:{slot.repair_ssrc} cname:{slot.participant}", f"a=ssrc-group:FID {slot.ssrc} {slot.repair_ssrc}"]
    return "\r\n".join(lines) + "\r\n"


def _head(mids: Sequence[str], ours: Transport, version: int) -> list[str]:
    origin = f"o=- {ours.session} {version} IN IP4 0.0.0.0"
    return ["v=0", origin, "s=-", "t=0 0", "a=ice-lite", " ".join(["a=group:BUNDLE", *mids]), "a=msid-semantic: WMS *"]


def _transport(ours: Transport, setup: str) -> list[str]:
    return [
        f"c={ours.listening.connection()}",
        f"a=ice-ufrag:{ours.ufrag}",
        f"a=ice-pwd:{ours.pwd}",
        f"a=fingerprint:sha-256 {ours.fingerprint}",
        f"a=setup:{setup}",
        *ours.listening.lines(),
        "a=end-of-candidates",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]


def _media(kind: str, port: int, payload_type: int, repairs: int | None) -> str:
    formats = f"{payload_type}" if repairs is None else f"{payload_type} {repairs}"
    return f"m={kind} {port} UDP/TLS/RTP/SAVPF {formats}"


def _codec(kind: str, payload_type: int, repairs: int | None) -> list[str]:
    lines = [f"a=rtpmap:{payload_type} {CODECS[kind]}"]
    lines += [f"a=fmtp:{payload_type} {value}" for value in _FORMATS[kind]]
    lines += [f"a=rtcp-fb:{payload_type} {value}" for value in _FEEDBACK[kind]]
    if repairs is not None:
        lines += [f"a=rtpmap:{repairs} rtx/90000", f"a=fmtp:{repairs} apt={payload_type}"]
    return lines
