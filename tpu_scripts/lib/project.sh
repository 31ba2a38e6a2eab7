# shellcheck shell=bash
# What goes to the machines: the library and these scripts, nothing else.

PROJECT_ROOT=$(cd "$SCRIPTS/.." && pwd)
PROJECT_PARTS=(kgrow tpu_scripts pyproject.toml)
# Settings and logs are nobody's business there.
LEFT_OUT=(--exclude=__pycache__ --exclude=tpu_scripts/env.sh
    --exclude=tpu_scripts/logs)

# Writes the project into a file: `archive_project project.tgz`.
archive_project() {
    run tar -czf "$1" -C "$PROJECT_ROOT" "${LEFT_OUT[@]}" "${PROJECT_PARTS[@]}"
}
