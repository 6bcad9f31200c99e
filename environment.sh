# Sourced by run_all.sh and run_tests.sh: finds or makes the environment and sets PYTHON. Not to be run by itself.
#
# In this order: the active environment (venv or conda) if it meets every pin of requirements.txt; .venv in the checkout,
# made or completed as needed. With --use-this-environment the `python3` on PATH is taken as it is.
# Works in the current folder, which the caller has made the checkout.

kit_python_ok() {  # is $1 a Python 3.11 or later?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

kit_find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && kit_python_ok "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or later was found on PATH. Install one (python.org, your distribution, or conda) and run this again." >&2
    return 6
}

kit_make_environment() {
    local base wanted stamp log=.venv/install.log
    base=$(kit_find_python) || return $?
    wanted=$("$base" -c 'import hashlib; print(hashlib.sha256(open("requirements.txt", "rb").read()).hexdigest())') || return 6
    stamp=.venv/complete
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    case $PWD in
        *:*)
            echo "The environment cannot be made in $PWD: Python allows no colon in the name of its folder. Rename the folder, or" >&2
            echo "activate an environment that meets requirements.txt before." >&2
            return 6
            ;;
    esac
    if ! "$base" -c 'import venv, ensurepip' 2>/dev/null; then
        echo "This Python ($base) cannot make environments: it lacks venv or ensurepip. On Debian or Ubuntu: apt install python3-venv" >&2
        return 6
    fi
    local free
    free=$(df -Pk . | awk 'NR == 2 {print $4}')
    if [ "${free:-99999999}" -lt 8000000 ]; then
        echo "The environment needs about 8 GB here, and $((free / 1000000)) GB are free. Make room and run this again." >&2
        return 5
    fi
    rm -f "$stamp"
    echo "Making the environment in .venv from requirements.txt: about 3 GB to download, a few minutes." >&2
    if ! "$base" -m venv .venv >&2; then
        echo "Python could not make the environment .venv; the reason stands above." >&2
        return 6
    fi
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.txt >"$log" 2>&1 &
    local pip=$! started=$SECONDS
    trap 'kill $pip 2>/dev/null; echo; echo "Interrupted. Run the same command again; what is installed stays."; exit 130' INT TERM
    while kill -0 $pip 2>/dev/null; do
        if [ -t 2 ]; then
            printf '\r\033[K  %d s  %s' $((SECONDS - started)) "$(tail -n 1 "$log" | cut -c 1-90)" >&2
        fi
        sleep 1
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    trap - INT TERM
    if ! wait $pip; then
        echo "The packages could not be installed. pip's last words ($log has all of them):" >&2
        tail -n 5 "$log" >&2
        return 6
    fi
    echo "$wanted" >"$stamp"
    echo "The environment is ready after $((SECONDS - started)) s." >&2
}

kit_environment() {
    if [ "${KIT_USE_THIS_ENVIRONMENT:-}" = 1 ]; then
        PYTHON=$(kit_find_python) || return $?
        KIT_OFF_PINS=$("$PYTHON" lib/pipeline/pins.py | sed 's/ (/(/' | tr '\n' ' ')
        export KIT_OFF_PINS
        return 0
    fi
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && command -v python3 >/dev/null && kit_python_ok python3 \
            && python3 lib/pipeline/pins.py >/dev/null 2>&1; then
        PYTHON=$(command -v python3)
        return 0
    fi
    kit_make_environment || return $?
    PYTHON=.venv/bin/python
}
