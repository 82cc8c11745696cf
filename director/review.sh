#!/usr/bin/env bash
# What waits for approval here: bash review.sh [list | show NAME | approve NAME DIGEST | reject NAME [--reason TEXT]]
# PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -z "${PYTHON:-}" ]; then
  # Without an activated environment, take the one that `make` set up beside this folder.
  if [ -z "${VIRTUAL_ENV:-}" ] && [ -x ../.venv/bin/python ]; then PYTHON=../.venv/bin/python; else PYTHON=python; fi
fi
exec "$PYTHON" -m director_review "$@"
