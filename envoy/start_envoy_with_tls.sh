#!/usr/bin/env bash
# Start an envoy with mutual TLS: bash start_envoy_with_tls.sh NAME HOST [CONFIG]
# NAME is that in the envoy's certificate, HOST where the director is, by a name in the director's certificate.
# CERTIFICATES names the envoy's folder of `make certs` (../certs/NAME); DIRECTOR_PORT says where at HOST.
if [ $# -lt 2 ]; then echo "envoy: which NAME, which HOST? bash start_envoy_with_tls.sh NAME HOST [CONFIG]" >&2; exit 2; fi
DIRECTOR_HOST="$2" exec bash "$(dirname -- "${BASH_SOURCE[0]}")/start_envoy.sh" "$1" "${3:-envoy_config.yaml}" \
  --certificates "${CERTIFICATES:-../certs/$1}" "${@:4}"
