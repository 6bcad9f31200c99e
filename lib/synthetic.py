"""The generated data set: a fixed camera over a walkway, normal for training, seven kinds of clip for testing.

Not from the paper: it stands in for a benchmark where none has been downloaded. The far half of the walkway leads to
the left, the near half to the right; people differ in size, clothes, pace and company. Then, in the test clips, for
part of the time,

    cart, bicycle               appearance: a thing never seen, at the pace and on the side of a walker
    running, jumping, wrong_way motion: a person who looks like all others
    bag                         both: two walkers throw a bag to one another

The layout is UCSD's: Train/Train001/001.tif, Test/Test001/001.tif, Test/Test001_gt/001.bmp (0 and 255),
Test/<folder>.m (abnormal frames, 1-based and inclusive); and, beyond UCSD's, Test/tracks.csv with one row for each
anomalous object and frame: clip, frame (0-based in the clip), track, kind, x0, y0, x1, y1 (pixels, x1 and y1
exclusive). One definition serves all three: an anomalous object counts in the frames in which its middle is in the
picture, and its mask is its silhouette, whether or not somebody walks before it.

Lengths are in picture heights, times in frames, speeds of people in body heights a frame.
"""
from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

# What the test clips show, in turn. One clip in twelve is wholly normal: it has no AUC of its own, and after a min-max
# normalisation its most normal-looking maximum counts as much as an anomaly. Real test sets have such clips too.
KINDS = ("cart", "running", "bicycle", "jumping", "bag", "wrong_way",
         "bicycle", "running", "cart", "jumping", "bag", "normal")
ABNORMAL_SHARE = 0.46        # of the time of a clip with an anomaly
LANES = (0.46, 0.57, 0.73, 0.84, 0.95)   # y of the feet; the first two are the far half of the walkway
RATE, HEADWAY = 0.011, 1.2   # walkers a lane and frame; least distance in a lane, body heights
KERB, DIVIDE = 0.29, 0.61   # the walkway's far edge, the line between its halves
WALK, RUN = (0.07, 0.11), (0.18, 0.23)   # paces
WALK_STRIDE, RUN_STRIDE = 0.9, 1.35      # body heights in one cycle of two steps
LEG, TORSO = 0.47, 0.34      # lengths of the body's parts, in body heights
SHAKE, NOISE = 0.004, 2.5    # standard deviations: of the camera in picture heights, of a pixel in grey levels
SHIFT = 4                    # cv2's fixed-point coordinates: 1/16 of a pixel


class SyntheticError(ValueError):
    """Parameters that make no data set, or a folder that is not this module's to replace. The text says what to do."""


@dataclass(frozen=True)
class Shape:
    """One stroke of a drawing in all frames of a clip: `points` are (T, n, 2), `width` is 0 for a filled polygon."""

    form: str                # "line", "polygon", "disc" or "ring"; disc and ring have one point
    points: np.ndarray
    tone: int
    width: float = 0.0
    radius: float = 0.0


@dataclass(frozen=True)
class Actor:
    """A person or a thing in all frames of a clip."""

    feet: float              # y of the ground it stands on; who stands lower in the picture is nearer
    x: np.ndarray            # (T,) its middle
    shapes: tuple[Shape, ...]
    kind: str = "walking"
    abnormal: np.ndarray | None = None   # (T,) when it is an anomaly


def body_height(feet):
    """Perspective: the height of a person whose feet are at y = `feet`."""
    return 0.08 + 0.22 * feet


# -- drawing: shapes of people and things -----------------------------------------------------------------------------

def clothes(rng) -> dict:
    """Tones of one person, the same for everybody: nothing can be told from brightness."""
    return {"coat": int(rng.integers(35, 80)), "trousers": int(rng.integers(25, 65)), "skin": int(rng.integers(80, 120)),
            "hair": int(rng.integers(25, 50)), "stout": rng.uniform(0.9, 1.15), "backpack": rng.random() < 0.25,
            "pack": int(rng.integers(30, 70))}


def limb(start, upper, lower, angle, bend):
    """Two segments that hang from `start` (T, 2): `angle` from the vertical, forwards positive, then bent by `bend`."""
    joint = start + upper * np.stack([np.sin(angle), np.cos(angle)], -1)
    end = joint + lower * np.stack([np.sin(angle + bend), np.cos(angle + bend)], -1)
    return np.stack([start, joint, end], 1)


def person(*, x, feet, h, direction, phase, run, lift, reach, look) -> tuple[Shape, ...]:
    """A walking, running (`run` (T,) from 0 to 1) or jumping (`lift` (T,)) person seen from the side.

    `phase` (T,) is the angle of the stride; `reach` (T,) stretches the arms: 1 forwards, -1 backwards.
    """
    swing = 0.44 + 0.16 * run
    grounded = np.clip(1 - lift / (0.06 * h), 0.15, 1)     # in the air the legs hang
    bob = (0.012 + 0.02 * run) * np.cos(2 * phase)
    hip = np.stack([np.zeros_like(x), -(LEG - 0.02 + bob) - lift / h], -1)
    lean = 0.05 + 0.12 * run
    neck = hip + TORSO * np.stack([np.sin(lean), -np.cos(lean)], -1)
    head = neck + np.stack([0.03 + 0.03 * run, np.full_like(x, -0.09)], -1)
    parts = []
    for side in (np.pi, 0.0):                               # the far leg and arm first
        angle = swing * np.sin(phase + side) * grounded
        knee = -(0.25 + 0.75 * np.clip(np.cos(phase + side), 0, 1)) * (0.8 + 0.5 * run) * (1.2 - 0.5 * grounded)
        arm = np.where(reach == 0, -0.75 * swing * np.sin(phase + side), reach * 1.7)
        elbow = np.where(reach == 0, 0.25 + 0.75 * run, 0.0)
        shade = 12 if side else 0
        parts.append(("line", limb(hip, 0.5 * LEG, 0.5 * LEG, angle, knee), look["trousers"] + shade, 0.085))
        parts.append(("line", limb(neck + [0, 0.04], 0.16, 0.16, arm, elbow), look["coat"] - shade, 0.06))
    far_leg, far_arm, near_leg, near_arm = parts
    torso = ("line", np.stack([hip + [0, -0.02], neck + [0, 0.03]], 1), look["coat"], 0.16 * look["stout"])
    pack = [("line", np.stack([hip + [-0.10, -0.12], neck + [-0.11, 0.08]], 1), look["pack"], 0.11)]
    strokes = [far_arm, far_leg, near_leg, torso, *(pack if look["backpack"] else []), near_arm]
    shapes = [placed("disc", head[:, None], look["skin"], x, feet, h, direction, radius=0.07),
              placed("disc", head[:, None] + [-0.02, -0.025], look["hair"], x, feet, h, direction, radius=0.06)]
    return (*(placed(form, points, tone, x, feet, h, direction, width=width)
              for form, points, tone, width in strokes), *shapes)


def placed(form, points, tone, x, feet, h, direction, *, width=0.0, radius=0.0) -> Shape:
    """From body heights around the feet, looking to the right, to picture heights."""
    at = np.stack([x, np.full_like(x, feet)], -1)
    return Shape(form, at[:, None] + h * points * [direction, 1], int(tone), h * width, h * radius)


def fixed(points, x):
    """The same points in every frame: (T, n, 2)."""
    return np.broadcast_to(np.asarray(points, float), (len(x), len(points), 2))


def bicycle(*, x, feet, h, direction, phase, look) -> tuple[Shape, ...]:
    """A cyclist; the pedals turn with `phase`."""
    metal, tyre = look["pack"], look["trousers"]
    crank = np.stack([0.02 + 0.08 * np.sin(phase), -0.2 + 0.08 * np.cos(phase)], -1)
    seat, bars, pedal = fixed([(-0.1, -0.52)], x), fixed([(0.24, -0.48)], x), fixed([(0.02, -0.2)], x)
    legs = []
    for foot in (2 * pedal[:, 0] - crank, crank):
        middle = (seat[:, 0] + foot) / 2 + [0.14, -0.03]
        legs.append(np.stack([seat[:, 0], middle, foot], 1))
    shoulder = fixed([(0.08, -0.86)], x)
    strokes = [("line", legs[0], look["trousers"] + 12, 0.08, 0),
               ("ring", fixed([(-0.32, -0.2)], x), tyre, 0.055, 0.19), ("ring", fixed([(0.33, -0.2)], x), tyre, 0.055, 0.19),
               ("line", fixed([(-0.32, -0.2), (-0.12, -0.46), (0.22, -0.44), (0.02, -0.2), (-0.32, -0.2)], x), metal, 0.05, 0),
               ("line", fixed([(0.33, -0.2), (0.22, -0.5)], x), metal, 0.05, 0),
               ("line", legs[1], look["trousers"], 0.085, 0),
               ("line", np.concatenate([seat + [0, -0.02], shoulder], 1), look["coat"], 0.16 * look["stout"], 0),
               ("line", np.concatenate([shoulder, bars], 1), look["coat"], 0.06, 0),
               ("disc", shoulder + [0.06, -0.11], look["skin"], 0, 0.07), ("disc", shoulder + [0.04, -0.135], look["hair"], 0, 0.06)]
    return tuple(placed(form, points, tone, x, feet, h, direction, width=w, radius=r) for form, points, tone, w, r in strokes)


def cart(*, x, feet, h, direction, look) -> tuple[Shape, ...]:
    """A small open vehicle with a roof and a driver."""
    body, dark = look["coat"], look["trousers"]
    strokes = [("line", fixed([(-0.05, -0.35), (0.0, -0.72)], x), look["pack"], 0.17, 0),
               ("disc", fixed([(0.03, -0.83)], x), look["skin"], 0, 0.07),
               ("polygon", fixed([(-0.75, -0.16), (-0.75, -0.5), (-0.2, -0.5), (-0.15, -0.3), (0.3, -0.3), (0.35, -0.55),
                                  (0.62, -0.48), (0.72, -0.16)], x), body, 0, 0),
               ("line", fixed([(-0.62, -0.5), (-0.6, -1.0), (0.36, -1.0), (0.46, -0.52)], x), dark, 0.055, 0),
               ("line", fixed([(-0.62, -1.02), (0.38, -1.02)], x), body, 0.09, 0),
               ("disc", fixed([(-0.48, -0.14)], x), dark, 0, 0.15), ("disc", fixed([(0.46, -0.14)], x), dark, 0, 0.15)]
    return tuple(placed(form, points, tone, x, feet, h, direction, width=w, radius=r) for form, points, tone, w, r in strokes)


# -- what happens in a clip -------------------------------------------------------------------------------------------

def way(feet: float) -> int:
    """The direction of the half of the walkway: -1 to the left, 1 to the right."""
    return -1 if feet < DIVIDE else 1


def clock(pace, before, h, t):
    """The way made (T,) at relative times `t`: `before` at 0, at pace[0] until then, at pace[1] afterwards."""
    return before + h * np.where(t < 0, pace[0], pace[1]) * t


def walk(rng, *, made, feet, h, direction, aspect, look, run=None, lift=None, reach=None, kind="walking", abnormal=None):
    """A person who has made the way `made` (T,) since the middle entered the picture."""
    still = np.zeros_like(made)
    run, lift, reach = (still if value is None else value for value in (run, lift, reach))
    cycles = np.diff(made, prepend=made[:1]) / (h * (WALK_STRIDE + (RUN_STRIDE - WALK_STRIDE) * run))
    phase = 2 * np.pi * (rng.random() + np.cumsum(cycles))       # follows the way, so that feet do not slide
    x = made if direction > 0 else aspect - made
    shapes = person(x=x, feet=feet, h=h, direction=direction, phase=phase, run=run, lift=lift, reach=reach, look=look)
    return Actor(feet, x, shapes, kind, abnormal)


def crowd(rng, *, times, aspect, free) -> list[Actor]:
    """Normal walkers on all lanes but `free`. How many there are rises and falls; nobody overtakes in a lane."""
    actors = []
    warm = int(aspect / (WALK[0] * body_height(LANES[0]))) + 1   # the slowest crossing: the picture is never empty at first
    moments = np.arange(-warm, len(times))
    tide, shift = rng.uniform(60, 160), rng.random()
    for lane in LANES:
        pace, last = rng.uniform(*WALK), -np.inf
        rate = RATE * (1 + 0.9 * np.sin(2 * np.pi * (moments / tide + shift)))
        for enters in moments[rng.random(len(moments)) < rate]:
            feet = lane + rng.uniform(-0.012, 0.012)
            h = body_height(feet) * rng.uniform(0.92, 1.08)
            own = np.clip(pace * rng.uniform(0.96, 1.04), *WALK)
            if lane == free or enters - last < HEADWAY / pace:
                continue
            last = enters
            actors.append(walk(rng, made=h * own * (times - enters) - 0.15, feet=feet, h=h, direction=way(lane), aspect=aspect,
                               look=clothes(rng)))
    return actors


def anomaly(rng, kind, *, times, aspect, phase, feet) -> list[Actor]:
    """The actors of one kind of anomaly. It comes again and again, normal for a while between two turns; `phase` in
    [0, 1) says where in that period the clip starts, so that no place in a clip is likelier than another."""
    h, direction = body_height(feet), way(feet) * (-1 if kind == "wrong_way" else 1)
    usual = rng.uniform(0.085, WALK[1])
    pace = (usual, rng.uniform(*RUN) if kind == "running" else usual)
    before = {"running": rng.choice([0.0, 0.25]), "jumping": 0.15}.get(kind, 0.0) * aspect
    span = 0.7 * aspect if kind == "jumping" else aspect - before
    lasts = span / (h * pace[1])
    period = lasts / ABNORMAL_SHARE
    actors = []
    for start in np.arange(phase - 3, len(times) / period + 1) * period:
        t = times - start
        made = clock(pace, before, h, t)
        during = (t >= 0) & (t < lasts)
        person_ = dict(feet=feet, h=h, direction=direction, aspect=aspect, kind=kind, abnormal=during)
        x = made if direction > 0 else aspect - made
        look = clothes(rng)
        if kind == "running":
            actors.append(walk(rng, made=made, run=during * 1.0, look=look, **person_))
        elif kind == "jumping":
            hop = (t % 10) / 7                                   # seven frames in the air, three on the ground
            actors.append(walk(rng, made=made, lift=during * h * np.clip(1.6 * hop * (1 - hop), 0, None), look=look, **person_))
        elif kind == "wrong_way":
            actors.append(walk(rng, made=made, look=look, **person_))
        elif kind == "bag":
            actors += throwers(rng, made=made, t=t, **person_)
        elif kind == "bicycle":
            shapes = bicycle(x=x, feet=feet, h=h, direction=direction, phase=made / h * 4, look=look)
            actors.append(Actor(feet, x, shapes, kind, during))
        else:
            actors.append(Actor(feet, x, cart(x=x, feet=feet, h=h, direction=direction, look=look), kind, during))
        if kind != "jumping":                                    # when it has gone, somebody else walks there
            for number in range(2 if kind in ("cart", "bag") else 1):
                behind = h * usual * (t - lasts * 1.05) - 0.9 * h * number
                actors.append(walk(rng, made=behind, feet=feet, h=h, direction=way(feet), aspect=aspect, look=clothes(rng)))
    return actors


def throwers(rng, *, made, t, feet, h, direction, aspect, kind, abnormal) -> list[Actor]:
    """Two walkers, one behind the other, and the bag between them: eleven frames in the air, two in the hand."""
    gap = 1.3 * h
    turn, into = np.divmod(t, 13)
    flight = np.clip(into / 11, 0, 1)
    along = np.where(turn % 2 == 0, flight, 1 - flight)          # 0: with the one behind, 1: with the one in front
    middle = made + gap * (along - 0.5)
    up = h * (0.55 + 2.4 * flight * (1 - flight))
    bag_x = middle if direction > 0 else aspect - middle
    look = clothes(rng)
    box = np.array([(-0.17, -0.08), (0.17, -0.08), (0.17, 0.1), (0.06, 0.1), (0.04, 0.16), (-0.04, 0.16), (-0.06, 0.1), (-0.17, 0.1)])
    turned = 0.5 * np.sin(2 * np.pi * flight)[:, None]           # it tumbles
    points = np.stack([box[:, 0] * np.cos(turned) - box[:, 1] * np.sin(turned),
                       -box[:, 0] * np.sin(turned) - box[:, 1] * np.cos(turned)], -1) - [[[0, 1]]] * (up / h)[:, None, None]
    bag = Actor(feet + 1e-3, bag_x, (placed("polygon", points, look["coat"], bag_x, feet, h, direction),), kind, abnormal)
    actors = []
    for place, side in ((-0.5, 1), (0.5, -1)):
        near = np.clip(1.5 - 3 * np.abs(along - 0.5 - place), 0, 1)
        actors.append(walk(rng, made=made + gap * place, feet=feet, h=h, direction=direction, aspect=aspect,
                           look=clothes(rng), reach=side * near))
    return [*actors, bag]


# -- from actors to frames --------------------------------------------------------------------------------------------

def background(rng, *, height, width) -> np.ndarray:
    """The scene without people, (height, width) uint8: a wall, a hedge, grass, and the walkway's two halves."""
    def texture(grain, strength):
        small = rng.standard_normal((max(2, round(height / grain / height * 64)), max(2, round(width / grain / height * 64))))
        return strength * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    y = (np.arange(height) / height)[:, None] + np.zeros((1, width))
    x = (np.arange(width) / height)[None] + np.zeros((height, 1))
    scene = np.where(y < 0.10, 88.0 + texture(6, 3), np.where(y < 0.19, 50 + texture(1, 10), 78 + texture(1, 5)))
    far, near = 146 + texture(8, 4) + texture(1, 2.5), 136 + texture(8, 4) + texture(1, 3.5)
    scene = np.where(y > KERB, np.where(y < DIVIDE, far, near), scene)
    scene[np.abs(y - KERB) < 0.008] = 160
    scene[np.abs(y - DIVIDE) < 0.01] = 112
    vanish = (x[0, -1] / 2, -0.3)                                # joints of the slabs run to a point above the picture
    slabs = (x - vanish[0]) / (y - vanish[1]) * 5
    joint = (np.abs(slabs - np.round(slabs)) < 0.035 / (y + 0.3)) & (y > KERB) & (y < DIVIDE)
    scene[joint] -= 12
    scene[(np.abs(y - 0.5) < 0.006)] -= 14
    for post in (0.18, 0.71):                                    # lamp posts behind the walkway
        scene[(np.abs(x - post * x[0, -1]) < 0.008) & (y > 0.03) & (y < KERB)] = 50
    return np.clip(scene, 0, 255).astype(np.uint8)


def draw(canvas, shape: Shape, frame: int, *, scale: float, offset, tone=None) -> None:
    """One shape of one frame, in pixels of `canvas`."""
    points = np.rint((shape.points[frame] * scale + offset) * 2 ** SHIFT).astype(np.int32)
    tone = shape.tone if tone is None else tone
    thickness = max(1, round(shape.width * scale))
    if shape.form == "line":
        cv2.polylines(canvas, [points], False, tone, thickness, cv2.LINE_8, SHIFT)
    elif shape.form == "polygon":
        cv2.fillPoly(canvas, [points], tone, cv2.LINE_8, SHIFT)
    else:
        cv2.circle(canvas, points[0], round(shape.radius * scale * 2 ** SHIFT), tone,
                   thickness if shape.form == "ring" else -1, cv2.LINE_8, SHIFT)


def wander(rng, *, frames, spread, memory) -> np.ndarray:
    """A random walk that is drawn back to 0, (frames,): for light and shake."""
    value, values = rng.standard_normal() * spread, np.empty(frames)
    for frame in range(frames):
        value = memory * value + np.sqrt(1 - memory ** 2) * spread * rng.standard_normal()
        values[frame] = value
    return values


def render(rng, actors, scene, *, margin, oversample, height, width):
    """Frames (T, height, width) uint8, and for each actor with an anomaly its mask (T, height, width) bool."""
    frames = len(actors[0].x)
    light = 1 + wander(rng, frames=frames, spread=0.03, memory=0.97)
    shake = np.rint(np.stack([wander(rng, frames=frames, spread=SHAKE * height * oversample, memory=0.6) for _ in "xy"], -1))
    shake = np.clip(shake, -margin, margin).astype(int)
    scale, size = height * oversample, (height * oversample, width * oversample)
    ordered = sorted(actors, key=lambda actor: actor.feet)
    film = np.empty((frames, height, width), np.float32)
    masks = [np.zeros((frames, height, width), bool) for actor in actors if actor.abnormal is not None]
    reach = 1.2 * body_height(1.0)
    for frame in range(frames):
        dx, dy = shake[frame]
        canvas = scene[margin - dy:margin - dy + size[0], margin - dx:margin - dx + size[1]].copy()
        for actor in ordered:
            if -reach < actor.x[frame] < width / height + reach:
                shade(canvas, actor, frame, scale, (dx, dy))
                for shape in actor.shapes:
                    draw(canvas, shape, frame, scale=scale, offset=(dx, dy))
        film[frame] = shrink(canvas, oversample)
        for mask, actor in zip(masks, (actor for actor in actors if actor.abnormal is not None)):
            if actor.abnormal[frame] and 0 <= actor.x[frame] < width / height:
                alone = np.zeros(size, np.uint8)
                for shape in actor.shapes:
                    draw(alone, shape, frame, scale=scale, offset=(dx, dy), tone=255)
                mask[frame] = shrink(alone, oversample) >= 64    # a quarter of the pixel
    noise = NOISE * rng.standard_normal(film.shape, dtype=np.float32)
    film = np.clip(np.rint(film * light[:, None, None] + noise), 0, 255).astype(np.uint8)
    return film, masks


def shade(canvas, actor: Actor, frame: int, scale: float, offset) -> None:
    """The soft shadow on the ground, which stays there when somebody jumps."""
    h = body_height(actor.feet)
    length = 0.7 * h if actor.kind == "cart" else 0.18 * h
    left, right = ((actor.x[frame] + side * length) * scale + offset[0] for side in (-1, 1))
    top, bottom = ((actor.feet + side * 0.035 * h) * scale + offset[1] for side in (-1, 1))
    patch = canvas[max(0, round(top)):max(0, round(bottom)), max(0, round(left)):max(0, round(right))]
    patch[...] = patch * 0.8


def shrink(canvas, oversample: int) -> np.ndarray:
    """The mean over squares of side `oversample`."""
    height, width = (side // oversample for side in canvas.shape)
    sums = canvas.reshape(height, oversample, width, oversample).sum((1, 3), dtype=np.uint32)
    return sums / np.float32(oversample ** 2)


# -- the files --------------------------------------------------------------------------------------------------------

def clip(seed: int, split: str, number: int, *, kind, phase, scene, margin, oversample, frames, height, width):
    """One clip: frames (T, H, W) uint8 and a list of (kind, mask (T, H, W) bool), one for each anomalous object."""
    rng = np.random.default_rng([seed, ("Train", "Test").index(split) + 1, number])
    times, aspect = np.arange(frames), width / height
    lane = rng.choice(LANES)
    if kind == "normal":
        actors = crowd(rng, times=times, aspect=aspect, free=None)
    else:
        actors = crowd(rng, times=times, aspect=aspect, free=lane)
        actors += anomaly(rng, kind, times=times, aspect=aspect, phase=phase, feet=lane)
    film, masks = render(rng, actors, scene, margin=margin, oversample=oversample, height=height, width=width)
    return film, [(kind, mask) for mask in masks if mask.any()]


def generate(folder: Path, *, seed: int, train_clips: int, test_clips: int, clip_frames: int, height: int, width: int) -> Path:
    """Write the data set into `folder` and return it.

    The same parameters give the same bytes. A folder that already holds these parameters (`generator.json`, which also
    holds a hash of this module) is left alone; one that this module wrote with others is replaced; anything else is
    refused. The new folder appears in one step, at the end.

    Raises SyntheticError for parameters that make no data set and for a folder that is not ours.
    """
    folder = Path(folder)
    least = {"seed": (seed, 0), "train_clips": (train_clips, 1), "test_clips": (test_clips, 1),
             "clip_frames": (clip_frames, 2), "height": (height, 32), "width": (width, height)}
    for name, (value, lowest) in least.items():
        if value < lowest:
            raise SyntheticError(f"{name} is {value}; the generated data set needs at least {lowest}")
    parameters = {name: int(value) for name, (value, _) in least.items()}
    parameters["code"] = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    note = folder / "generator.json"
    if folder.exists():
        if not note.is_file() and any(folder.iterdir()):
            raise SyntheticError(f"{folder} holds files that were not generated here; name another folder or remove it")
        if note.is_file() and json.loads(note.read_text()) == parameters:
            return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial, folder.name, **{name: parameters[name] for name in least})
    (partial / note.name).write_text(json.dumps(parameters, indent=1) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return folder


def write(folder: Path, name: str, *, seed, train_clips, test_clips, clip_frames, height, width) -> None:
    """All files but generator.json."""
    rng = np.random.default_rng([seed, 0])
    oversample = max(2, round(256 / height))
    margin = 2 * oversample
    scene = background(rng, height=height * oversample + 2 * margin, width=width * oversample + 2 * margin)
    # the phases of the anomalies are spread evenly over their period, in random order
    phases = (rng.permutation(test_clips) + rng.random(test_clips)) / test_clips
    size = dict(scene=scene, margin=margin, oversample=oversample, frames=clip_frames, height=height, width=width)
    for number in range(1, train_clips + 1):
        film, _ = clip(seed, "Train", number, kind="normal", phase=0.0, **size)
        save(folder / "Train" / f"Train{number:03d}", film, "tif")
    lines, rows = ["TestVideoFile = {};"], []
    for number in range(1, test_clips + 1):
        film, objects = clip(seed, "Test", number, kind=KINDS[(number - 1) % len(KINDS)], phase=phases[number - 1], **size)
        mask = np.any([mask for _, mask in objects] or [np.zeros(film.shape, bool)], axis=0)
        save(folder / "Test" / f"Test{number:03d}", film, "tif")
        save(folder / "Test" / f"Test{number:03d}_gt", mask.astype(np.uint8) * 255, "bmp")
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{ranges(mask.any((1, 2)))}];")
        for track, (kind, silhouette) in enumerate(objects):
            for frame in np.flatnonzero(silhouette.any((1, 2))):
                y, x = np.nonzero(silhouette[frame])
                rows.append((f"Test{number:03d}", frame, track, kind, x.min(), y.min(), x.max() + 1, y.max() + 1))
    (folder / "Test" / f"{name}.m").write_text("\n".join(lines) + "\n")
    with (folder / "Test" / "tracks.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("clip", "frame", "track", "kind", "x0", "y0", "x1", "y1"))
        table.writerows(rows)


def save(folder: Path, images, suffix: str) -> None:
    """One file a frame, numbered from 001."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images, start=1):
        cv2.imwrite(str(folder / f"{number:03d}.{suffix}"), image)


def ranges(labels) -> str:
    """Abnormal frames as UCSD's label file writes them: 1-based, inclusive, "1:20, 95:120"."""
    edges = np.flatnonzero(np.diff(labels.astype(int), prepend=0, append=0))
    return ", ".join(f"{first + 1}:{last}" for first, last in edges.reshape(-1, 2))
