"""The tests; `python -m tests.drills` and `python -m tests.fuzz` run the long ones."""

import sys
from pathlib import Path

# The packages of the workspace and of the envoy's folder are imported from where they lie.
_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "workspace"), str(_ROOT / "envoy")]
