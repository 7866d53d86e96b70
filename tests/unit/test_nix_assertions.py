"""What is asserted of every evaluated machine: it holds, and each assertion notices what it is there for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from check_nix_assertions import problems
from nix_facts import MACHINES, facts

Facts = dict[str, Any]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_assertion_holds(machine: str) -> None:
    assert problems(machine, facts(machine)) == []


def edit(*keys: str, old: str, new: str) -> Callable[[Facts], None]:
    def apply(one: Facts) -> None:
        place = one
        for key in keys[:-1]:
            place = place[key]
        assert old in place[keys[-1]]
        place[keys[-1]] = place[keys[-1]].replace(old, new)

    return apply


def argument(old: str, new: str) -> Callable[[Facts], None]:
    def apply(one: Facts) -> None:
        words = one["runScript"]["arguments"]
        assert any(old in word for word in words)
        one["runScript"]["arguments"] = [word.replace(old, new) for word in words]

    return apply


def put(value: object, *keys: str) -> Callable[[Facts], None]:
    def apply(one: Facts) -> None:
        place = one
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return apply


def unit(name: str, old: str, new: str) -> Callable[[Facts], None]:
    return edit("units", name, old=old, new=new)


@pytest.mark.parametrize(
    ("machine", "break_it", "said"),
    [
        ("client", put(["careful"], "warnings"), "warning: careful"),
        ("client", put(["xchg"], "shares"), "folders of the host"),
        ("client", argument("virtio-rng-pci", "vhost-vsock-pci"), "the run script has vsock"),
        ("client", argument("virtio-keyboard", "vhost-user-fs-pci"), "the run script has vhost-user"),
        ("client", argument("readonly=on", "readonly=off"), "no read-only image"),
        ("client", argument("console=ttyS0,115200n8", "console=tty1"), "not the primary console"),
        ("client", argument("$QEMU_NET_OPTS", ""), "does not take QEMU_NET_OPTS"),
        ("client", argument("$@", ""), "does not end in its own arguments"),
        ("client", put(["mkfs.erofs"], "runScript", "programs"), "every start runs mkfs.erofs"),
        ("client", put([], "boot", "initrdModules"), "virtio_rng is not loaded early"),
        ("client", edit("sshd", old="prohibit-password", new="yes"), "PermitRootLogin is yes"),
        ("client", put("$6$x", "users", "test", "hashedPassword"), "test has a password"),
        ("client", put(False, "off", "nix"), "nix is still on"),
        ("client", put(["webkit-1"], "browser", "browsers"), "browsers"),
        ("client", edit("browser", "wrapper", old="playwright-browsers", new="other"), "is wrapped without"),
        ("client-desktop", put({"x": 1024, "y": 768}, "browser", "resolution"), "the desktop has"),
        ("server-mock", unit("alicia.service", "alicia serve", "alicia server"), "the backend is started by"),
        ("server-mock", unit("alicia.service", "Restart=no", "Restart=on-failure"), "restarts itself"),
        ("server-mock", unit("alicia.service", "ProtectHome=true\n", ""), "ProtectHome is None"),
        ("server-mock", unit("nginx.service", "[Unit]", "[Unit]\nWants=alicia.service"), "nginx.service has Wants"),
        ("server-mock", unit("nginx.service", " alicia.service", ""), "is not ordered after alicia.service"),
        ("server-mock", unit("mock-llm.service", "[Service]", "[Service]\nX=test-api-key"), "holds a secret"),
        ("server-mock", put(["multi-user"], "boot", "startedByBoot", "nginx.service"), "would be started by multi"),
        ("server-mock", put(["postgresql"], "boot", "enabledTargets"), "targets that start the stack"),
        ("server-mock", put("0644", "etc", "alicia/env", "mode"), "/etc/alicia/env is 0644"),
        ("server-mock", edit("nginx", "text", old="'1; mode=block' always", new="0"), "answers with"),
        ("server-mock", edit("nginx", "text", old="try_files $uri =404;", new="add_header A b;"), "answers with"),
        (
            "server-mock",
            edit("nginx", "text", old="proxy_set_header Host", new="proxy_set_header Host a;\nproxy_set_header Host"),
            "sends on",
        ),
        ("server-mock", edit("nginx", "text", old="client_max_body_size 10m", new="client_max_body_size 1m"), "1m"),
        ("server-mock", put("16.4", "postgresql", "version"), "PostgreSQL is 16.4"),
        ("server-mock", edit("postgresql", "conf", old="'localhost'", new="'*'"), "listen_addresses is *"),
        ("server-mock", edit("firewall", old="80, 8888", new="80"), "firewall: open is [80]"),
        ("server-full", edit("etc", "alicia/env", "text", old="ALICIA", new="A_KEY=x ALICIA"), "keys of its own"),
        ("server-minimal", put("[Service]\n", "units", "mock-livekit.service"), "units of the stack"),
    ],
)
def test_what_is_broken_is_named(machine: str, break_it: Callable[[Facts], None], said: str) -> None:
    broken = facts(machine)
    break_it(broken)
    found = problems(machine, broken)
    assert any(said in line for line in found), found
