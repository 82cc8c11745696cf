"""Options of gRPC's channels and servers, for every line between notebook, director, envoys and aggregator.

OpenFL keeps one list of options in each process, `openfl.transport.grpc.grpc_channel_options`, for channels
and servers alike. A process sets the options of what it is before it makes the first of them.
"""

from __future__ import annotations

from openfl.transport.grpc.grpc_channel_options import channel_options

MEGABYTE = 2**20
PING_SECONDS, PING_ANSWER_SECONDS, MIN_PING_SECONDS = 10, 20, 5

# Corrects: a call that waits for an answer over a link that is cut, or that a firewall has forgotten, waits
# for ever: the far end is gone and nothing says so. A ping after this much silence shows it (gRFC A8,
# client-side keepalive). Without the last setting gRPC stops pinging after two while a call waits.
KEEPALIVE_OPTIONS: dict[str, int] = {
    "grpc.keepalive_time_ms": 1000 * PING_SECONDS,
    "grpc.keepalive_timeout_ms": 1000 * PING_ANSWER_SECONDS,
    "grpc.http2.ping_timeout_ms": 1000 * PING_ANSWER_SECONDS,  # what gRPC 1.65 goes by
    "grpc.http2.max_pings_without_data": 0,
}
CLIENT_OPTIONS: dict[str, int] = {
    # Corrects: after a few failed attempts gRPC pauses for up to two minutes before it tries again.
    "grpc.max_reconnect_backoff_ms": 1000,
    # Corrects: a new connection shares the state of earlier ones, so that it fails at once, for up to two
    # minutes, after the other side was away.
    "grpc.use_local_subchannel_pool": 1,
    # Corrects: gRPC sends calls of the loopback, which nothing encrypts, to the proxy of `http_proxy`.
    "grpc.enable_http_proxy": 0,
    # Corrects: gRPC measures the line all the time, to find out how much it should take in ahead. A fixed
    # 4 MiB is enough for 50 MB a second over 80 ms.
    "grpc.http2.bdp_probe": 0,
    "grpc.http2.lookahead_bytes": 4 * MEGABYTE,
    **KEEPALIVE_OPTIONS,
}
SERVER_OPTIONS: dict[str, int] = {
    # Corrects: gRPC shares a port between processes by default, so that a second director on the same port
    # takes half of the calls, silently. With this, it fails to start.
    "grpc.so_reuseport": 0,
    # gRPC takes the pings of clients, which look for a lost server in the same way, for an offence unless
    # they may.
    "grpc.http2.min_ping_interval_without_data_ms": 1000 * MIN_PING_SECONDS,
    # Corrects: OpenFL takes headers of 32 MiB, from anybody, into memory.
    "grpc.max_metadata_size": 16 * 2**10,
    # gRPC counts also calls that have ended, until Python has freed them, and refuses (REFUSED_STREAM) more.
    "grpc.max_concurrent_streams": 100,
    # Director and aggregator share one process, which may have 1,024 files open on many systems.
    "grpc.max_allowed_incoming_connections": 400,
    # A connection that says nothing, or not HTTP/2, is closed after this; gRPC's own limit is two minutes.
    "grpc.server_handshake_timeout_ms": 10_000,
    # A connection without any call is closed after this; its owner makes a new one with its next call.
    "grpc.max_connection_idle_ms": 300_000,
    **KEEPALIVE_OPTIONS,
}


def set_client_options() -> None:
    """Give OpenFL's channels of this process the options of a client."""
    _set(CLIENT_OPTIONS)


def set_server_options() -> None:
    """Give OpenFL's servers of this process the options of a server, also those of aggregators."""
    _set(SERVER_OPTIONS)


def _set(options: dict[str, int]) -> None:
    channel_options[:] = {**dict(channel_options), **options}.items()
