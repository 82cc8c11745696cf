"""Certificates that were made some time ago."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

from certificates import authority


@contextmanager
def days_ago(days: float) -> Iterator[None]:
    """Make the certificates of this block as if it were so many days ago; what reads them knows better."""
    then = authority.now() - timedelta(days=days)
    with mock.patch.object(authority, "now", return_value=then):
        yield
