"""``orchestrator host-setup``: what this host lacks, and its installation as root or with sudo."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from orchestrator.cli.doctor_items import State, kvm_device
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.host import look
from orchestrator.host.apt import Apt
from orchestrator.host.setup import (
    Shortfall,
    by_hand,
    can_install,
    current_user,
    examine,
    install,
    purposes_of,
    refused,
)
from orchestrator.process import run as run_command
from orchestrator.text import clean, json_text

NOT_READY = 3  # the exit code when something is missing
LOG = Path("/var/log/orchestrator-host-setup.log")
NIX_TOOLS = ("nixos-rebuild", "nix", "nix-build")
_KEPT_BY_SUDO = "http_proxy,https_proxy,no_proxy,ORCH_IMAGES"


def run(arguments: argparse.Namespace) -> int:
    return asyncio.run(_set_up(arguments))


async def _set_up(arguments: argparse.Namespace) -> int:
    def say(line: str) -> None:
        if not arguments.quiet:
            sys.stderr.write(f"{clean(line, 300)}\n")

    user = current_user(os.environ)
    purposes = purposes_of(user, debian_images=wants_debian(arguments.images), development=arguments.development)
    before = await examine(user, purposes)
    if arguments.check or before.is_empty:
        _report(before, arguments)
        return 0 if before.is_empty else NOT_READY
    for line in lines_of(before):
        say(line)
    if not can_install(before.system):
        raise refused(before, f"this is no Debian or Ubuntu with apt: {before.system.name}")
    if os.geteuid() != 0:
        await _become_root(before)
    deadline = Deadline.after(arguments.timeout)
    on_line, close = _log(say if arguments.verbose else None)
    try:
        await install(before, Apt(before.system, deadline, lambda line: say(f"  {line}"), on_line))
    except HostError as error:
        raise HostError(
            error.what, why=error.why, evidence=error.evidence, hint=error.hint, where=[str(LOG)]
        ) from error
    finally:
        close()
    after = await examine(user, purposes)
    if not after.is_empty:
        raise HostError(
            "something is still missing after the installation",
            evidence=lines_of(after),
            where=[str(LOG)],
            hint="orchestrator host-setup --check",
        )
    _report(after, arguments)
    return 0


def wants_debian(images: str, find: Callable[[str], str | None] = look.find) -> bool:
    """Whether images will be built from Debian packages: not by default on a host that has Nix.

    Args:
        images: the value of ``--images``.
        find: gives the path of a program.
    """
    if images == "auto":
        return not any(find(tool) for tool in NIX_TOOLS)
    return images == "debian"


def lines_of(lacking: Shortfall) -> list[str]:
    """What is missing and why it is needed, a line each. Pure."""
    pairs = [(lack.need.name, lack.reason) for lack in lacking.lacks]
    if lacking.subids:
        pairs.append(("subordinate ids", f"for {lacking.user.name}: builds images without root"))
    width = max((len(name) for name, _ in pairs), default=0)
    return ["this host lacks", *(f"  {name:<{width}}  {reason}" for name, reason in pairs)] if pairs else []


def as_data(lacking: Shortfall) -> dict[str, object]:
    """The outcome for ``--json``. Pure."""
    return {
        "ready": lacking.is_empty,
        "system": lacking.system.name,
        "missing": [
            {
                "name": lack.need.name,
                "reason": lack.reason,
                "package": lack.need.packages.get(lacking.system.manager or "apt"),
            }
            for lack in lacking.lacks
        ],
        "subordinate_ids": lacking.subids or None,
        "commands": by_hand(lacking),
    }


def _report(lacking: Shortfall, arguments: argparse.Namespace) -> None:
    if arguments.json:
        sys.stdout.write(json_text(as_data(lacking), indent=2) + "\n")
        return
    if not lacking.is_empty:
        sys.stdout.write("".join(f"{clean(line, 300)}\n" for line in lines_of(lacking)))
        sys.stdout.write("\nwhat installs it:\n" + "".join(f"  {line}\n" for line in by_hand(lacking)))
        if can_install(lacking.system):
            sys.stdout.write("\nnext: orchestrator host-setup\n")
    elif not arguments.quiet:
        sys.stdout.write("ready: this host has all that is needed\n")
        kvm = kvm_device()
        if kvm.state is not State.OK:
            sys.stdout.write(f"note: /dev/kvm {kvm.text}; machines are emulated, about ten times slower\n")
            sys.stdout.write(f"      {kvm.next}\n" if kvm.next else "")


async def _become_root(lacking: Shortfall) -> None:
    """Go on as root, by sudo, in place of this process: sudo may ask on the terminal.

    Raises:
        HostError: there is no sudo, or it refuses and nobody can be asked.
    """
    sudo = look.find("sudo")
    if sudo is None:
        raise refused(lacking, f"{lacking.user.name} may not install packages: not root, and there is no sudo")
    if not sys.stdin.isatty():
        asked = await run_command([sudo, "-n", "true"], deadline=Deadline.after(20), check=False)
        if asked.code:
            raise refused(lacking, f"{lacking.user.name} may not install packages: not root, and sudo refuses")
    sys.stdout.flush()
    sys.stderr.flush()
    words = [f"--preserve-env={_KEPT_BY_SUDO}", sys.executable, "-m", "orchestrator", *sys.argv[1:]]
    os.execv(sudo, [sudo, *words])  # noqa: S606 - no child: the same command, as root


def _log(shown: Callable[[str], None] | None) -> tuple[Callable[[str], None], Callable[[], None]]:
    """What takes each line of apt's output, and what closes the log.

    Raises:
        HostError: the log cannot be written.
    """
    try:
        file = LOG.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise HostError(f"{LOG} cannot be written", why=str(error), hint="free some disk space") from error

    def on_line(line: str) -> None:
        file.write(f"{line}\n")
        file.flush()
        if shown is not None:
            shown(line)

    return on_line, file.close
