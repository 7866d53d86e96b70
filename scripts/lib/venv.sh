# shellcheck shell=bash
# The virtual environment .venv with exactly the locked packages. Needs: say.sh, apt.sh, root, lock_file, stamp.
# Test hook: SETUP_PYTHON.

: "${root:?}" "${me:?}"
lock_file=    # set by setup
stamp=

# What the environment was made from. It changes with the lock, the project's own metadata, the place of the checkout
# (scripts in .venv/bin name it) and the Python behind it (a new release of the distribution brings another).
venv_wanted() {
    printf '%s\n' "$root" "$(readlink -f "$root/.venv/bin/python")"
    sha256sum < "$lock_file"
    sha256sum < "$root/pyproject.toml"
}

venv_is_current() {
    [ -x "$root/.venv/bin/orchestrator" ] && [ -f "$stamp" ] && [ "$(venv_wanted 2>/dev/null)" = "$(cat "$stamp")" ]
}

# An environment that can be brought up to date instead of being made again.
venv_is_usable() {
    [ -f "$root/.venv/bin/pip" ] && head -n 3 "$root/.venv/bin/pip" | grep -qF "$root/.venv/bin/" \
        && "$root/.venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The first Python that is new enough and can make a virtual environment. Debian's own is preferred: shims of version
# managers come first on many PATHs, and disappear with their next change.
find_python() {
    local candidate program
    for candidate in "${SETUP_PYTHON:-/usr/bin/python3}" python3 python3.14 python3.13 python3.12 python3.11; do
        program=$(find_program "$candidate") || continue
        if "$program" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$program"
            return 0
        fi
    done
    return 1
}

pip_install() {
    echo "+ $root/.venv/bin/python -m pip install $*"
    "$root/.venv/bin/python" -m pip --disable-pip-version-check install --progress-bar off "$@"
}

make_venv() {
    local python
    venv_is_current && return 0
    say "$me: installing the Python packages of ${lock_file##*/} into .venv"
    if [ -e "$root/.venv" ] && [ ! -w "$root/.venv" ]; then
        die 3 "$root/.venv belongs to $(stat -c %U "$root/.venv")" "remove it, or run this script as that user"
    fi
    if ! venv_is_usable; then
        find_python > /dev/null || install_python
        python=$(find_python) || die 3 "no Python 3.11 or newer with the modules venv and ensurepip" \
            "on Debian: apt-get install python3-venv"
        say "  making .venv with $python ($("$python" -V 2>&1))"
        step "python -m venv" "$python" -m venv --clear "$root/.venv" || failed_step "$?" "python -m venv"
    fi
    step "pip install -r ${lock_file##*/}" pip_install --require-hashes --requirement "$lock_file" \
        || failed_step "$?" "pip install"
    step "pip install -e ." pip_install --no-deps --no-build-isolation --editable "$root" \
        || failed_step "$?" "pip install"
    venv_wanted > "$stamp"
}
