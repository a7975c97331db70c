"""`python -m stoker_api`."""

import sys

from stoker_api.main import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
