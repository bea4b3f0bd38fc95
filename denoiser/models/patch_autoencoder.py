"""The patch network of `general` and `document`: an MLP-Mixer (Tolstikhin et al., 2021) made an autoencoder.

A plain stack of dense layers over 784 pixels has to learn the same edge once for every place it can be in.
Here a patch is cut into tokens, and every Dense layer is shared, either by all tokens or by all channels.
There is no normalisation layer: with `use_bias=False` the whole network is homogeneous, so that what it
learnt at one noise level holds at others (Mohan et al., "Robust and interpretable blind image denoising via
bias-free convolutional neural networks", ICLR 2020).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from denoiser._types import PATCH
from denoiser.models.parts import base_config, card_from_text, card_to_text, dense_weights
from denoiser.weights import architectures


@keras.saving.register_keras_serializable(package="denoiser")
class MixerBlock(keras.layers.Layer):
    """Mix across tokens, then across channels, each by two Dense layers around a ReLU and added to its input.

    The input and output are (N, tokens, channels).
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        token_hidden: int,
        channel_hidden: int,
        *,
        use_bias: bool = True,
        depth: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "tokens": tokens,
            "channels": channels,
            "token_hidden": token_hidden,
            "channel_hidden": channel_hidden,
            "use_bias": use_bias,
            "depth": depth,
        }
        # A sum of many branches keeps its size only if each branch starts small.
        small = keras.initializers.VarianceScaling(1.0 / (2 * depth), "fan_in", "truncated_normal")

        def dense(name: str, inputs: int, outputs: int, start: Any) -> Any:
            layer = keras.layers.Dense(
                outputs, use_bias=use_bias, kernel_initializer=start, name=name, dtype=self.dtype_policy
            )
            layer.build((None, inputs))
            return layer

        self.tokens_in = dense("tokens_in", tokens, token_hidden, "he_normal")
        self.tokens_out = dense("tokens_out", token_hidden, tokens, small)
        self.channels_in = dense("channels_in", channels, channel_hidden, "he_normal")
        self.channels_out = dense("channels_out", channel_hidden, channels, small)
        self.built = True  # every weight exists: nothing waits for a first input

    def call(self, inputs: Any) -> Any:
        """Mix (N, tokens, channels)."""
        columns = ops.swapaxes(inputs, 1, 2)
        mixed = inputs + ops.swapaxes(self.tokens_out(ops.relu(self.tokens_in(columns))), 1, 2)
        return mixed + self.channels_out(ops.relu(self.channels_in(mixed)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output has the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self.config}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchEncoder(keras.Model):
    """The first half: patches to latent tokens (N, tokens, channels) and what the decoder needs.

    Patches are (N, 28, 28), with `context` (N, 28, 28, 2).

    Returns `(latent, patches)` for a residual network, `(latent, means)` with means (N, 1, 1) for another
    that centres its input, and `latent` alone for one that does neither.
    """

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config = architectures.validate("PatchAutoencoder", dict(config))
        self.side = PATCH // config["token"]
        tokens, pixels = self.side**2, architectures.planes(config) * config["token"] ** 2
        self.embed = keras.layers.Dense(
            config["channels"], use_bias=False, name="embed", dtype=self.dtype_policy
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
        config, side, token, planes = (
            self.config,
            self.side,
            self.config["token"],
            architectures.planes(self.config),
        )
        given = ops.reshape(inputs, (-1, PATCH, PATCH, planes))
        patches = given[..., 0]
        means = ops.mean(patches, axis=(1, 2), keepdims=True)
        signal = (given - means[..., None] if config["center"] else given) * config["gain"]
        grid = ops.reshape(signal, (-1, side, token, side, token, planes))
        cells = ops.reshape(ops.transpose(grid, (0, 1, 3, 2, 4, 5)), (-1, side**2, token**2 * planes))
        latent = self.embed(cells)
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
        super().__init__(**kwargs)
        self.config = config = architectures.validate("PatchAutoencoder", dict(config))
        self.side = PATCH // config["token"]
        self.blocks = mixer_blocks(
            config, config["blocks"] - architectures.encoder_blocks(config["blocks"]), self.dtype_policy
        )
        self.draw = keras.layers.Dense(
            config["token"] ** 2,
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
        config, side, token = self.config, self.side, self.config["token"]
        carries = config["residual"] or config["center"]
        latent, carried = inputs if carries else (inputs, None)
        for block in self.blocks:
            latent = block(latent)
        cells = ops.reshape(self.draw(latent), (-1, side, side, token, token))
        drawn = ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4)), (-1, PATCH, PATCH))
        drawn = drawn / config["gain"]
        if config["residual"]:
            return carried - drawn
        return drawn + carried if config["center"] else drawn

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**base_config(self), "config": dict(self.config)}


@keras.saving.register_keras_serializable(package="denoiser")
class PatchAutoencoder(keras.Model):
    """Reconstruct 28x28 patches from tokens mixed by shared dense layers.

    A patch is cut into `token` x `token` pixels (28 / token a side, row by row); a Dense layer embeds each in
    `channels` numbers, and `blocks` blocks mix across tokens (hidden width `token_hidden`) and across
    channels (`channel_hidden`), each with a ReLU and added to what it mixed. `encoder` has the embedding and
    the first half of the blocks, `decoder` the rest and a Dense layer back to pixels;
    `call(x) = decoder(encoder(x))`, (N, 28, 28) float32 in and out, values about 0..1 and not clipped.

    With `context` above 1 the network also sees its patch's surroundings: the input is (N, 28, 28, 2), the
    second plane being the area `context` times as wide and high around the patch, averaged down to 28x28
    pixels (`denoiser.inference.patches.split` cuts both). The output is (N, 28, 28) all the same.

    `center` takes each patch's mean off before and puts it back after, `gain` scales in between. A `residual`
    network draws what is to be removed, any other the clean patch itself. `use_bias=False` leaves out every
    additive constant: with `center`, adding to or scaling a patch then does the same to its reconstruction.

    `card` is the model card, a plain JSON dict that is saved with the model. Raises ValueError for values
    that `denoiser.weights.architectures` doesn't allow. All weights exist as soon as the model is made.
    """

    mode = "tile"

    def __init__(
        self,
        token: int = 4,
        channels: int = 96,
        blocks: int = 4,
        token_hidden: int = 96,
        channel_hidden: int = 192,
        *,
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
        super().__init__(**kwargs)
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
            for name in ("tokens_in", "tokens_out", "channels_in", "channels_out"):
                weights |= dense_weights(f"block{index}/{name}", getattr(block, name))
        return weights | dense_weights("draw", self.decoder.draw)

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor needs to make this network again, the card included."""
        return {**base_config(self), **self.config, "card": self.card}

    @classmethod
    def from_config(cls, config: dict[str, Any], **_: Any) -> PatchAutoencoder:
        """Make the network that `get_config` described, with fresh weights."""
        return cls(**config)


def mixer_blocks(config: dict[str, Any], count: int, dtype: Any) -> list[Any]:
    """Make one half's blocks."""
    return [
        MixerBlock(
            (PATCH // config["token"]) ** 2,
            config["channels"],
            config["token_hidden"],
            config["channel_hidden"],
            use_bias=config["use_bias"],
            depth=config["blocks"],
            name=f"block{index}",
            dtype=dtype,
        )
        for index in range(count)
    ]
