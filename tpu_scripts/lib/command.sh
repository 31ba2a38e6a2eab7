# shellcheck shell=bash
# Commands: printed as a shell would read them, run unless --dry-run is given.

DRY_RUN=${DRY_RUN:-}

# One word, in single quotes where a shell would take it apart. Any POSIX shell
# reads it back as it was, the one on a worker included.
quoted_word() {
    local rest=$1 escaped=
    if [[ $1 =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
        printf '%s' "$1"
    else
        while [[ $rest == *\'* ]]; do
            escaped+="${rest%%\'*}'\\''"
            rest=${rest#*\'}
        done
        printf "'%s'" "$escaped$rest"
    fi
}

# A command as one line (as several, where a word has line breaks).
quoted() {
    local word gap=
    for word; do
        printf '%s' "$gap"
        quoted_word "$word"
        gap=' '
    done
    printf '\n'
}

# Runs a command, or only prints it.
run() {
    if [[ $DRY_RUN ]]; then
        quoted "$@"
    else
        say "$(quoted "$@")"
        "$@"
    fi
}

# Fails if a program is missing; a dry run needs none.
need_program() {
    [[ $DRY_RUN ]] || command -v "$1" >/dev/null ||
        fail "the program '$1' is not on the PATH. $2" \
            "To see what would be run, add --dry-run."
}

need_gcloud() {
    need_program gcloud "Install the Google Cloud CLI and run" \
        "'gcloud auth login'."
}
