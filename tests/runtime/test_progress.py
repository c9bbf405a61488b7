"""Progress bars: what an earlier run did counts as done, but not as speed."""

from __future__ import annotations

import io

from rich.console import Console

from braincli.runtime.progress import PlainReporter, RichReporter


def test_resumed_steps_count_as_done_but_not_as_speed() -> None:
    rich = RichReporter()
    rich.console = Console(file=io.StringIO(), force_terminal=True)
    with rich.step("train", total=100) as bar:
        bar.skip(90)
        task = rich._live.tasks[0]
        assert task.completed == 90
        assert task.speed is None
        bar.advance(1, "loss 0.5")
        assert (task.completed, task.fields["note"]) == (91, "loss 0.5")


def test_a_plain_log_estimates_from_what_this_run_did() -> None:
    stream = io.StringIO()
    with PlainReporter(stream).step("train", total=100) as bar:
        bar.skip(90)
        bar.begin -= 10  # type: ignore[attr-defined]
        bar.advance(5, "loss 0.5")
    assert "train: 95/100, 10 s left  loss 0.5" in stream.getvalue()


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_words_that_nobody_reads_stop_no_work() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed, None):
        reporter = PlainReporter(stream)  # type: ignore[arg-type]
        reporter.warn("unheard")
        with reporter.step("work", total=1) as bar:
            bar.advance()


def test_names_are_no_markup() -> None:
    rich = RichReporter()
    heard = io.StringIO()
    rich.console = Console(file=heard, force_terminal=True, width=200)
    rich.say("[red]a[/blue] :smile:")
    with rich.step("restore [b]x[/c]", total=1) as bar:
        bar.advance(note="[/red]")
    assert "[red]a[/blue] :smile:" in heard.getvalue() and "restore [b]x[/c]" in heard.getvalue()
