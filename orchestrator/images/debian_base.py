"""The base layer of a Debian image: packages, configured, in an ext4 file system.

mmdebstrap makes a tar archive, ``mke2fs -d`` a file system of it; neither needs root
when the user has subordinate ids. The folder of the entry then holds ``base.raw``,
``vmlinuz``, ``initrd.img``, ``tree.json`` (for the application layer) and ``build.log``.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, RecipeError
from orchestrator.images.debian_host import search_path
from orchestrator.images.manifest import BaseTree, Kind
from orchestrator.images.recipe import Recipe
from orchestrator.images.recipe_base import early_content, failures, key_path, mode, script, source_line
from orchestrator.images.unit_check import keep_checker
from orchestrator.process import describe_exit, tail
from orchestrator.process_lines import stream_lines

BUILDER = "3"  # raise it whenever this file makes other images of the same recipe
CUSTOMIZE = "/var/tmp/customize.sh"  # noqa: S108 - inside the new system, where nobody else is
BASE_RAW, VMLINUZ, INITRD, TREE, LOG = "base.raw", "vmlinuz", "initrd.img", "tree.json", "build.log"
FOREIGN = "can neither be executed natively"  # what mmdebstrap says of another processor's programs
EMULATOR = "qemu-user-static and binfmt-support (from Debian trixie on: qemu-user-binfmt)"

Say = Callable[[str, str], None]  # (line, step)


def mmdebstrap_argv(recipe: Recipe, *, early: Path, output: Path, rootless: bool) -> list[str]:
    """The command that makes ``output`` (a tar archive); ``early`` is the tar of files put in before the packages."""
    hooks = [f"""chroot "$1" sh -eu {CUSTOMIZE} && rm "$1{CUSTOMIZE}\""""]
    for name, source in recipe.apt.items():  # outside the new system the key is where the host has it
        old, new = (f"signed-by={sed_word(path)}" for path in (str(source.key), key_path(recipe, name)))
        hooks.append(f"""find "$1/etc/apt" -name "*.list" -exec sed -i {shlex.quote(f"s|{old}|{new}|")} {{}} +""")
    sources = [f"deb {recipe.mirror} {recipe.suite} main"] if recipe.apt else [recipe.mirror]
    return [
        "mmdebstrap",
        f"--mode={'unshare' if rootless else 'root'}",
        "--variant=minbase",
        "--format=tar",
        f"--architectures={recipe.architecture}",
        f"--include={','.join(recipe.packages)}",
        *[f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.dpkg_exclude],
        '--aptopt=Acquire::Retries "3"',
        '--aptopt=APT::Install-Recommends "false"',
        f"--essential-hook=tar-in {hook_word(early)} /",
        *[f"--customize-hook={hook}" for hook in hooks],
        recipe.suite,
        str(output),
        *sources,
        *[source_line(recipe, name, str(source.key)) for name, source in recipe.apt.items()],
    ]


def sed_word(text: str) -> str:
    """A text in the two sides of a command ``s|…|…|`` of sed. Pure."""
    return re.sub(r"([\\|&.*^$\[\]])", r"\\\1", text)


def hook_word(path: Path) -> str:
    r"""A path as one word of a hook of mmdebstrap, which Perl's Text::ParseWords splits. Pure.

    >>> print(hook_word(Path("/a b/it's")))
    /a\ b/it\'s
    """
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", str(path))


def early_archive(recipe: Recipe) -> bytes:
    """The tar of the recipe's early files and of the customize script, owned by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content, bits in [
            *((path, early_content(recipe, item), mode(item)) for path, item in sorted(recipe.early_files().items())),
            (CUSTOMIZE, script(recipe).encode(), 0o755),
        ]:
            info = tarfile.TarInfo(f".{path}")
            info.size, info.mode = len(content), bits
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def mke2fs_argv(tree: Path, image: Path, size: int) -> list[str]:
    """The command that makes a sparse ext4 of ``size`` bytes with the content of ``tree``."""
    return [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "root",
        "-m",
        "0",
        "-J",
        "size=16",
        # Otherwise the first boot writes the tables in the background, while services start.
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,discard",
        "-d",
        str(tree),
        str(image),
        f"{size // 1024}k",
    ]


def as_root(argv: list[str], *, rootless: bool) -> list[str]:
    """The command under a user namespace in which the caller is root, unless it is root already."""
    return ["unshare", "--map-auto", "--map-root-user", *argv] if rootless else argv


async def build_base(folder: Path, recipe: Recipe, *, say: Say, deadline: Deadline) -> None:
    """Fill ``folder`` with the base layer.

    Raises:
        ImageError: a step failed; carries the last lines of its output.
    """
    rootless = os.geteuid() != 0
    archive, early, tree = folder / "root.tar", folder / "early.tar", folder / "tree"
    early.write_bytes(early_archive(recipe))

    async def step(name: str, argv: list[str]) -> None:
        await logged_step(name, argv, log=folder / LOG, say=say, deadline=deadline, cwd=folder)

    try:
        await step("packages", mmdebstrap_argv(recipe, early=early, output=archive, rootless=rootless))
    except ImageError as error:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        if any(FOREIGN in line for line in lines):
            error.hint = f"install {EMULATOR}: the host then runs programs for {recipe.architecture} under emulation"
        if found := failures(recipe, lines):
            raise replace_evidence(error, found) from error
        raise
    say("reading the list of files", "file system")
    (folder / TREE).write_text(read_archive(archive, folder).as_json())
    tree.mkdir()
    # Device nodes cannot be made without root, and devtmpfs brings them at every boot.
    # Relative names: tar takes a backslash in that of a folder for the beginning of an escape.
    extract = ["tar", "-x", "-f", archive.name, "-C", tree.name, "--numeric-owner", "--exclude=./dev/*"]
    await step("file system", as_root(extract, rootless=rootless))
    archive.unlink()
    await keep_checker(tree, folder, deadline=deadline)
    await step("file system", as_root(mke2fs_argv(Path(tree.name), Path(BASE_RAW), recipe.size), rootless=rootless))
    await step("file system", as_root(["rm", "-rf", str(tree)], rootless=rootless))
    early.unlink()


def replace_evidence(error: ImageError, found: list[str]) -> RecipeError:
    """The failure of a step, with what it says of the recipe before what it printed."""
    said = [line for line in error.evidence if not re.match(r"I: |E: (setup failed|mmdebstrap failed)|= exited", line)]
    return RecipeError("the packages or steps of the recipe failed", evidence=[*found, *said[-8:]])


def read_archive(archive: Path, folder: Path) -> BaseTree:
    """List the archive; write its kernel and initial RAM disk into ``folder``.

    Raises:
        ImageError: not exactly one kernel with its initial RAM disk.
    """
    paths: dict[str, Kind] = {}
    texts = {"/etc/passwd": "", "/etc/group": ""}
    boot: dict[str, list[str]] = {VMLINUZ: [], INITRD: []}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = "/" + member.name.removeprefix("./").strip("/")
            paths[path] = Kind.DIRECTORY if member.isdir() else Kind.SYMLINK if member.issym() else Kind.FILE
            if not member.isfile():
                continue
            for name, found in boot.items():
                if path.startswith(f"/boot/{name}-"):
                    found.append(path)
                    _extract(tar, member, folder / name)
            if path in texts:
                content = tar.extractfile(member)
                texts[path] = content.read().decode() if content else ""
    if any(len(found) != 1 for found in boot.values()):
        raise ImageError("the packages do not contain exactly one kernel", evidence=[*boot[VMLINUZ], *boot[INITRD]])
    return BaseTree(paths, _numbers(texts["/etc/passwd"]), _numbers(texts["/etc/group"]))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # a regular file
    with content, target.open("wb") as file:
        while block := content.read(1 << 20):
            file.write(block)


def _numbers(text: str) -> dict[str, int]:
    rows = (line.split(":") for line in text.splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) > 2}


async def logged_step(
    name: str, argv: list[str], *, log: Path, say: Say, deadline: Deadline, cwd: Path | None = None
) -> None:
    """Run one command of a build, its output reported and logged.

    Raises:
        ImageError: it failed.
    """
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"+ {shlex.join(argv)}\n")

        def on_line(line: str) -> None:
            sink.write(line + "\n")
            sink.flush()
            say(line, name)

        environment = {
            **os.environ,
            "PATH": search_path(),
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        code = await stream_lines(argv, on_line, deadline=deadline, env=environment, cwd=cwd)
        sink.write(f"= {describe_exit(code)}\n")
    if code != 0:
        raise ImageError(f"{argv[0]} {describe_exit(code)} (step: {name})", evidence=tail(log, 25))
