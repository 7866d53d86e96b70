"""Which prompt: IPython's or ptpython's where it is installed, else Python's own; statements of a pipe without one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.repl.plain import error_text, interact, is_interactive, private_file, run_piped
from orchestrator.repl.typed import Typed


def run_prompt(namespace: dict[str, Any], typed: Typed, folder: Path, banner: str, *, plain: bool) -> int:
    """Let the user type until the end; the exit code.

    Args:
        folder: where histories are kept.
        plain: Python's own prompt.
    """
    if not is_interactive():
        return run_piped(sys.stdin, namespace, typed)
    if not plain and find_spec("IPython") is not None:
        return _ipython(namespace, typed, folder / "repl-history.sqlite", banner)
    if not plain and find_spec("ptpython") is not None:
        return _ptpython(namespace, typed, folder / "repl-history-ptpython", banner)
    return interact(namespace, typed, banner, folder / "repl-history")


def _ipython(namespace: dict[str, Any], typed: Typed, history: Path, banner: str) -> int:
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    from traitlets.config import Config

    private_file(history)
    config = Config()
    config.HistoryManager.hist_file = str(history)
    config.TerminalInteractiveShell.confirm_exit = False
    shell: Any = TerminalInteractiveShell.instance(config=config, user_ns=namespace)

    def ran(result: Any) -> None:
        if result.success and result.info.raw_cell.strip():
            typed.add(result.info.raw_cell)

    def failed(shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int = 0) -> None:  # noqa: ARG001
        sys.stderr.write(error_text(error) if isinstance(error, OrchestratorError) else "interrupted\n")

    shell.events.register("post_run_cell", ran)
    shell.set_custom_exc((OrchestratorError, KeyboardInterrupt), failed)
    sys.stderr.write(f"{banner}\n\n")
    shell.mainloop()
    return 0


def _ptpython(namespace: dict[str, Any], typed: Typed, history: Path, banner: str) -> int:
    from ptpython.repl import embed

    private_file(history)
    sys.stderr.write(f"{banner}\n")

    def configure(repl: Any) -> None:
        evaluate: Callable[[str], object] = repl.eval
        show_error: Callable[[BaseException], None] = repl._handle_exception

        def ran(line: str) -> object:
            result = evaluate(line)
            typed.add(line)
            return result

        def failed(error: BaseException) -> None:
            if isinstance(error, OrchestratorError):
                sys.stderr.write(error_text(error))
            else:
                show_error(error)

        repl.eval, repl._handle_exception, repl.confirm_exit = ran, failed, False

    embed(globals=namespace, locals=namespace, configure=configure, history_filename=str(history))
    return 0
