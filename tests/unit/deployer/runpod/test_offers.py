"""The catalogue as offers."""

from typing import Any

import httpx
import pytest

from stoker_deployer.providers.runpod import RunpodSettings
from stoker_shared.errors import AuthFailed
from stoker_shared.rpc.deployer import Offer, OffersQuery
from tests.unit.deployer.runpod.account import URL, account, problem

GIB = 2**30


def _gpu(
    identifier: str, *, price: tuple[float, float], stock: tuple[str, str] = ("HIGH", "HIGH"), **changes: Any
) -> Any:
    made = {
        "id": identifier,
        "name": identifier.removeprefix("NVIDIA "),
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": 24,
        "secure": price[0] > 0,
        "community": price[1] > 0,
        "price": {"secure": price[0], "community": price[1]},
        "maxCount": {"secure": 8, "community": 2},
        "dataCenters": [{"id": "EU-RO-1", "name": "EU", "availability": "LOW"}],
    }
    return lambda cloud: {**made, "availability": stock[cloud == "COMMUNITY"], **changes}


CATALOGUE = [
    _gpu("NVIDIA GeForce RTX 4090", price=(0.74, 0.34), stock=("HIGH", "NONE")),
    _gpu("NVIDIA H100 80GB HBM3", price=(3.29, 0), memory=80),
    _gpu("AMD Instinct MI300X OAM", price=(2.39, 0), manufacturer="AMD", memory=192),
    _gpu("NVIDIA RTX A5000", price=(0.34, 0.16), stock=("LOW", "MEDIUM"), dataCenters=None),
]


async def _offers(query: OffersQuery | None = None, settings: RunpodSettings | None = None) -> list[Offer]:
    async with account(settings) as here:
        here.routes.get(f"{URL}/catalog/gpus").mock(
            side_effect=lambda request: httpx.Response(
                200, json={"gpus": [gpu(request.url.params["cloud"]) for gpu in CATALOGUE]}
            )
        )
        return await here.provider.offers(query or OffersQuery())


async def test_each_cloud_is_a_place_and_the_cheapest_comes_first_then_the_better_stock() -> None:
    offers = await _offers()
    assert [(offer.gpu_type, offer.place) for offer in offers] == [
        ("NVIDIA RTX A5000", "community"),
        ("NVIDIA RTX A5000", "secure"),
        ("NVIDIA GeForce RTX 4090", "community"),
        ("NVIDIA GeForce RTX 4090", "secure"),
        ("NVIDIA H100 80GB HBM3", "secure"),
    ]
    assert [(offer.stock, offer.is_available) for offer in offers[:4]] == [
        ("medium", True),
        ("low", True),
        ("none", False),
        ("high", True),
    ]


async def test_disk_and_volume_are_in_the_price_and_rounded_up() -> None:
    (small,) = await _offers(OffersQuery(gpu_type="NVIDIA H100 80GB HBM3"))
    (large,) = await _offers(OffersQuery(gpu_type="NVIDIA H100 80GB HBM3", volume_size_gb=500))
    assert small.price_micro_usd_per_hour == 3_290_000 + 10_959  # 80 GB at 0.10 USD a month of 730 hours
    assert large.price_micro_usd_per_hour == 3_290_000 + 73_973  # 540 GB


async def test_several_gpus_cost_as_much_more_and_only_where_a_machine_has_them() -> None:
    offers = await _offers(OffersQuery(gpu_type="nvidia geforce rtx 4090", gpu_count=4))
    assert [(offer.place, offer.gpu_count) for offer in offers] == [("secure", 4)]
    assert offers[0].price_micro_usd_per_hour == 4 * 740_000 + 10_959
    assert await _offers(OffersQuery(gpu_count=9)) == []
    assert await _offers(OffersQuery(gpu_count=0)) == []


async def test_memory_is_what_a_driver_gives() -> None:
    (offer,) = await _offers(OffersQuery(gpu_type="NVIDIA H100 80GB HBM3"))
    assert offer.vram_bytes is not None
    assert 81_559 * 2**20 > offer.vram_bytes > 77 * GIB


async def test_a_restriction_to_data_centres_decides_the_stock() -> None:
    offers = await _offers(
        OffersQuery(gpu_type="GeForce RTX 4090"), RunpodSettings(data_centres=("EU-RO-1", "US-KS-2"))
    )
    assert {offer.stock for offer in offers} == {"low"}
    assert offers[0].data_centres == ["EU-RO-1"]
    elsewhere = await _offers(OffersQuery(gpu_type="GeForce RTX 4090"), RunpodSettings(data_centres=("US-KS-2",)))
    assert {(offer.stock, offer.is_available) for offer in elsewhere} == {("none", False)}


async def test_only_the_clouds_that_are_set_are_asked() -> None:
    offers = await _offers(settings=RunpodSettings(clouds=("secure",)))
    assert {offer.place for offer in offers} == {"secure"}


async def test_the_catalogue_is_asked_with_count_and_cuda() -> None:
    async with account(RunpodSettings(clouds=("community",))) as here:
        route = here.routes.get(f"{URL}/catalog/gpus").respond(json={"gpus": []})
        await here.provider.offers(OffersQuery(gpu_count=2))
        assert dict(route.calls.last.request.url.params) == {
            "include": "AVAILABILITY",
            "product": "POD",
            "count": "2",
            "cloud": "COMMUNITY",
            "minCudaVersion": "12.8",
        }


async def test_a_catalogue_that_is_refused_is_an_error() -> None:
    async with account() as here:
        here.routes.get(f"{URL}/catalog/gpus").mock(return_value=problem(401, "missing bearer token"))
        with pytest.raises(AuthFailed):
            await here.provider.offers(OffersQuery())
