"""CityHash128 of version 1.0.2, the checksum of ClickHouse's compressed blocks.

Written after Google's algorithm (https://github.com/google/cityhash, MIT licence); later versions
of it give other values. Pure Python: some 20 MB of packed data a second, which is enough for what
a person looks at. The tests hold it against blocks that the engine wrote itself.
"""

import struct
from typing import Final

_MASK: Final = (1 << 64) - 1
_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F
_K3: Final = 0xC949D7C7509E6557
_MUL: Final = 0x9DDFEA08EB382D69
_U64: Final = struct.Struct("<Q")
_U32: Final = struct.Struct("<I")
_EIGHT: Final = struct.Struct("<8Q")
_FOUR: Final = struct.Struct("<4Q")

Pair = tuple[int, int]


def city_hash_128(data: bytes) -> Pair:
    """Return the low and the high half of the hash."""
    size = len(data)
    if size >= 16:
        return _seeded(data[16:], _u64(data, 0) ^ _K3, _u64(data, 8))
    if size >= 8:
        return _seeded(b"", _u64(data, 0) ^ (size * _K0 & _MASK), _u64(data, size - 8) ^ _K1)
    return _seeded(data, _K0, _K1)


def _u64(data: bytes, at: int) -> int:
    value: int = _U64.unpack_from(data, at)[0]
    return value


def _rotate(value: int, shift: int) -> int:
    value &= _MASK
    return (value >> shift | value << (64 - shift)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _hash_16(u: int, v: int) -> int:
    a = _mix(((u ^ v) & _MASK) * _MUL)
    b = _mix(((v ^ a) & _MASK) * _MUL)
    return b * _MUL & _MASK


def _hash_to_16(data: bytes) -> int:
    size = len(data)
    if size > 8:
        a, b = _u64(data, 0), _u64(data, size - 8)
        return _hash_16(a, _rotate(b + size, size)) ^ b
    if size >= 4:
        return _hash_16(
            size + (_U32.unpack_from(data)[0] << 3), _U32.unpack_from(data, size - 4)[0]
        )
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _mix(y * _K2 ^ z * _K3) * _K2 & _MASK
    return _K2


def _weak(words: tuple[int, ...], a: int, b: int) -> Pair:
    w, x, y, z = words
    a += w
    b = _rotate(b + a + z, 21)
    c = a
    a += x + y
    b += _rotate(a, 44)
    return (a + z) & _MASK, (b + c) & _MASK


def _seeded(data: bytes, low: int, high: int) -> Pair:
    return _murmur(data, low, high) if len(data) < 128 else _city(data, low, high)


def _murmur(data: bytes, a: int, b: int) -> Pair:
    size = len(data)
    if size <= 16:
        a = _mix(a * _K1) * _K1 & _MASK
        c = (b * _K1 + _hash_to_16(data)) & _MASK
        d = _mix(a + (_u64(data, 0) if size >= 8 else c))
    else:
        c = _hash_16((_u64(data, size - 8) + _K1) & _MASK, a)
        d = _hash_16((b + size) & _MASK, (c + _u64(data, size - 16)) & _MASK)
        a = (a + d) & _MASK
        for at in range(0, size - 16, 16):
            a = (a ^ _mix(_u64(data, at) * _K1) * _K1) * _K1 & _MASK
            b ^= a
            c = (c ^ _mix(_u64(data, at + 8) * _K1) * _K1) * _K1 & _MASK
            d ^= c
    a = _hash_16(a, c)
    b = _hash_16(d, b)
    return a ^ b, _hash_16(b, a)


def _city(data: bytes, x: int, y: int) -> Pair:
    size = len(data)
    z = size * _K1 & _MASK
    v0 = (_rotate(y ^ _K1, 49) * _K1 + _u64(data, 0)) & _MASK
    v1 = (_rotate(v0, 42) * _K1 + _u64(data, 8)) & _MASK
    w0 = (_rotate(y + z, 35) * _K1 + x) & _MASK
    w1 = _rotate(x + _u64(data, 88), 53) * _K1 & _MASK
    whole = size & ~127
    for words in _EIGHT.iter_unpack(memoryview(data)[:whole]):
        x = _rotate(x + y + v0 + words[2], 37) * _K1 & _MASK
        y = _rotate(y + v1 + words[6], 42) * _K1 & _MASK
        x ^= w1
        y ^= v0
        z = _rotate(z ^ w0, 33)
        v0, v1 = _weak(words[:4], v1 * _K1, x + w0)
        w0, w1 = _weak(words[4:], z + w1, y)
        z, x = x, z
    y = (y + _rotate(w0, 37) * _K0 + z) & _MASK
    x = (x + _rotate(v0 + z, 49) * _K0) & _MASK
    for at in range(size - 32, whole - 32, -32):
        y = (_rotate(y - x, 42) * _K0 + v1) & _MASK
        w0 = (w0 + _u64(data, at + 16)) & _MASK
        x = (_rotate(x, 49) * _K0 + w0) & _MASK
        w0 = (w0 + v0) & _MASK
        v0, v1 = _weak(_FOUR.unpack_from(data, at), v0, v1)
    x = _hash_16(x, v0)
    y = _hash_16(y, w0)
    return (_hash_16((x + v1) & _MASK, w1) + y) & _MASK, _hash_16(
        (x + w1) & _MASK, (y + v1) & _MASK
    )
