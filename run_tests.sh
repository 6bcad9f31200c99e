#!/usr/bin/env bash
# All tests, in the environment that run_all.sh uses; arguments go to pytest.
#     ./run_tests.sh                     everything
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
exec "$PYTHON" -m pytest "$@"
