"""Runs in the Python under test, with nothing but the runtime on its path: fetches files from a server."""

import copy
import http.server
import os
import pickle
import threading
from typing import List

import cog.types
from cog import File, Path, URLFile, URLPath

asked: List[str] = []


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(f"{self.path} {self.headers['User-Agent']}")
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        # Less than was announced: the connection ends in the middle.
        self.wfile.write(b"one\n" if "short" in self.path else b"one\ntwo\n")

    def log_message(self, *_):
        pass


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"{function} did not raise {kind}")


def open_files(host):
    with File.validate(f"{host}/a.txt") as file:
        assert isinstance(file, URLFile)
        assert (file.name, file.readable(), asked) == ("a.txt", True, [])
        assert (file.readline(), file.read()) == (b"one\n", b"two\n")
        assert file.status == 200
        assert not file.seekable()
    assert [entry.startswith("/a.txt Python-urllib") for entry in asked] == [True]
    os.environ["COG_USER_AGENT"] = "model/1"
    with URLFile(f"{host}/b?x=1", filename="named.txt") as file:
        assert (file.name, list(file)) == ("named.txt", [b"one\n", b"two\n"])
    assert asked[1:] == ["/b?x=1 model/1"]
    raises(OSError, URLFile(f"{host}/missing").read)
    for url in ("file:///etc/hosts", "ftp://h/a", "/etc/hosts"):
        assert "begins with one of http, https, data" in raises(ValueError, URLFile, url)

    data = "data:text/plain;base64,YWJj"
    with File.validate(data) as file:
        assert pickle.loads(pickle.dumps(file)).read() == b"abc"
        assert (file.read(2), file.read(None), file.read()) == (b"ab", b"c", b"")
        assert file.seekable()
        assert (file.seek(1), file.tell(), file.read()) == (1, 1, b"bc")
    assert list(URLFile("data:,a%0Ab")) == [b"a\n", b"b"]
    assert repr(URLFile(data, filename="named.txt")) == "<URLFile 'named.txt'>"


def paths(host):
    asked.clear()
    url = f"{host}/a%20b.txt"
    path = Path.validate(url)
    assert isinstance(path, URLPath)
    assert (str(path), path.name, path.suffix) == (url, "a b.txt", ".txt")
    assert Path.validate(path) is path
    assert (str(path.parent), os.fspath(path.with_name("b.txt"))) == (".", "b.txt")
    for other in (copy.deepcopy(path), pickle.loads(pickle.dumps(path))):
        assert (str(other), other.name) == (url, "a b.txt")
    assert str(copy.copy(path.parent)) == "."
    assert asked == []
    with open(path) as opened:
        assert opened.read() == "one\ntwo\n"
    assert path.convert() is path.convert()
    assert path.convert().name == "a b.txt"
    assert (path.read_bytes(), path.exists(), path.stat().st_size) == (b"one\ntwo\n", True, 8)
    assert len(asked) == 1
    local = path.convert()
    path.unlink()
    path.unlink(missing_ok=True)
    assert not local.parent.exists()
    assert path.read_text() == "one\ntwo\n"
    assert len(asked) == 2
    path.unlink()

    beyond = URLPath(source=url, filename="../../beyond.txt", fileobj=URLFile(url))
    assert beyond.convert().name == "beyond.txt"
    assert ".." not in str(beyond.convert())
    beyond.unlink()
    raises(OSError, Path.validate(f"{host}/missing.txt").read_text)
    short = Path.validate(f"{host}/short.txt")
    assert "before the file did" in raises(OSError, short.convert)
    assert "IncompleteRead" in raises(OSError, URLFile(f"{host}/short.txt").read)


def names():
    for url, name in {
        "https://h/a/b%20c.png?x=1": "b c.png",
        "https://h/": "file",
        "https://h/..": "file",
        "https://h/%2e%2e%2fa%00b": "a_b",
        "data:image/png;base64,AA==": "file.png",
        "data:application/x-nothing,": "file",
    }.items():
        assert cog.types.get_filename(url) == name, url
    for long in ("\u00e9" * 300 + ".png", "a." + "b" * 300):
        found = cog.types.get_filename(f"https://h/{long}")
        assert 190 < len(found.encode()) <= 200
        assert found.endswith(long[-4:])


with http.server.HTTPServer(("127.0.0.1", 0), Host) as server:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        open_files(address)
        paths(address)
    finally:
        server.shutdown()
        thread.join()
names()
print("all used")
