"""Writes what is generated from the message classes: `python -m tools.contracts`.

`docs/asyncapi.json` is the AsyncAPI document. `tests/contract/message_versions.json` keeps a fingerprint of the form of
each command and event, by name and schema version. A form that was written down once does not change: the tool and
the contract test refuse it until `schema_version` is raised.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from stoker_shared.asyncapi import document
from stoker_shared.commands import COMMANDS
from stoker_shared.events import EVENTS
from stoker_shared.messages import Envelope

ROOT = Path(__file__).parent.parent
ASYNCAPI = ROOT / "docs" / "asyncapi.json"
VERSIONS = ROOT / "tests" / "contract" / "message_versions.json"

MESSAGES: tuple[type[Envelope], ...] = (*COMMANDS, *EVENTS)

# What a schema says for people; it may change without a new version.
_PROSE = frozenset({"description", "title", "examples"})

Versions = dict[str, dict[str, str]]


def main() -> int:
    """Bring both files up to date. Returns 1 if a message changed without a new version."""
    known = read_versions()
    faults = unversioned_changes(known, MESSAGES)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    ASYNCAPI.write_text(asyncapi_text())
    VERSIONS.write_text(json.dumps(with_present(known, MESSAGES), indent=2, sort_keys=True) + "\n")
    print(f"written: {ASYNCAPI.relative_to(ROOT)}, {VERSIONS.relative_to(ROOT)}")
    return 0


def asyncapi_text() -> str:
    """What `docs/asyncapi.json` should hold."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def read_versions() -> Versions:
    """Fingerprints that were written down, by message name and version."""
    versions: Versions = json.loads(VERSIONS.read_text()) if VERSIONS.exists() else {}
    return versions


def unversioned_changes(known: Versions, messages: tuple[type[Envelope], ...]) -> list[str]:
    """What changed its form under the version it had; one explanation for each message."""
    return [
        f"{message.__name__} version {version_of(message)} has other fields than the ones written down for it. "
        f"Consumers that know version {version_of(message)} would misread it. Take the change back, or set "
        f"`schema_version: int = {version_of(message) + 1}` in the class and run python -m tools.contracts "
        "(docs/adding-an-event.md)."
        for message in messages
        if known.get(message.__name__, {}).get(str(version_of(message)), fingerprint(message)) != fingerprint(message)
    ]


def with_present(known: Versions, messages: tuple[type[Envelope], ...]) -> Versions:
    """The fingerprints with those of today's messages; nothing is ever taken out."""
    present = {message.__name__: {str(version_of(message)): fingerprint(message)} for message in messages}
    return {name: {**known.get(name, {}), **present.get(name, {})} for name in {**known, **present}}


def version_of(message: type[Envelope]) -> int:
    """The version that a message carries."""
    return int(message.model_fields["schema_version"].default)


def fingerprint(message: type[Envelope]) -> str:
    """Hash of a message's JSON schema without prose and without the number of the version."""
    schema = _without_prose(message.model_json_schema(mode="serialization"))
    del schema["properties"]["schema_version"]
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:16]


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in _PROSE}
    return {
        # The keys below these are names of fields, not words of JSON Schema.
        name: {field: _without_prose(part) for field, part in value.items()}
        if name in {"properties", "$defs"}
        else _without_prose(value)
        for name, value in kept.items()
    }


if __name__ == "__main__":
    sys.exit(main())
