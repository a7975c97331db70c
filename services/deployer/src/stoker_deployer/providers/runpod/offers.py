"""The catalogue as offers: what a machine costs with its disks, where it can be had, and what is in stock."""

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from stoker_deployer.providers.runpod.errors import PROVIDER
from stoker_deployer.providers.runpod.orders import volume_gb
from stoker_deployer.providers.runpod.schemas import GpuType, Pod, Stock
from stoker_deployer.providers.runpod.settings import Cloud, RunpodSettings
from stoker_shared.money import ONE_USD, usd
from stoker_shared.rpc.deployer import Offer, OffersQuery, StockLevel

STORAGE_USD_PER_GB_MONTH = Decimal("0.10")
"""Of the container's disk and of the volume, while the pod runs. A stopped volume costs twice that."""

_HOURS_PER_MONTH = 730
_MANUFACTURER = "NVIDIA"  # the trainer speaks CUDA
_STOCK: dict[str, StockLevel] = {"NONE": "none", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_BY_STOCK: tuple[StockLevel | None, ...] = ("high", "medium", "low", None, "none")


def offers_of(
    catalogues: Iterable[tuple[Cloud, list[GpuType]]], query: OffersQuery, settings: RunpodSettings
) -> list[Offer]:
    """All that meets the query, cheapest first; of equal price what is in better stock, then the secure cloud."""
    count = 1 if query.gpu_count is None else query.gpu_count
    volume = volume_gb(query.volume_size_gb, settings)
    made = [
        _offer(gpu, cloud, count=count, storage_gb=settings.disk_gb + volume, settings=settings)
        for cloud, gpus in catalogues
        for gpu in gpus
        if _is_wanted(gpu, query) and _is_sold(gpu, cloud, count=count)
    ]
    return sorted(made, key=_rank)


def price_of(pod: Pod) -> int | None:
    """What a pod costs per hour with its disks, in micro-USD; None while RunPod tells no price.

    The pod's `cost` is that of its GPUs alone: the same as the catalogue's price, whatever disks it has.
    """
    if not pod.cost:
        return None
    mounted = pod.mounts.persistent.size if pod.mounts and pod.mounts.persistent else 0
    return _micro(pod.cost, storage_gb=(pod.disk or 0) + mounted)


def _is_wanted(gpu: GpuType, query: OffersQuery) -> bool:
    wanted = query.gpu_type
    is_named = wanted is None or wanted.casefold() in (gpu.id.casefold(), gpu.name.casefold())
    return is_named and gpu.manufacturer.upper() == _MANUFACTURER


def _is_sold(gpu: GpuType, cloud: Cloud, *, count: int) -> bool:
    is_there = gpu.secure if cloud == "secure" else gpu.community
    return is_there and _of(gpu.price.secure, gpu.price.community, cloud) > 0 and 1 <= count <= _most(gpu, cloud)


def _most(gpu: GpuType, cloud: Cloud) -> int:
    return int(_of(gpu.max_count.secure, gpu.max_count.community, cloud))


def _offer(gpu: GpuType, cloud: Cloud, *, count: int, storage_gb: int, settings: RunpodSettings) -> Offer:
    centres = [stock for stock in gpu.data_centres if not settings.data_centres or stock.id in settings.data_centres]
    stock = _stock(gpu, centres, is_restricted=bool(settings.data_centres))
    return Offer(
        provider=PROVIDER,
        gpu_type=gpu.id,
        gpu_count=count,
        place=cloud,
        # What a driver gives is up to 3 % less than the GB on the label.
        vram_bytes=gpu.memory * 2**30 * 97 // 100,
        price_micro_usd_per_hour=_micro(
            _of(gpu.price.secure, gpu.price.community, cloud) * count, storage_gb=storage_gb
        ),
        is_available=stock != "none",
        stock=stock,
        data_centres=sorted(centre.id for centre in centres if _STOCK.get(centre.availability) != "none"),
    )


def _stock(gpu: GpuType, centres: list[Stock], *, is_restricted: bool) -> StockLevel | None:
    if not is_restricted or gpu.availability is None:
        return _STOCK.get(gpu.availability or "")
    levels = {_STOCK.get(centre.availability) for centre in centres}
    return next((level for level in _BY_STOCK if level in levels), "none")


def _micro(usd_per_hour: Decimal, *, storage_gb: int) -> int:
    storage = STORAGE_USD_PER_GB_MONTH * storage_gb / _HOURS_PER_MONTH
    # Up, so that what is counted is never below what will be billed.
    return usd((usd_per_hour + storage).quantize(Decimal(1) / ONE_USD, rounding=ROUND_CEILING))


def _of(secure: Decimal, community: Decimal, cloud: Cloud) -> Decimal:
    return secure if cloud == "secure" else community


def _rank(offer: Offer) -> tuple[int, int, bool, str]:
    return offer.price_micro_usd_per_hour, _BY_STOCK.index(offer.stock), offer.place != "secure", offer.gpu_type
