#!/usr/bin/env bash
# Set up if needed; check format, lint, types and layers; run the tests (they execute every notebook at the smoke preset).
#   ./run_tests.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=$(./run_all.sh --python)
"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy
"$(dirname "$python")/lint-imports"
exec "$python" -m pytest -n 2 --dist loadfile "$@"
