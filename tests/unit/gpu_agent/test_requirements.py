"""What a model's packages are made of: which change asks for a new environment, and which does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_agent.build_section import Build, BuildRefused, read_build
from gpu_agent.requirements import RequirementsFailed, ingredients

LISTED = Build(python_packages=("numpy==2", "./wheel.whl"), python_requirements="requirements.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "wheel.whl": "1",
        "requirements.txt": "-r more/others.txt\n./local[extra]  # ours\n-e ./edited\n"
        f"named @ file://{tmp_path}/direct\nplain>=1 \\\n  ; python_version > '3'\n",
        "more/others.txt": "-c limits.txt\nrequests\n",
        "more/limits.txt": "requests<3\n",
        "local/part.py": "a = 1",
        "edited/part.py": "b = 1",
        "edited/pyproject.toml": "[project]",
        "direct/part.py": "c = 1",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "wheel.whl",
        "requirements.txt",
        "more/others.txt",
        "more/limits.txt",
        "local/part.py",
        "edited/pyproject.toml",
        "direct/part.py",
    ],
)
def test_a_change_of_what_it_is_made_of_is_seen(folder: Path, name: str) -> None:
    before = list(ingredients(LISTED, folder))
    (folder / name).write_text((folder / name).read_text() + "\nmore\n")
    assert list(ingredients(LISTED, folder)) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "edited" / "part.py").write_text("b = 2"),
        lambda folder: (folder / "unnamed.py").write_text(""),
        lambda folder: (folder / "local" / "build").mkdir(),
        lambda folder: (folder / "local" / ".git").write_text(""),
        lambda folder: (folder / "more" / "limits.txt").write_text("# a comment\nrequests<3 # and one\n"),
    ],
)
def test_a_change_of_anything_else_is_not(folder: Path, change: Callable[[Path], object]) -> None:
    before = list(ingredients(LISTED, folder))
    change(folder)
    assert list(ingredients(LISTED, folder)) == before


def test_files_that_name_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "-r requirements.txt\n--requirement=https://example.org/r.txt\nx\n"
    )
    found = list(ingredients(Build(python_requirements="requirements.txt"), tmp_path))
    assert found[-2:] == [b"--requirement=https://example.org/r.txt", b"x"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r others.txt\n")
    with pytest.raises(RequirementsFailed, match=r"others\.txt: there is no such file"):
        list(ingredients(Build(python_requirements="requirements.txt"), tmp_path))


def test_the_build_section_of_a_config() -> None:
    assert read_build(None) == read_build({}) == Build()
    build = read_build(
        {
            "gpu": True,
            "python_version": 3.11,
            "python_packages": ["torch==2"],
            "python_requirements": "requirements.txt",
            "system_packages": ["ffmpeg"],
            "run": ["a", {"command": "b"}],
            "pre_install": ["c"],
        }
    )
    assert build == Build("3.11", ("torch==2",), "requirements.txt", ("ffmpeg",), 3)
    assert read_build({"python_version": "3.12.1"}).minor_version == "3.12"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ([], "build is not a mapping"),
        ({"python_version": 3.1}, 'is the number 3.1: write it in quotes, as "3.10"'),
        ({"python_version": 3}, 'build.python_version is 3, expected as "3.11"'),
        ({"python_version": "three"}, "build.python_version is 'three', expected as"),
        ({"python_packages": "numpy"}, "build.python_packages is not a list of texts"),
        ({"system_packages": [1]}, "build.system_packages is not a list of texts"),
        ({"python_requirements": ["a"]}, "build.python_requirements is ['a'], expected the name of a file"),
    ],
)
def test_what_is_no_build_section(section: object, said: str) -> None:
    with pytest.raises(BuildRefused) as caught:
        read_build(section)
    assert said in str(caught.value)
