"""The course's data: hashes, what the datasheets promise, and a changed file that is named and not used."""

from __future__ import annotations

import json
import shutil

import pytest

from memcourse.errors import CourseError
from memcourse.world import data_path, load_capitals, load_invented_facts, manifest
from memcourse.world.manifest import MANIFEST, build_manifest

from .conftest import ROOT

DATA = ROOT / "data"


def test_the_manifest_names_every_file_with_its_hash_and_datasheet():
    assert (DATA / MANIFEST).read_text(encoding="utf-8") == build_manifest(DATA)
    for entry in json.loads((DATA / MANIFEST).read_text(encoding="utf-8")).values():
        sheet = (DATA / entry["datasheet"]).read_text(encoding="utf-8")
        assert "CC BY 4.0" in sheet and "contains no real person" in sheet


@pytest.mark.parametrize("change", ["altered", "missing"])
def test_a_changed_file_is_named(tmp_path, monkeypatch, change):
    copy = tmp_path / "data"
    shutil.copytree(DATA, copy)
    monkeypatch.setattr(manifest, "data_folder", lambda: copy)
    victim = copy / "capitals.csv"
    victim.unlink() if change == "missing" else victim.write_text(victim.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(CourseError, match=r"capitals\.csv.*(changed|missing)"):
        load_capitals()


def test_an_unknown_file_is_refused():
    with pytest.raises(ValueError, match=r"no data file 'x\.csv'"):
        data_path("x.csv")


def test_capitals_are_unique_ordered_and_do_not_give_themselves_away():
    countries = load_capitals()
    assert len(countries) == len({c.name for c in countries}) == 166
    population = [c.population_millions for c in countries]
    assert population == sorted(population, reverse=True) and population[-1] > 0
    for country in countries:
        bare = country.name.removeprefix("the ")
        assert bare[:3] != country.capital[:3] and bare not in country.capital and country.capital not in bare


def test_invented_facts_are_unambiguous(lm):
    facts = load_invented_facts()
    assert len({fact.id for fact in facts}) == len({fact.answer for fact in facts}) == len(facts) == 24
    for fact in facts:
        assert len(set(fact.choices)) == 8 and fact.choices[fact.gold] == fact.answer
        assert fact.answer.lower() in fact.statement.lower()
        assert not any(f" {word} " in f" {fact.cloze} {fact.question} " for word in fact.choices)
        assert all(len(lm.encode(f" {word}")) == 1 for word in fact.choices)
    places = [fact.gold for fact in facts]
    assert all(places.count(place) == 3 for place in range(8)), "a constant guess must score exactly by chance"
