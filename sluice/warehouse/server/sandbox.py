"""Locks the process out of every file but the warehouse's own, by the kernel (Linux's Landlock).

SQL has many ways to name a file, and a check of the text may miss one. After ``confine`` the kernel
refuses them all, for this process and whatever it starts, for as long as it lives.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
"""System calls; the same number on every architecture."""
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVS: Final = 38

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_ALL_OF_VERSION_1: Final = (1 << 13) - 1
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_FILE_RIGHTS: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc/localtime", "/sys", "/proc")
"""Libraries, time zones, and the size of the machine. Of other processes the kernel then tells
little: outside of the same lock ``/proc/PID/environ`` and the like are refused."""
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def confine(folder: Path, *, also_read: Iterable[Path] = ()) -> bool:
    """Let this thread, and those that it starts, use no files but these, for good.

    Args:
        folder: May be read and written, with all that is in it.
        also_read: May be read, beside the interpreter, the libraries and what the kernel tells.

    Returns:
        Whether the kernel does it. False on systems without Landlock, where nothing changes.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    if version < 1:
        return False
    every = _ALL_OF_VERSION_1 | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = ctypes.c_uint64(every)
    ruleset = libc.syscall(
        _CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return False
    try:
        _allow(libc, ruleset, folder, every)
        for path in (*map(Path, (sys.prefix, sys.base_prefix, *SYSTEM)), *also_read):
            _allow(libc, ruleset, path, _READ)
        for path in map(Path, DEVICES):
            _allow(libc, ruleset, path, _READ_FILE | _WRITE_FILE)
        return bool(
            libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            and libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0
        )
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there, so nothing needs it
    try:
        rights &= ~0 if path.is_dir() else _FILE_RIGHTS
        rule = _PathBeneath(rights, opened)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(opened)
