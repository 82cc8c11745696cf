"""The gate of a director whose owner lets everything in."""

from __future__ import annotations

from pathlib import Path

from superb_node.approval.gate import Gate
from superb_node.approval.settings import GateSettings


def open_gate(folder: Path) -> Gate:
    """Return a gate that waits for nobody; it keeps what it has in the folder."""
    return Gate(GateSettings(), "the director's owner", folder / "approval")
