"""`.env.example`, which docs/reference/settings.md is made of, against what the modules that read variables say."""

from tests.reference import settings
from tests.reference.settings import READERS, Reading

DESCRIBED = {name: one for one in settings.described() for name in one.names}
DEFAULTS = {name: value for one in settings.described() for name, value in zip(one.names, one.defaults, strict=True)}
OTHERWISE = {("RELAY_HOME", "standalone"), ("RELAY_SPILL_DIR", "control")}
"""`make run` reads a path below the checkout; the control plane looks at a folder that it is told of, and has none."""


def test_a_file_is_read_by_sections_and_comments() -> None:
    text = "# --- One ---\n# First, in\n# seconds. [edge]\nA=5\nB=\n\n# Last. [control, worker]\nC=x=y\n"
    found = list(settings._described(text))
    assert [(one.section, one.names, one.defaults, one.text, one.readers) for one in found] == [
        ("One", ("A", "B"), ("5", ""), "First, in seconds.", ("edge",)),
        ("One", ("C",), ("x=y",), "Last.", ("control", "worker")),
    ]


def test_every_comment_says_who_reads() -> None:
    known = {*filter(None, READERS.values()), "all", "compose.yaml"}
    assert {one.names[0]: one.readers for one in DESCRIBED.values() if not set(one.readers) <= known} == {}


def test_who_reads_a_variable_is_said() -> None:
    assert {"RELAY_PORT", "RELAY_MASTER_KEY", "RELAY_PREVIOUS_MASTER_KEYS"} <= {one.name for one in settings.readings()}
    unsaid = {
        (one.name, one.by)
        for one in settings.readings()
        if one.by and not {one.by, "all"} & set(DESCRIBED[one.name].readers) and not _is_passed_on(one)
    }
    assert unsaid == set()


def _is_passed_on(one: Reading) -> bool:
    """`make run` reads some to hand them to the processes that it starts."""
    return one.by == "standalone"


def test_defaults_are_those_of_the_code() -> None:
    wrong = {
        one.name: (DEFAULTS[one.name], one.arguments["default"])
        for one in settings.readings()
        if one.arguments.get("default") is not None
        and (one.name, one.by) not in OTHERWISE
        and DEFAULTS[one.name] != ""
        and DEFAULTS[one.name] != _written(one.arguments["default"])
    }
    assert wrong == {}


def _written(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case int() | float():
            return f"{default:g}" if isinstance(default, float) else str(default)
        case tuple() | list():
            return ",".join(map(str, default))
        case _:
            return str(default)
