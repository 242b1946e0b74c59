import os
import time
import uuid

from app.platform.ids import ordered_id, ordered_ids


def test_ids_come_in_ascending_order_and_none_twice():
    ids = ordered_ids(4096)
    assert sorted(ids) == ids
    assert len({*ids, *ordered_ids(5000)}) == 9096
    assert ordered_ids(0) == []


def test_they_are_uuids_of_the_seventh_version():
    for id_ in ordered_ids(50):
        read = uuid.UUID(id_)
        assert (str(read), read.version, read.variant) == (id_, 7, uuid.RFC_4122)


def test_one_by_one_they_begin_with_the_millisecond_and_the_rest_is_random():
    before = time.time_ns() // 1_000_000
    ids = [ordered_id() for _ in range(2_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 2_000
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= id_.int >> 80 <= after for id_ in ids)
    for bit in set(range(76)) - {62, 63}:
        assert 700 < sum(id_.int >> bit & 1 for id_ in ids) < 1_300, bit  # 13 times the standard deviation


def test_a_forked_process_makes_ids_of_its_own():
    ordered_id()  # what is random in others is ready
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ordered_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    rest = 2**76 - 1  # the time is another anyway
    assert uuid.UUID(bytes=os.read(read, 16)).int & rest not in {ordered_id().int & rest for _ in range(300)}
    os.close(read)
    os.close(write)
