"""The plot of the consent rate: well-formed, accessible, from zero, and with nothing in it that a strict page would block."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from compliance.reports import plots
from compliance.reports.figures import Rate

SVG = "{http://www.w3.org/2000/svg}"
RATES = [Rate("voice", "Your <voice> & words", 12, 8, 3, 1), Rate("camera", "Your camera", 4, 4), Rate("screen", "Your screen", 0, 0)]


def drawn(rates: list[Rate], width: int | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(plots.consent_rate(rates, width=width))  # noqa: S314 - reason: our own


def bars(root: ElementTree.Element) -> list[float]:
    return [float(bar.attrib["width"].removesuffix("%")) for bar in root.iter(f"{SVG}rect") if bar.attrib["class"] == "plot-bar"]


def test_it_is_well_formed_and_says_what_it_is_and_what_is_to_be_seen() -> None:
    root = drawn(RATES)

    assert (root.tag, root.attrib["role"]) == (f"{SVG}svg", "img")
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], desc.attrib["id"]]
    assert desc.text == "Most often agreed to: Your camera (100%). Least often: Your <voice> & words (67%)."


def test_it_has_no_script_no_inline_style_and_no_reference() -> None:
    for node in drawn(RATES).iter():
        assert node.tag.removeprefix(SVG) in {"svg", "title", "desc", "text", "rect"}
        assert not {"style", "href"} & {name.rpartition("}")[2] for name in node.attrib}
        assert not any(name.startswith("on") or "url(" in value for name, value in node.attrib.items())


def test_bars_begin_at_zero_and_are_as_long_as_their_rate() -> None:
    root = drawn(RATES)

    assert {bar.attrib["x"] for bar in root.iter(f"{SVG}rect")} == {"0"}
    assert bars(root) == [pytest.approx(plots.SHARE * 8 / 12, abs=0.01), plots.SHARE]


def test_each_bar_has_its_label_and_what_nobody_was_asked_has_no_bar() -> None:
    root = drawn(RATES)

    labels = [text.text for text in root.iter(f"{SVG}text") if text.attrib["class"] == "plot-label"]
    assert labels == ["67% (8 of 12)", "100% (4 of 4)", "nobody was asked"]
    assert len(bars(root)) == 2


def test_a_document_gets_a_width_and_a_page_gets_all_that_there_is() -> None:
    assert drawn(RATES).attrib["width"] == "100%"
    assert drawn(RATES, width=590).attrib["width"] == "590"


def test_a_tenant_without_a_purpose_gets_a_plot_that_says_so() -> None:
    assert [text.text for text in drawn([]).iter(f"{SVG}text")] == ["There is no purpose yet."]


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([], "Nobody was asked anything in this time."),
        ([Rate("a", "A", 0, 0)], "Nobody was asked anything in this time."),
        ([Rate("a", "A", 2, 1)], "A: agreed to by 50% of those asked."),
        ([Rate("a", "A", 2, 1), Rate("b", "B", 4, 2)], "Every purpose was agreed to equally often: by 50% of those asked."),
    ],
)
def test_the_sentence_says_what_is_to_be_seen(rates: list[Rate], said: str) -> None:
    assert plots.sentence(rates) == said
