"""The keys of ``[nightly]``, described once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.topology import values
from orchestrator.topology.key import REQUIRED, Key
from orchestrator.topology.nightly import Flaky, Isolation, Overlap
from orchestrator.topology.nightly_values import age, clock_time, repeats, size
from orchestrator.topology.value_types import Array, Command, Entries, HostPath, Shape, reference, table_list, words

_FOLDERS = Entries(values.nonempty, "table of host paths")
_LAYER_SETS = Shape("tables of host paths", {"type": "object", "additionalProperties": _FOLDERS.schema})

NIGHTLY_TABLES: Final[Mapping[str, Mapping[str, Key]]] = {
    "nightly": {
        "variants": Key(Array(values.nonempty, "list of variants"), "each is run", "the file's own `variant`"),
        "suites": Key(_FOLDERS, "folders of suites by a name; each is run in each variant", "that of `suite.path`"),
        "layers": Key(
            _LAYER_SETS,
            'sets of folders for layers by a name: `[nightly.layers.release]`, then `app = "build/release"`; each is '
            "run with each suite and variant",
            "the sources of the layers",
        ),
        "budget": Key(
            values.seconds, "for everything; a run that does not begin in time is left out and reported", '`"6h"`'
        ),
        "isolate": Key(words(Isolation), "what of a suite starts from a fresh state, as `run --isolate`", '`"none"`'),
        "reruns": Key(repeats, "how often a failed test is repeated, each time in a fresh state", "`3`"),
        "new_tests": Key(repeats, "how often a test runs in its first night", "`5`"),
        "flaky": Key(words(Flaky), "whether a flaky test fails the night or is only reported", '`"warn"`'),
        "overlap": Key(words(Overlap), "what a night does while another one is under way", '`"skip"`'),
        "pull": Key(
            Array(values.nonempty, "list of host paths"),
            "folders of Git repositories, brought up to date before the first run (`git pull --ff-only`). One that "
            "cannot be stays as it is, and that is reported",
        ),
        "build": Key(values.flag, "build images before the first run", "`true`"),
        "at": Key(clock_time, "when `--install` lets it begin, in the host's time", '`"02:00"`'),
        "site": Key(HostPath(), "a folder for the pages of the history; made where it is missing"),
        "metrics": Key(HostPath(), "a file for the textfile collector of node_exporter; its name ends in `.prom`"),
        "quarantine": Key(table_list("nightly.quarantine"), "see `nightly.quarantine`"),
        "retention": Key(Shape("table", reference("nightly.retention")), "see `nightly.retention`"),
        "notify": Key(Shape("table", reference("nightly.notify")), "see `nightly.notify`"),
    },
    "nightly.quarantine": {
        "test": Key(values.single_line, "a part of the title of a test whose failures do not count", REQUIRED),
        "reason": Key(values.single_line, "shown next to it", REQUIRED),
        "until": Key(values.day, "the last day; then it counts again", REQUIRED),
    },
    "nightly.retention": {
        "failed": Key(age, "the whole folder of a run with a failure or a flaky test", '`"30d"`'),
        "passed": Key(age, "the whole folder of any other run", '`"3d"`'),
        "passed_runs": Key(repeats, "so many of them stay in any case", "`5`"),
        "evidence": Key(age, "`events.jsonl`, `summary.json` and `junit.xml` of every run", '`"365d"`'),
        "size": Key(size, "of all run folders; beyond it the oldest go first, those that passed before the others"),
    },
    "nightly.notify": {
        "command": Key(Command("command, list of words"), "gets the message on stdin"),
        "webhook": Key(
            values.single_line,
            "gets it as JSON by POST: `text`, `outcome`, `night`, `link`. `file:PATH`: the file holds the address",
        ),
        "apprise": Key(
            Array(values.single_line, "list of addresses"),
            "of [apprise](https://github.com/caronc/apprise): mail, chats; or `file:PATH`",
        ),
        "ping": Key(
            values.single_line,
            "hears that a night begins and how it ended, also when nothing changed: `ADDRESS/start`, then "
            "`ADDRESS/CODE`, as healthchecks.io has it; an address with `{state}` gets `up` or `down` in its place",
        ),
        "link": Key(
            values.single_line, "where the pages can be read, for the message; `{night}` is the name of the night"
        ),
    },
}
"""The keys of each table."""
