"""Random generators named by their purpose, so that no state is kept between calls."""

import random
from hashlib import blake2b


def derive_seed(seed: int, *path: int | str) -> int:
    """Return a 63-bit seed, a hash of `seed` and `path`."""
    name = repr((seed, *path)).encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: int | str) -> random.Random:
    """Return the generator for one purpose, such as `generator(seed, "train", 1234)`.

    Episode 1234 is thus the same after episode 1233, in another process and in a resumed run.

    >>> generator(0, "train", 5).random() == generator(0, "train", 5).random()
    True
    >>> generator(0, "train", 5).random() == generator(0, "train", 6).random()
    False
    """
    return random.Random(derive_seed(seed, *path))
