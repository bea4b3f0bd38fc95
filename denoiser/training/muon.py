"""Muon (Jordan et al., 2024) for kernels of one or several matrices, and Adam for the rest.

Muon replaces each gradient matrix by the nearest orthogonal one, so that a step moves a kernel in all
directions alike. Keras's own `Muon` leaves every variable that is not two-dimensional to Adam, but the
kernels that mix tokens are (groups, 49, 49).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import keras
from keras import ops

_POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, from https://kellerjordan.github.io/posts/muon/."""

_ITERATIONS = 5
_TINY = 1e-7


class Muon(keras.optimizers.Optimizer):
    """Muon on the last two axes of kernels, Adam on the variables of some layers and on all vectors.

    Args:
        learning_rate: Learning rate of Muon.
        adam_rate: Learning rate of Adam, as a share of Muon's.
        adam_layers: Names of the layers and variables that Adam updates: by default those whose inputs or
            outputs are pixels, and the positions.
        momentum: Nesterov momentum of Muon.
        decay: Decoupled weight decay of the kernels that Muon updates.
        beta_1, beta_2, epsilon: Adam's.
        clip: Largest global norm of the gradients that Adam receives.
        name: Name of the optimizer.
        **kwargs: Passed to `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float = 0.012,
        *,
        adam_rate: float = 1 / 12,
        adam_layers: Collection[str] = ("embed", "position", "draw"),
        momentum: float = 0.95,
        decay: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip: float = 1.0,
        name: str = "muon",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.adam_rate, self.adam_layers = adam_rate, tuple(adam_layers)
        self.momentum, self.decay = momentum, decay
        self.beta_1, self.beta_2, self.epsilon, self.clip = beta_1, beta_2, epsilon, clip

    def build(self, variables: Sequence[Any]) -> None:
        """Create the state: one array for each kernel of Muon, two for each variable of Adam."""
        if self.built:
            return
        super().build(variables)
        self._first = [self.add_variable_from_reference(variable, name="momentum") for variable in variables]
        self._second = [
            self.add_variable_from_reference(variable, name="velocity") if self._adam(variable) else None
            for variable in variables
        ]

    def _adam(self, variable: Any) -> bool:
        """Return True if Adam updates the variable: vectors, and everything in `adam_layers`."""
        return len(variable.shape) < 2 or not set(self.adam_layers).isdisjoint(variable.path.split("/"))

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        """Update the variables; the gradients that go to Adam are clipped to a global norm of their own."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        adam = [
            index
            for index, (gradient, variable) in enumerate(zip(grads, variables, strict=True))
            if gradient is not None and self._adam(variable)
        ]
        clipped = list(grads)
        if adam:
            squares = [ops.sum(ops.square(grads[index])) for index in adam]
            norm = ops.sqrt(sum(squares[1:], squares[0]))
            scale = self.clip / ops.maximum(norm, self.clip)
            for index in adam:
                clipped[index] = grads[index] * scale
        return super().apply(clipped, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        first, second = self._first[index], self._second[index]
        if second is not None:
            self._adam_step(gradient, variable, rate * self.adam_rate, first, second)
            return
        # Nesterov momentum: the gradient counts once in the average and once more in the step.
        self.assign(first, ops.add(ops.multiply(first, self.momentum), gradient))
        direction = orthogonal(ops.add(gradient, ops.multiply(first, self.momentum)))
        # As in Jordan's implementation, matrices that are taller than wide take larger steps.
        rows, columns = variable.shape[-2:]
        direction = ops.multiply(direction, max(1.0, rows / columns) ** 0.5)
        # Decoupled weight decay: it does not go through the momentum.
        change = ops.add(direction, ops.multiply(variable, self.decay))
        self.assign_sub(variable, ops.multiply(rate, change))

    def _adam_step(self, gradient: Any, variable: Any, rate: Any, first: Any, second: Any) -> None:
        """Kingma and Ba, "Adam: a method for stochastic optimization" (2015)."""
        step = ops.cast(self.iterations + 1, variable.dtype)
        unbiased = rate * ops.sqrt(1 - ops.power(self.beta_2, step)) / (1 - ops.power(self.beta_1, step))
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        self.assign_sub(variable, unbiased * first / (ops.sqrt(second) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ["adam_rate", "adam_layers", "momentum", "decay", "beta_1", "beta_2", "epsilon", "clip"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def orthogonal(matrices: Any) -> Any:
    """Return about the nearest orthogonal matrix of each of (..., rows, columns).

    Five Newton-Schulz steps bring the singular values to between 0.7 and 1.2, which is near enough.
    """
    # Work on the wide form: its products of rows with rows are the smaller matrices.
    wide = matrices.shape[-2] <= matrices.shape[-1]
    result = matrices if wide else ops.swapaxes(matrices, -1, -2)
    # Divided by their norm, matrices have singular values of at most 1, for which the iteration converges.
    norm = ops.sqrt(ops.sum(ops.square(result), axis=(-2, -1), keepdims=True))
    result = result / (norm + _TINY)
    one, two, three = _POLYNOMIAL
    for _ in range(_ITERATIONS):
        gram = ops.matmul(result, ops.swapaxes(result, -1, -2))
        result = one * result + ops.matmul(two * gram + three * ops.matmul(gram, gram), result)
    return result if wide else ops.swapaxes(result, -1, -2)
