#!/usr/bin/env bash
# All tests, in the environment that run_all.sh uses; arguments go to pytest.
#     ./run_tests.sh                     ruff, then everything, a process per core
#     ./run_tests.sh tests/test_glow.py  one file
set -u
unset CDPATH PYTHONSAFEPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
if [ "${1:-}" = --use-this-environment ]; then
    KIT_USE_THIS_ENVIRONMENT=1
    shift
fi
. ./environment.sh
kit_environment || exit $?
if [ $# -gt 0 ]; then
    exec "$PYTHON" -m pytest "$@"
fi
"$PYTHON" -m ruff check . && "$PYTHON" -m ruff format --check --quiet . || exit 1
export OMP_NUM_THREADS=1  # each process has a core
exec "$PYTHON" -m pytest --numprocesses auto --dist loadfile
