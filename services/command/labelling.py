"""The conversation of ``weir label``: one input at a time, one key an answer.

What the model thinks is shown only when it is asked for: who knows it tends to agree with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.features import notes
from schemas.moments import moment
from services.command.output import note, out, print_error
from services.contract import Contract
from services.labelling.desk import DeskError
from services.labelling.queue import Item, Queue
from streams.labelling.answers import Answer, keys, parse

SKIP, UNDO, MODEL, QUIT = "s", "u", "m", "q"
ENDS = ("\x03", "\x04", "\x1b")  # Ctrl-C, Ctrl-D, Escape
COMMANDS = {"?": "skip", "<": "undo", "=": "model", "!": "quit"}
"""Keys where a letter may be a class or the start of a number."""


class Screen(Protocol):
    """What the conversation needs of a terminal."""

    def show(self, item: Item, number: int, of: int, hint: str) -> None:
        """Show an input."""

    def opinion(self, opinion: Mapping[str, Any]) -> None:
        """Show what the model thinks of it."""

    def say(self, text: str) -> None:
        """Say something."""

    def complain(self, text: str) -> None:
        """Say that something did not work."""

    def typed(self, prompt: str) -> str:
        """A line that the person types."""


class Session:
    """One person's turn; ``key`` gives the next key that is pressed."""

    def __init__(self, queue: Queue, person: str, screen: Screen, key: Callable[[], str]) -> None:
        self._queue = queue
        self._person = person
        self._screen = screen
        self._key = key
        contract = queue.contract
        self._contract = contract
        self._keys = keys(contract.kind, contract.classes)
        by_letter = {SKIP: "skip", UNDO: "undo", MODEL: "model", QUIT: "quit"}
        self._commands = by_letter if contract.kind == "binary" else COMMANDS

    def run(self, n: int) -> int:
        """Ask until n are answered, nothing waits, or the person quits; returns the answers."""
        done, again = 0, None
        while done < n:
            item = again or self._next()
            if item is None:
                return done
            self._screen.show(item, done + 1, n, self._hint())
            did, again = self._handle(item)
            if did == "quit":
                return done
            if did == "answered":
                done += 1
            elif did == "reopened":
                done = max(done - 1, 0)
        return done

    def _next(self) -> Item | None:
        found = self._queue.next(self._person, 1)
        if found:
            return found[0]
        state = self._queue.state()
        if state.left == 0:
            self._screen.say(f"the budget of {state.budget:,} answers is used up for this period")
        elif state.waiting == 0:
            self._screen.say("nothing waits for a label")
        else:
            self._screen.say("others look at what waits; try again in a while")
        return None

    def _handle(self, item: Item) -> tuple[str, Item | None]:
        """What the person did with an input, and the one to show again, if any."""
        id_ = item.place.request_id
        while True:
            try:
                did, answer = self._read()
                if did == "quit":
                    return "quit", None
                if did == "model":
                    self._screen.opinion(self._queue.opinion(id_))
                elif did == "skip":
                    self._queue.skip(self._person, id_)
                    return "skipped", None
                elif did == "undo":
                    before = self._queue.undo(self._person)
                    if before is not None:
                        return "reopened", before
                    self._screen.say("nothing to take back")
                elif answer is not None:
                    self._queue.answer(self._person, id_, answer)
                    return "answered", None
            except DeskError as error:
                self._screen.complain(str(error))
                return "lost", None
            except ValueError as error:
                self._screen.complain(str(error))

    def _read(self) -> tuple[str, Answer | None]:
        """A command, or ``answer`` with the answer. ValueError where it is neither."""
        if not self._keys:
            text = self._screen.typed(f"{self._contract.target}: ").strip()
            if text in self._commands:
                return self._commands[text], None
            return "answer", parse(text, self._contract.kind, self._contract.classes)
        key = self._key()
        if key in ENDS:
            return "quit", None
        key = key.lower()
        if key in self._keys:
            return "answer", self._keys[key]
        if key in self._commands:
            return self._commands[key], None
        raise ValueError(f"no such key; {self._hint()}")

    def _hint(self) -> str:
        parts = [f"{key} {value_text(answer)}" for key, answer in self._keys.items()]
        said = {
            "skip": "can't tell",
            "undo": "undo",
            "model": "what the model thinks",
            "quit": "quit",
        }
        return " · ".join(parts + [f"{key} {said[did]}" for key, did in self._commands.items()])


class Terminal:
    """The screen of a person at a terminal."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._notes = {one["name"]: notes(one.get("doc", "")) for one in contract.inputs}

    def show(self, item: Item, number: int, of: int, hint: str) -> None:
        """Show an input: its features with their units and meanings."""
        shown = Table(box=None, pad_edge=False, show_header=False)
        shown.add_column(style="bold")
        shown.add_column(justify="right")
        shown.add_column()
        shown.add_column(style="dim")
        for name, value in item.features.items():
            about = self._notes[name]
            more = ", ".join(filter(None, [about.doc, about.range]))
            shown.add_row(name, Text(value_text(value)), about.unit, Text(more))
        at = moment(item.place.event_time)
        parts: list[RenderableType] = [shown, Text(""), Text(self._question(), style="bold")]
        title = f"{number} of {of} · {item.place.request_id} · {at:%-d %b %Y, %H:%M} UTC"
        out.print(Panel(Group(*parts), title=Text(title), title_align="left"))
        out.print(hint, style="dim")

    def opinion(self, opinion: Mapping[str, Any]) -> None:
        """Show what the model thinks."""
        out.print(opinion_text(opinion), style="cyan")

    def say(self, text: str) -> None:
        """Say something."""
        note(text)

    def complain(self, text: str) -> None:
        """Say that something did not work."""
        print_error(text)

    def typed(self, prompt: str) -> str:
        """A line that the person types; nothing more to come is a wish to quit."""
        try:
            return out.input(prompt)
        except (EOFError, KeyboardInterrupt):
            return "!"

    def _question(self) -> str:
        about = self._contract.labelling
        unit = f" in {about['unit']}" if about.get("unit") else ""
        doc = f": {about['doc']}" if about.get("doc") else ""
        return f"{self._contract.target}{unit}{doc}?"


def value_text(value: Any) -> str:
    """A feature's value, for a person."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def opinion_text(opinion: Mapping[str, Any]) -> str:
    """What the model thinks, in one line."""
    if not opinion["version"]:
        return "no model looked at it"
    if opinion["status"] == "deferred":
        text = "the gate held it back, the model was not asked"
    else:
        text = f"the model answers {value_text(opinion['answer'])}"
        if opinion["probability"] is not None:
            text += f" (probability {opinion['probability']:.3f})"
    if opinion["gate_score"] is not None:
        text += f"; chance of an error {opinion['gate_score']:.3f}"
    return text
