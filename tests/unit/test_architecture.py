"""Who may import whom, and who may look at a clock: walked in the source."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGENT = sorted((ROOT / "agent").rglob("*.py"))
DETECTORS = sorted((ROOT / "detectors").rglob("*.py"))
PACKAGE = [*AGENT, *DETECTORS]

CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
    "time.perf_counter_ns", "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today",
}  # fmt: skip
RANDOM = ("random.", "numpy.random.", "secrets.", "uuid.uuid1", "uuid.uuid4", "os.urandom")


def name(path):
    return path.relative_to(ROOT).as_posix()


def tree(path):
    return ast.parse(path.read_text(), name(path))


def at_import(node):
    """Nodes that run when the module is imported: all but what stands in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import(child)


def imports(nodes):
    """Full names of the modules that are imported, dynamically by a literal name included."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def tops(nodes):
    return {module.split(".")[0] for module in imports(nodes)}


def calls(module, nodes):
    """Dotted names of what is called, with the module's import aliases resolved."""
    aliases = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            aliases |= {a.asname or a.name.split(".")[0]: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                # Classes of datetime are known by their own name.
                prefix = "" if node.module == "datetime" else f"{node.module}."
                aliases[alias.asname or alias.name] = prefix + alias.name
    for node in nodes:
        if isinstance(node, ast.Call):
            dotted = ast.unparse(node.func)
            head, _, rest = dotted.partition(".")
            full = aliases.get(head, head) + (f".{rest}" if rest else "")
            yield full.removeprefix("datetime.") if full.startswith("datetime.d") else full


def impure(called):
    return called in CLOCKS or called.startswith(RANDOM)


def test_there_is_something_to_walk():
    assert len(AGENT) > 30 and len(DETECTORS) > 20


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_detectors_import_nothing_but_numpy_and_themselves(path):
    module = tree(path)
    allowed = sys.stdlib_module_names | {"numpy", "detectors"}
    assert tops(at_import(module)) <= allowed
    assert tops(ast.walk(module)) <= allowed | {"river"}


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_detectors_look_at_no_clock_and_draw_nothing(path):
    module = tree(path)
    assert [c for c in calls(module, ast.walk(module)) if impure(c)] == []
    forbidden = {"random", "secrets", "socket", "threading", "subprocess", "asyncio", "io", "os"}
    assert tops(ast.walk(module)).isdisjoint(forbidden | {"time", "datetime", "pickle"})


@pytest.mark.parametrize("path", AGENT, ids=name)
def test_importing_a_module_looks_at_no_clock_and_draws_nothing(path):
    module = tree(path)
    assert [c for c in calls(module, at_import(module)) if impure(c)] == []


@pytest.mark.parametrize("path", AGENT, ids=name)
def test_global_randomness_is_never_drawn(path):
    """Generators are passed in; a seed of one's own is made with default_rng."""
    module = tree(path)
    drawn = [
        c for c in calls(module, ast.walk(module)) if c.startswith(("random.", "numpy.random."))
    ]
    assert set(drawn) <= {"numpy.random.default_rng"}
    assert "pickle" not in tops(ast.walk(module))


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("kafka", "agent/intake/kafka/"),
        ("prometheus_client", "agent/publish/metrics/exposition.py"),
        ("cheroot", ("agent/publish/connections.py", "agent/publish/tls.py")),
        ("werkzeug", "agent/publish/access.py"),
        ("river", "detectors/drift/river.py"),
    ],
)
def test_a_library_has_one_home(library, home):
    users = [name(path) for path in PACKAGE if library in tops(ast.walk(tree(path)))]
    assert users
    assert all(user.startswith(home) for user in users)


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_heavy_optional_libraries_are_imported_only_when_used(path):
    assert tops(at_import(tree(path))).isdisjoint(
        {"river", "pyarrow", "sklearn", "scipy", "pandas"}
    )


def test_what_is_imported_is_declared():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = {"prometheus-client": "prometheus_client", "pyyaml": "yaml", "kafka-python": "kafka"}
    stated = set()
    for requirement in [*project["dependencies"], *extras["parquet"], *extras["demo"]]:
        package = requirement.split(";")[0].split("[")[0]
        for sign in "<>=!~ ":
            package = package.split(sign)[0]
        stated.add(names.get(package.lower(), package.lower().replace("-", "_")))
    ours = sys.stdlib_module_names | {"agent", "detectors"}
    ours |= {"pydantic_core", "markupsafe"}  # of pydantic and jinja2: parts of their interfaces
    used = {top for path in PACKAGE for top in tops(ast.walk(tree(path)))} - ours
    assert used <= stated


def test_no_module_stands_in_a_cycle_of_imports():
    def module_name(path):
        return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    known = {module_name(path) for path in PACKAGE}

    def needs(path):
        for node in at_import(tree(path)):
            if isinstance(node, ast.ImportFrom):
                parts = {f"{node.module}.{alias.name}" for alias in node.names} & known
                yield from parts or {node.module} & known
            else:
                yield from set(imports([node])) & known

    graph = {module_name(p): sorted(needs(p)) for p in PACKAGE}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            path.append(module)
            for other in graph[module]:
                visit(other)
            done.add(path.pop())

    for module in sorted(graph):
        visit(module)


def test_this_walk_finds_what_it_looks_for():
    source = (
        "import time as wall, numpy as np\nfrom datetime import datetime\nfrom time import sleep\n"
        "import importlib\nx = wall.time()\nnow = datetime.now()\nnp.random.normal()\nsleep(1)\n"
        "def f():\n    importlib.import_module('river.drift')\n    wall.monotonic()\n"
    )
    module = ast.parse(source)
    at_once = [c for c in calls(module, at_import(module)) if impure(c)]
    assert sorted(at_once) == ["datetime.now", "numpy.random.normal", "time.sleep", "time.time"]
    assert "time.monotonic" in set(calls(module, ast.walk(module)))
    assert "river" in tops(ast.walk(module))
    assert "river" not in tops(at_import(module))
