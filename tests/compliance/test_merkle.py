"""The tree's arithmetic against the definition of RFC 6962, and its proofs against everything that is not a proof."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from compliance import merkle

LEAVES = [merkle.leaf_hash(index.to_bytes(4, "big")) for index in range(200)]
KNOWN_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
KNOWN_ROOTS = [  # of the first 1 to 8 inputs: the published test data of Certificate Transparency
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
sizes = st.integers(min_value=1, max_value=len(LEAVES))


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 writes it down."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return sha256(b"\x01" + defined_root(leaves[:left]) + defined_root(leaves[left:])).digest()


ROOTS = [defined_root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit % (8 * len(value))).to_bytes(len(value), "big")


def test_the_roots_are_those_of_the_published_test_data() -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(data)) for data in KNOWN_INPUTS]

    assert [merkle.root(leaves[:size]).hex() for size in range(1, 9)] == KNOWN_ROOTS


def test_a_frontier_grown_leaf_by_leaf_has_the_defined_root_at_every_size() -> None:
    frontier: list[bytes] = []
    for size, leaf in enumerate(LEAVES):
        assert merkle.root_of_frontier(frontier, size) == ROOTS[size]
        frontier = merkle.append(frontier, size, leaf)

    assert merkle.root_of_frontier(frontier, len(LEAVES)) == ROOTS[-1]


@given(st.integers(min_value=0, max_value=len(LEAVES)))
def test_each_frontier_hash_is_the_root_of_its_span(size: int) -> None:
    frontier: list[bytes] = []
    for index, leaf in enumerate(LEAVES[:size]):
        frontier = merkle.append(frontier, index, leaf)

    spans = merkle.frontier_spans(size)

    assert sum(count for _, count in spans) == size
    assert [defined_root(LEAVES[first : first + count]) for first, count in spans] == frontier


@given(sizes, st.data())
def test_every_leaf_of_every_tree_is_proven_in_it(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(min_value=0, max_value=size - 1))

    proof = merkle.inclusion_proof(LEAVES[:size], index)

    merkle.verify_inclusion(index, size, LEAVES[index], proof, ROOTS[size])


@given(sizes, st.data())
def test_every_older_tree_is_proven_a_prefix(size2: int, data: st.DataObject) -> None:
    size1 = data.draw(st.integers(min_value=1, max_value=size2))

    proof = merkle.consistency_proof(LEAVES[:size2], size1)

    merkle.verify_consistency(size1, size2, ROOTS[size1], ROOTS[size2], proof)


@given(sizes, st.data(), st.integers(min_value=0))
def test_an_inclusion_proof_with_one_bit_flipped_anywhere_fails(size: int, data: st.DataObject, bit: int) -> None:
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    hashes = [LEAVES[index], ROOTS[size], *merkle.inclusion_proof(LEAVES[:size], index)]
    place = data.draw(st.integers(min_value=0, max_value=len(hashes) - 1))
    hashes[place] = flipped(hashes[place], bit)

    with pytest.raises(ValueError, match="proof"):
        merkle.verify_inclusion(index, size, hashes[0], hashes[2:], hashes[1])


@given(sizes, st.data(), st.integers(min_value=0))
def test_a_consistency_proof_with_one_bit_flipped_anywhere_fails(size2: int, data: st.DataObject, bit: int) -> None:
    size1 = data.draw(st.integers(min_value=1, max_value=size2))
    hashes = [ROOTS[size1], ROOTS[size2], *merkle.consistency_proof(LEAVES[:size2], size1)]
    place = data.draw(st.integers(min_value=0, max_value=len(hashes) - 1))
    hashes[place] = flipped(hashes[place], bit)

    with pytest.raises(ValueError, match="proof"):
        merkle.verify_consistency(size1, size2, hashes[0], hashes[1], hashes[2:])


@given(st.integers(min_value=2, max_value=len(LEAVES)), st.data())
def test_an_inclusion_proof_is_good_for_its_own_index_and_its_own_head_only(size: int, data: st.DataObject) -> None:
    index, other = data.draw(st.lists(st.integers(min_value=0, max_value=size - 1), min_size=2, max_size=2, unique=True))
    wrong_size = data.draw(st.integers(min_value=index + 1, max_value=len(LEAVES)))
    assume(wrong_size != size)
    proof = merkle.inclusion_proof(LEAVES[:size], index)

    with pytest.raises(ValueError, match="proof"):
        merkle.verify_inclusion(other, size, LEAVES[index], proof, ROOTS[size])
    with pytest.raises(ValueError, match="proof"):
        merkle.verify_inclusion(index, wrong_size, LEAVES[index], proof, ROOTS[wrong_size])


@given(st.integers(min_value=2, max_value=len(LEAVES)), st.data())
def test_a_consistency_proof_is_good_for_its_own_two_heads_only(size2: int, data: st.DataObject) -> None:
    size1, other = data.draw(st.lists(st.integers(min_value=1, max_value=size2), min_size=2, max_size=2, unique=True))
    wrong_size2 = data.draw(sizes.filter(lambda size: size != size2))
    proof = merkle.consistency_proof(LEAVES[:size2], size1)

    with pytest.raises(ValueError, match="proof"):
        merkle.verify_consistency(other, size2, ROOTS[other], ROOTS[size2], proof)
    assume(wrong_size2 != size1)
    with pytest.raises(ValueError, match=r"proof|larger"):
        merkle.verify_consistency(size1, wrong_size2, ROOTS[size1], ROOTS[wrong_size2], proof)


@given(sizes, st.data())
def test_a_proof_with_a_hash_too_many_or_too_few_fails(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    inclusion = merkle.inclusion_proof(LEAVES[:size], index)
    consistency = merkle.consistency_proof(LEAVES[:size], index + 1)

    for wrong in (inclusion[:-1], [*inclusion, LEAVES[0]]):
        if wrong != inclusion:
            with pytest.raises(ValueError, match="proof"):
                merkle.verify_inclusion(index, size, LEAVES[index], wrong, ROOTS[size])
    for wrong in (consistency[:-1], [*consistency, LEAVES[0]]):
        if wrong != consistency:
            with pytest.raises(ValueError, match="proof"):
                merkle.verify_consistency(index + 1, size, ROOTS[index + 1], ROOTS[size], wrong)


NOT_HASHES: list[Any] = [b"", LEAVES[0][:31], LEAVES[0] + b"\x00", LEAVES[0].hex(), None]


@pytest.mark.parametrize("rubbish", NOT_HASHES)
def test_what_is_not_32_bytes_is_no_hash_wherever_it_stands(rubbish: Any) -> None:
    inclusion, consistency = merkle.inclusion_proof(LEAVES[:7], 3), merkle.consistency_proof(LEAVES[:7], 3)
    attempts: list[tuple[Any, tuple[Any, ...]]] = [
        (merkle.verify_inclusion, (3, 7, rubbish, inclusion, ROOTS[7])),
        (merkle.verify_inclusion, (3, 7, LEAVES[3], inclusion, rubbish)),
        (merkle.verify_inclusion, (3, 7, LEAVES[3], [*inclusion[:-1], rubbish], ROOTS[7])),
        (merkle.verify_inclusion, (0, 1, rubbish, [], rubbish)),
        (merkle.verify_consistency, (3, 7, rubbish, ROOTS[7], consistency)),
        (merkle.verify_consistency, (3, 7, ROOTS[3], rubbish, consistency)),
        (merkle.verify_consistency, (3, 7, ROOTS[3], ROOTS[7], [*consistency[:-1], rubbish])),
        (merkle.verify_consistency, (7, 7, rubbish, rubbish, [])),
        (merkle.append, ([LEAVES[0]], 1, rubbish)),
        (merkle.append, ([rubbish], 1, LEAVES[0])),
        (merkle.root_of_frontier, ([rubbish], 1)),
    ]

    for function, arguments in attempts:
        with pytest.raises(ValueError, match="32 bytes"):
            function(*arguments)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (7, 7), (8, 7), (-1, 7), (0, -1), (0.0, 7), (True, 7), ("0", 7), (None, 7)])
def test_an_index_outside_the_tree_is_refused(index: Any, size: Any) -> None:
    with pytest.raises(ValueError, match="index"):
        merkle.verify_inclusion(index, size, LEAVES[0], [], LEAVES[0])


@pytest.mark.parametrize(("size1", "size2"), [(0, 0), (0, 7), (7, 3), (-1, 7), (3, -7), (3.0, 7), (True, 7), ("3", 7)])
def test_an_empty_or_larger_older_tree_is_refused(size1: Any, size2: Any) -> None:
    with pytest.raises(ValueError, match=r"older|whole number"):
        merkle.verify_consistency(size1, size2, ROOTS[3], ROOTS[7], merkle.consistency_proof(LEAVES[:7], 3))


def test_no_proof_is_made_for_what_is_not_there() -> None:
    for index in (-1, 7):
        with pytest.raises(ValueError, match="index"):
            merkle.inclusion_proof(LEAVES[:7], index)
    for size1 in (0, 8):
        with pytest.raises(ValueError, match="older"):
            merkle.consistency_proof(LEAVES[:7], size1)


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="perfect subtree"):
        merkle.append([LEAVES[0]], 2 + 1, LEAVES[1])
    with pytest.raises(ValueError, match="perfect subtree"):
        merkle.root_of_frontier([], 1)
