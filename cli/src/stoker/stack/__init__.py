"""The whole system on one machine: `stoker up`, `stoker doctor`, and the same as a Python object.

Stack            start, stop, urls, kill, restart
StackSettings    data folder, ports, thresholds
find_stack       the stack that runs on a data folder, for the CLI
running_nats, running_postgres, running_object_store   the servers one by one, in `stoker.stack.standalone`
"""

from stoker.stack.settings import StackSettings
from stoker.stack.stack import Observer, Stack
from stoker.stack.stack_file import StackFile, find_stack

__all__ = ["Observer", "Stack", "StackFile", "StackSettings", "find_stack"]
