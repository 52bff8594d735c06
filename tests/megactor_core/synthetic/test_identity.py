"""Identities: reproducible, varied, and through JSON unchanged."""

import json
from dataclasses import replace

import pytest

from megactor_core.synthetic.identity import (
    BACKDROP_KINDS,
    HAIR_STYLES,
    PLAIN_BACKDROPS,
    PLAIN_STRANDS,
    draw_identity,
    identity_from_numbers,
    identity_numbers,
)


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_the_same_seed_is_the_same_person(seed: int) -> None:
    assert draw_identity(seed) == draw_identity(seed)
    assert draw_identity(seed) != draw_identity(seed + 1)


def test_json_keeps_every_number() -> None:
    for seed in range(20):
        identity = draw_identity(seed)
        assert identity_from_numbers(json.loads(json.dumps(identity_numbers(identity)))) == identity


def test_all_styles_and_backdrops_occur() -> None:
    people = [draw_identity(seed) for seed in range(300)]
    assert {person.hair.style for person in people} == set(HAIR_STYLES)
    assert {person.backdrop.kind for person in people} == set(BACKDROP_KINDS)
    assert any(person.glasses for person in people)
    assert any(person.skin.beard for person in people)
    assert {person.voice.f0_hz > 155 for person in people} == {True, False}


def test_plain_changes_only_backdrop_and_strands() -> None:
    for seed in range(30):
        plain, full = draw_identity(seed, plain=True), draw_identity(seed)
        assert plain.backdrop.kind in PLAIN_BACKDROPS
        assert plain.hair.strands == pytest.approx(PLAIN_STRANDS * full.hair.strands)
        assert replace(plain, hair=full.hair, backdrop=full.backdrop) == full


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        draw_identity(-1)
