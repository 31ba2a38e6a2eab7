#!/usr/bin/env bash
#
# Makes the Python environment on a TPU VM, at the versions of requirements.txt.
#
#     setup_vm.sh [--dry-run]
#
# Runs on the VM: run_all_workers.sh --setup calls it there. It may be called
# again at any time, and does nothing while requirements*.txt are the same.
#
# The system of TPU VMs has Python 3.10, which is too old, so uv brings its own
# into ~/kgrow-venv. Nothing of the system is changed. KGROW_VENV names another
# directory, KGROW_PYTHON another Python than 3.12.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"

UV_VERSION=0.13.9
UV=$HOME/.kgrow-uv
VENV=${KGROW_VENV:-$HOME/kgrow-venv}
VERSION=${KGROW_PYTHON:-3.12}
# Says what was installed. Written last, so that half a job is done again.
STAMP=$VENV/.kgrow-requirements

while (($#)); do
    case $1 in
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    *) fail "unknown argument: $1. See ${0##*/} --help." ;;
    esac
    shift
done
need_program python3 "Install it with its pip."

wanted() {
    echo "python $VERSION"
    cat "$SCRIPTS/requirements.txt" "$SCRIPTS/requirements-hub.txt"
}

if [[ ! $DRY_RUN && -x $VENV/bin/python && -f $STAMP &&
    $(<"$STAMP") == "$(wanted)" ]]; then
    say "$VENV is up to date"
    exit
fi

# --target, because newer systems refuse pip without a directory of its own.
run python3 -m pip install --quiet --upgrade --target "$UV" "uv==$UV_VERSION"
run "$UV/bin/uv" venv --clear --python "$VERSION" "$VENV"
run "$UV/bin/uv" pip install --python "$VENV/bin/python" \
    -r "$SCRIPTS/requirements.txt"
run "$UV/bin/uv" pip install --python "$VENV/bin/python" --no-deps \
    -r "$SCRIPTS/requirements-hub.txt"
[[ $DRY_RUN ]] || wanted >"$STAMP"
