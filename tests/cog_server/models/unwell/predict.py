import os

from cog import BasePredictor


class Predictor(BasePredictor):
    def healthcheck(self) -> bool:
        """As the file says that HEALTH names: nothing, ``false`` or the text of an exception."""
        with open(os.environ["HEALTH"]) as file:
            said = file.read()
        if said and said != "false":
            raise RuntimeError(said)
        return said != "false"

    def predict(self) -> str:
        return "done"
