from cog import Input


def Predictor(text: str = Input(default="hello", max_length=10)) -> dict:
    return {"text": text}
