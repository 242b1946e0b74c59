"""An import is merged in two shares, of which each has half of the draw order, and keeps its index packed."""

from collections import Counter

import pytest
from sqlalchemy import text

from app.domain.imports.merging import merge, rows
from app.domain.imports.reader.batches import Batch
from app.platform.database import transaction

HALVES = [range(-(2**63), 0), range(2**63)]


def dealt(codes, seed):
    """The share of each code."""
    batch = Batch(list(range(len(codes))), [[code] for code in codes])
    shares = rows.Sorter(0, seed=seed).sort(batch).shares
    return {row.split("\t")[1]: share for share, staged in enumerate(shares) for row in staged}


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_no_sign_of_a_code_tells_its_share(seed):
    codes = [f"SPRING-{n:06}" for n in range(20_000)]
    shares = dealt(codes, seed)
    assert set(shares) == set(codes)
    for place in range(-4, 0):
        for sign, n in Counter(code[place] for code in codes).items():
            second = sum(share for code, share in shares.items() if code[place] == sign)
            assert 0.44 < second / n < 0.56, (place, sign)


def test_a_seed_deals_otherwise_and_a_code_always_alike():
    codes = [f"{n:06}" for n in range(1000)]
    one, other = dealt(codes, 1), dealt(codes, 2)
    assert 300 < sum(one[code] != other[code] for code in codes) < 700
    odd = [*codes, '="000001"']  # one by one, not at first sight
    assert {code: share for code, share in dealt(odd, 1).items() if code in one} == one


def test_the_shares_have_all_draw_keys_between_them():
    assert [merge.keys_of(share) for share in range(rows.SHARES)] == HALVES
    assert [merge.before(share) for share in range(rows.SHARES)] == [-(2**63), -1]
    for share, keys in enumerate(HALVES):
        ends = [merge.before(share)]
        while ends[-1] < keys.stop - 1:
            ends.append(merge.end_of_chunk(ends[-1], 100, 30, merge.keys_of(share)))
        assert (len(ends), ends[-1], ends) == (5, keys.stop - 1, sorted(ends))


async def test_codes_lie_in_the_half_of_their_share(client, upload, engine):
    codes = [f"C-{n:04}" for n in range(400)]
    assert (await upload("code\n" + "\n".join(codes))).json()["imported"] == 400
    async with transaction(engine) as connection:
        seed = (await connection.execute(text("SELECT seed FROM import"))).scalar_one()
        found = (await connection.execute(text("SELECT code, draw_key FROM voucher"))).all()
    shares = dealt(codes, seed & 0xFFFFFFFF)
    assert all(draw_key in HALVES[shares[code]] for code, draw_key in found)
    assert len({draw_key for _, draw_key in found}) == 400
