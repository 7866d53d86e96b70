"""An invented host without what machines need: programs are small fakes that write down how they were called."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from orchestrator.deadline import Deadline
from orchestrator.host import look
from orchestrator.host.apt import Apt
from orchestrator.host.setup import HostFiles, Shortfall, User, examine, install, purposes_of

BOB = User("bob", 1000)
ALL = purposes_of(BOB, debian_images=True, development=False)

# Installing is making programs; what it was told is written down.
FAKE_APT = """#!/bin/sh
echo "apt-get $*" >> "$HOST/calls"
program() { printf '#!/bin/sh\\n%s\\n' "$2" > "$HOST/bin/$1"; chmod +x "$HOST/bin/$1"; }
case " $* " in
    *" update "*) [ ! -e "$HOST/locked" ] || { rm "$HOST/locked"; echo "E: Could not get lock /x"; exit 100; }
        [ ! -e "$HOST/backports.sources" ] || cp "$HOST/madison-with-backports" "$HOST/madison" ;;
    *" install "*)
        [ ! -e "$HOST/unreachable" ] || { echo "E: Failed to fetch x  Could not connect to mirror"; exit 100; }
        for word in "$@"; do
            case $word in
                qemu-system-x86) program qemu-system-x86_64 'echo QEMU emulator version 10.0.2' ;;
                qemu-utils) program qemu-img 'echo qemu-img version 10.0.2' ;;
                vde2) program vde_switch : ;;
                openssh-client) program ssh-keygen : ;;
                mmdebstrap) program mmdebstrap : ;;
                e2fsprogs) program mke2fs :; program debugfs :; program e2fsck : ;;
                uidmap) program newuidmap :; program newgidmap : ;;
            esac
        done ;;
esac
"""
FAKE_APT_CACHE = """#!/bin/sh
case $1 in
    policy) echo "  Candidate: $(cat "$HOST/candidate")" ;;
    madison) cat "$HOST/madison" ;;
esac
"""
FAKE_SYSTEMCTL = """#!/bin/sh
[ "$1" = cat ] && { [ "$2" = nginx.service ]; exit; }
echo "systemctl $*" >> "$HOST/calls"
"""
MADISON = "qemu-system-x86 | 1:7.2+dfsg-7+deb12u16 | http://mirror.example/debian bookworm/main amd64 Packages\n"
BACKPORTS = (
    "qemu-system-x86 | 1:10.0.2+ds-2~bpo12+1 | http://mirror.example/debian bookworm-backports/main amd64 Packages\n"
)


class Host:
    """A host that has a shell, and nothing that machines need."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for tool in ("sh", "bash", "cat", "chmod", "cp", "rm", "env", "timeout", "tar", "unshare", "setsid"):
            if found := shutil.which(tool):
                (folder / "bin" / tool).symlink_to(found)
        (folder / "os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n')
        (folder / "subuid").write_text("")
        (folder / "candidate").write_text("1:7.2+dfsg-7+deb12u16\n")
        (folder / "madison").write_text(MADISON + BACKPORTS)
        (folder / "madison-with-backports").write_text(MADISON + BACKPORTS)
        self.fake("apt-get", FAKE_APT)
        self.fake("apt-cache", FAKE_APT_CACHE)
        self.fake(
            "usermod", '#!/bin/sh\necho "usermod $*" >> "$HOST/calls"\necho "bob:100000:65536" > "$HOST/subuid"\n'
        )
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setenv("HOST", str(folder))
        monkeypatch.setattr(look, "SBIN", str(folder / "bin"))
        self.files = HostFiles(folder / "os-release", folder / "subuid", folder / "subuid")
        self.told: list[str] = []
        self.output: list[str] = []

    def fake(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    async def examine(self) -> Shortfall:
        found = await examine(BOB, ALL, self.files)
        # Certificates and keys are files of the real host, which has them or not.
        lacks = tuple(lack for lack in found.lacks if not lack.need.files)
        return Shortfall(found.system, found.user, lacks, found.subids)

    def apt(self) -> Apt:
        return Apt(
            look.system(self.files.os_release),
            Deadline.after(60),
            self.told.append,
            self.output.append,
            self.folder / "backports.sources",
        )

    def install(self) -> Shortfall:
        """Install what is missing; what is missing then."""

        async def both() -> Shortfall:
            await install(await self.examine(), self.apt())
            return await self.examine()

        return asyncio.run(both())
