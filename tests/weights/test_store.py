"""Names to files: the order of search, and what is said about names that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoiser.errors import ModelError
from denoiser.weights import architectures
from denoiser.weights import store as models


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "general.keras").write_bytes(b"bundled")
    monkeypatch.setattr(models, "BUNDLED", folder)
    return folder


@pytest.fixture
def own(store: Path) -> Path:
    folder = store / "models"
    folder.mkdir()
    return folder


def test_networks_are_ones_that_can_be_made() -> None:
    assert list(models.NETWORKS) == ["digits", "general", "document"]
    for network in models.NETWORKS.values():
        assert architectures.make_config(network.kind, network.config).kind == network.kind
        assert network.mode == architectures.CONFIGS[network.kind].mode


def test_home_is_where_the_variable_says(store: Path) -> None:
    assert models.home() == store
    assert models.path_for("mine") == store / "models" / "mine.keras"
    assert not (store / "models").exists()


def test_home_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    monkeypatch.delenv("DENOISER_HOME")
    assert models.home() == Path(click.get_app_dir("denoiser"))
    monkeypatch.setenv("DENOISER_HOME", "")
    assert models.home() == Path(click.get_app_dir("denoiser"))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "-x", ".x", "a b", "x.keras", "auto", "scratch", "a\n", "é", "x" * 101],
)
def test_what_can_be_no_name(name: str) -> None:
    with pytest.raises(ModelError, match="can't be a model's name"):
        models.path_for(name)
    with pytest.raises(ModelError):
        models.remove(name)


class TestFinding:
    def test_the_users_own_come_first(self, own: Path, bundled: Path) -> None:
        assert models.find("general") == bundled / "general.keras"
        (own / "general.keras").write_bytes(b"own")
        assert models.find("general") == own / "general.keras"

    def test_a_model_of_any_name(self, own: Path, bundled: Path) -> None:
        (own / "my.scans-2.keras").write_bytes(b"own")
        assert models.find("my.scans-2") == own / "my.scans-2.keras"

    def test_a_name_may_begin_with_a_digit(self) -> None:
        assert models.path_for("2scans").name == "2scans.keras"
        with pytest.raises(ModelError, match="beginning with a letter or digit"):
            models.path_for("-scans")

    def test_a_known_network_without_weights(self, bundled: Path) -> None:
        assert models.find("document") is None
        (bundled / "general.keras").unlink()
        assert models.find("general") is None

    def test_a_file(self, tmp_path: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "there.keras"
        file.write_bytes(b"")
        assert models.find(str(file)) == file
        assert models.find(file) == file
        monkeypatch.chdir(tmp_path)
        assert models.find("there.keras") == Path("there.keras")
        (tmp_path / "general").write_bytes(b"")
        assert models.find("./general") == Path("general")
        assert models.find("general") == bundled / "general.keras"

    @pytest.mark.parametrize("given", ["missing.keras", "./missing", "a/general.keras", "~/x.keras"])
    def test_a_missing_file_is_never_something_else(self, given: str, bundled: Path) -> None:
        with pytest.raises(ModelError, match=f"There is no model file {given}"):
            models.find(given)

    @pytest.mark.parametrize(
        ("given", "meant"),
        [("genral", "general"), ("Digits", "digits"), ("documents", "document"), ("Auto", "auto")],
    )
    def test_a_misspelt_name_gets_the_nearest(self, given: str, meant: str, bundled: Path) -> None:
        with pytest.raises(ModelError, match=f"no model called '{given}'") as caught:
            models.find(given)
        assert f"Did you mean {meant}?" in str(caught.value)

    def test_the_nearest_may_be_the_users_own(self, own: Path, bundled: Path) -> None:
        (own / "microscope.keras").write_bytes(b"own")
        with pytest.raises(ModelError, match=r"Did you mean microscope\?"):
            models.find("microscop")

    @pytest.mark.parametrize("given", ["", "zzz", "..", "auto", "a\nb"])
    def test_a_name_like_no_other(self, given: str, bundled: Path) -> None:
        with pytest.raises(ModelError) as caught:
            models.find(given)
        assert "denoise models" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_without_suffix_is_pointed_out(
        self, tmp_path: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine").write_bytes(b"")
        with pytest.raises(ModelError, match=r"write \./mine"):
            models.find("mine")


def test_listing(own: Path, bundled: Path) -> None:
    for name in ("zebra.keras", "general.keras", ".hidden.keras", "notes.txt"):
        (own / name).write_bytes(b"")
    (own / "folder.keras").mkdir()
    (bundled / "digits.keras").write_bytes(b"")
    assert models.available() == [
        models.Entry("general", own / "general.keras", "store"),
        models.Entry("zebra", own / "zebra.keras", "store"),
        models.Entry("digits", bundled / "digits.keras", "bundled"),
        models.Entry("general", bundled / "general.keras", "bundled", shadowed=True),
    ]


def test_listing_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "BUNDLED", tmp_path / "gone")
    assert models.available() == []


class TestRemoving:
    def test_ones_own(self, own: Path, bundled: Path) -> None:
        (own / "general.keras").write_bytes(b"own")
        assert models.remove("general") == own / "general.keras"
        assert models.find("general") == bundled / "general.keras"

    def test_a_bundled_one(self, bundled: Path) -> None:
        with pytest.raises(ModelError, match="general comes with denoiser and stays"):
            models.remove("general")
        assert (bundled / "general.keras").exists()

    def test_one_without_weights(self, bundled: Path) -> None:
        with pytest.raises(ModelError, match="document has no weights"):
            models.remove("document")

    def test_an_unknown_one(self, bundled: Path) -> None:
        with pytest.raises(ModelError, match=r"Did you mean digits\?"):
            models.remove("digit")

    def test_one_that_cannot_be_removed(
        self, own: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (own / "mine.keras").write_bytes(b"own")

        def refuse(path: Path, *_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(ModelError, match=r"mine\.keras can't be removed: Permission denied"):
            models.remove("mine")
