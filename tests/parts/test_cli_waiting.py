"""Bars: shown when their time has come, with how far it is, out of the way of what is printed, and gone at the end."""

import io
import re
import sys

import pytest

from meterhouse.cli import waiting
from meterhouse.cli.waiting import Bar

ERASE = "\x1b[2K"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def seen(self) -> str:
        """All that was ever painted on it, without what steers it."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue())


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard error is a terminal, and no bar waits to be shown; called in a test, since pytest sets both anew."""
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0)
    return screen


def shown(bar: Bar) -> Bar:
    """A bar whose time has come."""
    bar._timer.join()
    return bar


def test_a_bar_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done, of how much, and what is being done at present."""
    screen = screen_of(monkeypatch)
    bar = shown(Bar("The ledger is copied"))
    bar.advance(2048, 4096)
    bar.advance(1234, None, "The copy is read back")
    bar.close()
    assert "The copy is read back" in screen.seen()
    assert "1,234" in screen.seen()
    other = shown(Bar("The ledger is copied"))
    other.advance(2048, 4096)
    other.close()
    assert "2,048 of 4,096" in screen.seen()
    assert screen.getvalue().rstrip().endswith(ERASE)


def test_a_bar_is_out_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """While something is printed to the same terminal there is no bar, and afterwards there is one again."""
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(sys, "stdout", screen)
    bar = shown(Bar("The server is read"))
    with bar.hidden():
        before = screen.getvalue()
        assert before.rstrip().endswith((ERASE, "\x1b[?25h"))
        screen.write("a row\n")
        bar.advance(1)
        assert screen.getvalue() == f"{before}a row\n"
    bar.close()
    assert screen.getvalue().count("The server is read") > before.count("The server is read")


def test_a_bar_whose_time_comes_late_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that is due while something is printed is shown behind it; one that is due after the end, never."""
    screen = screen_of(monkeypatch)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 3600)
    bar = Bar("The server is read")
    with bar.hidden():
        bar._show()
        assert screen.getvalue() == ""
    assert "The server is read" in screen.seen()
    bar.close()
    painted = screen.getvalue()
    done = Bar("The server is asked")
    done.close()
    done._show()
    assert screen.getvalue() == painted


def test_without_a_terminal_there_is_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log gets no bars."""
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0)
    with waiting.waiting("The server is read") as bar:
        bar.advance(5, 10)
        with bar.hidden():
            pass
    assert capsys.readouterr().err == ""
