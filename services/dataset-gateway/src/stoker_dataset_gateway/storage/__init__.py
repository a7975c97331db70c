"""The object store as the gateway uses it: streams in both directions, parts, bare sockets, addresses for clients."""

from stoker_dataset_gateway.storage.object_socket import ObjectSocket
from stoker_dataset_gateway.storage.public import PublicStore
from stoker_dataset_gateway.storage.reading import ObjectReader
from stoker_dataset_gateway.storage.sdk import StoredPart, part_bytes_for
from stoker_dataset_gateway.storage.store import ObjectStore

__all__ = ["ObjectReader", "ObjectSocket", "ObjectStore", "PublicStore", "StoredPart", "part_bytes_for"]
