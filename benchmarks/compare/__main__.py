"""Centralised, alone and federated, compared: `python -m benchmarks.compare`."""

import sys

from benchmarks.compare.run import main

sys.exit(main())
