"""`python -m stoker_metrics serve | migrate`."""

import sys

from stoker_metrics.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
