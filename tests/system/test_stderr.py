"""What libraries write to stderr while they are imported."""

from __future__ import annotations

import os

import pytest

from denoiser.system.stderr import quietly


@pytest.mark.parametrize(
    ("error", "shown"), [(None, ""), (ImportError, "from C"), (SystemExit, ""), (KeyboardInterrupt, "")]
)
def test_libraries_are_heard_only_where_they_fail(
    capfd: pytest.CaptureFixture[str], error: type[BaseException] | None, shown: str
) -> None:
    def load() -> None:
        with quietly():
            os.write(2, b"from C")
            if error is not None:
                raise error

    if error is None:
        load()
    else:
        with pytest.raises(error):
            load()
    os.write(2, b" after")
    assert capfd.readouterr().err == f"{shown} after"
