"""Settings of every test: interrupts arrive; hypothesis judges the code, not how busy the machine is.

A few examples each in the quick part; many in the slow part (``--hypothesis-profile=thorough``).
"""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell that starts the tests in the background makes them ignore interrupts, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


settings.register_profile("quick", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=300)
settings.load_profile("quick")


def _host() -> list[object]:
    """What the set-up of a guest changes."""
    places = [Path(one) for one in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/root/.ssh/authorized_keys")]
    facts = [place.stat() if os.access(place, os.R_OK) else None for place in places]
    return [socket.gethostname(), *((fact.st_mtime_ns, fact.st_size) if fact else None for fact in facts)]


@pytest.fixture(scope="session", autouse=True)
def this_host_stays_as_it_is() -> Iterator[None]:
    """Scripts for guests are run by some tests, as root where CI is: none of them may set this host up."""
    before = _host()
    yield
    assert _host() == before, "a test has changed the names or keys of this host"
