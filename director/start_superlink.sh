#!/usr/bin/env bash
# Start Flower's SuperLink in the director's place: bash start_superlink.sh [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT say where it listens (localhost, 50050); PYTHON names another interpreter.
# OPTIONs are those of flower-superlink.
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/python.sh" -m superb_node.flower.superlink \
  --host="${DIRECTOR_HOST:-localhost}" --port="${DIRECTOR_PORT:-50050}" "$@"
