"""Consistency of the files that a release needs: version, requirements, links, pinned actions.

release/check_package.py tests the package itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hatchling.builders.plugin.interface import BuilderInterface
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

import mrcdist
from tests.support.processes import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
RECIPE = ROOT / "release" / "conda" / "recipe.yaml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Files that repeat the version → pattern that finds it.
VERSION_PATTERNS = {
    "CITATION.cff": r"^version: (.+)$",
    "release/conda/recipe.yaml": r'^  version: "(.+)"$',
    "deploy/compose/compose.yaml": r"image: mrcdist-compose:(\S+)",
    "deploy/kubernetes/cluster.yaml": r"image: registry.example.org/mrcdist:(\S+)",
    "deploy/kubernetes/job.yaml": r"image: registry.example.org/mrcdist:(\S+)",
    "deploy/kubernetes/helm-values.yaml": r'tag: "(.+)"',
    "deploy/container/Containerfile": r"registry.example.org/mrcdist:(\S+)",
}
# Name on PyPI → name on conda-forge, where they differ.
CONDA = {"dask": "dask-core"}


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file with one document."""
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


@pytest.mark.parametrize("name", VERSION_PATTERNS)
def test_file_has_the_version_of_the_project(name: str) -> None:
    versions = re.findall(VERSION_PATTERNS[name], (ROOT / name).read_text("utf-8"), re.M)
    assert set(versions) == {PROJECT["version"]}


def test_module_version_is_the_installed_version() -> None:
    assert mrcdist.__version__ == PROJECT["version"]
    assert "__version__" in dir(mrcdist)


def test_module_version_is_unknown_if_the_package_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "mrcdist").symlink_to(ROOT / "mrcdist")
    for path in Path(yaml.__file__).parents[1].iterdir():
        if not path.name.startswith(("mrcdist", "_mrcdist")):
            (tmp_path / path.name).symlink_to(path)
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import mrcdist; "
    code += "print(mrcdist.__version__)"
    command = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "0+unknown"


class TestCondaRecipe:
    def test_conda_recipe_is_parsed_by_rattler_build(self) -> None:
        rattler_build = pytest.importorskip("rattler_build", reason="py-rattler-build is missing")
        [variant] = rattler_build.Stage0Recipe.from_file(str(RECIPE)).render(
            rattler_build.VariantConfig(), rattler_build.RenderConfig()
        )
        assert variant.recipe.package.name == "mrcdist"

    def test_conda_recipe_has_the_requirements_of_the_project(self) -> None:
        expected = set()
        for requirement in map(Requirement, PROJECT["dependencies"]):
            name = CONDA.get(requirement.name, requirement.name)
            expected.add(f"{name} {requirement.specifier}")
        recipe = load_yaml(RECIPE)
        python = PROJECT["requires-python"].removeprefix(">=")
        assert recipe["context"]["python_min"] == python
        assert set(recipe["requirements"]["run"]) == {*expected, "python >=${{ python_min }}"}
        assert set(PYPROJECT["build-system"]["requires"]) <= {
            line.replace(" ", "") for line in recipe["requirements"]["host"]
        }

    def test_conda_recipe_has_the_entry_points_of_the_project(self) -> None:
        programs = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
        assert load_yaml(RECIPE)["build"]["python"]["entry_points"] == programs


class TestWorkflows:
    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_actions_are_pinned_to_commits_with_their_version_in_a_comment(
        self, path: Path
    ) -> None:
        used = re.findall(r"uses: (.+)", path.read_text("utf-8"))
        pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+")
        assert used
        assert [action for action in used if not pinned.fullmatch(action)] == []

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_workflow_runs_only_commands_that_run_py_has(self, path: Path) -> None:
        usage = subprocess.run(
            [sys.executable, "run.py", "help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        text = path.read_text("utf-8")
        for command, option in re.findall(r"run\.py (\w+)(?: (--(?:quick|lowest)))?", text):
            assert f"run.py {command}" in usage
            assert option in usage

    def test_only_the_publish_job_may_sign_and_only_in_its_environment(self) -> None:
        jobs = load_yaml(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
        signing = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
        assert signing == ["publish"]
        assert jobs["publish"]["environment"] == "pypi"
        assert [step for step in jobs["publish"]["steps"] if "run" in step] == []

    def test_workflow_runs_every_python_in_the_classifiers(self) -> None:
        [tests] = [load_yaml(path) for path in WORKFLOWS if path.name == "test.yml"]
        supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
        assert tests["jobs"]["unit"]["strategy"]["matrix"]["python"] == supported


class TestMetadata:
    @pytest.fixture
    def hook(self) -> ModuleType:
        pytest.importorskip("hatchling", reason="needs hatchling")
        spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def metadata(self, hook: ModuleType) -> dict[str, Any]:
        metadata = {"version": PROJECT["version"]}
        hook.RepositoryMetadata(str(ROOT), {}).update(metadata)
        return metadata

    def test_readme_links_of_a_release_are_absolute_and_point_to_its_tag(
        self, hook: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(hook.VARIABLE, "https://git.example.org/em/mrcdist/")
        metadata = self.metadata(hook)
        links = re.findall(r"\]\(([^)]+)\)", metadata["readme"]["text"])
        base, tag = "https://git.example.org/em/mrcdist", f"v{PROJECT['version']}"
        assert f"{base}/raw/{tag}/docs/idea.svg" in links
        assert f"{base}/blob/{tag}/docs/howto/write.md" in links
        assert [link for link in links if not link.startswith("https://")] == []
        assert metadata["urls"]["Source"] == base

    def test_build_without_a_repository_address_keeps_the_readme_and_has_no_urls(
        self, hook: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(hook.VARIABLE, raising=False)
        metadata = self.metadata(hook)
        assert metadata["readme"]["text"] == (ROOT / "README.md").read_text("utf-8")
        assert "urls" not in metadata

    def test_absolute_links_and_anchors_in_the_readme_are_kept(self, hook: ModuleType) -> None:
        text = "[a](https://dask.org) [b](docs/a.md#part) ![c](docs/c.png) [d](#part)"
        assert hook.with_absolute_links(text, "https://x.example", "v2") == (
            "[a](https://dask.org) [b](https://x.example/blob/v2/docs/a.md#part) "
            "![c](https://x.example/raw/v2/docs/c.png) [d](https://x.example/blob/v2/README.md#part)"
        )


def test_news_fragments_have_a_kind_that_the_changelog_knows() -> None:
    kinds = {kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"]}
    fragments = [path.name for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    name = re.compile(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})\.md")
    assert [fragment for fragment in fragments if not name.fullmatch(fragment)] == []


@pytest.mark.parametrize(
    ("builder", "folders"),
    [(WheelBuilder, {"mrcdist"}), (SdistBuilder, {"mrcdist", "demo", "deploy"})],
)
def test_demo_is_in_the_source_distribution_only_and_tests_in_neither(
    builder: type[BuilderInterface[Any, Any]], folders: set[str]
) -> None:
    paths = [file.distribution_path for file in builder(str(ROOT)).recurse_included_files()]
    assert {path.partition("/")[0] for path in paths if "/" in path} == folders


def test_no_acquisition_is_committed() -> None:
    """Examples in docstrings write acquisitions to the current folder."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    command = [git, "ls-files", "*.mrc", "*_info.txt"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == ""


FOLDERS = ("mrcdist", "demo", "deploy", "docs", "notebooks", "release", "tests")


@pytest.mark.parametrize(
    "command",
    [
        ("codespell", *FOLDERS, *(path.name for path in ROOT.glob("*.md"))),
        ("zizmor", "--offline", "--quiet", ".github"),
    ],
    ids=lambda command: command[0],
)
def test_pre_commit_hook_reports_nothing(command: tuple[str, ...]) -> None:
    program = shutil.which(command[0], path=Path(sys.executable).parent)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    ran = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
