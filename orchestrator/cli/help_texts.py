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
    "124": "time limit",
    "129/130/143": "interrupted",
    "141": "nobody reads the output any more",
}

EXIT_CODES = """exit codes:
  0 passed    1 tests failed, or a machine shows trouble    2 usage or configuration
  3 infrastructure (image, boot, service, host)    4 no test ran    5 environment held by another command
  124 time limit    129/130/143 interrupted    141 nobody reads the output any more
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
    "cp": ("orchestrator cp server:/var/log/nginx/access.log .", "orchestrator cp ./fixtures client:/tmp/fixtures"),
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
    ),
}

# What other tools call it → our command.
SYNONYMS = {
    "start": "up", "create": "up", "stop": "down", "halt": "down", "destroy": "down", "kill": "down", "rm": "down",
    "ls": "status", "list": "status", "ssh": "shell", "attach": "console", "copy": "cp", "scp": "cp", "test": "run",
    "check": "validate", "lint": "validate", "log": "logs", "journal": "logs", "reboot": "restart",
    "save": "snapshot", "snapshots": "snapshot", "restore": "reset", "revert": "reset", "rollback": "reset",
    "build": "images", "prune": "images", "image": "images", "show-ssh": "ssh-config", "help": "--help",
}  # fmt: skip
