"""What ``--help`` and docs/commands.md say besides the options: exit codes, environment variables, examples."""

from __future__ import annotations

# Exit code → meaning; the classes of orchestrator.errors carry the same numbers.
EXIT_MEANINGS = {
    "0": "passed",
    "1": "tests failed, or a machine shows trouble",
    "2": "usage or configuration",
    "3": "infrastructure (image, boot, service, host)",
    "4": "no test ran",
    "5": "environment held by another command",
    "23": "cp left something out",
    "124": "time limit",
    "129/130/143": "interrupted",
    "141": "nobody reads the output any more",
}

EXIT_CODES = """exit codes:
  0 passed    1 tests failed, or a machine shows trouble    2 usage or configuration
  3 infrastructure (image, boot, service, host)    4 no test ran    5 environment held by another command
  23 cp left something out    124 time limit    129/130/143 interrupted
  141 nobody reads the output any more
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
    "ORCH_STATE_DIR": "where environments are remembered [$XDG_STATE_HOME/orchestrator]",
    "ORCH_CACHE_DIR": "where images and the accelerator's probe are kept [$XDG_CACHE_HOME/orchestrator]",
    "ORCH_RAM_DIR": "a folder whose files are memory, for machines and saved states [/dev/shm]",
    "ORCH_ACCELERATOR": "kvm or tcg, instead of probing",
    "ORCH_TIME_FACTOR": "what every time limit of a topology is multiplied with, instead of 1 (kvm) or 10 (tcg)",
    "ORCH_QEMU_USER": "who QEMU becomes where root starts it: a user, or root [an id nobody has, for each machine]",
    "NO_COLOR": "no colours, when it is not empty",
    "XDG_RUNTIME_DIR": "where the short folders of UNIX sockets are made [the folder for temporary files]",
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "up": ("orchestrator up", "orchestrator up -n second --variant minimal --wait-timeout 30m"),
    "run": (
        "orchestrator run --keep failure",
        "orchestrator run --isolate=file",
        "orchestrator run --grep 'sends a message'",
        "orchestrator run --clones 4",
    ),
    "down": ("orchestrator down", "orchestrator down --all"),
    "restart": ("orchestrator restart backend",),
    "reset": ("orchestrator reset", "orchestrator reset before-import"),
    "snapshot": (
        "orchestrator snapshot save before-import",
        "orchestrator snapshot restore before-import",
        "orchestrator snapshot list",
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
    "logs": ("orchestrator logs -f server", "orchestrator logs --since 5m --unit alicia.service"),
    "ssh-config": ('ssh -F "$(orchestrator ssh-config --path)" server',),
    "validate": ("orchestrator validate",),
    "config": ("orchestrator config --variant full", "orchestrator config --json | jq .machines"),
    "graph": ("orchestrator graph", "orchestrator graph --format mermaid"),
    "images": ("orchestrator images build", "orchestrator images list", "orchestrator images prune --keep 1 --dry-run"),
    "doctor": ("orchestrator doctor", "orchestrator doctor --fresh --json"),
    "report": ("orchestrator report", "orchestrator report runs/20260102T030405Z-abc123"),
    "completion": (
        'eval "$(orchestrator completion bash)"',
        "orchestrator completion zsh > ~/.zfunc/_orchestrator",
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
        "orchestrator completion tcsh > ~/.orchestrator.tcsh; source ~/.orchestrator.tcsh",
    ),
}

# What is to be known of a command besides its options; below them in the help, paragraphs in docs/commands.md.
NOTES: dict[str, tuple[str, ...]] = {
    "exec": (
        "Pipes, files, terminals and closed streams may be its streams. The command has the guest's PATH; with\n"
        "`--user` also that user's HOME, USER and LOGNAME, and it begins in that user's folder. With `-n`, as\n"
        "with ssh, it reads nothing from stdin: in a loop that does (`while read -r line; do … done < lines`)\n"
        "each command would else take the rest of the lines.",
        "It is over when its output is closed: as with ssh, a background child that holds stdout or stderr is\n"
        "waited for (`sh -c 'server >/dev/null 2>&1 &'` is not). When it is interrupted, or its `--timeout`\n"
        "passes (code 124), it is ended in the machine too, with all that it started in its session.",
    ),
    "cp": (
        "It does as cp -R does: into a folder that is there, in place of a file, else to a new name, whose\n"
        "folders are made. DIR/. means what is in DIR. A link that is named is followed, on both sides; one that\n"
        "lies in what is copied stays the link it is, and nothing is written through it. A file that is replaced\n"
        "keeps its owner; else owners are root's in a machine, yours here. Permissions, times, symbolic and hard\n"
        "links, holes, empty folders and any names are kept; set-user-id bits are not. A file appears under its\n"
        "name when it is whole.",
        "Sockets, devices and named pipes are left out, and what cannot be read: each is named, the rest is\n"
        "copied, and the exit code is 23. Out of a machine it ends before the disk here is full (512 MiB stay\n"
        "free, or a twentieth).",
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
    "attach": "console",
    "copy": "cp",
    "scp": "cp",
    "test": "run",
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
    "help": "--help",
}
