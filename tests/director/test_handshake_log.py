"""What the log says of callers that TLS turned away."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from handshake_log import HandshakeLog, _pass_on

DIRECTOR = Path(__file__).resolve().parents[2] / "director"
# As gRPC 1.85 writes them; 1.65 wrote less before the code, and nothing behind it.
LINE = (
    "I1128 05:25:58.812280   30036 ssl_transport_security.cc:2563] Handshake failed with error "
    "SSL_ERROR_SSL: error:{}\n"
)
UNASKED = ": Invalid certificate verification context"
NONE = LINE.format(f"100000c0:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE{UNASKED}")
EXPIRED = LINE.format(
    "1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired"
)
FOREIGN = LINE.format("1a000064:ECDSA routines:OPENSSL_internal:BAD_SIGNATURE.")
PLAIN = LINE.format(f"100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER{UNASKED}")
NOT_OURS = "its certificate has expired, or our authority did not sign it"
ODD = LINE.format(f"10000070:SSL routines:OPENSSL_internal:BAD_PACKET_LENGTH{UNASKED}")
CODELESS = LINE.replace("SSL_ERROR_SSL: error:{}", "SSL_ERROR_SYSCALL")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (NONE, "it has no certificate"),
        (EXPIRED, NOT_OURS),
        (FOREIGN, NOT_OURS),
        (PLAIN, "it does not use TLS"),
        (ODD, "BAD_PACKET_LENGTH"),
        (CODELESS, "error SSL_ERROR_SYSCALL"),
    ],
)
def test_grpcs_lines_in_plain_words(caplog: pytest.LogCaptureFixture, line: str, words: str) -> None:
    assert HandshakeLog().is_about_a_handshake(line)
    assert caplog.messages == [f"Refused a caller in the TLS handshake: {words}"]


def test_other_lines_are_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert not HandshakeLog().is_about_a_handshake("Segmentation fault\n")
    assert caplog.messages == []


def test_a_reason_is_not_said_a_thousand_times(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = HandshakeLog(clock=lambda: now)
    for _ in range(1000):
        log.is_about_a_handshake(NONE)
    log.is_about_a_handshake(EXPIRED)
    now = 10.5
    log.is_about_a_handshake(NONE)
    assert caplog.messages == [
        "Refused a caller in the TLS handshake: it has no certificate",
        f"Refused a caller in the TLS handshake: {NOT_OURS}",
        "Refused a caller in the TLS handshake: it has no certificate (999 more since it was last said)",
    ]


def test_the_standard_error_of_a_process_passes_through() -> None:
    """Python's own messages and those of libraries arrive whole, also what comes last, and after it."""
    source = f"""
        import logging, os, sys
        sys.path.insert(0, {str(DIRECTOR)!r})
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        from handshake_log import handshakes_in_plain_words
        with handshakes_in_plain_words():
            os.write(2, b"a library speaks\\n")
            os.write(2, {NONE.encode()!r})
            logging.info("a log line")
            print("a print", file=sys.stderr)
            os.write(2, b"last words")
        os.write(2, b"\\nafterwards\\n")
        logging.info("a log line afterwards")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sorted(result.stderr.splitlines()) == [
        "Refused a caller in the TLS handshake: it has no certificate",
        "a library speaks",
        "a log line",
        "a log line afterwards",
        "a print",
        "afterwards",
        "last words",
    ]


def test_a_standard_error_that_is_gone_does_not_end_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    other_end, gone = os.pipe()
    os.close(other_end)  # to write to `gone` raises BrokenPipeError
    os.write(writing, b"a library speaks\n" + NONE.encode())
    os.close(writing)
    try:
        _pass_on(reading, gone)
    finally:
        os.close(gone)
    assert caplog.messages == ["Refused a caller in the TLS handshake: it has no certificate"]


def test_handlers_get_their_stream_back() -> None:
    from handshake_log import handshakes_in_plain_words

    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    root.addHandler(handler)
    try:
        before = sys.stderr
        with handshakes_in_plain_words():
            assert handler.stream is sys.stderr is not before
        assert handler.stream is sys.stderr is before
    finally:
        root.removeHandler(handler)
