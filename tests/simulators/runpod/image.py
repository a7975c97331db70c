"""The Python that a pod finds on its PATH: its own, so that what a script installs stays in the pod's folder."""

import os
import shutil
import sys
import venv
from pathlib import Path

from tests.simulators.runpod.rules import Rules

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PIP = "#!{python}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
# An installed Stoker would hide that a script forgot to fetch the trainer.
_NOT_IN_IMAGES = ("stoker", "_stoker", "__editable__", "__pycache__")


def shared_packages(folder: Path, kind: str) -> Path:
    """A folder of links to what an image brings along. Outside of any pod: no installer there will touch it."""
    folder.mkdir(parents=True, exist_ok=True)
    for site in (Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")):
        for package in site.iterdir() if site.is_dir() else ():
            is_wanted = kind == "host" or package.name.partition("-")[0] == "pip"
            link = folder / package.name
            is_ours = package.suffix == ".pth" or package.name.startswith(_NOT_IN_IMAGES)
            if is_wanted and not is_ours and not link.is_symlink():
                link.symlink_to(package)
    return folder


def make_image(folder: Path, packages: Path) -> None:
    """An environment with `python` and `pip` in `folder/bin`."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "image.pth").write_text(f"{packages}\n")
    for name in ("pip", "pip3"):
        script = folder / "bin" / name
        script.write_text(_PIP.format(python=python))
        script.chmod(0o755)
    if (uv := shutil.which("uv", path=str(Path(sys.executable).parent))) is not None:
        (folder / "bin" / "uv").symlink_to(uv)


def image_environment(root: Path, rules: Rules) -> dict[str, str]:
    """What the image and the machine put into a container's environment, below what its owner asks for."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(rules.passed_on)}
    if (settings := _settings_of_pip()) is not None:
        passed_on.setdefault("PIP_CONFIG_FILE", str(settings))
    path = f"{root / 'image' / 'bin'}:{SYSTEM_PATH}" if rules.image != "none" else SYSTEM_PATH
    return {
        **passed_on,
        "PATH": path,
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "HF_HOME": str(root / "workspace" / ".cache" / "huggingface"),
        **rules.image_environment,
    }


def _settings_of_pip() -> Path | None:
    """Those of whoever runs the simulator: in a pod HOME is another, and its index may be the only one in reach."""
    places = (Path.home() / ".config" / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf")
    return next((file for file in places if file.is_file()), None)
