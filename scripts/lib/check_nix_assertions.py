"""What must hold for each evaluated machine, as values. Pure: facts in, sentences about what is wrong out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from check_nix_parity import firewall_facts
from check_nix_texts import (
    blocks,
    environment_of,
    inherited,
    nginx_server,
    nginx_tree,
    postgresql_settings,
    sshd_settings,
    unit_sections,
)

Facts = Mapping[str, Any]

FORBIDDEN_DEVICES = ("-virtfs", "9p", "virtiofs", "vhost-user", "vsock", "-nographic", "memory-backend")
HARDENED = {"NoNewPrivileges": "true", "PrivateTmp": "true", "ProtectSystem": "strict", "ProtectHome": "true"}
ORDER = {
    "postgresql-setup.service": {"postgresql.service"},
    "alicia-migrate.service": {"postgresql.service", "postgresql-setup.service"},
    "alicia.service": {"postgresql.service", "alicia-migrate.service", "mock-llm.service", "mock-livekit.service"},
    "nginx.service": {"alicia.service"},
}
ABSENT = {"mock": set(), "minimal": {"mock-livekit.service"}, "full": {"mock-llm.service", "mock-livekit.service"}}
STACK_UNITS = {"postgresql.service", "mock-llm.service", "mock-livekit.service", *ORDER}
DRAGGING = ("Requires", "Requisite", "Wants", "BindsTo", "PartOf", "Upholds")
HEADERS = {
    "X-Frame-Options SAMEORIGIN always",
    "X-Content-Type-Options nosniff always",
    "X-XSS-Protection 1; mode=block always",
    "Cache-Control $cache_control always",
}
PROXIED = {
    "^~ /api/": "http://127.0.0.1:8888",
    "= /health": "http://127.0.0.1:8888",
    "^~ /health/": "http://127.0.0.1:8888",
    "= /ws": "http://127.0.0.1:8888",
}
SETTINGS = {
    "listen_addresses": "localhost",
    "port": "5432",
    "shared_buffers": "128MB",
    "effective_cache_size": "256MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "log_statement": "all",
    "log_duration": "on",
    "password_encryption": "scram-sha-256",
}
HBA = ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256", "host all all ::1/128 scram-sha-256"]


def problems(machine: str, facts: Facts) -> list[str]:
    """Everything that does not hold; empty when all is well."""
    kind, _, variant = machine.partition("-")
    found = [*_evaluation(facts), *_virtual_machine(facts), *_guest(facts)]
    if kind == "server":
        found += [*_units(facts, variant), *_secrets(facts, variant), *_nginx(facts, variant), *_database(facts)]
        found += _firewall(facts)
    else:
        found += _client(facts, desktop=variant == "desktop")
    return found


def _evaluation(facts: Facts) -> Iterator[str]:
    yield from (f"warning: {one}" for one in facts["warnings"])
    yield from (f"failed assertion: {one}" for one in facts["failedAssertions"])


def _virtual_machine(facts: Facts) -> Iterator[str]:
    script = facts["runScript"]
    arguments: list[str] = script["arguments"]
    text = " ".join(arguments)
    yield from (f"the run script has {word}" for word in FORBIDDEN_DEVICES if word in text)
    if facts["shares"]:
        yield f"folders of the host are shared: {facts['shares']}"
    if script["program"] not in ("qemu-system-x86_64", "qemu-kvm"):
        yield f"the run script ends in {script['program']}, not in QEMU"
    if arguments[-2:] != ["$QEMU_OPTS", "$@"]:
        yield "the run script does not end in its own arguments"
    for variable in ("NIX_DISK_IMAGE", "TMPDIR", "USE_TMPDIR", "QEMU_NET_OPTS", "QEMU_KERNEL_PARAMS"):
        if variable not in script["variables"]:
            yield f"the run script does not read {variable}"
    if "user,id=user.0,$QEMU_NET_OPTS" not in arguments:
        yield "the user network does not take QEMU_NET_OPTS"
    drives = [arguments[number + 1] for number, word in enumerate(arguments) if word == "-drive"]
    if len(drives) != 2 or "file=$NIX_DISK_IMAGE" not in drives[0]:
        yield f"expected the machine's disk and the store, found {drives}"
    elif not {"readonly=on", "format=raw"} <= set(drives[1].split(",")) or "file=/nix/store/" not in drives[1]:
        yield f"the store is no read-only image of Nix's: {drives[1]}"
    if copying := {"tar", "mkfs.erofs", "mksquashfs", "virtiofsd", "swtpm"} & set(script["programs"]):
        yield f"every start runs {', '.join(sorted(copying))}"
    append = next((arguments[n + 1] for n, word in enumerate(arguments) if word == "-append"), "")
    consoles = re.findall(r"console=(\S+)", append)
    if not consoles or not consoles[-1].startswith("ttyS0"):
        yield f"the serial port is not the primary console: {consoles}"
    if not append.endswith("$QEMU_KERNEL_PARAMS"):
        yield "QEMU_KERNEL_PARAMS is not at the end of the kernel's command line"


def _guest(facts: Facts) -> Iterator[str]:
    systems = {path: one["fsType"] for path, one in facts["fileSystems"].items()}
    if systems != {"/": "ext4", "/nix/store": "squashfs"}:
        yield f"unexpected file systems: {systems}"
    elif not facts["fileSystems"]["/nix/store"]["neededForBoot"]:
        yield "the store is not mounted by the initial RAM disk"
    if "virtio_rng" not in facts["boot"]["initrdModules"]:
        yield "virtio_rng is not loaded early"
    if "panic=0" not in facts["boot"]["kernelParams"]:
        yield "a panicked kernel would reboot"
    expected = {
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "HostKey": "/etc/ssh/ssh_host_ed25519_key",
        "UsePAM": "no",
    }
    found = sshd_settings(facts["sshd"])
    yield from (
        f"sshd: {key} is {found.get(key)}, not {value}" for key, value in expected.items() if found.get(key) != value
    )
    if "%h/.ssh/authorized_keys" not in found.get("AuthorizedKeysFile", ""):
        yield "sshd does not read the key that the orchestrator puts in"
    yield from (
        f"{user} has a password"
        for user, one in facts["users"].items()
        if one["hashedPassword"] not in (None, "*", "!")
    )
    if facts["mutableUsers"]:
        yield "passwords could be changed in the machine"
    for unit in ("qemu-guest-agent.service", "sshd.service"):
        if unit not in facts["units"]:
            yield f"{unit} is missing"
    yield from (f"{name} is still on" for name, off in facts["off"].items() if not off)


def _units(facts: Facts, variant: str) -> Iterator[str]:
    present = set(facts["units"]) & STACK_UNITS
    if present != STACK_UNITS - ABSENT[variant]:
        yield f"units of the stack: {sorted(present)}"
    for unit, starters in facts["boot"]["startedByBoot"].items():
        if others := set(starters) - {"alicia-stack"}:
            yield f"{unit} would be started by {', '.join(sorted(others))}"
    if facts["boot"]["enabledTargets"]:
        yield f"targets that start the stack are enabled: {facts['boot']['enabledTargets']}"
    for unit in sorted(present):
        sections = unit_sections(facts["units"][unit])
        service, header = sections.get("Service", {}), sections.get("Unit", {})
        if "Install" in sections:
            yield f"{unit} is installed somewhere: {sections['Install']}"
        yield from (f"{unit} has {key}={header[key]}" for key in DRAGGING if header.get(key))
        after = {word for value in header.get("After", []) for word in value.split()}
        if missing := ORDER.get(unit, set()) - after:
            yield f"{unit} is not ordered after {', '.join(sorted(missing))}"
        yield from (
            f"{unit}: {key} is {service.get(key)}" for key, value in HARDENED.items() if service.get(key) != [value]
        )
        if service.get("Restart", ["no"]) != ["no"]:
            yield f"{unit} restarts itself: {service['Restart']}"
        if service.get("TimeoutStartSec") != ["300"]:
            yield f"{unit}: TimeoutStartSec is {service.get('TimeoutStartSec')}"
    backend = unit_sections(facts["units"]["alicia.service"])["Service"]
    if not backend["ExecStart"][0].endswith("/bin/alicia serve"):
        yield f"the backend is started by {backend['ExecStart']}"
    if backend.get("LimitNOFILE") != ["65536"]:
        yield f"the backend's limit of open files is {backend.get('LimitNOFILE')}"
    if environment_of(backend).get("ALICIA_SERVER_HOST") != "0.0.0.0":  # the port is open for debugging
        yield "the backend does not answer on its open port"


def _secrets(facts: Facts, variant: str) -> Iterator[str]:
    for name, entry in facts["etc"].items():
        if entry["mode"] != "0640" or entry["group"] in ("root", None):
            yield f"/etc/{name} is {entry['mode']} of group {entry['group']}"
    secrets = re.findall(r'_(?:KEY|SECRET)="([^"]+)"', facts["etc"]["alicia/env"]["text"])
    secrets.append(facts["etc"]["alicia/database-password"]["text"].strip())
    for unit, text in facts["units"].items():
        yield from (f"{unit} holds a secret" for secret in secrets if secret in text)
    if variant == "full" and "KEY" in facts["etc"]["alicia/env"]["text"]:
        yield "the full variant brings keys of its own"


def _nginx(facts: Facts, variant: str) -> Iterator[str]:
    tree = nginx_tree(facts["nginx"]["text"])
    server = nginx_server(tree)
    locations = {one.arguments: one.body or () for one in blocks(server, "location")}
    if {"= /rtc", "^~ /rtc/"} & locations.keys() != ({"= /rtc", "^~ /rtc/"} if variant == "mock" else set()):
        yield "the way to LiveKit does not fit the variant"
    for location, target in PROXIED.items():
        passed = [one.arguments for one in locations.get(location, ()) if one.name == "proxy_pass"]
        if passed != [target]:
            yield f"{location} passes to {passed}"
    for location, headers in inherited(tree, "add_header").items():
        if sorted(headers) != sorted(HEADERS):
            yield f"{location} answers with {headers}"
    for location, headers in inherited(tree, "proxy_set_header").items():
        names = [header.split()[0] for header in headers]
        if len(set(names)) != len(names) or "Host" not in names:
            yield f"{location} sends on {headers}"
    if any(one.name == "proxy_set_header" for http in blocks(tree, "http") for one in http.body or ()):
        yield "headers are set at http level as well"
    values = {one.name: one.arguments for one in server}
    for name, value in {"client_max_body_size": "10m", "proxy_read_timeout": "300s", "server_name": "_"}.items():
        if values.get(name) != value:
            yield f"the server's {name} is {values.get(name)}"
    fallback = [one.arguments for one in locations.get("/", ()) if one.name == "try_files"]
    if fallback != ["$uri /index.html"]:
        yield f"deep links end in {fallback}"


def _database(facts: Facts) -> Iterator[str]:
    if not facts["postgresql"]["version"].startswith("17."):
        yield f"PostgreSQL is {facts['postgresql']['version']}"
    settings = postgresql_settings(facts["postgresql"]["conf"])
    yield from (
        f"postgresql.conf: {key} is {settings.get(key)}"
        for key, value in SETTINGS.items()
        if settings.get(key) != value
    )
    rules = [line for line in facts["postgresql"]["hba"].splitlines() if line.strip()]
    if rules != HBA:
        yield f"pg_hba.conf is {rules}"


def _firewall(facts: Facts) -> Iterator[str]:
    found = firewall_facts(facts["firewall"])
    expected = {"policy": "drop", "open": [80, 8888], "open to one": ["10.0.2.2 22"]}
    yield from (
        f"firewall: {key} is {found.get(f'firewall / {key}')}"
        for key, value in expected.items()
        if found.get(f"firewall / {key}") != value
    )


def _client(facts: Facts, *, desktop: bool) -> Iterator[str]:
    browser = facts["browser"]
    for word in ("PLAYWRIGHT_BROWSERS_PATH /nix/store/playwright-browsers", "nodejs"):
        if word not in browser["wrapper"]:
            yield f"run-e2e-tests is wrapped without {word}"
    names = {name.rpartition("-")[0] for name in browser["browsers"]}
    if names != {"chromium_headless_shell", "ffmpeg"} | ({"chromium"} if desktop else set()):
        yield f"browsers: {browser['browsers']}"
    if "run-e2e-tests" not in facts["packages"]:
        yield "run-e2e-tests is not on PATH"
    if browser["folders"].get("/artifacts", {}).get("d", {}).get("user") != "test":
        yield "/artifacts does not belong to test"
    if "/opt/e2e/node_modules" not in browser["folders"]:
        yield "suites under /opt/e2e would not find Playwright"
    if facts["firewall"] is not None:
        yield "the client has a firewall"
    if browser["desktop"] is not desktop:
        yield f"the desktop is {'on' if browser['desktop'] else 'off'}"
    if desktop and browser["resolution"] != {"x": 1920, "y": 1080}:
        yield f"the desktop has {browser['resolution']}"
