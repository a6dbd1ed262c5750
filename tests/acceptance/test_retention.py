"""What a prediction leaves is gone after its time: for an official client, by its URLs, and on the disk."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import replicate

from tests.support.commands import Agent, Server, until

PAINTER = """
import tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, text: str, picture: Path = None) -> Path:
        path = Path(tempfile.mkdtemp()) / "picture.txt"
        path.write_text(text * 1000)
        print("painted", text)
        return path
"""


def test_an_official_client_sees_that_the_data_is_removed(
    serve: Callable[..., Server], work: Callable[..., Agent], tmp_path: Path
) -> None:
    model = tmp_path / "painter"
    model.mkdir()
    (model / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    (model / "predict.py").write_text(PAINTER)
    server = serve("--retention", "1s", "--file-urls", "url")
    work(server, f"test/painter={model}").ready()
    calls = server.calls()
    # Whoever waits for it has it, however short it is kept.
    done = calls.create("test/painter", {"text": "a secret"}, Prefer="wait")
    assert done["status"] == "succeeded"
    assert "painted a secret" in done["logs"]

    until(lambda: calls.get(done["id"])["data_removed"], "its time is over")
    client = replicate.Client(base_url=server.url, api_token=server.token())
    with closing(client._client):
        prediction = client.predictions.get(done["id"])
        assert (prediction.status, prediction.output, prediction.input) == ("succeeded", None, {})
        assert not prediction.logs
        assert prediction.completed_at == done["completed_at"]
        assert [one.id for one in client.predictions.list().results] == [done["id"]]
        prediction.reload()
        prediction.cancel()

    folder = server.data / "blobs" / "outputs"
    until(lambda: not folder.exists(), "its file is deleted")
    gone = httpx.get(done["output"])
    assert (gone.status_code, gone.json()["code"]) == (410, "gone")

    def storage() -> int:
        return int(calls.http.get("/v1/account/storage").json()["total_bytes"])

    until(lambda: storage() == 0, "it takes no storage")
