"""The physics: speckle statistics, beam width, shadow, attenuation, display."""

from dataclasses import replace

import numpy as np
import pytest

from sonoseg.phantom.acoustics import (
    Medium,
    Surface,
    Transducer,
    apply_psf,
    beam_sigma_mm,
    display,
    envelope,
    form_image,
    two_way_loss_db,
)

SPACING = (0.2, 0.2)
ONE_LOOK = Transducer(steering_deg=(0.0,), noise_db=-200.0, clutter_db=-200.0, tgc_db_per_cm=0.0)


def homogeneous(height: int = 300, width: int = 300, loss: float = 0.0) -> Medium:
    """A medium of equal scatterers everywhere, 0 dB."""
    return Medium(np.zeros((height, width), np.float32), np.full((height, width), loss, np.float32), SPACING)


def test_speckle_of_one_look_is_rayleigh():
    env = envelope(homogeneous(400, 400), ONE_LOOK, np.random.default_rng(0))
    assert env.mean() / env.std() == pytest.approx(1.913, abs=0.06)  # sqrt(pi / (4 - pi))
    assert np.sqrt(np.mean(env**2)) == pytest.approx(1.0, abs=0.03)  # the PSF keeps the level


def test_compounding_lowers_speckle_contrast_by_the_root_of_the_looks():
    probe = replace(ONE_LOOK, steering_deg=(-6.0, -2.0, 2.0, 6.0))
    env = envelope(homogeneous(), probe, np.random.default_rng(0))
    assert env.mean() / env.std() == pytest.approx(2 * 1.913, rel=0.08)


def test_speckle_level_is_the_same_at_every_depth():
    env = envelope(homogeneous(450, 400), ONE_LOOK, np.random.default_rng(1))
    rms = [np.sqrt(np.mean(part**2)) for part in np.array_split(env, 3)]
    np.testing.assert_allclose(rms, 1.0, atol=0.06)


def test_beam_is_narrowest_at_the_focus():
    depth = np.array([0.0, 30.0, 60.0])
    sigma = beam_sigma_mm(depth, Transducer(focus_mm=30.0, beam_sigma_mm=0.4, beam_growth=0.02))
    np.testing.assert_allclose(sigma, [np.hypot(0.4, 0.6), 0.4, np.hypot(0.4, 0.6)])


@pytest.mark.parametrize("row", [20, 150, 280])
def test_a_point_is_as_wide_as_the_beam_at_its_depth(row):
    probe = replace(ONE_LOOK, focus_mm=30.0, beam_sigma_mm=0.6, beam_growth=0.04)
    field = np.zeros((300, 201), np.complex64)
    field[row, 100] = 1.0
    line = np.abs(apply_psf(field, SPACING, probe))[row]
    x = (np.arange(201) - 100) * SPACING[1]
    measured = np.sqrt(np.sum(line * x**2) / np.sum(line))
    assert measured == pytest.approx(float(beam_sigma_mm(np.array(row * 0.2), probe)), rel=0.08)


def test_a_point_is_as_long_as_the_pulse():
    field = np.zeros((101, 101), np.complex64)
    field[50, 50] = 1.0
    column = np.abs(apply_psf(field, SPACING, replace(ONE_LOOK, pulse_sigma_mm=0.6)))[:, 50]
    z = (np.arange(101) - 50) * SPACING[0]
    assert np.sqrt(np.sum(column * z**2) / np.sum(column)) == pytest.approx(0.6, rel=0.05)


def test_attenuation_adds_up_along_the_beam_and_tgc_undoes_it():
    loss = two_way_loss_db(np.full((200, 100), 0.5, np.float32), SPACING, 0.0, ONE_LOOK)
    assert loss[149, 50] == pytest.approx(150 * 0.2 * 0.5, rel=1e-3)
    env = envelope(homogeneous(loss=0.5), replace(ONE_LOOK, tgc_db_per_cm=5.0), np.random.default_rng(0))
    np.testing.assert_allclose([env[:100].mean(), env[200:].mean()], np.sqrt(np.pi) / 2, atol=0.06)


def test_bone_casts_a_shadow_with_soft_edges():
    medium = homogeneous(300, 300)
    medium.surfaces.append(Surface(100, np.full(100, 20.0), np.zeros(100), block_db=40.0))
    probe = replace(ONE_LOOK, steering_deg=(-6.0, 0.0, 6.0))
    env = envelope(medium, probe, np.random.default_rng(0))
    below = slice(200, 260)
    centre, beside = env[below, 140:160].mean(), env[below, 20:60].mean()
    assert centre < 0.1 * beside
    edge = env[below, 95:106].mean()
    assert centre < edge < beside
    assert env[40:90, 140:160].mean() == pytest.approx(beside, rel=0.1)  # nothing is lost above it


def test_surface_shows_at_its_level_and_depth_and_fades_when_oblique():
    silent = Medium(np.full((200, 200), -200, np.float32), np.zeros((200, 200), np.float32), SPACING)
    silent.surfaces.append(Surface(0, np.full(200, 20.0), np.full(200, -10.0)))
    env = envelope(silent, ONE_LOOK, np.random.default_rng(0))
    assert abs(int(env[:, 100].argmax()) - 100) <= 1
    assert 20 * np.log10(env[100, 40:160].mean()) == pytest.approx(-10.0, abs=2.5)
    silent.surfaces[0] = Surface(0, np.linspace(15.0, 25.0, 200), np.full(200, -10.0), lobe_deg=10.0)
    oblique = envelope(silent, ONE_LOOK, np.random.default_rng(0))
    assert oblique.max() < 0.4 * env.max()


def test_display_maps_0_db_to_white_and_the_dynamic_range_to_black():
    probe = Transducer(dynamic_range_db=60.0, gamma=1.0, display_sigma_px=0.0, despeckle=0.0)
    grey = display(np.array([[10.0, 1.0, 10**-1.5, 1e-3, 0.0]], np.float32), probe)
    np.testing.assert_allclose(grey.astype(int), [[255, 255, 128, 0, 0]], atol=1)  # half of 255 may round either way


def test_image_is_grey_bytes_and_repeatable():
    a = form_image(homogeneous(80, 90), Transducer(), np.random.default_rng(3))
    b = form_image(homogeneous(80, 90), Transducer(), np.random.default_rng(3))
    assert a.dtype == np.uint8 and a.shape == (80, 90)
    np.testing.assert_array_equal(a, b)
