"""What ``orchestrator add`` writes: the table of a machine, a service or a check, made from options. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.topology.document import suggest

Path = tuple[str, ...]
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A table to be added.

    Attributes:
        path: where it goes, as ``("services", "web")``.
        keys: what it holds, in order.
        before: tables that it needs and that the file lacks.
    """

    path: Path
    keys: Mapping[str, Any]
    before: tuple[Entry, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class MachineOptions:
    image: str | None = None
    recipe: str | None = None
    network: str | None = None
    address: str | None = None
    cpus: int | None = None
    memory: str | None = None
    ports: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    machine: str | None = None
    unit: str | None = None
    kind: str | None = None
    depends_on: Sequence[str] = ()
    timeout: str | None = None
    description: str | None = None


def machine(data: Data, name: str, options: MachineOptions) -> Entry:
    """A machine. What is not given is the only one of its kind in the file, or the next free address.

    Raises:
        UsageError: the name is taken, or there is no such only one.
    """
    _free(data, ("machines", name))
    before: list[Entry] = []
    image = options.image or (name if options.recipe else _only(data, "images", "--image NAME, or --recipe FILE"))
    if options.recipe:
        _free(data, ("images", image))
        before.append(Entry(("images", image), {"debian": options.recipe}))
    keys: dict[str, Any] = {"image": image}
    keys |= {key: value for key, value in (("cpus", options.cpus), ("memory", options.memory)) if value is not None}
    if options.network or _table(data, "networks"):
        network = options.network or _only(data, "networks", "--network NAME")
        keys["networks"] = {network: {"address": options.address or free_address(data, network)}}
    if options.ports:
        keys["ports"] = list(options.ports)
    return Entry(("machines", name), keys, tuple(before))


def service(data: Data, name: str, options: ServiceOptions) -> Entry:
    """A service. Without a machine it runs on the only one; without a unit it is that of its name.

    Raises:
        UsageError: the name is taken, or there are several machines.
    """
    _free(data, ("services", name))
    keys: dict[str, Any] = {"machine": options.machine or _only(data, "machines", "--machine NAME")}
    if options.kind != "target":
        keys["unit"] = options.unit or f"{name}.service"
    for key in ("kind", "timeout", "description"):
        if (value := getattr(options, key)) is not None:
            keys[key] = value
    if options.depends_on:
        keys["depends_on"] = list(options.depends_on)
    return Entry(("services", name), keys)


def check(data: Data, name: str, of: str | None, keys: Mapping[str, Any]) -> Entry:
    """A check of a service.

    Raises:
        UsageError: no service is named or there is no such, it has this check already, or no kind is given.
    """
    if of is None:
        raise UsageError("a check needs --service", evidence=_known(data, "services"), hint="--service NAME")
    known = _table(data, "services")
    if of not in known:
        raise UsageError(
            f'there is no service "{of}"{suggest(of, known)}',
            evidence=_known(data, "services"),
            hint=f"orchestrator add service {of}",
        )
    _free(data, ("services", of, "checks", name))
    if not keys:
        raise UsageError("a check needs its kind", hint="one of --http, --tcp, --exec, --exists, --unit, --dns")
    return Entry(("services", of, "checks", name), keys)


def free_address(data: Data, network: str) -> str:
    """The first address of a network after the highest that a machine has; the tenth where none has one. Pure.

    Raises:
        UsageError: the network is not there, or all its addresses are taken.
    """
    known = _table(data, "networks")
    if network not in known:
        raise UsageError(f'there is no network "{network}"{suggest(network, known)}', evidence=_known(data, "networks"))
    try:
        subnet = ip_network(known[network]["subnet"])
    except (KeyError, TypeError, ValueError):
        subnet = None
    if not isinstance(subnet, IPv4Network):
        raise UsageError(f'the network "{network}" has no subnet that an address can be chosen from', hint="--address")
    used = {str(one) for one in _addresses(data, network)}
    hosts = [str(host) for host in subnet.hosts()] if subnet.num_addresses <= 65536 else []
    last = max((at for at, host in enumerate(hosts) if host in used), default=min(8, len(hosts) - 2))
    for host in (*hosts[last + 1 :], *hosts[: last + 1]):
        if host not in used:
            return host
    raise UsageError(f'no address of the network "{network}" could be chosen', hint="--address ADDRESS")


def _addresses(data: Data, network: str) -> Iterator[object]:
    for each in _table(data, "machines").values():
        interface = _table(each if isinstance(each, Mapping) else {}, "networks").get(network)
        if isinstance(interface, Mapping):
            yield interface.get("address")


def _table(data: Data, key: str) -> Data:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def _known(data: Data, key: str) -> list[str]:
    names = ", ".join(_table(data, key))
    return [f"{key} of the file: {names}" if names else f"the file has no {key}"]


def _only(data: Data, key: str, option: str) -> str:
    names = list(_table(data, key))
    if len(names) != 1:
        raise UsageError(f"which of the {key} is meant is not clear", evidence=_known(data, key), hint=option)
    return names[0]


def _free(data: Data, path: Path) -> None:
    node: object = data
    for part in path:
        if not isinstance(node, Mapping) or part not in node:
            return
        node = node[part]
    raise UsageError(f"{'.'.join(path)} is there already", hint="another name, or an editor for what is there")
