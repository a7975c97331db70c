"""What every part that moves bytes stands on."""

from dataclasses import dataclass

from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_shared.clock import Clock
from stoker_shared.database import Database


@dataclass(frozen=True, slots=True)
class Foundation:
    """Rows, bytes, who may, and what time it is."""

    database: Database
    store: ObjectStore
    writer: ObjectWriter
    tokens: TokenService
    clock: Clock
