"""How ``coglet`` is started in a model's own interpreter."""

import os
from collections.abc import Mapping
from pathlib import Path

from gpu_agent.model_dir import ModelDir
from gpu_agent.runner_types import Mode

RUNTIME = Path(__file__).parent / "runtime"
BOOT = "import sys; '' in sys.path and sys.path.remove(''); import coglet.__main__ as c; sys.exit(c.main())"
"""``-m coglet`` with the model's folder off the path: Python itself would take its modules from there."""
OWN_ENVIRONMENT = "COGFLARE_"
"""Variables with this prefix are the agent's, its token among them: the model does not get them."""


def coglet_command(python: str, model: ModelDir, mode: Mode, *options: str) -> list[str]:
    """The command line, to be run in the model's folder with ``coglet_environment``."""
    command = [python, "-c", BOOT, *options]
    if mode == "train":
        return [*command, "--mode", "train", "--predictor", model.train_ref or model.predict_ref]
    command += ["--predictor", model.predict_ref]
    return [*command, "--train", model.train_ref] if model.train_ref else command


def coglet_environment(given: Mapping[str, str] | None = None, runtime: Path | None = None) -> dict[str, str]:
    """Ours without what is only ours, or what is given, with the runtime on the path."""
    inherited = os.environ if given is None else given
    environment = {name: value for name, value in inherited.items() if not name.startswith(OWN_ENVIRONMENT)}
    path = [str(runtime or RUNTIME), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    return environment
