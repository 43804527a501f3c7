"""The device check shows how a recording would keep its reader, by the answers given, says what to do where a device cannot be had, and nothing of
it is needed to go on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import expect

from .people import CONNECTIONS, LOOKS, QUESTIONS, Attendee, admitted, created_meeting

# A computer without any device, and a browser that gives the microphone and not the camera. Both as browsers answer.
NO_DEVICES = """navigator.mediaDevices.enumerateDevices = async () => [];
navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("none", "NotFoundError"); };"""
NO_CAMERA = """const asked = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async wanted => {
  if (wanted.video) throw new DOMException("denied", "NotAllowedError");
  return asked(wanted);
};"""
DIFFERENCES = """purpose => {
  const [yes, no] = ["yes", "no"].map(answer => document.querySelector(`[data-step=answers] [data-purpose=${purpose}] [data-answer=${answer}]`));
  const [styles, others] = [getComputedStyle(yes), getComputedStyle(no)];
  const lines = "grid-template-rows";  // where the words break; the outside is compared
  const found = [...styles].filter(name => name !== lines && styles.getPropertyValue(name) !== others.getPropertyValue(name));
  return yes.getBoundingClientRect().top === no.getBoundingClientRect().top ? found : [...found, "top"];
}"""
WITHOUT_WEBRTC = "delete globalThis.RTCPeerConnection; delete globalThis.webkitRTCPeerConnection;"
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_the_picture_as_a_recording_would_keep_it_follows_the_answers(people: dict[str, Attendee], live_cast: Any) -> None:
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await gail.page.goto(links["Gail"])
    await gail.go_on("welcome")
    await gail.answer(False)
    kept = gail.page.locator("[data-as-kept]")
    picture = kept.locator("video")

    await gail.go_on("answers")
    await expect(gail.page.locator("[data-preview][data-on]")).to_be_visible()
    await expect(kept.get_by_text("Your picture would not be kept")).to_be_visible()
    await expect(kept.locator('.mark[data-mark="declined"]')).to_have_count(3)
    assert await picture.evaluate("video => video.srcObject") is None

    await gail.page.locator('[data-step="devices"] [data-do="back"]').click()
    await gail.page.locator('[data-purpose="record-camera"] [data-answer="yes"]').click()
    await gail.go_on("answers")
    await expect(kept.locator('[data-purpose="record-camera"] .mark')).to_have_attribute("data-mark", "agreed")
    await expect(kept.locator('.mark[data-mark="declined"]')).to_have_count(2)
    await picture.evaluate("video => new Promise(done => video.requestVideoFrameCallback(done))")
    await gail.inspect("3 as kept")


async def arrived_at_the_check(people: dict[str, Attendee], live_cast: Any, script: str) -> Attendee:
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await gail.visitor.context.add_init_script(script)
    await gail.page.goto(links["Gail"])
    await gail.go_on("welcome")
    await gail.answer(True)
    await gail.go_on("answers")
    return gail


async def test_who_has_no_camera_and_no_microphone_is_told_so_and_goes_on_without(people: dict[str, Attendee], live_cast: Any) -> None:
    gail = await arrived_at_the_check(people, live_cast, NO_DEVICES)

    await expect(gail.page.get_by_text("Neither a camera nor a microphone was found.")).to_be_visible()
    for device in ("Camera", "Microphone"):
        await expect(gail.page.get_by_role("combobox", name=device)).to_be_disabled()
        await expect(gail.page.get_by_role("combobox", name=device)).to_have_text("None found")
    await expect(gail.page.get_by_text("You join without camera and microphone: you see and hear the others.")).to_be_visible()
    await expect(gail.page.get_by_text("No microphone is on, so the bar stands still.")).to_be_visible()
    await gail.inspect("3 no devices")

    await gail.go_on("devices")
    await expect(gail.page.get_by_role("heading", name="You are in the waiting room")).to_be_visible()


async def test_who_is_denied_the_camera_is_heard_and_told_how_to_allow_it_before_and_in_the_call(people: dict[str, Attendee], live_cast: Any) -> None:
    gail = await arrived_at_the_check(people, live_cast, NO_CAMERA)

    await expect(gail.page.get_by_text("The browser blocks your camera. Here is how to allow it:")).to_be_visible()
    await expect(gail.page.get_by_text("You join without camera: heard, not seen.")).to_be_visible()
    await gail.inspect("3 no camera")

    await gail.go_on("devices")
    hana = people["Hana"]
    await hana.page.get_by_role("link", name="Open the room").click()
    await hana.walk_in(False)
    await hana.in_the_room()
    await admitted(hana, gail)
    await gail.control("cam").click()
    await expect(gail.page.locator("[data-banner=note]")).to_contain_text("The browser blocks your camera. Allow it beside the address of this page")
    await hana.hears("Gail")
    await gail.inspect("6 no camera")


async def test_yes_and_no_look_the_same_until_one_is_chosen(people: dict[str, Attendee], live_cast: Any) -> None:
    """Every property of their looks is compared, in light and dark, on a phone and on a desktop."""
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await gail.page.goto(links["Gail"])
    await gail.go_on("welcome")
    await expect(gail.page.locator('[data-step="answers"] [data-answer]')).to_have_count(2 * len(QUESTIONS))

    await gail.page.mouse.move(0, 0)  # what the mouse is over looks otherwise
    for scheme, width in LOOKS:
        await gail.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # reason: a literal, by way of a list
        await gail.page.set_viewport_size({"width": width, "height": 800})
        found = {purpose: await gail.page.evaluate(DIFFERENCES, purpose) for purpose in QUESTIONS}
        assert (scheme, width, found) == (scheme, width, {purpose: [] for purpose in QUESTIONS})

    yes = gail.page.locator('[data-step="answers"] [data-purpose="record-voice"] [data-answer="yes"]')
    await yes.click()
    await expect(yes).to_have_attribute("aria-pressed", "true")
    assert "background-color" in await gail.page.evaluate(DIFFERENCES, "record-voice")


async def test_until_the_room_no_picture_and_no_sound_leaves_the_browser(people: dict[str, Attendee], live_cast: Any) -> None:
    """Everything that the page sends while its reader checks the devices and waits is the wish to be let in."""
    hana, gail = people["Hana"], people["Gail"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    await gail.visitor.context.add_init_script(CONNECTIONS)
    said: list[Any] = []
    gail.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(frame)))
    await gail.page.goto(links["Gail"])
    await gail.go_on("welcome")
    await gail.answer(True)
    posted: list[str] = []
    gail.page.on("request", lambda request: posted.append(request.url) if request.method != "GET" else None)
    said.clear()

    await gail.go_on("answers")
    await expect(gail.page.locator("[data-preview][data-on]")).to_be_visible()
    await gail.page.locator("[data-preview] video").evaluate("video => new Promise(done => video.requestVideoFrameCallback(done))")
    await gail.go_on("devices")
    await expect(gail.page.get_by_text("You are the next in the queue.")).to_be_visible()

    assert [json.loads(frame) for frame in said] == [{"kind": "ready"}]
    assert posted == []
    assert await gail.page.evaluate("connections.length") == 0


async def test_a_browser_without_webrtc_is_told_what_to_do(people: dict[str, Attendee], live_cast: Any) -> None:
    """The guest by the link, the host at the door of the room."""
    hana, gus = people["Hana"], people["Gus"]
    links = await created_meeting(hana, live_cast.links["Hana"])
    for one in (hana, gus):
        await one.visitor.context.add_init_script(WITHOUT_WEBRTC)

    await gus.page.goto(links["Gus"])
    await hana.page.get_by_role("link", name="Open the room").click()

    for one in (hana, gus):
        await expect(one.page.get_by_role("heading", level=1, name="This browser cannot hold a call")).to_be_visible()
        await expect(one.page.get_by_text("Open your invitation in a current Firefox, Chrome, Edge or Safari.")).to_be_visible()
        await one.inspect("state unsupported")
