"""Planes, surfaces and their numbers: what a contour shows is the loss of real networks."""

from dataclasses import replace

import loss_landscapes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loss_landscapes.metrics.sl_metrics import Loss
from sklearn.decomposition import PCA
from torch import nn

from benchmarks.surfaces import bench_surface, random_plane
from lthpaper import data, networks
from lthpaper.errors import InputError
from lthpaper.measures.batch_norm import estimate_statistics
from lthpaper.measures.folding import fold
from lthpaper.measures.planes import (
    Plane,
    Sample,
    filter_lengths,
    moving_weights,
    trajectory_plane,
)
from lthpaper.measures.refinement import FLOOR
from lthpaper.measures.ruggedness import basin_area, basin_share, non_convexity, roughness
from lthpaper.measures.surfaces import Evaluator, losses, sample, surface
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_omp
from lthpaper.runs.task import Task
from lthpaper.training.loop import train
from lthpaper.training.result import Trained, Weights
from lthpaper.training.start import initial_weights

EPOCHS = 4


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A pruned ResNet-8 (s = 0.8) with a snapshot after every epoch."""
    dense = Run(Task("resnet8", "digits", train_images=100), Recipe(epochs=EPOCHS, lr=0.05, milestones=(3,)))
    run = lt_omp(dense, 0.8)
    digits = data.load("digits", train_images=100)
    parent = next(train([dense], digits))
    return next(
        train([run], digits, lambda r, e: (parent.weights, None), keep={run: frozenset(range(EPOCHS + 1))})
    )


@pytest.fixture(scope="module")
def snapshots(trained: Trained) -> list[Weights]:
    return [trained.snapshots[epoch] for epoch in range(EPOCHS + 1)]


def moving(weights: Weights) -> tuple[str, ...]:
    shape = Task("resnet8", "digits").shape
    return moving_weights(weights, [n for n, _ in networks.skeleton(**shape).named_parameters()])


@pytest.fixture(scope="module")
def plane(trained: Trained, snapshots: list[Weights]) -> Plane:
    return trajectory_plane(snapshots, moving(trained.weights), trained.mask)


@pytest.fixture(scope="module")
def images() -> Sample:
    return sample(data.load("digits", train_images=100), 60)


@pytest.fixture(scope="module")
def evaluate(trained: Trained, plane: Plane, images: Sample) -> Evaluator:
    return Evaluator(trained.run.task, plane, images)


def plain_loss(task: Task, weights: Weights, images: Sample) -> float:
    """The ordinary nn.Module in evaluation mode, float64: nothing of what is tested."""
    with torch.no_grad():
        logits = networks.loaded(weights, **task.shape).double().eval()(images.images)
    return float(F.cross_entropy(logits, images.labels))


def flat(weights: Weights, names: tuple[str, ...]) -> np.ndarray:
    return torch.cat([weights[n].double().flatten() for n in names]).numpy()


def projected(plane: Plane, weights: Weights) -> tuple[float, float, float]:
    """(x, y, distance off the plane) of the plane's point nearest to weights."""
    axes = np.stack([flat(plane.u, plane.names), flat(plane.v, plane.names)])
    difference = flat(weights, plane.names) - flat(plane.origin, plane.names)
    x, y = np.linalg.lstsq(axes.T, difference)[0]
    return float(x), float(y), float(np.linalg.norm(difference - (x, y) @ axes))


def window(plane: Plane, points: int) -> list[np.ndarray]:
    """x and y, (points,) each, of a square that holds the trajectory."""
    low, high = plane.coordinates.min(0), plane.coordinates.max(0)
    half = 0.75 * (high - low).max()
    return [np.linspace(centre - half, centre + half, points) for centre in (low + high) / 2]


def test_the_directions_are_the_trajectorys_principal_components(plane: Plane, snapshots: list[Weights]):
    matrix = np.stack([flat(s, plane.names) for s in snapshots])
    theirs = PCA(n_components=2, svd_solver="full").fit(matrix)
    ours = np.stack([flat(plane.u, plane.names), flat(plane.v, plane.names)])
    np.testing.assert_allclose(np.abs((ours * theirs.components_).sum(1)), 1, atol=1e-9)
    np.testing.assert_allclose(ours @ ours.T, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(plane.explained, theirs.explained_variance_ratio_, rtol=1e-9)


def test_a_trajectory_ends_at_the_origin_and_starts_left_of_it(plane: Plane):
    np.testing.assert_array_equal(plane.coordinates[-1], 0)
    assert plane.coordinates[0, 0] < 0
    assert plane.distance[-1] == plane.off_plane[-1] == 0
    inside = np.hypot(*plane.coordinates.T)
    np.testing.assert_allclose(np.hypot(inside, plane.off_plane), plane.distance, rtol=1e-6)


def test_a_snapshots_projection_is_its_nearest_point_on_the_plane(plane: Plane, snapshots: list[Weights]):
    for snapshot, place, off in zip(snapshots, plane.coordinates, plane.off_plane, strict=True):
        x, y, distance = projected(plane, snapshot)
        np.testing.assert_allclose((x, y), place, atol=1e-9)
        np.testing.assert_allclose(distance, off, atol=1e-6)


def test_the_contours_loss_at_a_trajectory_point_is_that_of_the_snapshots_projection(
    trained: Trained, plane: Plane, snapshots: list[Weights], images: Sample, evaluate: Evaluator
):
    assert evaluate.not_stacked == ""
    drawn = losses(evaluate, plane.coordinates, quiet=True)
    for snapshot, loss in zip(snapshots, drawn, strict=True):
        nearest = plane.at(*projected(plane, snapshot)[:2])
        assert loss == pytest.approx(plain_loss(trained.run.task, nearest, images), rel=1e-5)
    assert np.ptp(drawn) > 0.05  # the points do differ


def test_a_snapshot_on_the_plane_has_its_own_loss_with_the_last_batch_norm(
    trained: Trained, images: Sample, snapshots: list[Weights]
):
    three = [snapshots[0], snapshots[2], snapshots[-1]]  # three points span the plane they lie on
    plane = trajectory_plane(three, moving(trained.weights))
    np.testing.assert_allclose(plane.off_plane, 0, atol=1e-6)
    drawn = losses(Evaluator(trained.run.task, plane, images), plane.coordinates, quiet=True)
    for snapshot, loss in zip(three, drawn, strict=True):
        mixed = {n: snapshot[n] if n in plane.names else w for n, w in trained.weights.items()}
        assert loss == pytest.approx(plain_loss(trained.run.task, mixed, images), rel=1e-5)


def test_pruned_weights_biases_and_batch_norm_never_move(trained: Trained, plane: Plane):
    weights = plane.at(0.7, -0.4)
    for name, mask in trained.mask.items():
        assert not weights[name][~mask].any()
        assert (weights[name][mask] != trained.weights[name][mask]).any()
    still = set(weights) - set(plane.names)
    assert any("bn" in n for n in still)
    assert "fc.bias" in still
    assert all(torch.equal(weights[n], trained.weights[n]) for n in still)


def test_a_random_directions_filters_have_the_norms_of_the_weights_filters(trained: Trained):
    names = moving(trained.weights)
    plane = random_plane(trained.weights, names, torch.Generator().manual_seed(0))
    for direction in (plane.u, plane.v):
        for n in names:
            own, theirs = (w.double().flatten(1).norm(dim=1) for w in (direction[n], trained.weights[n]))
            torch.testing.assert_close(own, theirs)
    assert any((plane.u[n] < 0).any() for n in names)  # Gaussian, not uniform on [0, 1]
    assert filter_lengths(plane) == pytest.approx((1, 1))


def test_scaling_one_layer_or_one_filter_changes_no_length_by_filter(plane: Plane):
    scale = {
        n: torch.rand(len(plane.u[n]), generator=torch.Generator().manual_seed(2)) + 0.5 for n in plane.names
    }

    def scaled(weights):
        return {
            n: w * scale[n].view(-1, *[1] * (w.ndim - 1)) if n in scale else w for n, w in weights.items()
        }

    other = replace(plane, origin=scaled(plane.origin), u=scaled(plane.u), v=scaled(plane.v))
    assert filter_lengths(other) == pytest.approx(filter_lengths(plane), rel=1e-5)
    assert all(length > 0 for length in filter_lengths(plane))


def test_batch_norm_folds_exactly():
    network = networks.build_seeded(0, name="resnet8", num_classes=10, in_channels=1, size=8).double()
    x = torch.randn(40, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(-2, 2)
                layer.bias.uniform_(-1, 1)
        network.train()(x)  # gives the statistics
        folded, factors = fold(network)
        expected = network.eval()(x)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert len(factors) == sum(isinstance(m, nn.Conv2d) for m in network.modules())
    torch.testing.assert_close(folded(x), expected, rtol=1e-10, atol=1e-10)


def test_a_batch_norm_that_is_used_elsewhere_or_does_not_follow_a_convolution_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.first = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            out = self.conv(self.first(x))
            return out + self.bn(out)  # the convolution's own output is needed too

    folded, factors = fold(Shared())
    assert factors == {}
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 2


def test_a_points_loss_has_the_same_bits_wherever_it_stands_in_the_list(evaluate: Evaluator):
    points = np.random.default_rng(0).normal(size=(11, 2))
    whole = losses(evaluate, points, workers=2, quiet=True)
    backwards = losses(evaluate, points[::-1], workers=1, quiet=True)[::-1]
    np.testing.assert_array_equal(whole, backwards)


def test_bf16_is_within_two_percent(trained: Trained, plane: Plane, images: Sample, evaluate: Evaluator):
    rough = Evaluator(trained.run.task, plane, images, precision="bf16")
    points = np.stack(np.meshgrid(*window(plane, 4)), -1).reshape(-1, 2)
    exact = losses(evaluate, points, quiet=True)
    found = losses(rough, points, quiet=True)
    np.testing.assert_allclose(found, exact, rtol=0.02)
    assert (found != exact).any()


def test_a_surface_goes_on_where_it_was_stopped(evaluate: Evaluator, plane: Plane, tmp_path):
    x, y = window(plane, 5)
    file = tmp_path / "surface.npz"

    class Stopped(Exception):
        pass

    calls = []

    class Cut:
        """The evaluator, stopped after three packs, then counting."""

        device, pack, not_stacked = evaluate.device, evaluate.pack, ""

        def __call__(self, points):
            calls.append(len(points))
            if len(calls) == 4:
                raise Stopped
            return evaluate(points)

    with pytest.raises(Stopped):
        surface(Cut(), x, y, file, key="a", workers=1, quiet=True)
    resumed = surface(Cut(), x, y, file, key="a", workers=1, quiet=True)
    assert sum(calls) - calls[3] == 25  # no point twice
    np.testing.assert_array_equal(resumed.loss, surface(evaluate, x, y, quiet=True).loss)
    before = len(calls)
    surface(Cut(), x, y, file, key="a", workers=1, quiet=True)
    assert len(calls) == before  # all there
    surface(Cut(), x, y, file, key="another plane", workers=1, quiet=True)
    assert len(calls) > before
    file.write_bytes(b"half a file")
    damaged = surface(evaluate, x, y, file, key="a", quiet=True)
    np.testing.assert_array_equal(damaged.loss, resumed.loss)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_refined_surface_has_the_whole_ones_bits_where_it_is_computed(evaluate: Evaluator, plane: Plane):
    x, y = (np.linspace(axis[0], axis[-1], 17) for axis in window(plane, 2))
    whole = surface(evaluate, x, y, quiet=True)
    found = surface(evaluate, x, y, error=0.02, quiet=True)
    assert found.computed.mean() < 0.9
    np.testing.assert_array_equal(found.loss[found.computed], whole.loss[found.computed])
    errors = np.abs(found.loss - whole.loss) / (whole.loss + FLOOR)
    assert np.quantile(errors, 0.95) < 0.02


def test_rows_are_y_and_columns_x(evaluate: Evaluator, plane: Plane):
    x, y = window(plane, 3)
    grid = surface(evaluate, x, y, quiet=True)
    assert grid.loss[2, 0] == losses(evaluate, np.array([[x[0], y[2]]]), quiet=True)[0]


def test_images_are_the_same_for_every_surface_and_from_the_training_set():
    digits = data.load("digits")
    first, again, other = (sample(digits, 50, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    everything = sample(digits, 10**6)
    assert torch.equal(everything.labels, digits.images.train_labels)


def test_loss_landscapes_gives_the_same_losses_along_a_line(
    trained: Trained, plane: Plane, images: Sample, evaluate: Evaluator
):
    """What that package does rightly; docs/landscapes.md says which of its functions do not."""
    end = plane.coordinates[0]
    ours = losses(evaluate, np.linspace(0, 1, 7)[:, None] * end, quiet=True)
    metric = Loss(F.cross_entropy, images.images.float(), images.labels)
    first, last = (
        networks.loaded(plane.at(*point), **trained.run.task.shape).eval() for point in ((0, 0), end)
    )
    at_start = loss_landscapes.point(first, metric)  # which the line leaves out
    along = loss_landscapes.linear_interpolation(first, last, metric, 6, deepcopy_model=True)
    np.testing.assert_allclose(ours, [at_start, *along], rtol=1e-5)
    assert np.ptp(ours) > 0.05


def test_statistics_are_the_mean_over_the_batches_they_are_given():
    network = nn.Sequential(nn.BatchNorm2d(1))
    batches = [torch.randn(50, 1, 2, 2, generator=torch.Generator().manual_seed(i)) + i for i in (0, 3)]
    estimate_statistics(network, batches)
    assert network[0].running_mean.item() == pytest.approx(np.mean([b.mean() for b in batches]), rel=1e-5)
    assert network[0].running_var.item() == pytest.approx(np.mean([b.var() for b in batches]), rel=1e-5)
    assert not network.training


@pytest.mark.parametrize("size", [4, 5], ids=["4 + 4 + 3", "5 + 5 + 1, which is joined"])
def test_every_image_weighs_the_same_in_the_statistics(size):
    images = torch.randn(11, 2, generator=torch.Generator().manual_seed(0))
    images[-1] += 100
    network = nn.Sequential(nn.BatchNorm1d(2))
    estimate_statistics(network, images.split(size))
    torch.testing.assert_close(network[0].running_mean, images.mean(0))


def test_equal_batches_give_the_bits_of_torchs_own_average():
    """Published barriers were computed with it."""
    images = torch.randn(35, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    ours, torchs = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3, momentum=None)
    estimate_statistics(ours, images.split(5))
    for batch in images.split(5):
        torchs(batch)
    assert torch.equal(ours[0].running_mean, torchs.running_mean)
    assert torch.equal(ours[0].running_var, torchs.running_var)


class Branching(nn.Module):
    """Its forward looks at values, so torch.fx cannot follow it."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        x = self.bn(self.conv(x)).relu().mean((2, 3))
        return self.fc(x if x.sum() > 0 else -x)


def test_a_network_that_cannot_be_stacked_has_the_same_losses(images: Sample):
    task = Task(f"{__name__}:Branching", "digits")
    run = Run(task, Recipe())
    weights = initial_weights(run)
    names = moving_weights(weights, [n for n, _ in networks.skeleton(**task.shape).named_parameters()])
    plane = random_plane(weights, names, torch.Generator().manual_seed(0))
    evaluate = Evaluator(task, plane, images)
    assert evaluate.not_stacked
    found = losses(evaluate, np.array([[0.0, 0.0], [0.3, -0.2]]), quiet=True)
    for point, loss in zip(((0, 0), (0.3, -0.2)), found, strict=True):
        assert loss == pytest.approx(plain_loss(task, plane.at(*point), images), rel=1e-5)


def bowl(n: int = 61, ripple: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x² + 2y² on [-1, 1]², and a ripple of that height."""
    x = y = np.linspace(-1, 1, n)
    gx, gy = np.meshgrid(x, y)
    return x, y, gx**2 + 2 * gy**2 + ripple * np.sin(25 * gx) * np.sin(25 * gy)


def test_a_quadratic_bowl_has_the_area_of_its_ellipse_no_roughness_and_is_convex():
    x, y, loss = bowl()
    ellipse = np.pi * np.sqrt(0.5) * np.sqrt(0.25)  # x² + 2y² ≤ 0.5
    assert basin_area(loss, x, y, 0.5) == pytest.approx(ellipse, rel=0.01)
    assert basin_share(loss, 0.5) == pytest.approx(ellipse / 4, rel=0.01)
    assert basin_share(loss + 7, 0.5) == pytest.approx(basin_share(loss, 0.5))
    assert roughness(loss) == pytest.approx(0, abs=1e-9)
    assert non_convexity(loss) == 0


def test_ripples_are_rough_and_not_convex_and_more_so_the_higher_they_are():
    low, high = bowl(ripple=0.02)[2], bowl(ripple=0.2)[2]
    assert 0 < roughness(low) < roughness(high) < 1
    assert 0 < non_convexity(low) <= non_convexity(high) < 1
    assert roughness(high) == pytest.approx(roughness(5 * high), rel=0.01)  # the loss's scale cancels


def test_a_saddle_and_a_dome_are_nowhere_convex_and_a_plateau_is():
    x, _, _ = bowl()
    gx, gy = np.meshgrid(x, x)
    assert non_convexity(20 * (gx**2 - gy**2)) == 1
    assert non_convexity(-20 * (gx**2 + gy**2)) == 1
    noise = np.random.default_rng(0).normal(size=gx.shape) * 1e-6
    assert non_convexity(noise) == roughness(noise) == 0
    assert basin_share(noise) == 1


def test_losses_that_are_not_finite_lie_outside_the_basin_and_spoil_nothing():
    _, _, loss = bowl()
    whole = basin_share(loss)
    loss[0, :3], loss[-1, -1] = np.inf, np.nan
    assert basin_share(loss) == pytest.approx(whole)
    assert roughness(loss) == pytest.approx(0, abs=1e-9)
    assert non_convexity(loss) == 0
    assert np.isnan([f(np.full((6, 6), np.nan)) for f in (basin_share, roughness, non_convexity)]).all()


def test_bad_requests_are_named(trained: Trained, snapshots: list[Weights], plane: Plane, images: Sample):
    names = moving(trained.weights)
    nan = {n: w * float("nan") if n in names else w for n, w in snapshots[1].items()}
    halfway = {n: (snapshots[0][n] + snapshots[-1][n]) / 2 for n in names}
    with pytest.raises(InputError, match="three snapshots"):
        trajectory_plane(snapshots[:2], names)
    with pytest.raises(InputError, match="diverged"):
        trajectory_plane([snapshots[0], nan, snapshots[-1]], names)
    with pytest.raises(InputError, match="one line"):
        trajectory_plane([snapshots[0], halfway, snapshots[-1]], names)
    with pytest.raises(InputError, match="shape"):
        trajectory_plane(snapshots, names, {names[1]: torch.ones(2, dtype=torch.bool)})
    with pytest.raises(InputError, match="precision"):
        Evaluator(trained.run.task, plane, images, precision="int8")
    with pytest.raises(InputError, match="images"):
        sample(data.load("digits"), 0)
    with pytest.raises(InputError, match="size"):
        bench_surface(["imagenet"])


def test_the_bench_compares_equal_losses(monkeypatch):
    monkeypatch.setattr("benchmarks.surfaces.precisions", lambda device: ("fp32", "bf16"))
    found = bench_surface(["digits"], quick=True)
    rows = found.set_index(["contender", "precision"])
    assert rows.loc[("lthpaper", "fp32"), "largest_difference"] < 1e-5
    assert rows.loc[("lthpaper", "bf16"), "largest_difference"] < 0.05
    assert (found["seconds_a_point"] > 0).all()
    assert set(found["images"]) == {1497}
