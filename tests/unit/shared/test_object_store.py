"""What a store's failure means, and settings that lead to it."""

import pytest
from minio.error import S3Error, ServerError
from urllib3 import HTTPResponse
from urllib3.exceptions import ReadTimeoutError

from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.object_store.address import StoreSettings
from stoker_shared.object_store.faults import FaultKind, fault_of
from stoker_shared.settings import read_settings

VARIABLES = {"S3_ENDPOINT": "store:9000", "S3_ACCESS_KEY": "who", "S3_SECRET_KEY": "hidden"}


def _refusal(code: str, *, status: int) -> S3Error:
    return S3Error(HTTPResponse(status=status), code, "words", "/b/k", "1", "1", "b", "k")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, "object_missing"),
        ("NoSuchUpload", 404, "upload_missing"),
        ("InvalidPart", 400, "upload_missing"),
        ("XMinioStorageFull", 507, "full"),
        ("QuotaExceeded", 403, "full"),
        ("Unheard", 507, "full"),
        ("AccessDenied", 403, "away"),
        ("NoSuchBucket", 404, "away"),
    ],
)
def test_the_stores_code_decides_and_then_its_status(code: str, status: int, kind: FaultKind) -> None:
    fault = fault_of(_refusal(code, status=status))
    assert (fault.kind, fault.code, fault.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ServerError("broken", 502), "away", "ServerError"),
        (ServerError("broken", 507), "full", "ServerError"),
        (ConnectionResetError(), "away", "ConnectionResetError"),
        (ReadTimeoutError(None, "", "late"), "away", "ReadTimeoutError"),  # type: ignore[arg-type]
    ],
)
def test_without_a_code_it_is_named_by_what_was_raised(error: Exception, kind: FaultKind, code: str) -> None:
    fault = fault_of(error)
    assert (fault.kind, fault.code) == (kind, code)


def test_an_address_is_host_and_port_and_shows_no_secret() -> None:
    address = read_settings(StoreSettings, VARIABLES).store_address
    assert (address.endpoint, address.bucket, address.region, address.is_secure) == (
        "store:9000",
        "stoker",
        "us-east-1",
        False,
    )
    assert "hidden" not in repr(address)
    with pytest.raises(ConfigurationInvalid, match="S3_ENDPOINT"):
        read_settings(StoreSettings, VARIABLES | {"S3_ENDPOINT": "http://store:9000"})
