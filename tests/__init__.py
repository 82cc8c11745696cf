"""The tests; `python -m tests.drills` and `python -m tests.fuzz` run the long ones."""

import sys
from pathlib import Path

# The packages of these folders are imported from where they lie.
_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / folder) for folder in ("workspace", "envoy", "node")]
