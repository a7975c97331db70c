"""The virtual environment in which the rivals' packages are."""

import subprocess
import sys
from pathlib import Path

RIVALS_FOLDER = Path(".bench") / "rivals"
"""Below the folder in which a benchmark is started."""

REQUIREMENTS = Path(__file__).with_name("rivals.txt")


def rival_environment(folder: Path) -> Path:
    """The folder of programs of an environment with the rivals; made the first time, which takes some minutes."""
    programs = folder / "bin"
    stamp = folder / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return programs.resolve()
