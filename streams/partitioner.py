"""Which partition a key belongs to: Kafka's default partitioner, a batch at a time.

Clients of other families place keys otherwise (librdkafka's default is CRC-32), and a join needs
a request's prediction and truth in one partition. So Weir checks where a truth has arrived.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)
# Keys up to this length are hashed together, each padded to the longest of them; a longer one by
# itself, so that one huge key in a batch does not cost its size times the batch's.
_TOGETHER_BYTES = 256


def murmur2(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2), uint32 (n,)."""
    long = [i for i, key in enumerate(keys) if len(key) > _TOGETHER_BYTES]
    if not long:
        return _together(keys)
    hashes = _together([b"" if len(key) > _TOGETHER_BYTES else key for key in keys])
    for i in long:
        hashes[i] = _alone(keys[i])
    return hashes


def _together(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    n = len(keys)
    lengths = np.fromiter(map(len, keys), np.int64, n)
    width = int(lengths.max(initial=0)) // 4 + 1
    # Padded with zeros, so that a tail of one to three bytes is a word by itself.
    raw = _padded(keys, lengths, 4 * width).view("<u4")
    with np.errstate(over="ignore"):
        h = _SEED ^ lengths.astype(np.uint32)
        for word in range(width - 1):
            k = raw[:, word] * _M
            k ^= k >> np.uint32(24)
            k *= _M
            h = np.where(4 * (word + 1) <= lengths, (h * _M) ^ k, h)
        tail = raw[np.arange(n), lengths // 4]
        h = np.where(lengths % 4 > 0, (h ^ tail) * _M, h)
        h ^= h >> np.uint32(13)
        h *= _M
        h ^= h >> np.uint32(15)
    return h


def _padded(
    keys: Sequence[bytes], lengths: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.uint8]:
    """The keys' bytes, uint8 (n, width), zeros behind them."""
    n = len(keys)
    if n and (lengths == lengths[0]).all():  # as ids mostly are
        padded = np.zeros((n, width), np.uint8)
        size = int(lengths[0])
        padded[:, :size] = np.frombuffer(b"".join(keys), np.uint8).reshape(n, size)
        return padded
    joined = b"".join([key.ljust(width, b"\0") for key in keys])
    return np.frombuffer(joined, np.uint8).reshape(n, width)


def _alone(key: bytes) -> int:
    """The same of one key, in Python's integers."""
    m, mask = int(_M), 0xFFFF_FFFF
    h = int(_SEED) ^ (len(key) & mask)
    whole = len(key) // 4 * 4
    for (k,) in struct.iter_unpack("<I", key[:whole]):
        k = k * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partitions_of(keys: Sequence[bytes], partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each key among `partitions`, int64 (n,)."""
    if not keys:
        return np.zeros(0, np.int64)
    return (murmur2(keys) & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions
