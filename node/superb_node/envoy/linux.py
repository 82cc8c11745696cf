"""Calls of Linux for which Python has no function."""

from __future__ import annotations

import ctypes
import os

_NO_NEW_PRIVILEGES = 38


def call(number: int, *arguments: object) -> int:
    """Make a system call by its number.

    Raises:
        OSError: it failed.
    """
    return checked(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, value: int) -> None:
    """Set an option of this process.

    Raises:
        OSError: the kernel does not know it.
    """
    words = [ctypes.c_ulong(each) for each in (value, 0, 0, 0)]
    checked(ctypes.CDLL(None, use_errno=True).prctl(ctypes.c_int(option), *words))


def promise_no_new_privileges() -> None:
    """Give up what programs of others' rights would bring: only then may anybody restrict himself."""
    prctl(_NO_NEW_PRIVILEGES, 1)


def checked(result: int) -> int:
    """Return what a function of the C library returned, whose library keeps the error's number.

    Raises:
        OSError: it failed.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
