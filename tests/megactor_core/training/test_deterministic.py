"""--deterministic: training works with the algorithms that it asks for, to the same bits."""

from safetensors.torch import load_file

from megactor_core.training.train import train


def test_train_is_deterministic_where_asked(make_config, fake_source, tmp_path) -> None:
    found = []
    for name, deterministic in (("one", True), ("two", True), ("plain", False)):
        config = make_config(steps=2, deterministic=deterministic, output=tmp_path / name)
        train(config, source=fake_source())
        assert f"deterministic: {str(deterministic).lower()}" in (tmp_path / name / "config.yaml").read_text()
        found.append(load_file(tmp_path / name / "final" / "sigma.safetensors"))
    for other in found[1:]:
        assert all(other[key].equal(value) for key, value in found[0].items())
