"""Every name that a predictor of any generation may import: there, and of use."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("script", ["use_names.py", "use_models.py", "use_urls.py"])
def test_every_name_is_of_use(any_python: str, runtime: Path, script: str) -> None:
    done = subprocess.run(
        [any_python, "-S", "-W", "error", str(Path(__file__).parent / script)],
        env={"PYTHONPATH": str(runtime), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all used\n"), done.stderr


PREDICTOR = """\
from dataclasses import field
from typing import List, Optional

from cog import (
    BaseModel,
    BasePredictor,
    Coder,
    ConcatenateIterator,
    File,
    Input,
    Path,
    Secret,
    concurrent,
    current_scope,
    emit_metric,
    streaming,
)
from cog.types import get_filename


class Output(BaseModel):
    text: str
    picture: Optional[Path] = None
    tags: List[str] = []
    score: float = Input(default=0.5)
    made: List[str] = field(default_factory=list, init=False)


class Predictor(BasePredictor):
    def setup(self) -> None:
        self.words = ["a"]

    def predict(
        self,
        prompt: str = Input(description="what", max_length=10),
        image: Optional[Path] = Input(default=None, accept="image/*"),
        token: Secret = Input(),
        sound: Optional[File] = None,
    ) -> Output:
        current_scope().record_metric("length", len(prompt))
        current_scope().metrics["x"] = 1
        emit_metric("y", 2.0)
        trace: str = current_scope().context.get("id", "")
        data = sound.read() if sound is not None else b""
        text = f"{prompt}{len(data)}{token.get_secret_value()}{trace}"
        return Output(text=text, picture=image, tags=self.words)


class Talker(BasePredictor):
    @streaming
    def predict(self, prompt: str) -> ConcatenateIterator[str]:
        yield prompt


class Parallel(BasePredictor):
    @concurrent(max=4)
    async def predict(self, prompt: str) -> str:
        return prompt


class Single(BasePredictor):
    @concurrent
    def predict(self, prompt: str) -> str:
        return Output(prompt, tags=["a"]).json(indent=1) + get_filename(prompt)


class Point:
    x = 1


class PointCoder(Coder):
    @staticmethod
    def factory(tpe: object) -> "Optional[PointCoder]":
        return PointCoder() if tpe is Point else None


Coder.register(PointCoder)
"""

WRONG = {
    'Output(txt="a")': 'Unexpected keyword argument "txt" for "Output"',
    "Output(text=1)": 'has incompatible type "int"; expected "str"',
    "Path(3)": '" has incompatible type "int"; expected "str | PathLike[str]"',
    "Secret(3)": 'Argument 1 to "Secret" has incompatible type "int"',
    'Output(text="a", made=[])': 'Unexpected keyword argument "made" for "Output"',
    "concurrent(max='a')": 'No overload variant of "concurrent" matches argument type "str"',
    "from cog import Inptu": 'Module "cog" has no attribute "Inptu"',
    "from cog.types import Pth": 'Module "cog.types" has no attribute "Pth"',
    "current_scope().record(1)": '"Scope" has no attribute "record"',
}


def _mypy(folder: Path, runtime: Path, version: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-version", version, "predict.py"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(runtime), "MYPY_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_strict_type_checker_is_content(tmp_path: Path, runtime: Path, version: str) -> None:
    (tmp_path / "predict.py").write_text(PREDICTOR)
    code, said = _mypy(tmp_path, runtime, version)
    assert code == 0, said
    lines = "\n".join(WRONG)
    (tmp_path / "predict.py").write_text(f"{PREDICTOR}\n{lines}\n")
    code, said = _mypy(tmp_path, runtime, version)
    assert code == 1
    for expression, problem in WRONG.items():
        assert problem in said, (expression, said)
    assert said.count(": error: ") == len(WRONG), said


PYDANTIC = """\
from pathlib import Path as LocalPath
from typing import *
import pydantic
from cog import *

class Message(pydantic.BaseModel):
    role: Literal["user", "system"]
    content: str = pydantic.Field(max_length=5)
    at: Optional[int] = None

class Chat(pydantic.BaseModel):
    messages: List[Message]
    keys: List[pydantic.SecretStr] = []
    file: Optional[LocalPath] = None
    key: pydantic.SecretStr = pydantic.SecretStr("hush")

class Predictor:
    def predict(self, chat: Chat) -> Chat:
        if chat.keys:
            raise ValueError("bad key " + chat.keys[0].get_secret_value())
        return chat
"""


FIELDS = """\
from typing import *
from pydantic import Field
from cog import *

class Output(BaseModel):
    class Config:
        arbitrary_types_allowed = True

    text: str = Field(..., description="what is said")
    score: float = Field(description="how sure")
    count: int = Field(3, ge=1)
    words: List[str] = Field(default_factory=list)
    note: Optional[str] = Field(None)

class Predictor:
    def predict(self) -> Output:
        try:
            Output(text="a")
        except TypeError as error:
            print(error)
        output = Output(text="a", score=0.5)
        output.words.append("b")
        assert Output(text="a", score=0.5).words == []
        return output
"""


def test_fields_of_our_own_models_that_pydantic_describes(start_coglet: Any) -> None:
    pytest.importorskip("pydantic")
    coglet = start_coglet(FIELDS, interpreter_options=())
    assert coglet.setup_result()["status"] == "succeeded"
    response = coglet.predict("a")
    assert response["output"] == {"text": "a", "score": 0.5, "count": 3, "words": ["b"], "note": None}
    assert response["logs"] == "Output() needs a value for score\n"


def test_models_of_the_authors_own_pydantic(start_coglet: Any) -> None:
    pytest.importorskip("pydantic")
    coglet = start_coglet(PYDANTIC, interpreter_options=())
    assert coglet.setup_result()["status"] == "succeeded"
    schemas = coglet.read("openapi.json")["components"]["schemas"]
    chat = schemas["Input"]["properties"]["chat"]
    assert chat["type"] == "object"
    assert chat["required"] == ["messages"]
    message = chat["properties"]["messages"]["items"]
    assert message["properties"]["at"]["nullable"] is True
    # A path is the client's file, never one that it names on this machine.
    assert chat["properties"]["file"]["format"] == "uri"
    assert "$ref" not in str(chat)

    response = coglet.predict("a", chat={"messages": [{"role": "user", "content": "hi"}]})
    assert response["output"] == {
        "messages": [{"role": "user", "content": "hi", "at": None}],
        "keys": [],
        "file": None,
        "key": "**********",
    }
    refused = coglet.predict("b", chat={"messages": [{"role": "user", "content": "too long"}]})
    assert refused["error"].startswith(
        "chat: field messages field 0 field content string should have at most 5"
    )
    assert "too long" not in refused["error"]
    assert coglet.predict("c", chat=[])["error"] == "chat: must be an object, not a list"
    failed = coglet.predict("d", chat={"messages": [], "keys": ["k-123456"]})
    assert failed["error"] == "bad key **********"
    assert "k-123456" not in failed["logs"]


OUR_TYPES = """\
from typing import List, Optional
import {pydantic} as pydantic
from cog import BasePredictor, File, Path, Secret

class Ask(pydantic.BaseModel):
    image: Path
    more: List[Path] = []
    sound: Optional[File] = None
    key: Secret

class Answer(pydantic.BaseModel):
    text: str
    image: Optional[Path] = None
    key: Secret

class Predictor(BasePredictor):
    def predict(self, ask: Ask) -> Answer:
        said = [type(ask.image).__name__, ask.image.read_text(), str(len(ask.more))]
        if ask.sound is not None:
            with ask.sound as sound:
                said.append(sound.read().decode())
        return Answer(text=" ".join(said), image=ask.image, key=ask.key)
"""


@pytest.mark.parametrize("version", ["pydantic", "pydantic.v1"])
def test_our_types_in_models_of_the_authors_own_pydantic(
    start_coglet: Any, tmp_path: Path, version: str
) -> None:
    pytest.importorskip(version)
    coglet = start_coglet(OUR_TYPES.format(pydantic=version), interpreter_options=())
    assert coglet.setup_result()["status"] == "succeeded"
    ask = coglet.read("openapi.json")["components"]["schemas"]["Input"]["properties"]["ask"]
    assert ask["required"] == ["image", "key"]
    for file in (ask["properties"]["image"], ask["properties"]["more"]["items"], ask["properties"]["sound"]):
        assert (file["type"], file["format"]) == ("string", "uri")
    assert ask["properties"]["key"]["x-cog-secret"] is True

    picture = tmp_path / "picture.txt"
    picture.write_text("pixels")
    given = {"image": str(picture), "more": [str(picture)], "sound": str(picture), "key": "hush"}
    response = coglet.predict("a", ask=given)
    assert response["status"] == "succeeded", response
    assert response["output"]["text"] == "Path pixels 1 pixels"
    assert response["output"]["key"] == "**********"
    assert response["output"]["image"] is None
    assert [(file["pointer"], file["name"]) for file in response["files"]] == [("/image", "picture.txt")]
    assert Path(response["files"][0]["path"]).read_text() == "pixels"
    refused = coglet.predict("b", ask={**given, "image": 3, "key": ["hush"]})
    assert "field image" in refused["error"]
    assert "must be a path or a URL, not int" in refused["error"]
    assert "field key" in refused["error"]
    assert "hush" not in refused["error"]
