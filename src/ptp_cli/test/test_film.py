# SPDX-License-Identifier: Apache-2.0
"""`ptp film` as a user calls it, on the toy environment and tiny networks."""

import numpy as np
import pytest
from PIL import Image

from ptp_cli.demo.demo_film import GOOD, MARK
from ptp_cli.film.animation import write_animation
from ptp_cli.film.film_episode import film_episode
from ptp_cli.film.film_frame import HEAD, HEIGHT, WIDTH, FilmText, PlanImages, film_frame
from ptp_cli.main import main
from ptp_core.errors import InputError
from ptp_core.rollout.evaluation import EvaluationConfig
from ptp_core.tiny_networks import SENTENCES, tiny_checkpoint, tiny_instructed_checkpoint

TOY = "ptp_core.toy_env:make_env"
NOISE = np.random.default_rng(0).integers(0, 256, (6, 90, 120, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film") / "checkpoint"
    tiny_checkpoint(folder)
    return folder


def film(checkpoint, out, *more):
    words = ("film", "--checkpoint", checkpoint, "--env", TOY, "--max-steps", 7, "-o", out)
    return main([str(word) for word in (*words, *more)])


def frames(path):
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")))
    return found


def has(frame, color):
    """Whether a good part of a frame is near this colour."""
    return (np.abs(frame.astype(int) - color).max(axis=2) < 40).sum() > 100


def test_an_episode_becomes_an_animation_that_can_be_made_again(checkpoint, tmp_path, capsys):
    one, again = tmp_path / "new" / "one.webp", tmp_path / "again.webp"
    assert film(checkpoint, one) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("task A, episode 0: no success after 7 steps")
    assert printed[-1] == f"results: {one}"
    shown = frames(one)
    assert len(shown) == 5  # before steps 1, 3, 5 and 7, and the end
    assert all(frame.shape == (HEIGHT, WIDTH, 3) for frame in shown)
    assert has(shown[0], MARK) and not np.array_equal(shown[0], shown[-1])
    assert film(checkpoint, again) == 0
    assert one.read_bytes() == again.read_bytes()


def test_what_the_agent_is_told_must_be_something_it_takes(checkpoint, tmp_path, capsys):
    out = tmp_path / "film.gif"
    assert film(checkpoint, out, "--instruction", "carry the block") == 2
    error = capsys.readouterr().err
    assert "takes image" in error and error.count("\n") == 1 and not out.exists()


def test_an_agent_that_takes_words_is_filmed_with_what_it_predicts(tmp_path):
    """Its two subgoals and the goal are renewed at every step, and none of them is pursued."""
    tiny_instructed_checkpoint(tmp_path / "told", "lbp")
    config = EvaluationConfig(
        checkpoint=tmp_path / "told", env=TOY, tasks=("A",), episodes=1, max_steps=3
    )
    filmed = film_episode(config, instruction=SENTENCES[0], every=1)
    assert filmed.result.instruction == SENTENCES[0] and len(filmed.frames) == 4
    assert not has(filmed.frames[0], MARK)
    told = film_episode(config, instruction=SENTENCES[1], every=1)
    assert (told.frames[0][:HEAD] != filmed.frames[0][:HEAD]).any()  # the words


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "Z"), 'unknown task "Z"'),
        (("--every", 0), "--every is 0"),
        (("--most", 0), "--most is 0"),
        (("-o", "film.mp4"), "an animation's name ends in .webp or .gif or .png"),
    ],
)
def test_wrong_options_are_one_line(checkpoint, tmp_path, capsys, more, message):
    assert film(checkpoint, tmp_path / "film.webp", *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_frame_marks_what_is_pursued_and_tells_the_end():
    image = NOISE[0] // 4
    plan = PlanImages([image, image], image)
    during = film_frame(image, plan, FilmText("a task", 3, 9, pursued=1))
    free = film_frame(image, plan, FilmText("a task", 3, 9))
    after = film_frame(image, plan, FilmText("a task", 9, 9, success=True))
    assert has(during, MARK) and not has(free, MARK)
    assert has(after, GOOD) and not has(during, GOOD)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 8, 14, 39])
def test_every_subgoal_has_a_place(count):
    """Each is a field of its own grey, and so is the goal."""
    greys = [np.full((48, 48, 3), 60 + 4 * n, np.uint8) for n in range(count)]
    goal = np.full((48, 48, 3), 250, np.uint8)
    frame = film_frame(
        np.zeros((48, 48, 3), np.uint8), PlanImages(greys, goal), FilmText("", 0, 9)
    )
    for image in (*greys, goal):
        assert (frame == image[0, 0]).all(axis=2).sum() > 200


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_an_animation_keeps_its_frames_and_gets_smaller_to_fit(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    large = write_animation(path, NOISE, [0.1] * 6, 10**7)
    assert (large.width, large.height) == (120, 90) and large.bytes == path.stat().st_size
    assert len(frames(path)) == 6
    small = write_animation(path, NOISE, [0.1] * 6, large.bytes * 2 // 3)
    assert small.bytes <= large.bytes * 2 // 3 and len(frames(path)) == 6
    with pytest.raises(InputError, match=r"show fewer control steps \(--every\)"):
        write_animation(path, NOISE, [0.1] * 6, 1000)
    assert path.stat().st_size == small.bytes
