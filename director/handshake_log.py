"""Says in plain words, in the director's log, whom TLS turned away.

Who has no certificate, or one that the authority did not sign or that has expired, does not get as far as the
service: gRPC closes the connection in the handshake. It tells nobody but the standard error of the process,
from its C++ core, as ``ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL:
error:100000c0:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE: …``, without an address.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

logger = logging.getLogger("director")

#: The same reason is not said again for so long; a client that tries every second would fill the disk.
QUIET_SECONDS = 10.0

_MARK = "Handshake failed with"
_CODE = re.compile(r"OPENSSL_internal:(\w+)")
_NOT_OURS = "its certificate has expired, or our authority did not sign it"
# By BoringSSL's names. An authority of another key that bears the name of ours shows as a bad signature.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate",
    "CERTIFICATE_VERIFY_FAILED": _NOT_OURS,
    "BAD_SIGNATURE": _NOT_OURS,
    "HTTP_REQUEST": "it does not use TLS",
    "WRONG_VERSION_NUMBER": "it does not use TLS",
    "UNSUPPORTED_PROTOCOL": "it uses a version of TLS that is out of date",
}
# gRPC announces once how it logs.
_NOISE = "All log messages before absl::InitializeLog()"


class HandshakeLog:
    """Turns gRPC's lines on refused handshakes into ours, and counts those that it does not repeat.

    Args:
        clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def is_about_a_handshake(self, line: str) -> bool:
        """Log what ``line`` says about a refused handshake; returns whether it is such a line."""
        if _MARK not in line:
            return _NOISE in line
        code = _CODE.search(line)
        reason = _REASONS.get(code[1], code[1]) if code else line.partition(_MARK)[2].strip()
        now = self._clock()
        if now - self._said.get(reason, -QUIET_SECONDS) < QUIET_SECONDS:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return True
        self._said[reason] = now
        before = self._unsaid.pop(reason, 0)
        logger.warning(
            "Refused a caller in the TLS handshake: %s%s",
            reason,
            f" ({before} more since it was last said)" if before else "",
        )
        return True


@contextmanager
def handshakes_in_plain_words() -> Iterator[None]:
    """While inside, read what libraries write to the standard error, and pass on all else as it is.

    Python's own messages, logging and tracebacks, go to the old standard error directly. What a library
    writes just before it aborts the process may be lost in the pipe: the thread that reads it ends, too.
    """
    sys.stderr.flush()
    original = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    python_stderr = sys.stderr
    sys.stderr = os.fdopen(original, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    for handler in handlers:
        if handler.stream is python_stderr:
            handler.setStream(sys.stderr)
    pump = threading.Thread(target=_pass_on, args=(reading, original), name="stderr", daemon=True)
    pump.start()
    try:
        yield
    finally:
        os.dup2(original, 2)  # closes the pipe, unless a child process still holds it
        pump.join(timeout=1.0)
        for handler in handlers:
            if handler.stream is sys.stderr:
                handler.setStream(python_stderr)
        sys.stderr = python_stderr


def _pass_on(reading: int, original: int) -> None:
    log = HandshakeLog()
    with open(reading, "rb") as lines:
        for line in lines:
            if not log.is_about_a_handshake(line.decode("utf-8", "replace")):
                # A terminal that was closed, or a full disk: who stops to read fills the pipe, and then every
                # thread that writes to it stands still.
                with suppress(OSError):
                    os.write(original, line)
