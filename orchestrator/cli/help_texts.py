"""Texts of ``--help`` and docs/commands.md besides the options: exit codes, environment variables, examples."""

from __future__ import annotations

# Exit code → meaning; the classes of orchestrator.errors carry the same numbers.
EXIT_MEANINGS = {
    "0": "passed",
    "1": "tests failed, or a machine logged a failure",
    "2": "usage or configuration",
    "3": "infrastructure (image, boot, service, host)",
    "4": "no test ran",
    "5": "environment locked by another command",
    "23": "cp left something out",
    "124": "time limit",
    "129/130/143": "interrupted",
    "141": "the reader of the output is gone",
}

EXIT_CODES = """exit codes:
  0 passed    1 tests failed, or a machine logged a failure    2 usage or configuration
  3 infrastructure (image, boot, service, host)    4 no test ran    5 environment locked by another command
  23 cp left something out    124 time limit    129/130/143 interrupted
  141 the reader of the output is gone
  exec, shell: the guest command's own code"""

# Variable → what it is for. An option on the command line wins over its variable.
ENVIRONMENT = {
    "ORCH_FILE": "default of --file",
    "ORCH_NAME": "default of --name",
    "ORCH_VARIANT": "default of --variant",
    "ORCH_IMAGES": "default of --images",
    "ORCH_RUNS": "default of --runs",
    "ORCH_PROGRESS": "default of --progress",
    "ORCH_WAIT_TIMEOUT": "default of `up --wait-timeout` and `images --timeout`",
    "ORCH_TIMEOUT": "default of `run --timeout`",
    "ORCH_STATE_DIR": "where the state of environments is stored [$XDG_STATE_HOME/orchestrator]",
    "ORCH_CACHE_DIR": "where images and the result of the accelerator probe are stored [$XDG_CACHE_HOME/orchestrator]",
    "ORCH_RAM_DIR": "a folder on tmpfs, for the memory of machines and for saved states [/dev/shm]",
    "ORCH_ACCELERATOR": "kvm or tcg, instead of probing",
    "ORCH_TIME_FACTOR": "the factor that multiplies every time limit of a topology, instead of 1 (kvm) or 10 (tcg)",
    "ORCH_FLEET_MEMORY": "the most memory that this host gives to the cells of a matrix, such as 8GiB [all of it]",
    "ORCH_CELL": "set by `matrix` for a command of its own: the cell",
    "ORCH_SHARD": "the same: the shard, such as 1/2; empty for all tests",
    "ORCH_SUITE": "the same: the suite folder; empty for the topology's",
    "ORCH_SSH": "the command in place of `ssh` of `matrix --hosts`, such as `ssh -F FILE` [ssh]",
    "ORCH_QEMU_USER": "the user that QEMU runs as when root starts it: a user, or root [an unused id for each machine]",
    "NO_COLOR": "no colours if it is not empty",
    "XDG_RUNTIME_DIR": "where the folders of UNIX sockets are created; a short path [the folder for temporary files]",
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("orchestrator init --list", "orchestrator init --template web shop"),
    "add": (
        "orchestrator add machine redis --recipe images/redis.toml --memory 512MiB",
        "orchestrator add service redis --machine redis --unit redis-server.service",
        "orchestrator add check ping --service redis --exec 'redis-cli ping' --stdout PONG",
        "orchestrator add check page --service nginx --http http://127.0.0.1/ --contains Hello --dry-run",
    ),
    "host-setup": ("orchestrator host-setup --check", "orchestrator host-setup"),
    "up": ("orchestrator up", "orchestrator up -n second --variant minimal --wait-timeout 30m"),
    "dev": (
        "orchestrator dev",
        "orchestrator dev --grep 'sends a message'",
        "orchestrator dev --last-failed --keep always",
        "orchestrator dev --app ../alicia/result --json",
    ),
    "run": (
        "orchestrator run --keep failure",
        "orchestrator run --isolate=file",
        "orchestrator run --grep 'sends a message'",
        "orchestrator run --clones 4",
    ),
    "matrix": (
        "orchestrator matrix --dry-run",
        "orchestrator matrix --variant mock --variant minimal --shards 2",
        "orchestrator matrix --hosts build1,build2,local",
        "orchestrator matrix --resume",
    ),
    "test": (
        "orchestrator test nfs.py",
        "orchestrator test --check tests/*.py",
        "orchestrator test --warm --keep-going smoke.nix",
    ),
    "down": ("orchestrator down", "orchestrator down --all"),
    "restart": ("orchestrator restart backend",),
    "reset": ("orchestrator reset", "orchestrator reset before-import"),
    "snapshot": (
        "orchestrator snapshot save before-import",
        "orchestrator snapshot restore before-import",
        "orchestrator snapshot list",
        "orchestrator snapshot export --with-images shop.states",
        "orchestrator snapshot import shop.states",
    ),
    "status": ("orchestrator status --checks", "orchestrator ps --json"),
    "shell": ("orchestrator shell server",),
    "console": ("orchestrator console server",),
    "exec": (
        "orchestrator exec server -- systemctl status alicia",
        "orchestrator exec --user postgres server -- psql -c 'select 1'",
        "orchestrator exec -n server -- systemctl is-active nginx",
    ),
    "cp": (
        "orchestrator cp server:/var/log/nginx/access.log .",
        "orchestrator cp ./fixtures client:/tmp/fixtures",
        "orchestrator cp one.sql two.sql server:/srv/imports/",
        "orchestrator cp server:/var/backups/alicia.dump client:/tmp/",
    ),
    "logs": (
        "orchestrator logs -f server",
        "orchestrator logs --since 5m --unit alicia.service",
        "orchestrator logs --lnav",
    ),
    "ssh-config": ('ssh -F "$(orchestrator ssh-config --path)" server',),
    "screen": (
        "orchestrator screen client",
        "orchestrator screen client -o login.png",
        "orchestrator screen client | magick png:- -negate negative.png",
        "orchestrator screen client --text | grep -i welcome",
    ),
    "keys": (
        "orchestrator keys client ctrl-alt-f2",
        "orchestrator keys client --text root ret",
        "orchestrator keys client esc : w q ret",
    ),
    "forward": (
        "orchestrator forward server 5432 --host-port 15432",
        'curl "http://127.0.0.1:$(orchestrator forward server 8888)/health"',
        "orchestrator forward server --list",
        "orchestrator forward server 8888 --remove",
    ),
    "power": (
        "orchestrator power off client",
        "orchestrator power on client",
        "orchestrator power crash server",
        "orchestrator power pause server",
    ),
    "link": ("orchestrator link down client", "orchestrator link up client lan"),
    "fault": (
        "orchestrator fault add slow-db",
        "orchestrator fault add latency server.lan delay=100ms jitter=20ms",
        "orchestrator fault add kill postgresql --for 20s",
        "orchestrator fault clear",
    ),
    "view": ("orchestrator view", "orchestrator view client", "orchestrator view client --tcp 5901"),
    "repl": (
        "orchestrator repl",
        "orchestrator repl --warm --keep",
        "orchestrator repl < statements.py",
    ),
    "validate": ("orchestrator validate",),
    "config": ("orchestrator config --variant full", "orchestrator config --json | jq .machines"),
    "plan": ("orchestrator plan", "orchestrator plan --app ../shop --json"),
    "graph": ("orchestrator graph", "orchestrator graph --format mermaid"),
    "schema": ("orchestrator schema > topology.schema.json", "orchestrator schema --recipe > recipe.schema.json"),
    "images": ("orchestrator images build", "orchestrator images list", "orchestrator images prune --keep 1 --dry-run"),
    "doctor": ("orchestrator doctor", "orchestrator doctor --fresh --json"),
    "report": (
        "orchestrator report",
        "orchestrator report runs/20260102T030405Z-abc123",
        "orchestrator report --serve",
        "orchestrator report --export trace",
    ),
    "why": ("orchestrator why", "orchestrator why runs/20260102T030405Z-abc123 --json"),
    "nightly": (
        "orchestrator nightly --dry-run",
        "orchestrator nightly",
        "orchestrator nightly --install timer",
        "orchestrator nightly --uninstall",
    ),
    "bisect": ("orchestrator bisect 'sends a message'", "orchestrator bisect login --good RUN --bad RUN"),
    "history": (
        "orchestrator history list",
        "orchestrator history show latest",
        "orchestrator history test 'sends a message'",
        "orchestrator history import runs",
        "orchestrator history pin 20261128T021056Z-227c96",
        "orchestrator history prune --dry-run",
        "orchestrator history site public",
        "orchestrator history export --json > history.json",
    ),
    "completion": (
        'eval "$(orchestrator completion bash)"',
        "orchestrator completion zsh > ~/.zfunc/_orchestrator",
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
        "orchestrator completion tcsh > ~/.orchestrator.tcsh; source ~/.orchestrator.tcsh",
    ),
}

# Notes on a command, printed below its options in the help and as paragraphs in docs/commands.md.
NOTES: dict[str, tuple[str, ...]] = {
    "test": (
        "A script is the Python text of a NixOS testScript, or a Nix file whose testScript is one string without\n"
        "antiquotations. Machines start at the script's start_all(), NAME.start(), or first call. Each script has an\n"
        "environment of its own, one after the other. What it prints goes to stdout, its log to stderr. It is\n"
        "checked before anything boots: docs/nixos-testscripts.md lists what is not supported.",
    ),
    "exec": (
        "Standard input, output and error can be pipes, files, terminals or closed. The command has the PATH of\n"
        "the guest. With `--user` it also has the HOME, USER and LOGNAME of that user and starts in that home.\n"
        "With `-n`, as in ssh, it does not read stdin. Use it in loops (`while read -r line; do … done < lines`);\n"
        "otherwise the first command reads the remaining lines.",
        "The command ends when its output is closed. As with ssh, a background child that keeps stdout or stderr\n"
        "open is waited for; `sh -c 'server >/dev/null 2>&1 &'` is not. When the command is interrupted, or its\n"
        "`--timeout` passes (exit code 124), it is also ended in the machine, with everything it started in its\n"
        "session.",
    ),
    "screen": (
        "Terminals that are known to show pictures are kitty, iTerm2 and WezTerm, outside of tmux and screen.\n"
        "`--text` needs an OCR engine: pip install 'orchestrator[ocr]', and Debian's tesseract-ocr for its data. The\n"
        "text of a text console is exact without it: orchestrator exec MACHINE -- cat /dev/vcs1.",
    ),
    "keys": (
        "Keys have QEMU's names, joined by - to chords: ret, spc, esc, tab, backspace, delete, up, f1, ctrl, alt,\n"
        "shift, meta_l, minus. A single character stands for its keys. All names are checked before the first key is\n"
        "pressed (exit code 2). `--text` is typed first. A guest with another layout than US gets other characters.",
    ),
    "forward": (
        "Prints the port of this host. A port that is forwarded already is not forwarded again. The forward ends with\n"
        "the machine's QEMU: with `power off`, `reset` and `down`. Exit code 2: the port of this host is in use.",
    ),
    "power": (
        "`off` asks systemd over SSH, else presses the power button, and waits for the end (exit code 124 if it does\n"
        "not come). `crash` ends QEMU at once. After both, the machine is off for `status`, and `power on` or `up`\n"
        "starts it with the disk it has; `down` removes it with all others.",
        "`on` returns when the machine is set up and its services, and all that depend on them, are proven. Services\n"
        "that need another machine which is off are left out. It changes the environment, so no other command may\n"
        "hold it (exit code 5). All other actions work while another command holds it, and that command\n"
        "sees what happens.",
        "`reset` does not set the guest up again: its services are not started. A paused machine continues at\n"
        "`resume`, or at the next command that changes the environment.",
    ),
    "link": (
        "Frames in both directions are lost while the link is down. The machine's connection to the orchestrator\n"
        "stays. The link is up again after `power off`, `reset` and `down`.",
    ),
    "view": (
        "Opens the display on a UNIX socket of mode 0600 and prints the lines to type for a viewer. `--tcp` is open\n"
        "to every user of this host. From another computer: ssh -L 5900:SOCKET HOST. Needs a QEMU with VNC (exit code\n"
        "3), which QEMU of Debian has.",
    ),
    "repl": (
        "Joins the environment if it runs, else brings it up, and takes down on leaving what it brought up. Names at\n"
        "the prompt: `env`, each machine (`client_2` for client-2), `services`, `start_all()`. Machines have the\n"
        "methods of orchestrator.sync, and `shell_interact()` and `console_interact()`. Ctrl-C ends a wait. The\n"
        "prompt is IPython's or ptpython's if it is installed.",
        '`save_test("test_name.py")` writes the statements typed so far that did not fail as a test for pytest.',
        "If standard input is not a terminal, statements are read from it. The first error ends it with exit code 1.",
    ),
    "cp": (
        "Copies like cp -R: into a folder that exists, over a file, or to a new name whose parent folders are\n"
        "created. DIR/. means the content of DIR. A link on the command line is followed, on both sides. A link\n"
        "inside a copied folder stays a link, and nothing is written through it. A replaced file keeps its owner;\n"
        "new files belong to root in a machine and to you here. Permissions, times, symbolic and hard links, holes,\n"
        "empty folders and all names are kept; set-user-id bits are not. A file appears under its name only when\n"
        "it is complete.",
        "Sockets, devices, named pipes and unreadable files are left out. Each is named, everything else is\n"
        "copied, and the exit code is 23. A copy from a machine stops before the disk here is full: 512 MiB or a\n"
        "twentieth of it stay free.",
    ),
}

# What other tools call it → our command.
SYNONYMS = {
    "start": "up",
    "create": "up",
    "stop": "down",
    "halt": "down",
    "destroy": "down",
    "kill": "down",
    "rm": "down",
    "ls": "status",
    "list": "status",
    "ssh": "shell",
    "screenshot": "screen",
    "screendump": "screen",
    "sendkey": "keys",
    "send-key": "keys",
    "type": "keys",
    "port-forward": "forward",
    "poweroff": "power",
    "shutdown": "power",
    "pause": "power",
    "resume": "power",
    "vnc": "view",
    "python": "repl",
    "interactive": "repl",
    "attach": "console",
    "copy": "cp",
    "scp": "cp",
    "check": "validate",
    "lint": "validate",
    "log": "logs",
    "journal": "logs",
    "reboot": "restart",
    "save": "snapshot",
    "snapshots": "snapshot",
    "restore": "reset",
    "revert": "reset",
    "rollback": "reset",
    "build": "images",
    "prune": "images",
    "image": "images",
    "show-ssh": "ssh-config",
    "explain": "why",
    "help": "--help",
}
