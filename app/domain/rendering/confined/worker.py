"""The process that renders: reads jobs from standard input, answers on standard output, knows nothing else.

A template is somebody else's program, so it runs where it can do no harm: without the database, without
secrets, and under limits that the kernel keeps (docs/decisions/0030). Two timers count the processor time of
each message. The first raises `LimitExceeded` inside the template; where that is deep in C code and does not hear it,
the second ends the process. Memory is bounded for the process as a whole: too much is a `MemoryError`.
"""

import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import orjson
from jinja2.exceptions import SecurityError

from app.domain.rendering.confined.errors import LimitExceeded, RenderAborted
from app.domain.rendering.confined.message import Message
from app.domain.rendering.confined.names import times
from app.domain.rendering.confined.names.values import MESSAGE
from app.domain.rendering.confined.protocol import (
    GRACE,
    HEADER,
    JOB_SHARE,
    SHARED_BY,
    Answer,
    Job,
    Limits,
    Problem,
    Result,
)
from app.domain.rendering.confined.sandbox import Compiled, Fixed, MessageEnvironment, Templates
from app.domain.rendering.confined.supply import Supply
from app.domain.rendering.confined.variables import Variables
from app.domain.rendering.confined.vouchers import LOOP_LIMIT, Aggregates

MANY = 100
"""So many messages of a job are worth a template that is made for their context."""

LIMITS: dict[type[Exception], str] = {
    MemoryError: "The template takes too much memory.",
    RecursionError: "The template nests or recurses too deeply.",
    OverflowError: "A range or a number in the template is too large.",
}


def main() -> None:
    """Answer jobs until standard input ends."""
    limits = orjson.loads(sys.argv[1])
    _confine(limits["memory_bytes"])
    templates = Templates()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (job := _read(source)) is not None:
        _write(sink, _answer(templates, job, limits))


def _confine(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # These are for the service, which then closes our input.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGVTALRM, _too_slow)


def _too_slow(_signal: int, _frame: object) -> None:
    raise LimitExceeded("The template takes too long.")


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    if seconds <= 0:
        raise LimitExceeded("The template takes too long for so many messages.")
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, seconds + GRACE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _read(source: BinaryIO) -> Job | None:
    header = source.read(HEADER.size)
    if not header:
        return None
    job: Job = orjson.loads(source.read(HEADER.unpack(header)[0]))
    return job


def _write(sink: BinaryIO, answer: object) -> None:
    body = orjson.dumps(answer)
    sink.write(HEADER.pack(len(body)))
    sink.write(body)
    sink.flush()


def _answer(templates: Templates, job: Job, limits: Limits) -> Answer:
    """Return the messages of a job, or what they need besides."""
    parts: list[tuple[str | None, Compiled]] = []
    name: str | None = None
    fixed = _fixed(job)
    try:
        with _timed(limits["seconds"]):
            for name, source, html in job["parts"]:
                parts.append((name, templates.of(source, autoescape=html, fixed=fixed)))
    except Exception as error:  # noqa: BLE001  (whatever a template brings about is the template's problem)
        return {"refused": _explain(error, name)}
    names = frozenset[str]().union(*(compiled.names for _, compiled in parts))
    supply = Supply(
        job["pools"],
        job["aggregates"],
        job["preview"],
        limits["vouchers"],
        seen_known=job["seen_known"],
        about=job.get("about"),
    )
    sight = Variables(job, names)
    time_of = job["time"] if names & {"time", "now"} else None
    results: list[Result] = []
    end = time.process_time() + limits["seconds"] * JOB_SHARE * max(1, len(job["items"]) / SHARED_BY)
    for item in job["items"]:
        variables = sight.of(item)
        message = Message(supply, item, variables, strict=job["strict"])
        try:
            with _timed(min(limits["seconds"], end - time.process_time())):
                texts = _render(parts, message, variables, time_of, limits)
        except Exception as error:  # noqa: BLE001  (as above)
            message.take_back()
            results.append({"error": _explain(error, message.part)})
        else:
            uses = [(use.pool, use.key, use.code, use.occurrence, use.fresh) for use in message.uses.values()]
            result: Result = {"texts": texts, "uses": uses}
            if (seen := message.new_seen()) is not None:
                result["seen"] = seen
            if message.undefined:
                result["undefined"] = list(message.undefined)
            results.append(result)
    needs = supply.needs.as_json()
    return {"needs": needs} if supply.needs.missing else {"results": results, "needs": needs}


def _fixed(job: Job) -> Fixed | None:
    """Return the context of a job where it is worth while to make the templates for it: one for many messages."""
    items = job["items"]
    if len(items) < MANY or not job["context"] or any("context" in item for item in items):
        return None
    return Fixed.of(job["context"])


def _render(
    parts: list[tuple[str | None, Compiled]],
    message: Message,
    variables: dict[str, object],
    time_of: float | None,
    limits: Limits,
) -> list[str]:
    """Render the parts of a message in their order; the limits hold for all of them together."""
    if time_of is not None:
        seconds = message.read_time(time_of)
        variables |= {"time": int(seconds), "now": lambda: times.at(seconds)}
    given = {
        MESSAGE: message,
        LOOP_LIMIT: [limits["iterations"]],
        "aggregates": Aggregates(message),
        **variables,
    }
    texts = []
    left = limits["output_bytes"]
    for name, compiled in parts:
        environment = compiled.template.environment
        assert isinstance(environment, MessageEnvironment)  # noqa: S101  (narrows the type: it made the template)
        environment.message = message
        message.begin(name)
        text = compiled.template.render(given)
        left -= len(text.encode())
        if left < 0:
            raise LimitExceeded(f"The message has more than {limits['output_bytes']} bytes.")
        texts.append(text)
    if sum(len(path.encode()) for path in message.undefined) > left:
        raise LimitExceeded(
            f"The message and the names in 'undefined' have more than {limits['output_bytes']} bytes."
        )
    return texts


def _explain(error: Exception, part: str | None) -> Problem:
    """Return what went wrong in a part, as the service says it."""
    problem = _problem_of(error, _line(error))
    return problem if part is None else {**problem, "part": part}


def _problem_of(error: Exception, line: int | None) -> Problem:
    if isinstance(error, RenderAborted):
        return cast(Problem, {**_problem(error.name, error.detail, line), **error.extra})
    for kind, detail in LIMITS.items():
        if isinstance(error, kind):
            return _problem("template-limit", detail, line)
    if isinstance(error, SecurityError):
        return _problem("template-error", f"Not allowed in a template: {error}", line)
    if isinstance(error, UnicodeEncodeError):
        return _problem("template-error", "The message holds half a surrogate pair, which is no text.", line)
    # Cut short, and told to the caller only: it may hold codes.
    return _problem("template-error", str(error)[:500] or type(error).__name__, line)


def _line(error: Exception) -> int | None:
    """Return the line of the template that was at work."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno  # Jinja has rewritten the trace to lines of the template
        trace = trace.tb_next
    return line


def _problem(name: str, detail: str, line: int | None) -> Problem:
    # Half a surrogate pair cannot be said as JSON, and a NUL not be stored.
    said = detail.encode(errors="replace").decode().replace("\0", "?")
    return {"name": name, "detail": said, "line": line}


if __name__ == "__main__":
    main()
