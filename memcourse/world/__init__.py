"""The course's own data: read from data/, checked by SHA-256 on every load, handed out as plain dataclasses."""

from memcourse.world.capitals import Country, load_capitals
from memcourse.world.invented import InventedFact, load_invented_facts
from memcourse.world.manifest import data_path, manifest_sha256

__all__ = ["Country", "InventedFact", "data_path", "load_capitals", "load_invented_facts", "manifest_sha256"]
