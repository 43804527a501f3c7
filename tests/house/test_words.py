"""Whatever people read in a page or a mail goes through gettext, so that it can be translated; a template holds no words of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cleac_site.bootstrap import ROOT

APPS = ("cleac_site", "tenants", "consent", "calls", "recordings", "compliance")
SPOKEN = ("alt", "aria-label", "aria-description", "data-label", "placeholder", "title")  # attributes that people see or hear
NAMES = {"Cleac", "UTC", "Gail", "Gus"}  # the brand, a unit, and two people in a drawing: the same in every language
TAGS = re.compile(
    r"{%-?\s*comment\b.*?{%\s*endcomment\s*%}|{%\s*blocktranslate\b.*?{%\s*endblocktranslate\s*%}|{#.*?#}|{%.*?%}|{{.*?}}",
    re.DOTALL,
)


class Words(HTMLParser):
    """Collects text between tags, and in attributes that are read out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._mute = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._mute += tag in ("script", "style")
        self.found += [value for name, value in attributes if name in SPOKEN and value]

    def handle_endtag(self, tag: str) -> None:
        self._mute -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._mute:
            self.found.append(data)


def words_in(template: str) -> Iterator[str]:
    """Words of a page's template that no translation reaches."""
    parser = Words()
    parser.feed(TAGS.sub("", template))
    for text in parser.found:
        yield from (word for word in re.findall(r"[^\W\d_]{2,}", text) if word not in NAMES)


def pages() -> list[Path]:
    """Every template of a page, and every one of a mail and its subject."""
    return sorted(path for app in APPS for kind in ("html", "txt") for path in (ROOT / app).glob(f"**/templates/**/*.{kind}"))


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_no_words_that_cannot_be_translated(path: Path) -> None:
    assert list(words_in(path.read_text())) == []


@pytest.mark.parametrize(
    "template",
    ["<p>Hello</p>", '<img alt="A face">', '<p>{% translate "Hello" %} there</p>', '<button aria-label="Close">{{ sign }}</button>'],
)
def test_a_word_beside_the_translations_is_found(template: str) -> None:
    assert list(words_in(template))


@pytest.mark.parametrize(
    "template",
    [
        '<p class="wide">{% translate "Hello" %}</p>',
        "{% blocktranslate trimmed %}Hello {{ name }}, this is Cleac.{% endblocktranslate %}",
        '<script type="module" src="{% static \'a.js\' %}"></script><!-- why -->{# why #}',
    ],
)
def test_what_is_translated_and_what_nobody_reads_is_not(template: str) -> None:
    assert not list(words_in(template))
