"""Whatever the validator accepts, the code that uses it takes: it may answer that nothing is there, it never raises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from fake_channels import LocalSsh
from fake_qemu import run_async
from httpx import Headers
from hypothesis import example, given
from hypothesis import strategies as st
from topology_samples import write

from orchestrator.deadline import Deadline
from orchestrator.errors import TopologyError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.tunnel import HttpAnswer
from orchestrator.patterns import PatternError, check, found
from orchestrator.services.channels import Channels, run_check
from orchestrator.services.checks.http import HttpCheck, judge_response
from orchestrator.services.checks.tcp import TcpCheck
from orchestrator.timescale import TimeScale
from orchestrator.topology import values
from orchestrator.topology.document import Node
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Check
from orchestrator.topology.positions import Position
from orchestrator.topology.urls import parse_endpoint, parse_url
from orchestrator.topology.value_types import InvalidValue

AT = Position(1, 1)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)


def accepted(reader: Any, text: str) -> bool:
    try:
        reader(Node(text, AT, AT))
    except InvalidValue:
        return False
    return True


class Nobody(LocalSsh):
    """A guest that resolves and connects nothing, and looks at what it is asked to."""

    def open_direct(self, host: str, port: int, timeout: float) -> Any:
        host.encode("ascii")
        assert 0 < len(host) <= 253
        assert 0 < port < 65536
        raise ConnectionError("Connect failed")


def made(check: Check) -> str:
    async def channel() -> Ssh:
        return cast("Ssh", Nobody("client"))

    answer = run_async(
        run_check(check, Channels(cast("Any", None), channel), scale=TimeScale(), deadline=Deadline.after(10))
    )
    assert not answer.ok
    return answer.text


HOSTS = ANY | st.from_regex(r"[0-9.:\[\]a-z_-]{1,20}", fullmatch=True)
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "HTTP", "https"]),
    HOSTS,
    st.sampled_from(["", ":80", ":0", ":65536", ":x", ":"]),
    st.just("") | st.builds("/{}".format, ANY) | st.builds("?{}#{}".format, ANY, ANY),
)


@given(URLS | ANY)
@example("http://10.77.0.256/")
@example("http://ä_b/")
@example("http://a:0/")
@example("http://a/" + "x" * 70_000)
@example("http://a_b/")
@example("https://[::1]:8443/ü?a=b c#d")
@example('http://a/ü%20{}|\\^`"<>?q=é')
@example("http://[::1%25eth0]/")
@example("http://1.2.3/")
def test_every_url_that_is_accepted_is_asked_for(text: str) -> None:
    if accepted(values.url, text):
        assert made(Check("c", "client", HttpCheck(text, verify=False))).endswith("Connect failed")
        url = parse_url(text)
        assert re.fullmatch(r"/[\x21-\x7e]*", url.target), "what may stand in the first line of a request"


def test_urls_are_sent_as_they_are_meant() -> None:
    def sent(text: str) -> tuple[str, str]:
        url = parse_url(text)
        return url.authority, url.target

    assert sent("http://server") == ("server", "/")
    assert sent("http://server:80/a%20b?c=d#e") == ("server", "/a%20b?c=d")
    assert sent("HTTPS://server:8443?a=ü") == ("server:8443", "/?a=%C3%BC")
    assert sent("http://[::1]:8080/") == ("[::1]:8080", "/")
    assert sent("http://a_b/{x}") == ("a_b", "/%7Bx%7D")


@given(st.builds("{}:{}".format, HOSTS, st.integers(-1, 70000)) | ANY)
@example("10.0.0.256:80")
@example("[::1]:80")
@example("a:080")
@example("a:٣")
def test_every_endpoint_that_is_accepted_is_connected_to(text: str) -> None:
    if accepted(values.endpoint, text):
        assert made(Check("c", "client", TcpCheck(text))).endswith("Connect failed")
        parse_endpoint(text)


@given(ANY | st.from_regex(r"[a-z(){}\[\]*+?|^$.\\0-9,-]{1,15}", fullmatch=True), st.text(max_size=200))
@example("(a+)+$b", "a" * 100_000)
@example("(?:a?){400}b", "a" * 100_000)
@example(".{0,221}", "a" * 1000)
@example("", "")
@example("^$", "\ud800")
def test_every_expression_that_is_accepted_is_searched(pattern: str, text: str) -> None:
    if not accepted(values.pattern, pattern):
        with pytest.raises(PatternError):
            check(pattern)
        return
    assert found(pattern, text) in (True, False)
    assert found(f"(?m){pattern}", text) in (True, False), "as a check does"


@given(st.dictionaries(ANY, ANY, max_size=3), st.dictionaries(ANY, ANY, max_size=3))
def test_every_header_that_is_accepted_is_looked_for(wanted: dict[str, str], sent: dict[str, str]) -> None:
    headers = {name: value for name, value in wanted.items() if values.TOKEN.fullmatch(name)}
    found = {name: value for name, value in sent.items() if values.TOKEN.fullmatch(name)}
    check = HttpCheck("http://a/", headers=headers)
    judge_response(check, HttpAnswer(200, Headers([(k.encode(), v.encode()) for k, v in found.items()]), None))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(ANY, JSON, max_size=3), st.text(max_size=50) | st.builds(json.dumps, JSON))
def test_every_body_is_judged(wanted: dict[str, object], body: str) -> None:
    check = HttpCheck("http://a/", json=wanted)
    judge_response(check, HttpAnswer(200, Headers(), body)).text.encode()


UNITS = st.from_regex(r"[A-Za-z0-9:_.@\\-]{1,12}\.(service|socket|mount)", fullmatch=True)
# What systemd 257's unit_name_is_valid says of an instance or a plain name.
SYSTEMD = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]+)?\.[a-z]+")


@given(UNITS | ANY)
@example("@.service")
@example("getty@.service")
@example("a@b@c.service")
@example("-.mount")
@example("a" * 250 + ".service")
def test_every_unit_that_is_accepted_is_one_of_systemd(text: str) -> None:
    if accepted(values.unit, text):
        assert SYSTEMD.fullmatch(text)
        assert len(text) <= 255


@given(ANY | st.from_regex(r"(/[a-z]{1,300}){1,20}", fullmatch=True))
def test_every_path_that_is_accepted_is_one_of_linux(text: str) -> None:
    for reader in (values.guest_path, values.host_path):
        if accepted(reader, text):
            Path(text).exists()  # raises where a name is too long


@given(
    st.sampled_from(["source", "debian", "layer", "path", "ca"]),
    st.sampled_from(["x" * 300, "/" * 5000, "a/" * 3000, "\t", "ü", "..", "~", "a\\u0000b"]),
)
def test_no_path_breaks_the_loader(tmp_path_factory: pytest.TempPathFactory, key: str, path: str) -> None:
    text = {
        "source": '[machines.server]\nimage = "server"\nfiles = [{{ source = "{}", target = "/x" }}]\n',
        "debian": '[images.server]\ndebian = "{}"\n[machines.server]\nimage = "server"\n',
        "layer": '[layers.app]\nsource = "{}"\ntarget = "/opt/app"\n',
        "path": '[machines.server]\nimage = "server"\n[suite]\nmachine = "server"\npath = "{}"\ncommand = ["a"]\n',
        "ca": (
            '[services.g]\nkind = "target"\nmachine = "server"\n[services.g.checks.c]\nhttp = "https://a"\nca = "{}"\n'
        ),
    }[key].format(path)
    folder = tmp_path_factory.getbasetemp() / "paths"
    folder.mkdir(exist_ok=True)
    file = write(folder, f'name = "t"\n{text}')
    try:
        load_topology(file)
    except TopologyError as error:
        assert error.evidence


def test_a_result_without_text_is_searched_too() -> None:
    assert not found("(?m)^x$", GuestResult(0, b"\xff\xfe", b"").text)
