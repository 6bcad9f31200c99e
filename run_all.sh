#!/usr/bin/env bash
# The whole pipeline, or any part of it, from one command. ./run_all.sh --help
set -u
unset CDPATH PYTHONSAFEPATH  # cd would go elsewhere, Python would not find lib in the current folder
export KIT_CALLED_FROM=$PWD
script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do  # called through a link: the checkout is where the script itself lies
    target=$(readlink "$script")
    case $target in
        /*) script=$target ;;
        *) script=$(dirname -- "$script")/$target ;;
    esac
done
cd -- "$(dirname -- "$script")" || exit 1
for argument in "$@"; do
    [ "$argument" = -- ] && break
    [ "$argument" = --use-this-environment ] && KIT_USE_THIS_ENVIRONMENT=1
done
. ./environment.sh
kit_environment || exit $?
exec "$PYTHON" -m lib.commands.cli "$@"
