"""Files are written whole or not at all, and lie where the environment says."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.errors import CourseError
from memcourse.files import data_folder, home, models_home, sha256_file, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_home_and_models_lie_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMCOURSE_HOME", str(tmp_path))
    monkeypatch.delenv("MEMCOURSE_MODELS")
    assert home() == tmp_path and models_home() == tmp_path / "models"
    monkeypatch.setenv("MEMCOURSE_MODELS", str(tmp_path / "shared"))
    assert models_home() == tmp_path / "shared" and home() == tmp_path
    for unset in ("MEMCOURSE_HOME", "MEMCOURSE_MODELS"):
        monkeypatch.setenv(unset, "")
    assert home().is_absolute() and "memcourse" in home().parts and models_home() == home() / "models"


def test_data_lies_beside_the_package():
    assert (data_folder() / "MANIFEST.json").is_file()


def test_data_that_is_missing_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("memcourse.files.__file__", str(tmp_path / "memcourse" / "files.py"))
    with pytest.raises(CourseError, match=r"data is missing beside .*Install memcourse again"):
        data_folder()


@settings(max_examples=20)
@given(st.binary(max_size=200))
def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


def test_a_file_appears_whole_in_folders_made_for_it(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    with written_whole(target) as temporary:
        assert temporary.parent == target.parent and not target.exists()
        temporary.write_text("ganz ü", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "ganz ü" and names(target.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_o14_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(error), written_whole(target) as temporary:
        temporary.write_text("ha", encoding="utf-8")
        raise error
    assert target.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["file.txt"]


def test_a_full_disk_is_told_in_words_and_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(CourseError, match=r"No space left.*Free some disk space"), written_whole(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["file.txt"]


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(CourseError, match=r"Cannot write to .*set MEMCOURSE_HOME"),
        written_whole(tmp_path / "file" / "x.txt"),
    ):
        raise AssertionError("the block must not run")


def test_two_writers_leave_one_whole_file(tmp_path):
    target = tmp_path / "file"
    gate = threading.Barrier(2)

    def write(letter: str) -> None:
        with written_whole(target) as temporary:
            temporary.write_text(letter * 100_000, encoding="utf-8")
            gate.wait(timeout=10)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert target.read_text(encoding="utf-8") in ("a" * 100_000, "b" * 100_000) and names(tmp_path) == ["file"]
