"""``braincli`` for scripts that call it dozens of times: its start, which takes longer than what tests let it do, once.

A server imports what commands import and forks for each of them; the child gets the caller's arguments, folder,
environment and streams, and runs the very :func:`braincli.cli.main`. What a test says about starting itself (closed
streams, odd environments, kills) wants a process of its own instead.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

IMPORTED = (
    "braincli.api", "braincli.cli", "braincli.calibration.run", "braincli.detection.run", "braincli.scoring.evaluate",
    "braincli.preprocessing.cohort", "braincli.training.run", "braincli.methods.registry", "lightning_fabric",
    "PIL.ImageDraw", "PIL.ImageFilter", "PIL.ImageFont", "PIL.PngImagePlugin", "isal.igzip", "jinja2", "nibabel",
    "safetensors.torch", "scipy.io", "scipy.ndimage", "scipy.spatial", "scipy.stats", "skimage.measure",
)  # fmt: skip


@cache
def command() -> str:
    """A shell command that does what ``python -m braincli`` does, for as long as this process runs."""
    folder = Path(mkdtemp(prefix="warm-", dir="/tmp"))  # paths of sockets are short
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", folder / "socket"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    assert server.stdin and server.stdout and server.stdout.readline() == b"ready\n"
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # ends it
    atexit.register(shutil.rmtree, folder)
    return f"{sys.executable} -IS {__file__} {folder}/socket"


def serve(place: str) -> None:
    """Answer at the socket ``place`` until stdin ends."""
    import select
    from importlib import import_module

    for name in IMPORTED:
        import_module(name)
    build_commands_once()
    children: set[int] = set()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [])
            if sys.stdin in ready:
                return
            caller, _ = listener.accept()
            child = os.fork()
            if child == 0:
                listener.close()
                _answer(caller)
            caller.close()
            children.add(child)
            children -= {ended for ended in children if os.waitpid(ended, os.WNOHANG)[0]}


def build_commands_once() -> None:
    """Let children find the commands, which Typer builds each time the shell's door opens."""
    import typer.main

    from braincli.cli import app

    typer.main.get_command = cache(typer.main.get_command)
    typer.main.get_command(app)


def _answer(caller: socket.socket) -> None:
    """Run the command that ``caller`` asks for, tell it the exit code, and end."""
    import traceback

    from braincli.cli import main

    message, streams, _, _ = socket.recv_fds(caller, 4, 3)
    size = int.from_bytes(message, "big")
    asked = json.loads(b"".join(_received(caller, size)))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    fresh = [  # as Python makes them when it starts
        open(0, closefd=False),  # noqa: SIM115
        open(1, "w", closefd=False),  # noqa: SIM115
        open(2, "w", errors="backslashreplace", buffering=1, closefd=False),  # noqa: SIM115
    ]
    sys.stdin, sys.stdout, sys.stderr = fresh
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["braincli", *asked["arguments"]]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(bytes([code if isinstance(code, int) else 1]))
    os._exit(0)


def _received(caller: socket.socket, size: int) -> Iterator[bytes]:
    while size > 0:
        part = caller.recv(min(size, 1 << 16))
        size -= len(part)
        yield part


def ask(place: str, arguments: list[str]) -> int:
    """The exit code of ``braincli`` with ``arguments``, run by the server at ``place``."""
    asked = {"folder": str(Path.cwd()), "environment": dict(os.environ), "arguments": arguments}
    message = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [len(message).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(message)
        answer = server.recv(1)
    return answer[0] if answer else 255


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
