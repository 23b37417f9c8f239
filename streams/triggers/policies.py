"""Policies: metrics, drifts, versions and others' events in; retrain events and refusals out.

An **episode** lasts from one answered event to the next: everything that fires in it is one
reason to train. So while an event is not answered (by a version's record, or by a record that
the training failed), nothing is published, whoever asked for it. What is promised:

- a trigger publishes nothing within its cool-down after the last event, whoever asked for it;
- nothing while its budget is spent, which counts the events of all triggers;
- one event an episode;
- the same inputs give the same events, ids included; and whatever the order of topics, the first
  three hold.

Time is event time, given as an argument; there is no clock and no chance in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streams.task import LastN, Task, Window
from streams.triggers.checks import Why, cooling, spent, unfit
from streams.triggers.conditions import Evidence, View, holds
from streams.triggers.decided import Refusal, Retrain
from streams.triggers.declare import (
    DAY,
    DEFAULT,
    Drifted,
    NewLabels,
    Schedule,
    Trigger,
    leaves,
    ms,
    words,
)
from streams.triggers.inputs import Answer, Asked, Inputs
from streams.triggers.labels import Labels
from streams.triggers.series import Series
from streams.triggers.state import MOST_DRIFTS, State, remember

FIRST = "first"
MOST_REFUSED = 50
"""Refusals of one trigger in one episode that are recorded."""
Decided = Retrain | Refusal


def triggers_of(task: Task) -> tuple[Trigger, ...]:
    """The task's triggers; the default ones where it declares none."""
    return DEFAULT if task.triggers is None else tuple(task.triggers)


class Policies:
    """A task's triggers with their state; `update` is the only thing that changes it."""

    def __init__(self, task: Task, state: Mapping[str, Any] | None = None) -> None:
        """state: what `state` gave; None: nothing has been seen yet."""
        state = state or {}
        self.triggers = triggers_of(task)
        self._classes = {"binary": ["false", "true"], "multiclass": task.classes}.get(task.kind, [])
        self._first = task.windows[0].name
        metrics = [
            leaf
            for trigger in self.triggers
            for leaf in leaves(trigger.when)
            if not isinstance(leaf, Schedule | NewLabels | Drifted)
        ]
        self._series = Series(metrics, self._first, state.get("series"))
        self._labels = _labels(task, state.get("labels"))
        self._longest = max((ms(t.budget.period) for t in self.triggers), default=0)
        self._state = State.of(state.get("state", {}))

    @classmethod
    def of(cls, task: Task, state: Mapping[str, Any]) -> Policies:
        """Go on from what `state` gave."""
        return cls(task, state)

    def state(self) -> dict[str, Any]:
        """All that is to be known after a restart, as JSON data."""
        return {
            "state": self._state.data(),
            "labels": self._labels.state(),
            "series": self._series.state(),
        }

    @property
    def now(self) -> int | None:
        """Event time so far; None before there is any."""
        return self._state.now

    @property
    def champion(self) -> str:
        """The version in service, empty before the first."""
        return self._state.champion

    @property
    def waiting(self) -> list[str]:
        """Ids of the events that are not answered yet, oldest first."""
        return list(self._state.pending)

    def wants(self, window: str, segment: str, value: str) -> bool:
        """Whether metrics of a window are looked at; those of all traffic tell the time."""
        return not segment or self._series.wants(window, segment, value)

    def update(self, now: int | None, inputs: Inputs) -> list[Decided]:
        """Take inputs in, at an event time, and decide: at most one event, and refusals.

        now: milliseconds since 1970 UTC; time never goes back. None: it is not known.
        """
        state = self._state
        if now is not None:
            self._reach(now)
        self._take(inputs)
        if state.now is None:
            return []
        now = state.now
        self._labels.fold(now)
        state.events = [at for at in state.events if now - at < self._longest]
        refusals: list[Decided] = []
        for trigger in self.triggers:
            since = state.served.setdefault(trigger.name, now)
            evidence = holds(trigger.when, self._view(now, since))
            if not evidence:
                continue
            if state.pending:  # it belongs to the event that is not answered yet
                state.served[trigger.name] = now
                continue
            why = self._why_not(trigger, now)
            if why is None:
                return [self._publish(trigger, evidence, now)]
            refusals += self._refuse(trigger, evidence, why, now)
            if why.kind == "cool-down":
                state.served[trigger.name] = now
        return refusals

    def _reach(self, now: int) -> None:
        """Event time has come to a moment; what was asked for before the first is of that one."""
        state = self._state
        if state.now is None:
            if state.undated:
                state.last = now if state.last is None else max(state.last, now)
                state.events += [now for policy in state.undated if policy]
            state.undated, state.now = [], now
        state.now = max(state.now, now)

    def standing(self) -> list[dict[str, Any]]:
        """Where each trigger stands, as JSON data; times are event time, in milliseconds.

        name, when; cooldown_until (None: it is over), budget_left, fired_at, fired (the event's
        id), refused_at, refused (the reason), next (the next moment of its schedules).
        """
        return [self._standing(trigger) for trigger in self.triggers]

    def _standing(self, trigger: Trigger) -> dict[str, Any]:
        state, now = self._state, self._state.now
        until = None if state.last is None else state.last + ms(trigger.cooldown)
        period = ms(trigger.budget.period)
        recent = [at for at in state.events if now is None or now - at < period]
        next_ = None
        if now is not None:
            since = state.served.get(trigger.name, now)
            schedules = [each for each in leaves(trigger.when) if isinstance(each, Schedule)]
            next_ = min((each.next(since) for each in schedules), default=None)
            until = until if until is not None and until > now else None
        fired_at, fired = state.fired.get(trigger.name, (None, ""))
        refused_at, refused = state.refusals.get(trigger.name, (None, ""))
        return {
            "name": trigger.name,
            "when": words(trigger.when),
            "cooldown_until": until,
            "budget_left": max(0, trigger.budget.events - len(recent)),
            "next": next_,
            "fired_at": fired_at,
            "fired": fired,
            "refused_at": refused_at,
            "refused": refused,
        }

    @property
    def new_labels(self) -> int:
        """Labels since the last event."""
        return self._new_labels().get("", 0)

    def _view(self, now: int, since: int) -> View:
        state = self._state
        return View(
            now,
            since,
            self.new_labels,
            state.champion,
            state.reference,
            list(state.drifts.values()),
            self._series,
            self._first,
        )

    def _new_labels(self) -> dict[str, int]:
        before = self._state.baseline
        return {name: n - before.get(name, 0) for name, n in self._labels.total.items()}

    def _why_not(self, trigger: Trigger, now: int) -> Why | None:
        state = self._state
        new = self._new_labels()
        # Records of before there were counts by class have none.
        classes = self._classes if any(new.keys() - {""}) else []
        drifts = [drift for drift in state.drifts.values() if drift.version == state.champion]
        return (
            cooling(trigger, now, state.last)
            or spent(trigger, now, state.events)
            or unfit(trigger, now, new, classes, self._labels.rejected, drifts)
        )

    def _publish(self, trigger: Trigger, evidence: list[Evidence], now: int) -> Retrain:
        state = self._state
        for other in self.triggers:  # what else holds now is of the same episode
            if other is not trigger:
                view = self._view(now, state.served.setdefault(other.name, now))
                evidence = evidence + holds(other.when, view)
        event = Retrain(
            f"{trigger.name}-{self._episode()}",
            trigger.name,
            evidence[0].kind,
            self._episode(),
            state.champion,
            now,
            f"{trigger.name}: {'; '.join(dict.fromkeys(each.words for each in evidence))}",
            None if trigger.train_on is None else now - ms(trigger.train_on),
            now,
            *_told(evidence),
        )
        state.events.append(now)
        state.fired[trigger.name] = (now, event.event_id)
        self._asked(event.event_id, now)
        return event

    def _refuse(
        self, trigger: Trigger, evidence: list[Evidence], why: Why, now: int
    ) -> list[Decided]:
        """Record a refusal, once an episode and reason (of a schedule: once a moment)."""
        state = self._state
        moments = [str(each.moment) for each in evidence if each.moment is not None]
        about = "-".join([why.kind, *moments])
        before = state.refused.setdefault(trigger.name, [])
        if about in before or len(before) >= MOST_REFUSED:
            return []
        before.append(about)
        state.refusals[trigger.name] = (now, why.words)
        return [
            Refusal(
                f"refused-{trigger.name}-{self._episode()}-{about}",
                trigger.name,
                evidence[0].kind,
                self._episode(),
                state.champion,
                now,
                why.kind,
                f"{trigger.name} is refused ({why.kind}): {why.words}",
                *_told(evidence),
            )
        ]

    def _episode(self) -> str:
        return f"{self._state.champion or FIRST}-{self._state.episode}"

    def _take(self, inputs: Inputs) -> None:
        for measured in inputs.metrics:
            self._labels.take(measured)
            self._series.take(measured, self._state.champion)
        for drift in inputs.drifts:
            self._state.drifts[drift.id] = drift
            while len(self._state.drifts) > MOST_DRIFTS:
                del self._state.drifts[next(iter(self._state.drifts))]
        for answer in inputs.answers:
            self._take_answer(answer)
        for asked in inputs.asked:
            self._take_asked(asked)

    def _take_answer(self, answer: Answer) -> None:
        state = self._state
        remember(state.answered, answer.event_id)
        if answer.role == "champion":
            if answer.version != state.champion:
                kept = {i: d for i, d in state.drifts.items() if d.version != state.champion}
                state.drifts = kept
                state.champion = answer.version
                if not state.pending:  # a rollback, or an operator's doing
                    self._close()
            state.reference = dict(answer.metrics)
        self._answered(answer.event_id)

    def _take_asked(self, asked: Asked) -> None:
        state = self._state
        if asked.status == "failed":
            remember(state.answered, asked.event_id)
            self._answered(asked.event_id)
        elif asked.status == "asked" and asked.event_id not in state.seen:
            at = state.now if asked.at is None else asked.at
            if at is None:
                state.undated.append(asked.policy)
            elif asked.policy:
                state.events.append(at)
            self._asked(asked.event_id, at)

    def _asked(self, event_id: str, at: int | None) -> None:
        """An event is asked for, by a trigger or by others. at: None where no time is known yet."""
        state = self._state
        remember(state.seen, event_id)
        if at is not None:
            state.last = at if state.last is None else max(state.last, at)
        state.baseline = self._labels.total
        if state.now is not None:
            state.served = dict.fromkeys((trigger.name for trigger in self.triggers), state.now)
        if event_id not in state.answered:
            state.pending.append(event_id)

    def _answered(self, event_id: str) -> None:
        """An event is answered, and with it all before it: the trainer takes them in order."""
        state = self._state
        if event_id in state.pending:
            del state.pending[: state.pending.index(event_id) + 1]
            if not state.pending:
                self._close()

    def _close(self) -> None:
        self._state.episode += 1
        self._state.refused = {}


def _told(evidence: Sequence[Evidence]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Evidence by kind, in words, and the ids of all of it."""
    words: dict[str, str] = {}
    for each in evidence:
        words[each.kind] = f"{words[each.kind]}; {each.words}" if each.kind in words else each.words
    return words, tuple(dict.fromkeys(id_ for each in evidence for id_ in each.ids))


def _labels(task: Task, state: Mapping[str, Any] | None) -> Labels:
    """Counts over the shortest windows that lie side by side, or else over the shortest ones."""
    windows = [window for window in task.windows if isinstance(window, Window)]
    length: Callable[[Window], int] = lambda window: ms(window.length)  # noqa: E731
    windows.sort(key=lambda window: (window.slide != window.length, length(window)))
    if not windows:
        return Labels("", 1, 0)
    # As long as the metrics keep a window's panes, and a day for those who are late.
    longest = max(ms(window.length) for window in task.windows if not isinstance(window, LastN))
    kept = task.horizon_ms + 2 * longest + ms(DAY)
    return Labels(windows[0].name, length(windows[0]), kept, state)
