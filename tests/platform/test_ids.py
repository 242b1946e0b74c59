import uuid

from app.platform.ids import ordered_ids


def test_ids_come_in_ascending_order_and_none_twice():
    ids = ordered_ids(4096)
    assert sorted(ids) == ids
    assert len({*ids, *ordered_ids(5000)}) == 9096
    assert ordered_ids(0) == []


def test_they_are_uuids_of_the_seventh_version():
    for id_ in ordered_ids(50):
        read = uuid.UUID(id_)
        assert (str(read), read.version, read.variant) == (id_, 7, uuid.RFC_4122)
