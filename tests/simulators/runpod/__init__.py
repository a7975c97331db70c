"""RunPod as far as Stoker needs it: an HTTP server whose pods really run, with faults on demand.

    python -m tests.simulators.runpod --port 28800 --folder pods [--rules rules.json]

    running.py       a simulator for a test, as a process that leaves nothing behind
    rules.py         what a simulated RunPod is like: accounts, delays, quotas, stock, rights of pod-scoped keys
    application.py   the HTTP application: /v2, /graphql, /v1 (410) and /_admin
    door.py          what every call of /v2 passes: firewall, key, quota, fault; and the headers of its answer
    faults.py        what can go wrong, as a table
    cloud.py         the truth: accounts, pods, stock, money
    pod.py           one pod: status, uptime, what it costs
    container.py     its process group, started again when it ends
    image.py         the Python that a pod finds
    admin.py         /_admin: faults, stock, balances, blows of fate, and what really happened

Not simulated, 404: serverless, clusters, templates, network volumes, registries, SSH keys. Unknown to the public
documents, and so decided here: see the docstrings of rules.py and cloud.py.
"""
