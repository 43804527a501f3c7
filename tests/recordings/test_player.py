"""The player in a real browser: one clock for all files, and nothing seen or heard outside the stretches that were kept.

Each picture carries the moment of the recording that it belongs to, so "shows" means: the picture of that moment, of that person.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests import axe
from tests.walks.media import HEIGHT, SCREEN, WIDTH, stamp_of
from tests.walks.people import until

from . import theatre
from .footage import pictures, tone
from .theatre import Theatre

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HANA, GAIL = 1, 2
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (390, 1280)]

# The grey values of the picture that can be seen in a tile; null while none can be.
SEEN = """([name, width, height]) => {
  const tiles = [...document.querySelectorAll("[data-tile]")].filter(tile => tile.checkVisibility());
  const tile = tiles.find(tile => tile.querySelector(".plate-name").textContent === name);
  const videos = [...tile?.querySelectorAll("video") ?? []].filter(video => video.checkVisibility({visibilityProperty: true}));
  if (videos.length > 1) throw new Error("more than one picture in a tile");
  if (!videos.length || videos[0].readyState < 2 || videos[0].seeking) return null;
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const brush = canvas.getContext("2d");
  brush.drawImage(videos[0], 0, 0, width, height);
  const colours = brush.getImageData(0, 0, width, height).data;
  let text = "";
  for (let at = 0; at < colours.length; at += 4) text += String.fromCharCode(colours[at + 1]);
  return btoa(text);
}"""

# At every picture that the browser draws: is anything of a person seen or playing at a moment that lies outside these stretches?
WATCH = """([name, spans]) => {
  const tile = [...document.querySelectorAll("[data-tile]")].find(tile => tile.querySelector(".plate-name").textContent === name);
  const slider = document.querySelector("[data-seek]");
  globalThis.strays = [];
  globalThis.looks = {inside: 0, outside: 0};
  const look = () => {
    const at = Number(slider.value);
    const inside = spans.some(([start, end]) => start - 100 <= at && at < end + 100);
    looks[inside ? "inside" : "outside"] += 1;
    for (const media of inside ? [] : tile.querySelectorAll("video, audio")) {
      if (media.checkVisibility({visibilityProperty: true}) || !media.paused) strays.push([at, media.localName, media.currentTime]);
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Theatre]:
    with theatre.opened(tmp_path) as ready:
        yield ready


@pytest.fixture
def meeting(stage: Theatre) -> Theatre:
    """12 s: Hana throughout; Gail with a gap from 4 s to 8 s in one file, a second file at the end, and a screen from 5 s to 7 s; Gus declined;
    Ada's voice alone; Otto's part is erased."""
    stage.person("Hana", you=True, mic=[tone(HANA, (0, 12_000))], cam=[pictures(HANA, (0, 12_000))])
    voice = [tone(GAIL, (0, 4_000), (8_000, 12_000))]
    camera = [pictures(GAIL, (2_000, 4_000), (8_000, 10_000)), pictures(GAIL, (10_500, 12_000))]
    stage.person("Gail", mic=voice, cam=camera, screen=[pictures(GAIL | SCREEN, (5_000, 7_000))])
    stage.person("Gus", mic="declined", cam="declined")
    stage.person("Ada", mic=[tone(4, (1_000, 11_000))], cam="undecided")
    stage.person("Otto", mic="erased", cam="erased")
    return stage


class Viewer:
    """Somebody in front of the player."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.slider = page.get_by_role("slider", name="Position")
        self.button = page.locator('[data-do="play"]')
        self.state = page.locator('[data-slot="state"]')
        self.time = page.locator(".seek-time")
        self.errors: list[str] = []
        self.foreign: list[str] = []

    def tile(self, name: str) -> Locator:
        return self.page.locator("[data-tile]").filter(has=self.page.locator(".plate-name").get_by_text(name, exact=True))

    def mark(self, name: str) -> Locator:
        return self.tile(name).locator(".mark-words")

    async def seek(self, at: int) -> None:
        await self.slider.fill(str(at))

    async def at(self) -> int:
        return int(await self.slider.input_value())

    async def shows(self, name: str) -> tuple[int, int] | None:
        """Whose picture of which moment can be seen in a tile."""
        encoded = await self.page.evaluate(SEEN, [name, WIDTH, HEIGHT])
        stamp = stamp_of(np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(HEIGHT, WIDTH)) if encoded else None
        return (stamp.captured, stamp.who) if stamp else None

    async def comes_to(self, at: int) -> None:
        async def there() -> bool:
            return await self.at() >= at

        await until(f"the clock comes to {at} ms", there)

    async def comes_true(self, said: str) -> None:
        """What a script says of the page; asked again and again from here, because the page's policy lets nothing be evaluated within it."""
        await until(said, lambda: self.page.evaluate(said))

    async def faults(self) -> list[str]:
        return await axe.faults(self.page)

    def forget(self, status: int) -> None:
        """The browser reports the answer that the test asked for; anything else stays in the list."""
        self.errors[:] = [text for text in self.errors if f"status of {status}" not in text]


@pytest_asyncio.fixture(loop_scope="session")
async def watching(browser: Browser, stage: Theatre) -> AsyncIterator[Any]:
    """`await watching()` -> a Viewer in front of the page. At the end no error and no request to another origin may have happened."""
    viewers: list[Viewer] = []

    async def watch(**options: Any) -> Viewer:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = await browser.new_context(base_url=stage.url, reduced_motion="reduce", **options)
        viewer = Viewer(await context.new_page())
        context.on("console", lambda m: viewer.errors.append(m.text) if m.type == "error" else None)
        context.on("weberror", lambda e: viewer.errors.append(str(e.error)))
        context.on("request", lambda r: viewer.foreign.append(r.url) if not r.url.startswith((stage.url, "data:")) else None)
        viewers.append(viewer)
        await viewer.page.goto("/play/")
        return viewer

    yield watch
    for gate in stage.shut.values():
        gate.set()
    for viewer in viewers:
        await viewer.page.context.close()
    assert [viewer.foreign for viewer in viewers if viewer.foreign] == []
    assert [viewer.errors for viewer in viewers if viewer.errors] == []


# One clock


async def test_after_a_seek_each_tile_shows_the_picture_of_that_moment(meeting: Theatre, watching: Any) -> None:
    """Forth and back, into gaps and into another file of the same person; where nothing was kept, nothing is shown."""
    viewer = await watching()
    for at, hana, gail in [
        (500, 500, None),
        (9_050, 9_000, 9_000),
        (3_340, 3_300, 3_300),
        (10_200, 10_200, None),
        (11_110, 11_100, 11_100),
        (2_000, 2_000, 2_000),
    ]:
        await viewer.seek(at)
        wanted = ((hana, HANA), (gail, GAIL) if gail else None, None, None, None)

        async def shown(wanted: Any = wanted) -> bool:
            return tuple([await viewer.shows(name) for name in ("Hana (you)", "Gail", "Gus", "Ada", "Otto")]) == wanted

        await until(f"the pictures of {at} ms are shown: {wanted}", shown)


async def test_a_shared_screen_has_the_large_place_only_while_it_was_kept(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    screens = viewer.page.get_by_role("group", name="Shared screens")
    await expect(screens).to_be_hidden()

    await viewer.seek(6_000)

    async def shown() -> bool:
        return await viewer.shows("Screen of Gail") == (6_000, GAIL | SCREEN)

    await until("the screen of 6 s is shown", shown)
    screen, person = await screens.bounding_box(), await viewer.tile("Hana (you)").bounding_box()
    assert screen["width"] > 2 * person["width"]
    await viewer.seek(7_000)
    await expect(screens).to_be_hidden()


async def test_outside_the_stretches_of_a_person_nothing_of_that_person_is_seen_or_playing(meeting: Theatre, watching: Any) -> None:
    """Looked at with every picture the browser draws, while the clock runs out of a stretch, through a gap and into the next."""
    viewer = await watching()
    await viewer.seek(3_400)
    await viewer.page.evaluate(WATCH, ["Gail", [[0, 4_000], [8_000, 12_000]]])

    await viewer.button.click()
    await viewer.comes_to(5_000)

    await expect(viewer.mark("Gail")).to_have_text("Nothing kept here")
    await viewer.seek(7_500)
    await viewer.comes_to(8_500)
    await expect(viewer.mark("Gail")).to_have_text("Kept: voice, camera")
    looks = await viewer.page.evaluate("looks")
    assert looks["inside"] > 0
    assert looks["outside"] > 0
    assert await viewer.page.evaluate("strays") == []


async def test_the_clock_stands_still_while_a_file_cannot_play(meeting: Theatre, watching: Any) -> None:
    """Gail's voice does not come: everybody waits, in words. Once it comes, all go on together."""
    voice = meeting.people[1]["sources"][0]["files"][0]["id"]
    meeting.shut[voice] = Event()
    viewer = await watching()

    await viewer.button.click()

    await expect(viewer.state).to_have_text("Loading")
    assert await viewer.at() == 0
    assert await viewer.page.evaluate("[...document.querySelectorAll('video, audio')].filter(media => !media.paused).length") == 0
    assert voice in [name for name, _range in meeting.asked]

    meeting.shut[voice].set()
    await expect(viewer.state).to_have_text("Playing")
    await viewer.comes_to(500)


async def test_an_element_that_is_off_the_clock_is_bent_back_and_one_that_is_far_off_is_sent(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    await viewer.button.click()
    await viewer.comes_to(300)
    rates = """off => { const media = document.querySelector("[data-tile='0/person'] audio"); globalThis.rates = []; globalThis.sought = 0;
      media.onratechange = () => rates.push(media.playbackRate); media.onseeking = () => sought++; media.currentTime += off; }"""

    await viewer.page.evaluate(rates, 0.3)
    await viewer.comes_true("rates.length > 1 && rates.at(-1) === 1")
    assert 0.9 <= await viewer.page.evaluate("Math.min(...rates)") < 1
    assert await viewer.page.evaluate("sought") == 1

    await viewer.seek(1_500)
    await viewer.comes_to(1_600)
    await viewer.page.evaluate(rates, 4)
    await viewer.comes_true("sought > 1")


async def test_the_recording_ends_with_nothing_to_be_seen_and_can_be_played_again(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    await viewer.seek(11_500)
    await viewer.button.click()

    await expect(viewer.state).to_have_text("End of the recording")

    await expect(viewer.button).to_have_text("Again")
    await expect(viewer.time).to_have_text("00:12 / 00:12")
    assert [await viewer.shows(name) for name in ("Hana (you)", "Gail")] == [None, None]
    await viewer.button.click()
    await expect(viewer.state).to_have_text("Playing")
    assert await viewer.at() < 11_000


# What is said


async def test_every_tile_says_what_was_kept_of_its_person_at_this_moment(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    await viewer.seek(1_500)

    said = {name: await viewer.mark(name).inner_text() for name in ("Hana (you)", "Gail", "Gus", "Ada", "Otto")}
    assert said == {"Hana (you)": "Kept: voice, camera", "Gail": "Kept: voice", "Gus": "Live only", "Ada": "Kept: voice", "Otto": "Erased"}
    await expect(viewer.tile("Ada").locator(".tile-initials")).to_have_css("visibility", "visible")
    await expect(viewer.tile("Gus").locator(".tile-figure")).to_have_css("visibility", "visible")
    await viewer.seek(11_500)
    await expect(viewer.mark("Ada")).to_have_text("Nothing kept here")


async def test_the_lanes_draw_and_name_what_was_kept_and_say_why_there_is_nothing_else(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    lanes = viewer.page.get_by_role("region", name="What was kept, and when").locator(".lane-person")

    await expect(lanes).to_have_count(5)
    gail = lanes.nth(1).locator('[data-source="cam"]')
    await expect(gail).to_contain_text("kept from 00:02 to 00:04, from 00:08 to 00:10, from 00:10 to 00:12")
    track, drawn = await gail.locator(".lane-track").bounding_box(), await gail.locator(".lane-stretch").nth(1).bounding_box()
    assert (drawn["x"] - track["x"]) / track["width"] == pytest.approx(8 / 12, abs=0.01)
    assert drawn["width"] / track["width"] == pytest.approx(2 / 12, abs=0.01)
    await expect(lanes.nth(2).locator('[data-source="mic"]')).to_contain_text("Live only")
    await expect(lanes.nth(3).locator('[data-source="cam"]')).to_contain_text("Not asked")
    await expect(lanes.nth(4).locator('[data-source="cam"]')).to_contain_text("Erased")


async def test_state_is_announced_when_it_changes_and_not_as_time_passes(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    await viewer.page.evaluate("""() => { globalThis.said = [];
      for (const line of document.querySelectorAll("[data-announce]"))
        new MutationObserver(() => line.textContent && said.push(line.textContent)).observe(line, {childList: true}); }""")

    await viewer.button.click()
    await viewer.comes_to(2_500)
    await viewer.button.click()
    await expect(viewer.state).to_have_text("Paused")

    said = await viewer.page.evaluate("said")
    assert set(said) <= {"Playing", "Loading", "Paused"}
    assert said[-2:] == ["Playing", "Paused"]
    assert all(before != after for before, after in itertools.pairwise(said))


# Troubles


async def test_a_file_that_cannot_be_opened_is_named_and_can_be_tried_again_while_the_others_play(meeting: Theatre, watching: Any) -> None:
    camera = meeting.people[0]["sources"][1]["files"][0]["id"]
    meeting.refused[camera] = (500, "")
    viewer = await watching()
    trouble = viewer.page.locator(".trouble", has_text="Hana (you)")

    await expect(trouble).to_contain_text("Hana (you). Camera: this part cannot be opened.")
    await viewer.button.click()
    await viewer.comes_to(300)
    assert await viewer.faults() == []

    del meeting.refused[camera]
    await trouble.get_by_role("button", name="Try again").click()
    await expect(viewer.page.get_by_role("button", name="Try again")).to_have_count(0)

    async def shown() -> bool:
        return await viewer.shows("Hana (you)") is not None

    await until("Hana is seen again", shown)
    viewer.forget(500)


async def test_a_viewing_that_is_over_stops_everything_and_says_how_to_go_on(meeting: Theatre, watching: Any) -> None:
    """Found out when a file is asked for that was not fetched before: what Ada says much later."""
    meeting.duration = 60_000
    meeting.people[3]["sources"][0]["files"].append(meeting.file("mic", tone(4, (50_000, 51_000))))
    viewer = await watching()
    await viewer.button.click()
    await viewer.comes_to(300)

    for name in meeting.files:
        meeting.refused[name] = (410, "viewing-over")
    await viewer.seek(50_000)

    await expect(viewer.page.get_by_role("heading", name="This viewing is over")).to_be_focused()
    await expect(viewer.button).to_be_hidden()
    assert await viewer.page.evaluate("[...document.querySelectorAll('video, audio')].filter(media => media.src || !media.paused).length") == 0
    assert await viewer.faults() == []
    await viewer.page.locator("[data-over]").get_by_role("link", name="Back to the recording").click()
    await expect(viewer.page).to_have_title("Recording")
    viewer.forget(410)


async def test_what_is_erased_while_somebody_looks_becomes_a_neutral_tile(meeting: Theatre, watching: Any) -> None:
    for source in meeting.people[1]["sources"]:
        for file in source["files"]:
            meeting.refused[file["id"]] = (410, "restricted")
    viewer = await watching()

    await viewer.seek(3_000)

    await expect(viewer.mark("Gail")).to_have_text("Erased")
    await expect(viewer.page.get_by_role("button", name="Try again")).to_have_count(0)
    await viewer.button.click()
    await viewer.comes_to(3_300)
    assert await viewer.shows("Gail") is None
    viewer.forget(410)


async def test_a_recording_of_which_nothing_is_left_says_so(stage: Theatre, watching: Any) -> None:
    stage.person("Gail", you=True, mic="erased", cam="declined")
    stage.staff = False
    viewer = await watching()

    await expect(viewer.page.get_by_text("There is nothing to play here")).to_be_visible()
    await expect(viewer.button).to_be_hidden()
    assert await viewer.faults() == []


# Hands and eyes


async def test_every_key_does_what_the_list_of_keys_says(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    keys = viewer.page.keyboard
    for key, at in [("ArrowRight", 5_000), ("l", 12_000), ("j", 2_000), ("ArrowRight", 7_000), ("ArrowLeft", 2_000), ("End", 12_000), ("Home", 0)]:
        await keys.press(key)
        await expect(viewer.slider).to_have_value(str(at))
    await viewer.slider.focus()
    await keys.press("ArrowRight")
    await expect(viewer.slider).to_have_value("5000")
    await expect(viewer.slider).to_have_attribute("aria-valuetext", "00:05 of 00:12")
    await keys.press("Space")
    await expect(viewer.state).to_have_text("Playing")
    await keys.press("k")
    await expect(viewer.state).to_have_text("Paused")
    await viewer.button.focus()
    await keys.press("Space")
    await expect(viewer.state).to_have_text("Playing")
    await keys.press("m")
    assert await viewer.page.evaluate("[...document.querySelectorAll('audio')].every(media => media.muted)")
    await keys.press("?")
    await expect(viewer.page.get_by_role("dialog", name="Keys")).to_be_visible()


async def test_speed_and_volume_reach_every_element(meeting: Theatre, watching: Any) -> None:
    viewer = await watching()
    await viewer.page.get_by_label("Speed").select_option("2")
    await viewer.page.get_by_label("Volume").fill("0.5")

    await viewer.button.click()

    await viewer.comes_true("document.querySelector(\"[data-tile='0/person'] audio\").playbackRate > 1.7")
    assert await viewer.page.evaluate("[...document.querySelectorAll('audio')].every(media => media.volume === 0.5)")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_the_player_has_no_accessibility_fault(meeting: Theatre, watching: Any, scheme: str, width: int) -> None:
    """Before it plays, in the middle, with a shared screen and with the list of keys; by staff and by a guest."""
    viewer = await watching(color_scheme=scheme, viewport={"width": width, "height": 844})
    for at in (0, 3_000, 6_000):
        await viewer.seek(at)
        assert await viewer.faults() == []
    await viewer.page.keyboard.press("?")
    assert await viewer.faults() == []
    meeting.staff, meeting.people, meeting.incomplete = False, meeting.people[1:2], True
    await viewer.page.reload()
    assert await viewer.faults() == []
