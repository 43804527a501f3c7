"""The forms of payloads: VP8 descriptors and picture heads, Opus packets, and real encoders' pictures and sounds bit by bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import product

import av
import numpy
import pytest
from av.error import InvalidDataError
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.depacketise.codecs import descriptor, is_opus, picture_kind
from tests.recordings import packets as made
from tests.recordings.packets import HERE, PICTURE_US, Camera, Microphone, arriving, depacketised, jitter, numbers

FORMS = list(product([0, 7, 15], [None, 9], [False, True], [False, True], [False, True]))


@pytest.mark.parametrize(("bits", "layer", "temporal", "key_index", "begins"), FORMS)
def test_every_form_of_the_payload_descriptor_is_read_and_every_shorter_one_is_refused(
    bits: int, layer: int | None, temporal: bool, key_index: bool, begins: bool
) -> None:
    """RFC 7741 section 4.2: X, I with M, L, T and K in every combination."""
    head = made.descriptor(begins=begins, picture=101, bits=bits, layer=layer, temporal=temporal, key_index=key_index)
    found = descriptor(head + b"picture")

    assert found is not None
    assert (found.begins, found.bits, found.length) == (begins, bits, len(head))
    assert not bits or found.picture == 101
    assert all(descriptor(head[:length]) is None for length in range(len(head) + 1))


def test_later_partitions_and_reserved_bits_are_no_beginning() -> None:
    """Only S with partition 0 begins a picture; R and N say nothing about it."""
    assert descriptor(b"\x11" + b"data") is not None
    assert [descriptor(bytes([first]) + b"data").begins for first in (0x10, 0x30, 0x50, 0x70, 0x11, 0x17, 0x00, 0x07)] == [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    "data",
    [
        b"\x10\x00",
        made.picture(1, key=True)[:9],
        b"\x10\x00\x00\x9d\x01\x2b" + made.picture(1, key=True)[6:],
        b"\x10\x00\x00\x9d\x01\x2a\x00\xc0" + made.picture(1, key=True)[8:],
        b"\x10\x00\x00\x9d\x01\x2a\x10\x00\x00\x40" + made.picture(1, key=True)[10:],
        b"\xf1\xff\xff" + made.picture(1, key=False)[3:],
    ],
    ids=["too-short", "key-too-short", "start-code", "no-width", "no-height", "first-partition"],
)
def test_a_picture_whose_head_cannot_be_right_counts_as_lost(data: bytes) -> None:
    """It is not given out, and neither is anything up to the next key frame."""
    camera, tally = Camera(), Counter[str]()
    sent = camera.pictures(5)
    sent += camera.send(data, HERE + 5 * PICTURE_US)
    sent += camera.send(made.picture(6, key=False), HERE + 6 * PICTURE_US)
    sent += camera.send(made.picture(7, key=True), HERE + 7 * PICTURE_US)
    found = depacketised(arriving(sent, 0), tally=tally)

    assert picture_kind(data) is None
    assert numbers(found) == [0, 1, 2, 3, 4, 7]
    assert tally == {"invalid": 1, "undecodable": 1}


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60)).map(lambda parts: bytes(parts[:2]) + parts[2]),
        st.tuples(st.integers(0, 63), st.integers(1, 6), st.integers(0, 40)).map(lambda p: bytes([p[0] << 2 | 3, p[1]]) + bytes(p[1] * p[2])),
        st.tuples(st.integers(0, 63), st.integers(0, 3), st.integers(1270, 2560)).map(lambda p: bytes([p[0] << 2 | p[1]]) + bytes(p[2])),
    )
)
def test_an_opus_packet_passes_exactly_when_the_reference_decoder_takes_it(data: bytes) -> None:
    """The rules of RFC 6716 section 3.4, compared with libopus."""
    if data:
        assert is_opus(data) is taken_by_libopus(data)
    else:
        assert not is_opus(data)


def taken_by_libopus(data: bytes) -> bool:
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48_000, "stereo"
    try:
        decoder.decode(av.Packet(data))
    except InvalidDataError:
        return False
    return True


def encoded_pictures(count: int) -> list[bytes]:
    """A grey square that wanders, by libvpx."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 180, "yuv420p", Fraction(1, 30)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": "15", "b": "800000"}
    found = []
    for index in range(count):
        image = numpy.random.default_rng(index).integers(0, 40, (180, 320, 3), dtype=numpy.uint8)
        image[40:120, 4 * index : 4 * index + 80] = 200
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = index
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found + [bytes(packet) for packet in encoder.encode(None)]


def encoded_sounds(count: int) -> list[bytes]:
    """A tone, by libopus."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    found = []
    for index in range(count):
        wave = (8000 * numpy.sin(2 * numpy.pi * 440 * (numpy.arange(960) + 960 * index) / 48_000)).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 960 * index
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found


def decoded(pictures: Iterable[bytes]) -> list[bytes]:
    decoder = av.CodecContext.create("vp8", "r")
    return [image.to_ndarray().tobytes() for data in pictures for image in decoder.decode(av.Packet(data))]


def test_real_pictures_come_through_bit_by_bit_and_can_be_decoded_after_a_loss() -> None:
    """Encoded by libvpx, packetised, mixed up, one packet lost: what is left is decoded into the very same images."""
    pictures = encoded_pictures(45)
    camera = Camera(payload=300)
    sent = [one for index, data in enumerate(pictures) for one in camera.send(data, HERE + index * PICTURE_US)]
    whole = depacketised(arriving(sent, jitter(len(sent), 1)))
    lost = next(index for index, one in enumerate(sent) if one.frame == 20) + 1
    keys = {index for index, data in enumerate(pictures) if picture_kind(data)}
    broken = depacketised(arriving(sent[:lost] + sent[lost + 1 :], jitter(len(sent) - 1, 2)))
    left = made.decodable(sent, {lost}, keys)

    assert len(sent) > 2 * len(pictures) == 90
    assert [frame.data for frame in whole] == pictures
    assert [frame.data for frame in broken] == [pictures[index] for index in left]
    assert left == [*range(20), *range(30, 45)]
    images = decoded(pictures)
    assert decoded(frame.data for frame in broken) == [images[index] for index in left]


def test_real_sound_comes_through_bit_by_bit() -> None:
    """Encoded by libopus; every packet is taken for what it is."""
    sounds = encoded_sounds(50)
    voice = Microphone()
    sent = [one for index, data in enumerate(sounds) for one in voice.send(data, HERE + index * made.SOUND_US)]

    assert len(sounds) >= 49
    assert [frame.data for frame in depacketised(arriving(sent, jitter(len(sent), 3)), "mic")] == sounds
