# shellcheck shell=bash
# Installing what is missing with Debian's apt. Needs: say.sh, needs.sh.

: "${minimum_qemu:?}" "${setup_log:?}"
lock_limit=300   # seconds to wait for another apt or dpkg
backports_file=${SETUP_BACKPORTS:-/etc/apt/sources.list.d/orchestrator-backports.sources}

as_root() {
    local passed=(DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8) name
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || passed+=("$name=${!name}")
    done
    if [ "$(id -u)" -eq 0 ]; then env "${passed[@]}" "$@"; else sudo env "${passed[@]}" "$@"; fi
}

# Whether as_root can work; asks for sudo's password when somebody is there to type it.
may_become_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    find_program sudo > /dev/null || return 1
    sudo -n true 2>/dev/null && return 0
    [ -t 0 ] && [ -t 2 ] && sudo -v
}

apt_get() {
    echo "+ apt-get $*"
    as_root apt-get -y -q -o "DPkg::Lock::Timeout=$lock_limit" "$@"
}

# apt waits for dpkg's lock by itself, but not for that of the lists.
apt_update() {
    local end=$((SECONDS + lock_limit)) output code
    while true; do
        code=0
        output=$(apt_get update 2>&1) || code=$?
        printf '%s\n' "$output"
        case $output in
            *"Could not get lock"*) [ "$SECONDS" -ge "$end" ] || { sleep 5; continue; } ;;
        esac
        return "$code"
    done
}

# The major version in a Debian version: 1:10.0.2+ds-2 → 10; 0 when there is none.
major_of() {
    local version=${1#*:}
    version=${version%%[!0-9]*}
    echo "${version:-0}"
}

# Where a new enough QEMU can be had: "-t SUITE", nothing for the default, exit code 1 for nowhere.
# stdin: `apt-cache madison qemu-system-x86`; $1: apt's own choice of version.
qemu_source() {
    local version suite
    if [ "$(major_of "$1")" -ge "$minimum_qemu" ]; then return 0; fi
    while IFS='|' read -r _ version suite; do
        version=${version// /}
        if [[ $suite =~ ([a-z]+-backports)/ ]] && [ "$(major_of "$version")" -ge "$minimum_qemu" ]; then
            echo "-t ${BASH_REMATCH[1]}"
            return 0
        fi
    done
    return 1
}

apt_candidate() { LC_ALL=C apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: *//p'; }

find_qemu_source() { LC_ALL=C apt-cache madison qemu-system-x86 | qemu_source "$(apt_candidate)"; }

# The mirror this host already uses for a suite, so that its backports come from the same place.
mirror_of() { # suite; stdin: apt-cache madison
    sed -n "s,.*| *\(http[^ ]*\) $1/main .*,\1,p" | grep -v security | head -n 1
}

add_backports() { # suite
    local suite=$1 mirror
    mirror=$(LC_ALL=C apt-cache madison qemu-system-x86 | mirror_of "$suite")
    say "  QEMU $minimum_qemu comes from $suite-backports: adding $backports_file"
    backports_source "$suite" "${mirror:-http://deb.debian.org/debian}" | as_root tee "$backports_file" > /dev/null
}

backports_source() { # suite, mirror
    printf '%s\n' "# Added for QEMU; apt takes nothing from here unless it is told to." "Types: deb" "URIs: $2" \
        "Suites: $1-backports" "Components: main" "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
}

# Packages wanted for their programs only must not start a server on somebody's host, now or at its next boot.
# A unit that is there already is somebody's own and is left alone.
keep_servers_off() { # PACKAGE…
    local package unit units=()
    find_program systemctl > /dev/null || return 0
    for package in "$@"; do
        case $package in
            openssh-server) units+=(ssh.service ssh.socket) ;;
            nginx) units+=(nginx.service) ;;
            postgresql) units+=(postgresql.service) ;;
        esac
    done
    for unit in "${units[@]}"; do
        if ! systemctl cat "$unit" > /dev/null 2>&1; then
            step "systemctl mask $unit" as_root systemctl mask "$unit" || failed_step "$?" "systemctl mask"
        fi
    done
    [ ${#units[@]} -eq 0 ] || say "  (their programs are wanted, not their services; systemctl unmask allows them)"
}

# install_packages PACKAGE…
install_packages() {
    local package qemu=() others=() source=''
    for package in "$@"; do
        case $package in qemu-*) qemu+=("$package") ;; *) others+=("$package") ;; esac
    done
    # One unreachable source of many must not stop us: what is missing shows when it is installed.
    step "apt-get update" apt_update || say "  apt-get update failed; going on with the package lists that are there"
    keep_servers_off "${others[@]}"
    if [ ${#others[@]} -gt 0 ]; then
        step "apt-get install ${others[*]}" apt_get install --no-install-recommends "${others[@]}" \
            || failed_step "$?" "apt-get install"
    fi
    [ ${#qemu[@]} -gt 0 ] || return 0
    if ! source=$(find_qemu_source); then
        if [ "$(distribution)" = debian-12 ] && [ ! -e "$backports_file" ]; then
            add_backports bookworm
            step "apt-get update" apt_update || failed_step "$?" "apt-get update"
            source=$(find_qemu_source) || source=none
        else
            source=none
        fi
    fi
    [ "$source" != none ] || die 3 "the configured package sources offer no QEMU $minimum_qemu" \
        "apt would install $(apt_candidate)" "look with: apt-cache policy qemu-system-x86" "log: $setup_log"
    # shellcheck disable=SC2086 # "-t SUITE" is two words
    step "apt-get install ${qemu[*]}${source:+ $source}" apt_get install --no-install-recommends $source "${qemu[@]}" \
        || failed_step "$?" "apt-get install"
}

# The same by hand, for whoever may.
admin_commands() { # distribution, packages
    local where=$1 package from_backports='' plain='' line
    shift
    for package in "$@"; do
        case $where/$package in
            debian-12/qemu-*) from_backports+=" $package" ;;
            *) plain+=" $package" ;;
        esac
    done
    if [ -n "$from_backports" ]; then
        line="deb http://deb.debian.org/debian bookworm-backports main"
        echo "echo '$line' > /etc/apt/sources.list.d/backports.list"
    fi
    echo "apt-get update"
    [ -z "$plain" ] || echo "apt-get install --no-install-recommends$plain"
    [ -z "$from_backports" ] || echo "apt-get install --no-install-recommends -t bookworm-backports$from_backports"
}
