"""Whole numbers on a command line: of others, `argparse` says which are legal."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Read how many there are to be."""
    return _from(1, text)


def seed(text: str) -> int:
    """Read a seed."""
    return _from(0, text)


def _from(lowest: int, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= lowest):
        raise argparse.ArgumentTypeError(f"{text!r}; legal: whole numbers from {lowest}")
    return int(text)
