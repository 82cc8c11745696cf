#!/usr/bin/env bash
# Start the director: bash start_director.sh [CONFIG] [OPTION ...]
# DIRECTOR_HOST and DIRECTOR_PORT override the config; PYTHON names another interpreter.
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/python.sh" -m superb_node.director --config="${1:-director_config.yaml}" "${@:2}"
