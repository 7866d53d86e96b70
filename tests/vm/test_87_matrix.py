"""`orchestrator matrix` on real machines: two cells at once, each with machines of its own, and one report of both."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from host import HERE, Host


def test_two_cells_are_one_run(bare: Host) -> None:
    done = bare.run("--file", str(HERE / "matrix.toml"), "matrix", "--json", limit=400)
    done.expect(0, "matrix boxes-.*2 cells on local", "cell 1of2: passed on local", "cell 2of2: passed on local")
    assert done.json["tests"] == {"passed": 2, "failed": 0, "flaky": 0, "skipped": 0, "did_not_run": 0}
    assert (done.json["missing"], done.json["left"]) == ([], []), "no test was left out, nothing runs any more"
    folder = bare.latest
    cases = [one.get("name") for one in ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")]
    assert {"box", "test 1", "test 2"} <= set(cases)
    for cell in done.json["cells"]:
        assert cell["tests"]["passed"] == 1 and (folder / cell["run_folder"] / "report/index.html").exists()
    assert bare.run("status", "--all", "--json").json == []
