"""Ids of requests that bring none: no two are alike, in whatever process."""

import os
import uuid

from app.domain.assignments.identity import random_id


def test_no_two_ids_are_alike_and_each_is_a_version_4():
    ids = [random_id() for _ in range(2_000)]
    assert len(set(ids)) == 2_000
    assert {(id_.version, id_.variant) for id_ in ids} == {(4, uuid.RFC_4122)}
    for bit in set(range(128)) - {*range(76, 80), 62, 63}:
        assert 700 < sum(id_.int >> bit & 1 for id_ in ids) < 1_300, bit  # 13 times the standard deviation


def test_a_forked_process_makes_ids_of_its_own():
    random_id()  # others are ready
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    assert uuid.UUID(bytes=os.read(read, 16)) not in {random_id() for _ in range(300)}
    os.close(read)
    os.close(write)
