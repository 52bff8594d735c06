"""Who a synthetic head is: shape, colours, hair, clothes, light, background and voice, drawn from one seed.

Lengths are in head units, about half the height from crown to chin: a head is 2.1 high and 1.4 wide. x goes
to the picture's right, y down, z to the camera; the eyes lie at y = 0. All ranges are ours.
"""

import colorsys
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from megactor_core.synthetic.voice import Voice

HairStyle = Literal["crop", "parted", "swept", "fringe", "curly", "tied", "bob", "long", "buzz", "bald"]
BackdropKind = Literal["vertical", "horizontal", "spot", "clouds", "shelves", "bokeh"]
Neckline = Literal["crew", "vee", "shirt", "wide"]
Colour = tuple[float, float, float]
"""Red, green, blue from 0 to 255."""

HAIR_STYLES: tuple[HairStyle, ...] = get_args(HairStyle)
BACKDROP_KINDS: tuple[BackdropKind, ...] = get_args(BackdropKind)
PLAIN_BACKDROPS: tuple[BackdropKind, ...] = ("vertical", "horizontal", "spot")
NECKLINES: tuple[Neckline, ...] = get_args(Neckline)

SKINS = (
    (244, 212, 191),
    (241, 198, 160),
    (226, 176, 134),
    (206, 152, 116),
    (176, 122, 90),
    (142, 92, 64),
    (112, 74, 54),
    (246, 204, 184),
    (222, 178, 152),
)
HAIRS = (
    (28, 22, 20),
    (52, 36, 26),
    (84, 54, 32),
    (118, 78, 44),
    (158, 116, 66),
    (206, 172, 112),
    (140, 62, 34),
    (128, 126, 124),
    (206, 204, 200),
)
_HAIR_ODDS = (0.17, 0.17, 0.16, 0.14, 0.10, 0.08, 0.08, 0.06, 0.04)
IRISES = (
    (74, 46, 26),
    (104, 70, 36),
    (66, 98, 132),
    (96, 132, 158),
    (82, 112, 72),
    (116, 116, 114),
    (44, 30, 22),
)

_STYLE_ODDS = {
    "crop": 0.16,
    "parted": 0.14,
    "swept": 0.11,
    "fringe": 0.11,
    "curly": 0.11,
    "tied": 0.08,
    "bob": 0.09,
    "long": 0.12,
    "buzz": 0.04,
    "bald": 0.04,
}
_LONG_STYLES = frozenset({"tied", "bob", "long"})
PLAIN_STRANDS = 0.25
"""Share of the hair's strand contrast that a plain identity keeps."""


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Factors on the mean head, and how much the cheeks are fuller (+) or hollower (-), in head units."""

    width: float
    jaw: float
    depth: float
    chin: float
    cheekbones: float
    cheeks: float
    ears: float
    neck: float


@dataclass(frozen=True, slots=True)
class Eyes:
    """Centre (x, y) of the right eye as seen, half its width and height, rise of the outer corner."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float
    iris: Colour
    iris_radius: float
    lashes: float
    crease: float


@dataclass(frozen=True, slots=True)
class Brows:
    """Height over the eye, half thickness, height of the arch, and how dark beside the hair."""

    height: float
    thickness: float
    arch: float
    dark: float


@dataclass(frozen=True, slots=True)
class Nose:
    """y of the base, half width of the wings, height of the tip over the face, breadth of the ridge."""

    base_y: float
    half_width: float
    height: float
    ridge: float


@dataclass(frozen=True, slots=True)
class Mouth:
    """y of the lips' line, half width, heights of both lips, and how far their colour leaves the skin's."""

    y: float
    half_width: float
    upper_lip: float
    lower_lip: float
    redness: float
    teeth: float


@dataclass(frozen=True, slots=True)
class Skin:
    """Colour and marks; freckles, wrinkles and blush from 0 to 1; beard 0 where there is none."""

    colour: Colour
    blush: float
    freckles: float
    wrinkles: float
    beard: float
    beard_length: float


@dataclass(frozen=True, slots=True)
class Hair:
    """Style and its play: hairline (y in the middle), volume, parting (angle in radians), curl, length."""

    style: HairStyle
    colour: Colour
    hairline: float
    temples: float
    volume: float
    part: float
    length: float
    strands: float


@dataclass(frozen=True, slots=True)
class Light:
    """Direction to the lamp in degrees (to the right, upwards), ambient share, colour of the light."""

    azimuth_degrees: float
    elevation_degrees: float
    ambient: float
    tint: Colour


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What is behind the head."""

    kind: BackdropKind
    colours: tuple[Colour, Colour, Colour]


@dataclass(frozen=True, slots=True)
class Clothes:
    """A garment, its neckline and colours, and how broad the shoulders are."""

    neckline: Neckline
    colour: Colour
    trim: Colour
    shoulders: float


@dataclass(frozen=True, slots=True)
class Identity:
    """One synthetic person in front of one background; `identity_numbers` makes it JSON."""

    seed: int
    head: HeadShape
    eyes: Eyes
    brows: Brows
    nose: Nose
    mouth: Mouth
    skin: Skin
    hair: Hair
    glasses: float
    """Radius of the lenses, 0 without glasses."""
    light: Light
    backdrop: Backdrop
    clothes: Clothes
    voice: Voice


def draw_identity(seed: int, *, plain: bool = False) -> Identity:
    """The identity of a seed, the same on every machine.

    plain: the same person in front of a plain background and with little texture in the hair, which is easier
    to learn. Raises ValueError for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"an identity's seed is not negative, not {seed}")
    draw = np.random.default_rng([seed, 1])
    skin_colour = _jitter(draw, SKINS, low=0.9, high=1.04, noise=3)
    style = _choice(draw, tuple(_STYLE_ODDS), odds=tuple(_STYLE_ODDS.values()))
    long_hair = style in _LONG_STYLES
    hair = _draw_hair(draw, style)
    identity = Identity(
        seed=seed,
        head=_draw_head(draw),
        eyes=_draw_eyes(draw, made_up=long_hair),
        brows=_draw_brows(draw),
        nose=Nose(_u(draw, 0.39, 0.43), _u(draw, 0.095, 0.135), _u(draw, 0.20, 0.27), _u(draw, 0.8, 1.2)),
        mouth=_draw_mouth(draw, made_up=long_hair),
        skin=_draw_skin(draw, skin_colour, bearded=not long_hair),
        hair=hair,
        glasses=_u(draw, 0.225, 0.245) if draw.random() < 0.12 else 0.0,
        light=_draw_light(draw),
        backdrop=Backdrop(_choice(draw, BACKDROP_KINDS), (_paint(draw), _paint(draw), _paint(draw))),
        clothes=Clothes(_choice(draw, NECKLINES), _paint(draw), _paint(draw), _u(draw, 0.92, 1.1)),
        voice=_draw_voice(draw, high=long_hair or draw.random() < 0.15),
    )
    return _plain(identity) if plain else identity


def identity_numbers(identity: Identity) -> dict[str, Any]:
    """The identity as nested dictionaries of numbers and words, to be written as JSON."""
    return asdict(identity)


def identity_from_numbers(numbers: dict[str, Any]) -> Identity:
    """The identity that `identity_numbers` wrote, after a way through JSON too."""
    parts: dict[str, type] = {
        "head": HeadShape,
        "eyes": Eyes,
        "brows": Brows,
        "nose": Nose,
        "mouth": Mouth,
        "skin": Skin,
        "hair": Hair,
        "light": Light,
        "backdrop": Backdrop,
        "clothes": Clothes,
        "voice": Voice,
    }
    fields = {name: parts[name](**_tuples(part)) if name in parts else part for name, part in numbers.items()}
    return Identity(**fields)


def _plain(identity: Identity) -> Identity:
    kind = PLAIN_BACKDROPS[identity.seed % len(PLAIN_BACKDROPS)]
    hair = replace(identity.hair, strands=PLAIN_STRANDS * identity.hair.strands)
    return replace(identity, hair=hair, backdrop=replace(identity.backdrop, kind=kind))


def _draw_head(draw: np.random.Generator) -> HeadShape:
    return HeadShape(
        width=_u(draw, 0.90, 0.99),
        jaw=_u(draw, 0.88, 1.1),
        depth=_u(draw, 0.98, 1.07),
        chin=_u(draw, 0.5, 1.6),
        cheekbones=_u(draw, 0.4, 1.6),
        cheeks=_u(draw, -0.03, 0.035),
        ears=_u(draw, 0.75, 1.25),
        neck=_u(draw, 0.88, 1.1),
    )


def _draw_eyes(draw: np.random.Generator, *, made_up: bool) -> Eyes:
    return Eyes(
        x=_u(draw, 0.29, 0.315),
        y=_u(draw, -0.03, 0.03),
        half_width=_u(draw, 0.150, 0.160),
        half_height=_u(draw, 0.065, 0.071),
        tilt=_u(draw, -0.012, 0.018),
        iris=_jitter(draw, IRISES, low=0.8, high=1.25, noise=4),
        iris_radius=_u(draw, 0.066, 0.071),
        lashes=_u(draw, 0.7, 1.2) if made_up else _u(draw, 0.2, 0.7),
        crease=_u(draw, 0.2, 1.0),
    )


def _draw_brows(draw: np.random.Generator) -> Brows:
    return Brows(_u(draw, 0.182, 0.207), _u(draw, 0.014, 0.028), _u(draw, 0.01, 0.05), _u(draw, 0.3, 0.7))


def _draw_mouth(draw: np.random.Generator, *, made_up: bool) -> Mouth:
    redness = _u(draw, 0.3, 0.9) if made_up else _u(draw, 0.1, 0.4)
    return Mouth(
        y=_u(draw, 0.575, 0.625),
        half_width=_u(draw, 0.205, 0.255),
        upper_lip=_u(draw, 0.03, 0.052),
        lower_lip=_u(draw, 0.045, 0.072),
        redness=redness,
        teeth=_u(draw, 0.85, 1.05),
    )


def _draw_skin(draw: np.random.Generator, colour: Colour, *, bearded: bool) -> Skin:
    beard = _u(draw, 0.3, 0.85) if draw.random() < 0.35 and bearded else 0.0
    return Skin(
        colour=colour,
        blush=_u(draw, 0.2, 1.0),
        freckles=_u(draw, 0.3, 1.0) if draw.random() < 0.15 else 0.0,
        wrinkles=_u(draw, 0.4, 1.0) if draw.random() < 0.3 else _u(draw, 0.0, 0.2),
        beard=beard,
        beard_length=_u(draw, 0.0, 1.0),
    )


def _draw_hair(draw: np.random.Generator, style: HairStyle) -> Hair:
    return Hair(
        style=style,
        colour=_jitter(draw, HAIRS, odds=_HAIR_ODDS, low=0.8, high=1.1, noise=2.5),
        hairline=_u(draw, -0.66, -0.55),
        temples=_u(draw, 0.0, 0.14),
        volume=_u(draw, 0.7, 1.3),
        part=_u(draw, 0.15, 0.55) * (1 if draw.random() < 0.5 else -1),
        length=_u(draw, 0.0, 1.0),
        strands=_u(draw, 0.7, 1.2),
    )


def _draw_light(draw: np.random.Generator) -> Light:
    tint = np.clip(1 + draw.normal(0, 0.016, 3), 0.95, 1.05)
    return Light(_u(draw, -55, 55), _u(draw, 8, 45), _u(draw, 0.48, 0.63), _colour(tint * 255))


def _draw_voice(draw: np.random.Generator, *, high: bool) -> Voice:
    return Voice(
        f0_hz=_u(draw, 160, 240) if high else _u(draw, 90, 150),
        formant_scale=_u(draw, 1.0, 1.18) if high else _u(draw, 0.88, 1.0),
        tilt=_u(draw, 0.7, 1.3),
        breath=_u(draw, 0.002, 0.02),
        articulation=_u(draw, 0.85, 1.15),
    )


def _paint(draw: np.random.Generator) -> Colour:
    """A colour as walls and cloth have it: any hue, seldom loud."""
    red, green, blue = colorsys.hsv_to_rgb(
        float(draw.random()), 0.65 * float(draw.random()) ** 1.3, _u(draw, 0.2, 0.92)
    )
    return _colour(np.array([red, green, blue]) * 255)


def _jitter(
    draw: np.random.Generator,
    bases: tuple[Colour, ...],
    *,
    odds: tuple[float, ...] | None = None,
    low: float,
    high: float,
    noise: float,
) -> Colour:
    """One of the base colours, brighter or darker and a little off."""
    base = np.array(_choice(draw, bases, odds=odds), np.float64)
    return _colour(np.clip(base * draw.uniform(low, high) + draw.normal(0, noise, 3), 8, 255))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (round(float(value), 2) for value in values)
    return red, green, blue


def _choice(
    draw: np.random.Generator, names: tuple[Any, ...], *, odds: tuple[float, ...] | None = None
) -> Any:
    shares = np.ones(len(names)) if odds is None else np.array(odds)
    edges = np.cumsum(shares / shares.sum())
    return names[min(int(np.searchsorted(edges, draw.random(), side="right")), len(names) - 1)]


def _u(draw: np.random.Generator, low: float, high: float) -> float:
    return float(draw.uniform(low, high))


def _tuples(part: dict[str, Any]) -> dict[str, Any]:
    """Lists, which JSON makes of tuples, as tuples again."""
    return {name: _tuple(value) if isinstance(value, list) else value for name, value in part.items()}


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(value) if isinstance(value, list) else value for value in values)
