"""What a page says to its room: offers, answers, mutes, what it shows and pins; the newest counts, and what is malformed changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.errors import Refused

from .peers import Stage


async def test_a_second_offer_waits_for_the_answer_to_the_first_and_stale_answers_are_ignored(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    gail.answering = False
    await hana.publish("mic")
    await hana.publish("cam")
    await gail.until(lambda: bool(gail.said("offer")))
    assert [len(m["tracks"]) for m in gail.said("offer")] == [1]
    gail.member.subscribed({"rev": 99, "sdp": "nonsense"})

    gail.answering = True
    await gail.answer(gail.said("offer")[0])
    await gail.until(lambda: len(gail.said("offer")) == 2)
    gail.member.subscribed({"rev": 1, "sdp": "nonsense"})
    await stage.flowing(hana, "cam", gail)

    assert [len(m["tracks"]) for m in gail.said("offer")] == [1, 2]


async def test_an_answer_that_cannot_be_read_is_refused_and_the_offer_still_stands(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    gail.answering = False
    await hana.publish("mic")
    with pytest.raises(Refused, match="sdp-malformed"):
        gail.member.subscribed({"rev": 1, "sdp": "nonsense"})
    gail.answering = True
    await gail.answer(gail.said("offer")[0])
    await stage.flowing(hana, "mic", gail)


async def test_a_stale_publication_is_ignored_and_a_bad_one_changes_nothing(stage: Stage) -> None:
    hana, gail = stage.join("hana"), stage.join("gail")
    await hana.publish("mic")
    serial = await stage.flowing(hana, "mic", gail)
    stale = hana.offer_message() | {"rev": 1, "tracks": []}
    hana.member.publish(stale)
    for bad in (
        {"rev": 50, "sdp": "v=0", "tracks": []},
        {"rev": 50, "sdp": hana.offer_text(), "tracks": [{"mid": "9", "source": "cam"}]},
        {"rev": "50", "sdp": hana.offer_text(), "tracks": []},
        {"rev": 50, "sdp": hana.offer_text(), "tracks": [{"mid": "0", "source": "mic"}] * 2},
        {"rev": 50, "sdp": hana.offer_text(), "tracks": ["mic"]},
        {"rev": 50, "sdp": hana.offer_text()},
    ):
        with pytest.raises(Refused):
            hana.member.publish(bad)

    assert len(hana.said("published")) == 1
    await stage.flowing(hana, "mic", gail, serial=serial)


@pytest.mark.parametrize(
    "message", [{}, {"source": "mic"}, {"source": "nose", "muted": True}, {"source": "mic", "muted": 1}, {"source": ["mic"], "muted": True}]
)
async def test_a_malformed_mute_is_refused(stage: Stage, message: dict[str, Any]) -> None:
    hana = stage.join("hana")
    with pytest.raises(Refused, match="malformed"):
        hana.member.mute(message)


async def test_what_a_page_shows_is_kept_as_it_said_it_last(stage: Stage) -> None:
    hana = stage.join("hana")
    assert hana.member.shown is None

    hana.member.show({"tiles": [tile("gus", "screen", 720), tile("gail", "cam", 90), tile("gail", "cam", 360)]})

    assert list(hana.member.shown.items()) == [(("gus", "screen"), 720), (("gail", "cam"), 360)]
    hana.member.show({"tiles": []})
    assert hana.member.shown == {}


def tile(participant: object, source: object, height: object) -> dict[str, object]:
    return {"participant": participant, "source": source, "height": height}


@pytest.mark.parametrize(
    "tiles",
    [
        None,
        {},
        ["gail"],
        [{}],
        [tile("gail", "mic", 90)],
        [tile("gail", ["cam"], 90)],
        [tile(7, "cam", 90)],
        [tile("gail", "cam", 0)],
        [tile("gail", "cam", 8193)],
        [tile("gail", "cam", True)],
        [tile("gail", "cam", 90)] * 101,
    ],
    ids=str,
)
async def test_a_malformed_list_of_tiles_is_refused_and_changes_nothing(stage: Stage, tiles: object) -> None:
    hana = stage.join("hana")
    hana.member.show({"tiles": [tile("gail", "cam", 90)]})

    with pytest.raises(Refused, match="malformed"):
        hana.member.show({"tiles": tiles})

    assert hana.member.shown == {("gail", "cam"): 90}


async def test_whom_a_page_pins_is_kept_as_it_said_it_last_and_no_other_word_for_it_is_taken(stage: Stage) -> None:
    hana = stage.join("hana")
    hana.member.show({"tiles": [], "pinned": "gail"})

    with pytest.raises(Refused, match="malformed"):
        hana.member.show({"tiles": [tile("gail", "cam", 90)], "pinned": ["gus"]})

    assert (hana.member.shown, hana.member.pinned) == ({}, "gail")
    hana.member.show({"tiles": [], "pinned": None})
    assert hana.member.pinned is None
