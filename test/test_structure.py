# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that no single package can test: who imports what, and how files look."""

import ast
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in (ROOT / "src").glob("*/package.xml"))
PYTHON_PACKAGES = [package for package in PACKAGES if (package / "setup.py").is_file()]

# What each package may import of the others. Arrows run one way.
ALLOWED = {
    "ptp_description": set(),
    "ptp_core": set(),
    "ptp_robot": {"ptp_core", "ptp_description"},
    "ptp_ros": {"ptp_core", "ptp_interfaces"},
    "ptp_sim": {"ptp_core", "ptp_description", "ptp_robot"},
    "ptp_nodes": {"ptp_core", "ptp_description", "ptp_interfaces", "ptp_robot", "ptp_ros"},
    "ptp_bringup": {"ptp_core", "ptp_description", "ptp_robot", "ptp_ros"},
    "ptp_cli": {
        *("ptp_bringup", "ptp_core", "ptp_description", "ptp_nodes"),
        *("ptp_robot", "ptp_ros", "ptp_sim"),
    },
}
# Where rclpy, messages and what carries them may be imported: these packages and node modules.
ON_THE_GRAPH = {"ptp_ros", "ptp_nodes"}
# What nodes of a package without messages share.
FOR_NODES = {"ptp_sim.table_node"}
ROS = {"rclpy", "ptp_interfaces", "ptp_ros"}
# Where the simulator may be imported: a robot has no PyBullet.
SIMULATOR = {"ptp_sim"}

# Import name -> name on the Python index and in package.xml (None: rosdep has no such key).
THIRD_PARTY = {
    "argcomplete": ("argcomplete", "python3-argcomplete"),
    "autobahn": ("autobahn", "python3-autobahn"),
    "catkin_pkg": ("catkin-pkg", None),
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "gymnasium": ("gymnasium", "python3-gymnasium-pip"),
    "hypothesis": ("hypothesis", "python3-hypothesis"),
    "h5py": ("h5py", "python3-h5py"),
    "jinja2": ("jinja2", "python3-jinja2"),
    "lz4": ("lz4", "python3-rosbags-pip"),
    "matplotlib": ("matplotlib", "python3-matplotlib"),
    "mcap": ("mcap", "mcap-ros2-support"),
    "numpy": ("numpy", "python3-numpy"),
    "PIL": ("pillow", "python3-pil"),
    "pybullet": ("pybullet", "python3-pybullet-pip"),
    "pytest": ("pytest", "python3-pytest"),
    "rich": ("rich", "python3-rich"),
    "rosbags": ("rosbags", "python3-rosbags-pip"),
    "roslibpy": ("roslibpy", "roslibpy-pip"),
    "safetensors": ("safetensors", None),
    "setuptools": ("setuptools", None),
    "tensorboard": ("tensorboard", "python3-tensorboard-pip"),
    "torch": (None, "python3-torch"),  # installed by tools/workspace.py itself
    "tqdm": ("tqdm", "python3-tqdm"),
    "yaml": ("pyyaml", "python3-yaml"),
    "zstandard": ("zstandard", "python3-rosbags-pip"),
}
# Used where a ROS 2 installation or the user has them, or where the benchmark installs them in an
# environment of their own, so never required.
OPTIONAL = {
    "av", "cv_bridge", "d3rlpy", "foxglove", "mujoco", "ogbench", "pyarrow", "ray", "rerun",
    "tf2_ros", "transformers",
}  # fmt: skip


def python_files(*tops):
    """Every Python file of ours below the given folders."""
    files = [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]
    return [path for path in files if "__pycache__" not in path.parts]


def imports(path):
    """(line, module) of each absolute import in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.lineno, node.module))
    return found


def node_modules(package):
    """Modules that a package's setup.py installs as executables: {executable: module}."""
    text = (package / "setup.py").read_text()
    return dict(re.findall(r'"(\w+) ?= ?([\w.]+):main"', text))


def module_of(package, path):
    return ".".join(path.relative_to(package).with_suffix("").parts)


def offences(package, rule):
    """Lines "file:line imports module" of the package's own code for which the rule holds."""
    found = []
    for path in python_files((package / package.name).relative_to(ROOT)):
        for line, module in imports(path):
            if rule(path, module.partition(".")[0]):
                found.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    return found


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_imports_run_one_way(package):
    nodes = {*node_modules(package).values(), *FOR_NODES}

    def wrong(path, top):
        if not top.startswith("ptp_") or top == package.name:
            return False
        # What a node can be told may stand beside it.
        if top in ROS and module_of(package, path).removesuffix("_parameters") in nodes:
            return False
        return top not in ALLOWED[package.name]

    assert offences(package, wrong) == []


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_ros_stays_in_nodes_and_the_simulator_in_its_package(package):
    own = {*node_modules(package).values(), *FOR_NODES}
    nodes = own if package.name in SIMULATOR else set()

    def wrong(path, top):
        ros = top == "rclpy" or top.endswith(("_msgs", "_interfaces"))
        if ros and package.name not in ON_THE_GRAPH and module_of(package, path) not in nodes:
            return True
        return top == "pybullet" and package.name not in SIMULATOR

    assert offences(package, wrong) == []


# Modules in a circle that an import inside a function closes, each circle with its reason.
LATE_CIRCLES: list[set[str]] = []


def import_graph(package, *, in_functions):
    """{module: modules of the same package that it imports}; not what is for type checkers."""
    files = {
        module_of(package, path).removesuffix(".__init__"): path
        for path in python_files(package / package.name)
    }

    def skipped(node):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return not in_functions
        return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)

    def imported(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                yield from (name if name in files else child.module for name in names)
            elif not skipped(child):
                yield from imported(child)

    return {
        module: {other for other in imported(ast.parse(path.read_text())) if other in files}
        for module, path in files.items()
    }


def circles(graph):
    """Sets of modules each of which imports, by way of others, every module of its set."""

    def reached(module):
        found, waiting = set(), [module]
        while waiting:
            new = graph[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    reach = {module: reached(module) for module in graph}
    found = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    }
    return sorted(map(sorted, found))


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_modules_do_not_import_each_other_in_circles(package):
    assert circles(import_graph(package, in_functions=False)) == []
    late = circles(import_graph(package, in_functions=True))
    assert [circle for circle in late if set(circle) not in LATE_CIRCLES] == []


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_package_xml_names_what_is_imported(package):
    manifest = ET.parse(package / "package.xml").getroot()
    always = {e.text for tag in ("depend", "exec_depend") for e in manifest.iter(tag)}
    in_tests = always | {e.text for e in manifest.iter("test_depend")}
    modules = {path.name for path in (package / "test").glob("*.py")}
    missing = {}
    for folder, names in ((package.name, always), ("test", in_tests)):
        for path in python_files((package / folder).relative_to(ROOT)):
            for line, module in imports(path):
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or top == package.name or top in OPTIONAL:
                    continue
                if f"{top}.py" in modules:
                    continue
                key = THIRD_PARTY.get(top, (None, top))[1]
                if key is not None and key not in names:
                    missing.setdefault(key, f"{path.relative_to(ROOT)}:{line}")
    assert not missing, f"package.xml lacks {missing}"


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_colcon_finds_the_tests_of_a_package(package):
    """`colcon test` runs nothing, and reports success, where setup.py does not ask for pytest."""
    calls = [
        node
        for node in ast.walk(ast.parse((package / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    ]
    (extras,) = (word.value for word in calls[0].keywords if word.arg == "extras_require")
    assert "pytest" in ast.literal_eval(extras)["test"]
    assert list((package / "test").glob("test_*.py")) != []


def test_the_lock_has_what_is_imported():
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE))
    used = {
        module.partition(".")[0]
        for path in python_files("src", "test", "launch", "bench")
        for _, module in imports(path)
    }
    names = {THIRD_PARTY[top][0] for top in used & set(THIRD_PARTY)} - {None}
    assert sorted(names - locked) == []
    unknown = {
        top
        for top in used - set(THIRD_PARTY) - OPTIONAL - sys.stdlib_module_names
        if not top.startswith(("ptp_", "test_", "launch"))
        and f"ros-{top.replace('_', '-')}" not in locked
    }
    assert sorted(unknown) == []


@pytest.mark.parametrize("package", PYTHON_PACKAGES, ids=lambda path: path.name)
def test_executables_exist(package):
    for executable, module in node_modules(package).items():
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        assert path.is_file(), f"setup.py installs {executable} from {module}, which is missing"
        names = {n.name for n in ast.parse(path.read_text()).body if hasattr(n, "name")}
        assert "main" in names, f"{module} has no main()"


def test_packages_agree_on_version_and_licence():
    versions = set()
    for package in PACKAGES:
        manifest = ET.parse(package / "package.xml").getroot()
        assert manifest.findtext("name") == package.name
        assert manifest.findtext("license") == "Apache-2.0"
        versions.add(manifest.findtext("version"))
        if package in PYTHON_PACKAGES:
            setup = (package / "setup.py").read_text()
            versions.update(re.findall(r'version="([^"]+)"', setup))
            assert (package / "resource" / package.name).is_file()
    cli = (ROOT / "src/ptp_cli/ptp_cli/__init__.py").read_text()
    versions.update(re.findall(r'__version__ = "([^"]+)"', cli))
    assert len(versions) == 1, versions


def test_python_files_say_their_licence():
    silent = []
    for path in python_files("src", "test", "tools", "launch", "bench", "plugins"):
        lines = path.read_text().splitlines()
        head = lines[:2] if lines[:1] and lines[0].startswith("#!") else lines[:1]
        if "# SPDX-License-Identifier: Apache-2.0" not in head:
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def own_modules():
    """Every module of the packages, tests, set-up and package initialisers left out."""
    for package in PYTHON_PACKAGES:
        for path in python_files((package / package.name).relative_to(ROOT)):
            if not path.stem.startswith("__"):
                yield path


def twice(named):
    """Names that stand for more than one place: {name: places}."""
    places = {}
    for name, place in named:
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_modules_share_a_name():
    assert twice((path.stem, str(path.relative_to(ROOT))) for path in own_modules()) == {}


def test_the_nodes_have_a_room_of_their_own():
    """One file of ptp_nodes/nodes for each executable, and nothing else beside or above them."""
    package = ROOT / "src" / "ptp_nodes"
    rooms = package / package.name
    installed = {module.rpartition(".")[2] for module in node_modules(package).values()}
    assert {path.stem for path in (rooms / "nodes").glob("*.py")} == {"__init__", *installed}
    assert [path.name for path in rooms.glob("*.py")] == ["__init__.py"]


def test_no_two_public_classes_share_a_name():
    classes = (
        (node.name, str(path.relative_to(ROOT)))
        for path in own_modules()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert twice(classes) == {}


def test_a_name_that_stands_twice_is_seen():
    assert twice([("a", 1), ("b", 2), ("a", 3)]) == {"a": [1, 3]}


def test_no_file_names_a_folder_of_one_machine():
    pattern = re.compile(r"(?<![\w.$}~-])/(?:work|home|root|Users)/\w")
    made = {
        ".git",
        ".venv",
        ".venv-ogbench",
        "build",
        "install",
        "log",
        "out",
        "data",
        "runs",
        "__pycache__",
    }
    found = []
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        if made & set(relative.parts[:1]) or "__pycache__" in relative.parts:
            continue
        if not path.is_file() or path.is_symlink() or path.stat().st_size > 2_000_000:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{relative}:{number}: {line.strip()[:80]}")
    assert found == []


def test_the_rules_see_what_they_forbid(tmp_path):
    """A rule that reads no file would pass for ever."""
    path = tmp_path / "module.py"
    path.write_text("import rclpy.node\n\ndef late():\n    from pybullet import connect\n")
    assert imports(path) == [(1, "rclpy.node"), (4, "pybullet")]
    assert {package.name for package in PYTHON_PACKAGES} == set(ALLOWED)
    assert {"camera", "planner", "policy"} <= set(node_modules(ROOT / "src" / "ptp_nodes"))
    assert any("imports torch" in line for line in _torch_users())


def test_circles_are_seen(tmp_path):
    package = tmp_path / "some"
    (package / "some").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "one": "from some import two\n",
        "two": "import some.three\n",
        "three": "def late():\n    from some.one import a\n",
        "four": "if TYPE_CHECKING:\n    from some.five import b\n",
        "five": "try:\n    from some.four import c\nexcept ImportError:\n    pass\n",
    }.items():
        (package / "some" / f"{name}.py").write_text(text)
    graph = import_graph(package, in_functions=False)
    assert graph["some.one"] == {"some.two"}
    assert graph["some.five"] == {"some.four"}
    assert circles(graph) == []
    late = import_graph(package, in_functions=True)
    assert circles(late) == [["some.one", "some.three", "some.two"]]
    package.joinpath("some", "three.py").write_text("from some.one import a\n")
    assert circles(import_graph(package, in_functions=False)) == circles(late)


def _torch_users():
    return offences(ROOT / "src" / "ptp_core", lambda path, top: top == "torch")


def test_every_test_that_the_fault_table_names_exists():
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`((?:src|test)/[\w/.]+)::(\w+)`", text)
    tables = [part for part in text.split("\n\n") if part.startswith("| fault |")]
    rows = [line for part in tables for line in part.splitlines()[2:]]
    assert len(named) >= len(rows) > 15
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
