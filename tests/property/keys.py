"""The owner of the jobs has an account of the own at one of the clouds, and changes its key at any time."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.property.world import World

KEYED = "south"
"""The other clouds are the operator's."""
OWNER = "user-00000000000000aa"


def change_key(world: "World", how: str, to: int = 0) -> None:
    """The owner sets another key of the same account, or removes the one that is set."""
    cloud, before = world.clouds[KEYED], world.clouds[KEYED].is_away
    world.serial += 1
    cloud.further_keys.add(value := f"a-key-number-{world.serial}")
    # One that nobody can check opens an account of its own, which nobody could sweep after its key is gone.
    cloud.account_id, cloud.is_away = "owner-at-south", False
    replica = world.replicas[to]
    deed = replica.remove_key(OWNER, KEYED) if how == "removed" else replica.set_key(OWNER, KEYED, value)
    world.do(to, deed, None)
    cloud.is_away = before
