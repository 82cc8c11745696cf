"""Failures caused on purpose, and what must follow: `python -m tests.drills`."""

import sys

from tests.drills.run import main

sys.exit(main())
