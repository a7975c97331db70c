"""The object store keeps what it confirmed, for those who have the keys."""

import io

import pytest
from minio import Minio
from minio.error import S3Error

from tests.support.servers import TestBucket


def test_an_object_survives_kill_9(object_store: TestBucket) -> None:
    object_store.client().put_object(object_store.bucket, "kept", io.BytesIO(b"x" * 100_000), 100_000)
    object_store.server.kill()
    object_store.server.start()
    answer = object_store.client().get_object(object_store.bucket, "kept")
    assert answer.read() == b"x" * 100_000
    answer.close()


@pytest.mark.parametrize("keys", [(None, None), ("wrong", "wrong"), ("right", "wrong")])
def test_without_the_keys_nothing_is_read(object_store: TestBucket, keys: tuple[str | None, str | None]) -> None:
    object_store.client().put_object(object_store.bucket, "kept", io.BytesIO(b"x"), 1)
    access = object_store.access_key if keys[0] == "right" else keys[0]
    stranger = Minio(object_store.endpoint, access, keys[1], secure=False, region=object_store.region)
    with pytest.raises(S3Error) as refusal:
        stranger.get_object(object_store.bucket, "kept")
    assert refusal.value.code in {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


def test_a_bucket_with_objects_is_not_deleted(object_store: TestBucket) -> None:
    object_store.client().put_object(object_store.bucket, "kept", io.BytesIO(b"x"), 1)
    with pytest.raises(S3Error):
        object_store.client().remove_bucket(object_store.bucket)
