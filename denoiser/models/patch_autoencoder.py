"""The patch network of `general` and `document`: an MLP-Mixer (Tolstikhin et al., 2021) made an autoencoder.

A plain stack of dense layers over 784 pixels has to learn the same edge once for every place it can be in.
Here every kernel is shared. One Dense layer embeds a window of pixels around each token and another draws
one; as the windows overlap, the two compute what a strided convolution and its transpose compute. Between
them tokens are mixed along the patch, channels within a token. Two things differ from the MLP-Mixer: windows
are larger than tokens, and each group of channels has a linear kernel of its own for mixing tokens.

There is no normalisation layer: with `use_bias=False` the whole network is homogeneous, so that what it
learnt at one noise level holds at others (Mohan et al., "Robust and interpretable blind image denoising via
bias-free convolutional neural networks", ICLR 2020).

With the dtype policy "mixed_bfloat16" the operands of all products are bfloat16. Pixels, the sums of the
residual connections and the output stay float32.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from denoiser._types import PATCH
from denoiser.models.parts import base_config, card_from_text, card_to_text, dense_weights
from denoiser.weights import architectures


def _normal(gain: float, inputs: int) -> Any:
    """Normal start values that multiply the size of a sum of so many inputs by `gain` / sqrt(2), about."""
    return keras.initializers.RandomNormal(stddev=gain * math.sqrt(2.0 / inputs))


def _float32(array: Any) -> Any:
    return ops.cast(array, "float32")


@keras.saving.register_keras_serializable(package="denoiser")
class GroupedDense(keras.layers.Layer):
    """One Dense kernel for each group of channels, along the tokens: (N, tokens, channels) in and out.

    Groups are contiguous channels. `kernel` is (groups, inputs, outputs); there is no bias.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, *, start: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups, self.inputs, self.outputs = groups, inputs, outputs
        self.kernel = self.add_weight(shape=(groups, inputs, outputs), initializer=start, name="kernel")
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Mix (N, inputs, channels) into (N, outputs, channels)."""
        channels = inputs.shape[-1]
        width = channels // self.groups
        # One product a group over all patches: (groups, outputs, inputs) @ (groups, inputs, N * width).
        apart = ops.reshape(inputs, (-1, self.inputs, self.groups, width))
        columns = ops.reshape(ops.transpose(apart, (2, 1, 0, 3)), (self.groups, self.inputs, -1))
        mixed = ops.matmul(ops.transpose(self.kernel, (0, 2, 1)), columns)
        joined = ops.reshape(mixed, (self.groups, self.outputs, -1, width))
        return ops.reshape(ops.transpose(joined, (2, 1, 0, 3)), (-1, self.outputs, channels))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The tokens change, nothing else."""
        return (input_shape[0], self.outputs, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments but the start values, which a saved kernel replaces."""
        sizes = {"groups": self.groups, "inputs": self.inputs, "outputs": self.outputs, "start": "zeros"}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable(package="denoiser")
class MixerBlock(keras.layers.Layer):
    """Mix across tokens, then across channels, and add each to its input: (N, tokens, channels) in and out.

    Tokens are mixed by one linear kernel for each group of channels; with `token_hidden` by two kernels
    around a ReLU. Channels are mixed by two Dense layers around a ReLU. `config` holds the arguments of the
    `PatchAutoencoder`.
    """

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = architectures.validate("PatchAutoencoder", dict(config))
        channels, hidden = config["channels"], config["channel_hidden"]
        # A sum of many branches keeps its size only if each branch starts small.
        small = 0.5 / math.sqrt(config["blocks"])
        for name, (inputs, outputs) in architectures.token_kernels(config).items():
            start = _normal(1.0 if name == "tokens_in" else small, inputs)
            if architectures.shares_token_mixing(config):
                layer = self._dense(name, inputs, outputs, start)
            else:
                layer = GroupedDense(
                    config["groups"], inputs, outputs, start=start, name=name, dtype=self.dtype_policy
                )
            setattr(self, name, layer)
        self.channels_in = self._dense("channels_in", channels, hidden, _normal(1.0, channels))
        self.channels_out = self._dense("channels_out", hidden, channels, _normal(small, hidden))
        self.built = True  # every weight exists: nothing waits for a first input

    def _dense(self, name: str, inputs: int, outputs: int, start: Any) -> Any:
        layer = keras.layers.Dense(
            outputs,
            use_bias=self.config["use_bias"],
            kernel_initializer=start,
            name=name,
            dtype=self.dtype_policy,
        )
        layer.build((None, inputs))
        return layer

    def call(self, inputs: Any) -> Any:
        """Mix (N, tokens, channels), float32."""
        mixed = inputs + _float32(self._across_tokens(inputs))
        return mixed + _float32(self.channels_out(ops.relu(self.channels_in(mixed))))

    def _across_tokens(self, inputs: Any) -> Any:
        if not self.config["token_hidden"]:
            return self.tokens(inputs)
        if not architectures.shares_token_mixing(self.config):
            return self.tokens_out(ops.relu(self.tokens_in(inputs)))
        columns = ops.swapaxes(inputs, 1, 2)
        return ops.swapaxes(self.tokens_out(ops.relu(self.tokens_in(columns))), 1, 2)

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by name, as in `denoiser.weights.architectures.layout`."""
        weights: dict[str, Any] = {}
        for name in (*architectures.token_kernels(self.config), "channels_in", "channels_out"):
            layer = getattr(self, name)
            if isinstance(layer, GroupedDense):
                weights[f"{name}/kernel"] = layer.kernel
            else:
                weights |= dense_weights(name, layer)
        return weights

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output has the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "config": dict(self.config)}


def _pieces(config: dict[str, Any]) -> list[tuple[int, int]]:
    """Cut a window's side into pieces of at most a token: the token each one lies on, and its length."""
    token, window = config["token"], config["window"]
    return [(start // token, min(token, window - start)) for start in range(0, window, token)]


def cut_windows(images: Any, config: dict[str, Any]) -> Any:
    """Cut the window around each token.

    images: (N, 28, 28, planes), zeros around them. Returns (N, tokens, window * window * planes), a window's
    pixels row by row, the planes of a pixel side by side.
    """
    token, planes = config["token"], architectures.planes(config)
    side, before = PATCH // token, architectures.margin(config)
    pieces = _pieces(config)
    cells = side + len(pieces) - 1
    after = cells * token - PATCH - before
    framed = ops.pad(images, ((0, 0), (before, after), (before, after), (0, 0)))
    grid = ops.reshape(framed, (-1, cells, token, cells, token, planes))
    rows = [
        ops.concatenate(
            [grid[:, down : down + side, :high, across : across + side, :wide] for across, wide in pieces],
            axis=4,
        )
        for down, high in pieces
    ]
    windows = ops.transpose(ops.concatenate(rows, axis=2), (0, 1, 3, 2, 4, 5))
    return ops.reshape(windows, (-1, side * side, config["window"] ** 2 * planes))


def add_windows(drawn: Any, config: dict[str, Any]) -> Any:
    """Add up the windows that tokens draw; what lies outside of the patch is dropped.

    drawn: (N, tokens, window * window). Returns (N, 28, 28).
    """
    token, window = config["token"], config["window"]
    side, before = PATCH // token, architectures.margin(config)
    pieces = _pieces(config)
    last = len(pieces) - 1
    windows = ops.transpose(ops.reshape(drawn, (-1, side, side, window, window)), (0, 1, 3, 2, 4))
    total: Any = 0.0
    for down, high in pieces:
        for across, wide in pieces:
            top, left = down * token, across * token
            piece = windows[:, :, top : top + high, :, left : left + wide]
            room = (down, last - down), (0, token - high), (across, last - across), (0, token - wide)
            total = total + ops.pad(piece, ((0, 0), *room))
    full = ops.reshape(total, (-1, (side + last) * token, (side + last) * token))
    inner = slice(before, before + PATCH)
    return full[:, inner, inner]


@keras.saving.register_keras_serializable(package="denoiser")
class PatchEncoder(keras.Model):
    """The first half: patches to latent tokens (N, tokens, channels) and what the decoder needs.

    Patches are (N, 28, 28), with `context` (N, 28, 28, 2).

    Returns `(latent, patches)` for a residual network, `(latent, means)` with means (N, 1, 1) for another
    that centres its input, and `latent` alone for one that does neither.
    """

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = architectures.validate("PatchAutoencoder", dict(config))
        tokens = (PATCH // config["token"]) ** 2
        pixels = architectures.planes(config) * config["window"] ** 2
        self.embed = keras.layers.Dense(
            config["channels"],
            use_bias=False,
            kernel_initializer=_normal(0.7, pixels),
            name="embed",
            dtype=self.dtype_policy,
        )
        self.embed.build((None, pixels))
        self.position = None
        if config["use_bias"]:
            self.position = self.add_weight(
                shape=(tokens, config["channels"]), initializer="zeros", name="position"
            )
        self.blocks = mixer_blocks(config, architectures.encoder_blocks(config["blocks"]), self.dtype_policy)
        self.built = True  # every weight exists: nothing waits for a first input

    def call(self, inputs: Any) -> Any:
        """Encode patches (N, 28, 28), or (N, 28, 28, 2) with their surroundings."""
        config = self.config
        given = ops.reshape(inputs, (-1, PATCH, PATCH, architectures.planes(config)))
        patches = given[..., 0]
        means = ops.mean(patches, axis=(1, 2), keepdims=True)
        signal = (given - means[..., None] if config["center"] else given) * config["gain"]
        latent = _float32(self.embed(cut_windows(signal, config)))
        if self.position is not None:
            latent = latent + self.position
        for block in self.blocks:
            latent = block(latent)
        if config["residual"]:
            return latent, patches
        return (latent, means) if config["center"] else latent

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**base_config(self), "config": dict(self.config)}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchDecoder(keras.Model):
    """The second half: what `PatchEncoder` returns, back to patches (N, 28, 28)."""

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = architectures.validate("PatchAutoencoder", dict(config))
        self.blocks = mixer_blocks(
            config, config["blocks"] - architectures.encoder_blocks(config["blocks"]), self.dtype_policy
        )
        self.draw = keras.layers.Dense(
            config["window"] ** 2,
            use_bias=config["use_bias"],
            # An untrained residual network removes nothing.
            kernel_initializer="zeros" if config["residual"] else "glorot_uniform",
            name="draw",
            dtype=self.dtype_policy,
        )
        self.draw.build((None, config["channels"]))
        self.built = True  # every weight exists: nothing waits for a first input

    def call(self, inputs: Any) -> Any:
        """Decode what the encoder returned."""
        config = self.config
        carries = config["residual"] or config["center"]
        latent, carried = inputs if carries else (inputs, None)
        for block in self.blocks:
            latent = block(latent)
        drawn = add_windows(_float32(self.draw(latent)), config) / config["gain"]
        if config["residual"]:
            return carried - drawn
        return drawn + carried if config["center"] else drawn

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**base_config(self), "config": dict(self.config)}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchAutoencoder(keras.Model):
    """Reconstruct 28x28 patches from tokens mixed by shared dense layers.

    A patch is cut into tokens of `token` x `token` pixels (28 / token a side, row by row). A Dense layer
    embeds the `window` x `window` pixels around each of them, zeros beyond the patch, in `channels` numbers.
    `blocks` blocks mix across tokens, then across channels (hidden width `channel_hidden`, a ReLU), and add
    each result to their input. Tokens are mixed by a linear kernel for each of `groups` groups of
    neighbouring channels; with `token_hidden` above 0 by two kernels of that hidden width around a ReLU. A
    last Dense layer draws a window for each token, and overlapping windows are added up. `encoder` has the
    embedding and the first half of the blocks, `decoder` the rest and the drawing;
    `call(x) = decoder(encoder(x))`, (N, 28, 28) float32 in and out, values about 0..1 and not clipped.

    With `context` above 1 the network also sees its patch's surroundings: the input is (N, 28, 28, 2), the
    second plane being the area `context` times as wide and high around the patch, averaged down to 28x28
    pixels (`denoiser.inference.patches.split` cuts both). The output is (N, 28, 28) all the same.

    `center` takes each patch's mean off before and puts it back after, `gain` scales in between. A `residual`
    network draws what is to be removed, any other the clean patch itself. `use_bias` adds constants to the
    embedded tokens, the channel layers and the drawing (and to the token mixing of version 0.1: one group
    with a hidden layer). Without it, and with `center`, adding to or scaling a patch does the same to its
    reconstruction.

    `card` is the model card, a plain JSON dict that is saved with the model. Raises ValueError for values
    that `denoiser.weights.architectures` doesn't allow, such as groups that don't divide the channels or a
    window that is not the token plus an even number. All weights exist as soon as the model is made.
    """

    mode = "tile"

    def __init__(
        self,
        token: int = 4,
        channels: int = 96,
        blocks: int = 7,
        token_hidden: int = 0,
        channel_hidden: int = 128,
        *,
        window: int = 8,
        groups: int = 12,
        context: int = 1,
        residual: bool = True,
        center: bool = True,
        gain: float = 4.0,
        use_bias: bool = True,
        card: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        config = architectures.validate(
            "PatchAutoencoder",
            {
                "token": token,
                "window": window,
                "groups": groups,
                "context": context,
                "channels": channels,
                "blocks": blocks,
                "token_hidden": token_hidden,
                "channel_hidden": channel_hidden,
                "residual": residual,
                "center": center,
                "gain": gain,
                "use_bias": use_bias,
            },
        )
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self._card_text = card_to_text(card)
        self.encoder = PatchEncoder(config, name="encoder", dtype=self.dtype_policy)
        self.decoder = PatchDecoder(config, name="decoder", dtype=self.dtype_policy)
        self.built = True  # every weight exists: nothing waits for a first input

    @property
    def card(self) -> dict[str, Any]:
        """The model card: a fresh copy, so that changing it changes nothing here."""
        return card_from_text(self._card_text)

    @card.setter
    def card(self, card: dict[str, Any] | None) -> None:
        self._card_text = card_to_text(card)

    def call(self, inputs: Any) -> Any:
        """Reconstruct patches (N, 28, 28), or (N, 28, 28, 2) with their surroundings."""
        return self.decoder(self.encoder(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output is one picture of each patch."""
        return tuple(input_shape)[:3]

    def named_weights(self) -> dict[str, Any]:
        """The variables under the names of `denoiser.weights.architectures.layout`."""
        weights = dense_weights("embed", self.encoder.embed)
        if self.encoder.position is not None:
            weights["position"] = self.encoder.position
        for index, block in enumerate([*self.encoder.blocks, *self.decoder.blocks]):
            weights |= {f"block{index}/{name}": value for name, value in block.named_weights().items()}
        return weights | dense_weights("draw", self.decoder.draw)

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor needs to make this network again, the card included."""
        return {**base_config(self), **self.config, "card": self.card}

    @classmethod
    def from_config(cls, config: dict[str, Any], **_: Any) -> PatchAutoencoder:
        """Make the network that `get_config` described, in this version or in 0.1, with fresh weights."""
        return cls(**architectures.saved("PatchAutoencoder", config))


def mixer_blocks(config: dict[str, Any], count: int, dtype: Any) -> list[Any]:
    """Make one half's blocks."""
    return [MixerBlock(config, name=f"block{index}", dtype=dtype) for index in range(count)]
