"""Rules of ours that a machine can see. `python -m tools.checks` prints `file:line: rule: what` and ends with 1.

A line that must break a rule says why: `# allowed: <rule>, <reason>`.
"""
