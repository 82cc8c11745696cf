"""Rounds without training, with this project and with other engines: `python -m benchmarks.transport`."""

import sys

from benchmarks.transport.run import main

sys.exit(main())
