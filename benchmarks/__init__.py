"""Measures this project and other ways of doing the same; see benchmarks/README.md."""

import sys
from pathlib import Path

# The packages of the workspace and of the envoy's folder are imported from where they lie.
_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "workspace"), str(_ROOT / "envoy")]

import superb_ks  # noqa: E402, F401 (says how threads wait, which is read when PyTorch is imported)
