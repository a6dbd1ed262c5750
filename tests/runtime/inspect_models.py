"""Runs in the Python under test, with nothing but the runtime on its path: one process for many models.

Reads ``{"schemas": [file], "inputs": [[file, input]], "outputs": [[file, input]]}`` on stdin, writes lists
of the same names: documents or mistakes, arguments or reasons, what was returned or why that is no output.
"""

import json
import os
import sys
import tempfile

from coglet.encoding import BadOutput
from coglet.files import Files
from coglet.inputs import BadInput, convert_input
from coglet.loader import load
from coglet.mistakes import LoadError, Refused
from coglet.schema import openapi
from coglet.signature import read_signature

_signatures = {}


def signature_of(file):
    folder, name = os.path.split(file)
    if file not in _signatures:
        os.chdir(folder)
        _signatures[file] = read_signature(load(name + ":Predictor"))
    return _signatures[file]


def schema(file):
    try:
        signature = signature_of(file)
    except Refused as refused:
        return {"refused": str(refused), "mistakes": [[m.line, m.text] for m in refused.mistakes]}
    except LoadError as error:
        return {"refused": str(error), "mistakes": []}
    return {"document": openapi(signature), "notices": signature.notices}


def convert(file, given):
    try:
        return {"arguments": {k: repr(v) for k, v in convert_input(signature_of(file).fields, given).items()}}
    except BadInput as error:
        return {"reasons": error.reasons}


def call(file, given):
    signature = signature_of(file)
    model = load(os.path.split(file)[1] + ":Predictor")()
    with tempfile.TemporaryDirectory() as folder:
        files = Files(folder, None)
        try:
            output = model.predict(**convert_input(signature.fields, given))
            encoded = signature.output.shape.encode(output, "", files)
        except BadOutput as error:
            return {"refused": str(error)}
        return {"output": encoded, "files": [[f["pointer"], f["name"]] for f in files.take()]}


asked = json.load(sys.stdin)
json.dump(
    {
        "schemas": [schema(file) for file in asked.get("schemas", [])],
        "inputs": [convert(file, given) for file, given in asked.get("inputs", [])],
        "outputs": [call(file, given) for file, given in asked.get("outputs", [])],
    },
    sys.stdout,
)
