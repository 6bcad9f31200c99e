"""The generated data set: a fixed camera over a walkway, so that everything runs without a download.

It is not from the paper; it stands in for a benchmark. People walk on five lanes, to the left on the far half
of the walkway and to the right on the near half. They differ in size, build, clothes and pace; their number
rises and falls. Noise, slow changes of light and a slight shake of the camera are added. Training clips are
normal. A test clip shows one kind of anomaly on one lane, alternating with normal walkers:

    cart, bicycle                 appearance: an unknown thing at a walker's pace in the lane's direction
    running, jumping, wrong_way   motion: a person who looks like all others
    bag                           both: two walkers throw a large bag to one another

The layout is UCSD's: Train/Train001/001.tif, Test/Test001/001.tif, Test/Test001_gt/001.bmp (0 and 255),
Test/<name>.m (abnormal frames, 1-based and inclusive). Test/tracks.csv has one row for each anomalous object
and frame: clip, frame (0-based in the clip), track (numbered within the clip), kind, and its box x0, y0, x1,
y1 in pixels, with x1 and y1 exclusive. Masks, labels and tracks agree: an anomalous object counts from when
its middle enters the picture until it leaves it, and its mask is its whole silhouette, even if somebody walks
in front of it.

Units: lengths are in heights of the picture, or of the body where noted; times are in frames.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lib import paths
from lib.datasets import locks
from lib.errors import SyntheticError

# What the test clips show, in turn: each kind twice in twelve clips, but wrong_way once and one wholly normal
# clip. Real test sets have clips of one class too: these have no AUC of their own, and min-max normalisation
# within the clip lifts their least normal moment to the level of an anomaly.
KINDS = (
    "cart",
    "running",
    "bicycle",
    "jumping",
    "bag",
    "wrong_way",
    "bicycle",
    "running",
    "cart",
    "jumping",
    "bag",
    "normal",
)
ABNORMAL_SHARE = 0.46  # of the time of a clip with an anomaly
LANES = (0.46, 0.57, 0.73, 0.84, 0.95)  # y of the feet
KERB, DIVIDE = 0.29, 0.61  # y of the walkway's far edge, and of the line between its halves
GROUND = (146, 136)  # grey level of the far half and of the near half
RATE, HEADWAY = 0.011, 1.2  # walkers per lane and frame; smallest distance in a lane, in body heights
WALK, RUN = (0.07, 0.11), (0.18, 0.23)  # paces, in body heights per frame
WALK_STRIDE, RUN_STRIDE = 0.9, 1.35  # body heights in one cycle of two steps
LEG, TORSO, ARM = 0.47, 0.34, 0.32  # in body heights
# standard deviations: picture heights, share of the light, grey levels
SHAKE, LIGHT, NOISE = (0.004, 0.03, 2.5)
MARGIN = 0.03  # scenery around the picture, visible when the camera shakes
SHIFT = 4  # cv2's fixed-point coordinates: sixteenths of a pixel
LIMITS = {
    "seed": (0, 2**63 - 1),
    "train_clips": (1, 999),
    "test_clips": (1, 999),
    "clip_frames": (2, 999),
    "height": (32, 1080),
    "width": (32, 1920),
}


class Shape(NamedTuple):
    """One stroke of a drawing, in every frame of a clip."""

    form: str  # "line", "polygon", "disc" or "ring"; the last two have one point, their centre
    points: np.ndarray  # (T, n, 2) or (n, 2): x, y
    tone: int  # grey level
    width: float = 0.0  # of the pen
    radius: float = 0.0


@dataclass(frozen=True)
class Actor:
    """A person or a thing in every frame of a clip."""

    kind: str  # "walking" or a kind of anomaly
    feet: float  # y of the ground below; larger is nearer
    x: np.ndarray  # (T,) its middle
    shapes: tuple[Shape, ...]
    abnormal: np.ndarray | None = None  # (T,) bool, when it is an anomaly; None: never


# -- people and things, in body heights around the point between the feet, looking to the right --------------


def body_height(feet: float) -> float:
    """Perspective: the height of a person whose feet are at y = `feet`."""
    return 0.08 + 0.22 * feet


def looks(rng) -> dict:
    """Clothes and build. Things have the same tones, so that brightness does not give them away."""
    return {
        "coat": int(rng.integers(35, 80)),
        "trousers": int(rng.integers(25, 65)),
        "hair": int(rng.integers(25, 50)),
        "skin": int(rng.integers(80, 120)),
        "pack": int(rng.integers(30, 70)),
        "backpack": rng.random() < 0.25,
        "stout": rng.uniform(0.9, 1.15),
    }


def limb(start, length, angle, bend):
    """Two segments, of `length` together, from `start` (T, 2), at `angle` from vertical, the second bent by
    `bend`."""
    joint = start + length / 2 * np.stack([np.sin(angle), np.cos(angle)], -1)
    end = joint + length / 2 * np.stack([np.sin(angle + bend), np.cos(angle + bend)], -1)
    return np.stack([start, joint, end], 1)


def head(at, look) -> list[Shape]:
    """`at` is (T, 1, 2) or (1, 2)."""
    return [
        Shape("disc", at, look["skin"], radius=0.07),
        Shape("disc", at - [0.02, 0.025], look["hair"], radius=0.06),
    ]


def person(*, phase, run, lift, arms, look) -> list[Shape]:
    """A person seen from the side; every argument but `look` is (T,).

    phase   angle of the stride
    run     0 walking, 1 running: the limbs swing wider and the body leans, the clothes are the same
    lift    height of the feet above the ground
    arms    angle at which the arms are held; 0: they swing
    """
    swing = (0.44 + 0.16 * run) * np.clip(1 - lift / 0.06, 0.15, 1)  # legs hang in the air
    hip = np.stack([0 * phase, 0.02 - LEG - lift - (0.012 + 0.02 * run) * np.cos(2 * phase)], -1)
    lean = 0.05 + 0.12 * run
    neck = hip + TORSO * np.stack([np.sin(lean), -np.cos(lean)], -1)
    legs, sleeves = [], []
    for side, shade in ((np.pi, 12), (0.0, 0)):  # the far leg and arm first
        knee = -(0.25 + 0.75 * np.clip(np.cos(phase + side), 0, 1)) * (0.85 + 0.4 * run)
        angle = np.where(arms == 0, -0.75 * swing * np.sin(phase + side), arms)
        elbow = np.where(arms == 0, 0.25 + 0.75 * run, 0)
        legs.append(
            Shape("line", limb(hip, LEG, swing * np.sin(phase + side), knee), look["trousers"] + shade, 0.085)
        )
        sleeves.append(Shape("line", limb(neck + [0, 0.04], ARM, angle, elbow), look["coat"] - shade, 0.06))
    torso = Shape(
        "line", np.stack([hip - [0, 0.02], neck + [0, 0.03]], 1), look["coat"], 0.16 * look["stout"]
    )
    pack = Shape("line", np.stack([hip - [0.10, 0.12], neck - [0.11, -0.08]], 1), look["pack"], 0.11)
    return [
        sleeves[0],
        *legs,
        torso,
        *([pack] if look["backpack"] else []),
        sleeves[1],
        *head((neck + [0.04, -0.09])[:, None], look),
    ]


def cyclist(*, phase, look) -> list[Shape]:
    """A bicycle and its rider; `phase` (T,) is the angle of the pedals."""
    joints = ((0.02, -0.2), (-0.1, -0.52), (0.08, -0.86), (0.24, -0.48))
    axle, seat, shoulder, bars = (np.array([point]) for point in joints)
    pedal = 0.08 * np.stack([np.sin(phase), np.cos(phase)], -1)
    legs = []
    for foot in (axle - pedal, axle + pedal):
        legs.append(np.stack([seat + 0 * foot, (seat + foot) / 2 + [0.14, -0.03], foot], 1))
    rear, front = (-0.32, -0.2), (0.33, -0.2)
    frame = [rear, (-0.12, -0.46), (0.22, -0.44), (0.02, -0.2), rear]
    return [
        Shape("line", legs[0], look["trousers"] + 12, 0.08),
        Shape("ring", np.array([rear]), look["trousers"], 0.055, 0.19),
        Shape("ring", np.array([front]), look["trousers"], 0.055, 0.19),
        Shape("line", np.array(frame), look["pack"], 0.05),
        Shape("line", np.array([front, (0.22, -0.5)]), look["pack"], 0.05),
        Shape("line", legs[1], look["trousers"], 0.085),
        Shape("line", np.concatenate([seat - [0, 0.02], shoulder]), look["coat"], 0.16 * look["stout"]),
        Shape("line", np.concatenate([shoulder, bars]), look["coat"], 0.06),
        *head(shoulder + [0.06, -0.11], look),
    ]


def cart(look) -> list[Shape]:
    """A small open vehicle with a roof and a driver."""
    body = [
        (-0.75, -0.16),
        (-0.75, -0.5),
        (-0.2, -0.5),
        (-0.15, -0.3),
        (0.3, -0.3),
        (0.35, -0.55),
        (0.62, -0.48),
        (0.72, -0.16),
    ]
    return [
        Shape("line", np.array([(-0.05, -0.35), (0.0, -0.66)]), look["pack"], 0.17),
        *head(np.array([(0.03, -0.81)]), look),
        Shape("polygon", np.array(body), look["coat"]),
        Shape(
            "line",
            np.array([(-0.62, -0.5), (-0.6, -1.0), (0.36, -1), (0.46, -0.52)]),
            look["trousers"],
            0.055,
        ),
        Shape("line", np.array([(-0.62, -1.02), (0.38, -1.02)]), look["coat"], 0.09),
        Shape("disc", np.array([(-0.48, -0.14)]), look["trousers"], radius=0.15),
        Shape("disc", np.array([(0.46, -0.14)]), look["trousers"], radius=0.15),
    ]


def bag(*, up, turn, look) -> list[Shape]:
    """A large bag, `up` (T,) above the ground and rotated by `turn` (T,)."""
    x, y = (
        1.4
        * np.array(
            [
                (-0.17, -0.09),
                (0.17, -0.09),
                (0.17, 0.1),
                (0.07, 0.1),
                (0.05, 0.17),
                (-0.05, 0.17),
                (-0.07, 0.1),
                (-0.17, 0.1),
            ]
        ).T
    )
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    return [
        Shape("polygon", np.stack([x * cos - y * sin, -x * sin - y * cos - up[:, None]], -1), look["coat"])
    ]


def placed(shapes, *, x, feet, h, direction) -> tuple[Shape, ...]:
    """The shapes in the picture: body height h, middle at x (T,), facing `direction` (-1 or 1)."""
    origin = np.stack([x, np.full_like(x, feet)], -1)[:, None]
    return tuple(
        shape._replace(
            points=origin + h * shape.points * [direction, 1], width=h * shape.width, radius=h * shape.radius
        )
        for shape in shapes
    )


# -- what happens in a clip ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Track:
    """Where somebody walks: the lane, the body height on it, the direction and the picture's width."""

    feet: float
    h: float
    direction: int
    aspect: float

    def x(self, made):
        """Position from `made`, the distance walked since the middle entered the picture."""
        return made if self.direction > 0 else self.aspect - made

    def actor(self, kind, shapes, made, abnormal=None) -> Actor:
        x = self.x(made)
        shapes = placed(shapes, x=x, feet=self.feet, h=self.h, direction=self.direction)
        return Actor(kind, self.feet, x, shapes, abnormal)

    def walker(self, rng, made, *, kind="walking", run=0.0, lift=0.0, arms=0.0, abnormal=None) -> Actor:
        """A person; the stride follows the distance walked, so that feet do not slide."""
        run, lift, arms = (value + np.zeros_like(made) for value in (run, lift, arms))
        cycles = np.diff(made, prepend=made[:1]) / (self.h * (WALK_STRIDE + (RUN_STRIDE - WALK_STRIDE) * run))
        phase = 2 * np.pi * (rng.random() + np.cumsum(cycles))
        return self.actor(
            kind, person(phase=phase, run=run, lift=lift, arms=arms, look=looks(rng)), made, abnormal
        )


def way(lane: float) -> int:
    """The direction of a lane: -1 (left) on the far half, 1 (right) on the near half."""
    return -1 if lane < DIVIDE else 1


def crowd(rng, *, times, aspect, free) -> list[Actor]:
    """Normal walkers on all lanes but `free`. Those of one lane keep their distance and a similar pace."""
    actors = []
    warm = int(aspect / (WALK[0] * body_height(LANES[0]))) + 1  # the slowest crossing: full from the start
    moments = np.arange(-warm, len(times))
    tide = RATE * (1 + 0.9 * np.sin(2 * np.pi * (moments / rng.uniform(60, 160) + rng.random())))
    for lane in LANES:
        pace, last = rng.uniform(*WALK), -np.inf
        for enters in moments[rng.random(len(moments)) < tide]:
            feet = lane + rng.uniform(-0.012, 0.012)
            track = Track(feet, body_height(feet) * rng.uniform(0.92, 1.08), way(lane), aspect)
            own_pace = np.clip(pace * rng.uniform(0.96, 1.04), *WALK)
            if lane == free or enters - last < HEADWAY / pace:
                continue
            last = enters
            actors.append(track.walker(rng, track.h * own_pace * (times - enters) - 0.15))
    return actors


def anomaly(rng, kind: str, *, times, aspect, lane, phase) -> list[Actor]:
    """Everybody on the lane of the anomaly. The anomaly recurs, with normal walkers in between.

    `phase` in [0, 1) is the position in this period at which the clip starts, so that all parts of a clip are
    equally likely to be abnormal.
    """
    track = Track(lane, body_height(lane), way(lane) * (-1 if kind == "wrong_way" else 1), aspect)
    h, usual = track.h, rng.uniform(0.085, WALK[1])
    pace = rng.uniform(*RUN) if kind == "running" else usual
    # a runner may walk into the picture and start there; a jumper walks before and after
    before = {"running": rng.choice([0.0, 0.25]), "jumping": 0.15}.get(kind, 0.0) * aspect
    lasts = ((0.7 * aspect if kind == "jumping" else aspect) - before * (kind == "running")) / (h * pace)
    period = lasts / ABNORMAL_SHARE
    actors = []
    for start in np.arange(phase - 3, len(times) / period + 1) * period:
        t = times - start
        during = (t >= 0) & (t < lasts)
        made = before + h * t * np.where(t < 0, usual, pace)
        if kind == "cart":
            actors.append(track.actor(kind, cart(looks(rng)), made, during))
        elif kind == "bicycle":
            actors.append(track.actor(kind, cyclist(phase=4 * made / h, look=looks(rng)), made, during))
        elif kind == "bag":
            actors += throwers(rng, track, made, t, during)
        elif kind == "jumping":
            hop = (t % 9) / 7  # seven frames in the air, two on the ground
            lift = during * np.clip(2 * hop * (1 - hop), 0, None)
            actors.append(
                track.walker(rng, made, kind=kind, lift=lift, arms=2.6 * (lift > 0.1), abnormal=during)
            )
        else:
            actors.append(
                track.walker(rng, made, kind=kind, run=during * float(kind == "running"), abnormal=during)
            )
        for place in range({"jumping": 0, "cart": 2, "bag": 2}.get(kind, 1)):
            normal = replace(track, direction=way(lane))  # as many people as the anomaly has bodies
            actors.append(normal.walker(rng, h * usual * (t - 1.05 * lasts) - 0.9 * h * place))
    return actors


def throwers(rng, track: Track, made, t, during) -> list[Actor]:
    """Two walkers, one behind the other, and the bag between them: eight frames in the air, two in the
    hands."""
    gap = 1.3 * track.h
    turn, into = np.divmod(t, 10)
    flight = np.clip(into / 8, 0, 1)
    # -0.5: held by the one behind, 0.5: by the other
    along = np.where(turn % 2 == 0, flight, 1 - flight) - 0.5
    actors = []
    for place in (-0.5, 0.5):
        reaching = np.clip(1.5 - 3 * np.abs(along - place), 0, 1)  # arms towards the bag when it is near
        actors.append(track.walker(rng, made + gap * place, arms=-2 * place * 1.7 * reaching))
    shapes = bag(up=0.6 + 2 * flight * (1 - flight), turn=0.5 * np.sin(2 * np.pi * flight), look=looks(rng))
    thrown = track.actor("bag", shapes, made + gap * along, during)
    return [*actors, replace(thrown, feet=track.feet + 1e-3)]  # drawn before its throwers


# -- from actors to frames -----------------------------------------------------------------------------------


def background(rng, *, height: int, width: int) -> np.ndarray:
    """The scene without people, (height, width) uint8, with MARGIN around: wall, hedge, grass and walkway."""

    def texture(grain, strength):
        """Smooth noise whose grains have `grain` 64ths of the picture's height."""
        small = rng.standard_normal((round(64 / grain) + 1, round(64 * width / height / grain) + 1))
        return strength * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)

    unit = height / (1 + 2 * MARGIN)
    y, x = (
        np.arange(side)[shape] / unit - MARGIN + np.zeros((height, width))
        for side, shape in ((height, np.s_[:, None]), (width, np.s_[None]))
    )
    wall = np.where((np.abs(x % 0.3 - 0.15) < 0.09) & (np.abs(y - 0.03) < 0.03), 58, 96 + texture(6, 3))
    hedge, grass = 50 + texture(1, 10), 80 + texture(1, 5) + texture(6, 4)
    scene = np.where(y < 0.11, wall, np.where(y < 0.185 + texture(5, 0.008), hedge, grass))
    for far, (top, end) in enumerate(((DIVIDE, 2.0), (KERB, DIVIDE))):
        scene = np.where((y > top) & (y < end), GROUND[1 - far] + texture(8, 4) + texture(1, 3), scene)
    slabs = (x - width / unit / 2) / (y + 0.3) * 5  # joints meet at one point above the picture
    joints = (np.abs(slabs - np.round(slabs)) < 0.035 / (y + 0.3)) & (y > KERB) & (y < DIVIDE)
    scene[joints | (np.abs(y - 0.45) < 0.006)] -= 12
    scene[np.abs(y - KERB) < 0.008] = 160
    scene[np.abs(y - DIVIDE) < 0.01] = 112
    for post in (0.25, 1.1):  # lamp posts behind the walkway
        scene[(np.abs(x - post) < 0.008) & (y > 0.03) & (y < KERB)] = 45
        scene[(np.abs(x - post - 0.02) < 0.03) & (np.abs(y - 0.03) < 0.01)] = 45
    return np.clip(scene, 0, 255).astype(np.uint8)


def wander(rng, *, frames: int, spread: float, memory: float) -> np.ndarray:
    """A mean-reverting random walk around 0, (frames,), with standard deviation `spread`."""
    values = spread * rng.standard_normal(frames)
    for frame in range(1, frames):
        values[frame] = memory * values[frame - 1] + np.sqrt(1 - memory**2) * values[frame]
    return values


def draw(canvas, actor: Actor, frame: int, *, scale: float, offset, tone=None) -> None:
    """Draw an actor in one frame; with `tone`, its silhouette."""
    for shape in actor.shapes:
        points = np.rint((shape.points[frame] * scale + offset) * 2**SHIFT).astype(np.int32)
        colour, width = shape.tone if tone is None else tone, max(1, round(shape.width * scale))
        if shape.form == "line":
            cv2.polylines(canvas, [points], False, colour, width, cv2.LINE_8, SHIFT)
        elif shape.form == "polygon":
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_8, SHIFT)
        else:
            cv2.circle(
                canvas,
                points[0],
                round(shape.radius * scale * 2**SHIFT),
                colour,
                width if shape.form == "ring" else -1,
                cv2.LINE_8,
                SHIFT,
            )


def shadow(canvas, actor: Actor, frame: int, *, scale: float, offset) -> None:
    """Draw the shadow on the ground, which stays there when somebody jumps."""
    h = body_height(actor.feet) * scale
    centre = np.rint((np.array([actor.x[frame], actor.feet]) * scale + offset) * 2**SHIFT).astype(int)
    axes = np.rint(np.array([0.75 if actor.kind == "cart" else 0.2, 0.035]) * h * 2**SHIFT).astype(int)
    cv2.ellipse(
        canvas, centre, axes, 0, 0, 360, int(0.82 * GROUND[int(actor.feet > DIVIDE)]), -1, cv2.LINE_8, SHIFT
    )


def shrink(canvas, oversample: int) -> np.ndarray:
    """The mean of each square of `oversample` by `oversample` pixels."""
    height, width = (side // oversample for side in canvas.shape)
    sums = canvas.reshape(height, oversample, width, oversample).sum(axis=(1, 3), dtype=np.uint32)
    return sums / np.float32(oversample**2)


def render(rng, actors: list[Actor], scene, *, frames: int, oversample: int, height: int, width: int):
    """The clip (T, H, W) uint8, and the kind and silhouette (T, H, W) bool of each anomalous actor."""
    scale, aspect = height * oversample, width / height
    size, margin = (scale, width * oversample), (scene.shape[0] - scale) // 2
    light = 1 + wander(rng, frames=frames, spread=LIGHT, memory=0.97)
    shake = np.stack([wander(rng, frames=frames, spread=SHAKE * scale, memory=0.6) for _ in "xy"], -1)
    shake = np.clip(np.rint(shake), -margin, margin).astype(int)  # in pixels of the large canvas
    actors = sorted(actors, key=lambda actor: actor.feet)
    odd = [actor for actor in actors if actor.abnormal is not None]
    film, masks = (
        np.empty((frames, height, width), np.float32),
        np.zeros((len(odd), frames, height, width), bool),
    )
    for frame, (dx, dy) in enumerate(shake):
        place = {"scale": scale, "offset": (dx, dy)}
        canvas = scene[margin - dy : margin - dy + size[0], margin - dx : margin - dx + size[1]].copy()
        near = [actor for actor in actors if -0.4 < actor.x[frame] < aspect + 0.4]
        for paint in (shadow, draw):
            for actor in near:
                paint(canvas, actor, frame, **place)
        film[frame] = shrink(canvas, oversample)
        for actor, mask in zip(odd, masks):
            if actor.abnormal[frame] and 0 <= actor.x[frame] < aspect:
                alone = np.zeros(size, np.uint8)
                draw(alone, actor, frame, **place, tone=255)
                mask[frame] = shrink(alone, oversample) >= 64  # a quarter of a pixel, so that spokes count
    # The camera's automatic exposure: the mean follows the light alone and does not reveal what is in the
    # picture.
    exposure = scene.mean() * light / film.mean(axis=(1, 2), dtype=np.float64)
    noise = NOISE * rng.standard_normal(film.shape, dtype=np.float32)
    film = np.clip(np.rint(film * exposure[:, None, None] + noise), 0, 255).astype(np.uint8)
    return film, [(actor.kind, mask) for actor, mask in zip(odd, masks) if mask.any()]


# -- the files -----------------------------------------------------------------------------------------------


def generate(
    folder: Path, *, seed: int, train_clips: int, test_clips: int, clip_frames: int, height: int, width: int
) -> Path:
    """Write the data set into `folder` and return it. The same parameters give the same bytes.

    A folder generated with the same parameters by the same code (according to its generator.json) is left
    alone, one generated otherwise is replaced, and any other folder is refused. The folder appears in one
    step, at the end. Raises SyntheticError for parameters out of range, and for a folder that was not
    generated.
    """
    folder = Path(folder)
    parameters = {
        "seed": seed,
        "train_clips": train_clips,
        "test_clips": test_clips,
        "clip_frames": clip_frames,
        "height": height,
        "width": width,
    }
    for name, value in parameters.items():
        lowest, highest = LIMITS[name]
        if not lowest <= value <= highest:
            raise SyntheticError(f"{name} is {value}; the generated data set takes {lowest} to {highest}.")
    wanted = parameters | {"code": paths.sha256_of(Path(__file__))}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.alone(folder.with_name(f".{folder.name}.lock"), paths.shown(folder), print):
        note = folder / "generator.json"
        if folder.is_dir() and any(folder.iterdir()):
            if not note.is_file():
                raise SyntheticError(
                    f"{folder} holds something that was not generated. Name another folder, or remove it."
                )
            if note.read_text() == as_json(wanted):
                return folder
        partial = folder.with_name(f".{folder.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        write(partial, label_file=f"{folder.name}.m", **parameters)
        (partial / note.name).write_text(as_json(wanted))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
        return folder


def as_json(parameters: dict) -> str:
    return json.dumps(parameters, indent=1) + "\n"


def write(
    folder: Path, *, label_file: str, seed, train_clips, test_clips, clip_frames, height, width
) -> None:
    """Write all files but generator.json."""
    rng = np.random.default_rng([seed, 0])
    oversample = max(2, round(256 / height))  # drawn larger, then averaged: clean edges
    margin = round(MARGIN * height * oversample)
    scene = background(rng, height=height * oversample + 2 * margin, width=width * oversample + 2 * margin)
    phases = (
        rng.permutation(test_clips) + rng.random(test_clips)
    ) / test_clips  # spread evenly, in random order
    picture = {"frames": clip_frames, "oversample": oversample, "height": height, "width": width}
    for number in range(1, train_clips + 1):
        film, _ = clip(np.random.default_rng([seed, 1, number]), "normal", 0.0, scene, picture)
        save(folder / "Train" / f"Train{number:03d}", film, "tif")
    lines, rows = ["TestVideoFile = {};"], []
    for number, phase in enumerate(phases, start=1):
        name, kind = f"Test{number:03d}", KINDS[(number - 1) % len(KINDS)]
        film, objects = clip(np.random.default_rng([seed, 2, number]), kind, phase, scene, picture)
        mask = np.any([np.zeros(film.shape, bool), *(mask for _, mask in objects)], axis=0)
        save(folder / "Test" / name, film, "tif")
        save(folder / "Test" / f"{name}_gt", 255 * mask.astype(np.uint8), "bmp")
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{ranges(mask.any((1, 2)))}];")
        for track, (kind, silhouette) in enumerate(objects):
            for frame in np.flatnonzero(silhouette.any((1, 2))):
                y, x = np.nonzero(silhouette[frame])
                rows.append((name, frame, track, kind, x.min(), y.min(), x.max() + 1, y.max() + 1))
    (folder / "Test" / label_file).write_text("\n".join(lines) + "\n")
    with (folder / "Test" / "tracks.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("clip", "frame", "track", "kind", "x0", "y0", "x1", "y1"))
        table.writerows(rows)


def clip(rng, kind: str, phase: float, scene, picture: dict):
    """One clip and its anomalous objects, as `render` returns them."""
    times, aspect = np.arange(picture["frames"]), picture["width"] / picture["height"]
    lane = None if kind == "normal" else rng.choice(LANES[1:])  # on the first lane heads reach the grass
    actors = crowd(rng, times=times, aspect=aspect, free=lane)
    if lane is not None:
        actors += anomaly(rng, kind, times=times, aspect=aspect, lane=lane, phase=phase)
    return render(rng, actors, scene, **picture)


def save(folder: Path, images, suffix: str) -> None:
    """One file per frame, numbered from 001."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        if not cv2.imwrite(str(folder / f"{number:03d}.{suffix}"), image):
            raise OSError(f"{folder / f'{number:03d}.{suffix}'} could not be written")


def ranges(labels) -> str:
    """Abnormal frames in the form of UCSD's label file: 1-based, inclusive, such as "1:20, 95:120"."""
    edges = np.flatnonzero(np.diff(labels.astype(int), prepend=0, append=0))
    return ", ".join(f"{first + 1}:{last}" for first, last in edges.reshape(-1, 2))
