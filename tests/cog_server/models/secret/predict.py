from cog import BasePredictor, Secret


class Predictor(BasePredictor):
    def predict(self, key: Secret, fail: bool = False) -> str:
        print(f"the key is {key.get_secret_value()}")
        if fail:
            raise ValueError(f"bad key {key.get_secret_value()}")
        return "done"
