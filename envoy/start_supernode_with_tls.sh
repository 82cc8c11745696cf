#!/usr/bin/env bash
# Start Flower's SuperNode with TLS: bash start_supernode_with_tls.sh NAME HOST [CONFIG] [OPTION ...]
# NAME is that in the envoy's certificate, whose key the SuperLink must know; HOST is where the SuperLink is.
# CERTIFICATES names the envoy's folder of `make certs` (../certs/NAME); DIRECTOR_PORT says where at HOST.
if [ $# -lt 2 ]; then echo "supernode: which NAME, which HOST? bash start_supernode_with_tls.sh NAME HOST [CONFIG]" >&2; exit 2; fi
DIRECTOR_HOST="$2" exec bash "$(dirname -- "${BASH_SOURCE[0]}")/start_supernode.sh" "$1" "${3:-envoy_config.yaml}" \
  --certificates "${CERTIFICATES:-../certs/$1}" "${@:4}"
