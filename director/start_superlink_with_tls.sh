#!/usr/bin/env bash
# Start Flower's SuperLink with TLS, for registered SuperNodes only: bash start_superlink_with_tls.sh HOST [OPTION ...]
# HOST is the name or address of this machine under which SuperNodes and `flwr` reach it; `make certs` puts it into the
# certificate. CERTIFICATES names the director's folder of `make certs` (../certs/director).
if [ $# -lt 1 ]; then echo "superlink: which HOST? bash start_superlink_with_tls.sh HOST [OPTION ...]" >&2; exit 2; fi
DIRECTOR_HOST="$1" exec bash "$(dirname -- "${BASH_SOURCE[0]}")/start_superlink.sh" \
  --certificates "${CERTIFICATES:-../certs/director}" "${@:2}"
