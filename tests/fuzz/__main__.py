"""Mutated messages and archives for the services: `python -m tests.fuzz`."""

import sys

from tests.fuzz.run import main

sys.exit(main())
