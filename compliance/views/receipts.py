"""The public page on which anybody holds the code of an answer against the log."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from consent import receipts
from tenants.base_views import Page
from tenants.throttle import WRONG_RECEIPTS


class CodeForm(forms.Form):
    """One code, as it was copied."""

    code = forms.CharField(
        label=_("Code"),
        max_length=receipts.LONGEST,
        strip=True,
        help_text=_("Under “My decisions” each of your answers has one; in a copy of your data it is called “receipt”."),
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false", "class": "code"}),
        error_messages={"required": _("Paste a code.")},
    )


class ReceiptCheck(Page):
    """In the log under which number, or not there; and nothing else of anybody."""

    ability = "receipt.check"
    template_name = "compliance/receipt.html"
    http_method_names = ("get", "head", "post")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.setdefault("form", CodeForm())
        return super().get_context_data(**kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The answer; 422 without a code. After too many that are not in the log from one address a while of 429, without looking."""
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form), status=422)
        taken = WRONG_RECEIPTS.take(request)
        if taken.wait:
            waiting = self.render_to_response(self.get_context_data(form=form, wait=taken.wait), status=429)
            waiting["Retry-After"] = str(taken.wait)  # RFC 9110 section 10.2.3
            return waiting
        found = receipts.checked(form.cleaned_data["code"])
        if found is not None:
            WRONG_RECEIPTS.give_back(taken)
        return self.render_to_response(self.get_context_data(form=form, answered=True, found=found))
