"""What `allowed.txt` allows readers, read once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

_SECTION = re.compile(r"\[(.+)\]\Z")


@dataclass(frozen=True)
class Allowed:
    """The lists, in lower case but for the words."""

    callable: frozenset[str]  # functions, aggregate functions, table functions
    aggregates: frozenset[str]
    system_tables: frozenset[str]
    words: frozenset[str]  # that a parenthesis may follow without a call, in upper case

    @classmethod
    def of(cls, text: str) -> Allowed:
        """From sections of names.

        >>> sorted(Allowed.of("[hash]\\nMD5 SHA1\\n[system tables]\\none").callable)
        ['md5', 'sha1']
        """
        sections: dict[str, set[str]] = {}
        section = ""
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            if title := _SECTION.match(line):
                section = title[1]
            else:
                sections.setdefault(section, set()).update(line.lower().split())
        words = {word.upper() for word in sections.pop("words", set())}
        tables = sections.pop("system tables", set())
        return cls(
            callable=frozenset().union(*sections.values()),
            aggregates=frozenset(sections.get("aggregate functions", ())),
            system_tables=frozenset(tables),
            words=frozenset(words),
        )


ALLOWED = Allowed.of(files("services.store").joinpath("allowed.txt").read_text("utf-8"))
