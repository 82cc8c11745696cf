#!/usr/bin/env bash
# Runs Python in this folder, for the other scripts here: bash python.sh ARGUMENT ...
# PYTHON names the interpreter. Otherwise it is that of the activated environment, that of the one which `make` set
# up next to this folder, python3 or python, whichever comes first.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
refuse() { echo "${PWD##*/}: $1" >&2; exit 2; }
if [ -z "${PYTHON:-}" ]; then
  for PYTHON in ${VIRTUAL_ENV:+"$VIRTUAL_ENV/bin/python"} ../.venv/bin/python python3 python; do
    if command -v "$PYTHON" >/dev/null; then break; fi
  done
fi
command -v "$PYTHON" >/dev/null ||
  refuse "there is no program '$PYTHON': install Python 3.10 or later, or name it: PYTHON=/path/to/python3"
# The first would hide the modules of this folder, the second the whole library of another Python.
unset PYTHONSAFEPATH PYTHONHOME
check='import sys; from importlib.util import find_spec
sys.exit(3 if sys.version_info < (3, 10) else 0 if find_spec("superb_node") else 4)'
status=0
"$PYTHON" -c "$check" >/dev/null || status=$?
if [ $status = 4 ]; then
  node='-e ../node'
  if [ -f sd_requirements.txt ]; then node='-r sd_requirements.txt'; fi
  refuse "no superb_node for $PYTHON. In this folder, in an environment for it (python3 -m venv): pip install $node, \
then pip install --no-deps --ignore-requires-python openfl==1.7.1"
elif [ $status != 0 ]; then
  refuse "'$PYTHON' is $("$PYTHON" --version 2>&1): Python 3.10 or later is needed: PYTHON=/path/to/python3"
fi
# glibc gives every thread a heap of its own, and what one frees no other can use.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
exec "$PYTHON" "$@"
