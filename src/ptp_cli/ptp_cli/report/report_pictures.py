# SPDX-License-Identifier: Apache-2.0
"""Images of a report: the plan of a method, and a film of a failed episode."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from ptp_cli.demo.demo_film import EVERY, Film, episode_name
from ptp_cli.options import check_factory
from ptp_cli.report.report_figures import method_label
from ptp_core.data.collect_demonstrations import environment_factory
from ptp_core.data.file_limits import JSON_MOST, load_json, read_bytes
from ptp_core.data.files import write_atomically
from ptp_core.errors import InputError, PtpError
from ptp_core.rollout.past_evaluation import PastEvaluation

if TYPE_CHECKING:
    from ptp_core.agents.agent import Decision
    from ptp_core.planners.planner import Plan
    from ptp_core.rollout.evaluation import EvaluationReplay

SCALE = 0.5  # of films, many of which are in one page
TRIES = 10  # episodes among which a failure is looked for


@dataclass(frozen=True)
class ReportPictures:
    """Of one evaluation. Paths are below the report's folder."""

    task: str
    method: str
    seed: int
    strip: str | None = None  # the plan of the first evaluation episode
    strip_success: bool = False  # whether that episode ended well
    film: str | None = None  # of the first episode that failed
    film_episode: int = 0
    tried: int = 0  # episodes that were looked at
    why_not: str = ""  # why there are no pictures


def evaluation_pictures(
    past: PastEvaluation,
    out: Path,
    cancelled: Callable[[], bool] | None = None,
    *,
    tries: int = TRIES,
    named: Collection[str] = (),
    name: str = "",
) -> ReportPictures:
    """Do an evaluation again until an episode fails, ``tries`` at most; keep its pictures.

    What is there from an earlier report on the same networks stays. An evaluation without
    networks, or with networks that cannot be used here, gives the reason instead. ``named``:
    environments that may be run beside the shipped ones. ``name``: of the method in its variant,
    where there are some. Raises PlanCancelled.
    """
    from ptp_core.rollout.evaluation import EvaluationReplay

    task, seed = past.settings["task"], past.settings["seed"]
    method = name or past.settings["method"]
    folder = out / "pictures" / f"{method}_seed_{seed}"
    about = folder / f"task_{task}.json"
    try:
        check_factory(past.settings.get("env"), named, past.source)
        key = _key(past, tries)
        if (kept := _kept(about, key, out)) is not None:
            return kept
        found = _make(EvaluationReplay(past), method, folder, out, cancelled, tries)
    except (PtpError, OSError) as error:
        if cancelled is not None and cancelled():
            raise
        return ReportPictures(task, method, seed, why_not=str(error))
    text = json.dumps({"key": key, **asdict(found)}, indent=2) + "\n"
    write_atomically(about, lambda partial: partial.write_text(text, encoding="utf-8"))
    return found


def _make(
    again: EvaluationReplay,
    method: str,
    folder: Path,
    out: Path,
    cancelled: Callable[[], bool] | None,
    tries: int,
) -> ReportPictures:
    past = again.past
    task, seed = past.settings["task"], past.settings["seed"]
    title = f"{method_label(method)}, seed {seed}, {past.epochs} epochs"
    film = Film(folder, {task: title}, past.settings["max_steps"], SCALE)
    env = FilmedEnv(
        environment_for_people(past.settings["env"], past.settings["env_kwargs"]), film
    )
    # Where every episode succeeds there is no failure to look for.
    most = 1 if past.successes == past.episodes else min(tries, past.episodes)
    outcomes = []
    try:
        while len(outcomes) < most and all(outcomes):
            number = len(outcomes)
            film.begin(task, number)
            outcomes.append(_film_episode(again, env, film, number, cancelled))
            film.end("success" if outcomes[-1] else "no success")
    finally:
        film.close()
        env.close()
    for number, success in enumerate(outcomes):
        _drop(folder, episode_name(task, number), keep_strip=number == 0, keep_film=not success)
    names = [path.name for path in sorted(folder.glob(f"task_{task}_episode_*"))]
    films = [name for name in names if name.endswith((".webm", ".mp4"))]
    strip = f"{episode_name(task, 0)}_plan.png"
    return ReportPictures(
        task,
        method,
        seed,
        strip=_below(out, folder / strip) if strip in names else None,
        strip_success=outcomes[0],
        film=_below(out, folder / films[0]) if films else None,
        film_episode=len(outcomes) - 1,
        tried=len(outcomes),
    )


def _film_episode(
    again: EvaluationReplay,
    env: FilmedEnv,
    film: Film,
    number: int,
    cancelled: Callable[[], bool] | None,
) -> bool:
    """Run one evaluation episode before the camera; whether it succeeded."""
    vqvae = again.checkpoint.vqvae
    steps = 0

    def planned(plan: Plan | None) -> None:
        subgoals = [] if plan is None else list(vqvae.decode(plan.latents).cpu().numpy())
        film.planned(subgoals)

    def stepped(decision: Decision) -> None:
        nonlocal steps
        if steps == 0 and not again.plans:
            planned(None)
        film.stepped(steps, decision.subgoal_index)
        steps += 1

    result = again.episode(env, number, on_plan=planned, on_step=stepped, cancelled=cancelled)
    return result.success


class FilmedEnv(gymnasium.Wrapper):
    """An environment whose images a film sees, in the size for people where it renders one."""

    def __init__(self, env: gymnasium.Env, film: Film) -> None:
        super().__init__(env)
        self._film = film
        self._steps = 0

    def reset(self, **options):
        """Start an episode."""
        image, info = self.env.reset(**options)
        self._steps = 0
        self._film.goal(info["goal_image"])
        self._show(image)
        return image, info

    def step(self, action):
        """Run one control step."""
        image, *rest = self.env.step(action)
        self._steps += 1
        ended = any(rest[1:3])
        if self._steps % EVERY == 0 or ended:  # others are in no frame
            self._show(image)
        return image, *rest

    def _show(self, image: np.ndarray) -> None:
        self._film.observed(image)
        large = self.env.render() if self.env.render_mode == "rgb_array" else None
        self._film.camera(image if large is None else large)


def environment_for_people(name: str, arguments: Mapping[str, Any]) -> gymnasium.Env:
    """Make the environment ``module:factory``, rendering images for people if it can.

    Raises InputError where it takes no such ``arguments``.
    """
    factory = environment_factory(name)
    try:
        try:
            inspect.signature(factory).bind(render_mode="rgb_array", **arguments)
        except TypeError:
            return factory(**arguments)
        return factory(render_mode="rgb_array", **arguments)
    except (TypeError, ValueError) as error:  # arguments of a file
        raise InputError(f"{name} cannot be made: {error}") from error


def _key(past: PastEvaluation, tries: int) -> str:
    """What pictures depend on."""
    manifest = read_bytes(past.checkpoint / "manifest.json", JSON_MOST)
    settings = json.dumps([past.settings, past.epochs, tries], sort_keys=True)
    return hashlib.sha256(manifest + settings.encode()).hexdigest()


def _kept(about: Path, key: str, out: Path) -> ReportPictures | None:
    """Pictures of an earlier report; None where there are none, or they are of other networks.

    Raises InputError where the file that tells of them is damaged, and OSError.
    """
    if not about.exists():
        return None
    try:
        values = load_json(about)
        if values.pop("key") != key:
            return None
        found = ReportPictures(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{about}: damaged ({error!r}); delete it to make pictures anew"
        ) from error
    files = [name for name in (found.strip, found.film) if name]
    return found if all((out / name).is_file() for name in files) else None


def _drop(folder: Path, name: str, *, keep_strip: bool, keep_film: bool) -> None:
    for path in folder.glob(f"{name}*"):
        strip, film = path.name == f"{name}_plan.png", path.suffix in (".webm", ".mp4")
        if not ((strip and keep_strip) or (film and keep_film)):
            path.unlink()


def _below(out: Path, path: Path) -> str:
    return str(path.relative_to(out))
