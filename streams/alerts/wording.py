"""The texts of a message. Names of features, clients and reasons come from strangers: what a
channel would obey (a mention, markup, a control character) is taken out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from streams.alerts.book import Notice, span
from streams.alerts.sign import SEVERITIES, Severity

MOST_TEXT = 1_500
"""Characters of a message: every channel but SMS takes as many."""
MOST_LISTED = 10
"""Lines of a message that stands for many."""

WORDS = {"reminder": "still: ", "resolved": "resolved: ", "worse": "worse: ", "updated": ""}


@dataclass(frozen=True)
class Message:
    """What a channel is given."""

    title: str
    body: str
    severity: Severity


def message_of(task: str, notices: Sequence[Notice], link: str, commands: Sequence[str]) -> Message:
    """The message for one notice, or one for many; commands: that show the evidence of each.

    link: the page's address, with an anchor where the message is of one notice.
    """
    severity = max((n.severity for n in notices), key=SEVERITIES.index)
    if len(notices) == 1:
        (notice,) = notices
        lines = [plain(notice.message)]
        if notice.change == "reminder":
            since = span(notice.raised_at - notice.opened_at)
            lines.append(f"Open for {since}, seen {notice.count:,} times.")
        lines += [f"Evidence: {link}", *(f"or: {command}" for command in commands if command)]
        return Message(
            f"[{severity}] {task}: {line_of(notice)}", _short("\n".join(lines)), severity
        )
    counts = Counter(notice.severity for notice in notices)
    told = ", ".join(f"{counts[name]} {name}" for name in reversed(SEVERITIES) if counts[name])
    by_urgency = sorted(notices, key=lambda n: -SEVERITIES.index(n.severity))
    lines = [f"[{notice.severity}] {line_of(notice)}" for notice in by_urgency[:MOST_LISTED]]
    if len(notices) > MOST_LISTED:
        lines.append(f"… and {len(notices) - MOST_LISTED} more")
    lines += [f"All of them: {link}", "or: weir alerts"]
    title = f"[{severity}] {task}: {len(notices)} alerts ({told})"
    return Message(title, _short("\n".join(lines)), severity)


def line_of(notice: Notice) -> str:
    """A notice in one line."""
    return plain(WORDS.get(notice.change, "") + (notice.title or notice.about)).replace("\n", " ")


def anchor(notice: Notice) -> str:
    """Where on the page its evidence is."""
    if notice.kind in ("drift", "abuse"):
        return f"drift-{notice.evidence}"
    return {
        "metric": "quality-title",
        "dead-letters": "letters-title",
        "lag": "processes-title",
        "crash-loop": "processes-title",
        "refused": "versions-title",
        "rollback": "versions-title",
    }[notice.kind]


def command(notice: Notice) -> str:
    """What shows its evidence in a terminal."""
    if notice.kind in ("drift", "abuse"):
        return f"weir drift explain {notice.evidence}"
    return {
        "metric": "weir tail metrics --from-beginning",
        "dead-letters": "weir tail dead-letters --from-beginning",
        "lag": "weir status",
        "crash-loop": "weir status",
        "refused": "weir models",
        "rollback": "weir models",
    }[notice.kind]


def plain(text: str) -> str:
    """A text that no channel reads as anything else: no mentions, tags or links with words of
    their own, and no control characters but line breaks. Its length is bounded."""
    text = text[: 2 * MOST_TEXT]
    kept = (c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    # A zero-width space after what begins a mention or a tag: it reads as before.
    return "".join(f"{c}\u200b" if c in "@<[" else c for c in kept)


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
