import tempfile

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, file: Path, copies: int = 1) -> list[Path]:
        """The file, upside down, as often as wanted. Its name is in the log."""
        print(f"got {file.name}")
        made = []
        for number in range(copies):
            path = Path(tempfile.mkdtemp()) / f"cog-server-test-{number}.txt"
            path.write_bytes(file.read_bytes()[::-1] + str(number).encode())
            made.append(path)
        return made
