"""Simulate a webcam: focus, exposure, white balance, shake, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.scenes_canvas import Array, Image, pick


@dataclass(frozen=True)
class Camera:
    """Settings and faults of a camera, the same for all frames of a sequence."""

    exposure: float
    gamma: float
    contrast: float
    saturation: float
    balance: Array
    vignette: float
    blur: float
    """As a share of the image's side, like all lengths."""
    sharpening: float
    noise: float
    """Standard deviation at mid grey, in 0..1."""
    coarse_noise: float
    quality: int
    """Quality of JPEG, or 0 without compression."""
    streak: tuple[float, float]
    """Movement of the image while the shutter is open."""


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera, from a clean one to that of an old laptop in the dark."""
    exposure = (rng.uniform(0.85, 1.15), rng.uniform(0.35, 0.85), rng.uniform(1.15, 1.7))
    moving = rng.random() < 0.15
    return Camera(
        exposure=exposure[pick(rng, 6, 2, 1.5)],
        gamma=rng.uniform(0.65, 1.2),
        contrast=rng.uniform(0.8, 1.15),
        saturation=rng.uniform(0.6, 1.25),
        balance=(1 + rng.normal(0, 0.07, 3)).astype(np.float32),
        vignette=max(0.0, rng.uniform(-0.3, 0.6)),
        blur=rng.uniform(0.001, 0.0035) if rng.random() < 0.8 else rng.uniform(0.0035, 0.008),
        sharpening=max(0.0, rng.uniform(-0.5, 0.8)),
        noise=float(np.clip(rng.exponential(0.012), 0, 0.06)),
        coarse_noise=rng.uniform(0, 0.6),
        quality=int(rng.integers(35, 95)) if rng.random() < 0.4 else 0,
        streak=tuple(rng.normal(0, 0.01, 2).tolist()) if moving else (0.0, 0.0),
    )


def expose(camera: Camera, scene: Image, rng: np.random.Generator) -> Image:
    """Return the camera's image of a scene: (H, W, 3) uint8, with new noise."""
    developed = develop(camera, scene)
    return compressed(noisy(camera, developed, rng), camera.quality)


def develop(camera: Camera, scene: Image) -> Array:
    """Return the image as float32 in 0..1, without noise."""
    size = scene.shape[0]
    image = cv2.GaussianBlur(scene, (0, 0), max(0.3, camera.blur * size))
    image = streaked(image, camera.streak).astype(np.float32) * np.float32(1 / 255)
    if camera.sharpening:
        soft = cv2.GaussianBlur(image, (0, 0), 0.006 * size)
        image = image + camera.sharpening * (image - soft)
    offset = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    corner = 1 - 0.5 * camera.vignette * (offset[:, None] + offset[None])
    image = np.clip(image * (corner[..., None] * camera.exposure * camera.balance), 0, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = grey + (image - grey) * np.float32(camera.saturation)
    image = cv2.pow(np.clip(image, 0, 1), camera.gamma)
    return (image - 0.5) * np.float32(camera.contrast) + 0.5


def noisy(camera: Camera, image: Array, rng: np.random.Generator) -> Image:
    """Add sensor noise, less in the highlights, a part of it in blotches."""
    if camera.noise > 0.001:
        height, width = image.shape[:2]
        grain = rng.standard_normal((height, width, 3), dtype=np.float32)
        blotch = rng.standard_normal((height // 3 + 1, width // 3 + 1, 3), dtype=np.float32)
        coarse = cv2.resize(blotch, (width, height), interpolation=cv2.INTER_LINEAR)
        level = camera.noise * (1.3 - 0.6 * image)
        image = image + level * (grain + camera.coarse_noise * coarse)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def streaked(image: Image, streak: tuple[float, float]) -> Image:
    """Blur along a path, as when the camera or the light is too slow."""
    length = round(float(np.hypot(*streak)) * image.shape[0])
    if length < 2:
        return image
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.uint8)
    across, down = (round(part * image.shape[0] / 2) for part in streak)
    cv2.line(kernel, (length - across, length - down), (length + across, length + down), (255,))
    return cv2.filter2D(image, -1, kernel.astype(np.float32) / kernel.sum())


def compressed(image: Image, quality: int) -> Image:
    """Compress and decompress as JPEG, as most webcams do."""
    if not quality:
        return image
    _, packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    assert unpacked is not None
    return np.ascontiguousarray(unpacked[..., ::-1])


def moved(image: Image, across: float, down: float, turn: float, zoom: float) -> Image:
    """Shift by shares of the side, rotate by radians and zoom about the centre."""
    size = image.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), float(np.degrees(turn)), zoom)
    matrix[:, 2] += (across * size, down * size)
    return cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
