#!/usr/bin/env bash
# Start an envoy: bash start_envoy.sh [NAME] [CONFIG] [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT say where the director is; PYTHON names another interpreter.
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/python.sh" -m superb_node.envoy \
  --name="${1:-env_one}" --config="${2:-envoy_config.yaml}" \
  --director-host="${DIRECTOR_HOST:-localhost}" --director-port="${DIRECTOR_PORT:-50050}" "${@:3}"
