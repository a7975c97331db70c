"""`python -m stoker_trainer.bundle FOLDER`: this trainer's sources as one archive, the same bytes wherever it is built.

The archive is a wheel: pip and uv install it, and Python runs it as it is from PYTHONPATH. Entries are sorted by name,
have one time and one mode, and are stored uncompressed, since libraries that compress differ in their bytes.
"""

import base64
import hashlib
import re
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from stoker_trainer.files import write_atomically

PACKAGE = "stoker_trainer"
PROJECT_FILE = "pyproject.toml"
"""Inside the package, so that an installed trainer can be bundled, too. In a checkout it is a link to the real one."""

_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip knows."""

_LEFT_OUT = re.compile(r"(^|/)(__pycache__|\.[^/]*|[^/]*~|[^/]*\.py[co])($|/)")


@dataclass(frozen=True)
class Bundle:
    """A built bundle."""

    version: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def filename(self) -> str:
        """What installers want a wheel to be called."""
        return f"{PACKAGE}-{self.version}-py3-none-any.whl"


def build_bundle(package: Path | None = None) -> Bundle:
    """The bundle of a package folder, else of the package that this is."""
    entries = {f"{PACKAGE}/{name}": content for name, content in _sources(package or Path(__file__).parent).items()}
    project = tomllib.loads(entries[f"{PACKAGE}/{PROJECT_FILE}"].decode())["project"]
    return Bundle(str(project["version"]), _archived(entries | _facts(project, entries)))


def write_bundle(folder: Path, *, filename: str | None = None) -> tuple[Path, Bundle]:
    """Build into a folder; a file that is there already and the same is left as it is."""
    bundle = build_bundle()
    path = folder / (filename or bundle.filename)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != bundle.content:
        write_atomically(path, bundle.content)
    return path, bundle


def _sources(package: Path) -> dict[str, bytes]:
    found = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not _LEFT_OUT.search(name)}


def _facts(project: dict[str, Any], entries: dict[str, bytes]) -> dict[str, bytes]:
    folder = f"{PACKAGE}-{project['version']}.dist-info"
    facts = {
        f"{folder}/METADATA": _metadata(project),
        f"{folder}/WHEEL": b"Wheel-Version: 1.0\nGenerator: stoker\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(_record_line(name, content) for name, content in sorted((entries | facts).items()))
    return facts | {f"{folder}/RECORD": f"{record}{folder}/RECORD,,\n".encode()}


def _metadata(project: dict[str, Any]) -> bytes:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {needed}" for needed in project["dependencies"]),
    ]
    for extra, wanted in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {needed}; extra == '{extra}'" for needed in wanted]
    return "".join(f"{line}\n" for line in lines).encode()


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def _archived(entries: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3  # Unix, also where it is built on something else
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def main(arguments: list[str]) -> int:
    """Build, and say where it is, which version, and its SHA-256."""
    if len(arguments) != 1:
        print("usage: python -m stoker_trainer.bundle FOLDER", file=sys.stderr)  # noqa: T201 - a command line
        return 2
    path, bundle = write_bundle(Path(arguments[0]))
    print(f"{path}\nversion {bundle.version}\nsha256 {bundle.sha256}")  # noqa: T201 - the result
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
