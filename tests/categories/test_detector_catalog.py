"""Detectors by name, built in and brought by other packages."""

from pathlib import Path

import pytest

from fairlead.categories.catalog import ENTRY_POINTS, detector_named
from fairlead.categories.contract import Detector
from fairlead.categories.rules import RuleDetector
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that registers a good detector, a useless one and one that claims a built-in name."""
    (tmp_path / "catdetect.py").write_text(
        "from fairlead.domain.task import TaskCategory\n"
        "class Shouting:\n"
        "    def detect(self, prompt):\n"
        "        return TaskCategory.DEBUGGING if prompt.isupper() else TaskCategory.UNKNOWN\n"
    )
    info = tmp_path / "catdetect-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: catdetect\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\nshouting = catdetect:Shouting\nuseless = builtins:object\nrules = catdetect:Shouting\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_rules_are_built_in() -> None:
    detector: Detector = detector_named("rules")
    assert isinstance(detector, RuleDetector)


def test_an_unknown_name_is_refused_naming_the_known() -> None:
    with pytest.raises(FairleadError, match="'embedding'; there are: rules"):
        detector_named("embedding")


@pytest.mark.usefixtures("other_package")
def test_another_package_brings_its_own() -> None:
    assert detector_named("shouting").detect("IT CRASHED") is TaskCategory.DEBUGGING


@pytest.mark.usefixtures("other_package")
def test_the_names_of_other_packages_are_listed_once() -> None:
    with pytest.raises(FairleadError, match=r"there are: rules, trained:PATH, shouting, useless$"):
        detector_named("embedding")


@pytest.mark.usefixtures("other_package")
def test_a_built_in_name_cannot_be_taken_over() -> None:
    assert isinstance(detector_named("rules"), RuleDetector)


@pytest.mark.usefixtures("other_package")
def test_what_cannot_detect_is_refused() -> None:
    with pytest.raises(FairleadError, match=r"'useless' of .* gives 'object', which has no detect"):
        detector_named("useless")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trained", "write `trained:PATH`"),
        ("trained:", "write `trained:PATH`"),
        ("trained:/nowhere/weights", "'/nowhere/weights' cannot be read: No such file"),
        ("trained:/", "'/' cannot be read: Is a directory"),
        ("trained:a\0b", "cannot be read: embedded null byte"),
    ],
)
def test_weights_that_are_not_there_are_refused(name: str, says: str) -> None:
    with pytest.raises(FairleadError, match=says):
        detector_named(name)


def test_a_damaged_file_of_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"{}")
    with pytest.raises(FairleadError, match=r"/w: this is no file of category weights: .*`fairlead train`"):
        detector_named(f"trained:{tmp_path / 'w'}")
