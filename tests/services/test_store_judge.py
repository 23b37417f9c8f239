"""The judge of statements: no forbidden name passes, whatever stands around it."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from services.store.allowed import ALLOWED
from services.store.statements import tokens


def test_nothing_passes_around_a_forbidden_name() -> None:
    """The short form of `make fuzz`: twenty statements of each name, by a new seed each time."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.judge_fuzz"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["passed"] == [], found["seed"]
    assert found["unwritable"] == []
    assert found["unknown"] == []
    assert found["judged"] > 4000


def test_what_reaches_out_is_not_allowed() -> None:
    reaching = "file url s3 remote python executable input mysql dictget aigenerate joinget"
    assert not ALLOWED.callable.intersection(reaching.split())
    assert not ALLOWED.system_tables.intersection({"processes", "users", "query_log"})


_PIECES = st.sampled_from(
    [
        *("'", '"', "`", "\\", "/*", "*/", "--", "\n", "#!", "$", "$a$", "a", "1", " ", "(", ")"),
        *("\u2018", "\u2019", "\u201c", "\u201d", "\u00e9", ";", "{", "}", ":"),
    ]
)


@given(st.lists(_PIECES, max_size=40).map("".join))
def test_tokens_lie_one_after_the_other_and_leave_only_blanks_and_comments(text: str) -> None:
    raw, at = text.encode(), 0
    for token in tokens(raw):
        assert at <= token.start < token.end <= len(raw)
        between = raw[at : token.start].strip()
        assert not between or between.startswith((b"--", b"#", b"/*"))
        at = token.end


def test_comments_nest_and_quotes_hide_as_in_the_engine() -> None:
    def words(text: str) -> list[str]:
        raw = text.encode()
        return [raw[t.start : t.end].decode() for t in tokens(raw) if t.kind == "word"]

    assert words("a /* /* ' */ b */ c -- ' d\ne #! f\ng") == ["a", "c", "e", "g"]
    assert words("$$ a $$ $t$ b $u$ $t$ c $no d") == ["c", "$no", "d"]
    assert words("\u2018 ' a \u2019 b \u201c c \u201d d") == ["b", "d"]
