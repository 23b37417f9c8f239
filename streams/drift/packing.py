"""Arrays in a state that is JSON data."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """By name, the bytes of each in base64 (little-endian)."""
    return {
        name: base64.b64encode(
            np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        ).decode("ascii")
        for name, array in arrays.items()
    }


def unpacked(state: Mapping[str, Any], name: str, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array of that name, of ``like``'s type and shape; ValueError where it is of another."""
    made = np.frombuffer(base64.b64decode(state[name]), like.dtype.newbyteorder("<"))
    return made.astype(like.dtype).reshape(like.shape)
