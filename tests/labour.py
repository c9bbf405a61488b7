"""Work for processes of ``--jobs``: what travels there has to lie in a module that they can import."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from items import Item

from braincli.errors import InputError
from braincli.runtime import device
from braincli.runtime.progress import Reporter


@dataclass
class Labour:
    """``work``, told by the id what to do; it counts the items that this copy of it has seen."""

    folder: Path
    reporter: Reporter = field(default_factory=Reporter)
    seen: int = 0

    def __call__(self, item: Item) -> tuple[str, int, int, int]:
        self.seen += 1
        with self.reporter.step("thinking", total=2) as step:
            step.advance(note=item.id)
        match item.id.split("-")[0]:
            case "bad":
                raise InputError("bad.nii is\ntruncated.", "Copy it again.")
            case "bug":
                raise IndexError("list index out of range")
            case "big":
                raise MemoryError
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "warn":
                self.reporter.warn(f"{item.id}: odd.")
                self.reporter.say("holds for all")
            case "log":
                logging.getLogger("somebody").info("working on %s", item.id)
                warnings.warn(f"{item.id} is deprecated", stacklevel=1)
            case "slow":
                time.sleep(0.5)
            case "hungry":
                np.ones(60_000_000).sum()
            case "long":
                self.stay(item)
        return item.id, os.getpid(), self.seen, device.available_threads()

    def stay(self, item: Item) -> None:
        """Hold a temporary folder for a minute."""
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), "Ctrl-C reaches a worker"
        with TemporaryDirectory(dir=self.folder):
            (self.folder / f"{item.id}.pid").write_text(str(os.getpid()))
            time.sleep(60)


def main() -> None:
    """Two long items in two processes, until a signal ends it as it ends ``braincli``."""
    from braincli.cli import _terminate
    from braincli.runtime.cohort import Jobs, each

    signal.signal(signal.SIGTERM, _terminate)
    labour = Labour(Path(sys.argv[1]))
    try:
        each([Item("long-1"), Item("long-2")], labour, labour.reporter, jobs=Jobs(2, 0.1))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
