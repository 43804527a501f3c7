"""A data key is kept sealed to its tenant and its claim, opens under no other, and is gone when destroyed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from pydantic import SecretStr

from tenants.errors import Refused
from tenants.keys import port, service
from tenants.models import SealedKey, TenantKey

pytestmark = pytest.mark.django_db(databases=["default", "keys"])

ACME, GLOBEX = uuid.uuid4(), uuid.uuid4()
CLAIM = b"claim of Gail's camera, first epoch"
KEY = b"canary: a data key of 32 bytes.."


def refusal_of(action: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(Refused) as refused:
        action()
    return refused.value.code, refused.value.status


def stored() -> bytes:
    """Every byte of every key row."""
    rows = [bytes(row.sealed) for row in SealedKey.objects.all()] + [bytes(row.wrapped) for row in TenantKey.objects.all()]
    return b"|".join(rows)


def test_a_sealed_key_opens_for_its_tenant_and_claim() -> None:
    sealed = port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")

    assert service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=CLAIM) == KEY
    assert port.exists(sealed)


def test_no_row_holds_a_clear_key_and_each_names_its_algorithm() -> None:
    ids = [port.seal(tenant_id=tenant, key=KEY, context=CLAIM, holder="test") for tenant in (ACME, ACME, GLOBEX)]
    rows = [bytes(row.sealed) for row in SealedKey.objects.all()]

    assert len(ids) == len(set(rows)) == 3
    for canary in (KEY, KEY.hex().encode(), settings.CLEAC.master_key.get_secret_value().encode()):
        assert canary not in stored()
    assert {row[:1] for row in rows} == {bytes(row.wrapped)[:1] for row in TenantKey.objects.all()} == {b"\x01"}


def test_a_tenant_has_one_key_and_it_is_its_own() -> None:
    for _ in range(3):
        port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")
        port.seal(tenant_id=GLOBEX, key=KEY, context=CLAIM, holder="test")

    assert set(TenantKey.objects.values_list("tenant_id", flat=True)) == {ACME, GLOBEX}


def test_the_stranger_and_another_claim_are_told_the_same() -> None:
    sealed = port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")
    port.seal(tenant_id=GLOBEX, key=KEY, context=CLAIM, holder="test")

    assert refusal_of(lambda: service.unseal(sealed_key_id=sealed, tenant_id=GLOBEX, context=CLAIM)) == ("key-foreign", 404)
    assert refusal_of(lambda: service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=b"another")) == ("key-foreign", 404)


def test_a_row_moved_to_another_tenant_or_id_opens_for_nobody() -> None:
    """What somebody who can write the key store may try."""
    one, two = (port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test") for _ in range(2))
    port.seal(tenant_id=GLOBEX, key=KEY, context=CLAIM, holder="test")
    SealedKey.objects.filter(pk=one).update(tenant_id=GLOBEX)
    SealedKey.objects.filter(pk=two).update(sealed=SealedKey.objects.get(pk=one).sealed)

    assert refusal_of(lambda: service.unseal(sealed_key_id=one, tenant_id=GLOBEX, context=CLAIM)) == ("key-foreign", 404)
    assert refusal_of(lambda: service.unseal(sealed_key_id=two, tenant_id=ACME, context=CLAIM)) == ("key-foreign", 404)


@pytest.mark.parametrize("place", [0, 1, 13, -1], ids=["algorithm", "nonce", "ciphertext", "tag"])
def test_an_altered_row_does_not_open(place: int) -> None:
    sealed = port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")
    altered = bytearray(SealedKey.objects.get(pk=sealed).sealed)
    altered[place] ^= 1
    SealedKey.objects.filter(pk=sealed).update(sealed=bytes(altered))

    assert refusal_of(lambda: service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=CLAIM)) == ("key-foreign", 404)


def test_a_destroyed_key_is_gone_and_its_neighbour_stays() -> None:
    gone, kept = (port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test") for _ in range(2))

    assert port.destroy(sealed_key_ids=[gone, uuid.uuid4()]) == 1
    assert port.destroy(sealed_key_ids=iter([gone])) == 0
    assert (port.exists(gone), port.exists(kept)) == (False, True)
    assert refusal_of(lambda: service.unseal(sealed_key_id=gone, tenant_id=ACME, context=CLAIM)) == ("key-gone", 410)
    assert service.unseal(sealed_key_id=kept, tenant_id=ACME, context=CLAIM) == KEY


def test_without_its_tenants_key_every_data_key_is_gone() -> None:
    sealed = port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")
    TenantKey.objects.filter(pk=ACME).delete()

    assert refusal_of(lambda: service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=CLAIM)) == ("key-gone", 410)


def test_under_another_master_key_nothing_opens_and_no_second_tenant_key_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")
    before = stored()
    monkeypatch.setattr(settings.CLEAC, "master_key", SecretStr("another secret of more than 32 characters"))

    assert refusal_of(lambda: service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=CLAIM)) == ("keys-locked", 503)
    assert refusal_of(lambda: port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test")) == ("keys-locked", 503)
    assert stored() == before


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"x"])
def test_only_keys_of_32_bytes_are_sealed(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        port.seal(tenant_id=ACME, key=key, context=CLAIM, holder="test")


@pytest.mark.django_db(databases=["default", "keys"], transaction=True)
def test_several_who_seal_at_once_for_a_new_tenant_share_one_tenant_key() -> None:
    together, ids, failed = threading.Barrier(4), [], []

    def seal() -> None:
        try:
            together.wait(30)
            ids.append(port.seal(tenant_id=ACME, key=KEY, context=CLAIM, holder="test"))
        except (Refused, OSError, threading.BrokenBarrierError) as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failed == []
    assert TenantKey.objects.filter(pk=ACME).count() == 1
    assert {service.unseal(sealed_key_id=sealed, tenant_id=ACME, context=CLAIM) for sealed in ids} == {KEY}
    assert len(ids) == 4
