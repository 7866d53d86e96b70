# shellcheck shell=bash
# Makes a bare Debian 12 or 13 ready: packages, .venv. Sourced by scripts/e2e and scripts/test, which set root and me.
#
#   setup run|test [options of the orchestrator]
#
# When nothing is missing it says nothing and takes a few tens of milliseconds. Test hooks: SETUP_*, see needs.sh.

: "${root:?}" "${me:?}"
# shellcheck source=scripts/lib/say.sh
. "$root/scripts/lib/say.sh"
# shellcheck source=scripts/lib/needs.sh
. "$root/scripts/lib/needs.sh"
# shellcheck source=scripts/lib/apt.sh
. "$root/scripts/lib/apt.sh"
# shellcheck source=scripts/lib/venv.sh
. "$root/scripts/lib/venv.sh"

setup() {
    local kind=$1
    case $kind in
        run) lock_file=$root/requirements.lock stamp=$root/.venv/.setup-run ;;
        test) lock_file=$root/requirements-dev.lock stamp=$root/.venv/.setup-test ;;
    esac
    [ "$(uname -m)" = x86_64 ] || die 3 "this host is $(uname -m)" "the machines are x86-64 and are built and run on x86-64 hosts"
    is_ready "$@" && return 0
    # The checkout itself is the lock: two scripts started at once must not build one .venv.
    if find_program flock > /dev/null; then
        exec 9< "$root"
        if ! flock -n 9; then
            say "$me: another script sets this checkout up; waiting for it"
            flock 9
        fi
    fi
    make_ready "$@"
    exec 9<&-
}

is_ready() {
    venv_is_current && [ -z "$(needs_of "$@" | missing_of)" ] && [ -z "$(subids_needed "$@")" ]
}

# The ids to add for a user who will build images; nothing for root, or when they are there.
subids_needed() {
    shift
    [ "$(id -u)" -ne 0 ] && wants_debian_images "$@" || return 0
    missing_subids "$(id -un)"
}

make_ready() {
    local missing packages subids
    missing=$(needs_of "$@" | missing_of)
    subids=$(subids_needed "$@")
    if [ -n "$missing$subids" ]; then
        say "$me: this host lacks"
        [ -z "$missing" ] || printf '%s\n' "$missing" | awk -F'|' '{ printf "  %-24s %s\n", $1, $2 }' >&2
        [ -z "$subids" ] || say "  subordinate user ids      for $(id -un), to build images without root"
        mapfile -t packages < <(printf '%s\n' "$missing" | cut -d '|' -f 1 | grep . | sort -u)
        begin_log
        install_missing "$subids" "${packages[@]}"
        missing=$(needs_of "$@" | missing_of)
        [ -z "$missing" ] || die 3 "still missing after the installation" "${missing//|/: }" "log: $setup_log"
    fi
    if ! venv_is_current; then
        say "$me: installing the Python packages of ${lock_file##*/} into .venv"
        make_venv
    fi
    advise_kvm
    say "$me: the host is ready (${SECONDS} s)"
}

install_missing() { # subordinate ids, packages
    local subids=$1 where
    shift
    where=$(distribution)
    case $where in
        debian-12 | debian-1[3-9] | debian-testing) find_program apt-get > /dev/null || where=other ;;
        *) where=other ;;
    esac
    if [ "$where" = other ]; then by_hand; fi
    if ! may_become_root; then no_root "$where" "$subids" "$@"; fi
    if [ $# -gt 0 ]; then
        say "$me: installing them with apt-get; log: $setup_log"
        install_packages "$@"
    fi
    if [ -n "$subids" ]; then
        step "usermod --add-subuids" as_root usermod --add-subuids "$subids" --add-subgids "$subids" "$(id -un)" \
            || failed_step "$?" usermod
    fi
}

by_hand() {
    local lines=()
    if find_program nix > /dev/null; then lines=("or, with Nix: nix shell nixpkgs#qemu nixpkgs#vde2 nixpkgs#python3") ; fi
    die 3 "this is no Debian 12 or 13 with apt ($(distribution)); nothing was installed" \
        "Install the above with this system's own means (the names are Debian's), then run this again." \
        "With Nix images (--images nixos) the tools that build Debian images are not needed." "${lines[@]}"
}

no_root() { # distribution, subordinate ids, packages
    local where=$1 subids=$2 lines=() line
    shift 2
    if [ $# -gt 0 ]; then
        case " $* " in
            *" nginx "* | *" postgresql "* | *" openssh-server "*)
                lines+=("  systemctl mask nginx.service postgresql.service ssh.service   # unless they are used here") ;;
        esac
        while IFS= read -r line; do lines+=("  $line"); done < <(admin_commands "$where" "$@")
    fi
    [ -z "$subids" ] || lines+=("  usermod --add-subuids $subids --add-subgids $subids $(id -un)")
    die 3 "$(id -un) may not install packages: not root, and sudo is missing or refuses" \
        "An administrator must run these once; then run this again:" "${lines[@]}"
}

# Without KVM everything works, about ten times slower: worth a word, no reason to stop.
advise_kvm() {
    if [ ! -e /dev/kvm ]; then
        say "  note: no /dev/kvm; the machines will be emulated, about ten times slower"
    elif [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
        say "  note: $(id -un) may not use /dev/kvm; ten times faster after: sudo usermod -aG kvm $(id -un), and a new login"
    fi
}
