"""Forbids the system calls that would lead past Landlock, for this process and all that it starts.

Landlock knows files, TCP, and signals. What it does not know is forbidden here by a seccomp filter: a program
that the kernel runs before each system call, and that nobody can remove. It sees numbers only, not what a
pointer points to, and not what kind of socket a number stands for. A forbidden call fails with EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
import sys

from superb_node.envoy import linux

# By machine: its number in the kernel's audit, and that of the system call `seccomp`.
_MACHINES = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}
# System calls and their numbers on these machines, in this order.
_FORBIDDEN = {
    # What belongs to the account and is no file: shared memory, semaphores, queues, and keys.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Other processes. Landlock refuses them as well, but those of the experiment itself.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    # It makes system calls that no filter sees.
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
_SOCKET, _SOCKETPAIR, _PRLIMIT = (41, 198), (53, 199), (302, 261)
# Those that send, with the place of their flags among the arguments.
_SENDING = {"sendto": ((44, 206), 3), "sendmsg": ((46, 211), 2), "sendmmsg": ((307, 269), 3)}
_TCP_FAST_OPEN = 0x20000000
"""A flag: connect and send at once, which Landlock does not take for a connection."""
_PROTOCOLS = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP)
"""Of IP. Names of hosts are looked up by UDP; MPTCP would be TCP that Landlock does not know."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_X32 = 0x40000000
"""From this number on, x86_64 has its calls a second time, for programs with short pointers."""

_SET_FILTER, _ASK_ACTION = 1, 2
_ALL_THREADS = 1
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # where the kernel puts what a filter looks at
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ERROR = 0x00050000


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one instruction; the last two say how many others to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


_ALLOW = _step(_RETURN, 0x7FFF0000)
_FORBID = _step(_RETURN, _ERROR | errno.EPERM)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def possible() -> str:
    """Return in words what `restrict` can take away here."""
    return "seccomp: system calls" if _available() else "no seccomp: all system calls stay allowed"


def restrict() -> None:
    """Give up the system calls that lead past Landlock, in all threads, where `possible` says so.

    Raises:
        OSError: the kernel refuses.
    """
    if not _available():
        return
    steps = _filter(platform.machine())
    linux.promise_no_new_privileges()
    _seccomp(_SET_FILTER, _ALL_THREADS, _Program(len(steps) // len(_ALLOW), steps))


def _available() -> bool:
    # A 32-bit Python on such a machine makes the calls of another.
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return False
    try:
        _seccomp(_ASK_ACTION, 0, ctypes.c_uint32(_ERROR))
    except OSError:
        return False
    return True


def _seccomp(operation: int, flags: int, argument: _Program | ctypes.c_uint32) -> None:
    number = _MACHINES[platform.machine()][1]
    if linux.call(number, ctypes.c_uint(operation), ctypes.c_uint(flags), ctypes.byref(argument)):
        raise OSError(errno.EAGAIN, "seccomp: a thread cannot be filtered")  # it tells which one


def _filter(machine: str) -> bytes:
    """Return the program for a machine: for each system call a block, which ends in an answer."""
    column = list(_MACHINES).index(machine)
    steps = _argument_at(_MACHINE) + _step(_EQUAL, _MACHINES[machine][0], if_true=1) + _FORBID
    steps += _argument_at(_NUMBER) + _step(_AT_LEAST, _X32, if_false=1) + _FORBID
    for numbers in _FORBIDDEN.values():
        steps += _if(numbers[column], _FORBID)
    steps += _if(_SOCKET[column], _of_socket())
    steps += _if(_SOCKETPAIR[column], _argument(0) + _if(_UNIX, _ALLOW) + _FORBID)
    steps += _if(_PRLIMIT[column], _argument(0) + _if(0, _ALLOW) + _FORBID)  # 0: this process
    for numbers, place in _SENDING.values():
        flagged = _argument(place) + _step(_ANY_BIT, _TCP_FAST_OPEN, if_false=1) + _FORBID + _ALLOW
        steps += _if(numbers[column], flagged)
    return steps + _ALLOW


def _of_socket() -> bytes:
    protocol = _argument(2) + b"".join(_if(each, _ALLOW) for each in _PROTOCOLS) + _FORBID
    families = _if(_UNIX, _ALLOW) + _if(_NETLINK, _ALLOW) + _if(_INET, protocol) + _if(_INET6, protocol)
    return _argument(0) + families + _FORBID


def _if(value: int, block: bytes) -> bytes:
    """Return steps that run a block, which ends in an answer, if what was loaded last is this value."""
    return _step(_EQUAL, value, if_false=len(block) // len(_ALLOW)) + block


def _argument(place: int) -> bytes:
    """Return the step that loads an argument; the kernel looks at the lower half of those we ask about."""
    return _argument_at(_ARGUMENTS + 8 * place)


def _argument_at(offset: int) -> bytes:
    return _step(_LOAD, offset)
