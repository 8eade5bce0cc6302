"""Settings: which source wins, which values are refused, and how the file changes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vipcli import config
from vipcli.errors import ConfigError


def write(text: str) -> Path:
    config.path().parent.mkdir(parents=True, exist_ok=True)
    config.path().write_text(text, encoding="utf-8")
    return config.path()


def test_an_option_wins_over_the_environment_the_file_and_the_default() -> None:
    def resolve(flags: dict[str, config.Value], environment: dict[str, str]) -> tuple[config.Value, str]:
        resolved = config.resolve(flags, environment)["temperature"]
        return resolved.value, resolved.source

    assert resolve({}, {}) == (0.0, "default")
    write("temperature = 0.1\n")
    assert resolve({}, {}) == (0.1, "file")
    assert resolve({}, {"VIPCLI_TEMPERATURE": "0.2"}) == (0.2, "environment")
    assert resolve({"temperature": "0.3"}, {"VIPCLI_TEMPERATURE": "0.2"}) == (0.3, "flag")
    assert resolve({"temperature": None}, {"VIPCLI_TEMPERATURE": "0.2"}) == (0.2, "environment")


def test_every_default_is_a_valid_value() -> None:
    for setting in config.SETTINGS.values():
        if setting.default is not None:
            text = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
            assert setting.parse(text) == setting.default


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "-1"),
        ("temperature", "1e-45"),
        ("system", "a\x01b"),
        ("system", "bad \udcff bytes"),
        ("model", "a\nb\x1b"),
        ("temperature", "nan"),
        ("temperature", "warm"),
        ("top_p", "0"),
        ("top_p", "1.1"),
        ("max_new_tokens", "0"),
        ("max_new_tokens", "1.5"),
        ("max_new_tokens", "1_000"),
        ("max_new_tokens", "٣"),
        ("seed", "-1"),
        ("seed", "9" * 5000),
        ("width", "0"),
        ("width", "inf"),
        ("alpha", "256"),
        ("fit", "squeeze"),
        ("device", "tpu"),
        ("dtype", "int8"),
        ("offline", "maybe"),
        ("max_pixels", "-5"),
    ],
)
def test_an_invalid_value_is_refused_wherever_it_comes_from(name: str, text: str) -> None:
    for flags, environment in (({name: text}, {}), ({}, {f"VIPCLI_{name.upper()}": text})):
        with pytest.raises(ConfigError, match=r"but takes .*\.$"):
            config.resolve(flags, environment)
    with pytest.raises(ConfigError, match="but takes"):
        config.save(name, text)
    assert not config.path().exists()


def test_saving_keeps_comments_and_other_settings() -> None:
    path = write("# mine\nmodel = 'a/b'  # the good one\n\n# later\nalpha = 200\n")
    config.save("alpha", "90")
    config.save("top-p", "0.5")
    assert path.read_text() == "# mine\nmodel = 'a/b'  # the good one\n\n# later\nalpha = 90\ntop_p = 0.5\n"
    assert config.unset("model")
    assert not config.unset("model")
    assert config.resolve({}, {})["alpha"].value == 90
    assert config.resolve({}, {})["model"].source == "default"


def test_booleans_are_saved_as_toml_booleans() -> None:
    config.save("offline", "yes")
    assert config.path().read_text() == "offline = true\n"
    assert config.resolve({}, {})["offline"].value is True
    assert config.resolve({"offline": False}, {})["offline"].value is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("fit = ", "is not valid TOML"),
        ("colour = 'red'", "'colour', which is not a setting"),
        ("fit = ['pad']", "is not text, a number"),
        ("alpha = 'strong'", "takes a whole number"),
        ("alpha = 1.5", "takes a whole number"),
    ],
)
def test_an_error_in_the_file_names_the_file(content: str, message: str) -> None:
    path = write(content)
    with pytest.raises(ConfigError) as caught:
        config.resolve({}, {})
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_text_is_an_error() -> None:
    config.path().write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.resolve({}, {})


def test_an_unknown_name_suggests_the_closest_setting() -> None:
    with pytest.raises(ConfigError, match="Did you mean temperature"):
        config.save("temprature", "1")
    with pytest.raises(ConfigError, match="The settings are model"):
        config.unset("zzz")


def test_an_unknown_name_can_be_removed_from_the_file() -> None:
    path = write("colour = 'red'\nalpha = 9\n")
    assert config.unset("colour")
    assert path.read_text() == "alpha = 9\n"


def test_an_empty_variable_counts_as_unset_except_for_the_system_line() -> None:
    settings = config.resolve({}, {"VIPCLI_OFFLINE": "", "VIPCLI_MODEL": "", "VIPCLI_SYSTEM": ""})
    assert settings["offline"].source == settings["model"].source == "default"
    assert (settings["system"].value, settings["system"].source) == ("", "environment")


def test_settings_saved_at_the_same_time_are_all_saved() -> None:
    names = {"alpha": "9", "width": "5", "seed": "3", "fit": "crop", "top_p": "0.5", "dtype": "float32"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(config.save, names, names.values()))
    settings = config.resolve({}, {})
    assert all(settings[name].source == "file" for name in names)


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = tmp_path / "dotfiles" / "vipcli.toml"
    target.write_text("alpha = 9\n")
    config.path().symlink_to(target)
    config.save("alpha", "10")
    assert config.path().is_symlink()
    assert target.read_text() == "alpha = 10\n"


def test_the_default_file_is_in_the_config_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VIPCLI_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.path().name == "config.toml"
    assert config.path().parent.name == "vipcli"


def test_a_damaged_file_is_not_changed() -> None:
    path = write("fit = ")
    changes: list[Callable[[], object]] = [
        lambda: config.save("alpha", "9"),
        lambda: config.unset("alpha"),
    ]
    for change in changes:
        with pytest.raises(ConfigError, match=r"is not valid TOML .* Correct or delete it\."):
            change()
    assert path.read_text() == "fit = "
