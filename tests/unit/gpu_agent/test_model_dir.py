"""Reading a model's folder."""

from pathlib import Path

import pytest

from gpu_agent.model_dir import ModelDir, ModelDirError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_model_with_its_config(tmp_path: Path) -> None:
    write(tmp_path, {"cog.yaml": 'predict: "src/run.py:Model"\nconcurrency:\n  max: 4\n', "src/run.py": ""})
    model = ModelDir.read(tmp_path)
    assert (model.path, model.predict_ref, model.concurrency) == (tmp_path, "src/run.py:Model", 4)
    assert len(model.version) == 64


def test_a_model_without_config(tmp_path: Path) -> None:
    model = ModelDir.read(write(tmp_path, {"predict.py": ""}))
    assert (model.predict_ref, model.concurrency) == ("predict.py", 1)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has neither cog.yaml nor predict.py"),
        ({"cog.yaml": "predict: [\n", "predict.py": ""}, "cog.yaml:2: "),
        ({"cog.yaml": "a: b: c\n"}, "cog.yaml:1: mapping values are not allowed here"),
        ({"cog.yaml": "- a\n"}, "is not a mapping"),
        ({"cog.yaml": "build: {}\n", "predict.py": ""}, "has no predict key; add predict:"),
        ({"cog.yaml": "predict: predict\n"}, "predict is 'predict', expected as"),
        ({"cog.yaml": "predict: 3\n"}, "predict is 3, expected as"),
        ({"cog.yaml": "predict: ../a.py:P\n"}, "outside the model's folder"),
        ({"cog.yaml": "predict: a.py:P\n"}, "names a.py:P, but there is no a.py"),
        ({"cog.yaml": "predict: a.py:P\nconcurrency: 3\n"}, "concurrency is not a mapping"),
        ({"cog.yaml": "predict: a.py:P\nconcurrency: {max: 0}\n"}, "concurrency.max is 0, expected"),
        ({"cog.yaml": "predict: a.py:P\nconcurrency: {max: true}\n"}, "concurrency.max is True"),
    ],
)
def test_what_is_no_model(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ModelDirError) as caught:
        ModelDir.read(write(tmp_path, files))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="there is no such folder"):
        ModelDir.read(tmp_path / "nowhere")


def test_the_version_is_of_the_sources_alone(tmp_path: Path) -> None:
    sources = {"cog.yaml": "predict: predict.py:P\n", "predict.py": "a = 1\n", "lib/part.py": "b = 2\n"}
    one = ModelDir.read(write(tmp_path / "one", sources)).version
    more = {**sources, ".git/x.py": "", "__pycache__/y.py": "", "weights.bin": "1", "lib/.hidden/z.py": ""}
    two = write(tmp_path / "two", more)
    assert ModelDir.read(two).version == one
    (two / "lib" / "part.py").write_text("b = 3\n")
    assert ModelDir.read(two).version != one
    renamed = write(tmp_path / "three", sources)
    (renamed / "lib" / "part.py").rename(renamed / "lib" / "other.py")
    assert ModelDir.read(renamed).version != one


def test_run_and_train_are_references_too(tmp_path: Path) -> None:
    files = {"cog.yaml": "run: run.py:Runner\ntrain: train.py:train\n", "run.py": "", "predict.py": ""}
    model = ModelDir.read(write(tmp_path, files))
    assert (model.predict_ref, model.train_ref) == ("run.py:Runner", "train.py:train")


@pytest.mark.parametrize(
    ("source", "reference", "most"),
    [
        ("class P:\n    @concurrent(max=4)\n    async def predict(self): ...", "predict.py:P", 4),
        ("class P:\n    @cog.concurrent(max=3)\n    async def run(self): ...", "predict.py", 3),
        ("@concurrent(max=2)\nasync def predict(): ...", "predict.py:predict", 2),
        ("class A:\n    @concurrent(max=4)\n    def predict(self): ...\nclass P: ...", "predict.py:P", 1),
        ("class P:\n    @concurrent(max=N)\n    async def predict(self): ...", "predict.py:P", 1),
        ("class P:\n    @other(max=4)\n    async def predict(self): ...", "predict.py:P", 1),
        ("not python", "predict.py:P", 1),
    ],
)
def test_a_decorator_says_how_many_at_a_time(tmp_path: Path, source: str, reference: str, most: int) -> None:
    model = ModelDir.read(write(tmp_path, {"cog.yaml": f"predict: {reference}\n", "predict.py": source}))
    assert model.concurrency == most


def test_the_config_counts_more_than_a_decorator(tmp_path: Path) -> None:
    source = "class P:\n    @concurrent(max=4)\n    async def predict(self): ..."
    config = "predict: predict.py:P\nconcurrency: {max: 2}\n"
    assert ModelDir.read(write(tmp_path, {"cog.yaml": config, "predict.py": source})).concurrency == 2
