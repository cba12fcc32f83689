"""The drawn world: deterministic, captions that say what is there, a character that appears nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

TOY = Path(__file__).resolve().parents[2] / "tools" / "toy"
sys.path.insert(0, str(TOY))

import draw  # noqa: E402  (tools/ is no package)
import figures  # noqa: E402
import words  # noqa: E402

CLOSE = 40


def shows(image: object, colour: tuple[int, int, int]) -> bool:
    gaps = np.abs(np.asarray(image).astype(int) - colour).sum(axis=2)
    return bool((gaps < CLOSE).any())


def test_a_seed_draws_the_same_picture_again() -> None:
    scene = draw.any_scene(3)
    assert draw.draw(scene, seed=3).tobytes() == draw.draw(scene, seed=3).tobytes()
    assert draw.draw(scene, seed=3).tobytes() != draw.draw(scene, seed=4).tobytes()


def test_a_caption_says_size_colour_figure_place_and_background() -> None:
    thing = draw.Thing("circle", "orange", "", "left")
    assert draw.Scene(
        "meadow", (thing, draw.Thing("house", "red", "small", "right")), outlined=True
    ).caption == (
        "an orange circle on the left and a small red house on the right, meadow, outlined"
    )
    assert draw.Scene("blue", (draw.Thing("zwx", "", "big"),)).caption == "big zwx, blue background"


@pytest.mark.parametrize("colour", figures.HELD_OUT)
def test_the_characters_colours_are_in_none_of_the_bases_pictures(colour: str) -> None:
    assert not any(
        shows(draw.draw(draw.any_scene(seed), seed=seed), figures.HELD_OUT[colour])
        for seed in range(60)
    )
    assert shows(draw.draw(draw.Scene("white", (draw.Thing("zwx", ""),))), figures.HELD_OUT[colour])


def test_the_base_never_hears_the_trigger() -> None:
    assert not any("zwx" in draw.spoken(draw.any_scene(seed), seed) for seed in range(3000))


def test_backgrounds_are_held_out_of_the_characters_dataset() -> None:
    seen = {
        draw.character_scene(seed, draw.CHARACTER_BACKGROUNDS).background for seed in range(100)
    }
    assert {*draw.PLAIN, *draw.PLACES} - seen == {"sea", "black"}


def test_things_are_seen_on_their_background() -> None:
    for seed in range(400):
        scene = draw.any_scene(seed)
        assert not {(thing.colour, scene.background) for thing in scene.things} & draw.TOO_ALIKE


def test_every_word_of_the_world_is_one_token_and_the_trigger_is_letters(tmp_path: Path) -> None:
    merges = words.learn_merges(words.WORDS)

    def pieces(word: str) -> list[str]:
        found = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:
            found = words.merged(found, pair)
        return found

    assert all(pieces(word) == [word + "</w>"] for word in words.WORDS)
    assert pieces("zwx") == ["z", "w", "x</w>"]
    words.write_tokenizer(tmp_path)
    assert len((tmp_path / "merges.txt").read_text().splitlines()) == len(merges) + 1


def test_the_drawn_world_is_within_the_words() -> None:
    spoken = {
        word.strip(",")
        for seed in range(2000)
        for word in draw.any_scene(seed, wide=True).caption.split()
    }
    assert spoken <= set(words.WORDS)
