"""What a message says, and what it does not do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.alerts.book import Book, Notice
from streams.alerts.policy import Alerts
from streams.alerts.wording import MOST_TEXT, anchor, command, message_of, plain
from tests.streams.alerts.signs import KINDS, sign


def notice(**changes: object) -> Notice:
    (found,) = Book("flights", Alerts()).see(sign(1, **changes))
    return found


def test_a_message_says_what_where_and_how_to_see_more() -> None:
    message = message_of("flights", [notice()], "http://page/#drift-d1", ["weir drift explain d1"])
    assert message.title == "[warning] flights: data drift of distance"
    assert message.body.splitlines() == [
        "distance is longer than it was",
        "Evidence: http://page/#drift-d1",
        "or: weir drift explain d1",
    ]


def test_many_are_one_message_with_the_most_urgent_first() -> None:
    many = [notice(about=str(n), title=f"thing {n}") for n in range(20)]
    many[13] = notice(severity="critical", title="the worst")
    message = message_of("flights", many, "http://page/#alerts-title", [""] * 20)
    assert message.title == "[critical] flights: 20 alerts (1 critical, 19 warning)"
    assert message.body.splitlines()[0] == "[critical] the worst"
    assert "… and 10 more" in message.body


def test_every_kind_has_its_place_on_the_page_and_its_command() -> None:
    for kind in KINDS:
        state = "happened" if kind in ("refused", "rollback") else "bad"
        found = notice(kind=kind, state=state)
        assert anchor(found)
        assert command(found).startswith("weir ")


def test_nobody_is_mentioned_and_nothing_is_a_tag() -> None:
    text = plain("@everyone <!channel> [a](http://b) \x1b[31m\u202eleft\nright")
    for dangerous in ("@everyone", "<!", "[a]", "\x1b", "\u202e"):
        assert dangerous not in text
    assert text.endswith("left\nright")


@given(st.text(max_size=4_000), st.text(max_size=4_000))
def test_whatever_a_name_is_the_message_is_short_and_the_title_one_line(
    title: str, message: str
) -> None:
    made = message_of("flights", [notice(title=title, message=message)], "link", ["command"])
    assert len(made.body) <= MOST_TEXT
    assert "\n" not in made.title
