"""Control packets as a participant sends them, in octets. `by` is the SSRC of who speaks, `of` that of the stream which is spoken of."""

from __future__ import annotations

from collections.abc import Sequence

from calls.media.peer import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    pack_remb_fci,
)


def block(of: int, fraction: int = 0) -> RtcpReceiverInfo:
    """What a report says of one stream: the share of 256 that was lost."""
    return RtcpReceiverInfo(of, fraction, 0, 0, 0, 0, 0)


def receiver_report(by: int, *blocks: RtcpReceiverInfo) -> bytes:
    return bytes(RtcpRrPacket(by, list(blocks)))


def sender_report(by: int, ntp: int, rtp: int, *blocks: RtcpReceiverInfo) -> bytes:
    return bytes(RtcpSrPacket(by, RtcpSenderInfo(ntp, rtp, 1, 1), list(blocks)))


def nack(by: int, of: int, numbers: Sequence[int]) -> bytes:
    """These numbers are asked for again."""
    return bytes(RtcpRtpfbPacket(RTCP_RTPFB_NACK, by, of, list(numbers)))


def pli(by: int, of: int) -> bytes:
    return bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, by, of))


def fir(by: int, of: int) -> bytes:
    return bytes(RtcpPsfbPacket(RTCP_PSFB_FIR, by, 0, of.to_bytes(4) + bytes(4)))


def remb(by: int, rate: int, *of: int) -> bytes:
    """No more than so many bit/s of these streams."""
    return bytes(RtcpPsfbPacket(RTCP_PSFB_APP, by, 0, pack_remb_fci(rate, list(of))))


def bye(by: int) -> bytes:
    return bytes(RtcpByePacket([by]))
