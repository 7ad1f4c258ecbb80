#!/usr/bin/env bash
# Regenerate every figure: set-up if needed -> embedded data -> runs -> notebooks -> figures/<preset>/index.html
#   ./run_all.sh [--preset smoke|mini|paper] [--only 01,05] [--set YAML] [--workers N] [--profile] [--dry-run]
#   ./run_all.sh --python    only set up, and print which python to use
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# an active environment that already holds this checkout's alpt_lib is used as it is
active_python() {
    local python
    python=$(command -v python || true)
    [ -n "$python" ] || return 1
    [ "$(cd / && "$python" -c 'import alpt_lib, papermill, torch; print(alpt_lib.__path__[0])' 2>/dev/null)" = "$here/alpt_lib" ] || return 1
    echo "$python"
}

newest_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "run_all.sh: Python 3.11, 3.12 or 3.13 is needed and none was found; install one, or: conda env create -f environment.yml" >&2
    return 1
}

set_up() {
    local stamp="$here/.venv/.set-up" wanted python
    wanted=$(cat "$here/requirements.lock" "$here/pyproject.toml" | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted $here" ]; then
        python=$(newest_python)
        echo "Setting up .venv with $("$python" --version) (about 2 minutes and 7 GB, once)" >&2
        "$python" -m venv "$here/.venv" >&2 || {
            echo "run_all.sh: python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2
            return 1
        }
        "$here/.venv/bin/python" -m pip install -q --disable-pip-version-check uv >&2
        (cd "$here" && .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode \
            -r requirements.lock -e '.[dev]' >&2)
        echo "$wanted $here" >"$stamp"
    fi
    echo "$here/.venv/bin/python"
}

python=$(active_python || set_up)
if [ "${1:-}" = "--python" ]; then
    echo "$python"
    exit
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" # processes, not threads
exec "$python" -m alpt_lib run "$@"
