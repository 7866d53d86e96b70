# shellcheck shell=bash
# Python with venv, by Debian's apt: what must be there before the package can set the rest up. Needs: say.sh.

: "${me:?}" "${setup_log:?}"

# Debian's users do not have the folders of system programs on PATH.
search_path() { printf '%s' "$PATH${SETUP_SBIN-:/usr/sbin:/sbin}"; }
find_program() { PATH=$(search_path) type -P "$1"; }

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
    as_root apt-get -y -q -o DPkg::Lock::Timeout=300 "$@"
}

install_python() {
    local packages=(python3-venv ca-certificates)
    find_program apt-get > /dev/null || die 3 "this system has no Python 3.11 or newer with the modules venv and ensurepip" \
        "Install it with this system's own means, then run this again."
    may_become_root || die 3 "$(id -un) may not install packages: not root, and sudo is missing or refuses" \
        "An administrator must run these once; then run this again, which tells what else is missing:" \
        "  apt-get update" "  apt-get install --no-install-recommends ${packages[*]}"
    say "$me: this host has no Python 3.11 or newer with venv; installing ${packages[*]}; log: $setup_log"
    # One unreachable source of many must not stop us: what is missing shows when it is installed.
    step "apt-get update" apt_get update || say "  apt-get update failed; going on with the package lists that are there"
    step "apt-get install ${packages[*]}" apt_get install --no-install-recommends "${packages[@]}" \
        || failed_step "$?" "apt-get install"
}
