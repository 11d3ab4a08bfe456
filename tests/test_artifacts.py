"""Artifacts: one key for all that a result depends on; damage, interruption and odd values; what comes back."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import SafetensorError

from memcourse import files
from memcourse.course import artifacts
from memcourse.course.artifacts import artifact, package_sha256

from .course_support import turn_dial


@pytest.fixture(autouse=True)
def dial(fresh_home, monkeypatch):
    """Notebook 00 on profile laptop, in an empty home."""
    turn_dial(monkeypatch, questions=24)


@pytest.fixture
def make():
    """A counting maker: how often it ran stands in make.runs."""

    def made():
        made.runs += 1
        return {"numbers": np.arange(3.0), "n": 3}

    made.runs = 0
    return made


def stored(home):
    return sorted(path.name for path in (home / "artifacts").iterdir())


def runs(make, **config):
    """Ask for the artifact; whether it had to be made."""
    before = make.runs
    artifact("a", make, **config)
    return make.runs > before


# ---- The key ---------------------------------------------------------------------------------------------------


def test_the_second_time_it_comes_from_the_cache(make, fresh_home, capsys):
    first, second = artifact("a", make, k=1), artifact("a", make, k=1)
    assert make.runs == 1 and stored(fresh_home)[0].startswith("a-")
    assert np.array_equal(first["numbers"], second["numbers"]) and first["n"] == second["n"] == 3
    assert capsys.readouterr().out.splitlines() == ["a: made in 0 s and stored", "a: from cache, made in 0 s"]


def test_configuration_and_name_belong_to_the_key(make, fresh_home):
    assert [runs(make, k=1), runs(make, k=2), runs(make, k=1, j=1), runs(make)] == [True] * 4
    assert not runs(make, j=1, k=1)  # the order does not matter
    artifact("b", make)
    assert len(stored(fresh_home)) == 5


def test_the_code_belongs_to_the_key(make):
    def other():
        return {"numbers": np.arange(4.0)}

    def indented():
        if True:

            def made():
                return {"numbers": np.arange(4.0)}

        return made

    def made():
        return {"numbers": np.arange(4.0)}

    artifact("a", make)
    assert len(artifact("a", other)["numbers"]) == 4
    assert artifacts._key("a", made, {}) == artifacts._key("a", indented(), {}) != artifacts._key("a", other, {})


DIALS = [{"name": "smoke"}, {"notebook": "01"}, {"questions": 4}]


@pytest.mark.parametrize("change", DIALS, ids=str)
def test_the_dial_belongs_to_the_key(make, monkeypatch, change):
    runs(make)
    turn_dial(monkeypatch, **{"questions": 24, **change})
    assert runs(make) and not runs(make)


@pytest.mark.parametrize("field", ["seed", "device", "dtype"])
def test_seed_and_hardware_belong_to_the_key(make, field):
    runs(make)
    object.__setattr__(artifacts.current(), field, "another")
    assert runs(make) and not runs(make)


def test_package_data_and_versions_belong_to_the_key(make, monkeypatch):
    runs(make)
    for name in ("package_sha256", "manifest_sha256"):
        monkeypatch.setattr(artifacts, name, lambda: "another")
        assert runs(make)
    monkeypatch.setattr(artifacts, "version", lambda name: "99.0" if name == "transformers" else "2.11")
    assert runs(make) and not runs(make)


def test_the_package_hash_sees_what_computes_and_nothing_else(tmp_path, monkeypatch):
    package = tmp_path / "memcourse"
    for name in ("model/lm.py", "course/cli.py", "plots.py", "metrics.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(artifacts, "__file__", str(package / "course" / "artifacts.py"))
    before = package_sha256()
    for name, matters in {"course/cli.py": False, "plots.py": False, "model/lm.py": True, "new.py": True}.items():
        (package / name).write_text("x = 2\n", encoding="utf-8")
        assert (package_sha256() != before) == matters, name
        before = package_sha256()
    (package / "new.py").rename(package / "newer.py")
    assert package_sha256() != before


# ---- The file --------------------------------------------------------------------------------------------------


def damage_by(path, kind):
    whole = path.read_bytes()
    header = whole.replace(b'"n\\": 3', b'"n\\": ?').replace(b"seconds", b"minutes")
    path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "short": whole[:-1], "text": b"no tensors here",
                      "header": header}[kind])  # fmt: skip


@pytest.mark.parametrize("kind", ["empty", "half", "short", "text", "header"])
def test_a_damaged_file_is_made_again(make, fresh_home, kind):
    runs(make)
    damage_by(fresh_home / "artifacts" / stored(fresh_home)[0], kind)
    assert runs(make) and not runs(make)
    assert len(stored(fresh_home)) == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ValueError("no"), MemoryError()])
def test_an_interrupted_make_leaves_nothing(make, fresh_home, end):
    def broken():
        raise end

    with pytest.raises(type(end)):
        artifact("a", broken)
    assert not (fresh_home / "artifacts").exists()


def test_an_interrupted_writing_leaves_nothing(make, fresh_home, monkeypatch):
    def half(arrays, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "save_file", half)
        with pytest.raises(KeyboardInterrupt):
            artifact("a", make)
    assert stored(fresh_home) == []
    assert runs(make) and not runs(make)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_full_disk_costs_the_storing_not_the_result(make, fresh_home, monkeypatch, capsys, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(artifacts, "save_file", full)
    assert artifact("a", make)["n"] == 3
    said = capsys.readouterr().out
    assert said.startswith("a: made in 0 s, but not stored. Cannot write to ") and "Free some disk space" in said
    assert stored(fresh_home) == []


def test_a_home_that_cannot_be_made_costs_the_storing_not_the_result(make, fresh_home, capsys):
    fresh_home.write_text("a file in its place", encoding="utf-8")
    assert artifact("a", make)["n"] == 3 and "set MEMCOURSE_HOME" in capsys.readouterr().out


def test_the_file_can_be_read_by_whoever_may_read_the_folder(tmp_path):
    with files.written_whole(tmp_path / "new" / "x.txt") as temporary:
        temporary.write_text("x", encoding="utf-8")
    (tmp_path / "usual.txt").touch()
    assert (tmp_path / "new" / "x.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


# ---- What may be stored ----------------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", [*DTYPES, ">f4", ">i8"])
def test_arrays_of_every_kind_come_back(dtype, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype=dtype)
    first, second = (artifact("a", lambda: {"x": array}, dtype=dtype, shape=shape)["x"] for _ in range(2))
    assert first.dtype == second.dtype == np.dtype(dtype).newbyteorder("=")
    assert first.shape == second.shape == shape and np.array_equal(first, second) and np.array_equal(first, array)


def test_views_and_odd_numbers_come_back():
    array = np.array([[1.0, np.nan, np.inf], [-0.0, 5e-324, 2.0]]).T[:, ::-1]
    first, second = (artifact("a", lambda: {"x": array})["x"] for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True) and np.array_equal(first, array, equal_nan=True)


def test_the_first_answer_is_already_the_one_of_the_cache():
    value = {"pair": (1, 2), "by number": {1: "a"}, "text": "\u8a18\u61b6", "none": None, "list": [1.5, True]}
    first, second = (artifact("a", lambda: value) for _ in range(2))
    assert first == second == {**value, "pair": [1, 2], "by number": {"1": "a"}}
    assert artifact("empty", lambda: {}) == artifact("empty", lambda: {}) == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "must be a dictionary"), ([1], "must be a dictionary"), ({1: 2}, "whose keys are texts"),
        ({"x": np.array(["a"])}, "'x' of dtype <U1"), ({"x": np.array([None])}, "of dtype object"),
        ({"x": np.array([1j])}, "of dtype complex128"), ({"x": object()}, "not JSON serializable"),
        ({"x": {1, 2}}, "not JSON serializable"), ({"x": [np.arange(2)]}, "not JSON serializable"),
        ({"x": np.int64(3)}, "not JSON serializable"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(fresh_home, value, said):
    with pytest.raises(TypeError, match="The artifact 'a' ") as error:
        artifact("a", lambda: value)
    assert said in str(error.value) or said in str(error.value.__cause__)
    assert not (fresh_home / "artifacts").exists()


def test_what_cannot_be_keyed_is_refused(make):
    with pytest.raises(TypeError, match="takes a configuration that JSON can hold"):
        artifact("a", make, k=object())
    for odd in (len, eval("lambda: {}"), 3):
        with pytest.raises(TypeError, match="needs a function whose source can be read"):
            artifact("a", odd)
    for name in ("", "a/b", "../a", "a b", "a:b"):
        with pytest.raises(ValueError, match="An artifact's name has letters"):
            artifact(name, make)
    assert make.runs == 0
