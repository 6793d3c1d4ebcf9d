#!/bin/sh
# Makes the Python environment in which golden files are made and live comparisons run.
# Where: $LYCEUM_VENV, else .venv at the root of the repository. Needs Python 3.10 or later, about 6 GB and some minutes.
# Prints the path of its Python as the last line, so that callers can write: python=$(parity/setup.sh | tail -n 1)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${LYCEUM_VENV:-$here/../.venv}

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    echo "installing PyTorch and its company into $venv (about 6 GB)" >&2
    "$venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
echo "$(cd "$venv" && pwd)/bin/python"
