"""Value-only tuning where it can be solved: linear attention (Lee, Sohn, Lee 2026, arXiv:2602.23197).

Tokens are z_b = [1; x_b; y_b], b = 1 ... n, and the query z_q = [1; x; 0]. One head, one layer, no softmax:

    yhat = 1 / (n + 1) sum_b (z_q' Q z_b) (v_0 + v'x_b + w y_b)       the sum is over the examples and the query

with Q the merged query-key matrix and (v_0, v, w) the last row of V, the only one that the prediction reads. Data are
x ~ N(0, Sigma), y = theta'x + eps, Var eps = sigma^2. With <a, b> = a'Sigma b and |a|^2 = <a, a>, R(n; theta) is the
mean of (y - yhat)^2 after n examples of task theta, and theta_0 is the task of fine-tuning:

    pretrained, Q_11 = a Sigma^-1, w = 1:
      R = sigma^2 + |theta|^2 [1 - 2an/(n+1) + a^2 n(n+d+1)/(n+1)^2] + a^2 n d sigma^2/(n+1)^2                    (1)
    all weights, zero-shot loss, first family: v = c theta_0, Q_00 = 1/c, Q_11 = 0, any c:
      R = sigma^2 + |theta - theta_0/(n+1)|^2 + n/(n+1)^2 [|theta_0 + (w/c) theta|^2 + (w/c)^2 sigma^2]           (2)
    second family: v_0 = 1/c, Q_x0 = k c theta_0, Q_0x = (1-k) c theta_0, v = 0, Q_11 = 0; at k = 1
      R = sigma^2 + |theta - theta_0|^2 + n/(n+1)^2 (cw)^2 |theta_0|^2 (|theta|^2 + sigma^2)                      (3)
    values alone, Q_11 = a Sigma^-1 frozen; v and w here stand for a v and a w, u = v + w theta:
      R = sigma^2 + |theta|^2 - 2/(n+1) [(d+2)<theta, v> + n<theta, u>]
          + 1/(n+1)^2 [(d+2)(d+4)|v|^2 + 2n(d+2)<v, u> + n(n+d+1)|u|^2 + n d w^2 sigma^2]                         (4)
      the zero-shot loss is least at v = theta_0/(d+4), where R(0; theta_0) = sigma^2 + 2|theta_0|^2/(d+4); w is free
      w*(n, theta) = [n+1 - (n+2d+3) <theta_0, theta> / ((d+4)|theta|^2)] / [n+1+d+d sigma^2/|theta|^2]           (5)

`risk` is R of any Q and V, exact, and `monte_carlo` an estimate of the same that shares no formula with it.

Symbols: Q -> `Weights.q`; (v_0, v, w) -> `Weights.v`; Sigma, sigma^2 -> `Data`. Shapes are of one problem, float64.

Differs from the paper: its theorems were not at hand; the formulas are derived on the model of the released code
(leechungpa/preserve-icl-under-finetuning at 748fbc7), whose parameters are `pretrained`, `first_family` and `values`.
(3) and `risk` are not in it. A zero-shot loss sees Q by z_q'Q z_q alone, so it leaves open how Q_0x + Q_x0 is
shared out (k), the antisymmetric part of Q_11, the column of y, and w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Data:
    """x ~ N(0, Sigma), y = theta'x + eps."""

    covariance: Array
    """Sigma, (d, d), symmetric, positive definite."""
    noise: float = 0.1
    """sigma^2, of eps (Sec. 5)."""

    def __post_init__(self) -> None:
        shape = self.covariance.shape
        if len(shape) != 2 or shape[0] != shape[1] or not np.allclose(self.covariance, self.covariance.T):
            raise ValueError(f"covariance has the shape {shape}; give a symmetric matrix (d, d).")
        if np.linalg.eigvalsh(self.covariance)[0] <= 0:
            raise ValueError("covariance has an eigenvalue that is not above 0; give a positive definite matrix.")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise={self.noise} is a variance; give a finite number that is not negative.")

    @property
    def d(self) -> int:
        """Coordinates of x."""
        return len(self.covariance)

    @cached_property
    def root(self) -> Array:
        """L of Sigma = L L', (d, d): x = L g with g standard normal."""
        return np.linalg.cholesky(self.covariance)

    def dot(self, a: Array, b: Array) -> float:
        """<a, b> = a' Sigma b."""
        return float(a @ self.covariance @ b)


def isotropic(d: int = 5, noise: float = 0.1) -> Data:
    """Sigma = I, as in the paper's experiments."""
    return Data(np.eye(d), noise)


class Weights(NamedTuple):
    """Everything that the prediction reads."""

    q: Array
    """Q, (d+2, d+2): rows are the query's coordinates, columns those of the token it looks at; both 1, x, y."""
    v: Array
    """The last row of V, (d+2,): v_0, v, w."""


class Estimate(NamedTuple):
    """A mean over samples."""

    mean: float
    error: float
    """Standard error of it."""


def pretrained(a: float, data: Data) -> Weights:
    """Of (1): Q_11 = a Sigma^-1, w = 1."""
    return values(np.zeros(data.d), 1.0, data, a)


def first_family(theta_0: Array, c: float, data: Data, w: float = 1.0) -> Weights:
    """Of (2): every score of a query is 1/c, so that a prompt is averaged in place of matched."""
    q, v = _empty(data.d)
    q[0, 0] = 1 / _not_zero(c)
    v[1:-1], v[-1] = c * theta_0, w
    return Weights(q, v)


def second_family(theta_0: Array, c: float, data: Data, w: float = 1.0, k: float = 1.0) -> Weights:
    """Of (3): at k = 1 theta_0 stands in the scores, and the context adds noise alone."""
    q, v = _empty(data.d)
    q[1:-1, 0], q[0, 1:-1] = k * c * theta_0, (1 - k) * c * theta_0
    v[0], v[-1] = 1 / _not_zero(c), w
    return Weights(q, v)


def values(v: Array, w: float, data: Data, a: float = 1.0) -> Weights:
    """Of (4) as trained: Q_11 = a Sigma^-1 and the last row (0, v, w)."""
    q, row = _empty(data.d)
    q[1:-1, 1:-1] = a * np.linalg.inv(data.covariance)
    row[1:-1], row[-1] = v, w
    return Weights(q, row)


def value_optimum(theta_0: Array, data: Data, w: float = 1.0, a: float = 1.0) -> Weights:
    """The least zero-shot loss on theta_0 by values alone: v = theta_0 / (a (d+4)); w is free."""
    return values(theta_0 / (_not_zero(a, "a") * (data.d + 4)), w, data, a)


def flipped(weights: Weights) -> Weights:
    """The twin that predicts the same: both signs turned. Training may end at either."""
    return Weights(-weights.q, -weights.v)


def pretrained_risk(n: int, theta: Array, data: Data, a: float) -> float:
    """(1)."""
    d, norm, tokens = data.d, data.dot(theta, theta), _tokens(n)
    context = 1 - 2 * a * n / tokens + a**2 * n * (n + d + 1) / tokens**2
    return data.noise + norm * context + a**2 * n * d * data.noise / tokens**2


def first_family_risk(n: int, theta: Array, theta_0: Array, data: Data, c: float, w: float = 1.0) -> float:
    """(2); on theta_0 it is sigma^2 at n = 0, and more with any example."""
    tokens, ratio = _tokens(n), w / _not_zero(c)
    bias, spread = theta - theta_0 / tokens, theta_0 + ratio * theta
    scatter = data.dot(spread, spread) + ratio**2 * data.noise
    return data.noise + data.dot(bias, bias) + n / tokens**2 * scatter


def first_family_limit(theta: Array, data: Data) -> float:
    """(2) for n without end: sigma^2 + |theta|^2, as if nothing had been learnt, on theta_0 too."""
    return data.noise + data.dot(theta, theta)


def second_family_risk(
    n: int, theta: Array, theta_0: Array, data: Data, c: float, w: float = 1.0, k: float = 1.0
) -> float:
    """(3) for any k; at k = 1 theta_0 is kept whatever the context, otherwise it shrinks to k theta_0 with n."""
    tokens, cw, rest = _tokens(n), _not_zero(c) * w, (1 - k) ** 2
    bias, norm = theta - (1 + n * k) / tokens * theta_0, data.dot(theta_0, theta_0)
    scatter = (k**2 + rest) * cw**2 * norm * (data.dot(theta, theta) + data.noise) + rest * norm
    shift = rest * (cw * data.dot(theta_0, theta)) ** 2 * n / tokens
    return data.noise + data.dot(bias, bias) + shift + n / tokens**2 * scatter


def value_risk(n: int, theta: Array, v: Array, w: float, data: Data, a: float = 1.0) -> float:
    """(4) of v and w as trained; without a limit in n it goes to sigma^2 + |theta (1 - aw) - av|^2."""
    d, tokens = data.d, _tokens(n)
    v, w = a * v, a * w
    u = v + w * theta
    linear = (d + 2) * data.dot(theta, v) + n * data.dot(theta, u)
    square = (d + 2) * (d + 4) * data.dot(v, v) + 2 * n * (d + 2) * data.dot(v, u) + n * d * w**2 * data.noise
    square += n * (n + d + 1) * data.dot(u, u)
    return data.noise + data.dot(theta, theta) - 2 * linear / tokens + square / tokens**2


def value_limit(theta: Array, v: Array, w: float, data: Data, a: float = 1.0) -> float:
    """(4) for n without end: a bias of order 1/(d+4) is left, and context still counts."""
    rest = theta * (1 - a * w) - a * v
    return data.noise + data.dot(rest, rest)


def value_floor(theta_0: Array, data: Data) -> float:
    """What values alone can reach without examples on theta_0: sigma^2 + 2|theta_0|^2/(d+4)."""
    return data.noise + 2 * data.dot(theta_0, theta_0) / (data.d + 4)


def best_w(n: float, theta: Array, theta_0: Array, data: Data, a: float = 1.0) -> float:
    """(5) over a: the w that is best for n examples of theta after values were tuned on theta_0; n may be infinite."""
    d, norm = data.d, data.dot(theta, theta)
    overlap = data.dot(theta_0, theta) / ((d + 4) * norm)
    if math.isinf(n):
        return (1 - overlap) / a
    return (n + 1 - (n + 2 * d + 3) * overlap) / (n + 1 + d + d * data.noise / norm) / a


def best_a(m: int, data: Data, norm: float = 1.0) -> float:
    """The a of (1) that is best for m examples of tasks with |theta|^2 = `norm`: (m+1)/(m+1+d(1+sigma^2/norm))."""
    return (m + 1) / (m + 1 + data.d * (1 + data.noise / norm))


def released_a(m: int, d: int) -> float:
    """The a of the released code, m/(m+1+d)."""
    return m / (m + 1 + d)


def shots_to_help(a: float, data: Data, norm: float = 1.0) -> float:
    """Below so many examples the pretrained model is better without any: n > a d (1+sigma^2/norm)/(2-a) - 1.

    Raises:
        ValueError: `a` is not in (0, 2), where no number of examples helps.
    """
    if not 0 < a < 2:
        raise ValueError(f"a={a} must lie in (0, 2); beyond, no number of examples helps.")
    return a * data.d * (1 + data.noise / norm) / (2 - a) - 1


def flow_c(theta_0: Array, balance: float) -> float:
    """The c at which gradient flow of the zero-shot loss ends: c^4 |theta_0|_2^2 + balance c^2 - 1 = 0, c > 0.

    The flow keeps ||Q_[1,x]||_F^2 - |(v_0, v)|^2, which is `balance` before and 1/c^2 - c^2 |theta_0|_2^2 after.

    Args:
        theta_0: (d,); the norm is the plain one.
        balance: At the start; a^2 d from `pretrained` with Sigma = I.
    """
    square = float(theta_0 @ theta_0)
    return math.sqrt((math.sqrt(balance**2 + 4 * square) - balance) / (2 * square))


def balance(weights: Weights) -> float:
    """||Q_[1,x]||_F^2 - |(v_0, v)|^2, which gradient flow of the zero-shot loss does not change."""
    return float(np.square(weights.q[:-1, :-1]).sum() - np.square(weights.v[:-1]).sum())


def few_shot_weight(step: int, steps: int) -> float:
    """lambda_t = (T-1-t)/(T-1), from 1 at the first step to 0 at the last: weight of the few-shot loss."""
    if not 0 <= step < steps:
        raise ValueError(f"step={step} must lie in [0, {steps}).")
    return (steps - 1 - step) / (steps - 1) if steps > 1 else 1.0


def risk(weights: Weights, n: int, theta: Array, data: Data) -> float:
    """R(n; theta) of any weights, exact.

    Given the query, the n summands are independent products of two affine functions of Gaussians, and their mean is
    affine in it; the query's own summand is a cubic. What is left are Gaussian moments of up to the sixth order.

    Args:
        weights: Any.
        n: Examples, from 0.
        theta: (d,), of the task.
        data: Law of x and y.
    """
    q, (v0, v, w) = weights.q, (weights.v[0], weights.v[1:-1], weights.v[-1])
    tokens, to_g, spread = _tokens(n), data.root.T, math.sqrt(data.noise)
    # Over standard normals (g, e): the score of an example is alpha + b'(g, e), its value v0 + u'(g, e).
    u = np.append(to_g @ (v + w * theta), spread * w)
    b = np.column_stack([q[:-1, 1:-1] + np.outer(q[:-1, -1], theta), q[:-1, -1]])
    b = np.column_stack([b[:, :-1] @ data.root, spread * b[:, -1]])
    b0, b1 = b[0], to_g @ b[1:]  # b = b0 + b1'g of the query
    alpha0, alpha1 = q[0, 0], to_g @ q[1:-1, 0]
    scatter = np.square(alpha0 * u + v0 * b0).sum() + np.square(np.outer(alpha1, u) + v0 * b1).sum()
    scatter += (u @ u) * (np.square(b0).sum() + np.square(b1).sum()) + (b0 @ u) ** 2 + np.square(b1 @ u).sum()
    # The mean of yhat - theta'x given g is k0 + k1'g + g'Kg + (g'Ag)(h'g).
    linear, slope = to_g @ (q[0, 1:-1] + q[1:-1, 0]), to_g @ v
    square = to_g @ (q[1:-1, 1:-1] + q[1:-1, 1:-1].T) @ data.root / 2
    k0 = (alpha0 * v0 + n * (alpha0 * v0 + b0 @ u)) / tokens
    k1 = (alpha0 * slope + v0 * linear + n * (alpha1 * v0 + b1 @ u)) / tokens - to_g @ theta
    k2 = (v0 * square + (np.outer(linear, slope) + np.outer(slope, linear)) / 2) / tokens
    return float(data.noise + _moment(k0, k1, k2, square, slope / tokens) + n / tokens**2 * scatter)


def predict(weights: Weights, context: Array, query: Array) -> Array:
    """The model's answers, (B,).

    Args:
        weights: Any.
        context: Examples with their 1 and their y, (B, n, d+2).
        query: Queries with their 1 and a 0 for y, (B, d+2).
    """
    return _answers(weights, _grams(context, query), query, context.shape[1])


def monte_carlo(
    weights: Sequence[Weights], n: int, theta: Array, data: Data, *, samples: int = 400_000, seed: int = 0
) -> list[Estimate]:
    """R(n; theta) of several weights on the same samples, by running the model.

    Args:
        weights: Any.
        n: Examples, from 0.
        theta: (d,), of the task.
        data: Law of x and y.
        samples: Prompts, 2 or more; they are drawn 20,000 at a time.
        seed: Of the draw.
    """
    draw, sums, squares = np.random.default_rng(seed), np.zeros(len(weights)), np.zeros(len(weights))
    _tokens(n)
    for begin in range(0, samples, 20_000):
        many = min(20_000, samples - begin)
        x = draw.standard_normal((many, n + 1, data.d)) @ data.root.T
        y = x @ theta + math.sqrt(data.noise) * draw.standard_normal((many, n + 1))
        tokens = np.concatenate([np.ones((many, n + 1, 1)), x, y[..., None]], axis=-1)
        tokens[:, -1, -1] = 0
        grams, query = _grams(tokens[:, :-1], tokens[:, -1]), tokens[:, -1]
        losses = np.stack([np.square(_answers(each, grams, query, n) - y[:, -1]) for each in weights])
        sums += losses.sum(1)
        squares += np.square(losses).sum(1)
    means = sums / samples
    errors = np.sqrt((squares / samples - means**2) / (samples - 1))
    return [Estimate(float(mean), float(error)) for mean, error in zip(means, errors, strict=True)]


def _moment(k0: float, k1: Array, k2: Array, a: Array, h: Array) -> float:
    """E (k0 + k1'g + g'K g + (g'Ag)(h'g))^2 for standard normal g and symmetric K, A."""
    even = (k0 + np.trace(k2)) ** 2 + 2 * np.square(k2).sum()
    trace, ah = np.trace(a), a @ h
    cross = trace * (k1 @ h) + 2 * (k1 @ ah)
    cubic = (h @ h) * (trace**2 + 2 * np.square(a).sum()) + 4 * trace * (h @ ah) + 8 * (ah @ ah)
    return float(even + k1 @ k1 + 2 * cross + cubic)


def _grams(context: Array, query: Array) -> Array:
    """Sum of z z' over a prompt's tokens, (B, d+2, d+2)."""
    return context.transpose(0, 2, 1) @ context + query[:, :, None] * query[:, None, :]


def _answers(weights: Weights, grams: Array, query: Array, n: int) -> Array:
    return ((query @ weights.q) * (grams @ weights.v)).sum(1) / (n + 1)


def _empty(d: int) -> tuple[Array, Array]:
    return np.zeros((d + 2, d + 2)), np.zeros(d + 2)


def _tokens(n: int) -> int:
    if n < 0:
        raise ValueError(f"n={n} examples; give 0 or more.")
    return n + 1


def _not_zero(value: float, name: str = "c") -> float:
    if value == 0:
        raise ValueError(f"{name} is 0, where the optimum does not exist; give any other number.")
    return value
