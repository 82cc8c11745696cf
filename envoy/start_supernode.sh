#!/usr/bin/env bash
# Start Flower's SuperNode in an envoy's place: bash start_supernode.sh [NAME] [CONFIG] [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT say where the SuperLink is; PYTHON names another interpreter. OPTIONs are those of
# flower-supernode.
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/python.sh" -m superb_node.flower.supernode \
  --name="${1:-env_one}" --config="${2:-envoy_config.yaml}" \
  --director-host="${DIRECTOR_HOST:-localhost}" --director-port="${DIRECTOR_PORT:-50050}" "${@:3}"
