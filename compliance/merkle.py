"""The arithmetic of an append-only Merkle tree: RFC 6962 section 2.1, proofs checked as in RFC 9162 sections 2.1.3 and 2.1.4.

Pure functions over bytes; nothing here knows Django, a database or a key. A *leaf hash* is SHA-256(0x00 || data), a
*node hash* SHA-256(0x01 || left || right), every hash is 32 bytes. The *frontier* of a tree of n leaves is the list of
the roots of its perfect subtrees, largest (leftmost) first: one hash per 1-bit of n. It is all that is needed to append
a leaf and to compute the root.

The two `verify_` functions return nothing when the proof holds and raise `ValueError` on anything wrong or malformed.
A proof says something about the pair (size, root) only: take both from one signed or locked head, never the size alone.
"""

from collections.abc import Sequence
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def append(frontier: Sequence[bytes], size: int, leaf: bytes) -> list[bytes]:
    """Frontier of a tree of `size + 1` leaves, from the frontier of `size` leaves and the next leaf hash.

    Raises ValueError when the frontier does not belong to a tree of that size.
    """
    check_frontier(frontier, size)
    node = _hash(leaf)
    grown = list(frontier)
    while size & 1:
        node = node_hash(grown.pop(), node)
        size >>= 1
    grown.append(node)
    return grown


def root_of_frontier(frontier: Sequence[bytes], size: int) -> bytes:
    """Root of the tree of `size` leaves with this frontier; the hash of nothing for an empty tree. Raises ValueError as `append`."""
    check_frontier(frontier, size)
    if not frontier:
        return EMPTY_ROOT
    root = frontier[-1]
    for subtree in reversed(frontier[:-1]):
        root = node_hash(subtree, root)
    return root


def frontier_spans(size: int) -> list[tuple[int, int]]:
    """(first index, number of leaves) under each hash of the frontier of a tree of `size` leaves, in the frontier's order."""
    _size(size)
    spans, first = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            spans.append((first, 1 << bit))
            first += 1 << bit
    return spans


def check_frontier(frontier: Sequence[bytes], size: int) -> None:
    """Raise ValueError unless the frontier has the form that a tree of `size` leaves has."""
    if len(frontier) != _size(size).bit_count():
        raise ValueError("the frontier has not one hash per perfect subtree")
    for node in frontier:
        _hash(node)


def root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over these leaf hashes (MTH of RFC 6962 section 2.1)."""
    frontier: list[bytes] = []
    for size, leaf in enumerate(leaves):
        frontier = append(frontier, size, leaf)
    return root_of_frontier(frontier, len(leaves))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of leaf `index` in the tree over all `leaves`, leaf's sibling first (PATH of RFC 6962 section 2.1.1).

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= _size(index) < len(leaves):
        raise ValueError("index outside the tree")
    path: list[bytes] = []
    first, count = 0, len(leaves)
    while count > 1:
        left = _split(count)
        if index < first + left:
            path.append(root(leaves[first + left : first + count]))
            count = left
        else:
            path.append(root(leaves[first : first + left]))
            first, count = first + left, count - left
    return path[::-1]


def consistency_proof(leaves: Sequence[bytes], size1: int) -> list[bytes]:
    """Proof that the tree over the first `size1` leaves is a prefix of the tree over all of them (RFC 6962 section 2.1.2).

    Empty when `size1` is the whole tree. Raises ValueError unless 1 <= size1 <= number of leaves.
    """
    if not 1 <= _size(size1) <= len(leaves):
        raise ValueError("the older tree is empty or larger than the newer one")
    path: list[bytes] = []
    first, count, old, whole = 0, len(leaves), size1, True
    while old != count:
        left = _split(count)
        if old <= left:
            path.append(root(leaves[first + left : first + count]))
            count = left
        else:
            path.append(root(leaves[first : first + left]))
            first, count, old, whole = first + left, count - left, old - left, False
    if not whole:
        path.append(root(leaves[first : first + count]))
    return path[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with this leaf hash is number `index` of the tree (size, root) (RFC 9162 section 2.1.3.2).

    Raises ValueError when it is not, or when index, size or a hash is malformed.
    """
    if not 0 <= _size(index) < _size(size):
        raise ValueError("index outside the tree")
    node, position, last = _hash(leaf), index, size - 1
    for sibling in proof:
        if last == 0:
            raise ValueError("the inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(_hash(sibling), node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, _hash(sibling))
        position, last = position >> 1, last >> 1
    if last:
        raise ValueError("the inclusion proof is too short")
    if node != _hash(root):
        raise ValueError("the inclusion proof does not lead to the root")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (size1, root1) is a prefix of the tree (size2, root2) (RFC 9162 section 2.1.4.2).

    Raises ValueError when it is not, when `size1` is 0 or above `size2`, or when a hash is malformed.
    """
    if not 1 <= _size(size1) <= _size(size2):
        raise ValueError("the older tree is empty or larger than the newer one")
    _hash(root1)
    _hash(root2)
    if size1 == size2:
        if proof or root1 != root2:
            raise ValueError("two trees of one size have one root and need no proof")
        return
    path = [_hash(node) for node in proof]
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    if not path:
        raise ValueError("the consistency proof is too short")
    old, new = _fold_consistency(size1, size2, path)
    if old != root1 or new != root2:
        raise ValueError("the consistency proof does not lead to both roots")


def _fold_consistency(size1: int, size2: int, path: list[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a proof leads to. `path` starts with the older tree's last perfect subtree."""
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            raise ValueError("the consistency proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, node)
        position, last = position >> 1, last >> 1
    if last:
        raise ValueError("the consistency proof is too short")
    return old, new


def _split(count: int) -> int:
    """Largest power of two below `count`: how many leaves the left subtree holds."""
    return 1 << (count - 1).bit_length() - 1


def _size(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a size or an index is a whole number, not negative")
    return value


def _hash(value: bytes) -> bytes:
    if not isinstance(value, bytes) or len(value) != HASH_SIZE:
        raise ValueError("a hash is 32 bytes")
    return value
