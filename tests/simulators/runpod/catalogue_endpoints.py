"""`/v2/catalog` and `/v2/billing/pods`: what can be rented, and what was charged."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.simulators.runpod.billing import pod_billing
from tests.simulators.runpod.catalogue import CUDA_VERSIONS, DATA_CENTERS, GpuType, availability
from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Visit
from tests.simulators.runpod.problems import Problem, not_found

PRODUCTS = frozenset({"POD", "CLUSTER", "SERVERLESS"})
CLOUDS = ("SECURE", "COMMUNITY")


class CatalogueEndpoints:
    """What the API says about GPUs, data centres and money."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def gpus(self, visit: Visit) -> Response:
        """All GPU types that fit the filters."""
        visit.caller.demand("catalog")
        query = visit.request.query_params
        clouds = _asked_clouds(query)
        places = _asked_places(query)
        shown = [
            self._gpu(gpu, query)
            for gpu in self._cloud.catalogue.gpus.values()
            if any(gpu.price(cloud) for cloud in clouds) and places & set(gpu.data_centers)
        ]
        return JSONResponse({"gpus": shown})

    async def gpu(self, visit: Visit) -> Response:
        """One GPU type."""
        visit.caller.demand("catalog")
        gpu = self._cloud.catalogue.gpus.get(visit.pod_id)
        if gpu is None:
            raise not_found()
        return JSONResponse(self._gpu(gpu, visit.request.query_params))

    async def data_centers(self, visit: Visit) -> Response:
        """All data centres that fit the filters."""
        visit.caller.demand("catalog")
        query = visit.request.query_params
        wanted, regions = _words(query, "include"), _words(query, "regions")
        _demand_known("include", wanted, {"GPU_AVAILABILITY", "CPU_AVAILABILITY"})
        shown = []
        for identifier, (name, region, _country) in DATA_CENTERS.items():
            if not regions or region in regions:
                shown.append(self._data_center(identifier, name, region, wanted))
        return JSONResponse({"dataCenters": shown})

    async def billing(self, visit: Visit) -> Response:
        """What pods have cost, also those that are gone."""
        visit.caller.demand("billing")
        cloud, account = self._cloud, visit.caller.account
        meters = {pod.id: pod.meter for pod in cloud.pods.values() if pod.account is account}
        now = cloud.clock.now()
        known = now - timedelta(seconds=cloud.rules.billing_delay)
        return JSONResponse(pod_billing(meters, visit.request.query_params, now=now, known=known))

    def _gpu(self, gpu: GpuType, query: Mapping[str, str]) -> dict[str, Any]:
        includes = _words(query, "include")
        _demand_known("include", includes, {"AVAILABILITY"})
        products = _words(query, "product")
        _demand_known("product", products, PRODUCTS)
        if bool(includes) != bool(products):
            raise Problem(400, "include=AVAILABILITY and product must be given together")
        shown: dict[str, Any] = {
            "id": gpu.id,
            "name": gpu.name,
            "pool": None,
            "manufacturer": "AMD" if gpu.id.startswith("AMD") else "NVIDIA",
            "memory": gpu.memory,
            "secure": bool(gpu.secure),
            "community": bool(gpu.community),
            "price": {"secure": float(gpu.secure), "community": float(gpu.community)},
            "maxCount": {
                "secure": gpu.max_count if gpu.secure else 0,
                "community": gpu.max_count if gpu.community else 0,
            },
        }
        return shown | (self._availability(gpu, query) if includes else {})

    def _availability(self, gpu: GpuType, query: Mapping[str, str]) -> dict[str, Any]:
        count = int(query.get("count", "1")) if query.get("count", "1").isdecimal() else 0
        if count < 1:
            raise Problem(422, "Request validation failed.", errors=["query.count: must be a positive integer"])
        free = self._free(gpu, _asked_clouds(query), count)
        places = [
            {"id": place, "name": DATA_CENTERS[place][0], "availability": availability(left)}
            for place, left in free.items()
        ]
        level = availability(max(free.values(), default=0))
        versions = [{"version": version, "available": level != "NONE"} for version in CUDA_VERSIONS]
        return {"availability": level, "dataCenters": places, "cudaVersions": versions}

    def _free(self, gpu: GpuType, clouds: Iterable[str], count: int = 1) -> dict[str, int]:
        free: dict[str, int] = {}
        for cloud in clouds:
            for place, left in self._cloud.free(gpu.id, cloud).items():
                free[place] = max(free.get(place, 0), left if left >= count else 0)
        return free

    def _data_center(self, identifier: str, name: str, region: str, includes: set[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": identifier,
            "name": name,
            "region": region,
            "globalNetwork": True,
            "networkVolumeTypes": ["STANDARD"],
            "compliance": ["SOC_2_TYPE_2"],
        }
        if "GPU_AVAILABILITY" in includes:
            shown["gpuAvailability"] = [
                {"id": gpu.id, "name": gpu.name, "availability": availability(self._free(gpu, CLOUDS)[identifier])}
                for gpu in self._cloud.catalogue.gpus.values()
                if identifier in gpu.data_centers
            ]
        if "CPU_AVAILABILITY" in includes:
            shown["cpuAvailability"] = []
        return shown


def _words(query: Mapping[str, str], name: str) -> set[str]:
    return {word for word in query.get(name, "").split(",") if word}


def _asked_clouds(query: Mapping[str, str]) -> tuple[str, ...]:
    asked = query.get("cloud")
    if asked is None:
        return CLOUDS
    _demand_known("cloud", {asked}, set(CLOUDS))
    return (asked,)


def _asked_places(query: Mapping[str, str]) -> set[str]:
    countries = _words(query, "countryCodes")
    return {place for place, (_, _, country) in DATA_CENTERS.items() if not countries or country in countries}


def _demand_known(name: str, words: set[str], known: Iterable[str]) -> None:
    if words - set(known):
        allowed = ", ".join(repr(word) for word in sorted(known))
        raise Problem(422, "Request validation failed.", errors=[f"query.{name}: value must be one of {allowed}"])
