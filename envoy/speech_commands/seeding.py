"""Random choices that come out the same on every machine.

Each envoy splits the data by itself and all must agree, whatever their Python, NumPy or file system. NumPy
does not promise a stable stream across versions, so what envoys must agree on is drawn from a cryptographic
hash.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def seeded_int(*parts: object) -> int:
    """Return 64 uniform bits that depend only on the texts of `parts`."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def seeded_order(names: Iterable[str], *parts: object) -> NDArray[np.int64]:
    """Return a permutation of `names`, shape [n], that depends only on the names and `parts`."""
    # seeded_int(*parts, name) for each name; their common prefix is hashed once.
    prefix = hashlib.blake2b("".join(f"{part}\x1f" for part in parts).encode(), digest_size=8)
    digests = bytearray()
    for name in names:
        hashed = prefix.copy()
        hashed.update(name.encode("utf-8", "surrogateescape"))
        digests += hashed.digest()
    return np.argsort(np.frombuffer(bytes(digests), ">u8"), kind="stable").astype(np.int64)


def seeded_rng(*parts: object) -> np.random.Generator:
    """Return a local generator for choices that only one process makes, such as noise."""
    return np.random.default_rng(seeded_int(*parts))
