"""Records of internal topics as they are read: what is not Weir's costs itself alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy: not for every command
    from confluent_kafka import Message

    from schemas.codec import Codec
    from streams.roles import Roles

Place = tuple[str, int, int]
"""Topic, partition and offset."""


def place_of(message: Message) -> Place:
    """Where a record of confluent-kafka stands."""
    return message.topic(), message.partition(), message.offset()


class Unreadable:
    """Reads records, and tells where the first one of each partition is that cannot be read.

    tell: takes the message. Reading a topic anew tells nothing anew.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._told: set[tuple[str, int]] = set()

    def read(self, codec: Codec, value: bytes | None, place: Place) -> dict[str, Any] | None:
        """The record; None of a null, which takes one back, and of what cannot be read."""
        if value is None:
            return None
        try:
            return codec.read(value)
        except ValueError as error:
            self.leave_out(place, error)
            return None

    def roles(
        self, roles: Roles, codec: Codec, key: bytes | None, value: bytes | None, place: Place
    ) -> Roles:
        """The roles after a record of ``models``: the same for whoever reads the topic."""
        try:
            return roles.told(key, value, codec)
        except ValueError as error:
            self.leave_out(place, error)
            return roles

    def leave_out(self, place: Place, error: ValueError) -> None:
        """Tell of a record that cannot be read, where it is the first of its partition."""
        topic, partition, offset = place
        if (topic, partition) in self._told:
            return
        self._told.add((topic, partition))
        self._tell(
            f"{topic}[{partition}]@{offset} cannot be read and is left out, as is whatever else "
            f"cannot be read there: {error}"
        )
