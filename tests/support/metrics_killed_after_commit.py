"""The metrics service, killed with SIGKILL after a batch is committed and before its messages are acknowledged."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from stoker_metrics.__main__ import main
from stoker_metrics.storing.service import Store

_store = Store.store


async def _store_and_die(self: Store, batch: Sequence[Any]) -> int:
    await _store(self, batch)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    Store.store = _store_and_die  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
