"""What survives the process: kept results, their files, and the identity."""

from pathlib import Path

import msgspec
import pytest

from coordinator.protocol.messages import Finished
from gpu_agent.settings import SettingsError
from gpu_agent.spool import LocalFile, Record, Served, Spool
from gpu_agent.state_dir import open_state_dir

SERVED = Served(
    model="o/n", version="0" * 64, cog_version="", concurrency=1, openapi_schema=msgspec.Raw(b'{"a":1}')
)


def record(prediction="p", attempt=1, files=()):
    finished = Finished(
        channel=0,
        prediction=prediction,
        attempt=attempt,
        secret="s",
        status="succeeded",
        output=msgspec.Raw(b'[1,"two"]'),
        metrics={"predict_time": msgspec.Raw(b"1.5")},
    )
    return Record(model="o/n", finished=finished, files=files)


async def test_kept_and_forgotten(tmp_path):
    spool = Spool(tmp_path)
    await spool.keep("srv_a", record(), SERVED)
    await spool.keep("srv_a", record(attempt=2), SERVED)
    await spool.keep("srv_b", record(), SERVED)
    first, second = Spool(tmp_path).load()
    assert (first.server, [one.key for one in first.records]) == ("srv_a", [("p", 1), ("p", 2)])
    assert (second.server, len(second.records)) == ("srv_b", 1)
    assert bytes(first.records[0].finished.output) == b'[1,"two"]'
    assert first.models["o/n"].version == SERVED.version
    assert bytes(first.models["o/n"].openapi_schema) == b'{"a":1}'
    await spool.forget("srv_a", ("p", 1))
    await spool.forget("srv_a", ("p", 1))
    assert [one.key for one in Spool(tmp_path).load()[0].records] == [("p", 2)]


async def test_files_move_in_and_leave_with_their_record(tmp_path):
    output = tmp_path / "work" / "out.png"
    output.parent.mkdir()
    output.write_bytes(b"png")
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    local = LocalFile(pointer="", path=str(output), name="out.png", content_type="image/png")
    (moved,) = await spool.adopt("srv", ("p", 1), (local,))
    assert not output.exists()
    await spool.keep("srv", record(files=(moved,)), SERVED)
    (loaded,) = Spool(tmp_path / "spool").load()
    assert Path(loaded.records[0].files[0].path).read_bytes() == b"png"  # noqa: ASYNC240
    await spool.keep("srv", record(), SERVED)
    assert not list((tmp_path / "spool" / "srv").glob("*.files"))


async def test_a_broken_record_is_set_aside(tmp_path):
    spool = Spool(tmp_path)
    await spool.keep("srv", record(), SERVED)
    (tmp_path / "srv" / "q-1.json").write_text('{"model":')
    (tmp_path / "srv" / "r-1.files").mkdir()
    (loaded,) = Spool(tmp_path).load()
    assert [one.key for one in loaded.records] == [("p", 1)]
    assert sorted(path.name for path in (tmp_path / "srv").iterdir() if path.suffix != ".model") == [
        "p-1.json",
        "q-1.json.bad",
    ]


async def test_names_from_outside_do_not_leave_the_folder(tmp_path):
    with pytest.raises(ValueError, match="cannot name a file"):
        await Spool(tmp_path).keep("../up", record(), SERVED)
    with pytest.raises(ValueError, match="cannot name a file"):
        await Spool(tmp_path).keep("srv", record(prediction="../../up"), SERVED)


def test_one_process_a_directory_and_a_lasting_identity(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    first = open_state_dir(None, home=tmp_path)
    second = open_state_dir(None, home=tmp_path)
    assert first.path == (tmp_path / ".local/state/cogflare/agent").resolve()
    assert second.path.name == "agent-2"
    assert first.agent != second.agent
    with pytest.raises(SettingsError, match="another agent"):
        open_state_dir(first.path)
    (first.work / "left").write_text("x")
    first.release()
    first.release()
    again = open_state_dir(first.path)
    assert again.agent == first.agent
    assert list(again.work.iterdir()) == []
    again.release()
    second.release()
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot use"):
        open_state_dir(tmp_path / "file" / "below")
