"""Several processes with one store: killed writers, readers beside a writer, and two that write the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memcourse.errors import CourseError
from memcourse.retrieval import Chunk
from memcourse.retrieval import store_lock as locks
from memcourse.retrieval.store import Store

from .store_support import Hashed, check_vectors, pieces

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", Hashed())


def test_a_writer_waits_for_another_one_and_then_says_so(store, monkeypatch):
    monkeypatch.setattr(locks, "WAIT", 0.1)
    with locks.only_writer(store.path):
        with pytest.raises(CourseError, match="Another process has been writing"):
            store.add("a", pieces("one"))
        assert len(store) == 0  # readers need not wait
    assert store.add("a", pieces("one")).new == 1


@pytest.fixture
def child():
    """Start another process that calls a function of this file; none outlives the test."""
    started: list[subprocess.Popen] = []

    def start(call: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", f"from tests.test_store_processes import {call}; {call}{arguments!r}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=ROOT, text=True, encoding="utf-8", **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def start_together(*processes: subprocess.Popen) -> None:
    """Let all begin at the same moment, when each has imported what it needs."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def wait_for_the_others() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def document(name: str, version: int = 1) -> list[Chunk]:
    return pieces(*[f"{name}, version {version}, part {i}" for i in range(3)])


def write_forever(folder: str, who: str) -> None:
    wait_for_the_others()
    store = Store(folder, Hashed())
    for i in range(10_000):
        store.add(f"{who}{i}", document(f"{who}{i}"))
        print(f"{who}{i}", flush=True)


def test_o14_a_writer_that_is_killed_leaves_whole_documents_and_all_that_it_had_reported(tmp_path, child):
    folder = tmp_path / "store"
    writers = [child("write_forever", str(folder), who) for who in "ab"]  # two at once also make one store at once
    start_together(*writers)
    reported = []
    for n, writer in zip((5, 10), writers, strict=True):
        reported += [writer.stdout.readline().strip() for _ in range(n)]
        writer.kill()
        reported += writer.stdout.read().split()
    store = Store(folder, Hashed())
    documents = store.documents()
    assert len(reported) >= 15 and set(reported) <= documents.keys() and set(documents.values()) == {3}
    assert len(documents) <= len(reported) + 3  # at most the one that was being written by each
    check_vectors(store)
    assert store.add("new", document("new")).new == 3
    assert {hit.document for hit in store.search_many([f"{reported[0]}, version 1, part 1"], 1)[0]} == {reported[0]}
    store.forget()
    assert len(store) == 3 * (len(documents) + 1)


def read_until_the_end(folder: str) -> None:
    """Look at the store again and again; fail at the first sight of something half there."""
    store, most, looks = Store(folder, Hashed()), 0, 0
    wait_for_the_others()
    while "end" not in (documents := store.documents()):
        assert set(documents.values()) <= {3}, documents
        assert len(documents) >= most
        most, looks = len(documents), looks + 1
        found: dict[str, set[str]] = {}
        for hit in store.search("anything", 999):
            found.setdefault(hit.document, set()).add(hit.text.split(",")[1])
        assert all(len(versions) == 1 for versions in found.values()), found
    print(looks, flush=True)


def test_readers_see_whole_states_and_new_ones_without_opening_the_store_again(store, child):
    readers = [child("read_until_the_end", str(store.path)) for _ in range(2)]
    start_together(*readers)
    for i in range(12):
        store.add(f"d{i}", document(f"d{i}"))
        store.replace(f"d{i // 2}", document(f"d{i // 2}", version=i + 2))
        if i % 4 == 3:
            store.forget()
    store.add("end", document("end"))
    for reader in readers:
        looks, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0 and int(looks) > 5


def add_the_same(folder: str, version: int) -> None:
    store = Store(folder, Hashed())
    wait_for_the_others()
    print(*add_and_replace(store, version), flush=True)


def add_and_replace(store, version: int) -> tuple[int, int]:
    """How many records one writer's adds and replacements brought."""
    added = [store.add(f"d{i}", document(f"d{i}")) for i in range(8)]
    replaced = [store.replace(f"r{i}", document(f"r{i}", version)) for i in range(8)]
    return sum(each.new for each in added), sum(each.new - each.removed for each in replaced)


def test_two_that_add_the_same_at_once_add_it_once(store, child):
    other = child("add_the_same", str(store.path), 2)
    start_together(other)
    mine = add_and_replace(store, 1)
    others = map(int, other.communicate(timeout=60)[0].split())
    assert other.returncode == 0 and [a + b for a, b in zip(mine, others, strict=True)] == [24, 24]
    assert store.documents() == dict.fromkeys([f"d{i}" for i in range(8)] + [f"r{i}" for i in range(8)], 3)
    assert len({record.id for record in store.records()}) == 48
    for i in range(8):  # of two new versions at once, one is there, and not a mixture
        assert len({record.text.split(",")[1] for record in store.records({"document": f"r{i}"})}) == 1
