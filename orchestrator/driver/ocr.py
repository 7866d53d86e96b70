"""Text of a picture. Three engines, the first that is there: tesserocr, the program tesseract, rapidocr.

Enlarging is what makes small letters readable; an inverted picture is looked at only where the first has not what is
wanted. Sources of the choice: docs/decisions/0064-driver.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import HostError

if TYPE_CHECKING:
    from PIL import Image

ENLARGE = 3
SPARSE_TEXT = 11  # tesseract's page segmentation mode
DATA = ("/usr/share/tesseract-ocr/5/tessdata", "/usr/share/tesseract-ocr/4.00/tessdata", "/usr/share/tessdata")
LIMIT = 60.0  # seconds for the program
Reader = Callable[["Image.Image"], str]


def texts_of(picture: Path) -> Iterator[str]:
    """The text of a picture, as it is and inverted. Each costs some tenths of a second; ask only as far as needed.

    Raises:
        HostError: there is no engine.
    """
    read = engine()
    from PIL import Image, ImageOps

    with Image.open(picture) as found:
        grey = ImageOps.grayscale(found)
        large = grey.resize((grey.width * ENLARGE, grey.height * ENLARGE), Image.Resampling.LANCZOS)
    yield read(large)
    yield read(ImageOps.invert(large))


def engine_name() -> str:
    """Which engine reads pictures here; empty where there is none."""
    for name, make in _ENGINES.items():
        if make() is not None:
            return name
    return ""


@cache
def engine() -> Reader:
    """The engine of this host.

    Raises:
        HostError: there is none.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise _missing("Pillow is not installed") from error
    for make in _ENGINES.values():
        found = make()
        if found is not None:
            return found
    raise _missing("none of tesserocr, tesseract and rapidocr is installed")


def _missing(why: str) -> HostError:
    return HostError(
        "text of pictures cannot be read on this host",
        why=why,
        hint="pip install 'orchestrator[ocr]', and apt install tesseract-ocr for its data",
    )


def _tesserocr() -> Reader | None:
    try:
        import tesserocr
    except ImportError:
        return None
    data = next((path for path in DATA if (Path(path) / "eng.traineddata").exists()), None)
    if data is None:
        return None
    api = tesserocr.PyTessBaseAPI(path=data, psm=SPARSE_TEXT)

    def read(image: Image.Image) -> str:
        api.SetImage(image)
        return str(api.GetUTF8Text())

    return read


def _program() -> Reader | None:
    if shutil.which("tesseract") is None:
        return None

    def read(image: Image.Image) -> str:
        import io
        import subprocess

        picture = io.BytesIO()
        image.save(picture, "PNG")
        argv = ["tesseract", "-", "-", "--psm", str(SPARSE_TEXT)]
        done = subprocess.run(argv, input=picture.getvalue(), capture_output=True, timeout=LIMIT, check=False)  # noqa: TID251 - blocking, in a thread
        if done.returncode != 0:
            raise HostError("tesseract could not read a picture", why=done.stderr.decode("utf-8", "replace").strip())
        return done.stdout.decode("utf-8", "replace")

    return read


def _rapidocr() -> Reader | None:
    try:
        import rapidocr
    except ImportError:
        return None
    reader: Any = rapidocr.RapidOCR()

    def read(image: Image.Image) -> str:
        found = reader(image.convert("RGB"))
        return "\n".join(found.txts or ())

    return read


_ENGINES: dict[str, Callable[[], Reader | None]] = {
    "tesserocr": _tesserocr,
    "tesseract": _program,
    "rapidocr": _rapidocr,
}
