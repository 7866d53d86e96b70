# shellcheck shell=bash
# Makes a bare host ready: Python, .venv, then `orchestrator host-setup` for all the rest. Sourced by scripts/e2e and
# scripts/test, which set root and me.
#
#   setup run|test [options of the orchestrator]
#
# Only what must be there before Python runs is done by the shell. When nothing is missing this says nothing.
# Test hooks: SETUP_PYTHON, see venv.sh; SETUP_SBIN.

: "${root:?}" "${me:?}"
# shellcheck source=scripts/lib/say.sh
. "$root/scripts/lib/say.sh"
# shellcheck source=scripts/lib/apt.sh
. "$root/scripts/lib/apt.sh"
# shellcheck source=scripts/lib/venv.sh
. "$root/scripts/lib/venv.sh"

setup() {
    local kind=$1 options=()
    shift
    case $kind in
        run) lock_file=$root/requirements.lock stamp=$root/.venv/.setup-run ;;
        test) lock_file=$root/requirements-dev.lock stamp=$root/.venv/.setup-test options=(--development) ;;
    esac
    [ "$(uname -m)" = x86_64 ] || die 3 "this host is $(uname -m)" "the machines are x86-64 and are built and run on x86-64 hosts"
    options+=("$(images_option "$@")")
    venv_is_current || lock_checkout
    make_venv
    host_is_ready "${options[@]}" && return 0
    lock_checkout
    "$root/.venv/bin/orchestrator" host-setup "${options[@]}" >&2 9<&- || exit $?
    exec 9<&-
}

# What the options of the orchestrator say of the images, as an option of host-setup.
images_option() {
    local images=${ORCH_IMAGES:-auto} previous='' one
    for one in "$@"; do
        case $one in --images=*) images=${one#*=} ;; esac
        [ "$previous" != --images ] || images=$one
        previous=$one
    done
    echo "--images=$images"
}

host_is_ready() { "$root/.venv/bin/orchestrator" host-setup --check --quiet "$@" > /dev/null 2>&1 9<&-; }

# The checkout itself is the lock: two scripts started at once must not build one .venv.
lock_checkout() {
    find_program flock > /dev/null || return 0
    exec 9< "$root"
    if ! flock -n 9; then
        say "$me: another script sets this checkout up; waiting for it"
        flock 9
    fi
}
