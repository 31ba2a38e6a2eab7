# shellcheck shell=bash
# What a script says: help, notes and the reason why it stops.

# The comment at the top of the script, which is its manual.
usage() {
    sed -n '3,/^$/{s/^# //;s/^#$//;p;}' "$0"
}

# On stderr, so that the lines of --dry-run stay alone on stdout.
say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Ends the script with status 2: nothing was started.
fail() {
    say "$*"
    exit 2
}

# The value of the first argument, an option, in VALUE: `value_of "$@"`.
value_of() {
    (($# >= 2)) || fail "$1 needs a value. See ${0##*/} --help."
    VALUE=$2
}

# Fails unless the value is a whole number: `whole --retries "$RETRIES"`.
whole() {
    [[ $2 =~ ^[0-9]+$ ]] ||
        fail "$1 must be a whole number, 0 or more. Received: $1=$2"
}

# Fails unless the value is a number of seconds, as `sleep` takes them.
seconds() {
    [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] ||
        fail "$1 must be a number of seconds. Received: $1=$2"
}
