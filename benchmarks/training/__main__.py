"""Training steps and rounds: `python -m benchmarks.training`."""

import sys

from benchmarks.training.run import main

sys.exit(main())
