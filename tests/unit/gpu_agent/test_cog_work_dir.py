"""The directories of cog-servers: held by those that live, removed of those that do not."""

import os
from pathlib import Path

from gpu_agent.server.work_dir import WorkDir


def names(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()}


def test_a_directory_goes_with_its_server(tmp_path: Path) -> None:
    folder = WorkDir(tmp_path)
    (folder.path / "runner-1" / "out").mkdir(parents=True)
    (folder.path / "runner-1" / "out" / "file").write_text("x")
    folder.close()
    folder.close()
    assert not names(tmp_path)


def test_those_that_were_left_are_removed_and_the_others_not(tmp_path: Path) -> None:
    living, dead = WorkDir(tmp_path), WorkDir(tmp_path)
    (dead.path / "runner-1").mkdir()
    os.close(dead._lock)  # as the kernel does for a process that was killed
    (tmp_path / "something-else").mkdir()
    third = WorkDir(tmp_path)
    assert names(tmp_path) == {living.path.name, third.path.name, "something-else"}
    living.close()
    third.close()


def test_one_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cogflare-cog-server-new").mkdir()
    WorkDir(tmp_path).close()
    assert names(tmp_path) == {"cogflare-cog-server-new"}
