"""What every tenant asks from its first day on, and in which words. Plain values; nothing here reads or writes a row.

A notice is stored text: frozen with a digest in the language in which it is shown, because a decision refers to these very
words. It is therefore never run through a translation at display; another language is another row of the same version.
"""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGE = "en"
KEEP_DAYS = 30  # the baseline; a tenant may shorten it, never lengthen it

RECORD_VOICE, RECORD_CAMERA, RECORD_SCREEN = "record-voice", "record-camera", "record-screen"

# Which agreement a captured source needs. Fixed here and not read from rows: no purpose that somebody adds can open a source.
SOURCES: dict[str, tuple[str, ...]] = {
    RECORD_VOICE: ("mic",),
    RECORD_CAMERA: ("cam",),
    RECORD_SCREEN: ("screen", "screen-audio"),
}


@dataclass(frozen=True)
class Wording:
    """The words of one notice in one language; `keep_days` is what `keep_text` says, as a number of days."""

    title: str
    what: str
    why: str
    who_sees: str
    keep_text: str
    keep_days: int = KEEP_DAYS


@dataclass(frozen=True)
class Baseline:
    """One purpose of the baseline. `{controller}` in its texts is the tenant's name."""

    key: str
    title: str
    question: str
    what: str
    why: str

    def wording(self, controller: str) -> Wording:
        """Version 1 of the notice, in English, for the tenant of this name."""
        question, what, why, who_sees = (text.replace("{controller}", controller) for text in (self.question, self.what, self.why, WHO_SEES))
        return Wording(question, what, why, who_sees, KEEP)


WHO_SEES = (
    "You, and the people at {controller} who may play recordings. They state a reason each time, and you can see who looked, when and why. "
    "It is stored encrypted and given to nobody else."
)
KEEP = (
    f"{KEEP_DAYS} days, then it is erased. You can change your answer at any time, in the call or from your link, and have what was "
    "recorded of you erased earlier."
)

BASELINE: tuple[Baseline, ...] = (
    Baseline(
        RECORD_VOICE,
        "Recording of your voice",
        "May {controller} record your voice?",
        "What your microphone picks up while a recording is running and your microphone is on. If you say no, everybody in the call still "
        "hears you; the recording is silent where you speak.",
        "So that {controller} and you can listen again to what was said and agreed in this meeting.",
    ),
    Baseline(
        RECORD_CAMERA,
        "Recording of your camera",
        "May {controller} record your camera?",
        "The picture of your camera while a recording is running and your camera is on. If you say no, everybody in the call still sees "
        "you; the recording shows a neutral tile in your place.",
        "So that {controller} and you can see again how this meeting went. Your face is not analysed or compared with anything.",
    ),
    Baseline(
        RECORD_SCREEN,
        "Recording of your shared screen",
        "May {controller} record the screen you share?",
        "The screen, window or tab that you choose to share, with its sound, while a recording is running. If you say no, or share "
        "nothing, everybody in the call still sees what you show; the recording leaves it out.",
        "So that {controller} and you can look again at what was shown in this meeting.",
    ),
)
