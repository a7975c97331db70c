"""Builds the trainer bundle into `dist`: `python -m tools.bundle [FOLDER]`. The same sources give the same bytes."""

import sys
from pathlib import Path

from stoker_trainer.bundle import main

DIST = Path(__file__).parent.parent / "dist"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [str(DIST)]))
