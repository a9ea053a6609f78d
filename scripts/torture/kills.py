"""Signals at random moments, after which the same command is started again."""

import random
import signal
import time
from collections.abc import Iterator

from scripts.torture.command import run, start
from scripts.torture.judge import LostError, Outcome, Seen, attempt, clean, done, line, same
from scripts.torture.place import Job, Place, jobs, ran_twice

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST = 3
"""Kills before a command is let run to its end."""

SHELL_EVERY = 8
"""Every so many chains of kills are started as a shell would do it, the others as forks."""

PATIENCE = 30.0
"""Seconds that an interrupted command may take to end."""


def inject(place: Place, times: int, seed: int) -> Iterator[Outcome]:
    """`times` kills at least, in turn over all commands."""
    commands, kills, chain = list(jobs().values()), 0, 0
    while kills < times:
        moments = random.Random(f"{seed} kills {chain}")
        job, shell = commands[chain % len(commands)], chain % SHELL_EVERY == SHELL_EVERY - 1
        number = SIGNALS[(chain // len(commands) + chain) % len(SIGNALS)]
        outcome = attempt(
            f"{number.name} during `{job.name.partition(' ')[0]}`, and the same command again",
            f"{job.name}, chain {chain}, {'new process' if shell else 'fork'}",
            _chain,
            place,
            named(job, place),
            number,
            shell,
            moments,
        )
        kills += outcome.injected
        chain += 1
        if outcome.injected or outcome.verdict == "lost":
            yield outcome
        if chain > 10 * times + 10:
            return


def _chain(place: Place, job: Job, number: signal.Signals, shell: bool, moments: random.Random) -> Seen:
    """Kill a command up to `MOST` times, let it run to its end, and compare with an undisturbed one."""
    undisturbed = place.undisturbed(job)
    seconds = undisturbed.seconds
    case = place.restore(job.snapshot)
    kills, seen = 0, ""
    for _ in range(moments.randint(1, MOST)):
        started = start(case, job.words, shell=shell)
        time.sleep(moments.uniform(0.3 if shell else 0.0, seconds * (3 if shell else 1)))
        if not started.signal(number, group=moments.random() < 0.5):
            started.wait(PATIENCE)
            break
        kills += 1
        ran = started.wait(PATIENCE)
        if number != signal.SIGKILL:
            clean(ran, codes=(0, 130, -number))
        seen = seen or line(ran)
    ran = run(case, job.words, 60 + 10 * seconds, shell=shell)
    if not ran_twice(ran):
        done(ran)
    same(job.view(case), undisturbed.view, f"{job.name} after {kills} x {number.name}")
    if leftovers := [path.name for path in case.rglob("*.part")]:
        raise LostError(f"{job.name} leaves {', '.join(leftovers)} behind")
    return Seen(line=seen if number != signal.SIGKILL else "the same numbers", injected=kills)


def named(job: Job, place: Place) -> Job:
    """The job with the run's name where its words ask for one."""
    words = tuple(place.run_folder.name if word == "{run}" else word for word in job.words)
    return Job(name=job.name, words=words, snapshot=job.snapshot, view=job.view)
