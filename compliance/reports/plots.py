"""The plot that explains the figures: one SVG for page and PDF.

Colours are attributes, which a print needs and which a page's sheet overrides by class (`plot-...` in figures.css), so that it is readable
in light and dark and needs neither script nor inline style. Lengths are shares of the width, so that words keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from .figures import Rate

TEMPLATE = "compliance/reports/bars.svg"
ROW, BAR = 60, 20  # pixels: one purpose, and its bar
SHARE = 55  # per cent of the width that a rate of 100 per cent takes; the rest is for its label
TITLE = 44  # characters of a purpose's title that fit on a phone; the table beside the plot has all of them


def consent_rate(rates: Sequence[Rate], *, width: int | None = None) -> str:
    """A bar for the consent rate of each purpose, from zero to 100 per cent, as one `<svg>`: safe to put into a page as it is.

    `width` in pixels is for documents; without it the plot takes the width of the place where it stands.
    """
    rows = [
        {
            "title": _shortened(rate.title),
            "label": _label(rate),
            "share": f"{SHARE * (rate.agreed / rate.asked if rate.asked else 0):.2f}",
            "asked": rate.asked,
            "title_y": number * ROW + 18,
            "bar_y": number * ROW + 28,
            "label_y": number * ROW + 28 + BAR - 5,
        }
        for number, rate in enumerate(rates)
    ]
    about = {"width": width or "100%", "height": max(1, len(rows)) * ROW, "bar": BAR, "full": SHARE}
    drawn = {"rows": rows, "title": _("Consent rate for each purpose"), "sentence": sentence(rates), **about}
    return mark_safe(render_to_string(TEMPLATE, drawn).strip())  # the template escapes; taking off white space loses its word for it


def sentence(rates: Sequence[Rate]) -> str:
    """What is to be seen, for who does not see it and for who reads quickly."""
    asked = sorted((rate for rate in rates if rate.asked), key=lambda rate: rate.agreed / rate.asked)
    if not asked:
        return _("Nobody was asked anything in this time.")
    least, most = asked[0], asked[-1]
    if least.percent == most.percent:
        if len(asked) == 1:
            return _("%(title)s: agreed to by %(percent)s%% of those asked.") % {"title": most.title, "percent": most.percent}
        return _("Every purpose was agreed to equally often: by %(percent)s%% of those asked.") % {"percent": most.percent}
    named = {"most": most.title, "high": most.percent, "least": least.title, "low": least.percent}
    return _("Most often agreed to: %(most)s (%(high)s%%). Least often: %(least)s (%(low)s%%).") % named


def _label(rate: Rate) -> str:
    if not rate.asked:
        return _("nobody was asked")
    return _("%(percent)s%% (%(agreed)s of %(asked)s)") % {"percent": rate.percent, "agreed": rate.agreed, "asked": rate.asked}


def _shortened(title: str) -> str:
    return title if len(title) <= TITLE else f"{title[: TITLE - 1].rstrip()}…"
