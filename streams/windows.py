"""Windows: which spans of event time a pane belongs to, and when they are worth telling of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streams.task import AnyWindow


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """One window: its name, start (inclusive) and end (exclusive) in milliseconds."""

    name: str
    start: int
    end: int

    def panes(self, pane_ms: int) -> range:
        """The starts of the panes that it is the union of."""
        return range(self.start, self.end, pane_ms)


def _ms(window: AnyWindow) -> tuple[int, int]:
    return (
        round(window.length.total_seconds() * 1000),
        round(window.slide.total_seconds() * 1000),
    )


def spans_of(window: AnyWindow, pane_start: int) -> Iterator[Span]:
    """Every window of this kind that holds the pane, earliest first.

    Windows start at the multiples of the slide since 1970 UTC.
    """
    length, slide = _ms(window)
    last = pane_start // slide * slide
    for start in range(last - length + slide, last + 1, slide):
        yield Span(window.name, start, start + length)


def begun(span: Span, window: AnyWindow, watermark: int) -> bool:
    """Whether event time has come to the span's last slide.

    A sliding window whose end is far ahead says nothing that an earlier one does not.
    """
    _, slide = _ms(window)
    return span.end - slide <= watermark


def oldest_needed(windows: tuple[AnyWindow, ...], event_time: int, horizon_ms: int) -> int:
    """Panes that start before this are in no window that a truth can still change.

    event_time: that everything to come is about, or later, but for truths of the last horizon.
    """
    return event_time - horizon_ms - 2 * max(_ms(window)[0] for window in windows)
