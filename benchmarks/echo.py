"""What everything is measured against: a bare Litestar route that decodes a JSON body and sends it back."""

import argparse
from typing import Any

import uvicorn
from litestar import Litestar, post


@post("/v1/predictions")
async def echo(data: dict[str, Any]) -> dict[str, Any]:
    return data


app = Litestar([echo], openapi_config=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
