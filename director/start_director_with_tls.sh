#!/usr/bin/env bash
# Start the director with mutual TLS: bash start_director_with_tls.sh HOST [CONFIG]
# HOST is the name or address of this machine under which envoys and the notebook reach it; `make certs` puts it into
# the certificate. CERTIFICATES names the director's folder of `make certs` (../certs/director); DIRECTOR_PORT
# overrides the config.
if [ $# -lt 1 ]; then echo "director: which HOST? bash start_director_with_tls.sh HOST [CONFIG]" >&2; exit 2; fi
DIRECTOR_HOST="$1" exec bash "$(dirname -- "${BASH_SOURCE[0]}")/start_director.sh" "${2:-director_config.yaml}" \
  --certificates "${CERTIFICATES:-../certs/director}" "${@:3}"
