"""Camera, microphone and screen for tests, with the capture time burned in, and the readers of what was burned in.

Each picture carries 64 black and white blocks: 48 bits of capture time (ms since 1970), 8 bits that say whose it is, 8 bits of check.
At each full second the picture flashes and the microphone beeps, each person at a pitch of its own. So from any picture, seen in a
page or decrypted from a file, a test can tell whose it is and when it was captured.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray
from playwright.async_api import BrowserContext, Page

WIDTH, HEIGHT = 640, 360
COLUMNS, ROWS = 16, 4  # blocks: bit 0 first, row by row
BLOCK_WIDTH, BLOCK_HEIGHT = 40, 20
TOP = HEIGHT - ROWS * BLOCK_HEIGHT
CHECK = 0xA5
SCREEN = 0x80  # added to the number of a person for what that person's screen shows
BASE_PITCH, PITCH_STEP = 600, 200  # Hz
FLASH = 100  # ms
PICTURES = 12.5  # a second: one at least in each flash, and three browsers on two cores keep up
RATE = 48_000  # samples per second
WINDOW = 4096  # samples, 85 ms: within one beep, and narrow enough to tell two pitches apart
AUDIBLE = 0.05  # of a full swing; a beep has 0.5

Gray = NDArray[np.uint8]
Sound = NDArray[np.float32]

SOURCE = """({who, width, height, columns, rows, blockWidth, blockHeight, top, check, screen, pitch, flash, rate}) => {
  const picture = (number) => {
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const brush = canvas.getContext("2d", {alpha: false});
    const paint = () => {
      const now = BigInt(Date.now());
      const value = now | (BigInt(number) << 48n);
      let sum = BigInt(check);
      for (let byte = 0n; byte < 7n; byte++) sum += (value >> (8n * byte)) & 255n;
      const bits = value | ((sum & 255n) << 56n);
      brush.fillStyle = now % 1000n < BigInt(flash) ? "#fff" : `hsl(${number * 67 % 360} 40% 40%)`;
      brush.fillRect(0, 0, width, height);
      for (let block = 0; block < columns * rows; block++) {
        brush.fillStyle = (bits >> BigInt(block)) & 1n ? "#fff" : "#000";
        brush.fillRect((block % columns) * blockWidth, top + Math.floor(block / columns) * blockHeight, blockWidth, blockHeight);
      }
    };
    paint();
    setInterval(paint, 1000 / rate);
    return canvas.captureStream(rate).getVideoTracks()[0];
  };
  let sound = null;
  const listen = async () => {
    sound ??= new AudioContext();
    await sound.resume();
    const tone = new OscillatorNode(sound, {frequency: pitch});
    const gain = new GainNode(sound, {gain: 0});
    const out = sound.createMediaStreamDestination();
    tone.connect(gain).connect(out);
    tone.start();
    let next = 0;
    setInterval(() => {
      const now = Date.now();
      const second = Math.ceil(now / 1000) * 1000;
      if (second === next || second - now > 500) return;
      next = second;
      const at = sound.currentTime + (second - now) / 1000;
      gain.gain.setValueAtTime(0.5, at);
      gain.gain.setValueAtTime(0, at + flash / 1000);
    }, 100);
    return out.stream.getAudioTracks()[0];
  };
  const devices = navigator.mediaDevices;
  devices.getUserMedia = async ({audio, video}) => {
    const tracks = [];
    if (audio) tracks.push(await listen());
    if (video) tracks.push(picture(who));
    return new MediaStream(tracks);
  };
  devices.getDisplayMedia = async () => new MediaStream([picture(who | screen)]);
}"""

BAND = """([tile, width, height, top]) => {
  const video = document.querySelector(`[data-tile="${tile}"] video`);
  if (!video || !video.videoWidth || video.readyState < 2) return null;
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const brush = canvas.getContext("2d");
  brush.drawImage(video, 0, 0, width, height);
  const colours = brush.getImageData(0, top, width, height - top).data;
  let text = "";
  for (let at = 0; at < colours.length; at += 4) text += String.fromCharCode(colours[at + 1]);
  return btoa(text);
}"""


@dataclass(frozen=True)
class Stamp:
    """What a picture says of itself: captured when, in ms since 1970, and from whom (with SCREEN added for a shared screen)."""

    captured: int
    who: int


async def burn_in(context: BrowserContext, who: int) -> None:
    """Give every page of a browser, from its next load on, devices that carry the number `who` (0 to 127)."""
    facts = {
        "who": who,
        "width": WIDTH,
        "height": HEIGHT,
        "columns": COLUMNS,
        "rows": ROWS,
        "blockWidth": BLOCK_WIDTH,
        "blockHeight": BLOCK_HEIGHT,
        "top": TOP,
        "check": CHECK,
        "screen": SCREEN,
        "pitch": pitch_of(who),
        "flash": FLASH,
        "rate": PICTURES,
    }
    await context.add_init_script(f"if (navigator.mediaDevices) ({SOURCE})({json.dumps(facts)});")


def pitch_of(who: int) -> int:
    """The pitch of a person's beep in Hz."""
    return BASE_PITCH + PITCH_STEP * who


async def seen(page: Page, tile: str) -> Stamp | None:
    """What the tile `<participant>/person` or `<participant>/screen` shows now, or None while it shows nothing that can be read."""
    encoded = await page.evaluate(BAND, [tile, WIDTH, HEIGHT, TOP])
    if encoded is None:
        return None
    picture = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    picture[TOP:] = np.frombuffer(base64.b64decode(encoded), dtype=np.uint8).reshape(HEIGHT - TOP, WIDTH)
    return stamp_of(picture)


def stamp_of(picture: Gray) -> Stamp | None:
    """The stamp in a grey picture of any size, or None when the blocks are not ours or too damaged to be sure."""
    height, width = picture.shape
    value = 0
    for block in range(COLUMNS * ROWS):
        row, column = divmod(block, COLUMNS)
        x, y = column * BLOCK_WIDTH, TOP + row * BLOCK_HEIGHT
        inner = picture[
            (y + BLOCK_HEIGHT // 4) * height // HEIGHT : (y + BLOCK_HEIGHT * 3 // 4) * height // HEIGHT,
            (x + BLOCK_WIDTH // 4) * width // WIDTH : (x + BLOCK_WIDTH * 3 // 4) * width // WIDTH,
        ]
        value |= int(inner.mean() > 127) << block
    data = value & ((1 << 56) - 1)
    if (CHECK + sum(data.to_bytes(7, "little"))) & 0xFF != value >> 56:
        return None
    return Stamp(captured=data & ((1 << 48) - 1), who=data >> 48)


def video_stamps(file: str | Path | BinaryIO) -> Iterator[tuple[float, Stamp | None]]:
    """Every picture of a video file in the order of time: seconds in the file, and its stamp."""
    with av.open(file if not isinstance(file, Path) else str(file), mode="r") as container:
        for frame in container.decode(video=0):
            yield float(frame.time or 0), stamp_of(np.asarray(frame.to_ndarray(format="gray"), dtype=np.uint8))


def beeps(file: str | Path | BinaryIO) -> list[tuple[float, float]]:
    """Every beep of an audio file: when it starts, in seconds of the file, and its pitch in Hz."""
    rate = RATE
    times: list[float] = []
    parts: list[NDArray[Any]] = []
    with av.open(file if not isinstance(file, Path) else str(file), mode="r") as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        for frame in container.decode(audio=0):
            for plain in resampler.resample(frame):
                times.append(float(plain.time or 0))
                parts.append(plain.to_ndarray()[0])
    if not parts:
        return []
    starts = list(itertools.accumulate((len(part) for part in parts), initial=0))
    return [(_moment(start, starts, times, rate), _pitch(sound, rate)) for start, sound in _loud(np.concatenate(parts), rate)]


def sound_of(packets: Iterable[bytes]) -> Sound:
    """The samples of Opus packets (RFC 6716), one after the other, both channels mixed."""
    decoder: Any = av.CodecContext.create("opus", "r")
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    parts = [plain.to_ndarray()[0] for packet in packets for frame in decoder.decode(av.Packet(packet)) for plain in resampler.resample(frame)]
    return np.concatenate(parts, dtype=np.float32) if parts else np.zeros(0, np.float32)


def loudness(sound: Sound, who: int) -> float:
    """The most that somebody's pitch reaches anywhere in a sound, also beneath other people's beeps."""
    if len(sound) < WINDOW:
        return 0.0
    shape = np.hanning(WINDOW)
    wave = shape * np.exp(-2j * np.pi * pitch_of(who) / RATE * np.arange(WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[:: WINDOW // 4]
    return float(np.abs(windows @ wave).max() * 2 / shape.sum())


def _loud(samples: NDArray[Any], rate: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Stretches of at least 40 ms that are loud: first sample, and the samples."""
    window = rate // 200
    levels = np.sqrt(np.convolve(samples**2, np.ones(window) / window, mode="same"))
    edges = np.diff(np.concatenate(([0], (levels > AUDIBLE).astype(np.int8), [0])))
    for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if end - start >= rate // 25:
            yield int(start), samples[start:end]


def _pitch(sound: NDArray[Any], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * rate / len(sound)


def _moment(sample: int, starts: list[int], times: list[float], rate: int) -> float:
    part = int(np.searchsorted(starts, sample, side="right")) - 1
    return times[part] + (sample - starts[part]) / rate
