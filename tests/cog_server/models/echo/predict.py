import sys

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def setup(self) -> None:
        print("setting up")

    def predict(
        self,
        text: str = Input(description="what to say", default="hello"),
        number: int = Input(default=1, ge=0, le=10),
        fail: bool = False,
        empty: bool = False,
    ) -> str:
        print(f"saying {text}")
        print("to stderr", file=sys.stderr)
        if fail:
            raise ValueError("it failed")
        return "" if empty else text * number
