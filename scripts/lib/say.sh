# shellcheck shell=bash
# Words, steps with progress, and errors of the scripts. Everything goes to stderr: stdout belongs to the command.
# Needs: root (the checkout), me (the name of the script). Sets: setup_log, setup_began.

: "${root:?}" "${me:?}"
setup_log=$root/build/setup.log
setup_began=

say() { printf '%s\n' "$*" >&2; }

# die EXIT_CODE WHAT [LINE…]: one sentence, then indented lines that explain and say what to do.
die() {
    local code=$1
    say "$me: error: $2"
    shift 2
    local line
    for line in "$@"; do say "  $line"; done
    exit "$code"
}

# Once per run of the script, before the first step: a new log.
begin_log() {
    [ -z "$setup_began" ] || return 0
    setup_began=$SECONDS
    if ! { mkdir -p "${setup_log%/*}" && : > "$setup_log"; } 2>/dev/null; then
        die 3 "$setup_log cannot be written" "the checkout must belong to the user who runs this ($(id -un))"
    fi
}

# step TITLE COMMAND…: run it, its output into the log, signs of life on stderr. Returns the command's exit code.
step() {
    local title=$1 began=$SECONDS code=0
    shift
    begin_log
    printf '\n=== %s\n' "$title" >> "$setup_log"
    [ "$(type -t "$1")" = function ] || printf '+ %s\n' "$*" >> "$setup_log"   # functions of ours say it themselves
    "$@" 2>&1 < /dev/null 9<&- | tee -a "$setup_log" | show_progress "$title" || code=$?
    [ ! -t 2 ] || printf '\r\033[K' >&2
    if [ "$code" -eq 0 ]; then say "  $title: done in $((SECONDS - began)) s"; fi
    return "$code"
}

# One line redrawn on a terminal; elsewhere the last line of output every 15 s.
show_progress() {
    local title=$1 line='' last='' began=$SECONDS shown=$SECONDS status
    while true; do
        status=0
        IFS= read -r -t 5 line || status=$?
        [ "$status" -eq 0 ] || [ "$status" -gt 128 ] || break
        [ -z "$line" ] || last=${line//[^[:print:]]/ }
        if [ -t 2 ]; then
            if [ "$SECONDS" -ne "$shown" ]; then
                shown=$SECONDS
                printf '\r\033[K  %s: %d s  %.60s' "$title" "$((SECONDS - began))" "$last" >&2
            fi
        elif [ $((SECONDS - shown)) -ge 15 ]; then
            shown=$SECONDS
            printf '  %s: %d s  %.80s\n' "$title" "$((SECONDS - began))" "$last" >&2
        fi
    done
}

# failed_step EXIT_CODE TITLE: the end of the log, what it may mean, and where the log is.
failed_step() {
    local code=$1 title=$2 lines hint=''
    lines=$(tail -n 25 "$setup_log")
    case $lines in
        *"No space left on device"*) hint="free some disk space" ;;
        *"Could not get lock"* | *"is another process using it"*)
            hint="another program installs packages; wait until it is done" ;;
        *"Could not resolve"* | *"Temporary failure in name resolution"* | *"Could not connect"* | *"onnection timed out"* \
            | *"Network is unreachable"* | *"NewConnectionError"* | *"onnection refused"*)
            hint="the mirror or index named above cannot be reached: check the network, a proxy, or choose another mirror" ;;
        *"NO_PUBKEY"* | *"EXPKEYSIG"* | *"is not signed"*)
            hint="the mirror's key is unknown or too old: apt-get install debian-archive-keyring" ;;
        *"404  Not Found"*) hint="the mirror no longer has what its lists say: apt-get update, then again" ;;
        *"CERTIFICATE_VERIFY_FAILED"*) hint="the certificate of a proxy is not trusted here: see PIP_CERT, SSL_CERT_FILE" ;;
        *"THESE PACKAGES DO NOT MATCH THE HASHES"*)
            hint="the index offers other files than PyPI: PIP_INDEX_URL=https://pypi.org/simple" ;;
    esac
    say "$me: error: $title failed (exit code $code)"
    say "  command: $(grep '^+ ' "$setup_log" | tail -n 1 | cut -c 3-)"
    say "  its last lines:"
    printf '%s\n' "$lines" | grep -v '^$' | tail -n 8 | sed 's/^/    /' >&2
    say "  whole log: $setup_log"
    [ -z "$hint" ] || say "  next: $hint"
    exit 3
}
