"""The two layers around a data key: the tenant's key seals it, and a key derived from the master key wraps the tenant's key.

Both are AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D section 8.2.2 allows 2^32 texts for each key): a derived key wraps
one tenant's key only, and a tenant's key seals data keys only, one for each epoch and artefact, so neither comes near.
A wrapped key begins with one byte that names the algorithm, so that another can stand beside it.
"""

from __future__ import annotations

import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

KEY_SIZE = 32
AES_256_GCM = b"\x01"

_NONCE_SIZE = 12
_TENANT_DOMAIN = b"cleac/tenant-key/1"
_DATA_DOMAIN = b"cleac/data-key/1"


class Unopened(Exception):
    """A wrapped key does not open: other key, other claim, altered, or an unknown algorithm."""


def new_tenant_key(tenant_id: UUID) -> bytes:
    """A fresh tenant key, wrapped; its clear form is seen by nobody until it is first used."""
    return _wrap(_master_key_for(tenant_id), os.urandom(KEY_SIZE), _TENANT_DOMAIN + tenant_id.bytes)


def open_tenant_key(tenant_id: UUID, wrapped: bytes) -> bytes:
    """The tenant's key in clear. Raises `Unopened`, above all when the master key is not the one that wrapped it."""
    return _unwrap(_master_key_for(tenant_id), wrapped, _TENANT_DOMAIN + tenant_id.bytes)


def seal_data_key(tenant_key: bytes, data_key: bytes, *, tenant_id: UUID, row_id: UUID, context: bytes) -> bytes:
    """A data key sealed to its tenant, its row and its claim. Raises ValueError unless it has 32 bytes."""
    if len(data_key) != KEY_SIZE:
        raise ValueError("a data key has 32 bytes")
    return _wrap(tenant_key, data_key, _claim(tenant_id, row_id, context))


def open_data_key(tenant_key: bytes, sealed: bytes, *, tenant_id: UUID, row_id: UUID, context: bytes) -> bytes:
    """The data key in clear. Raises `Unopened` under any other tenant, row or claim."""
    return _unwrap(tenant_key, sealed, _claim(tenant_id, row_id, context))


def _claim(tenant_id: UUID, row_id: UUID, context: bytes) -> bytes:
    return _DATA_DOMAIN + tenant_id.bytes + row_id.bytes + context


def _master_key_for(tenant_id: UUID) -> bytes:
    """The key that wraps this tenant's key, derived from the operator's secret (RFC 5869)."""
    secret = settings.CLEAC.master_key.get_secret_value().encode()
    return HKDF(SHA512(), KEY_SIZE, None, _TENANT_DOMAIN + tenant_id.bytes).derive(secret)


def _wrap(key: bytes, clear: bytes, claim: bytes) -> bytes:
    nonce = os.urandom(_NONCE_SIZE)
    return AES_256_GCM + nonce + AESGCM(key).encrypt(nonce, clear, AES_256_GCM + claim)


def _unwrap(key: bytes, wrapped: bytes, claim: bytes) -> bytes:
    algorithm, nonce, sealed = wrapped[:1], wrapped[1 : 1 + _NONCE_SIZE], wrapped[1 + _NONCE_SIZE :]
    if algorithm != AES_256_GCM or len(sealed) < KEY_SIZE:
        raise Unopened
    try:
        return AESGCM(key).decrypt(nonce, sealed, algorithm + claim)
    except InvalidTag:
        raise Unopened from None
