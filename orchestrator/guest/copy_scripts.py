"""What a guest's shell does for a copy. Paths come as arguments; nothing is pasted into a script.

GNU tar and coreutils are what Debian and NixOS have. The locale is C: names are bytes, messages English.
"""

from __future__ import annotations

RECORDS = "128"  # blocks that tar reads and writes at once: 64 KiB

# Words for each path: l or - (a link itself or not), and d, f, o, n (folder, file, other, nothing).
LOOK = """
look() {
    if [ -L "$1" ]; then printf l; else printf -- -; fi
    if [ -d "$1" ]; then printf 'd '; elif [ -f "$1" ]; then printf 'f '; elif [ -e "$1" ]; then printf 'o '
    else printf 'n '; fi
}
for path; do look "$path"; done
"""
MEASURE = """
if [ -d "$1" ]; then set -- $(du -s -B1 "$1" 2>/dev/null); echo "$1"; else stat -L -c %s "$1"; fi
"""
# Files of /proc and /sys say a size that means nothing. One alone is copied first, to know it; below a folder such file
# systems are left out, and said.
READ = """
export LC_ALL=C
pack() {
    tar -cf - -b "$records" --format=pax --pax-option=delete=atime,delete=ctime -S \\
        --no-unquote --no-wildcards --anchored "$@"
}
kernel=' proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs pstore bpf efivarfs binfmt_misc devpts mqueue '
path=$1 records=$2 folder=${1%/*} name=${1##*/}
if [ -d "$path" ]; then
    real=$(readlink -f "$path") && set -- -C "$path" -- .
    while read -r _ mount type _; do
        case $kernel in *" $type "*) ;; *) continue ;; esac
        mount=$(printf %b "$mount")
        case $mount in
        "$real") echo "$path is in a kernel file system, whose files have no size: name single files" >&2
            exit 3 ;;
        "${real%/}"/*) inner=${mount#"${real%/}/"}
            [ ! -d "$mount" ] || echo "./$inner: a file system of the kernel" >&2
            set -- "--exclude=./$inner" "$@" ;;
        esac
    done < /proc/self/mounts
    case $(stat -f -c %T "$path") in proc | sysfs | cgroup* | debugfs | tracefs | securityfs | configfs | bpf_fs)
        echo "$path is in a kernel file system, whose files have no size: name single files" >&2
        exit 3 ;;
    esac
    pack "$@"
    exit
fi
set -- -h --hard-dereference --transform='s,.*,x,'
case $(stat -L -c '%b %s' "$path") in
"0 0" | "0 4096")
    copy=$(mktemp -d) && trap 'rm -rf "$copy"' EXIT
    cat "$path" > "$copy/x" && chmod --reference="$path" "$copy/x" && touch -r "$path" "$copy/x" &&
        pack "$@" -C "$copy" -- ./x ;;
*)  pack "$@" -C "${folder:-/}" -- "./$name" ;;
esac
"""
UNPACK = f"tar -xpf - -b {RECORDS} --no-same-owner --warning=no-unknown-keyword --warning=no-timestamp"
# Which of the folders that will be written are there as something else; tar would remove that.
IN_THE_WAY = """
cd "$1" 2>/dev/null || exit 0
xargs -0 -r sh -c 'for folder; do
    if [ -L "$folder" ] || { [ -e "$folder" ] && [ ! -d "$folder" ]; }; then printf %s "$folder"; exit 255; fi
done' sh 2>/dev/null
exit 0
"""
FOLDERS = """
cd "$1" && exec find . -mindepth 1 -type d -print0 2>/dev/null
"""
WRITE_FOLDER = f"""
export LC_ALL=C
if [ -d "$1" ]; then keep=--no-overwrite-dir; else mkdir -p "$1" || exit; keep=--overwrite-dir; fi
{UNPACK} $keep -C "$1" || exit
[ -z "$2" ] || chown -R "$2:" "$1/."
"""
# Beside its place, whole, then into it. What was there gives its owner; a link that was named is followed.
WRITE_FILE = f"""
export LC_ALL=C
place=$1
if [ -L "$place" ]; then place=$(readlink -f "$place"; printf x); place=${{place%?x}}; fi
folder=${{place%/*}}
mkdir -p "${{folder:-/}}" || exit
umask 077
part=$folder/$3
mkdir "$part" || exit
trap 'rm -rf "$part"' EXIT
{UNPACK} -C "$part" || exit
[ ! -e "$place" ] || chown --reference="$place" "$part/x" || exit
[ -z "$2" ] || chown "$2:" "$part/x" || exit
mv -fT "$part/x" "$place"
"""
