"""The sections of the HTML report, each a function from a `RunView` to HTML."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.report import markup as h
from orchestrator.report.model import Failure, LogMatch, RunView, ServiceView
from orchestrator.report.model_tests import STATUSES, Attachment, Attempt, PhaseView, TestView, words
from orchestrator.report.timeline import test_id

Files = frozenset[str]
Images = Mapping[str, bytes]

_RUN_FILES: tuple[str, ...] = ("playwright/report/index.html", "events.jsonl", "summary.json", "junit.xml")
_HEADLINES = {
    "passed": "Passed",
    "suspicious": "Passed, with suspicious log lines",
    "failed": "Tests failed",
    "error": "Environment failed",
    "interrupted": "Interrupted",
    "nothing-ran": "Nothing ran",
}


def headline(view: RunView) -> str:
    """Outcome, its one-sentence cause, and the numbers that matter."""
    facts = [("total", h.seconds(view.elapsed))]
    facts.insert(0, ("ready after", h.seconds(view.ready_after) if view.ready_after is not None else "never"))
    up = sum(service.seconds is not None for service in view.services)
    if view.services:
        facts.append(("services up", f"{up} of {len(view.services)}"))
    if view.phases:
        facts.append(("tests passed", f"{view.count('passed') + view.count('flaky')} of {_total(view)}"))
        facts += [(words(s), str(view.count(s))) for s in STATUSES if s != "passed" and view.count(s)]
    facts.append(("exit code", "–" if view.exit_code is None else str(view.exit_code)))
    cause = f"<p class='cause'>{h.text(view.cause)}</p>" if view.cause else ""
    word = _HEADLINES.get(view.outcome, view.outcome)
    cells = "".join(f"<div><dt>{label}</dt><dd>{h.text(value)}</dd></div>" for label, value in facts)
    host = f"{view.accelerator} (time limits × {view.time_scale:g})" if view.time_scale != 1 else view.accelerator
    images = f"{view.provider} images" if view.provider else ""
    about = " · ".join(h.text(x) for x in (view.environment, view.command, view.variant, images, host) if x)
    return (
        f'<header class="top {h.slug(view.outcome)}"><p class="about">{about} · {date(view.started)}</p>'
        f"<h1>{h.text(word)}</h1>{cause}<dl class='facts'>{cells}</dl></header>\n"
    )


def failures(view: RunView, files: Files, images: Images) -> str:
    """Every reported failure and every failed test with its first failing attempt."""
    tests_told = [f for f in view.failures if f.type != "SuiteFailed" or not view.count("failed")]
    parts = [_failure(f, files) for f in tests_told]
    for number, phase in enumerate(view.phases):
        for index, test in enumerate(phase.tests):
            attempt = test.first_failure
            if test.status == "failed" and attempt is not None:
                parts.append(_failed_test(test, attempt, test_id(number, index), files, images))
    return h.section("failures", "What went wrong", "".join(parts))


def _failure(failure: Failure, files: Files) -> str:
    about = f"{h.text(failure.subject)} · " if failure.subject else ""
    where = "".join(f"<li>{_place(place, files)}</li>" for place in failure.where)
    rows = [
        f'<article class="failure"><p class="about">{about}{h.text(failure.type)}</p>',
        f"<h3>{h.text(failure.what)}</h3>",
        f'<p class="why">{h.block(failure.why)}</p>' if failure.why else "",
        h.pre(failure.evidence, "evidence"),
        f'<h4>Where</h4><ul class="where">{where}</ul>' if where else "",
        f"<h4>Next</h4>{h.pre(failure.hint, 'next')}" if failure.hint else "",
        "</article>\n",
    ]
    return "".join(rows)


def _place(place: str, files: Files) -> str:
    """A place as a link, when a file of the run folder is what it names."""
    named = next((f for f in (place, place.rsplit(":", 1)[0]) if f in files), "")
    if not named:
        inside = [f for f in files if "/" in f and place.endswith("/" + f)]
        named = max(inside, key=len, default="")
    return h.link(named, place, files) if named else f"<code>{h.text(place)}</code>"


def _failed_test(test: TestView, attempt: Attempt, anchor: str, files: Files, images: Images) -> str:
    place = ""
    if test.file:
        place = f"<h4>Where</h4><ul class='where'><li><code>{h.text(f'{test.file}:{test.line}')}</code></li></ul>"
    again = f" · {h.plural(len(test.attempts), 'attempt')}, the first is shown" if len(test.attempts) > 1 else ""
    shots = "".join(
        _figure(a.path, a.name, files, images) for a in attempt.attachments if a.path.lower().endswith(".png")
    )
    return (
        f'<article class="failure"><p class="about">test · {h.text(test.phase)}{again} · '
        f'<a href="#{anchor}">all attempts</a></p><h3>{h.text(test.title)}</h3>'
        f"{h.pre(attempt.error, 'evidence')}"
        f"{place}{attachments(attempt.attachments, files)}"
        f"{_gallery(shots)}</article>\n"
    )


def what_ran(view: RunView) -> str:
    """Environment, host, versions, images and machines."""
    host = view.accelerator
    if view.time_scale != 1:
        host += f", time limits × {view.time_scale:g}"
    facts = [
        ("Environment", view.environment),
        ("Variant", view.variant),
        ("Command", view.command),
        ("Run", view.run_id),
        ("Topology", view.topology),
        ("Accelerator", host),
        ("Because", view.accelerator_reason),
        ("QEMU", view.qemu),
        ("Orchestrator", view.version),
        ("Networks", ", ".join(f"{name} ({state})" for name, state in view.networks.items())),
    ]
    cells = "".join(f"<div><dt>{label}</dt><dd>{h.text(value)}</dd></div>" for label, value in facts if value)
    machines = [
        f"<tr><th scope='row'>{h.text(m.name)}</th><td>{h.text(m.image)}</td><td>{m.cpus or '–'}</td>"
        f"<td>{f'{m.memory} MiB' if m.memory else '–'}</td><td>{h.badge(m.state)}</td>"
        f"<td class='number'>{h.seconds(m.seconds)}</td></tr>\n"
        for m in view.machines
    ]
    images = [
        f"<tr><th scope='row'>{h.text(i.name)}</th><td>{h.text(i.provider)}</td><td>{h.badge(i.state)}</td>"
        f"<td class='number'>{h.seconds(i.seconds)}</td><td><code>{h.text(i.key[:16])}</code>"
        f"{h.pre(i.detail)}{_output(i.output, 'output of the build') if i.state == 'failed' else ''}</td></tr>\n"
        for i in view.images
    ]
    body = f"<dl class='plan'>{cells}</dl>"
    if machines:
        body += h.table("machines", ("Machine", "Image", "CPUs", "Memory", "Last state", "To ready"), machines)
    if images:
        body += h.table("images", ("Image", "Provider", "State", "Took", "Key"), images)
    return h.section("plan", "What ran", body)


def services(view: RunView) -> str:
    """Each service with its duration and the last answer of each of its checks."""
    heads = ("Service", "Machine", "After", "Last state", "To up", "Checks and their last answers")
    return h.section(
        "services",
        "Services",
        h.table("services", heads, [_service(s) for s in view.services]) if view.services else "",
    )


def _service(service: ServiceView) -> str:
    answers = "".join(
        f"<li class='{'ok' if c.ok else 'not-ok'}'><b>{h.text(c.name)}</b> "
        f"<code>{h.text(c.message)}</code> <small>{h.plural(c.attempts, 'attempt')}</small></li>"
        for c in service.checks
    )
    unit = f"<small>{h.text(service.unit or service.kind)}</small>"
    detail = f"<p class='detail'>{h.text(service.detail)}</p>" if service.detail else ""
    return (
        f"<tr><th scope='row'>{h.text(service.name)}{unit}</th><td>{h.text(service.machine)}</td>"
        f"<td>{h.text(', '.join(service.depends_on)) or '–'}</td><td>{h.badge(service.state)}</td>"
        f"<td class='number'>{h.seconds(service.seconds)}</td>"
        f"<td><ul class='checks'>{answers}</ul>{detail}</td></tr>\n"
    )


def tests(view: RunView, files: Files) -> str:
    """Tests by phase, each with every attempt."""
    return h.section(
        "tests", "Tests", "".join(_phase(phase, number, files) for number, phase in enumerate(view.phases))
    )


def _phase(phase: PhaseView, number: int, files: Files) -> str:
    counts = [f"{phase.count(s)} {words(s)}" for s in STATUSES if phase.count(s)]
    errors = "".join(h.pre(error, "evidence") for error in phase.errors)
    end = "" if phase.exit_code is None else f", exit code {phase.exit_code}"
    state = "" if phase.state == "finished" else " · did not finish"
    rows = "".join(_test(test, test_id(number, index), files) for index, test in enumerate(phase.tests))
    return (
        f"<h3>{h.text(phase.name)} <small>{', '.join(counts) or 'no test'} in "
        f"{h.seconds(phase.end - phase.start)}{end}{state}</small></h3>\n"
        f"{errors}<div class='tests'>{rows}</div>{_output(phase.output, 'output of the suite')}\n"
    )


def _test(test: TestView, anchor: str, files: Files) -> str:
    shown = " open" if test.status == "flaky" else ""
    attempts = "".join(
        f"<div class='attempt'><p>{h.badge(a.status)} attempt {a.retry + 1}, {h.seconds(a.duration)}</p>"
        f"{h.pre(a.error, 'evidence')}{attachments(a.attachments, files)}</div>"
        for a in test.attempts
    )
    place = f"<p class='quiet-text'>{h.text(test.file)}:{test.line}</p>" if test.file else ""
    return (
        f"<details id='{anchor}' class='test'{shown}><summary>{h.badge(test.status, words(test.status))}"
        f"<span class='title'>{h.text(test.title)}</span>"
        f"<span class='number'>{h.seconds(test.duration)}</span></summary>{place}{attempts}</details>\n"
    )


def attachments(items: tuple[Attachment, ...], files: Files) -> str:
    """The files of an attempt; a film plays, a Playwright trace says how to open it."""
    links = "".join(f"<li>{h.link(a.path, a.name or a.path, files)}</li>" for a in items if a.path)
    traces = [a.path for a in items if a.path.endswith(".zip") and "trace" in a.name + a.path]
    how = "".join(h.pre(f"npx playwright show-trace {path}", "command") for path in traces if h.safe_path(path))
    films = "".join(
        f"<figure><video src=\"{h.href(a.path)}\" controls preload='none'></video>"
        f"<figcaption>{h.text(a.name)}</figcaption></figure>"
        for a in items
        if a.path.endswith(".webm") and h.safe_path(a.path) and a.path in files
    )
    return f"<ul class='attachments'>{links}</ul>{_gallery(films)}{how}" if links else ""


def screenshots(view: RunView, files: Files, images: Images) -> str:
    """The gallery of each machine, in the order the pictures were taken."""
    names = dict.fromkeys(shot.machine for shot in view.screenshots)
    parts = []
    for name in names:
        figures = "".join(
            _figure(s.path, f"{s.step} · {h.seconds(s.at - view.started)}", files, images)
            for s in view.screenshots
            if s.machine == name
        )
        parts.append(f"<h3>{h.text(name)}</h3>{_gallery(figures)}\n")
    return h.section("screenshots", "Screenshots", "".join(parts))


def _gallery(figures: str) -> str:
    return f"<div class='gallery'>{figures}</div>" if figures else ""


def _figure(path: str, caption: str, files: Files, images: Images) -> str:
    there = h.safe_path(path) and path in files
    if path in images:
        source = "data:image/png;base64," + b64encode(images[path]).decode("ascii")
    elif there:
        source = h.href(path)
    else:
        return f"<figure class='gone'><figcaption>{h.text(caption)}: not in the run folder</figcaption></figure>"
    picture = f'<img src="{source}" alt="{h.text(caption)}" loading="lazy">'
    opened = f'<a href="{h.href(path)}">{picture}</a>' if there else picture
    return f"<figure>{opened}<figcaption>{h.text(caption)}</figcaption></figure>"


def log_matches(view: RunView) -> str:
    """Lines of consoles and journals that mean trouble."""
    rows = [
        f"<tr><td class='number'>{h.seconds(s.at - view.started)}</td>"
        f"<th scope='row'>{h.text(s.machine)}</th><td>{h.badge(_badge(s), s.pattern)}</td>"
        f"<td><code>{h.text(s.line)}</code><p>{h.text(s.explanation)}{_waived(s)}</p></td></tr>\n"
        for s in view.log_matches
    ]
    heads = ("At", "Machine", "Pattern", "Line and meaning")
    return h.section("signs", "Known patterns in consoles and journals", h.table("signs", heads, rows) if rows else "")


def _badge(match: LogMatch) -> str:
    """The colour of its badge."""
    if match.waiver or match.severity == "noted":
        return "skipped"
    return "flaky" if match.severity == "suspicious" else "failed"


def _waived(match: LogMatch) -> str:
    return f"; waived: {h.text(match.waiver)}" if match.waiver else ""


def notes(view: RunView) -> str:
    items = "".join(
        f"<li class='{h.slug(n.level)}'><span class='number'>{h.seconds(n.at - view.started)}</span> "
        f"<span>{h.block(n.message)}</span></li>\n"
        for n in view.notes
    )
    if view.dropped:
        message = f"{view.dropped} more than this report holds; all of them are in events.jsonl"
        items += f"<li class='s-warning'><span></span><span>{message}</span></li>"
    return h.section("notes", "Notes", f"<ul class='notes'>{items}</ul>" if items else "")


def evidence(files: Files) -> str:
    """Links to the files of the run, those of machines by machine."""
    groups = {"run": [path for path in _RUN_FILES if path in files]}
    for path in sorted(files):
        parts = path.split("/")
        if parts[0] == "machines" and len(parts) >= 3 and not path.endswith(".png"):
            groups.setdefault(parts[1], []).append(path)
    rows = [
        f"<tr><th scope='row'>{h.text(name)}</th><td><ul class='attachments'>"
        f"{''.join(f'<li>{h.link(p, _short(p), files)}</li>' for p in paths[:200])}</ul></td></tr>\n"
        for name, paths in groups.items()
        if paths
    ]
    return h.section("evidence", "Evidence", h.table("evidence", ("Of", "Files"), rows) if rows else "")


def _short(path: str) -> str:
    if path == "playwright/report/index.html":
        return "Playwright's report"
    return path.split("/", 2)[2] if path.startswith("machines/") else path


def _output(lines: tuple[str, ...], title: str) -> str:
    if not lines:
        return ""
    count = h.plural(len(lines), "line")
    return f"<details class='output'><summary>{title}, last {count}</summary>{h.pre(lines)}</details>"


def date(at: float) -> str:
    """``2026-11-23 02:08 UTC`` as a ``time`` element."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"<time datetime='{moment:%Y-%m-%dT%H:%M:%SZ}'>{moment:%Y-%m-%d %H:%M} UTC</time>" if at else ""


def _total(view: RunView) -> int:
    return sum(phase.total for phase in view.phases)
