"""Layers in a topology file: where they may be, who uses them, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import completed, one, problems, write

from orchestrator.topology.load import load_topology, load_variants, unused_layers
from orchestrator.topology.model import Topology

WEB = '[services.web]\nmachine = "server"\nunit = "web.service"\nuses = {}\n'


def layer(name: str, target: str, **keys: str) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[layers.{name}]\nsource = "standin"\ntarget = "{target}"\n{more}'


def file(*layers: str, uses: str = '["app"]') -> str:
    return "\n".join((*layers, WEB.format(uses)))


def loaded(tmp_path: Path, text: str) -> Topology:
    return load_topology(write(tmp_path, completed(text)))


def test_a_machine_has_what_its_services_use(tmp_path: Path) -> None:
    two = (layer("app", "/opt/app"), layer("data", "/srv/data", owner='"www-data:4"', exclude='["*.pyc"]'))
    found = loaded(tmp_path, file(*two, uses='["data", "app"]'))
    assert [one.name for one in found.layers_of("server")] == ["app", "data"]
    assert found.layers_of("client") == ()
    data = found.layers["data"]
    assert (data.owner, data.exclude, data.source, data.replaced) == (
        "www-data:4",
        ("*.pyc",),
        tmp_path / "standin",
        False,
    )
    assert found.layers["app"].owner == "root"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (file(layer("app", "opt/app")), '"target" in layer "app": expected an absolute path, found "opt/app"'),
        (file(layer("app", "/")), '"target" in layer "app": expected a plain path'),
        (file(layer("app", "/usr")), '"target" in layer "app": "/usr" is a folder of the guest\'s system'),
        (file(layer("app", "/sys/app")), '"target" in layer "app": "/sys/app" is a folder of the guest\'s system'),
        (
            file(layer("app", "/opt/app"), layer("data", "/opt/app"), uses='["app", "data"]'),
            'the targets of layers "app" and "data" are in each other on machine "server": /opt/app and /opt/app',
        ),
        (
            file(layer("app", "/opt/app/lib"), layer("data", "/opt/app"), uses='["app", "data"]'),
            'the targets of layers "app" and "data" are in each other on machine "server": /opt/app/lib and /opt/app',
        ),
        (file(layer("app", "/opt/app"), uses='["ap"]'), 'layer "ap" in service "web" is not defined (did you mean'),
        (file(layer("app", "/opt/app"), uses='["app", "app"]'), 'service "web" uses "app" twice'),
        (file(layer("app", "/opt/app", requires='["bin/x*"]')), '"source" in layer "app": standin/bin/x* is missing'),
        (file(layer("app", "/opt/app", requires='["../x"]')), 'item 1 of "requires" in layer "app": expected a plain'),
        (file(layer("app", "/opt/app", exclude='["a/"]')), 'item 1 of "exclude" in layer "app": expected a plain'),
        (file(layer("app", "/opt/app", owner='"a:b:c"')), '"owner" in layer "app": expected "user" or "user:group"'),
        (file(layer("app", "/opt/app", owner='"4294967295"')), '"owner" in layer "app": the number of a user'),
        (file('[layers.app]\ntarget = "/opt/app"\n'), 'layer "app" has no "source"'),
        (file('[layers.app]\nsource = "no"\ntarget = "/a"\n'), '"source" in layer "app": no is not a folder'),
        (
            file(layer("app", "/opt/app"))
            + '[machines.server]\nimage = "server"\nfiles = [{ source = "a", target = "/opt/app/a" }]\n',
            'file "/opt/app/a" of machine "server" is in layer "app", which is read-only',
        ),
        ('app = "standin"\n', '"app" of a topology is called "layers.app" now'),
    ],
)
def test_mistakes(text: str, why: str, tmp_path: Path) -> None:
    assert one(tmp_path, text).startswith(why)


def test_targets_of_different_machines_may_be_the_same(tmp_path: Path) -> None:
    other = '[services.other]\nmachine = "client"\nunit = "other.service"\nuses = ["data"]\n'
    found = loaded(tmp_path, file(layer("app", "/opt/app"), layer("data", "/opt/app")) + other)
    assert [one.name for one in found.layers_of("client")] == ["data"]


def test_a_layer_that_nobody_uses_is_told(tmp_path: Path) -> None:
    found = loaded(tmp_path, file(layer("app", "/opt/app"), layer("data", "/srv/data")))
    assert unused_layers(found) == (
        'no service uses layer "data", so no machine has it: add it to "uses" of a service',
    )


def test_a_folder_given_for_a_layer_takes_the_place_of_the_files_own(tmp_path: Path) -> None:
    path = write(tmp_path, completed(file(layer("app", "/opt/app", requires='["bin/*"]'))))
    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    assert problems(path, layers={"app": other, "apq": other}) == [
        "--layer app: other/bin/* is missing",
        '--layer apq: the topology has no layer "apq" (did you mean "app"?); its layers are app',
    ]
    (other / "bin/x").touch()
    found = load_topology(path, layers={"app": other}).layers["app"]
    assert (found.source, found.replaced) == (other, True)
    same = load_topology(path, layers={"app": tmp_path / "standin"})
    assert same == load_topology(path), "the file's own folder takes no place"


def test_a_variant_may_have_another_folder_or_none(tmp_path: Path) -> None:
    (tmp_path / "quick").mkdir()
    text = file(layer("app", "/opt/app"), layer("data", "/srv/data"), uses='["app", "data"]')
    variants = '[variants.quick.layers]\napp.source = "quick"\ndata = "absent"\n[variants.quick.services.web]\n'
    path = write(tmp_path, completed(f'{text}\n{variants}uses = ["app"]\n[variants.whole]\n'))
    found = load_variants(path, layers={"data": tmp_path / "quick"})
    assert found["quick"].layers["app"].source == tmp_path / "quick"
    assert list(found["quick"].layers) == ["app"]
    assert found["whole"].layers["data"].source == tmp_path / "quick"
    path.write_text(path.read_text().replace('uses = ["app"]', "timeout = 5"))
    assert problems(path, variant="quick")[0].endswith('layer "data" in service "web" was removed by the variant')
