"""A real object store for tests: SeaweedFS, one process that speaks S3, in a folder of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

KEY, SECRET = "cogflare-tests", "not-a-secret-of-anybody"
BUCKET = "files"
_START_S = 60.0


class SeaweedFS:
    """Starts as a context; ``endpoint`` then answers, and there is the bucket ``files``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self._folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = _free_ports(10)
        names = ("master", "volume", "filer", "s3")
        options = [f"-{name}.port={port}" for name, port in zip(names, ports, strict=False)]
        options += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=False)]
        self.endpoint = f"http://127.0.0.1:{ports[3]}"
        log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                Path(sys.executable).parent / "weed",
                "-logtostderr=true",
                "server",
                f"-dir={self._folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.volumeSizeLimitMB=256",
                "-master.telemetry=false",
                "-volume.max=100",
                "-s3",
                f"-s3.config={self._folder / 's3.json'}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be let in; nothing of this machine's own settings counts."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CONFIG_FILE": str(self._folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def url(self, prefix: str = "", endpoint: str = "", **more: str) -> str:
        """What ``--storage`` takes, through another endpoint if one is given."""
        query = {"endpoint": endpoint or self.endpoint, **{k.replace("_", "-"): v for k, v in more.items()}}
        return f"s3://{BUCKET}/{prefix}?{urlencode(query)}"

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while not self._has_bucket():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "log").read_text(errors="replace")[-4000:]
                raise AssertionError(f"SeaweedFS did not start:\n{log}")
            time.sleep(0.1)

    def client(self) -> Any:
        """A client with all rights; close it."""
        import botocore.session
        from botocore.config import Config

        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def uploads(self, prefix: str) -> list[str]:
        """Keys of the uploads in parts below a prefix that have not ended."""
        client = self.client()
        try:
            found = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
            return [each["Key"] for each in found.get("Uploads", ())]
        finally:
            client.close()

    def _has_bucket(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            urllib.request.urlopen(self.endpoint, timeout=2)
        except urllib.error.HTTPError:
            pass
        except OSError:
            return False
        client = self.client()
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        except ClientError as error:
            return bool(error.response["Error"]["Code"].startswith("BucketAlready"))
        except BotoCoreError:
            return False
        finally:
            client.close()
        return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
