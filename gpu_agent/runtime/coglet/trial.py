"""One prediction in this very process, for a model's author."""

import tempfile
from typing import Any, Dict

from coglet.encoding import BadOutput, below
from coglet.files import Files
from coglet.inputs import BadInput, convert_input
from coglet.mistakes import LoadError
from coglet.model import Model
from coglet.options import Options
from coglet.printed import print_document


def run(reference: str) -> int:
    """Set the model up and predict with its ``test_inputs``. Prints the output; returns the exit code."""
    options = Options(["--dir", ".", "--predictor", reference])
    return print_document(lambda: _output(Model(options)), (LoadError, BadInput, BadOutput))


def _output(model: Model) -> Any:
    if not model.signature.is_async:
        model.set_up()
        return _encoded(model, model.predict(**_arguments(model)))
    from coglet.loop import own_loop

    with own_loop() as loop:
        return loop.run_until_complete(_output_async(model, model.set_up()))


def _arguments(model: Model) -> Dict[str, Any]:
    return convert_input(model.signature.fields, model.test_inputs())


async def _output_async(model: Model, waiting: Any) -> Any:
    if waiting is not None:
        await waiting
    arguments = _arguments(model)
    output = model.predict(**arguments)
    if hasattr(output, "__await__"):
        output = await output
    if hasattr(output, "__aiter__"):
        output = [item async for item in output]
    return _encoded(model, output)


def _encoded(model: Model, output: Any) -> Any:
    """The output as JSON, with the names of files in their places."""
    shape = model.signature.output.shape
    with tempfile.TemporaryDirectory() as folder:
        files = Files(folder, None)
        if not model.signature.output.streams:
            encoded = {"": None if output is None else shape.encode(output, below("", ""), files)}
            return _named(encoded, files)[""]
        items = [shape.encode(item, below("", index), files) for index, item in enumerate(output)]
        return _named(items, files)


def _named(encoded: Any, files: Files) -> Any:
    for file in files.take():
        *path, last = (part.replace("~1", "/").replace("~0", "~") for part in file["pointer"][1:].split("/"))
        place = encoded
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[int(last) if isinstance(place, list) else last] = file["name"]
    return encoded
