#!/usr/bin/env bash
# Regenerate every figure: set-up if needed -> embedded data -> runs -> notebooks -> figures/<preset>/index.html
#   ./run_all.sh [--preset smoke|mini|real|paper] [--only 01,05] [--set YAML]   which notebooks, with which parameters
#                [--workers N] [--executor local|ray]                      done by what
#                [--dry-run] [--quiet | --verbose]
#   ./run_all.sh --python           only set up, and print which python to use
#   ALPT_TORCH=cpu ./run_all.sh     set up with PyTorch's CPU builds: no CUDA libraries. ALPT_TORCH=default goes back
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# an active environment of the user's own that already holds this checkout's alpt_lib is used as it is
active_python() {
    local python
    python=$(command -v python || true)
    [ -n "$python" ] && [ "$python" != "$here/.venv/bin/python" ] || return 1
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

# whether the index of PyTorch's CPU builds answers: known within seconds, whatever the network does
cpu_builds_are_in_reach() {
    grep '^torch==' "$here/requirements.lock" \
        | UV_HTTP_TIMEOUT=5 UV_HTTP_RETRIES=0 "$here/.venv/bin/uv" pip compile -q --no-cache --no-deps --torch-backend cpu - >/dev/null 2>&1
}

install() { # the packages of the lock on stdin and this checkout; arguments: further options of uv
    (cd "$here" && .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode -r - -e '.[dev]' "$@" >&2)
}

install_with() { # cpu | default
    local other_builds="--reinstall-package torch --reinstall-package torchvision"
    if [ "$1" = cpu ] && cpu_builds_are_in_reach; then
        # the lock names CUDA's libraries, too
        grep -vE '^(nvidia|cuda|triton)' "$here/requirements.lock" | install --torch-backend cpu $other_builds
    elif [ "$1" = cpu ]; then
        echo "run_all.sh: PyTorch's CPU builds cannot be reached from here; taking the default ones (7 GB)" >&2
        install <"$here/requirements.lock"
    else
        install ${ALPT_TORCH:+$other_builds} <"$here/requirements.lock"
    fi
}

set_up() {
    local stamp="$here/.venv/.set-up" torch="${ALPT_TORCH:-}" wanted python
    # a choice once made is kept
    [ -n "$torch" ] || torch=$(sed -n 's/.* torch: //p' "$stamp" 2>/dev/null || true)
    wanted="$(cat "$here/requirements.lock" "$here/pyproject.toml" | cksum) $here torch: ${torch:=default}"
    case "$torch" in
        cpu | default) ;;
        *)
            echo "run_all.sh: ALPT_TORCH must be cpu or default; got $torch" >&2
            return 1
            ;;
    esac
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        python=$(newest_python) || return 1
        echo "Setting up .venv with $("$python" --version), once (about 2 minutes and 7 GB; 2.5 GB without CUDA)" >&2
        "$python" -m venv "$here/.venv" >&2 || {
            echo "run_all.sh: python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2
            return 1
        }
        "$here/.venv/bin/python" -m pip install -q --disable-pip-version-check uv >&2 || return 1
        install_with "$torch" || return 1
        echo "$wanted" >"$stamp"
    fi
    echo "$here/.venv/bin/python"
}

python=$(active_python || set_up)
if [ "${1:-}" = "--python" ]; then
    echo "$python"
    exit
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}" # processes, not threads
exec "$python" -m companion run "$@"
