"""`manage.py bench attack`: strangers and a participant attack a worker in earnest, and what was refused was refused for its reason."""

from __future__ import annotations

import pytest

from bench import attack
from bench.report import Report
from calls.media import forms

FORMS = ("python",) if forms.in_the_way() else ("native", "python")


def test_in_a_small_attack_a_voice_is_heard_and_everybody_still_gets_in(capfd: pytest.CaptureFixture[str]) -> None:
    report = Report("attack")

    attack.measure(report, 0)

    plan, without_filter = attack.SHORT, "filter be set" in capfd.readouterr().err
    found = {figure.metric: figure.value for figure in report.figures}
    for form in FORMS:
        for name in (f"{form}, edge alone", *([] if without_filter else [f"{form}, kernel filter"])):
            assert found[f"{name}, junk sent"] > 0
            for part in ("quiet", "junk and STUN", f"participant at {attack.TIMES} times", f"{plan.rotated} SSRCs"):
                assert found[f"{name}, {part}: audio frames"] > 0
            assert found[f"{name}, participant at {attack.TIMES} times: dropped as track-over-rate"] > 0
            assert found[f"{name}, {plan.rotated} SSRCs: dropped as ssrc-undeclared"] > 0
            assert found[f"{name}, hello race: handshakes that succeeded of {plan.handshakes}"] == plan.handshakes
        assert found[f"{form}, edge alone, junk and STUN: dropped as stranger"] > 0
