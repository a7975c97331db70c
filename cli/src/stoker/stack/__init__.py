"""The whole system on one machine: `stoker up`, `stoker doctor`, and the same as Python objects.

    stack.Stack              start, stop, urls, statuses, kill, restart
    settings.StackSettings   data folder, ports, thresholds
    stack_file.find_stack    the stack that runs on a data folder, for the CLI
    standalone               running_nats, running_postgres, running_object_store: the servers one by one

Nothing is imported here: the CLI starts on machines where the embedded parts are not installed.
"""
