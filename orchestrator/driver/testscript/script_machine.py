"""A machine as scripts see it: power, files, screen, keyboard, console, networks."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driver.results import Seconds
from orchestrator.driver.testscript.script_base import TIMEOUT, refuse
from orchestrator.driver.testscript.script_commands import ScriptCommands

Regex = str


class ScriptMachine(ScriptCommands):
    """A machine of a testScript."""

    # ------------------------------------------------------------------ power

    def start(self, allow_reboot: bool = False) -> None:
        """Start it if it is off; it boots in the background. After `shutdown` and `crash` with the same disk."""
        del allow_reboot  # it always may
        if not self.booted:
            self.log("starting vm")
        self._wait(self._core.start())

    def connect(self) -> None:
        """Wait until commands run."""
        self._wait(self._core.wait_up(TIMEOUT))

    def shutdown(self) -> None:
        """Shut it down in order, and wait for it."""
        self._wait(self._core.shutdown(TIMEOUT))

    def crash(self) -> None:
        """End QEMU at once; the disk stays as it is."""
        if self.booted:
            self.log("forced crash")
        self._wait(self._core.crash())

    def reboot(self) -> None:
        """Reboot it in order, and wait until it is set up again."""
        self._wait(self._core.reboot(TIMEOUT))

    def wait_for_shutdown(self) -> None:
        """Wait until it is off, whoever shuts it down."""
        with self.nested("waiting for the VM to power off"):
            self._wait(self._core.wait_for_shutdown(None))

    def switch_root(self) -> None:
        """Not supported."""
        refuse("switch_root")

    # ------------------------------------------------------------------ networks

    def block(self) -> None:
        """Pull the cable of its first network."""
        self._wait(self._core.block())

    def unblock(self) -> None:
        """Put the cable back."""
        self._wait(self._core.unblock())

    def forward_port(self, host_port: int = 8080, guest_port: int = 80) -> None:
        """Make a TCP port of it reachable at 127.0.0.1 of this host."""
        self._wait(self._core.forward_port(guest_port, host_port))

    # ------------------------------------------------------------------ files

    def copy_from_host(self, source: str | Path, target: str) -> None:
        """Copy a file or folder of this host.

        Args:
            source: relative to the output folder, else to the script's.
            target: in the machine; folders above it are made.
        """
        self._wait(self._core.copy_from_host(self._here(source), str(target)))

    def copy_from_host_via_shell(self, source: str | Path, target: str) -> None:
        """Copy a file of this host."""
        self.copy_from_host(source, target)

    def copy_from_machine(self, source: str, target_dir: str | Path = "") -> None:
        """Copy a file or folder of it into the output folder, or a folder below it."""
        self._wait(self._core.copy_from_machine(str(source), target_dir))

    def copy_from_vm(self, source: str, target_dir: str | Path = "") -> None:
        """The older name of `copy_from_machine`."""
        self.copy_from_machine(source, target_dir)

    def _here(self, source: str | Path) -> Path:
        path = Path(source)
        places = [self._around.out_dir / path, self._around.folder / path]
        return next((place for place in places if place.exists()), places[-1])

    # ------------------------------------------------------------------ keyboard and screen

    def send_key(self, key: str, delay: float | None = 0.01, log: bool | None = True) -> None:
        """Press a key or a chord, as ``ctrl-alt-f2``."""
        if log:
            self.log(f"sending key {key!r}")
        self._wait(self._core.send_key(key, delay or 0.0))

    def send_chars(self, chars: str, delay: float | None = 0.01) -> None:
        """Type a text on a keyboard with the US layout."""
        with self.nested(f"sending keys {chars!r}"):
            self._wait(self._core.send_chars(chars, delay or 0.0))

    def screenshot(self, filename: str) -> None:
        """A picture of the display, as PNG. Without a ``/`` it goes to the output folder."""
        with self.nested(f"making screenshot {filename}"):
            name = filename if "." in filename else f"{filename}.png"
            self._wait(self._core.screenshot(self._around.out_dir / name))

    def get_screen_text(self) -> str:
        """The text on the display, read by OCR."""
        return self._wait(self._core.screen_text())

    def get_screen_text_variants(self) -> list[str]:
        """The same; one reading is enough here."""
        return [self.get_screen_text()]

    def wait_for_text(self, regex: Regex, timeout: Seconds = TIMEOUT) -> None:
        """Wait until the display shows a text, read by OCR."""
        with self.nested(f"waiting for {regex} to appear on screen"):
            self._wait(self._core.wait_for_text(regex, timeout))

    def get_tty_text(self, tty: str) -> str:
        """The text of a virtual terminal."""
        return self._wait(self._core.tty_text(tty))

    def dump_tty_contents(self, tty: str) -> None:
        """Print the text of a virtual terminal."""
        self.log(self.get_tty_text(tty))

    def wait_until_tty_matches(self, tty: str, regexp: Regex, timeout: Seconds = TIMEOUT) -> None:
        """Wait until a virtual terminal shows a text."""
        with self.nested(f"waiting for {regexp} to appear on tty {tty}"):
            self._wait(self._core.wait_until_tty_matches(tty, regexp, timeout))

    def wait_for_x(self, timeout: Seconds = TIMEOUT) -> None:
        """Wait until a graphical session is up."""
        with self.nested("waiting for the X11 server"):
            self._wait(self._core.wait_for_x(timeout))

    def get_window_names(self) -> list[str]:
        """The titles of all windows."""
        return self._wait(self._core.window_names())

    def wait_for_window(self, regexp: Regex, timeout: Seconds = TIMEOUT) -> None:
        """Wait until there is a window whose title matches."""
        with self.nested(f"waiting for a window matching {regexp}"):
            self._wait(self._core.wait_for_window(regexp, timeout))

    # ------------------------------------------------------------------ console and QEMU

    def send_console(self, chars: str) -> None:
        """Type a text on the serial console."""
        self._wait(self._core.send_console(chars))

    def wait_for_console_text(self, regex: Regex, timeout: Seconds | None = None) -> None:
        """Wait until the console shows a text that no such call has consumed."""
        with self.nested(f"waiting for {regex} to appear on console"):
            self._wait(self._core.wait_for_console_text(regex, timeout))

    def get_console_log(self) -> str:
        """What the console has shown."""
        return self._core.console_text()

    def shell_interact(self, address: str | None = None) -> None:
        """Not supported in a script."""
        del address
        refuse("shell_interact")

    def console_interact(self) -> None:
        """Not supported in a script."""
        refuse("console_interact")

    def send_monitor_command(self, command: str) -> str:
        """A command of QEMU's human monitor; what it prints."""
        return self._wait(self._core.monitor(command))

    def wait_for_qmp_event(self, event_filter: object = None, timeout: Seconds = TIMEOUT) -> None:
        """Not supported."""
        del event_filter, timeout
        refuse("wait_for_qmp_event")
