"""Template tags of every page: the marks of capture, icons, and form controls."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict, get_args

from django import template
from django.forms import BoundField
from django.template import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

register = template.Library()

MarkName = Literal["captured", "agreed", "declined", "undecided", "starting", "stopping", "paused", "fault"]


class Mark(TypedDict):
    """What the part `mark.html` draws: the API's word for the state, and the words beside the shape."""

    name: MarkName
    words: str


class Area(TypedDict):
    """One entry of the navigation inside a tenant."""

    words: str
    url: str
    current: bool


# Route, the ability as templates know it (empty: everybody's), and the words, in the order of the navigation.
AREAS = [
    ("tenant_home", "", gettext_lazy("Overview")),
    ("meetings", "meetings_see", gettext_lazy("Meetings")),
    ("recordings", "recordings_see", gettext_lazy("Recordings")),
    ("people", "customers_see", gettext_lazy("People")),
    ("members", "members_see", gettext_lazy("Members")),
    ("api_keys", "keys_see", gettext_lazy("API keys")),
    ("dpo_home", "dpo_see", gettext_lazy("Data protection")),
    ("requests", "requests_see", gettext_lazy("Requests")),
    ("own_home", "", gettext_lazy("About me")),
]


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


@register.simple_tag(takes_context=True)
def areas(context: Context) -> list[Area]:
    """`{% areas as entries %}`: where the reader may go inside the tenant. The area with the longest address above this page is the current one."""
    path, can = context["request"].path, context["can"]
    found = [(reverse(name, args=[context["tenant"].slug]), words) for name, ability, words in AREAS if not ability or ability in can]
    current = max((url for url, _words in found if path.startswith(url)), key=len, default="")
    return [{"words": str(words), "url": url, "current": url == current} for url, words in found]


@register.inclusion_tag("cleac_site/parts/icon.html")
def icon(name: str, words: str = "", *, large: bool = False) -> Icon:
    """`{% icon "mail" %}` beside a label, or `{% icon "mail" words %}` where the icon stands alone."""
    return {"name": name, "words": words, "large": large}


@register.simple_tag
def moment(at: datetime) -> SafeString:
    """`{% moment meeting.starts_at %}`: day, time and zone. A page with `moments.js` shows the reader's own zone instead of the service's."""
    local = timezone.localtime(at)
    words = f"{date_format(local, 'D j M Y, H:i')} ({date_format(local, 'e')})"
    return format_html('<time datetime="{}" data-moment>{}</time>', local.isoformat(timespec="seconds"), words)


@register.simple_tag
def control(field: BoundField) -> SafeString:
    """The bare input of a form field. A placeholder is left out: it repeats the label and goes when it is needed."""
    return field.as_widget(attrs={"placeholder": False})
