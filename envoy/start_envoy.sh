#!/usr/bin/env bash
# Start an envoy: bash start_envoy.sh [NAME] [CONFIG] [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT say where the director is; PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -z "${PYTHON:-}" ]; then
  # Without an activated environment, take the one that `make` set up beside this folder.
  if [ -z "${VIRTUAL_ENV:-}" ] && [ -x ../.venv/bin/python ]; then PYTHON=../.venv/bin/python; else PYTHON=python; fi
fi
# glibc gives every thread a heap of its own, and what one frees no other can use.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
exec "$PYTHON" envoy_service.py --name "${1:-env_one}" --config "${2:-envoy_config.yaml}" \
  --director-host "${DIRECTOR_HOST:-localhost}" --director-port "${DIRECTOR_PORT:-50050}" "${@:3}"
