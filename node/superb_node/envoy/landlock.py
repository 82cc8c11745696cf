"""Gives up access to files and ports, for this process and all that it starts, by Linux' Landlock.

Landlock needs no root and no package, and it cannot be undone. A kernel knows some of its rights, by the
number of its interface (ABI); what it does not know stays allowed, and `possible` says so.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from superb_node.envoy import linux

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_DEVICES = 1 << 6 | 1 << 11
_TRUNCATE, _IOCTL_DEVICE, _CONNECT_UNIX = 1 << 14, 1 << 15, 1 << 16
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE | _CONNECT_UNIX
# By ABI, all rights to files that it knows.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1, 9: (1 << 17) - 1}
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_NETWORK_ABI = 4
SCOPE_ABI = 6
"""The first that can keep signals inside."""
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

_CAPABILITIES_VERSION = 0x20080522
_READ_ANYBODYS_FILES = 1 << 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # Python 3.14 wants it said
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


class _Port(ctypes.Structure):
    _fields_ = [("rights", ctypes.c_uint64), ("port", ctypes.c_uint64)]


class _Capabilities(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


class LinkInTheWay(Exception):
    """A folder was replaced by a link."""


def abi() -> int:
    """Return the number of this kernel's interface, 0 where there is none or it is switched off."""
    if sys.platform != "linux":
        return 0
    try:
        return linux.call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    except OSError:
        return 0


def possible() -> str:
    """Return in words what `restrict` can take away here."""
    number = abi()
    if not number:
        return "no Landlock: files, TCP and signals stay allowed"
    what = ["files"]
    if number >= _NETWORK_ABI:
        what.append("TCP")
    if number >= SCOPE_ABI:
        what.append("signals")
    only = " only" if len(what) == 1 else ""
    return f"Landlock {number}: {', '.join(what)}{only}"


def restrict(
    readable: Iterable[Path],
    writable: Iterable[Path],
    ports: Iterable[int],
    sockets: Iterable[Path] = (),
    no_links: Iterable[Path] = (),
) -> None:
    """Give up all files but these, all TCP ports, and signals to processes that are not restricted.

    Root keeps its power over files, within these, and loses the others. What this process has open stays
    open. It has one thread only: others would keep their rights.

    Args:
        readable: files and folders that may be read and executed; what is not there is left out.
        writable: those in which anything may be done but making devices.
        ports: TCP ports, of any host, that may still be connected to.
        sockets: Unix sockets, or their folders, that may be connected to; before ABI 9 all may.
        no_links: resolved paths of folders that may be read, and that somebody else may have exchanged for
            links since.

    Raises:
        RuntimeError: this process has further threads.
        LinkInTheWay: one of `no_links` leads somewhere else.
        OSError: the kernel refuses.
    """
    number = abi()
    if not number:
        return
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process with several threads cannot give up its rights")
    known = max(rights for since, rights in _FILE_RIGHTS.items() if since <= number)
    network = _BIND_TCP | _CONNECT_TCP if number >= _NETWORK_ABI else 0
    scope = _ABSTRACT_SOCKETS | _SIGNALS if number >= SCOPE_ABI else 0
    attributes = _Ruleset(known, network, scope)
    ruleset = _make_ruleset(attributes, number)
    try:
        allowed = ((readable, _READ), (writable, ~_MAKE_DEVICES), (sockets, _CONNECT_UNIX))
        for paths, rights in allowed:
            for path in paths:
                _allow_beneath(ruleset, path, rights & known)
        for path in no_links:
            _allow_beneath(ruleset, path, _READ & known, exact=True)
        for port in ports if network else ():
            _add_rule(ruleset, _NET_PORT, _Port(_CONNECT_TCP, port))
        _drop_capabilities()
        _enter(ruleset)
    finally:
        os.close(ruleset)


def scope_signals() -> None:
    """Give up signals to processes that are not this one or start from it, and nothing else; from ABI 6 on.

    Raises:
        OSError: the kernel refuses.
    """
    ruleset = _make_ruleset(_Ruleset(0, 0, _SIGNALS), SCOPE_ABI)
    try:
        _enter(ruleset)
    finally:
        os.close(ruleset)


def _make_ruleset(attributes: _Ruleset, number: int) -> int:
    size = 8 if number < _NETWORK_ABI else 16 if number < SCOPE_ABI else 24
    return linux.call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))


def _enter(ruleset: int) -> None:
    linux.promise_no_new_privileges()
    linux.call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))


def _allow_beneath(ruleset: int, path: Path, rights: int, exact: bool = False) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or not ours to see
        return
    try:
        # Asked of what is open: what the path stands for may change at any time.
        if exact and os.readlink(f"/proc/self/fd/{handle}") != str(path):
            raise LinkInTheWay(f"{path} was exchanged for a link; it stays closed")
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        if rights:  # the kernel takes no empty rule
            _add_rule(ruleset, _PATH_BENEATH, _Beneath(rights, handle))
    finally:
        os.close(handle)


def _add_rule(ruleset: int, kind: int, rule: ctypes.Structure) -> None:
    linux.call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(kind), ctypes.byref(rule), ctypes.c_uint32(0))


def _drop_capabilities() -> None:
    """Give up root's capabilities: one of them is to look into any process, past Landlock."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    words = (_Capabilities * 2)()
    library = ctypes.CDLL(None, use_errno=True)
    linux.checked(library.capget(header, words))
    kept = words[0].permitted & _READ_ANYBODYS_FILES
    words[0], words[1] = _Capabilities(kept, kept, 0), _Capabilities(0, 0, 0)
    linux.checked(library.capset(header, words))
