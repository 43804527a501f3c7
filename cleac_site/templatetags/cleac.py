"""Template tags of every page: the marks of capture, icons, and form controls."""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

from django import template
from django.forms import BoundField
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

register = template.Library()

MarkName = Literal["captured", "agreed", "declined", "undecided", "starting", "stopping", "paused", "fault"]


class Mark(TypedDict):
    """What the part `mark.html` draws: the API's word for the state, and the words beside the shape."""

    name: MarkName
    words: str


class Icon(TypedDict):
    """What the part `icon.html` draws. Without words it is decoration and hidden from screen readers."""

    name: str
    words: str
    large: bool


def mark_words(name: MarkName) -> str:
    """The words that stand beside a mark when the page has nothing more exact to say."""
    return {
        "captured": _("Being kept"),
        "agreed": _("Agreed, nothing being kept now"),
        "declined": _("Live only"),
        "undecided": _("Not asked yet"),
        "starting": _("Starting to keep"),
        "stopping": _("Stopping"),
        "paused": _("Paused, nothing kept"),
        "fault": _("Recording stopped by a fault"),
    }[name]


@register.inclusion_tag("cleac_site/parts/mark.html")
def mark(name: MarkName, words: str = "") -> Mark:
    """`{% mark "captured" words %}`: shape and words of one state of capture. Raises ValueError for a state that is none."""
    if name not in get_args(MarkName):
        raise ValueError(f"no mark of capture is called {name!r}")
    return {"name": name, "words": words or mark_words(name)}


@register.inclusion_tag("cleac_site/parts/icon.html")
def icon(name: str, words: str = "", *, large: bool = False) -> Icon:
    """`{% icon "mail" %}` beside a label, or `{% icon "mail" words %}` where the icon stands alone."""
    return {"name": name, "words": words, "large": large}


@register.simple_tag
def control(field: BoundField) -> SafeString:
    """The bare input of a form field. A placeholder is left out: it repeats the label and goes when it is needed."""
    return field.as_widget(attrs={"placeholder": False})
