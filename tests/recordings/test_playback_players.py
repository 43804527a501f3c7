"""Real players open the finished files: FFmpeg's libraries, and Chromium by ranged requests as from the playback page."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from recordings.playback import Reader, playable
from recordings.webm import Frame

from . import reel
from .reel import CAM, FIRST, MIC, SECOND, STEP

MOST = 4 * 1024  # bytes of one answer: small against these files, as 2 MiB is against real ones
PICTURES = 90 + 90  # the second half twice as large
SOUND_SECONDS = 16
PAGE = b'<!doctype html><link rel="icon" href="data:,"><body></body>'

SHOWN = """(video) => {
  const {videoWidth: width, videoHeight: height} = video;
  const brush = Object.assign(document.createElement("canvas"), {width, height}).getContext("2d");
  brush.drawImage(video, 0, 0);
  const light = (bar) => brush.getImageData(Math.floor((2 * bar + 1) * width / 16), height / 2, 1, 1).data[1] > 117;
  return {number: [...Array(8).keys()].reduce((sum, bar) => sum + (light(bar) << bar), 0), width, height};
}"""
LOADED = """([tag, url]) => new Promise((resolve, reject) => {
  const media = Object.assign(document.createElement(tag), {src: url, preload: "auto", muted: tag === "video"});
  window.media = media;
  document.body.append(media);
  media.onerror = () => reject(new Error(media.error.message));
  media.onloadedmetadata = () => resolve({duration: media.duration, width: media.videoWidth, height: media.videoHeight});
})"""
SOUGHT = """(second) => new Promise((resolve, reject) => {
  media.onerror = () => reject(new Error(media.error.message));
  media.onseeked = () => media.readyState >= 2 ? resolve() : media.addEventListener("canplay", resolve, {once: true});
  media.currentTime = second;
})"""
SEEKABLE = "() => [...Array(media.seekable.length).keys()].map(n => [media.seekable.start(n), media.seekable.end(n)])"
ENDED = """() => new Promise((resolve, reject) => {
  media.onerror = () => reject(new Error(media.error.message));
  media.onended = () => resolve(media.currentTime);
  media.play().catch(reject);
})"""
QUIET = """async () => {
  const {analyser, levels} = ear;
  do {
    await new Promise((again) => setTimeout(again, 10));
    analyser.getFloatFrequencyData(levels);
  } while (Math.max(...levels) > -90);
}"""
HEARD_NEXT = """async () => {
  const {context, analyser, levels} = ear;
  let second;
  do {
    await new Promise((again) => setTimeout(again, 10));
    analyser.getFloatFrequencyData(levels);
    second = media.currentTime;
    if (media.ended) throw new Error("nothing more was heard");
  } while (!(Math.max(...levels) > -30));
  return [levels.indexOf(Math.max(...levels)) * context.sampleRate / analyser.fftSize, second];
}"""
HEARD = """(second) => new Promise(async (resolve, reject) => {
  window.ear ??= (() => {
    const context = new AudioContext(), analyser = new AnalyserNode(context, {fftSize: 8192, smoothingTimeConstant: 0});
    context.createMediaElementSource(media).connect(analyser).connect(context.destination);
    return {context, analyser, levels: new Float32Array(analyser.frequencyBinCount)};
  })();
  await ear.context.resume();
  const loudest = () => {
    ear.analyser.getFloatFrequencyData(ear.levels);
    return ear.levels.indexOf(Math.max(...ear.levels));
  };
  const until = async (condition) => { while (!condition()) await new Promise((again) => setTimeout(again, 10)); };
  media.onerror = () => reject(new Error(media.error.message));
  media.pause();
  await until(() => { const bin = loudest(); return bin < 0 || ear.levels[bin] < -90; });
  media.onseeked = async () => {
    await media.play();
    await until(() => { const bin = loudest(); return bin >= 0 && ear.levels[bin] > -30; });
    resolve(loudest() * ear.context.sampleRate / ear.analyser.fftSize);
  };
  media.currentTime = second;
})"""


class Site:
    """A page, and one file by ranges of at most `MOST` bytes. `asked` holds the first byte of every range that was served."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.asked, self._one_at_a_time = reader, list[int](), Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def range(self, asked: str) -> tuple[int, bytes]:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        assert found, asked
        start = int(found[1])
        length = min(MOST, int(found[2]) + 1 - start if found[2] else MOST)
        with self._one_at_a_time:
            self.asked.append(start)
            return start, self.reader.read(start, length)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 - reason: the name is the base class's
                if self.path == "/":
                    self.answer(200, PAGE, {"Content-Type": "text/html"})
                    return
                start, part = site.range(self.headers["Range"])
                placed = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{site.reader.size}", "Accept-Ranges": "bytes"}
                self.answer(206, part, placed | {"Content-Type": site.reader.mime})

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body)), "Cache-Control": "no-store"}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[[list[Frame], Any], Site]]:
    """`site(frames, context)` -> these frames, sealed in a file and served from it."""
    with ExitStack() as open_until_then:

        def serve(frames: list[Frame], context: Any) -> Site:
            reel.write(tmp_path / context.source, frames, context)
            file = open_until_then.enter_context(open(tmp_path / context.source, "rb"))
            served = Site(Reader(file, reel.KEY, context))
            open_until_then.callback(served.server.server_close)
            open_until_then.callback(served.server.shutdown)
            return served

        yield serve


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


@pytest.fixture(scope="module")
def pictures() -> list[Frame]:
    return reel.pictures(small=90, large=90)


@pytest.fixture(scope="module")
def sounds() -> list[Frame]:
    return reel.sounds(seconds=SOUND_SECONDS)


def whole(reader: Reader) -> Any:
    """The WebM, opened by FFmpeg's libraries."""
    return av.open(io.BytesIO(reader.read(0, reader.size)))


def decoded(container: Any) -> list[Any]:
    """Every frame; FFmpeg may have nothing to complain about."""
    with av.logging.Capture() as complaints:
        found = list(container.decode(container.streams[0]))
    assert complaints == []
    return found


@pytest.fixture
def warned() -> Iterator[None]:
    """Complaints of FFmpeg are kept for the test."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    yield
    av.logging.set_level(before)


def milliseconds(frame: Any) -> int:
    return int(frame.pts * frame.time_base * 1000)


@pytest.mark.usefixtures("warned")
def test_ffmpeg_shows_every_picture_at_its_recording_time(tmp_path: Path, pictures: list[Frame]) -> None:
    """The file begins at 8.3 s, as the recording did for her, and the camera's size changes in the middle."""
    reel.write(tmp_path / "cam", pictures)
    container = whole(reel.opened((tmp_path / "cam").read_bytes()))
    shown = decoded(container)

    assert [reel.number_in(frame) for frame in shown] == list(range(PICTURES))
    assert [milliseconds(frame) for frame in shown] == [frame.time_us // 1000 for frame in pictures]
    assert ({(f.width, f.height) for f in shown[:90]}, {(f.width, f.height) for f in shown[90:]}) == ({(160, 120)}, {(320, 240)})
    assert (container.start_time, container.duration) == (FIRST, pictures[-1].time_us + STEP)


@pytest.mark.usefixtures("warned")
def test_ffmpeg_seeks_to_the_key_frame_before(tmp_path: Path, pictures: list[Frame]) -> None:
    reel.write(tmp_path / "cam", pictures)
    container = whole(reel.opened((tmp_path / "cam").read_bytes()))
    landed = []
    for number in (100, 29, 30, 179, 0):
        container.seek(pictures[number].time_us // 1000 * 1000)
        landed.append(reel.number_in(next(container.decode(video=0))))

    assert landed == [90, 0, 30, 150, 0]


@pytest.mark.usefixtures("warned")
def test_ffmpeg_hears_every_packet_at_its_recording_time(tmp_path: Path, sounds: list[Frame]) -> None:
    """Between two packets of DTX nothing is sent: a gap in the file, and the sound after it still at its time."""
    silent = range(250, 320)
    sent = [frame for number, frame in enumerate(sounds) if number not in silent]
    reel.write(tmp_path / "mic", sent, MIC)
    container = whole(reel.opened((tmp_path / "mic").read_bytes(), MIC))
    heard = decoded(container)

    assert [milliseconds(frame) for frame in heard] == [frame.time_us // 1000 for frame in sent]
    assert {frame.samples for frame in heard} == {reel.RATE * reel.PACKET // SECOND}
    assert (heard[0].layout.name, container.duration) == ("stereo", FIRST + SOUND_SECONDS * SECOND)
    for second in range(0, SOUND_SECONDS, 2):
        at = FIRST // 1000 + second * 1000 + 500
        wave = np.concatenate([frame.to_ndarray()[0] for frame in heard if at <= milliseconds(frame) < at + 200])
        assert reel.loudest(wave) == pytest.approx(reel.pitch_at(second), abs=10)


async def test_chromium_plays_and_seeks_pictures_by_ranges(site: Callable[[list[Frame], Any], Site], page: Page, pictures: list[Frame]) -> None:
    """Wherever she seeks, the very picture of that recording time is shown, in its own size."""
    served = site(pictures, CAM)
    await page.goto(served.url)
    loaded = await page.evaluate(LOADED, ["video", "/media"])
    seekable = await page.evaluate(SEEKABLE)
    wanted, shown = [], []
    for second in (18.0, 9.0, 14.23, 14.25, 20.15, 10.0, 8.31):
        await page.evaluate(SOUGHT, second)
        shown.append(await page.evaluate(f"({SHOWN})(media)"))
        number = int(second * SECOND - FIRST) // STEP
        wanted.append({"number": number, "width": 160 if number < 90 else 320, "height": 120 if number < 90 else 240})

    end = (pictures[-1].time_us + STEP) / SECOND
    assert loaded == {"duration": end, "width": 160, "height": 120}
    assert seekable == [[0, end]]
    assert shown == wanted
    assert await page.evaluate(ENDED) == end
    assert len(served.asked) > 3


async def test_chromium_shows_the_first_picture_wherever_before_it_she_seeks(
    site: Callable[[list[Frame], Any], Site], page: Page, pictures: list[Frame]
) -> None:
    """A page has to cover those moments by itself: a player does not leave them empty."""
    await page.goto(site(pictures, CAM).url)
    await page.evaluate(LOADED, ["video", "/media"])
    numbers = []
    for second in (12.0, 3.0, 0.0):
        await page.evaluate(SOUGHT, second)
        numbers.append((await page.evaluate(f"({SHOWN})(media)"))["number"])

    assert numbers == [int(12.0 * SECOND - FIRST) // STEP, 0, 0]


async def test_chromium_plays_and_seeks_sound_by_ranges(site: Callable[[list[Frame], Any], Site], page: Page, sounds: list[Frame]) -> None:
    """Wherever she seeks, the pitch of that recording time is heard first."""
    served = site(sounds, MIC)
    await page.goto(served.url)
    loaded = await page.evaluate(LOADED, ["audio", "/media"])
    seekable = await page.evaluate(SEEKABLE)
    asked = (18.0, 9.0, 14.0, 22.0, 9.5)
    heard = [await page.evaluate(HEARD, second) for second in asked]

    end = FIRST / SECOND + SOUND_SECONDS
    assert (loaded["duration"], seekable) == (end, [[0, end]])
    assert heard == [pytest.approx(reel.pitch_at(second - FIRST / SECOND), abs=20) for second in asked]
    await page.evaluate(SOUGHT, 20.0)
    assert await page.evaluate(ENDED) == end
    assert len(served.asked) > 3


async def test_chromium_plays_on_over_pauses(site: Callable[[list[Frame], Any], Site], page: Page, pictures: list[Frame]) -> None:
    """The camera was off for two seconds, and two pictures share a millisecond: it plays through, and later pictures are where they were."""
    off = range(30, 60)
    frames = [frame for number, frame in enumerate(pictures) if number not in off]
    twice = [Frame(one.time_us if number != 1 else frames[0].time_us + 500, one.key, one.data) for number, one in enumerate(frames)]
    served = site(twice, CAM)
    await page.goto(served.url)
    await page.evaluate(LOADED, ["video", "/media"])
    numbers = []
    for number in (75, 40, 5):
        await page.evaluate(SOUGHT, (pictures[number].time_us + STEP // 2) / SECOND)
        numbers.append((await page.evaluate(f"({SHOWN})(media)"))["number"])

    assert numbers == [75, 29, 5]
    assert served.reader.spans == [[FIRST, pictures[29].time_us + STEP], [pictures[60].time_us, pictures[-1].time_us + STEP]]
    assert await page.evaluate(ENDED) == (pictures[-1].time_us + STEP) / SECOND


async def test_chromium_keeps_the_time_over_silence_that_was_never_sent(
    site: Callable[[list[Frame], Any], Site], page: Page, sounds: list[Frame]
) -> None:
    """Two seconds before the first pitch ends, DTX stops: what is heard first afterwards is heard at its recording time."""
    silent = range(100, 200)
    sent = [frame for number, frame in enumerate(sounds) if number not in silent]
    served = site(list(playable(sent, "mic")), MIC)
    await page.goto(served.url)
    await page.evaluate(LOADED, ["audio", "/media"])
    pitch = await page.evaluate(HEARD, (FIRST + SECOND) / SECOND)
    await page.evaluate(QUIET)
    after, second = await page.evaluate(HEARD_NEXT)

    assert pitch == pytest.approx(reel.pitch_at(0), abs=20)
    assert after == pytest.approx(reel.pitch_at(4), abs=20)
    assert (FIRST + 4 * SECOND) / SECOND - 0.3 < second < (FIRST + 8 * SECOND) / SECOND
    assert served.reader.spans == [[FIRST, FIRST + SOUND_SECONDS * SECOND]]
