"""The options of `denoise run`, grouped as help shows them."""

from __future__ import annotations

from pathlib import Path

import click

from denoiser.commands.help import GroupedOption, NamedPath

MODEL, INPUT, OUTPUT = "Model", "Which files", "What is written"
WORK, PLUGINS, MESSAGES = "How it is computed", "Plugins", "Messages"

LOADING: list[click.Parameter] = [
    GroupedOption(
        ["--plugin", "plugins"],
        heading=PLUGINS,
        multiple=True,
        metavar="FILE|MODULE",
        help="Use it. Repeatable.",
    ),
    GroupedOption(
        ["--no-plugins", "installed_plugins"],
        heading=PLUGINS,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave out those of installed packages.",
    ),
    GroupedOption(
        ["--plugin-option", "plugin_options"],
        heading=PLUGINS,
        multiple=True,
        metavar="NAME.KEY=VALUE",
        help="Set an option of a plugin, such as invert.threshold=0.4. Repeatable.",
    ),
]
"""Which plugins, for every command that has to do with them."""

PARAMETERS: list[click.Parameter] = [
    click.Argument(["paths"], nargs=-1, metavar="PATHS..."),
    GroupedOption(
        ["--glob", "pattern"],
        heading=INPUT,
        metavar="PATTERN",
        help="Only files that match, such as '*_raw.tif'.",
    ),
    GroupedOption(
        ["--no-recursive", "recursive"],
        heading=INPUT,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave folders in folders alone.",
    ),
    GroupedOption(["--follow-links"], heading=INPUT, is_flag=True, help="Search linked folders too."),
    GroupedOption(
        ["--max-megapixels"],
        heading=INPUT,
        type=click.FloatRange(0.0, min_open=True),
        default=500.0,
        show_default=True,
        metavar="N",
        help="Refuse larger pages.",
    ),
    GroupedOption(["--fail-fast"], heading=INPUT, is_flag=True, help="Stop at the first file that fails."),
    GroupedOption(
        ["--out", "-o"],
        heading=OUTPUT,
        type=NamedPath(path_type=Path),
        metavar="DIR",
        help="Folder for the results.",
    ),
    GroupedOption(
        ["--format"],
        heading=OUTPUT,
        type=click.Choice(["keep", "png", "tiff", "jpeg"]),
        default="keep",
        show_default=True,
        help="File format of the results.",
    ),
    GroupedOption(["--color"], heading=OUTPUT, is_flag=True, help="Keep colour: each channel is denoised."),
    GroupedOption(
        ["--size"],
        heading=OUTPUT,
        type=click.Choice(["model", "input"]),
        default="model",
        show_default=True,
        help="In whole mode: write the model's 28x28, or scale it back.",
    ),
    GroupedOption(
        ["--strength"],
        metavar="0..1",
        heading=OUTPUT,
        type=click.FloatRange(0.0, 1.0),
        default=1.0,
        show_default=True,
        help="Blend of input (0) and result (1).",
    ),
    GroupedOption(
        ["--compare"],
        heading=OUTPUT,
        type=NamedPath(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Also write before | after | difference there, as PNG.",
    ),
    GroupedOption(
        ["--sync"],
        heading=OUTPUT,
        is_flag=True,
        help="Wait for the disk after each file, so that even a power cut leaves it whole.",
    ),
    GroupedOption(
        ["--force"],
        heading=OUTPUT,
        is_flag=True,
        help="Do files again that are up to date, and overwrite strangers.",
    ),
    GroupedOption(
        ["--model"],
        heading=MODEL,
        default="auto",
        show_default=True,
        metavar="auto|NAME|FILE",
        help="What cleans.",
    ),
    GroupedOption(
        ["--weights"],
        heading=MODEL,
        type=NamedPath(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The named network's weights; trained and saved there if missing.",
    ),
    GroupedOption(
        ["--data"],
        heading=MODEL,
        type=NamedPath(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Clean images to train on, if training is needed.",
    ),
    GroupedOption(
        ["--no-train", "train"],
        heading=MODEL,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Fail instead.",
    ),
    GroupedOption(
        ["--mode"],
        heading=MODEL,
        type=click.Choice(["whole", "tile"]),
        help="See the image as one patch, or tiled.",
    ),
    GroupedOption(
        ["--quality"],
        heading=WORK,
        type=click.Choice(["fast", "balanced", "best"]),
        default="balanced",
        show_default=True,
        help="How densely patches overlap.",
    ),
    GroupedOption(
        ["--stride"],
        heading=WORK,
        type=click.IntRange(1, 28),
        metavar="N",
        help="Pixels between patches, 1 to 28.",
    ),
    GroupedOption(
        ["--device"],
        heading=WORK,
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    GroupedOption(["--engine"], heading=WORK, type=click.Choice(["numpy", "keras"]), help="What computes."),
    GroupedOption(
        ["--jobs", "-j"],
        heading=WORK,
        type=click.IntRange(1),
        metavar="N",
        help="Cores to use. [default: all]",
    ),
    GroupedOption(
        ["--batch-size"],
        heading=WORK,
        type=click.IntRange(1),
        metavar="N",
        help="Patches a batch (keras engine).",
    ),
    *LOADING,
    GroupedOption(
        ["--dry-run"], heading=MESSAGES, is_flag=True, help="Say what would be done, and do nothing."
    ),
    GroupedOption(
        ["--json", "as_json"],
        heading=MESSAGES,
        is_flag=True,
        help="One JSON object a file on stdout, then the summary.",
    ),
    GroupedOption(["--quiet", "-q"], heading=MESSAGES, is_flag=True, help="Errors only."),
    GroupedOption(
        ["--verbose", "-v"],
        heading=MESSAGES,
        is_flag=True,
        help="A line for each file, and details of faults.",
    ),
]
