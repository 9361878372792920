"""Damage to a file's bytes."""

import random


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one to four changes: a bit flipped, a byte set, bytes cut off, removed, repeated or zeroed."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        at, length = rng.randrange(len(changed)), rng.randint(1, 40)
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 1, 127, 128, 255))
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5:
                changed[at : at + length] = bytes(min(length, len(changed) - at))
            case 6:  # a number of four bytes, as sizes and offsets are
                changed[at : at + 4] = rng.choice((0, 2**31 - 1, 2**32 - 1, 30000)).to_bytes(
                    4, rng.choice(("big", "little"))
                )
    return bytes(changed)
