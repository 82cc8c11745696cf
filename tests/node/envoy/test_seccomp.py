"""What a process loses that gives up system calls; each is one of its own, as nobody gets them back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from superb_node.envoy import seccomp

pytestmark = pytest.mark.skipif("no seccomp" in seccomp.possible(), reason="no filter for this system")
PROCESS = """
import ctypes, errno, mmap, os, resource, socket, sys, threading
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from superb_node.envoy.seccomp import restrict
library = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    function = getattr(library, name)
    function.restype = ctypes.c_long
    result = function(*map(ctypes.c_long, arguments))
    if ctypes.c_int(result).value == -1:  # of an int, the upper half is anything
        raise OSError(ctypes.get_errno(), name)
def other_machine(code):  # machine code that calls as another machine; the answer is the negative error
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if result < 0:
        raise OSError(-result, "call of another machine")
def tried(do):
    try:
        do()
    except OSError as error:
        return "refused" if error.errno == errno.EPERM else errno.errorcode[error.errno]
    return "done"
"""
X86 = platform.machine() == "x86_64"
ADD_KEY, REQUEST_KEY, KEYCTL, MQ_UNLINK = (248, 249, 250, 241) if X86 else (217, 218, 219, 181)
only_x86 = pytest.mark.skipif(not X86, reason="x86_64 alone has these calls")


def printed(code: str) -> str:
    """Run code in a process; returns what it prints, or its signal where it dies of one."""
    result = subprocess.run(
        [sys.executable, "-c", PROCESS + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode <= 0, result.stderr
    return result.stdout.strip() or f"died of {-result.returncode}: {result.stderr}"


@pytest.mark.parametrize(
    "do",
    [
        "socket.socket(AF_INET, SOCK_STREAM, 262)",
        "socket.socket(AF_INET6, SOCK_STREAM, 262)",
        "socket.socket(AF_INET, SOCK_DGRAM, socket.IPPROTO_ICMP)",
        "socket.socket(AF_INET, SOCK_STREAM, 132)",
        "socket.socket(40, SOCK_STREAM)",
        "socket.socket(38, SOCK_STREAM)",
        'call("socket", 1 << 32 | 40, 1, 0)',
        "socket.socketpair(30, SOCK_STREAM)",
        'socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", 1))',
        'socket.socket().sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", 1))',
        'call("sendmmsg", socket.socket().fileno(), 0, 0, 0x20000000 | socket.MSG_NOSIGNAL)',
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
        'call("shmget", 0, 4096, 0o1600)',
        'call("shmat", 1 << 30, 0, 0)',
        'call("shmctl", 1 << 30, 2, 0)',
        'call("semget", 1, 1, 0)',
        'call("semop", 1 << 30, 0, 1)',
        'call("semctl", 1 << 30, 0, 12)',
        'call("semtimedop", 1 << 30, 0, 1, 0)',
        'call("msgget", 1, 0)',
        'call("msgsnd", 1 << 30, 0, 0, 0)',
        'call("msgrcv", 1 << 30, 0, 0, 0, 0)',
        'call("msgctl", 1 << 30, 2, 0)',
        'call("mq_open", ctypes.addressof(text), 0)',
        f'call("syscall", {MQ_UNLINK}, ctypes.addressof(text))',  # glibc's says EACCES
        f'call("syscall", {ADD_KEY}, 0, 0, 0, 0, 0)',
        f'call("syscall", {REQUEST_KEY}, 0, 0, 0, 0)',
        f'call("syscall", {KEYCTL}, 0, -4, 0)',
        'call("syscall", 425, 1, 0)',
        'call("syscall", 426, 0, 0, 0, 0, 0, 0)',
        'call("syscall", 427, 0, 0, 0, 0)',
        'call("ptrace", 0, 0, 0, 0)',
        'call("process_vm_readv", os.getppid(), 0, 0, 0, 0, 0)',
        'call("process_vm_writev", os.getppid(), 0, 0, 0, 0, 0)',
        # getpid: of x32, and of a processor with 32 bits
        pytest.param('call("syscall", 0x40000000 + 39)', marks=only_x86),
        pytest.param(r'other_machine(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")', marks=only_x86),
    ],
)
def test_what_leads_past_landlock_is_refused(do: str) -> None:
    code = f"""
text = ctypes.create_string_buffer(b"/not-there")
print(tried(lambda: ({do})))
"""
    free = printed(code)
    if free == "refused" or free.startswith("died"):
        pytest.skip("this system refuses it anyway")
    assert printed("restrict()" + code) == "refused"


@pytest.mark.parametrize(
    "do",
    [
        "socket.create_connection(server.getsockname()).sendall(b'x')",
        "udp.sendto(b'x', socket.MSG_NOSIGNAL, other.getsockname()), other.recv(1)",
        "udp.sendmsg([b'x'], [], 0, other.getsockname()), other.recv(1)",
        "socket.socket(AF_INET, SOCK_STREAM, 6), socket.socket(AF_INET, SOCK_DGRAM, 17)",
        "socket.socket(AF_INET6, SOCK_STREAM), socket.socket(AF_UNIX), socket.socket(AF_UNIX, SOCK_DGRAM)",
        "socket.socket(AF_NETLINK, SOCK_RAW), (pair := socket.socketpair())[0].send(b'x')",
        "socket.getaddrinfo('localhost', 80)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))",
        "threading.Thread(target=print).start()",
        "os.waitpid(os.fork() or os._exit(0), 0)",
    ],
)
def test_what_training_needs_is_not(do: str) -> None:
    code = f"""
server = socket.create_server(("127.0.0.1", 0))
udp, other = socket.socket(AF_INET, SOCK_DGRAM), socket.socket(AF_INET, SOCK_DGRAM)
other.bind(("127.0.0.1", 0))
restrict()
print(tried(lambda: ({do})))
"""
    assert printed(code).split()[-1] == "done"


@pytest.mark.parametrize(
    "start",
    [
        "print(tried(forbidden))",
        "os.waitpid(os.fork() or (print(tried(forbidden), flush=True), os._exit(0)), 0)",
        "import subprocess; subprocess.run([sys.executable, '-c', code])",
    ],
    ids=["thread", "fork", "exec"],
)
def test_all_threads_and_what_they_start_are_filtered(start: str) -> None:
    """The thread is there before."""
    code = f"""
code = "import socket\\ntry: socket.socket(40, 1)\\nexcept PermissionError: print('refused', flush=True)"
forbidden = lambda: socket.socket(40, 1)
def later():
    filtered.wait()
    {start}
filtered = threading.Event()
thread = threading.Thread(target=later)
thread.start()
restrict()
filtered.set()
thread.join()
"""
    assert printed(code) == "refused"


@pytest.mark.parametrize(
    ("name", "value"),
    [("sys.platform", "darwin"), ("platform.machine", lambda: "riscv64"), ("sys.maxsize", 2**31)],
)
def test_other_systems_are_left_alone_and_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    """Stands in for systems that this one is not."""
    monkeypatch.setattr(name, value)
    seccomp.restrict()
    assert seccomp.possible() == "no seccomp: all system calls stay allowed"
