#!/usr/bin/env bash
# What waits for approval here: bash review.sh [list | show NAME | approve NAME DIGEST | reject NAME [--reason TEXT]]
# PYTHON names another interpreter.
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/python.sh" -m superb_node.approval "$@"
