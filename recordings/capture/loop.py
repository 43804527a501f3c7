"""The loop's side of capture: who is recorded at this moment, and nobody else.

What must never happen here, and what holds it:
- A key or an encryptor without a permit: a take asks for its epoch only under a permit of the newest view, the database asks the gate
  again before it makes a key, and when the key arrives permit, wish, track and confirmation are looked at once more in that turn.
- A packet after the cut: the recorder is taken off its track in the turn of the loop in which the view arrives.
- A withdrawal that comes with the end is missed: whoever leaves may have withdrawn a moment before. The recorder is taken off at once,
  but END is sealed only under a view that was read after that, and is cut back by it.
- Capture on old knowledge: what was not confirmed for `CONFIRMED_WITHIN` seconds ends, and keeps only what was confirmed.
- A journal is changed after the sweep has counted it: where this process stood still for longer than a lease, the first thing is to leave
  its journals as they are (`awake`); no packet that waited enters them, and no reading from before begins or confirms anything.
- A mark that says more than the writer does: marks are computed from what was stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from calls.media import clock as clocks
from calls.media.orders import Answer, CallView, Look, Lost, Order, Outcome
from calls.media.room import Member
from calls.media.worker import Worker

from .. import storage
from ..recorder import Recorder
from .awake import Awake, Ear
from .orders import CloseEpoch, EpochOpened, OpenEpoch, Wish
from .takes import Followed, Take

CONFIRMED_WITHIN = 5.0  # seconds (D19)
AT_ONCE = 1.0  # seconds from a decision to the reading that found it: it was learnt by its note (D25)
TICK = 0.1
PAUSE = 2.0  # seconds before a track that could not be captured is tried again
OUTDATED = frozenset({"no-consent", "lost", "not-recording", "unknown-participant", "asked-again"})  # why no epoch was opened, when that is no fault
FAULTY = "faulty"  # what a sink that raised is told (`calls.media.sink`)

log = logging.getLogger(__name__)


class Capture:
    """Follows every call of `worker`. `ask` hands an order to the database's thread; `clock` is that of the views."""

    def __init__(self, worker: Worker, ask: Callable[[Order], None], clock: Callable[[], float] = clocks.now) -> None:
        self._worker, self._ask, self._clock = worker, ask, clock
        self._awake = Awake(clock)
        self._calls: dict[str, Followed] = {}
        self._asked: dict[UUID, Take] = {}  # by the epoch that was asked for
        self._ears: dict[Take, Ear] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        worker.follow, worker.marks_of = self.told, self.marks_of

    def start(self) -> None:
        """Look at everything ten times a second from now on."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self.start)
        self.tick()

    async def drain(self, cut: str) -> None:
        """Take everything off its track now, and `stop` when each end is confirmed and written down; waits `CONFIRMED_WITHIN` at most."""
        self._wake()
        self._stopped = True
        until = self._clock() + CONFIRMED_WITHIN
        for call in list(self._calls.values()):
            for take in list(call.takes.values()):
                if take.recorder is not None:
                    self._take_off(call, take, cut)
            self._show(call)
        while self._clock() < until and any(call.takes or call.ending or call.closing for call in self._calls.values()):
            await asyncio.sleep(TICK)
        self.stop(cut)

    def stop(self, cut: str) -> None:
        """Close every epoch without another view; nothing is captured afterwards."""
        self._wake()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for call in list(self._calls.values()):
            self._end_all(call, cut, self._last_known(call))

    def _wake(self) -> None:
        """The first thing of every turn: a process that stood still has no journal any more. What it asked for before comes to nothing."""
        if not self._awake.stood_still():
            return
        log.warning("this process has stood still: its journals are left to the sweep")
        for call in self._calls.values():
            for take in [*call.takes.values(), *call.ending]:
                if take.recorder is not None:
                    take.recorder.forfeit("worker-lost")
                    self._untap(call, take)
            call.takes.clear()
            call.ending.clear()

    # What the database says

    def told(self, answer: Answer) -> None:
        """Take in an answer, in the turn of the loop in which it arrives."""
        self._wake()
        if isinstance(answer, CallView):
            if answer.read_at >= self._awake.since:
                self._view(answer)
        elif isinstance(answer, Lost):
            self._lose(answer.call_id)
        elif isinstance(answer, EpochOpened):
            self._opened(answer)
        elif isinstance(answer, Outcome):
            self._done(answer)

    def _view(self, view: CallView) -> None:
        call, room = self._calls.get(view.call_id), self._worker.room(view.call_id)
        if view.ended and call is not None:
            self._follow(call, view)
            for take in [*call.takes.values(), *call.ending]:
                self._end(call, take, call.why_over(take), self._last_known(call))
            self._say(call)
            del self._calls[view.call_id]
            return
        if call is not None and call.room is not room:
            self._lose(view.call_id)
            call = None
        if room is None:
            return
        if call is None:
            call = self._calls[view.call_id] = Followed(view, room)
        self._follow(call, view)
        self._look(call)

    def _follow(self, call: Followed, view: CallView) -> None:
        """The newest view counts from here on; whoever lost a permit by it is cut off now, and told. Ends that waited for it are sealed."""
        before, call.view = call.view, view
        for take in [*call.takes.values(), *call.ending]:
            if not call.permitted(take):
                self._end(call, take, "withdrawn", self._last_permitted(take, before, view))
            elif take.off_at is not None and take.off_at <= view.read_at:
                self._end(call, take, call.why_over(take))
        for member in list(call.room.members.values()):
            had, has = before.permits.get(member.person_id, {}), view.permits.get(member.person_id, {})
            for source in had.keys() - has.keys():
                mark = view.marks.get(member.person_id, {}).get(source, "undecided")
                member.send({"kind": "applied", "source": source, "mark": mark})

    @staticmethod
    def _last_permitted(take: Take, before: CallView, view: CallView) -> float | None:
        """The moment after which nothing may be kept; None when the withdrawal was learnt at once, so that the cut itself is the end.

        Decision and reading are compared by the database's own clock. The reading's moment is taken before it began, so the result is
        early rather than late. When no standing no is known (a new notice, or a no and a yes between two readings), it is the reading before.
        """
        age = view.wish.refused.get(take.person_id, {}).get(take.source) if isinstance(view.wish, Wish) else None
        if age is None:
            return before.read_at
        return None if age <= AT_ONCE else view.read_at - age

    def _last_known(self, call: Followed) -> float | None:
        """The moment after which nothing may be kept where no further view will come; None when the newest is so young that whatever
        was decided since counts as learnt at once.
        """
        read_at = call.view.read_at
        return None if self._clock() - read_at <= AT_ONCE else read_at

    def _lose(self, call_id: str) -> None:
        """The call is not ours any more: of what was not confirmed nothing is kept."""
        call = self._calls.pop(call_id, None)
        if call is not None:
            self._end_all(call, "moved", call.view.read_at)

    def _opened(self, opened: EpochOpened) -> None:
        order = opened.errand
        assert isinstance(order, OpenEpoch)
        call, take = self._calls.get(opened.call_id), self._asked.pop(opened.epoch_id, None)
        if call is None or take is None or call.takes.get(take.place) is not take:
            self._ask(CloseEpoch(order.call_id, order.fence, order.tenant_id, opened.epoch_id, "unused"))
            return
        take.epoch_id = opened.epoch_id
        if self._stopped or not self._confirmed(call) or call.still(take):
            self._end(call, take, "unused")
            return
        self._record(call, take, opened)

    def _record(self, call: Followed, take: Take, opened: EpochOpened) -> None:
        assert opened.context is not None
        wish = call.wish
        assert wish is not None
        ask_for_key_frame = partial(call.room.want_key_frame, *take.place)
        started = call.started.setdefault(wish.recording_id, call.view.read_at - wish.age)
        try:
            file = storage.store().create(opened.object_name)
        except OSError as error:
            log.error("a journal could not be begun (%s)", error.strerror)
            self._fail(call, take)
            self._end(call, take, "unused")
            return
        take.recorder = Recorder(file, opened.data_key, opened.context, started=started, ask_for_key_frame=ask_for_key_frame, clock=self._clock)
        ear = self._ears[take] = Ear(take.recorder, self._awake, self._clock, call.room.clock)
        call.room.tap(*take.place, ear)
        self._show(call)

    def _done(self, outcome: Outcome) -> None:
        call, errand = self._calls.get(outcome.call_id), outcome.errand
        take = self._asked.pop(errand.epoch_id, None) if isinstance(errand, OpenEpoch) else None
        if call is None:
            return
        if isinstance(errand, CloseEpoch):
            call.closing.pop(errand.epoch_id, None)
        elif take is not None and call.takes.get(take.place) is take:
            del call.takes[take.place]
            call.retry_at[take.place] = self._clock() + PAUSE
            if outcome.failed not in OUTDATED:
                call.faults.add(take.place)
        self._show(call)

    # What time says

    def tick(self) -> None:
        """Seal what is due, end what may not go on, begin what may."""
        self._wake()
        for call_id, call in list(self._calls.items()):
            if self._worker.room(call_id) is not call.room:
                self._lose(call_id)
            else:
                self._look(call)

    def _look(self, call: Followed) -> None:
        now = self._clock()
        if not self._confirmed(call):
            for take in [*call.takes.values(), *call.ending]:
                if take.recorder is not None:
                    if take.off_at is None:
                        call.faults.add(take.place)
                    self._end(call, take, "unconfirmed", call.view.read_at)
        for take in [*call.takes.values(), *call.ending]:
            if take.recorder is not None:
                take.recorder.tick(now)
                if take.off_at is None:
                    self._check(call, take, take.recorder)
        if self._confirmed(call) and not self._stopped:
            self._begin(call, now)
        self._show(call)

    def _check(self, call: Followed, take: Take, recorder: Recorder) -> None:
        """Take it off its track when it may not or cannot go on. That a track has ended is no fault."""
        cut = call.still(take)
        if not cut and (recorder.fault or recorder.ended == FAULTY):
            self._fail(call, take)
            cut = "fault"
        elif not cut and recorder.ended is not None:
            call.retry_at[take.place] = self._clock() + PAUSE
            cut = recorder.ended
        if cut:
            self._take_off(call, take, cut)

    def _confirmed(self, call: Followed) -> bool:
        at = self._worker.confirmed_at(call.view.call_id)
        return at is not None and at >= self._awake.since and self._clock() - at < CONFIRMED_WITHIN

    def _begin(self, call: Followed, now: float) -> None:
        """Ask for an epoch of every published source whose person permits it."""
        wish = call.wish
        for member in call.room.members.values() if wish is not None else ():
            for track in member.publisher.tracks.values():
                place = (member.participant, track.source)
                permit = call.permit(member.person_id, track.source)
                if permit is None or wish is None or place in call.takes or call.retry_at.get(place, 0.0) > now:
                    continue
                take = Take(member.participant, member.person_id, track.source, track.key, wish.recording_id, permit.decision_id)
                epoch_id, who = uuid4(), (member.participant, member.person_id, track.source)
                call.takes[place] = self._asked[epoch_id] = take
                self._ask(OpenEpoch(call.view.call_id, call.view.fence, wish.tenant_id, wish.recording_id, *who, permit.decision_id, epoch_id))

    # The end of a take

    def _end_all(self, call: Followed, cut: str, keep_until: float | None) -> None:
        for take in [*call.takes.values(), *call.ending]:
            self._end(call, take, cut, keep_until)

    def _fail(self, call: Followed, take: Take) -> None:
        call.faults.add(take.place)
        call.retry_at[take.place] = self._clock() + PAUSE

    def _take_off(self, call: Followed, take: Take, cut: str) -> None:
        """Off the track in this turn. END waits for a view that was read after now, which is asked for at once."""
        self._off(call, take, cut)
        call.ending.append(take)
        self._ask(Look(call.view.call_id))

    def _off(self, call: Followed, take: Take, cut: str) -> float:
        """No packet enters from here on; returns since when. Harmless for what is off already."""
        if take.off_at is None:
            del call.takes[take.place]
            take.cut = cut
            if take.recorder is not None:
                self._untap(call, take)
                take.recorder.closed(cut)
            take.off_at = self._clock()
        elif take in call.ending:
            call.ending.remove(take)
        return take.off_at

    def _untap(self, call: Followed, take: Take) -> None:
        ear = self._ears.pop(take, None)
        if ear is not None:
            call.room.untap(*take.place, ear)  # gives it what a media thread had put down before

    def _end(self, call: Followed, take: Take, cut: str, keep_until: float | None = None) -> None:
        """Off the track, END, key dropped, in this turn; the database is told. `keep_until`: whole records that end later go."""
        at, recorder, kept_until_us = self._off(call, take, cut), take.recorder, None
        if recorder is not None:
            if keep_until is None:
                recorder.stop(cut, at)
            else:
                recorder.abandon(keep_until, cut, at)
            take.recorder, kept_until_us = None, recorder.kept_until_us
        if take.epoch_id is not None:
            call.closing[take.epoch_id] = take.place
            whose = (call.view.call_id, call.view.fence, UUID(call.view.tenant_id))
            self._ask(CloseEpoch(*whose, take.epoch_id, cut, kept_until_us))

    # What is shown

    def marks_of(self, view: CallView, member: Member) -> Mapping[str, str]:
        """The marks of a member's sources: what the writer does, else what the person decided."""
        decided = dict(view.marks.get(member.person_id, {}))
        call, now = self._calls.get(view.call_id), self._clock()
        if call is None or call.room is not member.room:
            return decided
        busy = [*call.takes, *(take.place for take in call.ending), *call.closing.values(), *call.faults]
        for place in [place for place in busy if place[0] == member.participant]:
            decided[place[1]] = call.mark(place, decided.get(place[1], "undecided"), now)
        return decided

    def _show(self, call: Followed) -> None:
        now = self._clock()
        for place in list(call.faults):
            take = call.takes.get(place)
            stored = take.recorder.stored_at if take is not None and take.recorder is not None else None
            if stored is not None or call.wish is None or call.room.track(*place) is None:
                call.faults.discard(place)
        marks = {member.participant: self.marks_of(call.view, member) for member in call.room.members.values()}
        for participant, own in marks.items():
            call.room.set_marks(participant, own)
        self._say(call, now)

    def _say(self, call: Followed, now: float | None = None) -> None:
        """Tell members the state of the recording when it changed, and whoever is new."""
        state = self._state(call, self._clock() if now is None else now)
        if state != call.state:
            call.state, call.since, call.greeted = state, datetime.now(UTC), {}
        since = call.since.isoformat(timespec="milliseconds") if call.since else ""
        for participant, member in call.room.members.items():
            if call.greeted.get(participant) is not member:
                call.greeted[participant] = member
                member.send({"kind": "recording", "state": state, "since": since})

    @staticmethod
    def _state(call: Followed, now: float) -> str:
        if call.wish is None or call.view.ended:
            return "off"
        if call.faults:
            return "fault"
        return "on" if any(call.is_captured(place, now) for place in call.takes) else "starting"
