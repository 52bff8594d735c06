"""`megactor recipes`."""

import json

from megactor_core.config.recipes import find_recipe, list_recipes


def test_list_names_every_recipe_with_its_summary(megactor) -> None:
    text = megactor("recipes", "list").out
    listed = json.loads(megactor("recipes", "list", "--json").out)["recipes"]
    assert [row["name"] for row in listed] == [recipe.full_name for recipe in list_recipes()]
    for row in listed:
        assert row["name"] in text
        assert row["summary"] in text


def test_show_prints_the_file_as_it_is(megactor) -> None:
    result = megactor("recipes", "show", "animate/paper")
    assert result.out == find_recipe("animate", "paper").read_text()
    assert megactor("recipes", "show", "animate/papr").exit_code == 2


def test_copy_edit_and_use(core, megactor, tmp_path) -> None:
    assert megactor("recipes", "copy", "animate/paper", "own.yaml").exit_code == 0
    own = tmp_path / "own.yaml"
    own.write_text(own.read_text().replace("steps: 20", "steps: 30"))
    assert megactor("animate", "--recipe", "own.yaml", "--audio", "a.wav").exit_code == 0
    assert core.configs[0].steps == 30
    again = megactor("recipes", "copy", "animate/paper", "own.yaml")
    assert (again.exit_code, "exists" in again.err) == (2, True)


def test_check_accepts_what_is_shipped(megactor) -> None:
    result = megactor("recipes", "check")
    assert result.exit_code == 0
    assert result.out.count("ok ") == len(list_recipes())


def test_check_takes_the_names_that_list_shows(megactor) -> None:
    result = megactor("recipes", "check", "animate/paper", "--json")
    assert result.exit_code == 0
    assert json.loads(result.out)["problems"] == {}


def test_check_tells_every_problem(megactor, tmp_path) -> None:
    (tmp_path / "good.yaml").write_text("alpha: 2\n")
    (tmp_path / "bad.yaml").write_text("alpha: 11\n")
    result = megactor("recipes", "check", "good.yaml", "bad.yaml", "none.yaml", "--for", "animate", "--json")
    assert result.exit_code == 2
    report = json.loads(result.out)
    assert report["checked"] == ["good.yaml", "bad.yaml", "none.yaml"]
    assert set(report["problems"]) == {"bad.yaml", "none.yaml"}
    assert "'alpha' is 11" in report["problems"]["bad.yaml"]
    assert "invalid" in megactor("recipes", "check", "bad.yaml", "--for", "animate").out
