#!/usr/bin/env bash
# The whole pipeline, or any part of it, from one command. ./run_all.sh --help
set -u
export KIT_CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
for argument in "$@"; do
    [ "$argument" = -- ] && break
    [ "$argument" = --use-this-environment ] && KIT_USE_THIS_ENVIRONMENT=1
done
. ./environment.sh
kit_environment || exit $?
exec "$PYTHON" -m lib.commands.cli "$@"
