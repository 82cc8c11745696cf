#!/usr/bin/env bash
# Start the director: bash start_director.sh [CONFIG] [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT override the config; PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -z "${PYTHON:-}" ]; then
  # Without an activated environment, take the one that `make` set up beside this folder.
  if [ -z "${VIRTUAL_ENV:-}" ] && [ -x ../.venv/bin/python ]; then PYTHON=../.venv/bin/python; else PYTHON=python; fi
fi
# glibc gives every thread a heap of its own, and what one frees no other can use.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
exec "$PYTHON" director_service.py --config "${1:-director_config.yaml}" "${@:2}"
