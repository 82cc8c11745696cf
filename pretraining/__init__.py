"""Pretrains the tiny model that ships with the project: `make pretrain`, or `python -m pretraining`.

It runs on no node: it borrows the envoy's synthesiser and the node's architecture, and leaves a
folder of weights in node/superb_ks. Nothing that runs in a federation imports it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

for _room in ("envoy", "node"):
    if str(ROOT / _room) not in sys.path:
        sys.path.insert(0, str(ROOT / _room))
