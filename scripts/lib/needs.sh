# shellcheck shell=bash
# What the host must have, and what of it is missing. Looks at programs, not at packages: a QEMU built by hand counts.
# Needs: say.sh. Test hooks: SETUP_SBIN, SETUP_PYTHON, SETUP_OS_RELEASE, SETUP_SUBUID, SETUP_SUBGID, SETUP_BACKPORTS.

minimum_qemu=10

# One need a line: probe | Debian package | what it is for.
# Probes: qemu:PROGRAM, command:PROGRAM, file:PATH (which may be a pattern), python.
needs_always='
qemu:qemu-system-x86_64 | qemu-system-x86 | runs the virtual machines; 10 or newer
qemu:qemu-img | qemu-utils | makes their disks; 10 or newer
command:vde_switch | vde2 | connects them: one switch per network
command:ssh-keygen | openssh-client | ssh, scp and rsync into the machines
file:/etc/ssl/certs/ca-certificates.crt | ca-certificates | verifies the servers that packages come from
python | python3-venv | Python 3.11 or newer with venv: the orchestrator itself'

needs_debian_images='
command:mmdebstrap | mmdebstrap | builds the Debian images from packages
command:mke2fs | e2fsprogs | makes their file system, and writes the application into it
file:/usr/share/keyrings/debian-archive-keyring.gpg | debian-archive-keyring | verifies the packages in them'

needs_rootless='
command:newuidmap | uidmap | builds images without root'

needs_tests='
command:shellcheck | shellcheck | checks the shell scripts
command:node | nodejs | runs the tests of the browser-test reporter
command:zsh | zsh | completion is tested in it
command:fish | fish | completion is tested in it
command:tcsh | tcsh | completion is tested in it
command:sshd | openssh-server | a real server for the tests of SSH
command:nginx | nginx | reads the rendered configuration
command:sfdisk | fdisk | partitions the disks that are like cloud images
command:mcopy | mtools | writes their EFI system partition
command:grub-mkimage | grub-common | makes their boot loader
file:/usr/lib/grub/i386-pc/boot.img | grub-pc-bin | its part for a BIOS
file:/usr/lib/grub/x86_64-efi/moddep.lst | grub-efi-amd64-bin | its part for UEFI
file:/usr/lib/postgresql/*/bin/postgres | postgresql | a real server for the tests of migrations'

# Debian's users do not have the folders of system programs on PATH.
search_path() { printf '%s' "$PATH${SETUP_SBIN-:/usr/sbin:/sbin}"; }
find_program() { PATH=$(search_path) type -P "$1"; }

# The major version of a program of QEMU, 0 when there is none.
qemu_major() {
    local program text
    program=$(find_program "$1") || { echo 0; return; }
    text=$("$program" --version 2>/dev/null) || true
    [[ $text =~ version\ ([0-9]+)\. ]] && echo "${BASH_REMATCH[1]}" || echo 0
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

has() { # probe
    case $1 in
        qemu:*) [ "$(qemu_major "${1#*:}")" -ge "$minimum_qemu" ] ;;
        command:*) find_program "${1#*:}" > /dev/null ;;
        file:*) compgen -G "${1#*:}" > /dev/null ;;
        python) venv_is_current || find_python > /dev/null ;;
    esac
}

# The needs of this run, one a line. Arguments: run or test, then the options that go to the orchestrator.
needs_of() {
    local kind=$1
    shift
    printf '%s\n' "$needs_always"
    if wants_debian_images "$@"; then
        printf '%s\n' "$needs_debian_images"
        [ "$(id -u)" -eq 0 ] || printf '%s\n' "$needs_rootless"
    fi
    [ "$kind" != test ] || printf '%s\n' "$needs_tests"
}

# Whether images will be built from Debian packages: not with --images nixos, nor by default on a host that has Nix.
wants_debian_images() {
    local images=${ORCH_IMAGES:-auto} previous='' one
    for one in "$@"; do
        case $one in --images=*) images=${one#*=} ;; esac
        [ "$previous" != --images ] || images=$one
        previous=$one
    done
    case $images in
        nixos) return 1 ;;
        debian) return 0 ;;
        *) ! find_program nixos-rebuild > /dev/null && ! find_program nix > /dev/null && ! find_program nix-build > /dev/null ;;
    esac
}

# The needs on stdin that are not met: "package|what it is for" a line.
missing_of() {
    local probe package reason found
    while IFS='|' read -r probe package reason; do
        probe=${probe// /} package=${package// /}
        [ -n "$probe" ] || continue
        has "$probe" && continue
        case $probe in
            qemu:*)
                found=$(qemu_major "${probe#*:}")
                [ "$found" -eq 0 ] || reason+=" (version $found is here)" ;;
        esac
        printf '%s|%s\n' "$package" "${reason# }"
    done
}

# debian-12, debian-13, debian-testing, or the ID of another distribution.
distribution() {
    local file=${SETUP_OS_RELEASE:-/etc/os-release} id='' version=''
    [ -r "$file" ] || { echo unknown; return; }
    id=$(sed -n 's/^ID=//p' "$file" | tr -d '"')
    version=$(sed -n 's/^VERSION_ID=//p' "$file" | tr -d '"')
    if [ "$id" = debian ]; then echo "debian-${version:-testing}"; else echo "${id:-unknown}"; fi
}

# "START-END" of 65536 subordinate ids nobody has, when the user lacks them; nothing when all is well.
missing_subids() {
    local user=$1 subuid=${SETUP_SUBUID:-/etc/subuid} subgid=${SETUP_SUBGID:-/etc/subgid} start
    if has_subids "$user" "$subuid" && has_subids "$user" "$subgid"; then return; fi
    start=$(cat "$subuid" "$subgid" 2>/dev/null | awk -F: '
        BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { print top }')
    echo "$start-$((start + 65535))"
}

has_subids() { # user, file
    [ -r "$2" ] && awk -F: -v user="$1" -v id="$(id -u)" '
        ($1 == user || $1 == id) && $3 >= 65536 { found = 1 } END { exit !found }' "$2"
}
