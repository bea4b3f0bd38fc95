"""The patch network of `general` and `document`: an MLP-Mixer (Tolstikhin et al., 2021) as an autoencoder.

A stack of dense layers over 784 pixels has to learn the same edge again at every position. Here all positions
share each kernel. One Dense layer embeds a window of pixels around each token, and another draws one: as the
windows overlap, the two are a strided convolution and its transpose. In between, blocks mix the tokens of the
patch, then the channels of each token. The network differs from the MLP-Mixer in two points: windows are
larger than tokens, and each group of channels has its own linear kernel for mixing tokens.

There are no normalisation layers. With `use_bias=False` the whole network is thus homogeneous, and what it
learns at one noise level holds at others (Mohan et al., "Robust and interpretable blind image denoising via
bias-free convolutional neural networks", ICLR 2020).

With the dtype policy "mixed_bfloat16" the operands of all products are bfloat16. Pixels, the sums of the
residual connections and the output stay float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from denoiser._types import PATCH, Context
from denoiser.models.parts import Network, base_config, dense_weights
from denoiser.weights.architectures import MixerConfig, upgraded


def _as_config(config: MixerConfig | Mapping[str, Any]) -> MixerConfig:
    """Return the config itself, or the config of the arguments that Keras reads from a file."""
    return config if isinstance(config, MixerConfig) else MixerConfig(**config)


def _normal(gain: float, inputs: int) -> Any:
    """Return an initializer: a sum of `inputs` terms grows by about `gain` / sqrt(2)."""
    return keras.initializers.RandomNormal(stddev=gain * math.sqrt(2.0 / inputs))


def _float32(array: Any) -> Any:
    return ops.cast(array, "float32")


@keras.saving.register_keras_serializable(package="denoiser")
class GroupedDense(keras.layers.Layer):
    """Mix tokens with one kernel for each group of neighbouring channels, without biases.

    Input and output are (N, tokens, channels); `kernel` is (groups, inputs, outputs).
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
        # One product per group over all patches: (groups, outputs, inputs) @ (groups, inputs, N * width).
        grouped = ops.reshape(inputs, (-1, self.inputs, self.groups, width))
        columns = ops.reshape(ops.transpose(grouped, (2, 1, 0, 3)), (self.groups, self.inputs, -1))
        mixed = ops.matmul(ops.transpose(self.kernel, (0, 2, 1)), columns)
        # Back to the order of the input: patches, tokens, channels.
        split = ops.reshape(mixed, (self.groups, self.outputs, -1, width))
        return ops.reshape(ops.transpose(split, (2, 1, 0, 3)), (-1, self.outputs, channels))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output: only the number of tokens changes."""
        return (input_shape[0], self.outputs, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without the initializer: a file has the kernel."""
        sizes = {"groups": self.groups, "inputs": self.inputs, "outputs": self.outputs, "start": "zeros"}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable(package="denoiser")
class MixerBlock(keras.layers.Layer):
    """Mix tokens, then channels, and add each result to its input: (N, tokens, channels) in and out.

    Tokens are mixed by one linear kernel for each group of channels, or with `token_hidden` by two kernels
    around a ReLU. Channels are mixed by two Dense layers around a ReLU.
    """

    def __init__(self, config: MixerConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = _as_config(config)
        # A sum of many branches keeps its size only if each branch starts small.
        small = 0.5 / math.sqrt(config.blocks)
        for name, (inputs, outputs) in config.token_kernels.items():
            start = _normal(1.0 if name == "tokens_in" else small, inputs)
            if config.shares_token_mixing:
                layer = self._dense(name, inputs, outputs, start)
            else:
                layer = GroupedDense(
                    config.groups, inputs, outputs, start=start, name=name, dtype=self.dtype_policy
                )
            setattr(self, name, layer)
        for name, (inputs, outputs) in config.channel_kernels.items():
            start = _normal(1.0 if name == "channels_in" else small, inputs)
            setattr(self, name, self._dense(name, inputs, outputs, start))
        self.built = True  # the weights exist already

    def _dense(self, name: str, inputs: int, outputs: int, start: Any) -> Any:
        layer = keras.layers.Dense(
            outputs,
            use_bias=self.config.use_bias,
            kernel_initializer=start,
            name=name,
            dtype=self.dtype_policy,
        )
        layer.build((None, inputs))
        return layer

    def call(self, inputs: Any) -> Any:
        """Mix (N, tokens, channels), float32."""
        mixed = inputs + _float32(self._mix_tokens(inputs))
        return mixed + _float32(self.channels_out(ops.relu(self.channels_in(mixed))))

    def _mix_tokens(self, inputs: Any) -> Any:
        if not self.config.token_hidden:
            return self.tokens(inputs)
        if not self.config.shares_token_mixing:
            return self.tokens_out(ops.relu(self.tokens_in(inputs)))
        # A Dense layer works on the last axis, so the tokens go there and back.
        columns = ops.swapaxes(inputs, 1, 2)
        return ops.swapaxes(self.tokens_out(ops.relu(self.tokens_in(columns))), 1, 2)

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in `denoiser.weights.architectures`."""
        weights: dict[str, Any] = {}
        for name in (*self.config.token_kernels, *self.config.channel_kernels):
            layer = getattr(self, name)
            if isinstance(layer, GroupedDense):
                weights[f"{name}/kernel"] = layer.kernel
            else:
                weights |= dense_weights(name, layer)
        return weights

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, which is that of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "config": self.config.arguments()}


def _pieces(config: MixerConfig) -> list[tuple[int, int]]:
    """Cut a window's side into pieces that each lie on one token: the token, and the piece's length."""
    token, window = config.token, config.window
    return [(start // token, min(token, window - start)) for start in range(0, window, token)]


def cut_windows(images: Any, config: MixerConfig) -> Any:
    """Cut the window around each token.

    images: (N, 28, 28, planes), zeros beyond their edges. Returns (N, tokens, window * window * planes): a
    window's pixels row by row, the planes of a pixel side by side.
    """
    token, side, planes = config.token, config.side, config.planes
    pieces = _pieces(config)
    # Reshape the framed images into a grid of cells as large as a token: a window is then made of pieces of
    # neighbouring cells, and each piece of all windows is one slice of the grid.
    cells = side + len(pieces) - 1
    before, after = config.margin, cells * token - PATCH - config.margin
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
    return ops.reshape(windows, (-1, config.tokens, config.window**2 * planes))


def add_windows(drawn: Any, config: MixerConfig) -> Any:
    """Add up the overlapping windows that tokens draw, without the parts outside of the patch.

    drawn: (N, tokens, window * window). Returns (N, 28, 28).
    """
    token, window, side = config.token, config.window, config.side
    pieces = _pieces(config)
    last = len(pieces) - 1
    windows = ops.transpose(ops.reshape(drawn, (-1, side, side, window, window)), (0, 1, 3, 2, 4))
    # The reverse of `cut_windows`: add each piece of all windows to the cells that it lies on.
    total: Any = 0.0
    for down, high in pieces:
        for across, wide in pieces:
            top, left = down * token, across * token
            piece = windows[:, :, top : top + high, :, left : left + wide]
            padding = (down, last - down), (0, token - high), (across, last - across), (0, token - wide)
            total = total + ops.pad(piece, ((0, 0), *padding))
    framed = ops.reshape(total, (-1, (side + last) * token, (side + last) * token))
    inner = slice(config.margin, config.margin + PATCH)
    return framed[:, inner, inner]


@keras.saving.register_keras_serializable(package="denoiser")
class PatchEncoder(keras.Model):
    """The encoder: patches to latent tokens (N, tokens, channels), and what the decoder adds to its drawing.

    Inputs are (N, 28, 28), or with context (N, 28, 28, planes). Returns `(latent, patches)` if the network is
    residual, else `(latent, means)` with means (N, 1, 1) if it centres its inputs, else `latent`.
    """

    def __init__(self, config: MixerConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = _as_config(config)
        pixels = config.planes * config.window**2
        self.embed = keras.layers.Dense(
            config.channels,
            use_bias=False,
            kernel_initializer=_normal(0.7, pixels),
            name="embed",
            dtype=self.dtype_policy,
        )
        self.embed.build((None, pixels))
        self.position = None
        if config.use_bias:
            self.position = self.add_weight(
                shape=(config.tokens, config.channels), initializer="zeros", name="position"
            )
        self.blocks = _mixer_blocks(config, config.encoder_blocks, self.dtype_policy)
        self.built = True  # the weights exist already

    def call(self, inputs: Any) -> Any:
        """Encode patches (N, 28, 28), or (N, 28, 28, planes) with their surroundings."""
        config = self.config
        planes = ops.reshape(inputs, (-1, PATCH, PATCH, config.planes))
        patches = planes[..., 0]
        # The patch's mean is subtracted from the surroundings, too.
        means = ops.mean(patches, axis=(1, 2), keepdims=True)
        signal = (planes - means[..., None] if config.center else planes) * config.gain
        latent = _float32(self.embed(cut_windows(signal, config)))
        if self.position is not None:
            latent = latent + self.position  # tells the blocks where in the patch each token is
        for block in self.blocks:
            latent = block(latent)
        if config.residual:
            return latent, patches
        return (latent, means) if config.center else latent

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**base_config(self), "config": self.config.arguments()}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchDecoder(keras.Model):
    """The decoder: the output of `PatchEncoder` to patches (N, 28, 28)."""

    def __init__(self, config: MixerConfig | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config = _as_config(config)
        self.blocks = _mixer_blocks(config, config.blocks - config.encoder_blocks, self.dtype_policy)
        self.draw = keras.layers.Dense(
            config.window**2,
            use_bias=config.use_bias,
            # A residual network starts by removing nothing.
            kernel_initializer="zeros" if config.residual else "glorot_uniform",
            name="draw",
            dtype=self.dtype_policy,
        )
        self.draw.build((None, config.channels))
        self.built = True  # the weights exist already

    def call(self, inputs: Any) -> Any:
        """Decode the output of the encoder."""
        config = self.config
        latent, base = inputs if config.residual or config.center else (inputs, None)
        for block in self.blocks:
            latent = block(latent)
        drawn = add_windows(_float32(self.draw(latent)), config) / config.gain
        # A residual network draws the noise, any other one the clean patch or its deviation from the mean.
        if config.residual:
            return base - drawn
        return drawn + base if config.center else drawn

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**base_config(self), "config": self.config.arguments()}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchAutoencoder(Network):
    """Reconstruct 28x28 patches from tokens that shared dense layers mix.

    A patch is cut into tokens of `token` x `token` pixels, row by row. A Dense layer embeds the `window` x
    `window` pixels around each token in `channels` numbers. `blocks` blocks mix the tokens, then the
    channels, and add each result to their input. A last Dense layer draws a window for each token, and
    overlapping windows are added up. `encoder` has the embedding and the first half of the blocks, `decoder`
    the rest; `call(x) = decoder(encoder(x))`, (N, 28, 28) float32 in and out, values about 0..1 and not
    clipped. The constructor creates all weights.

    Args:
        token: Side of a token in pixels; it divides 28.
        channels: Numbers for each token.
        blocks: Number of blocks.
        token_hidden: Hidden width of the token mixing: two kernels around a ReLU; 0 for one linear kernel.
        channel_hidden: Hidden width of the channel mixing: two Dense layers around a ReLU.
        window: Side of a window in pixels: the token plus an even number. It sees zeros beyond the patch.
        groups: Number of groups of neighbouring channels, each with its own kernel for mixing tokens.
        context: Above 1, the network also sees the surroundings of its patch: the input is (N, 28, 28, 2),
            and its second plane the area `context` times as wide and high, averaged down to 28x28 pixels. A
            tuple of several numbers adds a plane for each. `denoiser.inference.patches.split` cuts them.
        residual: Whether the network draws the noise, which is subtracted, instead of the clean patch.
        center: Whether each patch's mean is subtracted first and added in the end.
        gain: Factor of the values inside the network.
        use_bias: Whether the embedded tokens, the channel layers and the drawing have biases, and with them
            the token mixing of version 0.1: one group with a hidden layer. Without biases, but with `center`,
            shifting or scaling a patch does the same to its reconstruction.
        card: Model card, a plain JSON dict that is saved with the model.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: An argument is not possible; see `denoiser.weights.architectures.MixerConfig`.
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
        context: Context = 1,
        residual: bool = True,
        center: bool = True,
        gain: float = 4.0,
        use_bias: bool = True,
        card: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        config = MixerConfig(
            token=token,
            window=window,
            context=context,
            channels=channels,
            blocks=blocks,
            groups=groups,
            token_hidden=token_hidden,
            channel_hidden=channel_hidden,
            residual=residual,
            center=center,
            gain=gain,
            use_bias=use_bias,
        )
        super().__init__(config, card, autocast=False, **kwargs)
        self.encoder = PatchEncoder(config, name="encoder", dtype=self.dtype_policy)
        self.decoder = PatchDecoder(config, name="decoder", dtype=self.dtype_policy)
        self.built = True  # the weights exist already

    def named_weights(self) -> dict[str, Any]:
        """Return the variables by their names in `denoiser.weights.architectures`."""
        weights = dense_weights("embed", self.encoder.embed)
        if self.encoder.position is not None:
            weights["position"] = self.encoder.position
        for index, block in enumerate([*self.encoder.blocks, *self.decoder.blocks]):
            weights |= {f"block{index}/{name}": value for name, value in block.named_weights().items()}
        return weights | dense_weights("draw", self.decoder.draw)

    @classmethod
    def from_config(cls, config: dict[str, Any], **_: Any) -> PatchAutoencoder:
        """Make the network of a config of this version or of 0.1, with new weights."""
        return cls(**upgraded("PatchAutoencoder", config))


def _mixer_blocks(config: MixerConfig, count: int, dtype: Any) -> list[Any]:
    return [MixerBlock(config, name=f"block{index}", dtype=dtype) for index in range(count)]
